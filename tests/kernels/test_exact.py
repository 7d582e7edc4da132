"""Exact kernels against neural-tangents' values, the recursion in plain floats, and properties."""

import re

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal

import nkfast as nk
import places
import reference

# Values of neural-tangents 0.6 in float64; key "mlp|activation|depth=..|w_std=..|b_std=..|kernel".
ORACLE = np.load(places.ORACLE)
CASES = sorted({key.rpartition("|")[0] for key in ORACLE if key.startswith("mlp|ReLU()|")})

NET = nk.mlp(depth=3, w_std=1.3, b_std=0.2)
BARE = nk.mlp(depth=2)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def scaled_error(found, expected):
    return np.max(np.abs(found - expected)) / np.max(np.abs(expected))


def test_oracle_has_cases():
    assert len(CASES) >= 2


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", ["nngp", "ntk"])
def test_neural_tangents(case, name):
    depth, w_std, b_std = re.search(r"depth=(\d+)\|w_std=([\d.]+)\|b_std=([\d.]+)", case).groups()
    net = nk.mlp(int(depth), "relu", float(w_std), float(b_std))
    X, Z = ORACLE["X"], ORACLE["Z"]
    kernel, diagonal = getattr(net, name), getattr(net.diag(X), name)
    assert scaled_error(kernel(X, Z), ORACLE[f"{case}|{name}"]) <= 1e-10
    assert scaled_error(kernel(X), ORACLE[f"{case}|{name}_xx"]) <= 1e-10
    assert scaled_error(diagonal, np.diag(ORACLE[f"{case}|{name}_xx"])) <= 1e-10


@pytest.mark.parametrize("net", [NET, BARE, nk.mlp(depth=0, b_std=0.5), nk.mlp(depth=7, b_std=1)])
def test_recursion_in_plain_floats(net, rng):
    X, Z = rng.standard_normal((6, 4)) * [[1e-3], [1], [1], [10], [100], [0]], rng.random((5, 4))
    for found, expected in zip(net.kernel(X, Z), reference.kernels(net, X, Z), strict=True):
        assert_allclose(found, expected, rtol=1e-12)
    for found, expected in zip(net.kernel(X), reference.kernels(net, X), strict=True):
        # Rows 0 and 1 have very different norms; arccos of the oracle limits the rest.
        assert_allclose(found, expected, rtol=1e-10, atol=0)
    for found, expected in zip(net.diag(X), zip(*map_points(net, X), strict=True), strict=True):
        assert_allclose(found, expected, rtol=1e-14)


def map_points(net, X):
    return [reference.point_kernels(net, x) for x in X]


def test_sequential_need_not_end_in_dense(rng):
    X = rng.standard_normal((4, 3))
    net = nk.Sequential(nk.Dense(1.2, 0.3), nk.ReLU())
    for found, expected in zip(net.kernel(X), reference.kernels(net, X), strict=True):
        assert_allclose(found, expected, rtol=1e-12)


# --- what is returned ---


def test_get():
    X = np.eye(3)
    both = NET.kernel(X)
    assert both._fields == ("nngp", "ntk")
    assert_array_equal(NET.kernel(X, get="ntk"), both.ntk)
    assert_array_equal(NET.ntk(X), both.ntk)
    assert_array_equal(NET.nngp(X), both.nngp)
    assert NET.kernel(X, get=("ntk", "nngp"))._fields == ("ntk", "nngp")
    assert NET.kernel(X, get=["nngp"])._fields == ("nngp",)
    assert NET.diag(X)._fields == ("nngp", "ntk")


@pytest.mark.parametrize("get", ["NTK", "", (), ("ntk", "ntk"), ("ntk", "other")])
def test_bad_get_is_refused(get):
    with pytest.raises(ValueError, match="get: expected one or both of"):
        NET.kernel(np.eye(2), get=get)


def test_blocks_are_seamless(rng):
    X, Z = rng.standard_normal((23, 4)), rng.standard_normal((9, 4))
    whole = [*NET.kernel(X), *NET.kernel(X, Z)]
    for block in (1, 5, 22, 23, 1000):
        blocks = [*NET.kernel(X, block=block), *NET.kernel(X, Z, block=block)]
        for found, expected in zip(blocks, whole, strict=True):
            assert_allclose(found, expected, rtol=1e-13)
            if found.shape == (23, 23):
                assert_array_equal(found, found.T)


# --- properties ---


@pytest.mark.parametrize("net", [NET, BARE])
def test_symmetric_positive_semidefinite_exact_diagonal(net, rng):
    X = rng.standard_normal((40, 5))
    X[7], X[9] = X[3], 0
    for kernel, diagonal in zip(net.kernel(X), net.diag(X), strict=True):
        assert_array_equal(kernel, kernel.T)
        assert_array_equal(np.diag(kernel), diagonal)
        values = np.linalg.eigvalsh(kernel)
        assert values[0] >= -1e-12 * values[-1]


def test_same_points_given_twice_agree_with_the_diagonal(rng):
    """K(X, copy of X) does not know its diagonal; rounding must not be magnified there."""
    X = rng.standard_normal((50, 20))
    for depth in (1, 5):
        net = nk.mlp(depth=depth, b_std=0.1)
        for kernel, diagonal in zip(net.kernel(X, X.copy()), net.diag(X), strict=True):
            assert_allclose(np.diag(kernel), diagonal, rtol=1e-13)


def test_parallel_and_opposite_points():
    """rho = 1 and -1 between points of different norms, in closed form at depth 1."""
    x = np.array([[3.0, 4.0]])
    net = nk.mlp(depth=1, w_std=1.0)
    p = 12.5
    for t in (0.5, 1.0, 3.0):
        # nngp = E relu(u) relu(t u) = t p / 2; ntk = t p / 2 + p t / 2.
        assert_allclose(net.kernel(x, t * x), [[[t * p / 2]], [[t * p]]], rtol=1e-14)
        assert_allclose(net.kernel(x, -t * x), [[[0]], [[0]]], atol=1e-14)


def test_zero_points():
    X = np.vstack([np.zeros((2, 3)), np.eye(3)])
    nngp, ntk = BARE.kernel(X)
    for kernel in (nngp, ntk):
        assert not kernel[:2].any()
        assert kernel[2, 2] > 0
    for found, expected in zip(NET.kernel(X), reference.kernels(NET, X), strict=True):
        assert_allclose(found, expected, rtol=1e-7)  # the oracle's arccos, between the zeros
        assert_allclose(found[:2, :2], found[0, 0], rtol=1e-14)


def test_homogeneous_without_bias(rng):
    X, Z = rng.standard_normal((4, 3)), rng.standard_normal((5, 3))
    for a, b in zip(BARE.kernel(1e3 * X, 1e-4 * Z), BARE.kernel(X, Z), strict=True):
        assert_allclose(a, 0.1 * b, rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-100, 1e100])
def test_extreme_norms_stay_finite(scale):
    X = np.eye(3) * scale + scale / 2
    with np.errstate(over="raise", invalid="raise"):
        for a, b in zip(BARE.kernel(X), BARE.kernel(X / scale), strict=True):
            assert_allclose(a / scale**2, b, rtol=1e-12)


def test_depth_50(rng):
    X = rng.standard_normal((10, 6))
    for b_std in (0.0, 0.1):
        net = nk.mlp(depth=50, b_std=b_std)
        for found, expected in zip(net.kernel(X), reference.kernels(net, X), strict=True):
            assert_allclose(found, expected, rtol=1e-9)
            assert np.linalg.eigvalsh(found)[0] > -1e-12 * np.trace(found)


ROWS = arrays(
    np.float64,
    st.tuples(st.integers(0, 5), st.integers(1, 4)),
    # On a grid, so that equal, opposite and zero rows occur.
    elements=st.integers(-999, 999).map(lambda i: i / 8),
)


@settings(max_examples=60)
@given(X=ROWS, depth=st.integers(0, 4), w_std=st.floats(0.1, 3), b_std=st.floats(0, 2))
def test_any_rows(X, depth, w_std, b_std):
    """Cauchy-Schwarz, symmetry and sparse = dense for whatever rows."""
    net = nk.mlp(depth, "relu", w_std, b_std)
    for kernel, sparse, diagonal in zip(
        net.kernel(X), net.kernel(sp.csr_array(X)), net.diag(X), strict=True
    ):
        assert_array_equal(kernel, kernel.T)
        bound = np.sqrt(np.outer(diagonal, diagonal))
        assert np.all(np.abs(kernel) <= bound * (1 + 1e-12))
        assert np.all(np.abs(kernel - sparse) <= 1e-7 * bound)


# --- forms of the input ---


def variants():
    X = np.random.default_rng(1).standard_normal((6, 8))
    X[np.abs(X) < 0.7] = 0
    strided = np.zeros((12, 16))
    strided[::2, ::2] = X
    read_only = X.copy()
    read_only.flags.writeable = False
    unaligned = np.frombuffer(b"x" + X.tobytes(), np.uint8)[1:].view(np.float64).reshape(X.shape)
    long = sp.csr_array(X)
    long.indices, long.indptr = long.indices.astype(np.int64), long.indptr.astype(np.int64)
    shuffled = sp.csr_array(X)
    start, stop = shuffled.indptr[:2]
    for part in (shuffled.indices, shuffled.data):
        part[start:stop] = part[start:stop][::-1].copy()
    shuffled.has_sorted_indices = False
    twice = sp.csr_array(
        (
            np.repeat(long.data / 2, 2),
            np.repeat(long.indices, 2),
            2 * long.indptr,
        ),
        shape=X.shape,
    )
    yield "list", X, X.tolist()
    yield "strided", X, strided[::2, ::2]
    yield "reversed", X, np.ascontiguousarray(X[::-1, ::-1])[::-1, ::-1]
    yield "fortran", X, np.asfortranarray(X)
    yield "read-only", X, read_only
    yield "unaligned", X, unaligned
    yield "byte-swapped", X, X.astype(X.dtype.newbyteorder())
    yield "csr_array", X, sp.csr_array(X)
    yield "csr_matrix", X, sp.csr_matrix(X)
    yield "int64 indices", X, long
    yield "unsorted indices", X, shuffled
    yield "duplicate entries", X, twice
    yield "csc", X, sp.csc_array(X)
    yield "coo", X, sp.coo_array(X)
    whole = np.rint(X)
    yield "int64", whole, whole.astype(np.int64)
    yield "int8", whole, whole.astype(np.int8)
    yield "bool", (whole > 0).astype(float), whole > 0
    yield "object", whole, whole.astype(object)


VARIANTS = {name: (plain, given) for name, plain, given in variants()}


@pytest.mark.parametrize("name", VARIANTS)
def test_forms_of_input(name):
    plain, given = VARIANTS[name]
    before = given.copy() if hasattr(given, "copy") else given
    for found, expected in zip(NET.kernel(given), NET.kernel(plain), strict=True):
        assert found.dtype == np.float64
        assert found.flags.c_contiguous
        assert_allclose(found, expected, rtol=1e-13)
    for found, expected in zip(NET.kernel(plain, given), NET.kernel(plain, plain), strict=True):
        # The diagonal of the right side is exact, that of the left is rounded.
        assert_allclose(found, expected, rtol=1e-12)
    for found, expected in zip(NET.diag(given), NET.diag(plain), strict=True):
        assert_allclose(found, expected, rtol=1e-14)
    if sp.issparse(given):
        assert_array_equal(given.data, before.data)
        assert (given != before).nnz == 0


def test_float32_is_kept_and_as_good_as_its_precision(rng):
    X = rng.standard_normal((30, 10)).astype(np.float32)
    for net in (NET, nk.mlp(depth=10, b_std=0.1)):
        exact64 = net.kernel(X.astype(np.float64))
        for form in (X, sp.csr_array(X), X.astype(X.dtype.newbyteorder())):
            for found, expected in zip(net.kernel(form), exact64, strict=True):
                assert found.dtype == np.float32
                assert_allclose(found, expected, rtol=2e-7)
        for found, expected in zip(net.diag(X), net.diag(X.astype(float)), strict=True):
            assert found.dtype == np.float32
            assert_allclose(found, expected, rtol=1e-7)
        assert net.ntk(X, X.astype(np.float64)).dtype == np.float64


def test_float16_becomes_float32(rng):
    X = rng.standard_normal((5, 4)).astype(np.float16)
    assert NET.ntk(X).dtype == np.float32
    assert_array_equal(NET.ntk(X), NET.ntk(X.astype(np.float32)))


def test_few_rows_and_columns():
    assert NET.ntk(np.empty((0, 3))).shape == (0, 0)
    assert NET.ntk(np.empty((0, 3)), np.eye(3)).shape == (0, 3)
    assert NET.ntk(np.eye(3), np.empty((0, 3))).shape == (3, 0)
    assert NET.ntk(sp.csr_array((0, 3))).shape == (0, 0)
    assert NET.ntk(np.eye(3), sp.csr_array((0, 3))).shape == (3, 0)
    assert NET.diag(np.empty((0, 3))).ntk.shape == (0,)
    assert NET.ntk([[1.0]]).shape == (1, 1)
    assert_allclose(NET.ntk([[2.0], [3.0]]), reference.kernels(NET, [[2.0], [3.0]])[1], rtol=1e-12)


# --- what is refused ---


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite_is_refused(bad):
    X = np.eye(3)
    Z = X.copy()
    Z[1, 1] = bad
    for call, name in (
        (lambda: NET.ntk(Z), "X"),
        (lambda: NET.ntk(X, Z), "Z"),
        (lambda: NET.ntk(X, sp.csr_array(Z)), "Z"),
        (lambda: NET.diag(Z), "X"),
    ):
        with pytest.raises(ValueError, match=f"Input {name} contains"):
            call()


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.ones(3), "Expected 2D array, got 1D"),
        (3.0, "Expected 2D array, got scalar"),
        (np.ones((2, 2, 2)), r"expected rows .* \(2, 2, 2\)"),
        (np.ones((2, 0)), "0 feature"),
        (np.ones((2, 2), complex), "Complex data not supported"),
        ([["a", "b"]], "could not convert string to float|dtype='numeric' is not compatible"),
    ],
)
def test_what_is_no_table_of_reals_is_refused(X, message):
    with pytest.raises(ValueError, match=message):
        NET.ntk(X)
    with pytest.raises(ValueError, match=message):
        NET.diag(X)


def test_different_numbers_of_features_are_refused():
    with pytest.raises(ValueError, match="Z: expected 3 features as in X, got 2"):
        NET.ntk(np.eye(3), np.eye(2))
