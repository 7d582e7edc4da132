"""Estimators that an earlier version saved."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import InconsistentVersionWarning

import saved

with warnings.catch_warnings():
    warnings.simplefilter("ignore", InconsistentVersionWarning)
    SAVED = saved.load()


@pytest.mark.parametrize("name", SAVED)
def test_saved_estimator(name):
    estimator, data, method, expected = SAVED[name]
    found = getattr(estimator, method)(data)
    rounding = 1e-6 if name == "images" else 1e-9  # once in float64, now in float32
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=rounding * np.abs(expected).max())


def test_every_kind_is_saved():
    assert {type(estimator).__name__ for estimator, *_ in SAVED.values()} >= {
        "NTKFeatures", "NNGPFeatures", "Nystroem", "NTKRegressor", "NTKClassifier", "ZCA",
    }  # fmt: skip
    maps = {
        type(estimator._construction).__name__
        for estimator, *_ in SAVED.values()
        if hasattr(estimator, "_construction")
    }
    assert maps == {"CollapsedMap", "LayerwiseMap", "PixelMap"}
    collapsed = [e for e, *_ in SAVED.values() if hasattr(e, "expansion_")]
    assert any(e.split_ is not None for e in collapsed)
    assert any(e.harmonics_ is not None for e in collapsed)
    assert any(e.split_ is None and e.harmonics_ is None for e in collapsed)
