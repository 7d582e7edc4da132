"""The layer-by-layer construction: its mean, its error, and inputs and networks of every kind."""

import pickle
import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

import nkfast as nk
from estimator_checks import parametrize_with_checks
from nkfast.features._layerwise import hermite_tables

NET = nk.mlp(2, "relu", 1.4, 0.1)
QUADRATIC = nk.Polynomial([0.3, 1.0, 0.5])
MAPS = {"ntk": nk.NTKFeatures, "nngp": nk.NNGPFeatures}
Z_SCORE = 5.0


def layerwise(net, m, kernel="ntk", **arguments):
    arguments = {"random_state": 0} | arguments
    return MAPS[kernel](net, m, construction="layerwise", **arguments)


def normal(n, d, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d)).astype(dtype)


def relative_error(Z, K):
    Z = Z.astype(np.float64)
    return np.linalg.norm(Z @ Z.T - K) / np.linalg.norm(K)


@parametrize_with_checks(
    [
        layerwise(None, 40),
        layerwise(NET, 33, "nngp", oversampling=2, random_state=None),
        layerwise(nk.mlp(3, "gelu", 1.4, 0.1), 7),
    ]
)
def test_scikit_learn(estimator, check):
    check(estimator)


# --- what is expected ---


@pytest.mark.parametrize("b_std", [0.0, 0.5])
@pytest.mark.parametrize("act", [QUADRATIC, nk.Hermite(3)])
@pytest.mark.parametrize("kernel", MAPS)
def test_one_layer_is_unbiased(kernel, act, b_std):
    """Polynomials have no degree above those sketched, and the norm of the first phi is exact."""
    net = nk.mlp(1, act, 1.2, b_std)
    X = normal(5, 12) * np.array([[1.0], [2.0], [0.5], [1.0], [0.0]])
    X[3] += X[0]
    found = [layerwise(net, 16, kernel, random_state=s).fit_transform(X) for s in range(400)]
    values = np.array([Z @ Z.T for Z in found])
    spread = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    K = getattr(net, kernel)(X)
    assert np.all(np.abs(values.mean(axis=0) - K) <= Z_SCORE * spread + 1e-9 * np.abs(K).max())


@pytest.mark.parametrize(
    "net",
    [
        nk.mlp(0, b_std=1.0),
        nk.mlp(1, nk.Polynomial([0.5, 2.0]), 1.2, 0.3),
        nk.Sequential(nk.Dense(1.2, 0.3), nk.Residual(nk.Dense(0.7), nk.Dense(0.4, 0.2))),
        nk.Sequential(nk.Residual(nk.Dense(0.7)), nk.Dense(0.9), nk.Monomial(1), nk.Dense()),
        nk.Sequential(nk.Dense(1.0, 0.5), nk.Polynomial([2.0])),
    ],
)
@pytest.mark.parametrize("sparse", [False, True])
def test_exact_without_a_sketch(net, sparse):
    """Affine functions of few dimensions fit as they are; the product of the NTK does not."""
    X = normal(9, 3) * np.arange(9)[:, None]
    given = sp.csr_array(X) if sparse else X
    assert_allclose(*(gram(net, "nngp", given, 50), net.nngp(X)), 1e-9, 1e-12)
    if all(isinstance(layer, nk.Dense) for layer in net.layers):
        assert_allclose(gram(net, "ntk", given, 50), net.ntk(X), 1e-9, 1e-12)
    assert_allclose(gram(net, "ntk", given, 4096), net.ntk(X), 0.06, 0.06 * net.ntk(X).max())


def gram(net, kernel, X, m):
    Z = layerwise(net, m, kernel).fit_transform(X)
    return Z @ Z.T


BRANCH = (nk.GELU(), nk.Dense(0.8, 0.3))
NETWORKS = {
    "relu": nk.mlp(3, "relu", 1.4, 0.1),
    "erf": nk.mlp(2, "erf", 1.4, 0.1),
    "tanh": nk.mlp(1, "tanh", 1.4, 0.5),
    "homogeneous": nk.mlp(2, nk.Abs(), 1.0),
    "normalised": nk.mlp(2, nk.ExpNormalized(), 1.0),
    "residual": nk.Sequential(nk.Dense(1.2, 0.1), nk.Residual(*BRANCH), nk.ReLU(), nk.Dense()),
    "two residuals": nk.Sequential(
        nk.Residual(nk.Dense(0.8, 0.2)),
        nk.Dense(1.1),
        nk.Residual(nk.Residual(*BRANCH), *BRANCH),
        nk.Dense(0.9),
    ),
    "ends in an activation": nk.Sequential(nk.Dense(1.2, 0.2), nk.GELU()),
    "no activation": nk.Sequential(nk.Dense(1.2, 0.2), nk.Dense(0.9, 0.1)),
    "sign": nk.Sequential(nk.Dense(1.0, 0.2), nk.Sign(), nk.Dense(1.0), nk.Erf(), nk.Dense()),
    "even": nk.mlp(1, nk.Cos(), 1.4),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("kernel", MAPS)
def test_error_falls_like_the_root_of_the_width(kernel, name):
    net = NETWORKS[name]
    X = normal(80, 24)
    K = getattr(net, kernel)(X)
    errors = []
    for m in (128, 512, 2048):
        found = [
            relative_error(layerwise(net, m, kernel, random_state=s).fit_transform(X), K)
            for s in range(4)
        ]
        errors.append(np.mean(found))
    if name == "no activation":
        assert max(errors) < 1e-12
        return
    # Halved by four times as many, but for the degrees above 8, which no width brings back: most
    # of all those of a step.
    rate = 1.4 if name in ("sign", "relu", "homogeneous") else 1.7
    assert errors[0] > rate * errors[1] > rate**2 * errors[2]
    assert errors[2] < 0.25


def test_a_derivative_that_is_zero():
    """Of a constant and, by convention, of a step: the NTK is that of the layers behind."""
    X = normal(20, 6)
    for act in (nk.Polynomial([1.5]), nk.Sign()):
        net = nk.Sequential(nk.Dense(), act, nk.Dense(1.0, 0.3))
        phi = layerwise(net, 3000).fit(X)
        assert phi.kernel_error(X)["frobenius"] < 0.15
        end = nk.Sequential(nk.Dense(), act)
        assert np.all(layerwise(end, 20).fit_transform(X) == 0)
    zero = nk.mlp(1, nk.Polynomial([0.0]), 1.0, 0.5)
    assert_allclose(gram(zero, "ntk", X, 20), zero.ntk(X), 1e-9)


def test_the_degree_is_that_of_each_layer():
    net, X = nk.mlp(1, "relu"), normal(60, 3)
    errors = [
        layerwise(net, 3000, degree=q).fit(X).kernel_error(X)["frobenius"] for q in (0, 1, 2, 8)
    ]
    assert errors[0] > 2 * errors[1] > 2 * 1.5 * errors[2] > 1.5 * errors[3]
    assert layerwise(net, 50).fit(X).degree_ == 8
    assert layerwise(net, 50, degree=12).fit(X).degree_ == 12


@pytest.mark.parametrize("depth", [1, 3])
def test_the_collapsed_construction_is_better(depth):
    X = load_digits().data[:400] / 16
    net = nk.mlp(depth, "gelu", 1.4, 0.1)
    collapsed = nk.NTKFeatures(net, 1000, random_state=0).fit(X).kernel_error(X)
    found = layerwise(net, 1000).fit(X).kernel_error(X)
    assert set(found) == set(collapsed)
    assert collapsed["frobenius"] < found["frobenius"] / 2
    assert found["frobenius"] < 0.3


# --- rows ---


@pytest.mark.parametrize("act", ["relu", "gelu", "tanh", nk.HardTanh()])
def test_coefficients_between_their_nodes(act):
    """Interpolated in the norm, and outside the range of `fit` computed for each row."""
    X = normal(100, 12) * np.exp(normal(100, 1, seed=1))
    X[5] = 0
    net = nk.mlp(2, act, 1.4, 0.3)
    phi = layerwise(net, 16).fit(X)
    for Y in (X, X[:5] * 1e-3, X[:5] * 1e3):
        norms = np.linalg.norm(Y, axis=1)
        expected = hermite_tables(net, norms, 12, 8)
        found = phi._construction.coefficients(norms)
        scale = np.abs(expected).max(axis=-1, keepdims=True)
        assert np.all(np.abs(found - expected) < 1e-6 * scale)


def test_rows_of_any_norm():
    X = normal(60, 12) * np.exp(normal(60, 1, seed=1))
    X[5] = 0
    phi = layerwise(NET, 4000).fit(X)
    Z = phi.transform(X)
    assert relative_error(Z, NET.ntk(X)) < 0.12
    assert_allclose(Z[5] @ Z[5], NET.ntk(X)[5, 5], 0.1)
    for scale in (1e-3, 10, 1e3):
        cross = NET.ntk(X * scale, X)
        error = np.linalg.norm(phi.transform(X * scale) @ Z.T - cross)
        assert error < 0.12 * np.linalg.norm(cross)


def test_a_homogeneous_network_scales_with_the_norm():
    X = normal(20, 10)
    phi = layerwise(nk.mlp(3), 100).fit(X)
    assert_allclose(phi.transform(1e4 * X), 1e4 * phi.transform(X), 1e-8, 1e-8)
    assert np.all(phi.transform(0 * X) == 0)


@pytest.mark.parametrize("m", [50, 700])
@pytest.mark.parametrize("name", ["relu", "two residuals", "no activation"])
def test_csr_equals_dense(name, m):
    net = NETWORKS[name]
    X = sp.random(60, 300, density=0.05, random_state=np.random.default_rng(0), format="csr")
    phi = layerwise(net, m).fit(X)
    Z = phi.transform(X)
    assert_allclose(phi.transform(X.toarray()), Z, 1e-8, 1e-10)
    assert_allclose(layerwise(net, m).fit(X.toarray()).transform(X), Z, 1e-6, 1e-8)
    single = phi.transform(X.astype(np.float32))
    assert single.dtype == np.float32
    assert_allclose(single, Z, atol=1e-4 * np.abs(Z).max())
    wide = sp.csr_matrix(X)
    wide.indices, wide.indptr = wide.indices.astype(np.int64), wide.indptr.astype(np.int64)
    assert_array_equal(phi.transform(wide), Z)
    if m == 700:
        assert relative_error(Z, net.ntk(X)) < 0.25


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sparse", [False, True])
def test_same_bits_for_any_threads_and_chunks(dtype, sparse):
    X = normal(200, 20, dtype) * np.exp(normal(200, 1, dtype, 1))
    X[::7] = 0
    X = sp.csr_array(X) if sparse else X
    phi = layerwise(NETWORKS["tanh"], 130).fit(X[:100])
    with nk.num_threads(1):
        whole = phi.transform(X)
    with nk.num_threads(3):
        assert_array_equal(phi.transform(X), whole)
        assert_array_equal(clone(phi).fit(X[:100]).transform(X), whole)
    parts = [phi.transform(X[i : i + 3]) for i in range(0, 99, 3)]
    assert_array_equal(np.vstack(parts), whole[:99])


@pytest.mark.parametrize("n", [1, 17])
@pytest.mark.parametrize("d", [1, 5, 300])
@pytest.mark.parametrize("m", [1, 2, 3, 100])
def test_any_shape(n, d, m):
    X = normal(n, d)
    for net in (NET, nk.mlp(0, b_std=1.0), NETWORKS["two residuals"]):
        for kernel in MAPS:
            phi = layerwise(net, m, kernel).fit(X)
            Z = phi.transform(X)
            assert Z.shape == (n, m)
            assert np.isfinite(Z).all()
            assert phi.get_feature_names_out().shape == (m,)
            assert np.isfinite(phi.fit(0 * X).transform(0 * X)).all()


@pytest.mark.parametrize("scale", [1e-40, 1e-30, 1e30])
def test_extreme_float32(scale):
    X = (normal(20, 6) * scale).astype(np.float32)
    for fitted in (X, normal(20, 6, np.float32)):
        assert np.isfinite(layerwise(NET, 60).fit(fitted).transform(X)).all()


# --- as an estimator ---


def test_pickle_clone_and_another_construction():
    X = normal(30, 6)
    phi = layerwise(NETWORKS["residual"], 50).fit(X)
    Z = phi.transform(X)
    assert_array_equal(pickle.loads(pickle.dumps(phi)).transform(X), Z)
    assert_array_equal(clone(phi).fit(X).transform(X), Z)
    assert not np.allclose(clone(phi).set_params(random_state=1).fit(X).transform(X), Z)
    assert not hasattr(phi, "expansion_")
    collapsed = nk.NTKFeatures(NETWORKS["residual"], 50, random_state=0).fit(X)
    phi.set_params(construction="collapsed")
    assert_array_equal(phi.transform(X), Z)  # fitted as it is
    assert_array_equal(phi.fit(X).transform(X), collapsed.transform(X))
    assert_array_equal(phi.set_params(construction="layerwise").fit(X).transform(X), Z)
    assert not hasattr(phi, "expansion_")


def test_flatten_of_rows_changes_nothing():
    X = normal(30, 6)
    flat = nk.Sequential(nk.Dense(1.4), nk.ReLU(), nk.Flatten(), nk.Dense(1.4))
    plain = nk.Sequential(nk.Dense(1.4), nk.ReLU(), nk.Dense(1.4))
    assert_array_equal(*(layerwise(net, 50).fit_transform(X) for net in (flat, plain)))


def test_frames_within_and_without():
    pytest.importorskip("pandas")
    X = normal(30, 4)
    expected = layerwise(NET, 8).fit_transform(X)
    with sklearn.config_context(transform_output="pandas"):
        assert_array_equal(layerwise(NET, 8).fit_transform(X).to_numpy(), expected)


def test_automatic_width_and_oversampling():
    X = load_digits().data[:600] / 16
    net = nk.mlp(1, "gelu", 1.4, 0.1)
    phi = layerwise(net, "auto", target_error=0.1).fit(X)
    assert phi.error_ <= 0.1
    assert relative_error(phi.transform(X), net.ntk(X)) < 0.12
    with pytest.warns(ConvergenceWarning, match="at max_components=64"):
        layerwise(net, "auto", target_error=1e-3, max_components=64).fit(X)
    over = layerwise(net, 60, oversampling=8).fit(X)
    assert over.transform(X).shape == (600, 60)
    wide = layerwise(net, 480).fit(X).transform(X)
    assert_allclose(over.transform(X), wide @ over.compression_, 1e-8, 1e-10)


def test_memory_is_bounded_by_blocks():
    """Four times as many rows take more memory for their features only."""
    phi = layerwise(nk.mlp(1), 256).fit(normal(300, 10, np.float32))
    peaks = []
    for n in (3000, 12_000):
        X = normal(n, 10, np.float32)
        phi.transform(X[:10])
        tracemalloc.start()
        phi.transform(X)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 1.2 * 4 * 9000 * 256
