"""What the feature maps share: their tags, and their error against the exact kernel."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from scipy.linalg import eigvalsh, solve_triangular
from sklearn.utils.validation import check_is_fitted

from nkfast._arrays.blocks import blocks
from nkfast._arrays.mapped import take
from nkfast._arrays.memory import refuse_bytes, refuse_excess
from nkfast._arrays.validation import Array, Doubles, Rows, check_estimator_rows, check_real
from nkfast._linalg.symmetric import cholesky, gram_matrix
from nkfast._sklearn import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from nkfast.networks import NetworkEstimator

_EPS = float(np.finfo(np.float64).eps)
_LEAST_ALPHA = 1e-10  # below, the rounding of K is no longer small beside the ridge
_MATRICES = 5  # of n x n in float64 that are held at once
_TAIL_ROWS = 256  # whose missing diagonal is averaged
_TAIL_IMAGES = 8  # whose kernels take milliseconds


class Construction(Protocol):
    """A way to make features of a network's kernel, fitted and drawn at random.

    Attributes
    ----------
    n_components : int
        Columns of the features.
    degree : int
        Highest degree of the series in it.
    """

    n_components: int
    degree: int

    def transform(self, X: Rows, norms: Doubles | None = None) -> Array:
        """Return the features of checked rows or images, (n, n_components).

        The norms of rows are computed where they are not given.
        """

    def may_overflow(self, X: Rows, norms: Doubles | None = None) -> bool:
        """Return whether features of these rows may be too large for their type."""

    def fitted(self) -> dict[str, Any]:
        """Return what the estimator shows of it, by the names of its attributes."""


class FeatureMap(ClassNamePrefixFeaturesOutMixin, TransformerMixin, NetworkEstimator):
    """A transformer of dense or CSR rows that can compare Z Z^T with the exact kernel.

    Subclasses have `_map`, the features of checked rows, `_compared`, these and their kernel, and
    `_own`, k(x, x).
    """

    tail_: float

    def _map(self, X: Rows) -> Array:
        raise NotImplementedError

    def _weights(self, coef: Array) -> Array:
        """Return what `_products` takes for weights of the features, (n_components, k)."""
        return coef

    def _products(self, X: Rows, weights: Array) -> Array:
        """Return the products of the features of checked rows with weights, (n, k), in float64."""
        return np.asarray(self._map(X).astype(np.float64, copy=False) @ weights)

    def _compared(self, X: Rows) -> tuple[Array, Array]:
        """Return the features of checked rows, and their exact kernel in float64."""
        raise NotImplementedError

    def _own(self, X: Rows) -> Array:
        """Return the exact kernel of each checked row with itself, (n,), in float64."""
        raise NotImplementedError

    def _squares(self, X: Rows) -> Array:
        """Return |z(x)|^2 of checked rows."""
        squares = np.empty(X.shape[0])
        for rows in blocks(X.shape[0], self._n_features_out):
            Z = self._map(X[rows]).astype(np.float64, copy=False)
            squares[rows] = np.einsum("ij,ij->i", Z, Z)
        return squares

    def _measure_tail(self, X: Rows) -> Array:
        """Set `tail_` by some of the fitted rows; it is infinite where their kernel is.

        Return what the features lack of the diagonal of each of these rows, as a share of it.
        """
        n, most = X.shape[0], _TAIL_ROWS if X.ndim == 2 else _TAIL_IMAGES
        some = take(X, np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.intp)))
        with np.errstate(over="ignore", invalid="ignore"):
            own = self._own(some)
            missing = own - self._squares(some)
            tail = float(missing.mean())
            share = np.divide(missing, own, out=np.zeros(len(own)), where=own > 0)
        self.tail_ = max(tail, 0.0) if np.isfinite(tail) else np.inf
        return np.where(np.isfinite(share), share, 0.0)

    def missing_diagonal(self, X: Any) -> Array:
        """Return k(x, x) - |z(x)|^2 for each row x of `X`: what Z Z^T lacks on its diagonal.

        Parameters
        ----------
        X : array_like or CSR matrix of shape (n, d)

        Returns
        -------
        ndarray of shape (n,)
            Float64, in units of the kernel. Below zero where features err upwards.

        Raises
        ------
        NotFittedError
            Before `fit`.

        Notes
        -----
        It is the kernel's part in degrees that got no features. Two rows share it only where they
        nearly coincide, so for a model it is noise: with features as with K itself, if what K has
        on its diagonal and Z Z^T has not is added to the ridge. `tail_` is its mean over rows of
        `fit`; learners add that on their own.

        Examples
        --------
        >>> import nkfast as nk
        >>> from sklearn.datasets import load_digits
        >>> from sklearn.linear_model import Ridge
        >>> X, y = load_digits(return_X_y=True)
        >>> phi = nk.NTKFeatures(nk.mlp(depth=3), n_components=1024, random_state=0).fit(X / 16)
        >>> lacking = phi.missing_diagonal(X / 16) / nk.mlp(depth=3).diag(X / 16).ntk
        >>> bool(0 < lacking.min() and lacking.max() < 0.2)
        True
        >>> model = Ridge(alpha=0.01 + phi.tail_).fit(phi.transform(X / 16), y)  # as K + 0.01 I
        """
        check_is_fitted(self)
        X = self._checked(X)
        return self._own(X) - self._squares(X)

    def _checked(self, X: Any) -> Rows:
        """Return what `transform` was given as checked rows."""
        return check_estimator_rows(self, X, reset=False)

    def kernel_error(self, X: Any, alpha: float = 1e-3) -> dict[str, float]:
        """Return how far Z Z^T is from the exact kernel K of the rows of `X`.

        Parameters
        ----------
        X : array_like or CSR matrix of shape (n, d)
            Some thousands of rows at most: five n x n matrices are held, and one is factorised.
        alpha : float, default=1e-3
            The ridge in units of the kernel's mean diagonal, at least 1e-10:
            lambda = alpha trace(K) / n.

        Returns
        -------
        dict of str to float
            "frobenius"
                ||Z Z^T - K||_F / ||K||_F.
            "centred"
                ||H (Z Z^T - K) H||_F / ||H K H||_F with H = I - 1 1^T / n: what is left for a model
                with an intercept.
            "spectral"
                ||(K + lambda I)^-1/2 (Z Z^T - K) (K + lambda I)^-1/2||_2, the least eps with
                (1 - eps) (K + lambda I) <= Z Z^T + lambda I <= (1 + eps) (K + lambda I). Below 1,
                ridge regression on Z at this lambda is near that with K.
            "statistical_dimension"
                tr K (K + lambda I)^-1, about how many features that takes.
            "ridge"
                lambda.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError, TypeError
            On bad rows or `alpha`, and if the matrices do not fit into memory.

        Notes
        -----
        Everything is computed in float64, but the features are those that `transform` gives, for
        float32 rows in float32. An error relative to a kernel that is zero, such as the centred
        kernel of a single row, is 0 where Z Z^T is zero, too, and else infinite.

        Examples
        --------
        >>> import nkfast as nk
        >>> from sklearn.datasets import load_digits
        >>> X = load_digits().data / 16
        >>> phi = nk.NTKFeatures(nk.mlp(depth=3), n_components=2048, random_state=0).fit(X)
        >>> error = phi.kernel_error(X[:300])
        >>> error["frobenius"] < 0.03, error["spectral"] < 1
        (True, True)
        """
        check_is_fitted(self)
        X = self._checked(X)
        alpha = check_real(alpha, "alpha", low=_LEAST_ALPHA)
        n = X.shape[0]
        if n == 0:
            raise ValueError("X: expected at least one row, got none")
        refuse_bytes(8 * _MATRICES * n**2, "X", f"kernels of {n} rows")
        return kernel_errors(*self._compared(X), alpha)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def feature_array(features: FeatureMap, X: Any) -> Array:
    """Return the features of `X` as an array, whatever `set_output` wants of `transform`."""
    check_is_fitted(features)
    X = features._checked(X)
    refuse_excess((X.shape[0], features._n_features_out), X.dtype, "X")
    return features._map(X)


def feature_products(features: FeatureMap, X: Any, weights: Array) -> Array:
    """Return the products of the features of `X` with what `_weights` made of weights, (n, k)."""
    check_is_fitted(features)
    return features._products(features._checked(X), weights)


def kernel_errors(Z: Array, K: Array, alpha: float) -> dict[str, float]:
    """Return the errors of `FeatureMap.kernel_error` for features Z of a kernel K, (n, n)."""
    n = len(K)
    difference = _gram(Z) - K
    ridge = alpha * float(np.trace(K)) / n
    centred = _ratio(_centred(difference), _centred(K), n * _EPS * _norm(K))
    result = {
        "frobenius": _ratio(difference, K),
        "centred": centred,
        "spectral": 0.0 if not difference.any() else np.inf,
        "statistical_dimension": 0.0,
        "ridge": ridge,
    }
    if ridge > 0:
        factor, failed = cholesky(np.asfortranarray(K + ridge * np.eye(n)))
        if failed:
            raise np.linalg.LinAlgError(f"alpha: K + {ridge:g} I is not positive definite")
        # L^-1 A L^-T has the eigenvalues of (K + lambda I)^-1/2 A (K + lambda I)^-1/2.
        half = solve_triangular(factor, difference, lower=True, overwrite_b=True)
        whitened = solve_triangular(factor, half.T, lower=True, overwrite_b=True)
        extremes = np.abs(eigvalsh((whitened + whitened.T) / 2)[[0, -1]])
        result["spectral"] = float(extremes.max())
        inverse = solve_triangular(factor, np.eye(n), lower=True, overwrite_b=True)
        result["statistical_dimension"] = float(n - ridge * np.linalg.norm(inverse) ** 2)
    return result


def relative_error(Z: Array, K: Array) -> float:
    """Return ||Z Z^T - K||_F / ||K||_F: 0 is perfect, 1 as bad as zeros."""
    return _ratio(_gram(Z) - K, K)


def _gram(Z: Array) -> Array:
    Z = Z.astype(np.float64, copy=False)
    return gram_matrix(Z)


def _centred(kernel: Array) -> Array:
    kernel = kernel - kernel.mean(axis=0)
    return np.asarray(kernel - kernel.mean(axis=1, keepdims=True))


def _ratio(difference: Array, kernel: Array, rounding: float = 0.0) -> float:
    """Return the quotient of the Frobenius norms; norms up to `rounding` count as zero."""
    error, size = _norm(difference), _norm(kernel)
    if size <= rounding:
        return 0.0 if error <= rounding else np.inf
    return error / size


def _norm(A: Array) -> float:
    """Return the Frobenius norm, without overflow or underflow of the squares."""
    largest = float(np.abs(A).max(initial=0.0))
    return largest * float(np.linalg.norm(A / largest)) if largest > 0 else 0.0


def refuse_overflow(X: Rows, Z: Array) -> None:
    """Refuse rows or images whose features are not finite."""
    finite = np.isfinite(Z).all(axis=1)
    if not finite.all():
        row = X[[int(np.argmin(finite))]]
        raise ValueError(
            f"X: expected rows or images whose features {Z.dtype} can hold, got one with "
            f"entries up to {abs(row).max():.3g}: give smaller ones"
            + (", or float64" if Z.dtype == np.float32 else "")
        )
