"""Sketch programs: every step against NumPy, every bad argument refused before it can do harm."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose

from nkfast import _core

DTYPES = (np.float32, np.float64)


def run(program, X, scales=None, weights=None, n_threads=1):
    out = np.full((X.shape[0], program.n_outputs), np.nan, X.dtype)
    if sp.issparse(X):
        program.run_csr(X.data, X.indices, X.indptr, scales, weights, out, n_threads)
    else:
        program.run(X, scales, weights, out, n_threads)
    return out


def sketch(h, s, width, X):
    S = np.zeros((len(h), width))
    S[np.arange(len(h)), h] = s
    return X.astype(np.float64) @ S


@pytest.mark.parametrize(
    "form",
    [
        list,
        np.asarray,
        lambda a: np.repeat(a, 2)[::2],
        lambda a: np.asarray(a).astype(np.int8),
        lambda a: np.asarray(a).astype(np.int32),
        lambda a: np.asarray(a).astype(">i4"),
        lambda a: np.asarray(a, object),
    ],
)
def test_numbers_of_any_form(form):
    """Arrays are taken whole where they fit, and item by item where not: to the same numbers."""
    X = np.random.default_rng(0).standard_normal((3, 9))
    h, s = np.arange(9)[::-1] % 4, np.where(np.arange(9) % 2, -1, 1)
    builder = _core.SketchBuilder(9)
    builder.count_sketch(0, 1, 4, form(h), form(s))
    builder.emit(1, 4, 1.0, -1, False)
    assert_allclose(run(builder.finish(), X), sketch(h, s, 4, X))
    with pytest.raises(TypeError, match="incompatible function arguments"):
        builder.count_sketch(0, 1, 4, np.arange(9).reshape(3, 3), form(s))


@pytest.mark.simd
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 2, 15, 16, 17, 100])
@pytest.mark.parametrize("d", [1, 7, 16, 33])
def test_all_steps(n, d, dtype):
    rng = np.random.default_rng(n * 100 + d)
    X = rng.standard_normal((n, d)).astype(dtype)
    X[rng.random((n, d)) < 0.5] = 0
    scales = rng.random(n).astype(dtype)
    weights = rng.standard_normal((n, 2))
    h, s = rng.integers(0, 8, d), rng.choice([-1.0, 1.0], d)
    i, j = rng.integers(0, 8, 21), rng.integers(0, d, 21)
    factors = rng.standard_normal(21)

    builder = _core.SketchBuilder(d)
    builder.count_sketch(0, 1, 8, h, s)
    builder.product(1, i, 0, j, 0.5, 2)
    builder.emit(2, 21, 1.0, -1, False)
    builder.weighted_product(1, i, 0, j, factors, 2)
    builder.emit(2, 20, 3.0, 1, False)
    builder.gather(1, i, 2.0, 3)
    builder.emit(3, 21, 1.0, 0, True)
    builder.normalise(3)
    builder.emit(3, 5, 1.0, -1, False)
    builder.one(4)
    builder.emit(4, 1, 1.0, 0, False)
    program = builder.finish()
    assert (program.n_features, program.n_outputs, program.n_weights) == (d, 68, 2)

    x = scales[:, None].astype(np.float64) * X
    a = sketch(h, s, 8, x)
    product = a[:, i] * x[:, j]
    gathered = 2 * a[:, i]
    norm = np.linalg.norm(gathered, axis=1, keepdims=True)
    unit = np.divide(gathered, norm, out=np.zeros_like(gathered), where=norm > 0)
    expected = np.hstack(
        [
            product * 0.5,
            (product * factors)[:, :20] * 3 * weights[:, 1:],
            unit * weights[:, :1],
            unit[:, :5],
            weights[:, :1],
        ]
    )
    tolerance = 50 * np.finfo(dtype).eps
    for Z in (X, sp.csr_array(X)):
        assert np.allclose(run(program, Z, scales, weights), expected, tolerance, 5 * tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
def test_hashing_csr_never_needs_the_dense_row(dtype):
    """A million columns: the buffers hold only what the sketch has."""
    rng = np.random.default_rng(0)
    d = 1_000_000
    X = sp.random(50, d, density=1e-5, random_state=rng, format="csr", dtype=dtype)
    h, s = rng.integers(0, 64, d), rng.choice([-1.0, 1.0], d)
    builder = _core.SketchBuilder(d)
    builder.count_sketch(0, 1, 64, h, s)
    builder.emit(1, 64, 1.0, -1, False)
    program = builder.finish()
    S = sp.csr_array((s, (np.arange(d), h)), shape=(d, 64))
    expected = (X.astype(np.float64) @ S).toarray()
    narrow = run(program, X)
    assert np.allclose(narrow, expected, 1e-5 if dtype == np.float32 else 1e-13)
    wide = sp.csr_array((X.data, X.indices.astype(np.int64), X.indptr.astype(np.int64)), X.shape)
    assert np.array_equal(run(program, wide), narrow)


def test_threads_and_chunks_give_the_same_bits():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((1000, 256)).astype(np.float32)
    builder = _core.SketchBuilder(256)
    builder.count_sketch(0, 1, 512, rng.permutation(512)[:256], rng.choice([-1.0, 1.0], 256))
    builder.hadamard(1)
    builder.fourier(1)
    builder.emit(1, 512, 1.0, -1, True)
    program = builder.finish()
    whole = run(program, X)
    for threads in (2, 7):
        assert np.array_equal(run(program, X, n_threads=threads), whole)
    for size in (1, 3, 17):
        parts = [run(program, X[i : i + size]) for i in range(0, 100, size)]
        assert np.array_equal(np.vstack(parts)[:100], whole[:100])


@pytest.mark.simd
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("m", [1, 7, 8, 21])
def test_linear_maps_and_parts(dtype, m):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((37, 11)).astype(dtype)
    X[3] = 0
    M = rng.standard_normal((m, 11))
    builder = _core.SketchBuilder(11)
    builder.linear(0, M.ravel(), 1)
    builder.linear(0, M[:1].ravel(), 2)
    builder.emit(1, m, 1.0, -1, False)
    builder.emit_part(1, m, 0.5, -1, 1, 3, 2, 2)
    program = builder.finish()
    found = run(program, X)
    Y = X @ M.T.astype(dtype)
    norms = np.linalg.norm(Y, axis=1, keepdims=True)
    part = 0.5 * Y * norms**2 * Y[:, :1] ** 2
    tolerance = 1e-4 if dtype == np.float32 else 1e-12
    assert np.allclose(found, np.hstack([Y, part]), tolerance, tolerance)


def test_bad_steps_are_refused():
    builder = _core.SketchBuilder(4)
    ones = np.ones(4)
    for call, match in [
        (lambda: builder.count_sketch(0, 1, 4, [0, 1, 2, 4], ones), "hash: expected indices"),
        (lambda: builder.count_sketch(0, 1, 4, [0, 1, 2, -1], ones), "hash: expected indices"),
        (lambda: builder.count_sketch(0, 1, 4, [0, 1, 2], ones), "hash: expected 4 entries"),
        (lambda: builder.count_sketch(0, 1, 4, [0, 1, 2, 3], ones[:3]), "signs: expected 4"),
        (lambda: builder.count_sketch(0, 0, 4, [0, 1, 2, 3], ones), "dst"),
        (lambda: builder.count_sketch(3, 1, 4, [0, 1, 2, 3], ones), "src: buffer 3 holds nothing"),
        (lambda: builder.gather(0, [4], 1.0, 1), "i: expected indices"),
        (lambda: builder.gather(0, [0], 1.0, 1000), "dst: expected a buffer"),
        (lambda: builder.product(0, [0], 0, [0, 1], 1.0, 1), "j: expected 1 entries"),
        (lambda: builder.product(0, [0], 0, [0], 1.0, 0), "dst"),
        (lambda: builder.weighted_product(0, [0], 0, [0], [1.0, 2.0], 1), "factors"),
        (lambda: builder.linear(0, np.ones(5), 1), "matrix: expected rows of 4"),
        (lambda: builder.linear(0, np.ones(0), 1), "matrix"),
        (lambda: builder.linear(0, np.ones(8), 0), "dst"),
        (lambda: builder.emit_part(0, 1, 1.0, -1, 9, 1, 9, 1), "first: buffer 9 holds nothing"),
        (lambda: builder.emit_part(0, 1, 1.0, -1, 0, 1, 0, 1), "expected buffers other than"),
        (lambda: builder.emit_part(0, 1, 1.0, -1, 0, 65, 0, 1), "i, j: expected at most 64"),
        (lambda: builder.emit(0, 5, 1.0, -1, False), "n: expected at most 4"),
        (lambda: builder.hadamard(2), "holds nothing"),
        (lambda: builder.one(0), "dst"),
        (lambda: _core.SketchBuilder(3).hadamard(0), "power of two"),
        (lambda: _core.SketchBuilder(3).fourier(0), "power of two"),
    ]:
        with pytest.raises(ValueError, match=match):
            call()


def test_bad_arrays_are_refused():
    builder = _core.SketchBuilder(4)
    builder.emit(0, 4, 1.0, 0, False)
    program = builder.finish()
    X, weights = np.ones((3, 4)), np.ones((3, 1))
    program.run(X, None, weights, np.empty((3, 4)), 1)
    for arguments, match in [
        ((np.ones((3, 5)), None, weights, np.empty((3, 4))), "X: expected 4 features"),
        ((X, None, weights, np.empty((3, 5))), "out: expected shape"),
        ((X, None, weights[:2], np.empty((3, 4))), "weights: expected shape"),
        ((X, None, None, np.empty((3, 4))), "weights: expected an array"),
        ((X, np.ones(2), weights, np.empty((3, 4))), "scales: expected shape"),
    ]:
        with pytest.raises(ValueError, match=match):
            program.run(*arguments, 1)
    for x, out in [(X.astype(np.float32), np.empty((3, 4))), (X[:, ::-1], np.empty((3, 4)))]:
        with pytest.raises(TypeError):
            program.run(x, None, weights, out, 1)


@pytest.mark.parametrize(
    ("indices", "starts"),
    [
        ([0, 1, 9], [0, 1, 3]),
        ([0, 1, -1], [0, 1, 3]),
        ([0, 1, 2], [0, 1, 4]),
        ([0, 1, 2], [0, 2, 1]),
        ([0, 1, 2], [1, 2, 3]),
        ([0, 1, 2], []),
    ],
)
def test_unsound_csr_is_refused(indices, starts):
    builder = _core.SketchBuilder(4)
    builder.emit(0, 4, 1.0, -1, False)
    program = builder.finish()
    arrays = np.ones(3), np.array(indices, np.int32), np.array(starts, np.int32)
    with pytest.raises(ValueError, match="sound CSR"):
        program.run_csr(*arrays, None, None, np.empty((2, 4)), 1)
    with pytest.raises(ValueError, match="sound CSR"):
        _core.row_norms_csr(*arrays, 4, np.empty(2), 1)


@pytest.mark.parametrize("scale", [1e-320, 1e-200, 1.0, 1e200, 1e307])
def test_norms_neither_overflow_nor_underflow(scale):
    X = np.array([[3.0, 0.0, 4.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0]]) * scale
    out = np.empty(2)
    _core.row_norms(X, out, 1)
    assert out[0] == pytest.approx(5 * scale, rel=1e-15 if scale > 1e-300 else 1e-3)
    assert out[1] == 0
