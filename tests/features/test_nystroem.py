"""Nystroem features: exact on the landmarks, never above the kernel; inputs of every kind."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline

import nkfast as nk
from estimator_checks import parametrize_with_checks
from nkfast.features._nystroem import _normalization

NET = nk.mlp(2, "relu", 1.4, 0.1)
SELECTIONS = pytest.mark.parametrize("selection", ["uniform", "kmeans++"])
BOTH = pytest.mark.parametrize("get", ["nngp", "ntk"])


@pytest.mark.filterwarnings("ignore:n_components")  # the checks fit on few rows
@parametrize_with_checks(
    [
        nk.Nystroem(n_components=12),
        nk.Nystroem(NET, n_components=40, get="nngp"),
        nk.Nystroem(NET, n_components=7, selection="kmeans++"),
    ]
)
def test_scikit_learn(estimator, check):
    check(estimator)


def normal(n, d, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d)).astype(dtype)


# --- the approximation ---


@SELECTIONS
@BOTH
def test_exact_on_the_landmarks_and_never_above_the_kernel(get, selection):
    X, new = normal(120, 5), normal(60, 5, seed=1)
    features = nk.Nystroem(NET, 30, get=get, selection=selection, random_state=0).fit(X)
    marks = features.component_indices_
    assert len(set(marks.tolist())) == 30
    assert_array_equal(features.components_, X[marks])
    everything = np.vstack([X, new])
    Z, K = features.transform(everything), NET.kernel(everything, get=get)
    assert_allclose((Z @ Z.T)[marks], K[marks], 1e-10)
    largest = np.linalg.eigvalsh(K)[-1]
    assert np.linalg.eigvalsh(K - Z @ Z.T)[0] > -1e-12 * largest
    assert np.trace(K - Z @ Z.T) > 1e-3 * np.trace(K)  # and yet below it


@BOTH
def test_all_rows_as_landmarks_give_the_kernel(get):
    X = normal(80, 6)
    Z = nk.Nystroem(NET, 80, get=get, random_state=0).fit_transform(X)
    assert_allclose(Z @ Z.T, NET.kernel(X, get=get), 1e-10)


def test_more_landmarks_less_error():
    X = load_digits().data[:600] / 16
    K = NET.ntk(X)
    errors = []
    for m in (20, 80, 320):
        Z = nk.Nystroem(NET, m, random_state=0).fit_transform(X)
        errors.append(np.linalg.norm(Z @ Z.T - K) / np.linalg.norm(K))
    assert errors[0] > 2 * errors[1] > 4 * errors[2], errors
    assert errors[2] < 0.01


def test_the_factor_is_the_least_squares_one():
    """Z Z^T = K(X, L) K(L, L)^+ K(L, X), whatever factor of the pseudo-inverse is used."""
    X = normal(50, 4)
    features = nk.Nystroem(NET, 10, random_state=3).fit(X)
    cross, own = NET.ntk(X, features.components_), NET.ntk(features.components_)
    Z = features.transform(X)
    assert_allclose(Z @ Z.T, cross @ np.linalg.solve(own, cross.T), 1e-9)
    W = features.normalization_
    assert_allclose(W @ W.T @ own, np.eye(10), atol=1e-9)


def test_kmeans_finds_the_small_clusters():
    """Uniform landmarks miss clusters of 5 rows among 2000; distances in feature space do not."""
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.standard_normal((12, 12)))[0]
    sizes = [1945] + 11 * [5]
    X = np.repeat(directions, sizes, axis=0) + 1e-5 * rng.standard_normal((2000, 12))
    cluster = np.repeat(np.arange(12), sizes)
    found = {}
    for selection in ("uniform", "kmeans++"):
        features = nk.Nystroem(NET, 12, selection=selection, random_state=0).fit(X)
        found[selection] = len(set(cluster[features.component_indices_].tolist()))
    assert found["kmeans++"] == 12
    assert found["uniform"] < 6


def test_kmeans_draws_by_squared_distance():
    """The second landmark's frequencies, from a first that is the same, are D^2 / sum D^2."""
    X = normal(6, 3)
    K = NET.ntk(X)
    distances = np.diag(K)[:, None] + np.diag(K) - 2 * K
    counts = np.zeros((6, 6))
    for seed in range(3000):
        features = nk.Nystroem(NET, 2, selection="kmeans++", random_state=seed).fit(X)
        counts[tuple(features.component_indices_)] += 1
    firsts = counts.sum(axis=1, keepdims=True)
    expected = firsts * distances / distances.sum(axis=1, keepdims=True)
    off = ~np.eye(6, dtype=bool)
    assert np.all(np.diag(counts) == 0)
    assert np.all(np.abs(counts - expected)[off] < 5 * np.sqrt(expected[off]))
    assert np.all(np.abs(firsts - 500) < 5 * np.sqrt(500))


# --- missing rank ---


def test_rows_twice():
    """Duplicates lower the rank; the surplus features are zero, and nothing is NaN."""
    X = np.repeat(normal(10, 4), 6, axis=0)
    Z = nk.Nystroem(NET, 50, random_state=0).fit_transform(X)
    assert Z.shape == (60, 50)
    assert np.isfinite(Z).all()
    assert np.all(Z[:, 10:] == 0)
    assert_allclose(Z @ Z.T, NET.ntk(X), 1e-9)
    features = nk.Nystroem(NET, 50, selection="kmeans++", random_state=0).fit(X)
    assert sorted(features.component_indices_ // 6) == list(range(10))  # one of each, then none
    Z = features.transform(X)
    assert Z.shape == (60, 50)
    assert np.all(Z[:, 10:] == 0)
    assert_allclose(Z @ Z.T, NET.ntk(X), 1e-9)


@pytest.mark.parametrize("distance", [1e-3, 1e-6, 1e-9, 1e-12, 1e-15])
@SELECTIONS
def test_rows_that_almost_coincide(selection, distance):
    X = np.repeat(normal(20, 4), 3, axis=0) + distance * normal(60, 4, seed=1)
    Z = nk.Nystroem(NET, 60, selection=selection, random_state=0).fit_transform(X)
    K = NET.ntk(X)
    assert np.isfinite(Z).all()
    # Near cos = 1 the exact kernel itself is right to the root of rounding only.
    assert_allclose(Z @ Z.T, K, atol=1e-6 * np.abs(K).max())


@SELECTIONS
def test_a_kernel_of_low_rank(selection):
    """Without an activation the kernel is <x, y> times a constant: of rank d."""
    net, X = nk.mlp(0, w_std=1.5), normal(40, 3)
    features = nk.Nystroem(net, 20, selection=selection, random_state=0).fit(X)
    assert features.normalization_.shape == (20, 3)
    Z = features.transform(X)
    assert np.all(Z[:, 3:] == 0)
    assert_allclose(Z @ Z.T, net.ntk(X), atol=1e-12)


@SELECTIONS
def test_zero_rows(selection):
    net, X = nk.mlp(2), np.zeros((5, 3))
    features = nk.Nystroem(net, 4, selection=selection, random_state=0).fit(X)
    assert_array_equal(features.transform(X), np.zeros((5, 4)))
    assert_array_equal(features.transform(normal(5, 3)), np.zeros((5, 4)))


@SELECTIONS
def test_more_components_than_rows(selection):
    X = normal(9, 4)
    features = nk.Nystroem(NET, 15, selection=selection, random_state=0)
    with pytest.warns(
        UserWarning, match="n_components: expected at most the number of rows, 9, got 15"
    ):
        Z = features.fit_transform(X)
    assert Z.shape == (9, 15)
    assert features.get_feature_names_out().shape == (15,)
    assert np.all(Z[:, 9:] == 0)
    assert_allclose(Z @ Z.T, NET.ntk(X), 1e-10)


def test_the_cut_is_at_rounding_level():
    U = np.linalg.qr(normal(6, 6))[0]
    values = np.array([1.0, 1e-3, 1e-9, 1e-13, 1e-17, 0.0])
    W = _normalization(U * values @ U.T)
    assert W.shape == (6, 4)
    assert np.all(W[np.abs(W).argmax(axis=0), range(4)] > 0)
    assert _normalization(-np.eye(3)).shape == (3, 0)


# --- inputs, bits, protocol ---


@SELECTIONS
def test_csr_equals_dense(selection):
    X = sp.random(60, 300, density=0.05, random_state=np.random.default_rng(0), format="csr")
    X.data -= 0.5
    one = nk.Nystroem(NET, 20, selection=selection, random_state=0).fit(X)
    two = clone(one).fit(X.toarray())
    assert sp.issparse(one.components_)
    assert_array_equal(one.component_indices_, two.component_indices_)
    Z = two.transform(X.toarray())
    for features in (one, two):
        for rows in (X, X.toarray(), X.tocoo()):
            assert_allclose(features.transform(rows), Z, atol=1e-9)


@SELECTIONS
def test_float32_is_rounded_at_the_end_only(selection):
    X = normal(50, 6, np.float32)
    single = nk.Nystroem(NET, 20, selection=selection, random_state=0).fit(X)
    double = clone(single).fit(X.astype(np.float64))
    assert single.components_.dtype == np.float32
    Z = single.transform(X)
    assert Z.dtype == np.float32
    assert_allclose(Z, double.transform(X.astype(np.float64)).astype(np.float32), 1e-6, 1e-8)


def test_blocks_and_batches_differ_by_rounding(monkeypatch):
    X = normal(100, 6)
    features = nk.Nystroem(NET, 30, random_state=0).fit(X)
    Z = features.transform(X)
    parts = np.vstack([features.transform(X[i : i + 7]) for i in range(0, 100, 7)])
    assert_allclose(parts, Z, atol=1e-10)
    monkeypatch.setattr("nkfast.features._nystroem._BLOCK_ENTRIES", 1)
    assert_allclose(features.transform(X), Z, atol=1e-10)


def test_the_choice_is_the_seeds():
    X = normal(40, 4)
    for selection in ("uniform", "kmeans++"):
        one, two = (nk.Nystroem(NET, 8, selection=selection, random_state=s) for s in (0, 1))
        assert_array_equal(one.fit_transform(X), clone(one).fit_transform(X))
        assert set(one.component_indices_) != set(two.fit(X).component_indices_)


def test_clone_pickle_and_the_callers_network():
    X, net = normal(30, 4), nk.mlp(2)
    features = nk.Nystroem(net, 8, get="nngp", random_state=0).fit(X)
    Z = features.transform(X)
    net.set_params(w_std=0.3)
    features.set_params(get="ntk", n_components=3)  # for the next fit
    assert_array_equal(features.transform(X), Z)
    assert_array_equal(pickle.loads(pickle.dumps(features)).transform(X), Z)


def test_in_a_pipeline_on_digits():
    X, y = load_digits(return_X_y=True)
    model = make_pipeline(nk.Nystroem(nk.mlp(2), 200, random_state=0), RidgeClassifier(1e-3))
    assert model.fit(X[:1200] / 16, y[:1200]).score(X[1200:] / 16, y[1200:]) > 0.92
    model.set_params(nystroem__net__depth=1)
    assert model[0].net.depth == 1


def test_bad_arguments_are_refused():
    X = normal(10, 4)
    for arguments, error, match in [
        ({"net": nk.myrtle()}, ValueError, "X: expected images of shape"),
        ({"net": "relu"}, TypeError, "net: expected a network .* got 'relu'"),
        ({"n_components": 0}, ValueError, "n_components: expected an integer >= 1, got 0"),
        ({"n_components": 2.5}, TypeError, "n_components: expected an integer, got 2.5"),
        ({"get": "rbf"}, ValueError, r"get: expected one of \('nngp', 'ntk'\), got 'rbf'"),
        ({"get": ("ntk",)}, ValueError, "get: expected one of"),
        ({"selection": "leverage"}, ValueError, "selection: expected one of .* got 'leverage'"),
    ]:
        with pytest.raises(error, match=match):
            nk.Nystroem(**{"n_components": 5, **arguments}).fit(X)
    features = nk.Nystroem(NET, 5)
    with pytest.raises(NotFittedError):
        features.transform(X)
    features.fit(X)
    with pytest.raises(ValueError, match="X has 3 features"):
        features.transform(X[:, :3])
    with pytest.raises(ValueError, match="contains NaN"):
        features.transform(X * np.nan)


def test_images():
    net = nk.Sequential(nk.Conv((3, 3), w_std=1.4), nk.ReLU(), nk.GlobalAvgPool(), nk.Dense())
    X = np.random.default_rng(0).standard_normal((30, 5, 5, 2))
    flat = X.reshape(30, -1)
    for selection in ("uniform", "kmeans++"):
        features = nk.Nystroem(net, 30, selection=selection, random_state=0).fit(X)
        assert features.image_shape_ == (5, 5, 2)
        Z = features.transform(X)
        np.testing.assert_allclose(Z @ Z.T, net.ntk(X), rtol=1e-8)
        np.testing.assert_allclose(features.transform(flat), Z, atol=1e-8)
        rows = nk.Nystroem(net, 30, selection=selection, image_shape=(5, 5, 2), random_state=0)
        np.testing.assert_allclose(rows.fit(flat).transform(flat), Z, atol=1e-8)
