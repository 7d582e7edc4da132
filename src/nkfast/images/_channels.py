"""Images with standardised channels."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from nkfast._arrays.blocks import blocks
from nkfast._arrays.images import check_image_points, refuse_extremes
from nkfast._arrays.validation import Array, FloatArray, check_real
from nkfast._linalg.moments import RunningMoments
from nkfast._sklearn import OneToOneFeatureMixin

from ._tables import ImageTransformer


class Rescaler(OneToOneFeatureMixin, ImageTransformer):
    """What gives images back in the form in which they came."""

    _takes_rows = False  # flat rows whose shape as images is not known
    image_shape: tuple[int, int, int] | None = None
    image_shape_: tuple[int, int, int]
    n_features_in_: int
    n_samples_seen_: int

    def _checked(self, X: Any, *, reset: bool) -> FloatArray:
        return check_image_points(self, X, self.image_shape, reset=reset, any_rows=self._takes_rows)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class ChannelStandardizer(Rescaler):
    """Bring each channel of images to mean 0 and variance 1 over all pixels of all images.

    Parameters
    ----------
    eps : float, default=1e-7
        A channel whose standard deviation is at most `eps` times its root mean square counts as
        constant: it is centred and not scaled.
    image_shape : tuple of int, optional
        (height, width, channels): rows of height * width * channels entries are taken for images.

    Attributes
    ----------
    mean_, var_ : ndarray of shape (channels,)
        Mean and variance (divisor n) of each channel, in float64.
    scale_ : ndarray of shape (channels,)
        What channels are divided by: the root of `var_`, 1 for constant ones.
    n_samples_seen_ : int
        Number of images.
    image_shape_ : tuple of int
    n_features_in_ : int
        The product of `image_shape_`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Only for flat rows with string column names.

    See Also
    --------
    ZCA : Also removes the correlations between pixels.

    Notes
    -----
    `transform` returns images for images and flat rows for flat rows, so that it fits before
    ``NTKFeatures(net, image_shape=...)`` in a pipeline. Sums are in float64 and are merged as in
    Chan, Golub & LeVeque, "Algorithms for computing the sample variance", 1983: a large mean costs
    no digits, and `partial_fit` in parts gives what `fit` gives, up to rounding.

    Examples
    --------
    >>> import numpy as np, nkfast as nk
    >>> images = np.random.default_rng(0).uniform(0, 255, (50, 8, 8, 3)).astype(np.float32)
    >>> Z = nk.images.ChannelStandardizer().fit_transform(images)
    >>> Z.shape, Z.dtype, bool(np.allclose(Z.std(axis=(0, 1, 2)), 1))
    ((50, 8, 8, 3), dtype('float32'), True)
    """

    def __init__(
        self, eps: float = 1e-7, *, image_shape: tuple[int, int, int] | None = None
    ) -> None:
        self.eps = eps
        self.image_shape = image_shape

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: ARG002
        """Measure the channels of `X`, forgetting what was measured before.

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
            On a bad parameter, NaN or infinity, another shape, no images, or a sparse matrix.
        """
        return self._add(X, reset=True)

    def partial_fit(self, X: Any, y: Any = None) -> Self:  # noqa: ARG002
        """Add images to those measured so far.

        Parameters
        ----------
        X : array_like of shape (n, height, width, channels) or (n, height * width * channels)
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            As `fit`, and on images of another shape than before.
        """
        return self._add(X, reset=not hasattr(self, "_sums"))

    def _add(self, X: Any, *, reset: bool) -> Self:
        eps = check_real(self.eps, "eps", low=0)
        X = self._checked(X, reset=reset)
        n_channels = self.image_shape_[2]
        refuse_extremes(X.reshape(-1, n_channels), (0,))
        if reset:
            self._sums = RunningMoments(n_channels, 1)
            self.n_samples_seen_ = 0
        for rows in blocks(len(X), self.n_features_in_):
            pixels = X[rows].reshape(-1, n_channels)
            self._sums.add(pixels, np.zeros((len(pixels), 1)))
        self.n_samples_seen_ += len(X)
        self.mean_ = self._sums.mean_z.copy()
        self.var_ = np.diagonal(self._sums.zz) / self._sums.total
        std = np.sqrt(self.var_)
        constant = std <= eps * np.hypot(std, self.mean_)
        self.scale_ = np.where(constant, 1.0, std)
        return self

    def transform(self, X: Any) -> FloatArray:
        """Return the images of `X` with standardised channels.

        Parameters
        ----------
        X : array_like of shape (n, height, width, channels) or (n, height * width * channels)

        Returns
        -------
        ndarray of the shape of `X`
            float32 for float32 input, else float64.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError, TypeError
            On NaN or infinity, and on images of another shape than those of `fit`.
        """
        check_is_fitted(self)
        X = self._checked(X, reset=False)
        out = self._flat(np.empty_like(X))
        # Operands of mixed types: computed in float64, rounded to the type of X.
        np.subtract(self._flat(X), self._tiled(self.mean_), out=out, casting="same_kind")
        np.divide(out, self._tiled(self.scale_), out=out, casting="same_kind")
        return out.reshape(X.shape)

    def inverse_transform(self, X: Any) -> FloatArray:
        """Return the images whose standardised form is `X`.

        Parameters
        ----------
        X : array_like of shape (n, height, width, channels) or (n, height * width * channels)

        Returns
        -------
        ndarray of the shape of `X`

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError, TypeError
            As `transform`.
        """
        check_is_fitted(self)
        X = self._checked(X, reset=False)
        out = self._flat(np.empty_like(X))
        np.multiply(self._flat(X), self._tiled(self.scale_), out=out, casting="same_kind")
        np.add(out, self._tiled(self.mean_), out=out, casting="same_kind")
        return out.reshape(X.shape)

    def _flat(self, X: FloatArray) -> FloatArray:
        return X.reshape(len(X), self.n_features_in_)

    def _tiled(self, values: Array) -> Array:
        return np.tile(values, self.n_features_in_ // len(values))
