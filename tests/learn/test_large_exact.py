"""The exact method with more rows than it has room for a second matrix of."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import nkfast as nk
from nkfast._linalg import symmetric
from nkfast.learn import _learner

NET = nk.mlp(1, "relu", b_std=0.1)


@pytest.fixture(autouse=True)
def large(monkeypatch):
    monkeypatch.setattr(_learner, "EXACT_LIMIT", 300)
    monkeypatch.setattr(_learner, "PENALTY_ROWS", 250)
    monkeypatch.setattr(symmetric, "_PANEL", 64)
    monkeypatch.setattr(symmetric, "_ORDER", 100)


def data(n=430, dtype=np.float64):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 6)).astype(dtype)
    return X, np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2] + 0.1 * rng.standard_normal(n)


def plain(X, y, X_new, alpha, weight=None, *, centred=True):
    """Weighted kernel ridge regression on centred features, by a plain solve."""
    X, X_new = X.astype(float), X_new.astype(float)
    w = np.ones(len(y)) if weight is None else weight
    K, new, v = NET.ntk(X), NET.ntk(X_new, X), w / w.sum() * centred
    H = np.eye(len(y)) - np.outer(np.ones(len(y)), v)
    mean = v @ y
    dual = np.linalg.solve(H @ K @ H.T * w + alpha * np.eye(len(y)), y - mean)
    c = H.T @ (w * dual)
    return new @ c + mean - v @ K @ c


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize(("dtype", "tol"), [(np.float64, 1e-9), (np.float32, 1e-4)])
def test_predictions(dtype, tol, centred):
    X, y = data(dtype=dtype)
    new = data(500, dtype)[0][430:]
    for weight in (None, np.random.default_rng(1).uniform(0.1, 3, len(y))):
        model = nk.NTKRegressor(NET, method="exact", alpha=0.05, fit_intercept=centred)
        model.fit(X, y, sample_weight=weight)
        found = model.predict(new)
        assert found.dtype == dtype
        expected = plain(X, y, new, 0.05, weight, centred=centred)
        assert np.abs(found - expected).max() < tol * np.abs(expected).max()


def test_equals_the_fit_of_fewer_rows(monkeypatch):
    X, y = data()
    large = nk.NTKRegressor(NET, method="exact", alpha=0.01).fit(X, y)
    monkeypatch.setattr(_learner, "EXACT_LIMIT", 1000)
    small = nk.NTKRegressor(NET, method="exact", alpha=0.01).fit(X, y)
    assert_allclose(large.predict(X), small.predict(X), rtol=0, atol=1e-9)
    # The same object again, with few rows: as if it were new.
    monkeypatch.setattr(_learner, "EXACT_LIMIT", 300)
    large.fit(X[:200], y[:200])
    small.fit(X[:200], y[:200])
    assert_allclose(large.predict(X), small.predict(X), rtol=0, atol=1e-12)
    assert_allclose(*(m.predict(X[:5], return_std=True)[1] for m in (large, small)), rtol=1e-9)


def test_a_part_chooses_the_penalty():
    X, y = data()
    for alpha in ("gcv", "evidence", "loo"):
        model = nk.NTKRegressor(NET, method="exact", alpha=alpha).fit(X, y)
        some = np.sort(np.random.default_rng(0).permutation(len(y))[:250])
        part = nk.NTKRegressor(NET, method="exact", alpha=alpha).fit(X[some], y[some])
        assert model.alpha_ == pytest.approx(part.alpha_, rel=1e-9)


def test_classes(tmp_path):
    X, y = data(dtype=np.float32)
    labels = np.where(y > 0, "high", "low")
    model = nk.NTKClassifier(NET, method="exact", alpha=0.1).fit(X, labels)
    assert model.score(X, labels) > 0.9
    guess = model.predict(X)
    with pytest.raises(ValueError, match="expected a fit of at most 300 rows, got 430"):
        model.predict_proba(X)
    path = tmp_path / "model.skops"
    nk.save(model, path)
    np.testing.assert_array_equal(nk.load(path).predict(X), guess)


def test_what_it_cannot_tell():
    X, y = data(dtype=np.float32)
    with pytest.raises(ValueError, match="at most 300 rows, got 430; method='sketch'"):
        nk.NTKRegressor(NET, method="exact", alpha=0.1).fit(X, y).predict(X, return_std=True)
    X = np.repeat(X[:10], 43, axis=0) + 1e-4 * data(dtype=np.float32)[0]
    with pytest.raises(ValueError, match=r"alpha: expected a penalty .* float32 .* got 1e-12"):
        nk.NTKRegressor(NET, method="exact", alpha=1e-12).fit(X, y)
