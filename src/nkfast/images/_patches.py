"""Responses of random whitened patches, the first layer of Coates, Lee & Ng."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from nkfast._arrays.blocks import blocks
from nkfast._arrays.images import check_image_points, check_image_shape, refuse_extremes
from nkfast._arrays.memory import refuse_bytes
from nkfast._arrays.validation import Doubles, FloatArray, check_count, check_real
from nkfast._config import get_num_threads
from nkfast._core import rectified_patches
from nkfast._linalg.moments import RunningMoments

from ._tables import ImageTransformer
from ._whitening import Covariance, whitening

_IMAGES = 5000  # that patches are taken from, at most
_ROUNDING = 1e-15  # of a constant patch, relative to its mean; as in csrc/features/patches.cpp


def _covariance(P: Doubles) -> Covariance:
    sums = RunningMoments(P.shape[1], 1)
    for rows in blocks(*P.shape):
        sums.add(P[rows], np.zeros((len(P[rows]), 1)))
    return Covariance.of_moments(sums)


def _edges(count: int, grid: int) -> list[int]:
    """Return where the rectangles begin along an axis of so many patches, and the last one ends."""
    return [round(count * i / grid) for i in range(grid + 1)]


class RandomPatches(ImageTransformer):
    """Responses of random whitened patches, rectified and averaged over a grid.

    A patch p of an image, `patch_size` x `patch_size` pixels with all channels, has its contrast
    normalised and is whitened,

        q = (p - mean p) / sqrt(var p + c),    z = V diag(1 / sqrt(lambda + rho)) V^T (q - mu),

    where mu and V diag(lambda) V^T are the mean and the covariance of the q of random patches from
    the images of `fit`, c = contrast * mean(var p) and rho = regularization * mean(lambda). Filters
    f are whitened patches themselves, drawn at random and of norm 1. Of each filter's responses to
    all patches of an image come out the means of max(<f, z> - threshold, 0) and of
    max(-<f, z> - threshold, 0) over the rectangles of a grid: a small image with two channels for
    each filter, for a linear model, or for the kernel or the features of a network.

    Parameters
    ----------
    n_filters : int, default=1024
        Filters; the result has twice as many channels.
    patch_size : int, default=6
        Height and width of a patch, in pixels.
    grid : int, default=2
        The patches of an image are averaged over `grid` x `grid` rectangles of (nearly) equal size.
    stride : int, default=1
        Pixels from one patch to the next.
    threshold : float, default=0.5
        At least 0. What responses, of standard deviation about 1, must exceed.
    contrast : float, default=0.003
        At least 0, in units of the mean variance of a patch.
    regularization : float, default=0.1
        At least 0, of the whitening, in units of the mean eigenvalue.
    n_patches : int, default=50000
        Random patches for mean and covariance, at least `n_filters`. They come from at most 5000
        random images.
    image_shape : tuple of int, optional
        (height, width, channels): rows of height * width * channels entries are taken for images.
    random_state : int, RandomState or None, default=None
        Chooses patches; an int makes results repeatable.

    Attributes
    ----------
    components_ : ndarray of shape (n_filters, d)
        Filters times the whitening, d = patch_size^2 * channels: what normalised patches are
        multiplied by. In float64.
    mean_ : ndarray of shape (d,)
        Mean of normalised patches.
    contrast_ : float
        c, in units of squared pixels.
    image_shape_ : tuple of int
    n_features_in_ : int
        The product of `image_shape_`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Only for flat rows with string column names.

    See Also
    --------
    ZCA : Whitens whole images.
    ChannelStandardizer : Gives the channels of the result mean 0 and variance 1.

    Notes
    -----
    Responses are never held: the core multiplies, rectifies and adds up a few hundred patches at a
    time while they are in cache, in the dtype of the images. Images may have any scale; of those of
    `fit` times a number the result is the same. 2 n_filters d flops for each patch: 0.3 Gflop for a
    CIFAR image and 2048 filters.

    References
    ----------
    Coates, Lee, Ng, "An analysis of single-layer networks in unsupervised feature learning",
    AISTATS 2011. Coates, Ng, "The importance of encoding versus training with sparse coding and
    vector quantization", ICML 2011: random patches and soft thresholds. Before convolutional
    kernels: Li, Wang, Yu, Du, Hu, Salakhutdinov, Arora, "Enhanced convolutional neural tangent
    kernels", arXiv:1911.00809, 2019.

    Examples
    --------
    >>> import numpy as np, nkfast as nk
    >>> from sklearn.datasets import load_digits
    >>> images = load_digits().images[..., None]
    >>> Z = nk.images.RandomPatches(64, 3, random_state=0).fit_transform(images)
    >>> Z.shape
    (1797, 2, 2, 128)
    """

    image_shape_: tuple[int, int, int]
    n_features_in_: int

    def __init__(
        self,
        n_filters: int = 1024,
        patch_size: int = 6,
        *,
        grid: int = 2,
        stride: int = 1,
        threshold: float = 0.5,
        contrast: float = 0.003,
        regularization: float = 0.1,
        n_patches: int = 50_000,
        image_shape: tuple[int, int, int] | None = None,
        random_state: Any = None,
    ) -> None:
        self.n_filters = n_filters
        self.patch_size = patch_size
        self.grid = grid
        self.stride = stride
        self.threshold = threshold
        self.contrast = contrast
        self.regularization = regularization
        self.n_patches = n_patches
        self.image_shape = image_shape
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: ARG002
        """Choose filters among the patches of random images of `X`.

        Parameters
        ----------
        X : array_like of shape (n, height, width, channels) or (n, height * width * channels)
            Flat rows only with `image_shape`.
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            On a bad parameter, NaN or infinity, another shape, no images, images that are smaller
            than a patch or than the grid, images that are constant, a sparse matrix, or filters
            that do not fit into memory.
        """
        n_filters = check_count(self.n_filters, "n_filters", low=1)
        n_patches = check_count(self.n_patches, "n_patches", low=n_filters)
        size = check_count(self.patch_size, "patch_size", low=1)
        stride = check_count(self.stride, "stride", low=1)
        threshold = check_real(self.threshold, "threshold", low=0)
        contrast = check_real(self.contrast, "contrast", low=0)
        regularization = check_real(self.regularization, "regularization", low=0)
        random = check_random_state(self.random_state)
        X = self._sample(X, random)
        height, width, channels = X.shape[1:]
        if size > min(height, width):
            raise ValueError(
                f"patch_size: expected at most {min(height, width)}, the side of the images, "
                f"got {size}"
            )
        most = (min(height, width) - size) // stride + 1
        grid = check_count(self.grid, "grid", low=1, high=most)
        d = size * size * channels
        refuse_bytes(8 * (2 * n_patches + 2 * n_filters) * d, "n_patches", f"{n_patches} patches")

        # In units of their own, in which squares neither vanish nor overflow.
        P = self._patches(X, n_patches, size, random)
        exponent = -int(np.frexp(np.abs(P).max())[1])
        P = np.ldexp(P, exponent)
        means = P.mean(axis=1, keepdims=True)
        P -= means
        variances = np.mean(np.square(P), axis=1)
        variances[variances <= np.square(_ROUNDING * means[:, 0])] = 0.0
        ridge = contrast * float(variances.mean())
        P = P[variances > 0] / np.sqrt((variances + ridge)[variances > 0, None])
        if len(P) < n_filters:
            raise ValueError(
                f"X: expected images whose patches are not constant, got {len(P)} such patches of "
                f"{n_patches}; n_filters={n_filters}"
            )
        # Rows are at random places already, so that the first are a random choice.
        Z = P[:n_filters].copy()
        covariance = _covariance(P)
        solved = whitening(covariance, regularization)
        Z -= covariance.mean
        filters = np.empty_like(Z)
        solved.forward.apply(Z, filters)
        norms = np.linalg.norm(filters, axis=1, keepdims=True)
        filters /= np.where(norms > 0, norms, 1)
        self.components_ = np.empty_like(filters)
        solved.forward.apply(filters, self.components_)
        self.mean_ = covariance.mean
        self.contrast_ = float(np.ldexp(ridge, -2 * exponent))
        self._layout: dict[str, Any] = {
            "patch": (size, size),
            "stride": stride,
            "row_edges": _edges((height - size) // stride + 1, grid),
            "col_edges": _edges((width - size) // stride + 1, grid),
            "unit": float(np.ldexp(1.0, exponent)),
            "ridge": ridge,
            "threshold": threshold,
        }
        return self

    def _sample(self, X: Any, random: np.random.RandomState) -> FloatArray:
        """Return random images of `X`, checked; of an array no others are read."""
        shape = check_image_shape(self.image_shape)
        if isinstance(X, np.ndarray) and X.ndim in (2, 4) and len(X) > _IMAGES:
            X = X[np.sort(random.choice(len(X), _IMAGES, replace=False))]
        X = check_image_points(self, X, shape, reset=True)
        refuse_extremes(X)
        return np.asarray(X.reshape(len(X), *self.image_shape_))

    def _patches(
        self, X: FloatArray, count: int, size: int, random: np.random.RandomState
    ) -> Doubles:
        """Return so many patches from random places, flat and in float64."""
        n, height, width, channels = X.shape
        out = np.empty((count, size, size, channels))
        image = random.randint(n, size=count)
        top = random.randint(height - size + 1, size=count)
        left = random.randint(width - size + 1, size=count)
        at = np.arange(size)
        for rows in blocks(count, size * size * channels):
            i, r, c = (v[rows, None, None] for v in (image, top, left))
            out[rows] = X[i, r + at[:, None], c + at]
        return out.reshape(count, -1)

    def transform(self, X: Any) -> FloatArray:
        """Return the rectified responses of all filters to the images of `X`, averaged.

        Parameters
        ----------
        X : array_like of shape (n, height, width, channels) or (n, height * width * channels)

        Returns
        -------
        ndarray of shape (n, grid, grid, 2 * n_filters)
            float32 for float32 input, else float64. The first `n_filters` channels are those of
            responses above the threshold, the others those of responses below minus it. An image's
            result does not depend on its batch.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError, TypeError
            On NaN or infinity, and on images of another shape than those of `fit`.
        """
        check_is_fitted(self)
        X = check_image_points(self, X, self.image_shape_, reset=False)
        refuse_extremes(X)
        X = np.ascontiguousarray(X.reshape(len(X), *self.image_shape_))
        filters = np.ascontiguousarray(self.components_.T, X.dtype)
        shift = (self.components_ @ self.mean_).astype(X.dtype)
        grid = (len(self._layout[f"{axis}_edges"]) - 1 for axis in ("row", "col"))
        out = np.empty((len(X), *grid, 2 * filters.shape[1]), X.dtype)
        rectified_patches(X, filters, shift, out, **self._layout, n_threads=get_num_threads())
        return out

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
