"""Dask arrays: the same coefficients as in memory."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import nkfast as nk
import nkfast.dask
from learners import regression

da = pytest.importorskip("dask.array")
dask = pytest.importorskip("dask")


@pytest.fixture(autouse=True)
def threads():
    with dask.config.set(scheduler="threads", num_workers=2):
        yield


def in_blocks(*arrays, size=70):
    for start in range(0, len(arrays[0]), size):
        yield tuple(a[start : start + size] for a in arrays)


@pytest.mark.parametrize("alpha", ["gcv", "evidence", 0.1])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("k", [None, 2])
def test_regression(alpha, weighted, k):
    X, y = regression(n=500, k=k)
    arrays = [X, y]
    if weighted:
        arrays.append(np.random.default_rng(0).uniform(0.5, 2, 500))
    model = nk.NTKRegressor(None, 32, alpha=alpha, random_state=0)
    in_memory = clone(model).fit_blocks(in_blocks(*arrays))
    lazy = [da.from_array(a, chunks=(70, *a.shape[1:])) for a in arrays]
    assert nk.dask.fit(model, *lazy) is model
    assert_allclose(model.coef_, in_memory.coef_, rtol=1e-8, atol=1e-10)
    assert_allclose(model.intercept_, in_memory.intercept_, rtol=1e-8)
    assert_allclose(model.alpha_, in_memory.alpha_, rtol=1e-8)
    assert_allclose(model.log_marginal_likelihood(), in_memory.log_marginal_likelihood())
    predicted = nk.dask.predict(model, lazy[0])
    assert predicted.shape == y.shape
    assert_allclose(predicted.compute(), in_memory.predict(X), rtol=1e-8)
    pickle.loads(pickle.dumps(model)).partial_fit(X, y)


@pytest.mark.parametrize("workers", [1, 4])
def test_worker_processes(workers):
    X, y = regression(n=500)
    lazy = [da.from_array(a, chunks=(70, *a.shape[1:])) for a in (X, y)]
    model = nk.NTKRegressor(None, 32, random_state=0)
    in_memory = clone(model).fit_blocks(in_blocks(X, y))
    with dask.config.set(scheduler="processes", num_workers=workers):
        nk.dask.fit(model, *lazy)
        predicted = nk.dask.predict(model, lazy[0]).compute()
    assert_allclose(model.coef_, in_memory.coef_, rtol=1e-8, atol=1e-10)
    assert_allclose(predicted, in_memory.predict(X), rtol=1e-8)


def test_fit_in_memory_with_the_same_map():
    """All rows at once: where the map does not depend on which rows it saw, `fit` agrees, too."""
    X, y = regression(n=400)
    X[:] = X[np.arange(400) % 100]  # each block holds the same rows
    model = nk.NTKRegressor(None, 32, alpha="gcv", random_state=0)
    in_memory = clone(model).fit(X, y)
    nk.dask.fit(model, da.from_array(X, chunks=(100, 2)), da.from_array(y, chunks=37))
    assert_allclose(model.coef_, in_memory.coef_, rtol=1e-8, atol=1e-10)


def test_classification():
    X, y = regression(n=300)
    labels = np.array(["a", "b", "c"])[np.digitize(y, [-1, 2])]
    model = nk.NTKClassifier(None, 32, class_weight={"a": 2.0}, random_state=0)
    in_memory = clone(model).fit_blocks(in_blocks(X, labels), classes=["a", "b", "c"])
    X_lazy, y_lazy = da.from_array(X, chunks=(70, 5)), da.from_array(labels, chunks=70)
    nk.dask.fit(model, X_lazy, y_lazy)
    assert_allclose(model.coef_, in_memory.coef_, rtol=1e-8, atol=1e-10)
    assert_allclose(model.slope_, in_memory.slope_, rtol=1e-5)  # all rows are kept, in some order
    P = nk.dask.predict(model, X_lazy, "predict_proba")
    assert P.shape == (300, 3)
    assert_allclose(P.compute().sum(axis=1), 1)
    assert_array_equal(nk.dask.predict(model, X_lazy).compute(), in_memory.predict(X))
    given = clone(model)
    nk.dask.fit(given, X_lazy, y_lazy, classes=["a", "b", "c", "d"])
    assert given.coef_.shape == (4, 32)


def test_features_and_float32():
    X = regression(n=200)[0].astype(np.float32)
    phi = nk.NTKFeatures(None, 48, random_state=0).fit(X)
    Z = nk.dask.transform(phi, da.from_array(X, chunks=(64, 3)))
    assert Z.shape == (200, 48)
    assert Z.dtype == np.float32
    assert_array_equal(Z.compute(), phi.transform(X))


@pytest.mark.parametrize("output", ["pandas", "polars"])
def test_features_are_arrays_whatever_set_output_says(output):
    pytest.importorskip(output)
    X, y = regression(n=200)
    lazy, y_lazy = da.from_array(X, chunks=(64, 5)), da.from_array(y, chunks=64)
    phi = nk.NTKFeatures(None, 16, random_state=0).set_output(transform=output)
    Z = nk.dask.transform(clone(phi).fit(X), lazy)
    assert_array_equal(Z.compute(), nk.NTKFeatures(None, 16, random_state=0).fit_transform(X))
    model = nk.NTKRegressor(features=phi, alpha=0.1)
    in_memory = clone(model).fit_blocks(in_blocks(X, y, size=64)).predict(X)
    with config_context(transform_output=output):
        nk.dask.fit(model, lazy, y_lazy)
        assert_allclose(nk.dask.predict(model, lazy).compute(), in_memory, rtol=1e-8)


def test_images():
    net = nk.Sequential(nk.Conv((3, 3)), nk.ReLU(), nk.GlobalAvgPool(), nk.Dense())
    X = np.random.default_rng(0).standard_normal((60, 5, 5, 2))
    lazy = da.from_array(X, chunks=(20, 5, 5, 1))
    model = nk.NTKRegressor(net, 16, alpha=0.1, random_state=0)
    in_memory = clone(model).fit_blocks(in_blocks(X, X[:, 0, 0, 0], size=20))
    nk.dask.fit(model, lazy, lazy[:, 0, 0, 0])
    assert_allclose(nk.dask.predict(model, lazy).compute(), in_memory.predict(X), rtol=1e-8)
    assert nk.dask.transform(model.features_, lazy).compute().shape == (60, 16)


def test_unknown_lengths():
    X, y = regression(n=300)
    X_lazy, y_lazy = da.from_array(X, chunks=(100, 5)), da.from_array(y, chunks=100)
    kept = y_lazy > 0
    model = nk.dask.fit(nk.NTKRegressor(None, 16, random_state=0), X_lazy[kept], y_lazy[kept])
    assert nk.dask.predict(model, X_lazy[kept]).compute().shape == ((y > 0).sum(),)


def test_what_is_refused():
    X, y = regression(n=60)
    X_lazy, y_lazy = da.from_array(X, chunks=(20, 5)), da.from_array(y, chunks=20)
    model = nk.NTKRegressor(None, 16, random_state=0)
    with pytest.raises(TypeError, match=r"X: expected a dask.array.Array, got ndarray"):
        nk.dask.fit(model, X, y_lazy)
    with pytest.raises(ValueError, match="y: inconsistent numbers of samples, expected 60"):
        nk.dask.fit(model, X_lazy, y_lazy[:-1])
    with pytest.raises(AttributeError, match="method='exact' needs all rows"):
        nk.dask.fit(nk.NTKRegressor(method="exact"), X_lazy, y_lazy)
    with pytest.raises(AttributeError, match="alpha='loo' needs all rows"):
        nk.dask.fit(nk.NTKRegressor(alpha="loo"), X_lazy, y_lazy)
    with pytest.raises(NotFittedError):
        nk.dask.predict(model, X_lazy)
    model.fit(X, y)
    before = dict(vars(model))
    X[45] = np.nan
    with pytest.raises(ValueError, match="Input X contains NaN"):
        nk.dask.fit(model, da.from_array(X, chunks=(20, 5)), y_lazy)
    assert vars(model) == before
    with pytest.raises(ValueError, match="method: expected one that NTKRegressor has"):
        nk.dask.predict(model, X_lazy, "predict_proba")


@pytest.mark.parametrize("learner", [nk.NTKRegressor, nk.NTKClassifier])
@pytest.mark.parametrize("unknown", [True, False])
def test_chunks_without_rows_or_weight(learner, unknown):
    """As filters leave them."""
    X, y = regression(n=300)
    y = np.where(y > 0, "b", "a") if learner is nk.NTKClassifier else y
    weight = np.random.default_rng(0).uniform(0.5, 2, 300)
    weight[60:120] = 0
    kept = np.arange(300) // 60 % 4 > 0  # not the first of the chunks of 60, nor the last
    y[weight == 0] = y[60]
    whole = [X[kept], y[kept], weight[kept]]
    lazy = [da.from_array(a, chunks=(60, *a.shape[1:])) for a in (X, y, weight)]
    if unknown:
        lazy = [a[da.from_array(kept, chunks=60)] for a in lazy]
    else:
        lazy = [da.concatenate([a[:0], a[60:120], a[:0], a[120:240]]) for a in lazy]
    options = {"classes": ["a", "b"]} if learner is nk.NTKClassifier else {}
    model = learner(None, 16, random_state=0)
    in_memory = clone(model).fit_blocks(in_blocks(*whole, size=60), **options)
    nk.dask.fit(model, *lazy)
    assert_allclose(model.coef_, in_memory.coef_, rtol=1e-8, atol=1e-10)
    found = nk.dask.predict(model, lazy[0])
    expected = in_memory.predict(whole[0])
    if learner is nk.NTKClassifier:
        assert_array_equal(found.compute(), expected)
    else:
        assert_allclose(found.compute(), expected, rtol=1e-8)
    assert found.dtype == found.compute().dtype
    Z = nk.dask.transform(model.features_, lazy[0]).compute()
    assert_array_equal(Z, model.features_.transform(whole[0]))
    none = lazy[0][:0] if not unknown else lazy[0][lazy[2] < 0]
    assert nk.dask.predict(model, none).compute().shape == (0,)
    for rows in (slice(0, 0), slice(0, 60)):  # no rows; none with a weight
        with pytest.raises(ValueError, match="X: expected a row of weight above zero, got none"):
            nk.dask.fit(clone(model), *(da.from_array(a[rows]) for a in whole), **options)
