"""Images, also those that come as flat rows, and what an estimator remembers of them."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp

from .validation import (
    FloatArray,
    check_count,
    check_estimator_rows,
    check_images,
    check_rows,
    refuse_channels_first,
)

_SMALLEST, _LARGEST = 1e-150, 1e150  # of which float64 holds squares, and sums of them

ImageShape: TypeAlias = tuple[int, int, int]


def check_image_shape(image_shape: Any) -> ImageShape | None:
    """Return `image_shape` as three counts, at least 1, or None."""
    if image_shape is None:
        return None
    if not isinstance(image_shape, (tuple, list)) or len(image_shape) != 3:
        raise ValueError(
            f"image_shape: expected None or (height, width, channels), got {image_shape!r}"
        )
    height, width, channels = (check_count(n, "image_shape", low=1) for n in image_shape)
    refuse_channels_first((height, width, channels), "image_shape")
    return height, width, channels


def as_images(X: Any, image_shape: ImageShape | None) -> FloatArray:
    """Return `X` as images (n, height, width, channels), also where they come as flat rows."""
    if image_shape is not None and np.ndim(X) == 2:
        return _unflattened(check_rows(X, accept_sparse=False), image_shape)
    images = check_images(X, flat_hint=_flat_hint(X))
    if image_shape is not None and images.shape[1:] != image_shape:
        raise ValueError(f"X: expected images of shape {image_shape}, got {images.shape[1:]}")
    return images


def _flat_hint(X: Any) -> str:
    """Return how flat rows are taken for images, with a shape that they may have."""
    hint = "; image_shape=(height, width, channels) says which images flat rows are"
    size = np.shape(X)[-1] if np.ndim(X) == 2 else 0
    for channels in (1, 3):
        side = math.isqrt(size // channels)
        if side > 1 and side * side * channels == size:
            return f"{hint}, maybe {(side, side, channels)}"
    return hint


def _unflattened(X: FloatArray, image_shape: ImageShape) -> FloatArray:
    if X.shape[1] != math.prod(image_shape):
        raise ValueError(
            f"X: expected {math.prod(image_shape)} features, those of images of shape "
            f"{image_shape}, got {X.shape[1]}"
        )
    return np.asarray(X.reshape(len(X), *image_shape))


def check_image_points(
    estimator: Any, X: Any, image_shape: Any, *, reset: bool, any_rows: bool = False
) -> FloatArray:
    """Return checked images in the form in which they come: (n, h, w, c), or flat (n, h * w * c).

    Flat rows are images where a shape is known: `image_shape` with `reset`, else the estimator's
    `image_shape_`; or, with `any_rows`, also where none is. Keeps that one, n_features_in_ and
    feature_names_in_ honest.
    """
    if sp.issparse(X):
        raise TypeError("X: expected a dense array of images, got a sparse matrix")
    known = check_image_shape(image_shape) if reset else getattr(estimator, "image_shape_", None)
    n_axes = X.ndim if hasattr(X, "ndim") else np.asarray(X).ndim
    if (n_axes <= 2 and any_rows) or (n_axes == 2 and known is not None):
        X = check_estimator_rows(estimator, X, reset=reset)
        if known is not None:
            _unflattened(X, known)
    else:
        X = as_images(X, known)
        size = math.prod(X.shape[1:])
        if reset:
            if len(X) == 0:
                raise ValueError("X: expected at least one image, got none")
            estimator.__dict__.pop("feature_names_in_", None)
            estimator.n_features_in_ = size
            known = X.shape[1:]
        elif size != estimator.n_features_in_:
            raise ValueError(
                f"X: expected images of {estimator.n_features_in_} entries as in fit, "
                f"got shape {X.shape[1:]}"
            )
    if reset:
        estimator.__dict__.pop("image_shape_", None)
        if known is not None:
            estimator.image_shape_ = known
    return np.asarray(X)


def refuse_extremes(X: FloatArray, axis: tuple[int, ...] | None = None) -> None:
    """Refuse images whose squares float64 cannot hold: all of them, or along some axes."""
    if X.dtype == np.float64 and X.size:
        size = np.maximum(X.max(axis=axis), -X.min(axis=axis))
        bad = (size > 0) & ((size < _SMALLEST) | (size > _LARGEST))
        if np.any(bad):
            raise ValueError(
                f"X: expected images with entries up to a size in [{_SMALLEST:g}, {_LARGEST:g}], "
                f"whose squares float64 can hold, got up to {np.ravel(size)[np.argmax(bad)]:.3g}"
            )
