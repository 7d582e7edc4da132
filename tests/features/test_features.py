"""Feature maps against the exact kernels: error, statistics, bits, and inputs of every kind."""

import os
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError

import nkfast as nk
from estimator_checks import parametrize_with_checks
from nkfast.features.collapsed._allocation import Allocation
from nkfast.features.collapsed._polynomial import polynomial_steps

NET = nk.mlp(2, "relu", 1.4, 0.1)
MAPS = {"ntk": nk.NTKFeatures, "nngp": nk.NNGPFeatures}
SKETCHES = ("tensorsrht", "tensorsketch")


@parametrize_with_checks(
    [
        nk.NTKFeatures(n_components=40),
        nk.NNGPFeatures(n_components=33),
        nk.NTKFeatures(nk.mlp(3, "relu", 1.4, 0.1), n_components=7),
        nk.NTKFeatures(n_components=35, sketch="tensorsketch"),
    ]
)
def test_scikit_learn(estimator, check):
    check(estimator)


def relative_error(Z, K):
    Z = Z.astype(np.float64)
    return np.linalg.norm(Z @ Z.T - K) / np.linalg.norm(K)


def normal(n, d, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d)).astype(dtype)


def digits(kind):
    X = load_digits().data
    if kind == "unit":
        X = X[:1000] - X.mean(axis=0)
        return X / np.linalg.norm(X, axis=1, keepdims=True)
    deviation = X.std(axis=0)
    return ((X - X.mean(axis=0)) / np.where(deviation > 0, deviation, 1))[:600]


# The error of the plain construction (degree-8 tree, all degrees concatenated, one SRHT) on the
# same rows is 0.069 at depth 1 and 0.059 at depth 3; bench/ measures it. Asked for: 0.3 and 0.6 of
# that, and 0.06 on standardised digits.
@pytest.mark.parametrize("sketch", SKETCHES)
@pytest.mark.parametrize(
    ("kind", "net", "limit"),
    [
        ("unit", nk.mlp(1), 0.3 * 0.069),
        ("unit", nk.mlp(3), 0.6 * 0.059),
        ("standardised", nk.mlp(3, "relu", 1.4, 0.1), 0.03),
    ],
)
def test_error_on_digits(kind, net, limit, sketch):
    X = digits(kind)
    K = net.ntk(X)
    maps = [nk.NTKFeatures(net, 4096, sketch=sketch, random_state=s) for s in range(3)]
    assert np.mean([relative_error(phi.fit_transform(X), K) for phi in maps]) < limit
    single = maps[0].fit_transform(X.astype(np.float32))
    assert single.dtype == np.float32
    assert relative_error(single, K) < limit


@pytest.mark.parametrize("sketch", SKETCHES)
@pytest.mark.parametrize("kernel", MAPS)
@pytest.mark.parametrize("depth", [1, 3, 10])
def test_error_falls_with_the_width(kernel, depth, sketch):
    net = nk.mlp(depth, "relu", 1.4, 0.1)
    X = digits("standardised")[:300]
    K = getattr(net, kernel)(X)
    errors = [
        relative_error(MAPS[kernel](net, m, sketch=sketch, random_state=0).fit_transform(X), K)
        for m in (64, 512, 4096)
    ]
    assert errors[0] > 1.3 * errors[1] > 1.3**2 * errors[2]
    assert errors[2] < 0.04


@pytest.mark.parametrize("kernel", MAPS)
def test_few_dimensions_are_exact(kernel):
    """Where all degrees fit there is no sketch, and next to no error."""
    X = normal(200, 2)
    K = getattr(NET, kernel)(X)
    features = MAPS[kernel](NET, 1000, random_state=0).fit(X)
    assert features.allocation_.exact[features.expansion_.ranks == 0].all()
    assert relative_error(features.transform(X), K) < 0.006


@pytest.mark.parametrize("sketch", SKETCHES)
def test_sketched_degrees_are_unbiased(sketch):
    """The mean over seeds of the inner products, degree by degree, within z = 5.

    Unit vectors; the sketch of degree l has m features and E <S(x), S(y)> = rho^l up to the bias
    of normalising, O(1 / m).
    """
    net = nk.mlp(1)
    X = normal(6, 48)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    X[1] = 0.8 * X[0] + 0.6 * (X[1] - X[1] @ X[0] * X[0]) / np.sqrt(1 - (X[1] @ X[0]) ** 2)
    rho = X @ X.T
    n_seeds, found = 300, {}
    for seed in range(n_seeds):
        features = nk.NTKFeatures(net, 400, sketch=sketch, random_state=seed).fit(X)
        Z, column = features.transform(X), 0
        for l, m, exact in zip(
            features.expansion_.degrees,
            features.allocation_.widths,
            features.allocation_.exact,
            strict=True,
        ):
            part = Z[:, column : column + m]
            column += m
            if exact or m < 16:
                continue
            weight = np.sqrt(np.diagonal(part @ part.T))
            found.setdefault(int(l), []).append(
                (part / weight[:, None]) @ (part / weight[:, None]).T
            )
            assert np.allclose(weight, weight[0])
    assert 2 in found
    off = ~np.eye(6, dtype=bool)
    for l, values in found.items():
        values = np.array(values)[:, off]
        spread = values.std(axis=0, ddof=1) / np.sqrt(len(values))
        bias = 1.5 / 16
        assert np.all(
            np.abs(values.mean(axis=0) - rho[off] ** l) < 5 * spread + bias * rho[off] ** 2
        )


def spectrum(values, hashes, signs, width):
    """The Fourier transform of a CountSketch, by its definition."""
    turns = np.exp(-2j * np.pi * np.outer(np.arange(width), hashes) / width)
    return turns @ (signs * values)


@pytest.mark.parametrize("d", [3, 50])  # where all fits, and where coordinates share buckets
@pytest.mark.parametrize("degree", [2, 3, 4])
def test_tensor_sketch_chain_is_a_product_of_spectra(d, degree):
    """Against Fourier transforms by their definition, up to order, signs and the norm."""
    width = 32
    plan = Allocation(np.array([width]), np.array([False]), 0, 0.0)
    rng = np.random.RandomState(0)
    steps = polynomial_steps(np.array([degree]), plan, d, width, rng, "tensorsketch")
    x = normal(2, d)
    Z = np.empty((2, width))
    steps.compile(d).run(x, None, np.ones((2, 1)), Z, 1)
    hashing = [step.arguments[3:] for step in steps if step.method == "count_sketch"]
    before = x
    if degree > 2:
        ends = [i for i, step in enumerate(steps) if step.method == "normalise"]
        end = ends[degree - 3]
        before = np.empty((2, width))
        chain = steps[: end + 1]
        chain.emit(steps[end].arguments[0], width)
        chain.compile(d).run(x, None, None, before, 1)
    expected = [
        spectrum(row, *hashing[-2], width) * spectrum(state, *hashing[-1], width)
        for row, state in zip(x, before, strict=True)
    ]
    for row, whole in zip(Z, expected, strict=True):
        half = whole[1 : width // 2]
        numbers = np.concatenate([whole[[0, width // 2]].real, half.real, half.imag])
        numbers /= np.linalg.norm(numbers)
        assert np.allclose(np.sort(np.abs(row)), np.sort(np.abs(numbers)), atol=1e-12)


def test_points_of_any_norm():
    X = normal(200, 12) * np.exp(normal(200, 1, seed=1))
    X[5] = 0
    K = NET.ntk(X)
    features = nk.NTKFeatures(NET, 2000, random_state=0).fit(X)
    Z = features.transform(X)
    assert relative_error(Z, K) < 0.03
    assert np.abs(Z @ Z.T - K)[5].max() < 1e-3 * K.max()
    for scale in (1e-3, 0.1, 10, 1e3):  # outside the fitted range
        cross = NET.ntk(X * scale, X)
        error = np.linalg.norm(features.transform(X * scale) @ Z.T - cross)
        assert error < 0.05 * np.linalg.norm(cross)


def test_a_homogeneous_network_scales_with_the_norm():
    net = nk.mlp(3)
    X = normal(50, 10)
    features = nk.NTKFeatures(net, 500, random_state=0).fit(X)
    assert np.allclose(features.transform(1e6 * X), 1e6 * features.transform(X), 1e-10)
    assert np.all(features.transform(0 * X) == 0)


@pytest.mark.simd
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("sketch", SKETCHES)
def test_same_bits_for_any_threads_and_chunks(dtype, sparse, sketch):
    X = normal(500, 20, dtype) * np.exp(normal(500, 1, dtype, 1))
    X[::7] = 0
    X = sp.csr_array(X) if sparse else X
    features = nk.NTKFeatures(NET, 700, sketch=sketch, random_state=0).fit(X)
    with nk.num_threads(1):
        whole = features.transform(X)
    for threads in (2, 7):
        with nk.num_threads(threads):
            assert np.array_equal(features.transform(X), whole)
            assert np.array_equal(clone(features).fit(X).transform(X), whole)
    for size, end in ((1, 15), (3, 30), (33, 99)):
        parts = [features.transform(X[i : i + size]) for i in range(0, end, size)]
        assert np.array_equal(np.vstack(parts), whole[:end])
    order = np.random.default_rng(0).permutation(500)
    assert np.array_equal(features.transform(X[order]), whole[order])


@pytest.mark.parametrize("sketch", SKETCHES)
def test_csr_equals_dense(sketch):
    X = sp.random(100, 3000, density=0.01, random_state=np.random.default_rng(0), format="csr")
    for m in (200, 4000):
        features = nk.NTKFeatures(NET, m, sketch=sketch, random_state=0).fit(X)
        Z = features.transform(X)
        assert np.allclose(Z, features.transform(X.toarray()), 1e-9, 1e-12)
        other = nk.NTKFeatures(NET, m, sketch=sketch, random_state=0).fit(X.toarray())
        assert np.allclose(Z, other.transform(X), 1e-6, 1e-9)
        wide = sp.csr_matrix(X)
        wide.indices, wide.indptr = wide.indices.astype(np.int64), wide.indptr.astype(np.int64)
        assert np.array_equal(features.transform(wide), Z)
        assert relative_error(Z, NET.ntk(X)) < 0.03
        assert np.allclose(Z, features.transform(X.tocoo()), 1e-12)


def test_csr_with_duplicates_and_unsorted_columns():
    doubled = sp.csr_array(([1.0, 2.0, 3.0], [2, 2, 0], [0, 3]), shape=(1, 4))
    plain = np.array([[3.0, 0.0, 3.0, 0.0]])
    features = nk.NTKFeatures(NET, 50, random_state=0).fit(plain)
    assert np.allclose(features.transform(doubled), features.transform(plain), 1e-12)
    assert doubled.nnz == 3  # the caller's matrix stays as it was


def test_dtypes_and_memory_layouts():
    X = normal(40, 9)
    features = nk.NTKFeatures(NET, 100, random_state=0).fit(X)
    Z = features.transform(X)
    assert Z.dtype == np.float64
    read_only = X.copy()
    read_only.flags.writeable = False
    strided = np.zeros((80, 18))[::2, ::2]
    strided[:] = X
    unaligned = np.frombuffer(b"x" + X.tobytes(), np.uint8)[1:].view(np.float64).reshape(X.shape)
    for same in (np.asfortranarray(X), X.astype(">f8"), read_only, strided, unaligned, X.tolist()):
        assert np.array_equal(features.transform(same), Z)
    assert features.transform(X.astype(np.float32)).dtype == np.float32
    half = features.transform(X.astype(np.float16))
    assert half.dtype == np.float32
    assert np.allclose(half, Z, atol=0.02)
    whole = features.transform(np.round(X).astype(np.int32))
    assert np.array_equal(whole, features.transform(np.round(X)))


@pytest.mark.parametrize("n", [1, 2, 17])
@pytest.mark.parametrize("d", [1, 2, 5, 300])
@pytest.mark.parametrize("m", [1, 2, 3, 8, 100, 1000])
def test_any_shape(n, d, m):
    X = normal(n, d)
    for net in (NET, nk.mlp(1), nk.Sequential(nk.Dense()), nk.mlp(0, b_std=1.0)):
        for cls in MAPS.values():
            features = cls(net, m, random_state=0).fit(X)
            Z = features.transform(X)
            assert Z.shape == (n, m)
            assert np.isfinite(Z).all()
            Z = cls(net, m, sketch="tensorsketch", random_state=0).fit_transform(X)
            assert Z.shape == (n, m)
            assert np.isfinite(Z).all()
            assert features.get_feature_names_out().shape == (m,)
    zeros = nk.NTKFeatures(NET, m, random_state=0).fit(np.zeros((n, d)))
    Z = zeros.transform(np.zeros((n, d)))
    rtol = 1e-9 if m >= 32 else 0.02  # narrower maps have not all ranks of degree 0
    assert np.allclose(Z @ Z.T, NET.ntk(np.zeros((1, d)))[0, 0], rtol)


@pytest.mark.parametrize("scale", [1e-40, 1e-30, 1e30])
def test_extreme_float32(scale):
    X = (normal(20, 6) * scale).astype(np.float32)
    for sketch in SKETCHES:
        features = nk.NTKFeatures(NET, 60, sketch=sketch, random_state=0)
        for fitted in (X, normal(20, 6, np.float32)):
            assert np.isfinite(features.fit(fitted).transform(X)).all()


def test_bad_input_is_refused():
    X = normal(10, 4)
    features = nk.NTKFeatures(NET, 20).fit(X)
    for bad in (np.nan, np.inf):
        Y = X.copy()
        Y[3, 2] = bad
        for call in (features.fit, features.transform):
            with pytest.raises(ValueError, match="X contains"):
                call(Y)
            with pytest.raises(ValueError, match="X contains"):
                call(sp.csr_array(Y))
    with pytest.raises(ValueError, match="expecting 4 features"):
        features.transform(X[:, :3])
    with pytest.raises(ValueError, match="0 sample"):
        features.fit(X[:0])
    with pytest.raises(NotFittedError):
        nk.NTKFeatures().transform(X)
    unsound = sp.csr_array(X)
    unsound.indices[0] = 100
    with pytest.raises(ValueError, match=r"CSR|indices|index"):
        features.transform(unsound)
    for arguments, error, match in [
        ({"n_components": 0}, ValueError, "n_components: expected an integer >= 1, got 0"),
        ({"n_components": 2.5}, TypeError, "n_components: expected an integer, got 2.5"),
        ({"degree": -1}, ValueError, "degree"),
        ({"degree": "many"}, ValueError, "degree: expected an integer or 'auto', got 'many'"),
        ({"net": nk.myrtle()}, ValueError, "X: expected images of shape"),
        ({"net": "relu"}, TypeError, "net: expected a network"),
        ({"sketch": "srht"}, ValueError, "sketch: expected one of .*, got 'srht'"),
        ({"sketch": None}, ValueError, "sketch: expected one of .*, got None"),
        ({"construction": "deep"}, ValueError, "construction: expected one of .*, got 'deep'"),
        ({"random_state": "x"}, ValueError, "seed"),
    ]:
        with pytest.raises(error, match=match):
            nk.NTKFeatures(**arguments).fit(X)


@pytest.mark.parametrize("sketch", SKETCHES)
def test_clone_pickle_and_the_callers_network(sketch):
    X = normal(30, 6)
    net = nk.mlp(2)
    features = nk.NTKFeatures(net, 50, sketch=sketch, random_state=3).fit(X)
    Z = features.transform(X)
    assert np.array_equal(pickle.loads(pickle.dumps(features)).transform(X), Z)
    assert np.array_equal(clone(features).fit(X).transform(X), Z)
    net.set_params(w_std=0.5)
    assert np.array_equal(features.transform(X * 100), 100 * Z) or np.allclose(
        features.transform(X * 100), 100 * Z
    )
    assert features.set_params(net__depth=1).net.depth == 1
    frame = nk.NTKFeatures(net, 5, random_state=0).fit(X).get_feature_names_out()
    assert frame.tolist() == [f"ntkfeatures{i}" for i in range(5)]


def test_frames_in_and_out():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(normal(30, 4), columns=["a", "b", "c", "d"])
    features = nk.NTKFeatures(NET, 5, random_state=0).set_output(transform="pandas").fit(frame)
    Z = features.transform(frame)
    assert Z.columns.tolist() == [f"ntkfeatures{i}" for i in range(5)]
    assert features.feature_names_in_.tolist() == ["a", "b", "c", "d"]
    with pytest.raises(ValueError, match="feature names"):
        features.transform(frame[["b", "a", "c", "d"]])


def test_seeds_behave_as_in_scikit_learn():
    X = normal(30, 20)
    one = nk.NTKFeatures(NET, 100, random_state=1).fit_transform(X)
    assert np.array_equal(one, nk.NTKFeatures(NET, 100, random_state=1).fit_transform(X))
    assert not np.array_equal(one, nk.NTKFeatures(NET, 100, random_state=2).fit_transform(X))
    state = np.random.RandomState(1)
    assert np.array_equal(one, nk.NTKFeatures(NET, 100, random_state=state).fit_transform(X))
    assert not np.array_equal(one, nk.NTKFeatures(NET, 100, random_state=state).fit_transform(X))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_use_before_and_after_fork():
    code = """
import multiprocessing as mp, numpy as np, nkfast as nk
X = np.random.default_rng(0).standard_normal((4000, 64))
features = nk.NTKFeatures(n_components=512, random_state=0).fit(X)
nk.set_num_threads(2)
before = features.transform(X)
with mp.get_context("fork").Pool(2) as pool:
    parts = pool.map(features.transform, [X, X])
assert all(np.array_equal(before, part) for part in parts)
assert np.array_equal(before, features.transform(X))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_degree_zero_is_a_constant():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Z = nk.NTKFeatures(nk.mlp(1, "relu", 1.4, 0.5), 8, degree=0).fit_transform(np.eye(3))
    assert_allclose(Z, Z[:1].repeat(3, axis=0), 1e-12)
