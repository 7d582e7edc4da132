"""The learners: what they solve, streaming, parameters, searches, copies, and what is refused."""

import pickle
import re
import threading

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, clone
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.model_selection import GridSearchCV

import nkfast as nk
from nkfast import _learner

N_COMPONENTS = 32
BOTH = pytest.mark.parametrize("learner", [nk.NTKRegressor, nk.NTKClassifier])
METHODS = pytest.mark.parametrize("method", ["sketch", "exact"])


def regression(n=120, d=5, k=None, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    truth = np.abs(X) @ rng.standard_normal((d, k or 1)) + X[:, :1]
    Y = truth + 0.1 * rng.standard_normal(truth.shape)
    return X, Y[:, 0] if k is None else Y


def data_for(learner, n=120):
    X, y = regression(n)
    return X, np.digitize(y, [-1, 1]) if learner is nk.NTKClassifier else y


class WholeKernel(BaseEstimator):
    """Features whose inner products are the kernel itself: k(x, X) K^{-1/2}."""

    def __init__(self, net, n_components, *, random_state=None):
        self.net, self.n_components = net, n_components

    def fit(self, X):
        self.rows_ = X
        s, Q = np.linalg.eigh(self.net.ntk(X))
        self.root_ = Q / np.sqrt(s) @ Q.T
        return self

    def transform(self, X):
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
    ridge = Ridge(alpha=0.1, fit_intercept=fit_intercept, solver="svd").fit(Z, y, weight)
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
    ridge = RidgeClassifier(alpha=0.5, solver="svd").fit(Z, labels)
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
    ridge = Ridge(alpha=0.2, fit_intercept=fit_intercept, solver="svd").fit(Z, y, weight)
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
    assert "ridge" not in vars(model._fitted)
    model.set_params(alpha=1e6)  # counts from the next call on
    assert model.alpha_ < 1e5
    before = set(vars(model))
    model.predict(X)
    assert set(vars(model)) == before
    assert model.partial_fit(X, y).alpha_ == 1e6


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

    monkeypatch.setattr(_learner.Moments, "add", interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.set_params(net=nk.mlp(3)).fit(X, y + 1)
    assert_array_equal(model.predict(X), before)


# --- parameters, copies, searches ---


@BOTH
@METHODS
def test_set_params_does_not_reach_what_is_fitted_or_cloned(learner, method):
    X, y = data_for(learner)
    net = nk.mlp(2, w_std=1.4, b_std=0.1)
    model = learner(net, N_COMPONENTS, method=method, random_state=0).fit(X, y)
    twin = clone(model)
    assert twin.net == net
    assert twin.net is not net
    before = model.predict(X)
    model.set_params(net__w_std=3.0, net__depth=1)
    assert twin.net == model.net_ == nk.mlp(2, w_std=1.4, b_std=0.1)
    assert_array_equal(model.predict(X), before)
    model.fit(X, y)
    assert model.net_ == nk.mlp(1, w_std=3.0, b_std=0.1)
    assert_array_equal(twin.fit(X, y).predict(X), before)


@BOTH
def test_fit_leaves_the_parameters_alone(learner):
    X, y = data_for(learner)
    for net in (None, nk.mlp(2), nk.Sequential(nk.Dense(1.4), nk.ReLU(), nk.Dense())):
        model = learner(net, N_COMPONENTS, random_state=0)
        before = {name: (id(value), repr(value)) for name, value in model.get_params().items()}
        model.fit(X, y)
        now = {name: (id(value), repr(value)) for name, value in model.get_params().items()}
        assert now == before
    assert model.net_ == net
    assert nk.NTKRegressor(n_components=8).fit(*regression()).net_ == nk.mlp()


@BOTH
@METHODS
def test_pickle_and_clone(learner, method):
    X, y = data_for(learner)
    model = learner(nk.mlp(2), N_COMPONENTS, method=method, random_state=0).fit(X, y)
    copy = pickle.loads(pickle.dumps(model))
    assert_array_equal(copy.predict(X), model.predict(X))
    assert not hasattr(clone(model), "net_")
    if method == "sketch":
        assert_allclose(
            copy.partial_fit(X, y).predict(X), model.partial_fit(X, y).predict(X), rtol=1e-12
        )


@BOTH
def test_refitting_gives_the_same(learner):
    X, y = data_for(learner)
    model = learner(n_components=N_COMPONENTS, random_state=3)
    one = model.fit(X, y).predict(X)
    model.partial_fit(X, y)
    assert_array_equal(model.fit(X, y).predict(X), one)


def test_method_can_be_changed_between_fits():
    X, y = regression()
    model = nk.NTKRegressor(n_components=16, random_state=0).fit(X, y)
    model.set_params(method="exact").fit(X, y)
    assert not hasattr(model, "features_")
    assert not hasattr(model, "coef_")
    model.set_params(method="sketch")
    with pytest.raises(ValueError, match=r"partial_fit: .* got one fitted with method='exact'"):
        model.partial_fit(X, y)
    model.fit(X, y)
    assert not hasattr(model, "X_fit_")
    assert not hasattr(model, "dual_coef_")


@BOTH
def test_grid_search(learner):
    X, y = data_for(learner, n=60)
    grid = {
        "n_components": [8, 64],
        "alpha": ["gcv", 0.1],
        "net__w_std": [1.0, 1.4],
        "net__b_std": [0.1],
        "net__depth": [1, 2],
    }
    net = nk.mlp()
    search = GridSearchCV(learner(net, random_state=0), grid, cv=2, n_jobs=2, error_score="raise")
    search.fit(X, y)
    best = search.best_estimator_
    assert best.net_.get_params()["b_std"] == 0.1
    assert best.net_ == best.net
    assert net == nk.mlp()
    # Each setting counts: no two networks or widths score the same.
    scores = search.cv_results_["mean_test_score"]
    if learner is nk.NTKRegressor:
        assert len(np.unique(scores.round(12))) == len(scores)


def test_layers_of_a_sequential_can_be_searched():
    X, y = regression(n=60)
    model = nk.NTKRegressor(nk.Sequential(nk.Dense(), nk.ReLU(), nk.Dense()), 16, random_state=0)
    search = GridSearchCV(model, {"net__0__w_std": [0.5, 2.0], "net__0__b_std": [0.0, 0.5]}, cv=2)
    assert len(np.unique(search.fit(X, y).cv_results_["mean_test_score"])) >= 2
    nets = [nk.mlp(1), nk.mlp(3)]
    assert GridSearchCV(model, {"net": nets}, cv=2).fit(X, y).best_params_["net"] in nets


# --- attributes ---


@BOTH
@METHODS
def test_unfitted(learner, method):
    model = learner(n_components=8, method=method)
    with pytest.raises(NotFittedError):
        model.predict([[1.0]])
    for name in ("coef_", "dual_coef_", "intercept_", "alpha_", "alphas_", "gcv_"):
        assert not hasattr(model, name)
    assert hasattr(model, "partial_fit") == (method == "sketch")


def test_attributes_of_the_search_for_alpha():
    X, y = regression()
    for method in ("sketch", "exact"):
        model = nk.NTKRegressor(n_components=16, method=method, random_state=0).fit(X, y)
        assert model.alphas_.shape == model.gcv_.shape == (45,)
        assert model.alpha_ == model.alphas_[model.gcv_.argmin()]
        model.set_params(alpha=2).fit(X, y)
        assert model.alpha_ == 2
        assert not hasattr(model, "alphas_")
        with pytest.raises(AttributeError, match="gcv_: only after fitting with alpha='gcv'"):
            model.gcv_  # noqa: B018


def test_attributes_of_the_other_method():
    X, y = regression()
    model = nk.NTKRegressor(n_components=16, random_state=0).fit(X, y)
    with pytest.raises(AttributeError, match=r"dual_coef_: only after .*method='exact'"):
        model.dual_coef_  # noqa: B018
    model = nk.NTKRegressor(method="exact").fit(X, y)
    with pytest.raises(AttributeError, match=r"coef_: only after .*method='sketch'"):
        model.coef_  # noqa: B018
    assert model.dual_coef_.shape == (120,)


def test_one_column_of_targets_keeps_its_axis():
    X, y = regression()
    model = nk.NTKRegressor(n_components=16, random_state=0).fit(X, y[:, None])
    assert model.predict(X).shape == (120, 1)
    assert model.coef_.shape == (1, 16)
    assert model.intercept_.shape == (1,)


# --- sample weights ---


@BOTH
@METHODS
def test_rows_of_weight_zero_are_absent(learner, method):
    X, y = data_for(learner)
    weight = np.arange(120) % 3.0
    model = learner(n_components=N_COMPONENTS, method=method, random_state=0)
    kept = weight > 0
    one = model.fit(X, y, weight).predict(X)
    other = model.fit(X[kept], y[kept], weight[kept]).predict(X)
    assert_allclose(one, other)


# --- what is refused ---


@BOTH
@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"net": "relu"}, TypeError, "net: expected a network .* got 'relu'"),
        ({"net": nk.ReLU()}, TypeError, "net: expected a network"),
        ({"n_components": 0}, ValueError, "n_components: expected an integer >= 1, got 0"),
        ({"n_components": 8.0}, TypeError, "n_components: expected an integer, got 8.0"),
        ({"alpha": -1}, ValueError, "alpha: expected a finite number in"),
        ({"alpha": np.nan}, ValueError, "alpha: expected a finite number in"),
        ({"alpha": "cv"}, ValueError, "alpha: expected a number >= 0 or 'gcv', got 'cv'"),
        ({"alpha": None}, TypeError, "alpha: expected a real number, got None"),
        ({"method": "nystrom"}, ValueError, "method: expected 'sketch' or 'exact', got 'nystrom'"),
        ({"fit_intercept": "no"}, TypeError, "fit_intercept: expected True or False, got 'no'"),
        ({"block_size": 0}, ValueError, "block_size: expected an integer >= 1, got 0"),
        ({"random_state": "x"}, ValueError, "cannot be used to seed"),
    ],
)
def test_bad_parameters(learner, params, error, message):
    X, y = data_for(learner)
    model = learner(**{"n_components": 8, **params})
    with pytest.raises(error, match=message):
        model.fit(X, y)
    if params.get("method", "sketch") == "sketch":
        model = learner(**{"n_components": 8, **params})
        more = {"classes": [0, 1, 2]} if learner is nk.NTKClassifier else {}
        with pytest.raises(error, match=message):
            model.partial_fit(X, y, **more)
        assert not hasattr(model, "features_")


@BOTH
@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (-np.ones(120), "sample_weight: expected weights >= 0, got -1"),
        (np.zeros(120), "sample_weight: expected a weight above zero, got zeros only"),
        (np.ones(3), "sample_weight: inconsistent numbers of samples, expected 120 .* got 3"),
        (np.ones((120, 1)), "sample_weight: expected 1 dimension, got 2"),
        (np.full(120, np.nan), "Input sample_weight contains NaN"),
        (1.0, "sample_weight: expected 1 dimension, got 0"),
    ],
)
def test_bad_weights(learner, weight, message):
    X, y = data_for(learner)
    with pytest.raises(ValueError, match=message):
        learner(n_components=8).fit(X, y, sample_weight=weight)


@BOTH
@METHODS
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_not_finite_is_refused(learner, method, bad):
    X, y = data_for(learner)
    model = learner(n_components=8, method=method, random_state=0).fit(X, y)
    X[3, 1] = bad
    for call in (lambda: model.fit(X, y), lambda: model.predict(X)):
        with pytest.raises(ValueError, match="Input X contains"):
            call()
    y = y.astype(float)
    y[3] = bad
    with pytest.raises(ValueError, match="Input y contains"):
        model.fit(regression()[0], y)


@BOTH
def test_other_numbers_of_rows_and_columns(learner):
    X, y = data_for(learner)
    model = learner(n_components=8, random_state=0).fit(X, y)
    with pytest.raises(ValueError, match="y: inconsistent numbers of samples, expected 120 as X"):
        model.fit(X, y[:-1])
    message = re.escape("X has 4 features, but")
    for call in (lambda: model.predict(X[:, :4]), lambda: model.partial_fit(X[:, :4], y)):
        with pytest.raises(ValueError, match=message):
            call()


def test_other_number_of_targets():
    X, y = regression(k=2)
    model = nk.NTKRegressor(n_components=8, random_state=0).partial_fit(X, y)
    with pytest.raises(ValueError, match="y: expected 2 targets as before, got 1"):
        model.partial_fit(X, y[:, 0])
    with pytest.raises(ValueError, match="y: expected at least one target, got none"):
        model.fit(X, np.empty((120, 0)))


def test_classes_are_checked():
    X, y = data_for(nk.NTKClassifier)
    model = nk.NTKClassifier(n_components=8, random_state=0)
    with pytest.raises(ValueError, match="classes: expected all labels in the first call, got"):
        model.partial_fit(X, y)
    with pytest.raises(ValueError, match="classes: expected at least 2 classes, got"):
        model.partial_fit(X, y, classes=[1])
    with pytest.raises(ValueError, match=r"y: expected labels among \[0, 1\], got .*2"):
        model.partial_fit(X, y, classes=[0, 1])
    model.partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match=r"classes: expected \[0, 1, 2\] as in the first call"):
        model.partial_fit(X, y, classes=[0, 1, 2, 3])
    with pytest.raises(ValueError, match="y: expected at least 2 classes, got the one class"):
        model.fit(X, np.ones(120))
    with pytest.raises(ValueError, match="y: expected at least 2 classes, got the one class"):
        model.fit(X, y, sample_weight=(y == 1).astype(float))
    with pytest.raises(ValueError, match="Unknown label type"):
        model.fit(X, regression()[1])


def test_exact_refuses_too_many_rows(monkeypatch):
    monkeypatch.setattr(_learner, "EXACT_LIMIT", 50)
    with pytest.raises(ValueError, match="expected at most 50 rows, got 120; method='sketch'"):
        nk.NTKRegressor(method="exact").fit(*regression())


def test_exact_does_not_stream():
    model = nk.NTKRegressor(method="exact")
    with pytest.raises(AttributeError, match=r"has no attribute 'partial_fit'|needs all rows"):
        model.partial_fit([[1.0]], [1.0])
