"""scikit-learn's checks of estimators."""

import pytest
from sklearn.utils import estimator_checks


def parametrize_with_checks(estimators):
    """scikit-learn's own, with a list: it may pass a generator, which pytest 9 refuses."""
    mark = estimator_checks.parametrize_with_checks(estimators)
    names, checks = mark.args
    return pytest.mark.parametrize(names, list(checks), **mark.kwargs)
