"""Left-right flips of images: a training set doubled, or features averaged."""

from __future__ import annotations

import math
from typing import Any, Self, cast

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from nkfast._arrays.images import (
    ImageShape,
    as_images,
    check_image_points,
    check_image_shape,
)
from nkfast._arrays.validation import Array, FloatArray
from nkfast._sklearn import MetaEstimatorMixin, available_if

from ._tables import ImageTransformer


def flip_left_right(X: Any, *, image_shape: tuple[int, int, int] | None = None) -> FloatArray:
    """Return the mirror images of `X`: columns of pixels in the opposite order.

    Parameters
    ----------
    X : array_like of shape (n, height, width, channels) or (n, height * width * channels)
        Flat rows only with `image_shape`. Integers become float64.
    image_shape : tuple of int, optional
        (height, width, channels), needed for flat rows.

    Returns
    -------
    ndarray of the shape of `X`
        A copy; float32 for float32 input, else float64.

    Raises
    ------
    ValueError, TypeError
        On NaN or infinity, another shape, or a sparse matrix.

    Examples
    --------
    >>> import numpy as np, nkfast as nk
    >>> images = np.arange(6).reshape(1, 2, 3, 1)
    >>> nk.images.flip_left_right(images)[0, :, :, 0]
    array([[2., 1., 0.],
           [5., 4., 3.]])
    """
    images = as_images(X, check_image_shape(image_shape))
    flipped = np.ascontiguousarray(images[:, :, ::-1])
    return flipped.reshape(len(images), -1) if np.ndim(X) == 2 else flipped


def augment_flips(
    X: Any, y: Any, *, image_shape: tuple[int, int, int] | None = None
) -> tuple[FloatArray, Array]:
    """Double a training set: the images of `X`, then their mirror images, `y` repeated.

    Parameters
    ----------
    X : array_like of shape (n, height, width, channels) or (n, height * width * channels)
        Flat rows only with `image_shape`. Integers become float64.
    y : array_like of shape (n,) or (n, n_targets)
        Labels or targets, of any type.
    image_shape : tuple of int, optional
        (height, width, channels), needed for flat rows.

    Returns
    -------
    X_both : ndarray of shape (2 n, ...)
        float32 for float32 input, else float64. Image n + i is the mirror image of image i.
    y_both : ndarray of shape (2 n,) or (2 n, n_targets)

    Raises
    ------
    ValueError, TypeError
        On NaN or infinity, another shape, a sparse matrix, or unequal lengths.

    See Also
    --------
    FlipAverage : The other way: features that are the same for an image and its mirror image.

    Examples
    --------
    >>> import numpy as np, nkfast as nk
    >>> X_both, y_both = nk.images.augment_flips(np.ones((3, 4, 4, 1)), ["a", "b", "c"])
    >>> X_both.shape, y_both.tolist()
    ((6, 4, 4, 1), ['a', 'b', 'c', 'a', 'b', 'c'])
    """
    images = as_images(X, check_image_shape(image_shape))
    y = np.asarray(y)
    if y.ndim == 0 or len(y) != len(images):
        raise ValueError(
            f"y: expected {len(images)} labels, one for each image, got shape {y.shape}"
        )
    both = np.concatenate([images, images[:, :, ::-1]])
    both = both.reshape(len(both), -1) if np.ndim(X) == 2 else both
    return both, np.concatenate([y, y])


def _for_rows(transformer: Any, shape: ImageShape | None) -> ImageShape | None:
    """Return the shape of images that come as flat rows, and tell an unfitted transformer.

    It may be known here, or as a parameter `image_shape` of the transformer or its steps; those
    that are None get it.
    """
    params = transformer.get_params() if hasattr(transformer, "get_params") else {}
    given = {k: check_image_shape(v) for k, v in params.items() if k.endswith("image_shape")}
    shape = shape or next((v for v in given.values() if v is not None), None)
    if shape is None:
        return None
    for value in given.values():  # of another size it may be what a step makes of the images
        if value not in (None, shape) and math.prod(value) == math.prod(shape):
            raise ValueError(
                f"image_shape: expected one shape, got {shape} and in the transformer {value}"
            )
    missing = [name for name, value in given.items() if value is None]
    transformer.set_params(**dict.fromkeys(missing, shape))
    return shape


def _numbers(features: Any) -> Any:
    """Return features as an array, dense or sparse: they may come as a table."""
    return features if sp.issparse(features) else np.asarray(features)


def _names_features(estimator: FlipAverage) -> bool:
    return hasattr(estimator.transformer, "get_feature_names_out")


class FlipAverage(MetaEstimatorMixin, ImageTransformer):
    """Features of images averaged with those of their mirror images.

    For features phi of a kernel k and the left-right flip F they are (phi(x) + phi(F x)) / 2, so
    that their inner products are the kernel averaged over flips of both images,

        (k(x, y) + k(F x, y) + k(x, F y) + k(F x, F y)) / 4,

    and an image and its mirror image have the same features. Where k(F x, F y) = k(x, y), as for
    `myrtle` and images whose sides its pools divide, ridge regression with the averaged kernel is
    that on the doubled set of `augment_flips` with twice the penalty, from half the rows. Sketched
    features meet that condition up to their error.

    Parameters
    ----------
    transformer : estimator
        Any feature map of images, or a pipeline that ends in one; a copy of it is fitted.
    image_shape : tuple of int, optional
        (height, width, channels): rows of height * width * channels entries are taken for images.
        By default that of `transformer` or of a step of it; where these have none, they get this
        one.

    Attributes
    ----------
    transformer_ : estimator
        The fitted copy.
    image_shape_ : tuple of int
    n_features_in_ : int
        The product of `image_shape_`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Only for flat rows with string column names.

    See Also
    --------
    augment_flips : Doubles the training set instead.

    References
    ----------
    Li, Wang, Yu, Du, Hu, Salakhutdinov, Arora, "Enhanced convolutional neural tangent kernels",
    arXiv:1911.00809, 2019: regression with the averaged kernel is that on the augmented set.

    Examples
    --------
    >>> import numpy as np, nkfast as nk
    >>> images = np.random.default_rng(0).standard_normal((5, 6, 6, 1))
    >>> net = nk.Sequential(nk.Conv(), nk.ReLU(), nk.Flatten(), nk.Dense())
    >>> phi = nk.images.FlipAverage(nk.NTKFeatures(net, n_components=128, random_state=0))
    >>> Z = phi.fit_transform(images)
    >>> Z.shape, bool(np.allclose(Z, phi.transform(nk.images.flip_left_right(images))))
    ((5, 128), True)
    """

    image_shape_: tuple[int, int, int]
    n_features_in_: int

    def __init__(
        self, transformer: Any, *, image_shape: tuple[int, int, int] | None = None
    ) -> None:
        self.transformer = transformer
        self.image_shape = image_shape

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit a copy of `transformer` on the images of `X` as they are.

        Parameters
        ----------
        X : array_like of shape (n, height, width, channels) or (n, height * width * channels)
            Flat rows only with `image_shape`.
        y : array_like, optional
            Handed on.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            On NaN or infinity, another shape, no images, a sparse matrix, or a `transformer` that
            is none.
        """
        if not hasattr(self.transformer, "fit") or not hasattr(self.transformer, "transform"):
            raise TypeError(
                "transformer: expected an estimator with fit and transform, "
                f"got {self.transformer!r}"
            )
        inner, shape = clone(self.transformer), check_image_shape(self.image_shape)
        if np.ndim(X) == 2:
            shape = _for_rows(inner, shape)
        X = check_image_points(self, X, shape, reset=True)
        self.transformer_ = inner.fit(X, y)
        return self

    def transform(self, X: Any) -> FloatArray:
        """Return the averaged features of the images of `X`.

        Parameters
        ----------
        X : array_like of shape (n, height, width, channels) or (n, height * width * channels)

        Returns
        -------
        What `transformer` returns
            Of an ndarray, mostly of shape (n, n_components), the dtype is kept.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError, TypeError
            On NaN or infinity, and on images of another shape than those of `fit`.
        """
        check_is_fitted(self)
        X = check_image_points(self, X, None, reset=False)
        flipped = flip_left_right(X, image_shape=self.image_shape_)
        with config_context(transform_output="default"):
            one, other = (_numbers(self.transformer_.transform(x)) for x in (X, flipped))
        return cast(FloatArray, 0.5 * (one + other))

    @available_if(_names_features)
    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Return the names of the features, those of `transformer`.

        Parameters
        ----------
        input_features : array_like of str, optional
            Handed on; by default the names of the columns of `fit`, if they had any.

        Returns
        -------
        ndarray of str
        """
        check_is_fitted(self)
        if input_features is None:
            input_features = getattr(self, "feature_names_in_", None)
        return np.asarray(self.transformer_.get_feature_names_out(input_features))
