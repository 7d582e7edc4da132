"""Blocks without rows, or without weight: skipped in fits, and empty answers elsewhere."""

from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import nkfast as nk
from learners import BOTH, data_for, regression

IMAGE_NET = nk.Sequential(nk.Conv((3, 3)), nk.ReLU(), nk.GlobalAvgPool(), nk.Dense())
METHODS = ["sketch", "nystroem", "exact"]


def rows(kind, n=40):
    """Rows, or images, of a kind; with the network for them."""
    if kind == "images":
        return np.random.default_rng(0).standard_normal((n, 4, 4, 2)), IMAGE_NET
    X = regression(n)[0]
    return (sp.csr_array(X) if kind == "sparse" else X.astype(kind)), nk.mlp()


KINDS = pytest.mark.parametrize("kind", ["float64", "float32", "sparse", "images"])


@KINDS
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("k", [None, 1, 3])
def test_a_regressor_of_no_rows(kind, method, k):
    X, net = rows(kind)
    Y = regression(40, k=k)[1]
    model = nk.NTKRegressor(net, 8, method=method, random_state=0).fit(X, Y)
    none, shape = X[:0], () if k is None else (k,)
    mean, std = model.predict(none, return_std=True)
    _, cov = model.predict(none, return_cov=True)
    found = [model.predict(none), mean, std]
    assert [f.shape for f in found] == [(0, *shape)] * 3
    assert {f.dtype for f in found} == {X.dtype}
    assert cov.shape == (0, 0, *shape)
    assert model.sample_y(none, 5).shape == (0, *shape, 5)
    assert model.predict_flow(none, [1.0, 2.0]).shape == (2, 0, *shape)
    with pytest.raises(ValueError, match=r"expect|0 sample"):
        clone(model).fit(none, Y[:0])


@KINDS
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("labels", [["a", "b"], [0, 1, 2]])
def test_a_classifier_of_no_rows(kind, method, labels):
    X, net = rows(kind)
    y = np.array(labels)[np.arange(40) % len(labels)]
    model = nk.NTKClassifier(net, 8, method=method, random_state=0).fit(X, y)
    none, k = X[:0], len(labels)
    assert model.predict(none).shape == (0,)
    assert model.predict(none).dtype == y.dtype
    assert model.predict_proba(none).shape == (0, k)
    assert model.decision_function(none).shape == ((0,) if k == 2 else (0, k))
    assert model.predict_proba(none).dtype == X.dtype


@KINDS
@pytest.mark.parametrize(
    "make",
    [
        lambda net: nk.NTKFeatures(net, 8, random_state=0),
        lambda net: nk.NNGPFeatures(net, 8, random_state=0),
        lambda net: nk.NTKFeatures(net, 8, oversampling=2, random_state=0),
        lambda net: nk.Nystroem(net, 8, random_state=0),
    ],
)
def test_features_of_no_rows(kind, make):
    X, net = rows(kind)
    phi = make(net).fit(X)
    found = phi.transform(X[:0])
    assert found.shape == (0, 8)
    assert found.dtype == X.dtype
    with pytest.raises(ValueError, match="X: expected at least one row, got none"):
        phi.kernel_error(X[:0])
    with pytest.raises(ValueError, match=r"expect|0 sample"):
        phi.fit(X[:0])


@pytest.mark.parametrize(
    "make",
    [
        lambda: nk.NTKFeatures(None, 8, construction="layerwise", random_state=0),
        lambda: nk.sketch.CountSketch(8, random_state=0),
        lambda: nk.sketch.SRHT(8, random_state=0),
        lambda: nk.sketch.TensorSketch(2, 8, random_state=0),
        lambda: nk.sketch.TensorSRHT(8, random_state=0),
    ],
)
@pytest.mark.parametrize("kind", ["float64", "float32", "sparse"])
def test_sketches_of_no_rows(kind, make):
    X, _ = rows(kind)
    found = make().fit(X).transform(X[:0])
    assert found.shape == (0, 8)
    assert found.dtype == X.dtype


@pytest.mark.parametrize("make", [nk.images.ZCA, nk.images.ChannelStandardizer])
def test_no_images(make):
    X, _ = rows("images")
    found = make().fit(X).transform(X[:0])
    assert found.shape == (0, 4, 4, 2)


def filtered(learner):
    """Blocks of which some are empty or have no weight, and the rows that are left."""
    X, y = data_for(learner)
    weight = np.random.default_rng(0).uniform(0.5, 2, 120)
    weight[:20] = weight[50:70] = 0
    cuts = [0, 0, 20, 50, 50, 70, 100, 120, 120]
    blocks = [(X[a:b], y[a:b], weight[a:b]) for a, b in pairwise(cuts)]
    return blocks, [b for b in blocks if len(b[1]) and b[2].any()]


@BOTH
@pytest.mark.parametrize("alpha", ["gcv", "evidence", 0.1])
def test_blocks_without_weight_are_skipped(learner, alpha):
    blocks, rest = filtered(learner)
    options = {"classes": [0, 1, 2]} if learner is nk.NTKClassifier else {}
    model = learner(None, 16, alpha=alpha, random_state=0)
    expected = clone(model).fit_blocks(rest, **options)
    X = np.concatenate([b[0] for b in blocks])
    assert_array_equal(clone(model).fit_blocks(blocks, **options).predict(X), expected.predict(X))
    for X_block, y, weight in blocks:
        model.partial_fit(X_block, y, sample_weight=weight, **options)
        options = {}  # the first call named the classes, though it held no row
    assert_array_equal(model.predict(X), expected.predict(X))


@BOTH
def test_nothing_is_learnt_from_nothing(learner):
    (first, second, *_), _ = filtered(learner)
    options = {"classes": [0, 1, 2]} if learner is nk.NTKClassifier else {}
    model = learner(None, 16, random_state=0)
    for X, y, weight in (first, second):
        model.partial_fit(X, y, sample_weight=weight, **options)
        with pytest.raises(NotFittedError):
            model.predict(X)
    for blocks in ([], [first], [first, second]):
        with pytest.raises(ValueError, match="blocks: expected a row of weight above zero, got no"):
            model.fit_blocks(blocks, **options)
    with pytest.raises(ValueError, match="0 sample"):
        model.partial_fit(first[0], second[1], **options)


def test_a_block_of_a_class_without_weight_is_skipped():
    X, y = data_for(nk.NTKClassifier)
    model = nk.NTKClassifier(None, 16, class_weight={0: 0.0}, random_state=0)
    model.partial_fit(X[y == 0], y[y == 0], classes=[0, 1, 2])
    model.partial_fit(X[y > 0], y[y > 0]).partial_fit(X[y == 0], y[y == 0])
    assert set(model.predict(X)) == {1, 2}


@BOTH
def test_empty_blocks_are_checked_against_what_is_fitted(learner):
    X, y = data_for(learner)
    model = learner(None, 16, random_state=0).fit(X, y)
    with pytest.raises(ValueError, match="features"):
        model.partial_fit(X[:0, :3], y[:0])
    with pytest.raises(ValueError, match="features"):
        model.predict(X[:0, :3])
