"""What estimators with a network take: rows, images, or flat rows that are images."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from ._pixel_map import as_images, check_image_shape
from ._validation import Rows, check_estimator_rows
from .layers import Sequential, takes_images


def check_points(
    estimator: Any, net: Sequential, X: Any, image_shape: Any = None, *, reset: bool
) -> Rows:
    """Return checked rows or, with a network of images, images (n, height, width, channels).

    Flat rows are images where a shape is known: `image_shape` with `reset`, else the estimator's
    `image_shape_`. Keeps that one, n_features_in_ and feature_names_in_ honest.
    """
    if not takes_images(net):
        if reset:
            estimator.__dict__.pop("image_shape_", None)
        return check_estimator_rows(estimator, X, reset=reset)
    if reset:
        estimator.__dict__.pop("feature_names_in_", None)
        shape = None if image_shape is None else check_image_shape(image_shape)
    else:
        shape = estimator.image_shape_
    if shape is not None and np.ndim(X) == 2 and not sp.issparse(X):
        X = check_estimator_rows(estimator, X, reset=reset)
    X = as_images(X, shape)
    if reset:
        if len(X) == 0:
            raise ValueError("X: expected at least one image, got none")
        estimator.image_shape_ = X.shape[1:]
        estimator.n_features_in_ = int(np.prod(X.shape[1:]))
    return X
