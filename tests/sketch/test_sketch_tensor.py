"""Sketches of products: explicit tensor powers, steps in NumPy, and scikit-learn's sketch."""

import itertools

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import hadamard
from sklearn.base import clone
from sklearn.kernel_approximation import PolynomialCountSketch
from sklearn.metrics.pairwise import polynomial_kernel

from nkfast.sketch import CountSketch, PolySketch, TensorSketch, TensorSRHT

pytestmark = pytest.mark.simd

DTYPES = (np.float32, np.float64)


def rows(n, d, dtype=np.float64, seed=0):
    """Rows of which half the entries and one whole row are zero."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) * (rng.random((n, d)) < 0.5)
    X[n // 2] = 0
    return X.astype(dtype)


def fitted(sketch, X):
    return clone(sketch).set_params(random_state=0).fit(X)


def outer_count_sketch(sketch, X):
    """The CountSketch of all degree-fold products, with sums of hashes and products of signs."""
    m, degree = sketch.n_components, sketch.degree
    factor = np.hstack([np.sqrt(sketch.gamma) * X, np.full((len(X), 1), np.sqrt(sketch.coef0))])
    parts = []
    widths = [1 << b for b in reversed(range(m.bit_length())) if m >> b & 1]
    for width, hashes, signs in zip(widths, sketch.hashes_, sketch.signs_, strict=True):
        part = np.zeros((len(X), width))
        for index in itertools.product(range(factor.shape[1]), repeat=degree):
            h = sum(int(hashes[k, i]) for k, i in enumerate(index)) % width
            s = np.prod([int(signs[k, i]) for k, i in enumerate(index)])
            part[:, h] += s * np.prod(factor[:, index], axis=1)
        parts.append(part * np.sqrt(width / m))
    return np.hstack(parts)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("gamma", "coef0"), [(1.0, 0.0), (0.5, 2.0)])
@pytest.mark.parametrize("m", [1, 12, 16, 21])
@pytest.mark.parametrize("degree", [1, 2, 3])
def test_tensor_sketch_is_the_count_sketch_of_the_tensor_power(degree, m, gamma, coef0, dtype):
    X = rows(17, 5, dtype)
    sketch = fitted(TensorSketch(degree, m, gamma=gamma, coef0=coef0), X)
    expected = outer_count_sketch(sketch, X.astype(np.float64))
    norms = np.sqrt(gamma * np.sum(X.astype(np.float64) ** 2, axis=1, keepdims=True) + coef0)
    bound = 60 * np.finfo(dtype).eps * (norms * np.sqrt(6)) ** degree
    assert np.all(np.abs(sketch.transform(X) - expected) <= bound)


def test_tensor_sketch_of_degree_one_is_a_count_sketch():
    X = rows(9, 30)
    tensor = fitted(TensorSketch(1, 16), X)
    count = fitted(CountSketch(16), X)
    count.hashes_ = np.ascontiguousarray(tensor.hashes_[0][:, :30].T)
    count.values_ = tensor.signs_[0][:, :30].T.astype(np.float64)
    count._compiled = None  # made anew from these attributes
    assert np.allclose(tensor.transform(X), count.transform(X), rtol=1e-14, atol=1e-14)


def apply_steps(steps, X):
    """The steps of a drawn map in NumPy, in which the public docstrings write them."""
    buffers, out = {0: X}, []
    for method, a in steps:
        if method == "count_sketch":
            src, dst, width, hashes, signs = a
            S = np.zeros((len(hashes), width))
            S[np.arange(len(hashes)), hashes] = signs
            buffers[dst] = buffers[src] @ S
        elif method == "hadamard":
            buffers[a[0]] = buffers[a[0]] @ hadamard(buffers[a[0]].shape[1])
        elif method == "gather":
            src, i, scale, dst = a
            buffers[dst] = buffers[src][:, i] * scale
        elif method == "product":
            p, i, q, j, scale, dst = a
            buffers[dst] = buffers[p][:, i] * buffers[q][:, j] * scale
        else:
            assert method == "emit"
            out.append(buffers[a[0]][:, : a[1]] * a[2])
    return np.hstack(out)


@pytest.mark.parametrize("m", [1, 8, 20])
@pytest.mark.parametrize("d", [1, 5, 40])
def test_tensor_srht_and_polysketch_are_their_steps(d, m):
    X = rows(18, d)
    Y = rows(18, 3, seed=1)
    pair = TensorSRHT(m, random_state=0).fit(X, Y)
    expected = apply_steps(pair.steps_, np.hstack([X, Y]))
    assert np.allclose(pair.transform_pair(X, Y), expected, rtol=1e-12, atol=1e-12)
    chain = PolySketch(4, m, random_state=0).fit(X)
    powers = chain.transform_powers(X)
    assert [Z.shape for Z in powers] == [(18, m)] * 4
    size = np.abs(powers[3]).max() + 1e-30
    assert np.allclose(powers[3], apply_steps(chain.steps_, X), rtol=0, atol=1e-12 * size)
    assert np.array_equal(powers[3], chain.transform(X))
    for fewer in (1, 2, 3):  # a lower degree draws the same numbers first
        same = PolySketch(fewer, m, random_state=0).fit(X).transform(X)
        assert np.array_equal(powers[fewer - 1], same)


@pytest.mark.parametrize("dtype", DTYPES)
def test_pairs_of_other_widths_and_mixed_formats(dtype):
    X, Y = rows(18, 20, dtype), rows(18, 3, dtype, seed=1)
    sketch = TensorSRHT(16, random_state=0).fit(X, Y)
    Z = sketch.transform_pair(X, Y)
    assert Z.dtype == dtype
    for A, B in [
        (sp.csr_array(X), Y),
        (X, sp.csr_matrix(Y)),
        (sp.csr_array(X), sp.csr_array(Y)),
    ]:
        mixed = sketch.transform_pair(A, B)
        assert mixed.dtype == dtype
        assert np.allclose(mixed, Z, 0, 100 * np.finfo(dtype).eps * np.abs(Z).max())
    assert sketch.transform_pair(X, Y.astype(np.float64)).dtype == np.float64
    with pytest.raises(ValueError, match=r"Y: expected shape \(18, 3\), got \(17, 3\)"):
        sketch.transform_pair(X, Y[1:])
    with pytest.raises(ValueError, match=r"Y: expected shape \(18, 3\), got \(18, 20\)"):
        sketch.transform_pair(X, X)
    with pytest.raises(ValueError, match="X: expected use of transform_pair"):
        sketch.transform(X)


@settings(max_examples=25)
@given(
    sketch=st.sampled_from([TensorSketch(3, 16), TensorSRHT(9), PolySketch(4, 8)]),
    exponent=st.integers(-20, 20),
    seed=st.integers(0, 2**31),
)
def test_homogeneity(sketch, exponent, seed):
    """t(a x) = a^q t(x), to the last bit for powers of two."""
    X = rows(5, 9, seed=seed)
    sketch = fitted(sketch, X)
    q = getattr(sketch, "degree", 2)
    scaled = sketch.transform(2.0**exponent * X)
    assert np.array_equal(scaled, 2.0 ** (exponent * q) * sketch.transform(X))


def test_a_degree_set_after_fit_changes_nothing():
    X = rows(4, 5)
    sketch = fitted(PolySketch(3, 16), X)
    powers = sketch.set_params(degree=7, n_components=2).transform_powers(X)
    assert [Z.shape for Z in powers] == [(4, 16)] * 3


@pytest.mark.parametrize(
    ("degree", "gamma", "coef0"), [(2, 1.0, 0.0), (3, 0.5, 1.0), (4, 2.0, 0.3)]
)
@pytest.mark.parametrize("m", [256, 300])
def test_tensor_sketch_replaces_polynomial_count_sketch(degree, gamma, coef0, m):
    """One changed line: the same parameters, and the same error within its spread over seeds."""
    X = np.random.default_rng(0).standard_normal((60, 30)) / np.sqrt(30)
    K = polynomial_kernel(X, degree=degree, gamma=gamma, coef0=coef0)
    parameters = {"degree": degree, "gamma": gamma, "coef0": coef0, "n_components": m}
    errors = {}
    for sketch in (TensorSketch, PolynomialCountSketch):
        features = [sketch(**parameters, random_state=i).fit_transform(X) for i in range(12)]
        errors[sketch] = [np.linalg.norm(Z @ Z.T - K) / np.linalg.norm(K) for Z in features]
    ours, theirs = errors.values()
    spread = np.sqrt((np.var(ours) + np.var(theirs)) / 12)
    assert abs(np.mean(ours) - np.mean(theirs)) <= 5 * spread
    names = set(PolynomialCountSketch().get_params())
    assert names == set(TensorSketch().get_params())
