"""What transformers of images share: images or flat rows in, their shape remembered."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator

from ._pixel_map import as_images, check_image_shape
from ._validation import FloatArray, check_estimator_rows, check_images


class ImageEstimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """One that takes images, or flat rows of `image_shape`, and remembers their shape."""

    _takes_rows = False  # flat rows whose shape as images is not known
    image_shape: Any = None
    image_shape_: tuple[int, int, int]

    def _checked(self, X: Any, *, reset: bool) -> FloatArray:
        """Return `X` checked, in the form in which it came: (n, h, w, c) or (n, h * w * c)."""
        if sp.issparse(X):
            raise TypeError("X: expected a dense array of images, got a sparse matrix")
        if reset:
            shape = None if self.image_shape is None else check_image_shape(self.image_shape)
        else:
            shape = getattr(self, "image_shape_", None)
        n_axes = X.ndim if hasattr(X, "ndim") else np.asarray(X).ndim
        if (n_axes <= 2 and self._takes_rows) or (n_axes == 2 and shape is not None):
            X = check_estimator_rows(self, X, reset=reset)
            if shape is not None:
                as_images(X, shape)
        else:
            X = check_images(X) if shape is None else as_images(X, shape)
            size = math.prod(X.shape[1:])
            if reset:
                if len(X) == 0:
                    raise ValueError("X: expected at least one image, got none")
                self.__dict__.pop("feature_names_in_", None)
                self.n_features_in_ = size
                shape = X.shape[1:]
            elif size != self.n_features_in_:
                raise ValueError(
                    f"X: expected images of {self.n_features_in_} entries as in fit, "
                    f"got shape {X.shape[1:]}"
                )
        if reset:
            self.__dict__.pop("image_shape_", None)
            if shape is not None:
                self.image_shape_ = shape
        return np.asarray(X)
