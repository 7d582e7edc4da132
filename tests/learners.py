"""Data and parameters that the tests of the learners share."""

import numpy as np
import pytest

import nkfast as nk

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
