"""What a fit leaves: the attributes of learners, and the uncertainty of their predictions."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from sklearn.utils.validation import check_is_fitted

from nkfast._arrays.blocks import row_blocks
from nkfast._arrays.memory import refuse_bytes, refuse_excess
from nkfast._arrays.validation import Array, Doubles, Rows, as_double
from nkfast._linalg.eigen import symmetric_eigen
from nkfast._linalg.symmetric import gram_matrix
from nkfast.features import NNGPFeatures, NTKFeatures, Nystroem
from nkfast.features._base import FeatureMap, feature_array, feature_products
from nkfast.kernels import Points, diag, kernel, prepare
from nkfast.networks import NetworkEstimator, Sequential
from nkfast.sketch._program import Compiled

from ._ridge._penalty import CRITERIA, Criterion
from ._ridge._posterior import Posterior
from ._ridge._solve import Ridge
from ._ridge._spectrum import Spectrum
from ._ridge._state import State
from ._ridge._system import Facts


class Columns(ABC):
    """What a solution weighs: the features of rows, or their kernels with the fitted rows.

    Attributes
    ----------
    kernel : bool
        Whether these are kernels.
    """

    kernel: ClassVar[bool]

    @abstractmethod
    def __call__(self, X: Rows) -> Array:
        """Return the columns F of rows, (n, p), in float64."""

    @abstractmethod
    def weights(self, coef: Array) -> Array:
        """Return what `products` takes for the weights of the columns, (p, k)."""

    @abstractmethod
    def products(self, X: Rows, weights: Array) -> Array:
        """Return the products of the columns of rows with these weights, (n, k)."""

    @abstractmethod
    def squared_norms(self, X: Rows, F: Array, facts: Facts) -> Array:
        """Return ||z - mean||^2 of rows, (n,)."""

    @abstractmethod
    def gram(self, X: Rows, F: Array, facts: Facts) -> Array:
        """Return the inner products of the rows' z - mean, (n, n)."""


@dataclass(frozen=True)
class FeatureColumns(Columns):
    """Features z of a fitted map."""

    kernel = False
    features: FeatureMap

    def __call__(self, X: Rows) -> Array:
        return np.asarray(as_double(feature_array(self.features, X)))

    def weights(self, coef: Array) -> Array:
        return self.features._weights(coef)

    def products(self, X: Rows, weights: Array) -> Array:
        return feature_products(self.features, X, weights)

    def squared_norms(self, X: Rows, F: Array, facts: Facts) -> Array:  # noqa: ARG002
        F = F - facts.mean_z
        return np.asarray(np.einsum("ij,ij->i", F, F))

    def gram(self, X: Rows, F: Array, facts: Facts) -> Array:  # noqa: ARG002
        return gram_matrix(F - facts.mean_z)


@dataclass(frozen=True)
class KernelColumns(Columns):
    """Kernels z^T z' with prepared points; `name` says which kernel of their network."""

    kernel = True
    points: Points
    name: str

    def __call__(self, X: Rows) -> Array:
        own = self.points.X.dtype
        X = as_double(X) if own == np.float64 else X.astype(own, copy=False)
        return np.asarray(kernel(self.points.net, X, self.points, self.name))

    def weights(self, coef: Array) -> Array:
        return coef

    def products(self, X: Rows, weights: Array) -> Array:
        return np.asarray(self(X) @ weights)

    def squared_norms(self, X: Rows, F: Array, facts: Facts) -> Array:
        squares: Array = getattr(diag(self.points.net, as_double(X)), self.name)
        if facts.share is None:
            return squares
        return np.asarray(squares - 2 * (F @ facts.share) + facts.mean_z @ facts.share)

    def gram(self, X: Rows, F: Array, facts: Facts) -> Array:
        K = np.asarray(kernel(self.points.net, as_double(X), None, self.name))
        if facts.share is None:
            return K
        means = F @ facts.share
        return np.asarray(K - means[:, None] - means + facts.mean_z @ facts.share)


@dataclass(frozen=True)
class Latent:
    """How uncertain z^T w + b of rows is, in units of the noise of a row of mean weight."""

    posterior: Posterior
    columns: Columns
    block_size: int

    def variances(self, X: Rows) -> Array:
        """Return the posterior variances over the noise variance of a row of mean weight, (n,).

        Of a fitted row of that weight it is the leverage.
        """
        posterior = self.posterior
        out = np.empty(X.shape[0])
        for rows in row_blocks(X.shape[0], self.block_size, X):
            F, norms = self.columns(X[rows]), None
            if not posterior.complete:
                norms = self.columns.squared_norms(X[rows], F, posterior.facts)
            out[rows] = posterior.variances(posterior.coordinates(F), norms)
        return out * posterior.facts.counts.mean

    def covariance(self, X: Rows) -> Array:
        """Return the posterior covariance over the noise variance, (n, n)."""
        n, posterior = X.shape[0], self.posterior
        refuse_bytes(8 * 3 * n**2, "X", f"a covariance of {n} rows")
        F, gram = self.columns(X), None
        if not posterior.complete:
            gram = self.columns.gram(X, F, posterior.facts)
        return posterior.covariance(posterior.coordinates(F), gram) * posterior.facts.counts.mean

    def deviations(self, X: Rows, size: int, rng: np.random.RandomState) -> Array:
        """Return `size` draws of z^T w + b less its mean, over the noise deviation, (n, size).

        Jointly for all rows. With features w is drawn, so that memory and time are linear in the
        rows. The exact kernel takes a root of the (n, n) covariance.
        """
        if self.columns.kernel:
            s, Q = symmetric_eigen(self.covariance(X), overwrite_a=True)
            drawn = np.sqrt(np.maximum(s, 0))[:, None] * rng.standard_normal((len(s), size))
            return np.asarray(Q @ drawn)
        refuse_excess((X.shape[0], size), np.dtype(np.float64), "n_samples")
        posterior, mean_z = self.posterior, self.posterior.facts.mean_z
        weights = posterior.deviations(len(mean_z), size, rng)
        constant = np.sqrt(posterior.of_mean) * rng.standard_normal(size)
        unit = np.sqrt(posterior.facts.counts.mean)
        out = np.empty((X.shape[0], size))
        for rows in row_blocks(X.shape[0], self.block_size, X):
            out[rows] = unit * ((self.columns(X[rows]) - mean_z) @ weights + constant)
        return out


class Solved(Compiled, NetworkEstimator):
    """An estimator with a linear solution, once `_fitted` is there."""

    _compiled_points: Points | None = None
    _own_precision: bool = False  # of the kernels with them, float64 otherwise
    net_: Sequential
    features_: NTKFeatures | NNGPFeatures | Nystroem
    X_fit_: Rows
    n_features_in_: int
    block_size: int
    _fitted: State
    _flat: bool  # whether targets were one-dimensional
    _n_targets: int
    _kernel: str

    @property
    def alpha_(self) -> float:
        """The penalty in use."""
        return self._solved().penalty.alpha

    @property
    def alphas_(self) -> Doubles:
        """The penalties that were tried, (45,)."""
        penalty = self._solved().penalty
        if penalty.alphas is None:
            raise AttributeError(f"alphas_: only after fitting with alpha one of {CRITERIA}")
        return penalty.alphas

    @property
    def gcv_(self) -> Doubles:
        """The generalised cross-validation score of each of `alphas_`, summed over targets."""
        return self._searched("gcv")

    @property
    def loo_(self) -> Doubles:
        """The mean squared leave-one-out error of each of `alphas_`, summed over targets."""
        return self._searched("loo")

    @property
    def evidence_(self) -> Doubles:
        """The log marginal likelihood of each of `alphas_` up to a constant, summed over targets.

        Each at the noise variances that are best for it.
        """
        return -self._searched("evidence")

    @property
    def coef_(self) -> Doubles:
        """Weights of the features (unless method="exact")."""
        # RFE and SelectFromModel take any coef_ for weights of the columns of X, whatever its
        # length, and would select columns by the weights of other things.
        asking = sys._getframe(1).f_globals.get("__name__", "")
        if asking.startswith("sklearn.feature_selection"):
            raise AttributeError(
                "coef_: weighs features of the kernel, not columns of X, which it cannot select; "
                "give an importance_getter such as lambda model: "
                "permutation_importance(model, X, y).importances_mean"
            )
        return self._shaped(self._solution_of(False, "coef_", "sketch").coef.T)

    @property
    def dual_coef_(self) -> Doubles:
        """Weights of the kernels with the rows of `X_fit_` (method="exact")."""
        coef = self._solution_of(True, "dual_coef_", "exact").coef
        return coef[:, 0] if self._flat else coef

    @property
    def intercept_(self) -> float | Doubles:
        """The constant, which is not penalised; zero without `fit_intercept`."""
        return self._plain(self._solved().intercept)

    def _shaped(self, values: Array) -> Array:
        """Drop the axis of targets, the first, if the targets were one-dimensional."""
        return values[0] if self._flat else values

    def _plain(self, values: Array) -> float | Doubles:
        """Return one value for each target, as a float if the targets were one-dimensional."""
        return float(values[0]) if self._flat else values

    def _solution_of(self, exact: bool, attribute: str, method: str) -> Ridge:
        solved = self._solved()
        if exact != self._is_exact:
            raise AttributeError(f"{attribute}: only after fitting with method={method!r}")
        return solved

    def _searched(self, criterion: Criterion) -> Array:
        scores = self._solved().penalty.scores_of(criterion)
        if scores is None:
            raise AttributeError(f"{criterion}_: only after fitting with alpha={criterion!r}")
        return scores

    @property
    def _is_exact(self) -> bool:
        return hasattr(self, "X_fit_")

    @property
    def _fitted_points(self) -> Points:
        """The rows of `X_fit_`, prepared for kernels in float64 or, of many, as they are."""
        if self._compiled_points is None:  # new, or after unpickling
            X = self.X_fit_ if self._own_precision else as_double(self.X_fit_)
            self._compiled_points = prepare(self.net_, X)
        return self._compiled_points

    @property
    def _columns(self) -> Columns:
        """What the solution weighs."""
        if self._is_exact:
            return KernelColumns(self._fitted_points, self._kernel)
        return FeatureColumns(self.features_)

    def _solved(self) -> Ridge:
        check_is_fitted(self)
        return self._fitted.ridge

    def _spectrum(self) -> Spectrum:
        check_is_fitted(self)
        return self._fitted.spectrum(self._columns)

    def _posterior(self) -> Posterior:
        """Return the posterior at the penalty in use, which is above zero."""
        check_is_fitted(self)
        return self._fitted.posterior(self._columns)

    def _latent(self) -> Latent:
        return Latent(self._posterior(), self._columns, self.block_size)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_fitted")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
