"""Whitened images."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from nkfast._arrays.blocks import blocks
from nkfast._arrays.memory import refuse_bytes
from nkfast._arrays.validation import Array, Doubles, FloatArray, check_real
from nkfast._linalg.moments import RunningMoments

from ._channels import Rescaler
from ._whitening import Covariance, Running, Whitening, whitening

_EPS = float(np.finfo(np.float64).eps)
_MATRICES = 4  # of d x d in float64 that are held at once


class ZCA(Rescaler):
    """Regularised ZCA whitening of images, as in the literature on neural kernels.

    With mu the mean and C = V diag(lambda) V^T the covariance (divisor n) of the flattened images
    of `fit`, d entries each, an image x becomes

        V diag(1 / sqrt(lambda + rho)) V^T (x - mu),   rho = regularization * mean(lambda),

    where mean(lambda) = trace(C) / d. Directions in which the images of `fit` do not vary have
    lambda = 0, factor 1 / sqrt(rho).

    Parameters
    ----------
    regularization : float, default=0.1
        At least 0, in units of the mean eigenvalue. With 0 directions without variance become 0.
    normalize_contrast : bool, default=False
        First subtract from each image the mean of its entries and divide it by its norm; constant
        images become 0.

    Attributes
    ----------
    mean_ : ndarray of shape (d,)
        Mean of the images (after contrast normalisation), in float64.
    explained_variance_ : ndarray of shape (r,)
        The eigenvalues above rounding level, falling.
    components_ : ndarray of shape (r, d)
        Their eigenvectors.
    n_samples_seen_ : int
        Number of images.
    image_shape_ : tuple of int
        (height, width, channels), if `fit` was given images.
    n_features_in_ : int
        d.
    feature_names_in_ : ndarray of shape (d,)
        Only for flat rows with string column names.

    See Also
    --------
    ChannelStandardizer : Three numbers for each colour image instead of a d x d matrix.

    Notes
    -----
    Takes images or flat rows and returns the same form. Of n < d images `fit` decomposes the n x n
    Gram matrix, in O(n^2 d). Of more it adds up the d x d moments in blocks, in float64, and
    decomposes them: O(n d^2 + d^3) and four d x d matrices of memory, whatever n is. `partial_fit`
    always does the latter, and decomposes only when the result is first asked for. `transform`
    multiplies with a d x d matrix, or with V twice if fewer than half of the directions vary.

    This is the whitening of Shankar et al., who normalise contrast and add 1e-4 to lambda (at least
    0.3 mean eigenvalues for images of 32 x 32 x 3), in the scale-free form of Lee et al. and Nguyen
    et al. Published codes differ in whether mu is subtracted after contrast normalisation; here it
    is.

    References
    ----------
    Shankar, Fang, Guo, Fridovich-Keil, Schmidt, Ragan-Kelley, Recht, "Neural kernels without
    tangents", ICML 2020. Lee, Schoenholz, Pennington, Adlam, Xiao, Novak, Sohl-Dickstein, "Finite
    versus infinite neural networks: an empirical study", NeurIPS 2020. Nguyen, Chen, Lee, "Dataset
    meta-learning from kernel ridge-regression", ICLR 2021.

    Examples
    --------
    >>> import numpy as np, nkfast as nk
    >>> from sklearn.datasets import load_digits
    >>> images = load_digits().images[..., None] / 16
    >>> whitened = nk.images.ZCA(regularization=1e-3).fit_transform(images)
    >>> C = np.cov(whitened.reshape(1797, 64).T, ddof=0)
    >>> whitened.shape, bool(np.linalg.eigvalsh(C).max() < 1)
    ((1797, 8, 8, 1), True)
    """

    _takes_rows = True

    def __init__(self, regularization: float = 0.1, *, normalize_contrast: bool = False) -> None:
        self.regularization = regularization
        self.normalize_contrast = normalize_contrast

    @property
    def mean_(self) -> Doubles:
        """Mean of the images."""
        return self._solved().covariance.mean

    @property
    def explained_variance_(self) -> Doubles:
        """Eigenvalues of the covariance."""
        return self._solved().covariance.values

    @property
    def components_(self) -> Doubles:
        """Eigenvectors of the covariance, in rows."""
        return self._solved().covariance.components

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_fitted")

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: ARG002
        """Decompose the covariance of the images of `X`, forgetting those seen before.

        Parameters
        ----------
        X : array_like of shape (n, height, width, channels) or (n, d)
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            On a bad parameter, NaN or infinity, another shape, no images, a sparse matrix, or
            images so large that their covariance does not fit into memory.
        """
        self._check_parameters()
        X = self._checked(X, reset=True)
        n, d = X.shape[0], self.n_features_in_
        if n < d:
            refuse_bytes(8 * _MATRICES * n * d, "X", f"{n} images of {d} entries")
            flat = np.empty((n, d))
            for rows in blocks(n, d):
                flat[rows] = self._prepared(X[rows])
            covariance = Covariance.of_rows(flat)
        else:
            covariance = Covariance.of_moments(self._add(self._new_sums(), X))
        self._fitted: Whitening | Running = whitening(covariance, self.regularization)
        self.n_samples_seen_ = n
        return self

    def partial_fit(self, X: Any, y: Any = None) -> Self:  # noqa: ARG002
        """Add images to those seen so far; their covariance is decomposed when it is needed.

        Parameters
        ----------
        X : array_like of shape (n, height, width, channels) or (n, d)
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            As `fit`, and on images of another shape than before.
        """
        self._check_parameters()
        first = not hasattr(self, "_fitted")
        X = self._checked(X, reset=first)
        if first:
            sums = self._new_sums()
        elif isinstance(self._fitted, Running):
            sums = self._fitted.sums
        else:
            sums = self._fitted.covariance.moments()
        self._fitted = Running(self._add(sums, X), self.regularization)
        self.n_samples_seen_ = round(sums.total)
        return self

    def _check_parameters(self) -> None:
        check_real(self.regularization, "regularization", low=0)
        if not isinstance(self.normalize_contrast, (bool, np.bool_)):
            raise TypeError(
                f"normalize_contrast: expected True or False, got {self.normalize_contrast!r}"
            )

    def _new_sums(self) -> RunningMoments:
        d = self.n_features_in_
        refuse_bytes(8 * _MATRICES * d**2, "X", f"the covariance of images of {d} entries")
        return RunningMoments(d, 1)

    def _add(self, sums: RunningMoments, X: FloatArray) -> RunningMoments:
        for rows in blocks(len(X), self.n_features_in_):
            flat = self._prepared(X[rows])
            sums.add(flat, np.zeros((len(flat), 1)))
        return sums

    def _prepared(self, X: FloatArray) -> Array:
        """Return some images as flat rows in float64, their contrast normalised if wanted."""
        flat = X.reshape(len(X), self.n_features_in_).astype(np.float64)
        if self.normalize_contrast:
            means = flat.mean(axis=1, keepdims=True)
            flat -= means
            norms = np.linalg.norm(flat, axis=1, keepdims=True)
            # Of constant images only the rounding of their mean is left.
            constant = norms <= 8 * _EPS * math.sqrt(flat.shape[1]) * np.abs(means)
            flat *= np.where(constant, 0.0, 1 / np.where(constant, 1.0, norms))
        return flat

    def _solved(self) -> Whitening:
        check_is_fitted(self)
        fitted = self._fitted
        return fitted.solved if isinstance(fitted, Running) else fitted

    def transform(self, X: Any) -> FloatArray:
        """Return the images of `X` whitened.

        Parameters
        ----------
        X : array_like of shape (n, height, width, channels) or (n, d)

        Returns
        -------
        ndarray of the shape of `X`
            float32 for float32 input, else float64. An image's result depends on its batch by
            rounding only.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError, TypeError
            On NaN or infinity, and on images of another shape than those of `fit`.
        """
        solved = self._solved()
        X = self._checked(X, reset=False)
        out = np.empty((len(X), self.n_features_in_), X.dtype)
        for rows in blocks(len(X), self.n_features_in_):
            flat = self._prepared(X[rows])
            flat -= solved.covariance.mean
            solved.forward.apply(flat, out[rows])
        return out.reshape(X.shape)

    def inverse_transform(self, X: Any) -> FloatArray:
        """Return the images whose whitened form is `X`.

        With ``regularization=0`` what the images of `fit` do not span is lost; with
        `normalize_contrast` so are the mean and norm of each image, and the result is the image of
        normalised contrast.

        Parameters
        ----------
        X : array_like of shape (n, height, width, channels) or (n, d)

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
        solved = self._solved()
        X = self._checked(X, reset=False)
        flat: Array = X.reshape(len(X), self.n_features_in_)
        out: Array = np.empty_like(flat)
        for rows in blocks(len(X), self.n_features_in_):
            solved.backward.apply(flat[rows], out[rows])
            np.add(out[rows], solved.covariance.mean, out=out[rows], casting="same_kind")
        return out.reshape(X.shape)
