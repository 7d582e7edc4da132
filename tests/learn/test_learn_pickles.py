"""Networks that hold what pickle refuses: cloudpickle, worker processes, and early warnings."""

import copy
import pickle
import warnings

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

import nkfast as nk
from learners import regression

cloudpickle = pytest.importorskip("cloudpickle")

X, y = regression(n=40)


def network():
    smallest = 0.0
    return nk.mlp(1, nk.Elementwise(lambda x: np.maximum(x, smallest), (0.0,)))


def estimators():
    net = network()
    return {
        "sketch": nk.NTKRegressor(net, 16, alpha=0.1),
        "exact": nk.NTKClassifier(net, method="exact", alpha=0.1),
        "nystroem": nk.NTKRegressor(net, 16, method="nystroem", alpha=0.1),
        "given": nk.NTKRegressor(features=nk.NNGPFeatures(net, 16), alpha=0.1),
        "features": nk.NTKFeatures(net, 16),
        "layerwise": nk.NTKFeatures(net, 16, construction="layerwise"),
        "landmarks": nk.Nystroem(net, 16),
        "nested": nk.NTKFeatures(
            nk.Sequential(nk.Dense(), nk.Residual(network().layers[1], nk.Dense())), 16
        ),
    }


def told(model):
    """Fit; return the warnings."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        model.fit(X, y > 0)
    return [str(warning.message) for warning in found]


@pytest.mark.parametrize("name", estimators())
def test_cloudpickle_takes_what_pickle_refuses(name):
    model = estimators()[name]
    messages = told(model)
    assert len(messages) == 1
    place = "Residual" if name == "nested" else "Elementwise"
    assert messages[0].startswith(f"net: layer 1, {place}: pickle and joblib.dump will refuse it")
    act = getattr(model, "predict", None) or model.transform
    expected = act(X)
    for twin in (cloudpickle.loads(cloudpickle.dumps(model)), copy.deepcopy(model)):
        assert_array_equal((getattr(twin, "predict", None) or twin.transform)(X), expected)
    for thing in (model, clone(model), network()):
        with pytest.raises((pickle.PicklingError, AttributeError)):
            pickle.dumps(thing)


def test_what_can_be_pickled_is_not_warned_of():
    net = nk.mlp(1, nk.Elementwise(np.abs, (0.0,)))
    for model in (nk.NTKRegressor(net, method="exact"), nk.Nystroem(net, 8)):
        assert told(model) == []


def test_worker_processes():
    model = nk.NTKRegressor(network(), method="exact")
    search = GridSearchCV(model, {"alpha": [0.1, 1.0]}, cv=2, n_jobs=2, error_score="raise")
    with pytest.warns(UserWarning, match="worker processes"):  # of the refit
        search.fit(X, y)
    assert search.predict(X).shape == (40,)


def test_kernels_of_gaussian_processes():
    with pytest.warns(UserWarning, match="net: layer 1, Elementwise"):
        kernel = nk.gp.NeuralKernel(network())
    assert_array_equal(cloudpickle.loads(cloudpickle.dumps(kernel))(X), kernel(X))
