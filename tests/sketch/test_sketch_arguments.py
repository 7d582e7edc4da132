"""The door of the sketches: shapes, dtypes and outputs of fwht, refusals, scikit-learn's checks."""

import re

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import hadamard
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

import nkfast as nk
from estimator_checks import parametrize_with_checks
from nkfast.sketch import OSNAP, SRHT, CountSketch, PolySketch, TensorSketch, TensorSRHT

ALL = [
    CountSketch(16),
    OSNAP(16),
    SRHT(16),
    SRHT(100),
    TensorSketch(2, 16),
    TensorSketch(3, 20, gamma=0.5, coef0=1.0),
    TensorSRHT(16),
    PolySketch(3, 16),
]


# --- fwht ---


def wht(x, axis=-1):
    """The transform by its matrix, in extended precision."""
    x = np.moveaxis(np.asarray(x, np.longdouble), axis, -1)
    return np.moveaxis(x @ hadamard(x.shape[-1]).astype(np.longdouble), -1, axis)


def rounding(x, axis=-1):
    """log2(n) levels each round once: |error| <= log2(n) u |x|_1, and a rounding of the result."""
    u = float(np.finfo(x.dtype).eps) / 2
    levels = np.log2(x.shape[axis]) + 1
    return levels * u * np.abs(x.astype(np.float64)).sum(axis=axis, keepdims=True) * (1 + 1e-3)


@pytest.mark.simd
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((1,), 0),
        ((64,), 0),
        ((3, 128), -1),
        ((128, 3), 0),
        ((256, 40), -2),
        ((2, 8, 5), 1),
        ((2, 3, 16, 2), 2),
        ((4, 2, 2), 0),
        ((0, 8), 1),
        ((8, 0), 0),
        ((512, 17), 0),
    ],
)
def test_fwht_along_any_axis_of_any_shape(shape, axis, dtype):
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    kept = x.copy()
    y = nk.fwht(x, axis)
    assert y.dtype == dtype
    assert y.shape == shape
    assert np.array_equal(x, kept)
    assert np.all(np.abs(y - wht(x, axis)) <= rounding(x, axis))
    n = shape[axis]
    z = nk.fwht(x, axis, norm="ortho")
    extra = 1 + 2 / (np.log2(n) + 1)  # the scale and its product round as well
    assert np.all(np.abs(z - wht(x, axis) / np.sqrt(n)) <= extra * rounding(x, axis) / np.sqrt(n))


@pytest.mark.simd
@settings(max_examples=40)
@given(k=st.integers(0, 10), rows=st.integers(1, 20), seed=st.integers(0, 2**31))
def test_fwht_twice_is_n_times_the_identity(k, rows, seed):
    x = np.random.default_rng(seed).integers(-100, 100, (rows, 1 << k))
    assert np.array_equal(nk.fwht(nk.fwht(x)), x * 2.0**k)  # integers: exact
    assert np.array_equal(nk.fwht(nk.fwht(x.T, 0), 0), x.T * 2.0**k)
    assert np.allclose(nk.fwht(nk.fwht(x, norm="ortho"), norm="ortho"), x, atol=1e-10)


@pytest.mark.parametrize(
    ("given_dtype", "dtype"),
    [(np.int8, "f8"), (np.uint64, "f8"), (bool, "f8"), (np.float16, "f4"), (">f4", "f4")],
)
def test_fwht_of_other_types(given_dtype, dtype):
    x = np.array([1, 0, 1, 1]).astype(given_dtype)
    y = nk.fwht(x)
    assert y.dtype == dtype
    assert y.tolist() == [3, 1, -1, 1]
    assert nk.fwht([1, 0, 1, 1]).dtype == np.float64
    assert nk.fwht(np.float16([6e4, 6e4])).tolist() == [120000, 0]  # beyond float16


def test_fwht_of_strided_and_readonly_input():
    base = np.random.default_rng(0).standard_normal((6, 64))
    for x in (base[:, ::2], base[::-1], base[:, ::-1], base.T[:32], base[::2, 1:33]):
        assert np.array_equal(
            nk.fwht(x, axis=np.argmax(x.shape)), nk.fwht(x.copy(), axis=np.argmax(x.shape))
        )
    x = base.copy()
    x.flags.writeable = False
    assert np.array_equal(nk.fwht(x), nk.fwht(base))
    assert np.array_equal(nk.fwht(np.broadcast_to(base[0], (3, 64)))[2], nk.fwht(base[0]))


def test_fwht_into_out():
    x = np.random.default_rng(0).standard_normal((5, 16))
    expected = nk.fwht(x)
    out = np.empty_like(x)
    assert nk.fwht(x, out=out) is out
    assert np.array_equal(out, expected)
    assert nk.fwht(x, out=x) is x  # in place
    assert np.array_equal(x, expected)
    long = np.arange(100.0)
    shifted = nk.fwht(long[1:65])
    assert np.array_equal(nk.fwht(long[1:65], out=long[:64]), shifted)  # overlapping
    square = np.random.default_rng(0).standard_normal((32, 32))
    expected = nk.fwht(square.T.copy())
    assert np.array_equal(nk.fwht(square.T, out=square), expected)


def test_fwht_pads():
    x = np.arange(1.0, 7.0).reshape(2, 3)
    assert np.array_equal(nk.fwht(x, pad=True), nk.fwht(np.pad(x, ((0, 0), (0, 1)))))
    assert np.array_equal(nk.fwht(x.T, 0, pad=True), nk.fwht(x, pad=True).T)
    out = np.full((2, 4), np.nan)
    assert nk.fwht(x, pad=True, out=out) is out
    assert nk.fwht(np.ones((2, 4)), pad=True).shape == (2, 4)


READONLY = np.empty((2, 4))
READONLY.flags.writeable = False


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (
            (np.ones((2, 3)),),
            {},
            ValueError,
            "x: expected a power of two as length of axis 1, got 3",
        ),
        ((np.ones((2, 3)),), {}, ValueError, "pad=True appends zeros up to 4"),
        ((np.ones((2, 0)),), {"pad": True}, ValueError, "length of axis 1, got 0"),
        ((1.0,), {}, ValueError, "x: expected at least one dimension"),
        ((np.ones(2, complex),), {}, TypeError, "x: expected real numbers, got dtype complex128"),
        ((["a", "b"],), {}, TypeError, "x: expected real numbers"),
        ((sp.csr_array((2, 4)),), {}, TypeError, "x: expected real numbers"),
        ((np.ones(4), 1), {}, ValueError, "axis: expected an integer in [-1, 0], got 1"),
        ((np.ones(4), -2), {}, ValueError, "axis: expected an integer in [-1, 0], got -2"),
        ((np.ones(4), 0.5), {}, TypeError, "axis: expected an integer, got 0.5"),
        ((np.ones(4),), {"norm": "unit"}, ValueError, "norm: expected None or 'ortho', got 'unit'"),
        ((np.ones(4),), {"out": [0.0] * 4}, TypeError, "out: expected an array, got list"),
        ((np.ones(4),), {"out": np.empty(8)}, ValueError, "shape (4,) and dtype float64, got (8,)"),
        ((np.ones(4),), {"out": np.empty(4, "f4")}, ValueError, "float64, got (4,) and float32"),
        ((np.ones((2, 4)),), {"out": READONLY}, ValueError, "out: expected a C-contiguous"),
        ((np.ones((2, 4)),), {"out": np.empty((4, 2)).T}, ValueError, "out: expected a C-contig"),
        (([1.0, np.nan],), {}, ValueError, "x: expected finite numbers"),
        (([[0.0, 1.0], [np.inf, -np.inf]],), {}, ValueError, "x: expected finite numbers"),
        (([[0.0, np.inf], [0.0, 1.0]], 0), {}, ValueError, "x: expected finite numbers"),
        ((np.float32([3e38, 3e38]),), {}, ValueError, "x: expected finite numbers of finite sums"),
        ((np.broadcast_to(0.0, (2**45, 8)),), {}, ValueError, "x: expected what fits into memory"),
    ],
)
def test_fwht_refuses(arguments, options, error, message):
    with pytest.raises(error, match=re.escape(message)):
        nk.fwht(*arguments, **options)


# --- sketches ---


@pytest.mark.filterwarnings("ignore")  # the checks feed what scikit-learn itself warns about
@parametrize_with_checks([sketch.set_params(random_state=0) for sketch in ALL])
def test_scikit_learn_check(estimator, check):
    check(estimator)


@pytest.mark.parametrize("sketch", ALL, ids=str)
def test_sketches_refuse_bad_input(sketch):
    X = np.ones((4, 5))
    with pytest.raises(NotFittedError):
        type(sketch)().transform(X)
    sketch.fit(X)
    name = type(sketch).__name__
    for bad in (X[:, 1:], sp.csr_array(X[:, 1:])):
        with pytest.raises(ValueError, match=f"4 features, but {name} is expecting 5 features"):
            sketch.transform(bad)
    for bad in (np.where(X > 0, np.nan, X), sp.csr_array(X * np.inf)):
        with pytest.raises(ValueError, match="X contains"):
            sketch.transform(bad)
        with pytest.raises(ValueError, match="X contains"):
            sketch.fit(bad)


@pytest.mark.parametrize("sketch", ALL, ids=str)
@pytest.mark.parametrize(
    ("value", "error"),
    [(0, ValueError), (-1, ValueError), (2**31, ValueError), (1.5, TypeError), ("8", TypeError)],
)
def test_sketches_refuse_bad_numbers(sketch, value, error):
    X = np.ones((4, 5))
    for name in {"n_components", "degree", "n_nonzeros"} & set(sketch.get_params()):
        if value == 2**31 and name == "n_nonzeros":
            continue  # as many as there are components
        bad = type(sketch)(**{name: value})
        with pytest.raises(error, match=f"^({name}|n_components): expected"):
            bad.fit(X)


@pytest.mark.parametrize("name", ["gamma", "coef0"])
def test_tensor_sketch_refuses_bad_scales(name):
    for value, error in [(-1.0, ValueError), (np.nan, ValueError), ("a", TypeError)]:
        with pytest.raises(error, match=f"{name}: expected"):
            TensorSketch(**{name: value}).fit(np.ones((2, 3)))


class NoEmpty:
    """NumPy without allocation, for `nkfast.sketch`."""

    def __getattr__(self, name):
        if name == "empty":
            raise AssertionError("allocated")
        return getattr(np, name)


@pytest.mark.parametrize("sketch", ALL, ids=str)
def test_what_exhausts_memory_is_refused_before_it_is_allocated(sketch, little_memory, monkeypatch):
    little_memory(2**30)
    X = np.ones((4, 5))
    with pytest.raises(ValueError, match="n_components: expected what fits into memory, got a sk"):
        type(sketch)(n_components=2**31 - 1).fit(X)
    small = type(sketch)(n_components=1000, random_state=0).fit(X)
    many = sp.csr_array((200_000, 5))
    monkeypatch.setattr("nkfast.sketch._base.np", NoEmpty())
    with pytest.raises(
        ValueError, match=r"X: expected what fits .* shape \(200000, 1000\): 1,600,000,000 b"
    ):
        small.transform(many)


def test_wide_sparse_rows_are_hashed_into_many_components():
    """Memory is asked for d + m numbers, not for d m of them."""
    d, m = 300_000, 2**17
    X = sp.random(4, d, density=1e-4, random_state=0, format="csr")
    K = (X @ X.T).toarray()
    for sketch in (CountSketch(m), OSNAP(m), TensorSketch(1, m)):
        Z = sketch.set_params(random_state=0).fit_transform(X)
        assert np.allclose(Z @ Z.T, K, atol=0.1 * K.max())


def test_adjoint_refuses():
    sketch = SRHT(8, random_state=0).fit(np.ones((2, 5)))
    with pytest.raises(ValueError, match="Z: expected 8 columns, got 5"):
        sketch.adjoint(np.ones((2, 5)))
    with pytest.raises(TypeError, match="Sparse data was passed for Z"):
        sketch.adjoint(sp.csr_array((2, 8)))
    with pytest.raises(ValueError, match="Z contains NaN"):
        sketch.adjoint(np.full((2, 8), np.nan))
    assert sketch.adjoint(np.ones((0, 8))).shape == (0, 5)
    with pytest.raises(NotFittedError):
        SRHT().adjoint(np.ones((2, 8)))


def test_fit_on_no_rows_is_refused():
    with pytest.raises(ValueError, match="0 sample"):
        CountSketch(8).fit(np.ones((0, 3)))
    assert CountSketch(8).fit(np.ones((1, 3))).transform(np.ones((0, 3))).shape == (0, 8)


@pytest.mark.parametrize("sketch", ALL, ids=str)
def test_in_a_pipeline_with_targets(sketch):
    X, y = np.random.default_rng(0).standard_normal((20, 5)), np.ones(20)
    Z = make_pipeline(sketch).fit(X, y).transform(X)
    assert np.array_equal(Z, sketch.fit_transform(X, y))
