"""What learners found in a fit: their attributes, the solution and its spectrum."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from nkfast._arrays.validation import Rows, as_double
from nkfast.networks import Sequential

from ._ridge._posterior import CholeskyPosterior, Posterior, cheapest
from ._ridge._solve import CRITERIA, Criterion, Ridge
from ._ridge._spectrum import Spectrum, decompose_rows
from ._ridge._state import Batch, Stream
from ._ridge._system import system_of_kernel, system_of_rows

Array = NDArray[Any]


class Solved(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """An estimator with a linear solution, once `_fitted` is there."""

    net_: Sequential
    features_: Any
    X_fit_: Rows
    _fitted: Stream | Batch
    _flat: bool  # whether targets were one-dimensional
    _n_targets: int
    _kernel: str

    @property
    def alpha_(self) -> float:
        """The penalty in use."""
        return self._solved().penalty.alpha

    @property
    def alphas_(self) -> Array:
        """The penalties that were tried, (45,)."""
        penalty = self._solved().penalty
        if penalty.alphas is None:
            raise AttributeError(f"alphas_: only after fitting with alpha one of {CRITERIA}")
        return penalty.alphas

    @property
    def gcv_(self) -> Array:
        """The generalised cross-validation score of each of `alphas_`, summed over targets."""
        return self._searched("gcv")

    @property
    def loo_(self) -> Array:
        """The mean squared leave-one-out error of each of `alphas_`, summed over targets."""
        return self._searched("loo")

    @property
    def evidence_(self) -> Array:
        """The log marginal likelihood of each of `alphas_` up to a constant, summed over targets.

        Each at the noise variances that are best for it.
        """
        return -self._searched("evidence")

    @property
    def coef_(self) -> Array:
        """Weights of the features (unless method="exact")."""
        return self._shaped(self._solution_of(False, "coef_", "sketch").coef.T)

    @property
    def dual_coef_(self) -> Array:
        """Weights of the kernels with the rows of `X_fit_` (method="exact")."""
        coef = self._solution_of(True, "dual_coef_", "exact").coef
        return coef[:, 0] if self._flat else coef

    @property
    def intercept_(self) -> Any:
        """The constant, which is not penalised; zero without `fit_intercept`."""
        return self._plain(self._solved().intercept)

    def _shaped(self, values: Array) -> Array:
        """Drop the axis of targets, the first, if the targets were one-dimensional."""
        return values[0] if self._flat else values

    def _plain(self, values: Array) -> Any:
        """Return one value for each target, as a float if the targets were one-dimensional."""
        return float(values[0]) if self._flat else values

    def _solution_of(self, exact: bool, attribute: str, method: str) -> Ridge:
        solved = self._solved()
        if exact != self._is_exact:
            raise AttributeError(f"{attribute}: only after fitting with method={method!r}")
        return solved

    def _searched(self, criterion: Criterion) -> Array:
        penalty = self._solved().penalty
        if penalty.scores is None or penalty.criterion != criterion:
            raise AttributeError(f"{criterion}_: only after fitting with alpha={criterion!r}")
        return penalty.scores

    @property
    def _is_exact(self) -> bool:
        return hasattr(self, "X_fit_")

    def _solved(self) -> Ridge:
        check_is_fitted(self)
        return self._fitted.ridge

    def _spectrum(self) -> Spectrum:
        """Return the spectrum of what was fitted, found when it is first asked for."""
        check_is_fitted(self)
        fitted = self._fitted
        if isinstance(fitted, Batch) and fitted.spectrum is None:
            fitted.spectrum, _ = decompose_rows(
                self._columns(fitted.X),
                fitted.Y,
                fitted.weight,
                centred=fitted.ridge.centred,
                kernel=self._is_exact,
            )
        return cast(Spectrum, fitted.spectrum)

    def _posterior(self) -> Posterior:
        """Return the posterior at the penalty in use, which is above zero."""
        check_is_fitted(self)
        fitted = self._fitted
        if isinstance(fitted, Stream):
            return fitted.posterior()
        if fitted.posterior is None:
            alpha = self.alpha_
            fitted.posterior = cheapest(
                lambda: self._dual_posterior(fitted, alpha),
                self._spectrum,
                alpha,
                known=fitted.spectrum is not None,
            )
        return fitted.posterior

    def _dual_posterior(self, fitted: Batch, alpha: float) -> CholeskyPosterior:
        columns, centred = self._columns(fitted.X), fitted.ridge.centred
        if self._is_exact:
            system = system_of_kernel(columns, fitted.Y, fitted.weight, centred=centred)
            return CholeskyPosterior(system, alpha)
        system = system_of_rows(columns, fitted.Y, fitted.weight, centred=centred)
        return CholeskyPosterior(system, alpha, columns)

    def _columns(self, X: Rows) -> Array:
        """Return what the solution weighs, in float64: features, or kernels with `X_fit_`."""
        if self._is_exact:
            K = self.net_.kernel(as_double(X), as_double(self.X_fit_), get=self._kernel)
            return np.asarray(K)
        return np.asarray(self.features_.transform(X).astype(np.float64, copy=False))

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_fitted")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
