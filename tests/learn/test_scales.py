"""Columns that drown others are named."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.preprocessing import StandardScaler

import nkfast as nk
from learners import BOTH, data_for


def unlike(X, factor=2e3):
    return X * np.array([1, 1, 1, factor, 1])


@BOTH
@pytest.mark.parametrize("method", ["sketch", "nystroem", "exact"])
@pytest.mark.parametrize("factor", [2e3, 1e-4, 1e60])
def test_unlike_columns_are_named_once(learner, method, factor):
    X, y = data_for(learner)
    model = learner(None, 8, method=method, random_state=0, alpha=1.0)
    with pytest.warns(UserWarning, match=r"column (?s:.)*StandardScaler") as caught:
        model.fit(unlike(X, factor), y)
    assert ["column 3" in str(w.message) for w in caught] == [True]
    model.fit(StandardScaler().fit_transform(X), y)
    model.fit(unlike(X, 300.0), y)


@BOTH
def test_streams_warn_at_their_first_block(learner):
    X, y = data_for(learner)
    options = {"classes": [0, 1, 2]} if learner is nk.NTKClassifier else {}
    blocks = [(unlike(X)[i : i + 40], y[i : i + 40]) for i in (0, 40, 80)]
    model = learner(None, 8, random_state=0)
    with pytest.warns(UserWarning, match="StandardScaler") as caught:
        model.fit_blocks([(X[:0], y[:0]), *blocks], **options)
    assert len(caught) == 1
    model.partial_fit(*blocks[0])


def columns():
    """Columns that go well with standardised numbers."""
    rng = np.random.default_rng(0)
    n = 4000
    rare = np.zeros(n)
    rare[0] = 1
    return {
        "rare indicator": rare,
        "centred rare indicator": rare - rare.mean(),
        "constant": np.full(n, 1e-9),
        "nothing": np.zeros(n),
        "signs": np.sign(rng.standard_normal(n)),
        "counts": rng.poisson(0.01, n) * 1.0,
        "log-normal": rng.lognormal(0, 2, n),
        "percent": rng.uniform(0, 100, n),
    }


@pytest.mark.parametrize("name", columns())
def test_no_warning_of(name):
    column = columns()[name]
    X = np.column_stack([np.random.default_rng(1).standard_normal((len(column), 2)), column])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nk.NTKRegressor(None, 8, method="nystroem", random_state=0).fit(X, X[:, 0])


@pytest.mark.parametrize("column", [np.full(60, 1e4), np.arange(60) + 1e4])
def test_a_large_constant_drowns_others(column):
    X = np.column_stack([np.random.default_rng(1).standard_normal((60, 2)), column])
    with pytest.warns(UserWarning, match="in column 2, "):
        nk.NTKRegressor(method="exact", alpha=1.0).fit(X, X[:, 0])


def test_images_and_sparse_rows_are_not_looked_at():
    X, y = data_for(nk.NTKRegressor)
    nk.NTKRegressor(None, 8, random_state=0).fit(sp.csr_array(unlike(X)), y)
    net = nk.Sequential(nk.Conv((3, 3)), nk.ReLU(), nk.GlobalAvgPool(), nk.Dense())
    images = np.random.default_rng(0).standard_normal((20, 4, 4, 2)) * [1.0, 1e4]
    nk.NTKRegressor(net, 8, random_state=0).fit(images, y[:20])
