"""The learners: parameters, copies, searches, attributes, and what is refused."""

import pickle
import re

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

import nkfast as nk
from learners import BOTH, METHODS, N_COMPONENTS, data_for, regression
from nkfast.learn import _learner

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


@pytest.mark.parametrize(
    "estimator",
    [
        nk.NTKRegressor(n_components=8),
        nk.NTKClassifier(n_components=8, method="exact"),
        nk.NTKFeatures(n_components=8),
        nk.NNGPFeatures(n_components=8),
        nk.Nystroem(n_components=8),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_parameters_of_a_network_that_is_none(estimator):
    model = clone(estimator)
    before = model.get_params()
    assert model.set_params(net__depth=3, net__b_std=0.1).net == nk.mlp(3, b_std=0.1)
    model.set_params(net=None, net__depth=2)
    assert model.net == nk.mlp(2)
    model.set_params(net__w_std=1.0)  # of the network that it has now
    assert model.net == nk.mlp(2, w_std=1.0)
    for params, message in (
        ({"net__width": 3, "n_components": 9}, "unknown parameter 'width'"),
        ({"net__depth": -1}, "depth: expected an integer >= 0"),
    ):
        model = clone(estimator)
        with pytest.raises(ValueError, match=message):
            model.set_params(**params)
        assert model.get_params() == before
    X, y = regression(n=40)
    name, model = "net__depth", clone(estimator)
    if hasattr(model, "transform"):
        name, model = "map__net__depth", Pipeline([("map", model), ("ridge", Ridge())])
    search = GridSearchCV(model, {name: [1, 2]}, cv=2, error_score="raise")
    search.fit(X, y > 0 if isinstance(estimator, nk.NTKClassifier) else y)
    assert estimator.net is None


@pytest.mark.parametrize("verbose", [0, 1, 2, np.True_])
@BOTH
def test_verbose_may_be_a_number(learner, verbose, capsys):
    X, y = data_for(learner)
    for method in ("nystroem", "exact"):
        model = learner(n_components=8, method=method, alpha=0.1, verbose=verbose).fit(X, y)
        assert model.verbose is verbose
        assert bool(capsys.readouterr().err) == bool(verbose)
    nk.tune_network(X, y, grid={"depth": [1]}, verbose=verbose)
    assert bool(capsys.readouterr().err) == bool(verbose)


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
        assert model.alpha_ == 2 + (model.features_.tail_ if method == "sketch" else 0)
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
        ({"net": nk.myrtle()}, ValueError, "X: expected images of shape"),
        ({"net": "relu"}, TypeError, "net: expected a network .* got 'relu'"),
        ({"net": nk.ReLU()}, TypeError, "net: expected a network"),
        ({"n_components": 0}, ValueError, "n_components: expected an integer >= 1, got 0"),
        ({"n_components": 8.0}, TypeError, "n_components: expected an integer, got 8.0"),
        ({"alpha": -1}, ValueError, "alpha: expected a finite number in"),
        ({"alpha": np.nan}, ValueError, "alpha: expected a finite number in"),
        (
            {"alpha": "cv"},
            ValueError,
            "alpha: expected a number >= 0 or one of 'gcv', 'loo', .* got 'cv'",
        ),
        ({"alpha": None}, TypeError, "alpha: expected a real number, got None"),
        ({"method": "nystrom"}, ValueError, "method: expected one of .*'nystroem'.* got 'nystrom'"),
        ({"kernel": "cntk"}, ValueError, "kernel: expected one of .* got 'cntk'"),
        ({"features": nk.mlp()}, TypeError, "features: expected NTKFeatures, .* got mlp"),
        (
            {"features": nk.NTKFeatures(), "net": nk.mlp()},
            ValueError,
            "net: expected None beside features",
        ),
        (
            {"features": nk.NTKFeatures(), "method": "exact"},
            ValueError,
            "features: expected None with method='exact'",
        ),
        (
            {"n_components": "auto", "method": "nystroem"},
            TypeError,
            "n_components: expected an integer, got 'auto'",
        ),
        ({"verbose": "yes"}, TypeError, "verbose: expected an integer, got 'yes'"),
        ({"verbose": -1}, ValueError, "verbose: expected an integer >= 0, got -1"),
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
    if params.get("method") != "exact":
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


def test_exact_refuses_variances_of_many_rows(monkeypatch):
    monkeypatch.setattr(_learner, "EXACT_LIMIT", 50)
    X, y = regression()
    model = nk.NTKRegressor(method="exact").fit(X, y)
    with pytest.raises(ValueError, match="at most 50 rows, got 120; method='sketch'"):
        model.predict(X, return_std=True)


def test_exact_does_not_stream():
    model = nk.NTKRegressor(method="exact")
    with pytest.raises(AttributeError, match=r"has no attribute 'partial_fit'|needs all rows"):
        model.partial_fit([[1.0]], [1.0])
