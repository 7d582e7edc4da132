"""Sketches as maps: against explicit matrices, dense against CSR, same bits however it is cut."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import hadamard
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import nkfast as nk
from nkfast.sketch import OSNAP, SRHT, CountSketch, PolySketch, TensorSketch, TensorSRHT

pytestmark = pytest.mark.simd

DTYPES = (np.float32, np.float64)
LINEAR = [CountSketch(12), OSNAP(12, 3), OSNAP(3, 8), SRHT(5), SRHT(16), SRHT(37)]
LINEAR += [CountSketch(1), SRHT(1)]
TENSOR = [
    TensorSketch(1, 12),
    TensorSketch(2, 16),
    TensorSketch(3, 21, gamma=0.5, coef0=2.0),
    TensorSketch(2, 1),
    TensorSRHT(7),
    TensorSRHT(40),
    PolySketch(1, 6),
    PolySketch(4, 20),
    PolySketch(3, 1),
]
ALL = LINEAR + TENSOR


def rows(n, d, dtype=np.float64, seed=0):
    """Rows of which half the entries and one whole row are zero."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) * (rng.random((n, d)) < 0.5)
    X[n // 2] = 0
    return X.astype(dtype)


def fitted(sketch, X):
    return clone(sketch).set_params(random_state=0).fit(X)


def matrix(sketch):
    """S, (n_components, d), from the fitted arrays."""
    d = sketch.n_features_in_
    if isinstance(sketch, SRHT):
        length = 1 << (d - 1).bit_length()
        ends = np.cumsum(sketch.counts_)
        parts = np.split(sketch.samples_, ends[:-1])
        blocks = [hadamard(length)[i][:, :d] * s for i, s in zip(parts, sketch.signs_, strict=True)]
        return np.vstack(blocks) / np.sqrt(sketch.n_components)
    S = np.zeros((sketch.n_components, d))
    for j, (h, v) in enumerate(zip(sketch.hashes_, sketch.values_, strict=True)):
        S[h, j] = v  # never the same component twice
    return S


def linear_bound(sketch, X):
    """|error| <= c u sum_j |S_ij| |x_j| with c roundings on the longest way through the sum."""
    X = np.atleast_2d(X)
    u = float(np.finfo(X.dtype).eps) / 2
    c = X.shape[1] + 3
    return c * u * (np.abs(X.astype(np.float64)) @ np.abs(matrix(sketch)).T + 1e-300)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("d", [1, 7, 16, 33])
@pytest.mark.parametrize("sketch", LINEAR, ids=str)
def test_linear_sketches_are_their_matrices(sketch, d, dtype):
    X = rows(19, d, dtype)
    sketch = fitted(sketch, X)
    S = matrix(sketch)
    Z = sketch.transform(X)
    assert Z.dtype == dtype
    assert Z.shape == (19, sketch.n_components)
    assert np.all(np.abs(Z - X @ S.T) <= linear_bound(sketch, X))
    back = sketch.adjoint(Z)
    assert back.dtype == dtype
    assert back.shape == X.shape
    size = np.abs(Z.astype(np.float64)) @ np.abs(S)
    eps = float(np.finfo(dtype).eps)
    assert np.all(np.abs(back - Z.astype(np.float64) @ S) <= (sketch.n_components + 8) * eps * size)


def test_srht_takes_no_row_of_a_block_twice_and_all_of_complete_blocks():
    sketch = fitted(SRHT(37), np.ones((1, 13)))
    assert sketch.counts_.tolist() == [16, 16, 5]
    for part in np.split(sketch.samples_, np.cumsum(sketch.counts_)[:-1]):
        assert len(set(part.tolist())) == len(part)


@pytest.mark.parametrize("dtype", DTYPES)
def test_srht_rounds_once_a_level(dtype):
    """|error| <= (log2(L) + 2) u |x|_1 / sqrt(m): each level rounds, the scale and its product."""
    X = rows(5, 1000, dtype)
    sketch = fitted(SRHT(64), X)
    exact = X.astype(np.float64) @ matrix(sketch).T
    size = np.abs(X.astype(np.float64)).sum(axis=1, keepdims=True) / 8
    roundings = 12 if dtype == np.float32 else 24  # the oracle rounds too
    assert np.all(np.abs(sketch.transform(X) - exact) <= roundings * np.finfo(dtype).eps / 2 * size)


@settings(max_examples=40)
@given(
    sketch=st.sampled_from(LINEAR),
    d=st.integers(1, 40),
    a=st.floats(-10, 10),
    seed=st.integers(0, 2**31),
)
def test_linearity_and_adjointness(sketch, d, a, seed):
    X, Y = rows(4, d, seed=seed), rows(4, d, seed=seed + 1)
    sketch = fitted(sketch, X)
    SX, SY = sketch.transform(X), sketch.transform(Y)
    bound = linear_bound(sketch, np.abs(a * X) + np.abs(Y)) + 1e-15
    assert np.all(np.abs(sketch.transform(a * X + Y) - (a * SX + SY)) <= 3 * bound)
    W = np.random.default_rng(seed).standard_normal(SX.shape)
    left, right = np.sum(SX * W, axis=1), np.sum(X * sketch.adjoint(W), axis=1)
    size = np.linalg.norm(X, axis=1) * np.linalg.norm(W, axis=1) * np.linalg.norm(matrix(sketch))
    assert np.all(np.abs(left - right) <= 1e-14 * size)


def as_csr(X, index):
    S = sp.csr_array(X)
    return sp.csr_array((S.data, S.indices.astype(index), S.indptr.astype(index)), S.shape)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("d", [1, 6, 33, 200])
@pytest.mark.parametrize("sketch", ALL, ids=str)
def test_dense_is_csr(sketch, d, dtype):
    X = rows(21, d, dtype)
    sketch = fitted(sketch, X)
    Z = sketch.transform(X)
    sparse = sketch.transform(as_csr(X, np.int32))
    assert sparse.dtype == Z.dtype == dtype
    scale = np.abs(Z).max() + 1e-30
    assert np.allclose(sparse, Z, 0, 100 * np.finfo(dtype).eps * scale)
    assert np.array_equal(sketch.transform(as_csr(X, np.int64)), sparse)
    # Matrices as well as arrays; unsorted columns; duplicates, which add up.
    S = as_csr(X, np.int32)
    assert np.array_equal(sketch.transform(sp.csr_matrix(S)), sparse)
    twice = sp.csr_array(
        (np.repeat(S.data / 2, 2), np.repeat(S.indices, 2)[::1], 2 * S.indptr), S.shape
    )
    assert np.array_equal(sketch.transform(twice), sparse)
    assert not twice.has_canonical_format


@pytest.mark.parametrize("sketch", ALL, ids=str)
def test_zero_rows(sketch):
    X = np.zeros((3, 5))
    for Z in (X, sp.csr_array(X), sp.csr_array((3, 5), dtype=np.float32)):
        out = fitted(sketch, Z).transform(Z)
        assert np.array_equal(out, np.broadcast_to(out[0], out.shape))
        assert bool(out.any()) == (getattr(sketch, "coef0", 0) > 0)


@pytest.mark.parametrize("kind", ["dense", "csr"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "sketch",
    [
        CountSketch(300),
        OSNAP(300, 4),
        SRHT(300),
        TensorSketch(2, 256, coef0=1.0),
        TensorSRHT(300),
        PolySketch(2, 100),
    ],
    ids=str,
)
def test_threads_and_chunks_give_the_same_bits(sketch, dtype, kind):
    X = rows(2500, 300, dtype)
    if kind == "csr":
        X = sp.csr_array(X)
    sketch = fitted(sketch, X)
    with nk.num_threads(1):
        whole = sketch.transform(X)
    for threads in (2, 7):
        with nk.num_threads(threads):
            assert np.array_equal(sketch.transform(X), whole)
    for size in (1, 3, 17):
        parts = [sketch.transform(X[i : i + size]) for i in range(0, 51, size)]
        assert np.array_equal(np.vstack(parts)[:51], whole[:51])


@pytest.mark.parametrize("sketch", ALL, ids=str)
def test_clone_pickle_and_seed(sketch):
    X = rows(9, 11)
    sketch = clone(sketch).set_params(random_state=3)
    Z = sketch.fit_transform(X)
    again = pickle.loads(pickle.dumps(sketch))
    assert np.array_equal(again.transform(X), Z)
    assert np.array_equal(clone(sketch).fit_transform(X), Z)
    assert np.array_equal(
        sketch.set_params(random_state=np.random.RandomState(3)).fit_transform(X), Z
    )
    assert pickle.loads(pickle.dumps(clone(sketch))).random_state is not None
    assert len(sketch.get_feature_names_out()) == Z.shape[1]


# --- columns ---


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [0, 1, 5, 70])
@pytest.mark.parametrize("sketch", LINEAR, ids=str)
def test_sketch_rows(sketch, k, dtype):
    A = np.random.default_rng(0).standard_normal((43, k)).astype(dtype)
    A[A < 0] = 0
    sketch = clone(sketch).set_params(random_state=0).fit_rows(A)
    assert sketch.n_features_in_ == 43
    expected = matrix(sketch) @ A
    for B in (A, np.asfortranarray(A), A[:, ::-1][:, ::-1], as_csr(A, np.int64), sp.csc_array(A)):
        SA = sketch.sketch_rows(B)
        assert isinstance(SA, np.ndarray)
        assert SA.dtype == dtype
        assert SA.shape == (sketch.n_components, k)
        assert np.allclose(SA, expected, 0, 100 * np.finfo(dtype).eps)
    if k > 0:
        assert np.allclose(sketch.sketch_rows(A[:, 0]), expected[:, 0], 0, 1e-4)
        assert sketch.sketch_rows(A[:, 0].tolist()).shape == (sketch.n_components,)
        same = clone(sketch).fit(A.T)
        assert np.allclose(same.transform(A.T).T, expected, 0, 100 * np.finfo(dtype).eps)


def test_sketch_rows_refuses_other_shapes():
    sketch = SRHT(4)
    with pytest.raises(NotFittedError):
        sketch.sketch_rows(np.ones((3, 2)))
    sketch.fit_rows(np.ones((3, 2)))
    with pytest.raises(ValueError, match="A: expected 3 rows, got 4"):
        sketch.sketch_rows(np.ones((4, 2)))
    with pytest.raises(ValueError, match="A contains NaN"):
        sketch.sketch_rows(np.full((3, 2), np.nan))
    for bad in (np.ones((0, 2)), np.ones((2, 2, 2)), 1.0):
        with pytest.raises(ValueError, match="A: expected shape"):
            sketch.fit_rows(bad)
