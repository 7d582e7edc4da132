"""Mean and covariance of rows, and the symmetric maps that scale along its eigenvectors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from sklearn.utils.extmath import svd_flip

from nkfast._arrays.validation import Array
from nkfast._linalg.eigen import symmetric_eigen
from nkfast._linalg.moments import RunningMoments, weighted_mean
from nkfast._linalg.symmetric import gram_matrix

_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class Covariance:
    """Rows' mean (d,), and their covariance V^T diag(values) V with V = components (r, d).

    The values, falling, are above rounding level: what is left out counts as zero.
    """

    n: int
    mean: Array
    values: Array
    components: Array

    @classmethod
    def of_moments(cls, sums: RunningMoments) -> Self:
        """Decompose the (d, d) covariance."""
        n = round(sums.total)
        values, vectors = symmetric_eigen(sums.zz / n, lower=True, driver="evd", overwrite_a=True)
        kept = _above_rounding(values, max(n, len(values)))
        vectors = np.ascontiguousarray(svd_flip(vectors[:, kept], None)[0].T)
        return cls(n, sums.mean_z.copy(), values[kept], vectors)

    @classmethod
    def of_rows(cls, X: Array) -> Self:
        """Decompose the (n, n) Gram matrix of the centred rows, cheaper for n < d.

        `X` is in float64 and is overwritten.
        """
        n, d = X.shape
        mean = weighted_mean(X, None)
        X -= mean
        values, vectors = symmetric_eigen(gram_matrix(X) / n, driver="evd", overwrite_a=True)
        kept = _above_rounding(values, d)
        values, vectors = values[kept], vectors[:, kept]
        components = svd_flip(X.T @ (vectors / np.sqrt(n * values)), None)[0].T
        return cls(n, mean, values, np.ascontiguousarray(components))

    def moments(self) -> RunningMoments:
        """Return the sums over the rows, to which others can be added."""
        sums = RunningMoments(len(self.mean), 1)
        sums.total = float(self.n)
        sums.mean_z = self.mean.copy()
        root = self.components * np.sqrt(self.n * self.values)[:, None]
        sums.zz = np.asfortranarray(gram_matrix(root.T))
        return sums


def _above_rounding(values: Array, size: int) -> Array:
    """Return the places of the eigenvalues that are no rounding errors, from the largest down."""
    return np.flatnonzero(values > size * _EPS * max(values[-1], 0.0))[::-1]


class SpectralMap:
    """x -> V^T diag(inside) V x in the span of V's rows (r, d), orthonormal; outside x across it.

    One product with a (d, d) matrix, or two with V where that is less work.
    """

    def __init__(self, V: Array, inside: Array, outside: float) -> None:
        r, d = V.shape
        if r == d:
            outside = 0.0  # there is no outside, and nothing needs to cancel
        change = inside - outside
        self._outside = outside
        if 2 * r < d:
            factors = [V.T, V * change[:, None]]
        else:
            sign = -1.0 if r and change[0] < 0 else 1.0  # the same for all
            root = V * np.sqrt(np.abs(change))[:, None]
            matrix = sign * gram_matrix(root.T)
            matrix[np.diag_indices(d)] += outside
            factors = [matrix]
        self._factors = {np.dtype(np.float64): factors}

    def apply(self, X: Array, out: Array) -> None:
        """Write the images of the rows of `X` to `out`, computed in its dtype."""
        factors = self._factors.get(out.dtype)
        if factors is None:
            factors = [f.astype(out.dtype) for f in self._factors[np.dtype(np.float64)]]
            self._factors[out.dtype] = factors
        X = X.astype(out.dtype, copy=False)
        if len(factors) == 1:
            np.matmul(X, factors[0], out=out)
        else:
            np.matmul(X @ factors[0], factors[1], out=out)
            if self._outside:
                out += out.dtype.type(self._outside) * X


@dataclass(frozen=True, eq=False)
class Whitening:
    """Scaling by 1 / sqrt(value + ridge) along each eigenvector, and back."""

    covariance: Covariance
    ridge: float

    @cached_property
    def forward(self) -> SpectralMap:
        """The whitening; directions without variance become zero if there is no ridge."""
        inside = 1 / np.sqrt(self.covariance.values + self.ridge)
        outside = 1 / np.sqrt(self.ridge) if self.ridge > 0 else 0.0
        return SpectralMap(self.covariance.components, inside, outside)

    @cached_property
    def backward(self) -> SpectralMap:
        """Its pseudo-inverse."""
        inside = np.sqrt(self.covariance.values + self.ridge)
        return SpectralMap(self.covariance.components, inside, float(np.sqrt(self.ridge)))

    def __getstate__(self) -> dict[str, Any]:
        return {"covariance": self.covariance, "ridge": self.ridge}


def whitening(covariance: Covariance, regularization: float) -> Whitening:
    """Return the whitening with a ridge of `regularization` mean eigenvalues."""
    ridge = regularization * float(covariance.values.sum()) / len(covariance.mean)
    return Whitening(covariance, ridge)


@dataclass(frozen=True, eq=False)
class Running:
    """Sums that may still grow, and their whitening, computed when it is first asked for."""

    sums: RunningMoments
    regularization: float

    @cached_property
    def solved(self) -> Whitening:
        """The whitening for the sums as they are now."""
        return whitening(Covariance.of_moments(self.sums), self.regularization)
