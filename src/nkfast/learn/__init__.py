"""Learners: ridge regression and classification on feature maps or exact kernels.

`_regression` and `_classification` are the scikit-learn estimators, `_tuning` chooses a network by
marginal likelihood. `_learner` is what they share, `_bayesian` predictions with error bars,
`_calibration` probabilities, `_fitted` what a fit leaves, `_streaming` the methods that need sums,
`_rows` what becomes of rows before a fit. The linear algebra is in `_ridge`, which knows no
networks.
"""

from ._classification import NTKClassifier
from ._regression import NTKRegressor
from ._tuning import Tuning, tune_network

__all__ = ["NTKClassifier", "NTKRegressor", "Tuning", "tune_network"]
