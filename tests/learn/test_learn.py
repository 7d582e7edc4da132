"""The learners: what they solve, on which data, and streaming."""

import pickle
import threading

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_digits, load_iris
from sklearn.linear_model import Ridge, RidgeClassifier

import nkfast as nk
from learners import BOTH, METHODS, N_COMPONENTS, data_for, regression
from nkfast.features._base import FeatureMap
from nkfast.learn import _learner


class WholeKernel(FeatureMap):
    """Features whose inner products are the kernel itself: k(x, X) K^{-1/2}."""

    def __init__(self, net, n_components, *, random_state=None):
        self.net, self.n_components = net, n_components

    def fit(self, X):
        self.rows_, self.n_components_ = X, self.n_components
        self._n_features_out = self.n_components
        s, Q = np.linalg.eigh(self.net.ntk(X))
        self.root_ = Q / np.sqrt(s) @ Q.T
        return self

    def _checked(self, X):
        return X

    def _map(self, X):
        Z = np.zeros((X.shape[0], self.n_components))
        Z[:, : len(self.root_)] = self.net.ntk(X, self.rows_) @ self.root_
        return Z


# --- what is solved ---


@pytest.mark.parametrize("n_components", [N_COMPONENTS, 256])  # primal and dual
@pytest.mark.parametrize("k", [None, 3])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_regressor_is_ridge_on_the_features(n_components, k, fit_intercept, weighted):
    X, y = regression(k=k)
    weight = np.random.default_rng(1).uniform(0, 2, len(X)) if weighted else None
    model = nk.NTKRegressor(
        None, n_components, alpha=0.1, fit_intercept=fit_intercept, random_state=0
    ).fit(X, y, weight)
    Z = model.features_.transform(X)
    mean = 1 if weight is None else weight.mean()
    assert_allclose(model.alpha_, 0.1 + mean * model.features_.tail_, rtol=1e-14)
    ridge = Ridge(alpha=model.alpha_, fit_intercept=fit_intercept, solver="svd").fit(Z, y, weight)
    assert model.coef_.shape == np.shape(ridge.coef_)
    assert_allclose(model.coef_, ridge.coef_, rtol=1e-6, atol=1e-8)
    assert np.shape(model.intercept_) == (() if k is None else (k,))
    assert_allclose(model.intercept_, ridge.intercept_, rtol=1e-6, atol=1e-8)
    assert_allclose(model.predict(X), ridge.predict(Z), rtol=1e-7, atol=1e-8)
    assert model.predict(X).shape == y.shape


@pytest.mark.parametrize("classes", [("no", "yes"), ("a", "b", "c"), (3, 1, 2, 9)])
@pytest.mark.parametrize("n_components", [N_COMPONENTS, 256])
def test_classifier_is_ridge_on_signs(classes, n_components):
    X, y = regression()
    labels = np.array(classes)[
        np.digitize(y, np.quantile(y, np.linspace(0, 1, len(classes) + 1)[1:-1]))
    ]
    model = nk.NTKClassifier(None, n_components, alpha=0.5, random_state=0).fit(X, labels)
    Z = model.features_.transform(X)
    ridge = RidgeClassifier(alpha=model.alpha_, solver="svd").fit(Z, labels)
    assert_array_equal(model.classes_, ridge.classes_)
    assert model.coef_.shape == ((1 if len(classes) == 2 else len(classes)), n_components)
    assert_allclose(model.coef_, np.atleast_2d(ridge.coef_), rtol=1e-6, atol=1e-8)
    assert_allclose(model.intercept_, ridge.intercept_, rtol=1e-6, atol=1e-8)
    assert_allclose(model.decision_function(X), ridge.decision_function(Z), atol=1e-7)
    assert model.decision_function(X).shape == (
        (120,) if len(classes) == 2 else (120, len(classes))
    )
    assert_array_equal(model.predict(X), ridge.predict(Z))


@pytest.mark.parametrize("alpha", [0.05, "gcv"])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("n_components", [60, 90])
def test_exact_and_sketch_agree_if_the_features_are_exact(
    monkeypatch, alpha, fit_intercept, weighted, n_components
):
    monkeypatch.setattr(_learner, "NTKFeatures", WholeKernel)
    X, y = regression(n=60, k=2)
    weight = np.random.default_rng(1).uniform(0.5, 2, 60) if weighted else None
    net = nk.mlp(2, b_std=0.3)
    common = {"alpha": alpha, "fit_intercept": fit_intercept}
    exact = nk.NTKRegressor(net, method="exact", **common).fit(X, y, weight)
    sketch = nk.NTKRegressor(net, n_components, **common).fit(X, y, weight)
    assert_allclose(exact.alpha_, sketch.alpha_, rtol=1e-9)
    X_new = regression(n=30, seed=1)[0]
    assert_allclose(exact.predict(X_new), sketch.predict(X_new), rtol=1e-6, atol=1e-7)
    if alpha == "gcv":
        assert_allclose(exact.gcv_, sketch.gcv_, rtol=1e-5)


def test_exact_prediction_is_kernel_ridge():
    X, y = regression(n=40)
    model = nk.NTKRegressor(nk.mlp(2), alpha=0.1, method="exact", fit_intercept=False).fit(X, y)
    net = nk.mlp(2)
    dual = np.linalg.solve(net.ntk(X) + 0.1 * np.eye(40), y)
    assert_allclose(model.dual_coef_, dual, rtol=1e-9)
    X_new = regression(n=7, seed=2)[0]
    assert_allclose(model.predict(X_new), net.ntk(X_new, X) @ dual, rtol=1e-9)
    assert model.intercept_ == 0.0


# --- learning on real data ---


@METHODS
def test_digits(method):
    X, y = load_digits(return_X_y=True)
    X = X[:900] / 16
    y = y[:900]
    model = nk.NTKClassifier(nk.mlp(2), 512, method=method, random_state=0)
    assert model.fit(X[:600], y[:600]).score(X[600:], y[600:]) > 0.9


def test_iris_by_name_in_sparse_rows():
    X, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    model = nk.NTKClassifier(n_components=128, random_state=0).fit(sp.csr_array(X[::2]), names[::2])
    assert model.score(X[1::2], names[1::2]) > 0.93


# --- blocks, threads, dtypes ---


def test_blocks_and_threads_do_not_matter():
    X, y = regression(n=300)
    coefs = []
    for block_size in (1, 7, 64, 300, 10_000):
        for threads in (1, 2, 7):
            with nk.num_threads(threads):
                model = nk.NTKRegressor(
                    n_components=64, alpha=1e-2, random_state=0, block_size=block_size
                )
                coefs.append(model.fit(X, y).coef_)
    for coef in coefs[1:]:
        assert np.linalg.norm(coef - coefs[0]) <= 1e-10 * np.linalg.norm(coefs[0])


@BOTH
@METHODS
def test_float32(learner, method):
    X, y = data_for(learner)
    X32 = X.astype(np.float32)
    model = learner(n_components=N_COMPONENTS, method=method, alpha=0.1, random_state=0)
    score = "predict" if learner is nk.NTKRegressor else "decision_function"
    wide = getattr(model.fit(X32.astype(float), y), score)(X32.astype(float))
    narrow = getattr(model.fit(X32, y), score)(X32)
    assert narrow.dtype == np.float32
    assert wide.dtype == np.float64
    assert_allclose(narrow, wide, rtol=1e-3, atol=1e-3)
    assert getattr(model, score)(X).dtype == np.float64


@BOTH
@METHODS
def test_sparse_is_dense(learner, method):
    X, y = data_for(learner)
    X[np.abs(X) < 0.5] = 0
    model = learner(n_components=N_COMPONENTS, method=method, alpha=0.1, random_state=0)
    score = "predict" if learner is nk.NTKRegressor else "decision_function"
    dense = getattr(model.fit(X, y), score)(X)
    for form in (sp.csr_array, sp.csr_matrix, sp.csc_array):
        sparse = getattr(model.fit(form(X), y), score)(form(X))
        assert_allclose(sparse, dense, rtol=1e-6, atol=1e-7)


def test_one_row_one_feature_zero_rows():
    for method in ("sketch", "exact"):
        model = nk.NTKRegressor(n_components=16, method=method, random_state=0)
        assert_allclose(model.fit([[3.0]], [2.0]).predict([[1.0], [5.0]]), 2.0)
        X = np.zeros((6, 3))
        assert_allclose(model.fit(X, np.arange(6.0)).predict(X), 2.5)
        X[0] = 1
        assert np.isfinite(model.fit(X, np.arange(6.0)).predict(X)).all()


# --- streaming ---


@pytest.mark.parametrize("alpha", ["gcv", 0.2])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("n_components", [16, 256])
def test_partial_fit_is_fit(alpha, weighted, n_components):
    X, y = regression(n=200, k=2)
    X[:100] = X[100:][::-1]  # the map adapts to the first block: make it see the same rows
    weight = np.random.default_rng(1).uniform(0.5, 2, 200) if weighted else None
    make = lambda: nk.NTKRegressor(None, n_components, alpha=alpha, random_state=0)  # noqa: E731
    whole = make().fit(X, y, weight)
    stream = make()
    for rows in (slice(0, 100), slice(100, 101), slice(101, 200)):
        stream.partial_fit(X[rows], y[rows], None if weight is None else weight[rows])
    assert_allclose(stream.alpha_, whole.alpha_, rtol=1e-8)
    assert_allclose(stream.predict(X), whole.predict(X), rtol=1e-5, atol=1e-5)
    assert stream.predict(X).shape == (200, 2)


@pytest.mark.parametrize("n_components", [16, 256])  # fit kept the sums, or the rows
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_partial_fit_goes_on_from_fit(n_components, fit_intercept):
    X, y = regression(n=200)
    weight = np.random.default_rng(1).integers(0, 4, 200)
    model = nk.NTKRegressor(
        None, n_components, alpha=0.2, fit_intercept=fit_intercept, random_state=0
    )
    model.fit(X[:100], y[:100], weight[:100])
    features = model.features_
    model.partial_fit(X[100:], y[100:], weight[100:])
    assert model.features_ is features
    Z = features.transform(X)
    ridge = Ridge(alpha=model.alpha_, fit_intercept=fit_intercept, solver="svd").fit(Z, y, weight)
    assert_allclose(model.coef_, ridge.coef_, rtol=1e-5, atol=1e-7)
    again = nk.NTKRegressor(None, n_components, alpha=0.2, random_state=0)
    again.fit_intercept = fit_intercept
    again.partial_fit(X[:100], y[:100], weight[:100]).partial_fit(X[100:], y[100:], weight[100:])
    assert_allclose(again.coef_, model.coef_, rtol=1e-5, atol=1e-7)


def test_changing_the_rows_after_fit_changes_nothing():
    for method in ("sketch", "exact"):
        X, y = regression()
        X_new = regression(seed=3)[0]
        model = nk.NTKRegressor(None, 256, alpha=0.1, method=method, random_state=0).fit(X, y)
        other = pickle.loads(pickle.dumps(model))
        X[:], y[:] = 0, 0
        if method == "sketch":
            model.partial_fit(X_new, X_new[:, 0])
            other.partial_fit(X_new, X_new[:, 0])
        assert_array_equal(model.predict(X_new), other.predict(X_new))


def test_partial_fit_of_the_classifier():
    X, y = load_iris(return_X_y=True)
    order = np.random.default_rng(0).permutation(150)
    X, y = X[order], y[order]
    model = nk.NTKClassifier(n_components=32, random_state=0)
    model.partial_fit(X[:50][y[:50] < 2], y[:50][y[:50] < 2], classes=[2, 0, 1])
    model.partial_fit(X[50:], y[50:])
    assert_array_equal(model.classes_, [0, 1, 2])
    assert model.score(X, y) > 0.93
    model.partial_fit(X[:5], y[:5], classes=[0, 1, 2])
    fitted = nk.NTKClassifier(n_components=32, random_state=0).fit(X, y)
    assert fitted.partial_fit(X, y).score(X, y) > 0.93


def test_solution_waits_until_it_is_needed():
    X, y = regression()
    model = nk.NTKRegressor(None, 16, random_state=0).partial_fit(X, y)
    assert model._fitted._ridge is None
    model.set_params(alpha=1e6)  # counts from the next call on
    assert model.alpha_ < 1e5
    before = set(vars(model))
    model.predict(X)
    assert set(vars(model)) == before
    assert model.partial_fit(X, y).alpha_ == 1e6 + model.features_.tail_


def test_threads_may_share_a_model():
    X, y = regression()
    model = nk.NTKRegressor(None, 16, random_state=0).partial_fit(X, y)
    found = []
    threads = [threading.Thread(target=lambda: found.append(model.predict(X))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    for prediction in found:
        assert_array_equal(prediction, found[0])


def test_interrupted_fit_leaves_the_old_one(monkeypatch):
    X, y = regression()
    model = nk.NTKRegressor(nk.mlp(1), 16, random_state=0).fit(X, y)
    before = model.predict(X)

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(_learner.RunningMoments, "add", interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.set_params(net=nk.mlp(3)).fit(X, y + 1)
    assert_array_equal(model.predict(X), before)


@pytest.mark.parametrize(("dtype", "error"), [(np.float32, 2e-5), (np.float64, 1e-9)])
def test_predictions_by_nystroem_are_those_of_its_features(dtype, error):
    """They weigh kernels with the landmarks, also where these repeat and after more rows."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((90, 3)).astype(dtype)
    X[:10] = X[10:20]  # landmarks that coincide
    Y = np.stack([X[:, 0], np.abs(X[:, 1])], axis=1)
    new = rng.standard_normal((40, 3)).astype(dtype)

    def check(model):
        Z = model.features_.transform(new).astype(np.float64)
        expected = Z @ model.coef_.T + model.intercept_
        size = np.abs(expected).max()
        assert_allclose(model.predict(new), expected, atol=size * error)

    model = nk.NTKRegressor(nk.mlp(2), 60, method="nystroem", alpha=1e-3, random_state=0)
    check(model.fit(X[:80], Y[:80]))
    check(model.partial_fit(X[80:], Y[80:]))
    check(pickle.loads(pickle.dumps(model)))
    check(model.fit(X, 2 * Y))
