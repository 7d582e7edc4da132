"""The classifier's class weights and probabilities."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import LeaveOneOut, cross_val_predict

import nkfast as nk
from learners import METHODS, regression
from nkfast.learn import _calibration


def three_classes(n=150):
    X, y = regression(n)
    return X, np.array(["a", "b", "c"])[np.digitize(y, [-1, 2])]


@pytest.mark.parametrize("class_weight", ["balanced", {"a": 3.0, "c": 0.5}])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("n_components", [16, 256])
def test_class_weight_is_scikit_learns(class_weight, weighted, n_components):
    X, y = three_classes()
    weight = np.random.default_rng(0).uniform(0.5, 2, len(y)) if weighted else None
    model = nk.NTKClassifier(
        None, n_components, alpha=0.5, class_weight=class_weight, random_state=0
    ).fit(X, y, weight)
    Z = model.features_.transform(X)
    if weighted and class_weight == "balanced":  # scikit-learn's counts rows here, not weights
        class_weight = {c: weight.sum() / (3 * weight[y == c].sum()) for c in "abc"}
    ridge = RidgeClassifier(model.alpha_, class_weight=class_weight, solver="svd").fit(Z, y, weight)
    assert_allclose(model.decision_function(X), ridge.decision_function(Z), atol=1e-7)


def test_class_weight_in_streams():
    X, y = three_classes()
    model = nk.NTKClassifier(None, 16, alpha=0.5, class_weight={"a": 3.0}, random_state=0)
    model.partial_fit(X[:70], y[:70], classes=["a", "b", "c"]).partial_fit(X[70:], y[70:])
    Z = model.features_.transform(X)
    ridge = RidgeClassifier(model.alpha_, class_weight={"a": 3.0}, solver="svd").fit(Z, y)
    assert_allclose(model.decision_function(X), ridge.decision_function(Z), atol=1e-7)
    model.set_params(class_weight="balanced")
    with pytest.raises(ValueError, match="class_weight: expected a dict or None for a stream"):
        model.partial_fit(X, y)


@pytest.mark.parametrize(
    ("class_weight", "error", "message"),
    [
        ("even", ValueError, "class_weight: expected a dict, 'balanced' or None, got 'even'"),
        (3.0, TypeError, "class_weight: expected a dict, 'balanced' or None, got 3.0"),
        ({"a": -1.0}, ValueError, "class_weight: expected finite weights >= 0"),
        ({"a": 0, "b": 0, "c": 0}, ValueError, "class_weight: expected a weight above zero"),
    ],
)
def test_bad_class_weights(class_weight, error, message):
    with pytest.raises(error, match=message):
        nk.NTKClassifier(None, 16, class_weight=class_weight).fit(*three_classes())


@METHODS
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("n_components", [16, 256])
def test_probabilities(method, n_classes, n_components):
    X, y = three_classes()
    if n_classes == 2:
        y = np.where(y == "c", "b", y)
    model = nk.NTKClassifier(None, n_components, method=method, random_state=0).fit(X, y)
    P = model.predict_proba(X)
    assert P.shape == (150, n_classes)
    assert_allclose(P.sum(axis=1), 1, rtol=1e-12)
    assert np.all(P > 0)
    assert_array_equal(model.classes_[P.argmax(axis=1)], model.predict(X))
    assert model.predict_proba(X.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("n_components", [16, 256])
@pytest.mark.parametrize("stream", [False, True])
def test_probabilities_are_fitted_to_leave_one_out_scores(n_classes, n_components, stream):
    X, y = three_classes(60)
    if n_classes == 2:
        y = np.where(y == "c", "b", y)
    model = nk.NTKClassifier(None, n_components, alpha=0.3, random_state=0)
    if stream:
        model.partial_fit(X[:30], y[:30], np.unique(y)).partial_fit(X[30:], y[30:])
    else:
        model.fit(X, y)
    Z = model.features_.transform(X)
    codes = (y[:, None] == model.classes_) * 2.0 - 1
    signs = codes[:, 1:] if n_classes == 2 else codes
    left_out = cross_val_predict(
        Ridge(alpha=model.alpha_, solver="svd"), Z, signs, cv=LeaveOneOut()
    )
    left_out = left_out.reshape(60, -1)
    assert_allclose(model.slope_, _calibration.best_slope(left_out, signs, None), rtol=1e-5)
    losses = [
        log_loss(y, _calibration.probabilities(left_out, factor * model.slope_))
        for factor in (0.5, 1, 2)
    ]
    assert losses[1] == min(losses)


def test_probabilities_are_calibrated_on_digits():
    X, y = load_digits(return_X_y=True)
    X = X / 16
    model = nk.NTKClassifier(nk.mlp(2), 512, random_state=0).fit(X[:1000], y[:1000])
    P = model.predict_proba(X[1000:])
    confident = P.max(axis=1)
    right = model.predict(X[1000:]) == y[1000:]
    assert abs(confident.mean() - right.mean()) < 0.03
    assert log_loss(y[1000:], P) < 0.3


def test_a_stream_keeps_few_rows(monkeypatch):
    monkeypatch.setattr("nkfast.learn._ridge._state._KEPT_ROWS", 50)
    X, y = three_classes()
    model = nk.NTKClassifier(None, 16, random_state=0)
    whole = clone(model).partial_fit(X, y, classes=["a", "b", "c"])
    for i in range(0, 150, 40):
        model.partial_fit(X[i : i + 40], y[i : i + 40], classes=["a", "b", "c"])
    kept, other = model._fitted.kept, whole._fitted.kept
    assert kept.X.shape == (50, 5)
    assert_array_equal(np.sort(kept.X[:, 0]), np.sort(other.X[:, 0]))
    assert model.predict_proba(X).shape == (150, 3)


def test_scores_that_say_nothing_give_equal_probabilities():
    model = nk.NTKClassifier(None, 16, random_state=0).fit(np.zeros((10, 2)), [0, 1] * 5)
    assert_allclose(model.predict_proba(np.zeros((3, 2))), 0.5)
