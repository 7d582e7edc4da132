"""The compiled loops: Walsh-Hadamard and Fourier transforms, in rows and in lane blocks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import hadamard

from nkfast import _core

pytestmark = pytest.mark.simd

DTYPES = (np.float32, np.float64)
SIZES = [1 << k for k in range(12)]


def rows(n_rows, n, dtype, seed=0):
    return np.random.default_rng(seed).standard_normal((n_rows, n)).astype(dtype)


def bound(x):
    """Each of log2(n) levels rounds once: |error| <= ((1 + u)^levels - 1) ||x||_1 per entry."""
    levels = np.log2(x.shape[1]) + 1  # and one for the scale
    u = float(np.finfo(x.dtype).eps) / 2
    size = np.abs(x.astype(np.float64)).sum(axis=1, keepdims=True)
    return np.expm1(levels * np.log1p(u)) * size


def wht(x):
    """Walsh-Hadamard transforms of rows, level by level in extended precision."""
    x = x.astype(np.longdouble)
    h = 1
    while h < x.shape[1]:
        pairs = x.reshape(len(x), -1, 2, h)
        low, high = pairs[:, :, 0], pairs[:, :, 1]
        x = np.stack([low + high, low - high], axis=2).reshape(x.shape)
        h *= 2
    return x


def test_the_oracle_is_the_hadamard_matrix():
    assert np.array_equal(wht(np.eye(64)), hadamard(64))


def in_place(x, scale, n_threads):
    _core.fwht(x[:, :, None], scale, n_threads)


def block_program(n, *steps):
    """A program that copies its input to buffer 1, takes the steps, and returns buffer 1."""
    builder = _core.SketchBuilder(n)
    builder.gather(0, np.arange(n), 1.0, 1)
    for method, *arguments in steps:
        getattr(builder, method)(*arguments)
    builder.emit(1, n, 1.0, -1, False)
    return builder.finish()


def run(program, x, n_threads=1):
    out = np.full((len(x), program.n_outputs), np.nan, x.dtype)
    program.run(x, None, None, out, n_threads)
    return out


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_wht_of_rows_and_blocks(n, dtype):
    x = rows(37, n, dtype)
    expected = wht(x)
    in_rows = x.copy()
    in_place(in_rows, 1.0, 1)
    assert np.all(np.abs(in_rows - expected) <= bound(x))
    in_blocks = run(block_program(n, ("hadamard", 1)), x)
    assert np.all(np.abs(in_blocks - expected) <= bound(x))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1 << 13, 1 << 15, 1 << 17])
def test_long_wht(n, dtype):
    x = rows(3, n, dtype)
    y = x.copy()
    in_place(y, 1.0, 1)
    assert np.all(np.abs(y - wht(x)) <= bound(x))
    z = y.copy()
    in_place(z, 1 / n, 1)
    assert np.all(np.abs(z - x) <= (bound(y) + bound(x) * np.sqrt(n)) / n)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 2, 4, 8, 64, 1024])
def test_wht_needs_no_alignment_and_stays_within_its_rows(n, dtype):
    whole = np.full(5 * n + 2, 7.0, dtype)
    x = whole[1 : 5 * n + 1].reshape(5, n)
    x[:] = rows(5, n, dtype)
    expected = wht(x)
    limit = bound(x)
    in_place(x, 1.0, 1)
    assert np.all(np.abs(x - expected) <= limit)
    assert whole[0] == whole[-1] == 7.0


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_does_not_depend_on_the_batch_or_the_threads(dtype):
    x = rows(2000, 256, dtype)
    one = x.copy()
    in_place(one, 0.5, 1)
    for threads in (2, 7):
        y = x.copy()
        in_place(y, 0.5, threads)
        assert np.array_equal(one, y)
    for i in (0, 999, 1999):
        y = x[i : i + 1].copy()
        in_place(y, 0.5, 1)
        assert np.array_equal(one[i : i + 1], y)


@settings(max_examples=30)
@given(k=st.integers(0, 9), seed=st.integers(0, 2**31), single=st.booleans())
def test_wht_twice_is_n_times_the_identity(k, seed, single):
    n = 1 << k
    x = rows(3, n, np.float32 if single else np.float64, seed)
    y = x.copy()
    in_place(y, 1.0, 1)
    in_place(y, 1 / n, 1)
    assert np.all(np.abs(y - x) <= 2 * bound(x) * np.sqrt(n))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_fourier_products_are_cyclic_convolutions(n, dtype):
    x = rows(19, n, dtype)
    shift = np.roll(np.arange(n), -1)
    program = block_program(
        n,
        ("gather", 0, shift, 1.0, 2),
        ("fourier", 1),
        ("fourier", 2),
        ("multiply_spectra", 1, 2),
        ("inverse_fourier", 1),
    )
    a = np.fft.rfft(x.astype(np.float64))
    b = np.fft.rfft(x[:, shift].astype(np.float64))
    expected = n * np.fft.irfft(a * b, n=n)
    scale = np.linalg.norm(x, axis=1, keepdims=True).astype(np.float64) ** 2
    limit = 6 * (np.log2(n) + 1) * np.finfo(dtype).eps * n * scale
    assert np.all(np.abs(run(program, x) - expected) <= limit)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_the_spectrum_keeps_inner_products(n, dtype):
    x = rows(5, n, dtype)
    spectrum = run(block_program(n, ("fourier", 1)), x).astype(np.float64)
    weight = np.where(np.arange(n) < 2, 1, 2) / n
    gram = (spectrum * weight) @ spectrum.T
    limit = 20 * (np.log2(n) + 1) * np.finfo(dtype).eps * np.linalg.norm(x) ** 2
    assert np.abs(gram - x.astype(np.float64) @ x.T).max() <= limit


@pytest.mark.parametrize("shape", [(3, 6), (3, 0)])
def test_wht_refuses_other_lengths(shape):
    with pytest.raises(ValueError, match="power of two"):
        in_place(np.zeros(shape), 1.0, 1)


def test_empty_batches_do_nothing():
    x = np.zeros((0, 8))
    in_place(x, 1.0, 2)
    assert run(block_program(8, ("hadamard", 1)), x).shape == (0, 8)
