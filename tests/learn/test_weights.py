"""What sample weights mean: inverse variances up to a factor, and repeated rows are one row."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

import nkfast as nk
from learners import BOTH, data_for, regression
from nkfast.learn._ridge._penalty import CRITERIA
from nkfast.learn._rows import distinct, merged

# Fewer landmarks than half of the rows, than all, as many as rows; landmarks are soon found.
FORMS = pytest.mark.parametrize("form", [16, 36, 64, "exact"])
RULES = pytest.mark.parametrize("alpha", [*CRITERIA, 0.3])


def make(learner, form, alpha, **options):
    how = ["exact", 1] if form == "exact" else ["nystroem", form]
    method = dict(zip(["method", "n_components"], how, strict=True))
    return learner(nk.mlp(1, "relu", 1.4, 0.1), alpha=alpha, random_state=0, **method, **options)


def answers(model, X):
    """All that a learner says."""
    if isinstance(model, nk.NTKClassifier):
        return [model.decision_function(X), model.predict_proba(X)]
    said = [*model.predict(X, return_std=True), model.predict(X, return_cov=True)[1]]
    return [*said, model.noise_variance_, model.log_marginal_likelihood(), model.predict_flow(X, 9)]


def assert_same(one, other, X, factor=1.0):
    assert_allclose(other.alpha_ / factor, one.alpha_, rtol=1e-6)
    for a, b in zip(answers(one, X), answers(other, X), strict=True):
        assert_allclose(b, a, rtol=1e-5, atol=1e-6 * np.abs(a).max())


@BOTH
@FORMS
@RULES
def test_the_unit_of_weights_changes_alpha_only(learner, form, alpha):
    X, y = data_for(learner, 60)
    for weight in (np.ones(60), np.random.default_rng(0).uniform(0.1, 3, 60)):
        one = make(learner, form, alpha).fit(X, y, weight)
        for factor in (2.0, 2.0001, 1e-9, 1e9):
            model = make(learner, form, alpha)
            if alpha == 0.3:
                model.set_params(alpha=0.3 * factor)
            assert_same(one, model.fit(X, y, factor * weight), X[:9], factor)


@BOTH
@pytest.mark.parametrize("alpha", ["gcv", "evidence"])
@pytest.mark.parametrize("n_components", [16, 64])
def test_the_unit_of_weights_in_streams(learner, alpha, n_components):
    X, y = data_for(learner, 90)
    weight = np.random.default_rng(0).uniform(0.1, 3, 90)
    weight[40:50] = 0
    options = {"classes": np.unique(y)} if learner is nk.NTKClassifier else {}
    one, other = (
        make(learner, n_components, alpha).fit_blocks(
            [(X[i : i + 30], y[i : i + 30], c * weight[i : i + 30]) for i in (0, 30, 60)], **options
        )
        for c in (1.0, 1e5)
    )
    assert_same(one, other, X[:9], 1e5)


@BOTH
@FORMS
@RULES
@pytest.mark.parametrize("kind", ["float64", "float32", "sparse"])
def test_repeated_rows_are_one_row_of_their_weight(learner, form, alpha, kind):
    X, y = data_for(learner, 40)
    X[np.abs(X) < 0.3] = 0
    X = sp.csr_array(X) if kind == "sparse" else X.astype(kind)
    rng = np.random.default_rng(0)
    weight, times = rng.uniform(0.1, 3, 40), rng.integers(0, 4, 40)
    rows = rng.permutation(np.repeat(np.arange(40), times))
    options = {"class_weight": "balanced"} if learner is nk.NTKClassifier else {}
    one = make(learner, form, alpha, **options).fit(X, y, times * weight)
    other = make(learner, form, alpha, **options).fit(X[rows], y[rows], weight[rows])
    if kind == "float32":
        assert_allclose(one.alpha_, other.alpha_, rtol=1e-3)
        assert_allclose(one.predict(X), other.predict(X), rtol=1e-3, atol=1e-3)
    else:
        assert_same(one, other, X[:9])


@pytest.mark.parametrize("values", ["labels", "ratings"])
def test_targets_of_few_values_are_averaged(values):
    """Else the scatter of a thousand rows of one kind would be that of two."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 2, (800, 4)) * 2.0 - 1
    truth = X[:, 0] * X[:, 1]
    y = truth + rng.standard_normal(800)
    if values == "labels":
        model = nk.NTKClassifier(method="exact").fit(X, y > 0)
        assert np.mean(model.predict(X) == (truth > 0)) == 1
    else:
        model = nk.NTKRegressor(method="exact").fit(X, np.rint(y))
        assert np.sqrt(np.mean((model.predict(X) - truth) ** 2)) < 0.2
    assert len(model.X_fit_) == 16


def test_replicates_with_targets_of_their_own_tell_the_noise():
    rng = np.random.default_rng(0)
    X = np.repeat(np.linspace(-1, 1, 5), 60)[:, None]
    model = make(nk.NTKRegressor, "exact", "evidence").fit(X, X[:, 0] + rng.standard_normal(300))
    assert len(model.X_fit_) == 300
    assert 0.8 < model.noise_variance_ < 1.2


def test_zero_weight_takes_a_class_away():
    X, y = regression(60)
    labels = np.digitize(y, [-1, 1])
    model = make(nk.NTKClassifier, 16, "gcv").fit(X, labels, labels != 2)
    assert_array_equal(model.classes_, [0, 1])


def test_balanced_classes_count_weights():
    X, y = regression(60)
    labels = (y > 1).astype(int)
    weight = np.where(np.arange(60) % 3 == 0, 3.0, 1.0)
    rows = np.repeat(np.arange(60), weight.astype(int))
    model = make(nk.NTKClassifier, 16, 0.3, class_weight="balanced")
    one, other = clone(model).fit(X, labels, weight), model.fit(X[rows], labels[rows])
    assert_same(one, other, X[:9])


@pytest.mark.parametrize("kind", [np.float64, np.float32, sp.csr_array])
def test_merged(kind):
    X = np.array([[0.0, 1], [2, 0], [-0.0, 1], [0, 1], [2, 0], [5, 5]])
    X = kind(X) if kind is sp.csr_array else X.astype(kind)
    Y = np.array([[1.0], [1], [-1], [1], [-1], [1]])
    for weight in (None, np.array([1.0, 2, 3, 4, 5, 6])):
        each = np.ones(6) if weight is None else weight
        means, total = merged(X, Y, weight, labels=True)
        assert_allclose(total, [each[0] + each[2] + each[3], each[1] + each[4], 0, 0, 0, each[5]])
        assert_allclose(means[0], (each[0] - each[2] + each[3]) / total[0])
        own = np.array([[1.0], [2], [3], [1], [4], [5]])  # but for the rows 0 and 3
        same, total = merged(X, own, weight, labels=False)
        assert_array_equal(same[total > 0], own[total > 0])
        assert_allclose(total, [each[0] + each[3], *each[1:3], 0, *each[4:]])
    assert merged(X[1:3], Y[1:3], None, labels=True)[1] is None
    assert merged(X[:3], own[:3], None, labels=False)[1] is None
    assert distinct(X).shape == (3, 2)


def test_rows_that_only_hash_alike_stay_apart(monkeypatch):
    X, Y = np.arange(6.0)[:, None], np.ones((6, 1))
    monkeypatch.setattr("nkfast.learn._rows._hashes", lambda A: np.zeros(A.shape[0], np.uint64))
    means, total = merged(X, Y, None, labels=True)
    assert_array_equal(total, np.ones(6))
    assert_array_equal(means, Y)
