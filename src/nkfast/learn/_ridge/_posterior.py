"""Bayesian linear regression at one penalty: y = Z w + b + e, w ~ N(0, s2 I), e ~ N(0, alpha s2).

The prior of b is flat. Variances are in units of alpha s2, the noise variance of a row of weight 1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress

import numpy as np
from scipy.linalg import solve_triangular

from nkfast._arrays.validation import Array
from nkfast._linalg.symmetric import gram_matrix, shifted_cholesky

from ._spectrum import Spectrum
from ._system import Facts, System

_EPS = float(np.finfo(float).eps)


class Posterior(ABC):
    """What follows from a system, of which the facts are kept, and a penalty above zero.

    Attributes
    ----------
    complete : bool
        Whether the coordinates of a row tell its variance. Else, in a dual problem, the rest of
        its squared norm, over alpha, comes on top: what the fitted rows say nothing about.
    """

    def __init__(self, facts: Facts, alpha: float, q: Array, log_determinant: float) -> None:
        self.facts = facts
        self.alpha = alpha
        self.complete = not facts.dual
        # The least ||y - Z w||^2 + alpha ||w||^2 of each target, and log det(I + A / alpha).
        self._q = np.maximum(q, _EPS * facts.squares)
        self._log_determinant = log_determinant

    @abstractmethod
    def coordinates(self, columns: Array) -> Array:
        """Return coordinates of rows with these columns, features or kernels (n, p), as (n, r)."""

    @abstractmethod
    def variances(self, T: Array, squared_norms: Array | None) -> Array:
        """Return the variances of z^T w + b of rows with coordinates `T`, (n,).

        `squared_norms` (n,) of the centred rows; not needed if `complete`.
        """

    @abstractmethod
    def covariance(self, T: Array, gram: Array | None) -> Array:
        """Return the covariance of z^T w + b, (n, n); `gram` unless `complete`."""

    @abstractmethod
    def deviations(self, p: int, size: int, rng: np.random.RandomState) -> Array:
        """Return draws of w less its mean, (p, size), if columns are features."""

    @property
    def of_mean(self) -> float:
        """The variance of b."""
        return 1 / self.facts.counts.total if self.facts.centred else 0.0

    def noise_variances(self) -> Array:
        """Return the noise variances (k,) of the largest marginal likelihood.

        As in `log_likelihood` they are those of rows of the mean weight.
        """
        return np.asarray(self._q / (self.facts.free * self.facts.counts.mean))

    def log_likelihood(self, noise: Array) -> float:
        """Return the log marginal likelihood at noise variances (k,), summed over the targets.

        -(n / 2) log(2 pi noise) - 1/2 log det(I + A / alpha) - q / (2 noise), where q is the least
        ||y - Z w||^2 + alpha ||w||^2. A flat prior of the constant adds log(2 pi noise / W) / 2
        with W the sum of the weights; these, as inverse variances, add sum_i log(w_i) / 2.
        """
        facts, q = self.facts, self._q
        noise = noise * facts.counts.mean  # of a row of weight 1
        told = (q > 0) | (noise > 0)
        each = -0.5 * facts.free * np.log(2 * np.pi * noise[told]) - q[told] / (2 * noise[told])
        common = facts.counts.log_precisions - self._log_determinant
        common -= np.log(facts.counts.total) if facts.centred else 0.0
        return float(each.sum() + 0.5 * told.sum() * common)


def cheapest(
    factorise: Callable[[], Posterior],
    spectrum: Callable[[], Spectrum],
    alpha: float,
    *,
    known: bool,
) -> Posterior:
    """Return the posterior from the spectrum if that is `known`, else by Cholesky where it can."""
    if not known:
        with suppress(np.linalg.LinAlgError):
            return factorise()
    return SpectralPosterior(spectrum(), alpha)


class SpectralPosterior(Posterior):
    """From an eigen-decomposition, at no cost for any penalty."""

    def __init__(self, spectrum: Spectrum, alpha: float) -> None:
        shrunk = alpha / (spectrum.values + alpha)
        q = shrunk @ spectrum.targets**2 + spectrum.rest
        super().__init__(spectrum.facts, alpha, q, float(np.log1p(spectrum.values / alpha).sum()))
        self._spectrum = spectrum

    def coordinates(self, columns: Array) -> Array:
        return self._spectrum.coordinates(columns)

    def variances(self, T: Array, squared_norms: Array | None) -> Array:
        variance = T**2 @ (1 / (self._spectrum.values + self.alpha))
        if squared_norms is not None:
            rest = squared_norms - np.einsum("ij,ij->i", T, T)
            variance += np.maximum(rest, 0) / self.alpha
        return np.asarray(variance + self.of_mean)

    def covariance(self, T: Array, gram: Array | None) -> Array:
        covariance = (T / (self._spectrum.values + self.alpha)) @ T.T
        if gram is not None:
            covariance += (gram - gram_matrix(T)) / self.alpha
        covariance += self.of_mean
        return np.asarray((covariance + covariance.T) / 2)

    def deviations(self, p: int, size: int, rng: np.random.RandomState) -> Array:
        """With V the directions, the part V V^T w shrinks and the rest is the prior's."""
        V = self._spectrum.directions
        weights = rng.standard_normal((p, size))
        inside = V.T @ weights
        drawn = V @ (inside / np.sqrt(self._spectrum.values + self.alpha)[:, None])
        if not self.complete:
            drawn += (weights - V @ inside) / np.sqrt(self.alpha)
        return np.asarray(drawn)


class CholeskyPosterior(Posterior):
    """From A + alpha I = L L^T, at a tenth of the cost of an eigen-decomposition or less.

    Coordinates are L^-1 times the centred row or, in a dual problem, times its inner products with
    the fitted rows.
    """

    def __init__(self, system: System, alpha: float, rows: Array | None = None) -> None:
        """Raise LinAlgError if A + alpha I is not positive definite to rounding.

        `rows` (n, p) are the centred, weighted features of a dual system; without them it is one of
        a kernel.
        """
        self._factor, failed = shifted_cholesky(system.A, alpha)
        diagonal = np.diagonal(self._factor)
        if failed or diagonal.min() ** 2 <= system.floor(float(diagonal.max()) ** 2):
            raise np.linalg.LinAlgError("A + alpha I is singular")
        squares = np.sum(self._solved(system.B) ** 2, axis=0)
        facts = system.facts
        q = alpha * squares if facts.dual else facts.squares - squares
        log_determinant = 2 * np.log(diagonal).sum() - len(diagonal) * np.log(alpha)
        super().__init__(facts, alpha, q, float(log_determinant))
        self._rows = None if rows is None else self._solved(rows)
        self._root = None if facts.weight is None else np.sqrt(facts.weight)

    def _solved(self, B: Array, trans: int = 0) -> Array:
        """Return L^-1 B or, if `trans`, L^-T B."""
        return np.asarray(
            solve_triangular(self._factor, B, lower=True, trans=trans, check_finite=False)
        )

    def coordinates(self, columns: Array) -> Array:
        deviations = columns - self.facts.mean_z
        if self._rows is not None:
            return np.asarray(deviations @ self._rows.T)
        if self.facts.share is not None:
            deviations -= (deviations @ self.facts.share)[:, None]
        if self._root is not None:
            deviations *= self._root
        return self._solved(deviations.T).T

    def variances(self, T: Array, squared_norms: Array | None) -> Array:
        variance = np.einsum("ij,ij->i", T, T)
        if squared_norms is not None:
            variance = np.maximum(squared_norms - variance, 0) / self.alpha
        return np.asarray(variance + self.of_mean)

    def covariance(self, T: Array, gram: Array | None) -> Array:
        covariance = gram_matrix(T)
        if gram is not None:
            covariance = (gram - covariance) / self.alpha
        covariance += self.of_mean
        return np.asarray((covariance + covariance.T) / 2)

    def deviations(self, p: int, size: int, rng: np.random.RandomState) -> Array:
        """In a dual problem by Matheron's rule: what is drawn, less the mean given its data."""
        weights = rng.standard_normal((p, size))
        if self._rows is None:
            return self._solved(weights, trans=1)
        weights /= np.sqrt(self.alpha)
        noise = self._solved(rng.standard_normal((len(self._factor), size)))
        return np.asarray(weights - self._rows.T @ (self._rows @ weights + noise))
