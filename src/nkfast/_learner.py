"""What the learners share: fitting by streamed or exact ridge regression, and linear scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, Literal, Self, TypeVar, cast

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from ._moments import Moments
from ._recipes import row_network
from ._ridge import Alpha, Ridge, Stream, solve_dual, solve_kernel
from ._validation import Rows, check_count, check_estimator_rows, check_real, check_width
from .features import NTKFeatures
from .layers import Sequential

Array = NDArray[Any]
Method = Literal["sketch", "exact"]
F = TypeVar("F", bound=Callable[..., Any])

# The exact method holds two (n, n) matrices in float64: 6.4 GB at this many rows.
EXACT_LIMIT = 20_000

_SMALL = 2048  # rows; of as many or fewer the feature map sees distinct ones, see _distinct


def _streams(learner: NTKLearner) -> bool:
    if learner.method == "exact":
        raise AttributeError("partial_fit: method='exact' needs all rows at once, in fit")
    return True


def streaming(method: F) -> F:
    """Offer a method only where rows can be streamed."""
    return cast(F, available_if(_streams)(method))


class NTKLearner(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Ridge regression of one or more columns of targets; what both learners share."""

    def __init__(
        self,
        net: Sequential | None = None,
        n_components: int | str = 4096,
        *,
        alpha: Alpha = "gcv",
        method: Method = "sketch",
        fit_intercept: bool = True,
        random_state: int | np.random.RandomState | None = None,
        block_size: int = 2048,
    ) -> None:
        self.net = net
        self.n_components = n_components
        self.alpha = alpha
        self.method = method
        self.fit_intercept = fit_intercept
        self.random_state = random_state
        self.block_size = block_size

    # --- what the fit found ---

    @property
    def alpha_(self) -> float:
        """The penalty in use."""
        return self._solved().penalty.alpha

    @property
    def alphas_(self) -> Array:
        """The penalties that generalised cross-validation tried, (45,)."""
        return self._searched(self._solved().penalty.alphas, "alphas_")

    @property
    def gcv_(self) -> Array:
        """The generalised cross-validation score of each of `alphas_`, summed over targets."""
        return self._searched(self._solved().penalty.gcv, "gcv_")

    @property
    def coef_(self) -> Array:
        """Weights of the features (method="sketch")."""
        return self._shaped(self._solution_of("sketch", "coef_").coef.T)

    @property
    def dual_coef_(self) -> Array:
        """Weights of the kernels with the rows of `X_fit_` (method="exact")."""
        coef = self._solution_of("exact", "dual_coef_").coef
        return coef[:, 0] if self._flat else coef

    @property
    def intercept_(self) -> Any:
        """The constant, which is not penalised; zero without `fit_intercept`."""
        intercept = self._shaped(self._solved().intercept)
        return float(intercept) if intercept.ndim == 0 else intercept

    def _shaped(self, values: Array) -> Array:
        """Drop the axis of targets, the first, if the targets were one-dimensional."""
        return values[0] if self._flat else values

    def _solution_of(self, method: Method, attribute: str) -> Ridge:
        solved = self._solved()
        if (method == "exact") != hasattr(self, "X_fit_"):
            raise AttributeError(f"{attribute}: only after fitting with method={method!r}")
        return solved

    def _searched(self, values: Array | None, attribute: str) -> Array:
        if values is None:
            raise AttributeError(f"{attribute}: only after fitting with alpha='gcv'")
        return values

    def _solved(self) -> Ridge:
        check_is_fitted(self)
        fitted: Ridge | Stream = self._fitted
        return fitted.ridge if isinstance(fitted, Stream) else fitted

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_fitted")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    # --- fitting ---

    def _fit(self, X: Rows, Y: Array, weight: Array | None, *, flat: bool) -> Self:
        """Fit on checked rows; nothing of an earlier fit is lost if this one is interrupted."""
        net = self._checked_network()
        alpha = self.alpha
        X, Y, weight = _weighty(X, Y, weight)
        n = X.shape[0]
        found: dict[str, Any] = {"net_": net, "_flat": flat, "_n_targets": Y.shape[1]}
        if self.method == "exact":
            if n > EXACT_LIMIT:
                raise ValueError(
                    f"X: method='exact' holds (n, n) matrices, so expected at most {EXACT_LIMIT} "
                    f"rows, got {n}; method='sketch' takes any number"
                )
            K = net.ntk(X.astype(np.float64, copy=False))
            found["X_fit_"] = X.copy()  # the caller may change his own
            found["_fitted"] = solve_kernel(K, Y, weight, alpha, centred=self.fit_intercept)
        else:
            features = self._fitted_features(net, X)
            found["features_"] = features
            m = features.n_components_
            if n <= m:
                Z = np.empty((n, m))
                for rows in _blocks(n, self.block_size):
                    Z[rows] = features.transform(X[rows])
                found["_rows"] = (X.copy(), Y.copy(), None if weight is None else weight.copy())
                found["_fitted"] = solve_dual(Z, Y, weight, alpha, centred=self.fit_intercept)
            else:
                sums = Moments(m, Y.shape[1], centred=self.fit_intercept)
                self._accumulate(sums, features, X, Y, weight)
                found["_fitted"] = Stream(sums, alpha)
                found["_fitted"].ridge  # noqa: B018  # solved now
        for name in ("features_", "X_fit_", "_rows"):
            self.__dict__.pop(name, None)
        self.__dict__.update(found)
        return self

    def _partial_fit(self, X: Rows, Y: Array, weight: Array | None, *, flat: bool) -> Self:
        """Add checked rows to the running sums; the solution waits until it is asked for."""
        net = self._checked_network()
        alpha = self.alpha
        X, Y, weight = _weighty(X, Y, weight)
        if not hasattr(self, "_fitted"):
            features = self._fitted_features(net, X)
            sums = Moments(features.n_components_, Y.shape[1], centred=self.fit_intercept)
            self._accumulate(sums, features, X, Y, weight)
            self.net_, self.features_, self._flat = net, features, flat
            self._n_targets = Y.shape[1]
        else:
            sums = self._running_sums()
            self._accumulate(sums, self.features_, X, Y, weight)
        self._fitted = Stream(sums, alpha)
        self.__dict__.pop("_rows", None)
        return self

    def _running_sums(self) -> Moments:
        """Return the sums over all rows so far; `fit` made none if it solved the dual problem."""
        if isinstance(self._fitted, Stream):
            return self._fitted.sums
        if not hasattr(self, "features_"):
            raise ValueError(
                "partial_fit: expected an estimator that is new or was fitted with "
                "method='sketch', got one fitted with method='exact'"
            )
        X, Y, weight = self._rows
        sums = Moments(self.features_.n_components_, Y.shape[1], centred=self._fitted.centred)
        self._accumulate(sums, self.features_, X, Y, weight)
        return sums

    def _accumulate(
        self, sums: Moments, features: NTKFeatures, X: Rows, Y: Array, weight: Array | None
    ) -> None:
        for rows in _blocks(X.shape[0], self.block_size):
            Z = features.transform(X[rows])
            sums.add(Z, Y[rows], None if weight is None else weight[rows])

    def _fitted_features(self, net: Sequential, X: Rows) -> NTKFeatures:
        features = NTKFeatures(net, self.n_components, random_state=self.random_state)
        return features.fit(_distinct(X) if X.shape[0] <= _SMALL else X)

    def _checked_network(self) -> Sequential:
        """Check the parameters; return a copy of the network, which set_params cannot reach."""
        net = row_network(self.net)
        check_width(self.n_components)
        check_count(self.block_size, "block_size", low=1)
        if isinstance(self.alpha, str):
            if self.alpha != "gcv":
                raise ValueError(f"alpha: expected a number >= 0 or 'gcv', got {self.alpha!r}")
        else:
            check_real(self.alpha, "alpha", low=0)
        if self.method not in ("sketch", "exact"):
            raise ValueError(f"method: expected 'sketch' or 'exact', got {self.method!r}")
        if not isinstance(self.fit_intercept, (bool, np.bool_)):
            raise TypeError(f"fit_intercept: expected True or False, got {self.fit_intercept!r}")
        return net

    # --- predicting ---

    def _scores(self, X: Any) -> Array:
        """Return the linear scores, (n, k), in the dtype of `X`."""
        ridge = self._solved()
        X = check_estimator_rows(self, X, reset=False)
        out = np.empty((X.shape[0], self._n_targets), X.dtype)
        exact = hasattr(self, "X_fit_")
        for rows in _blocks(X.shape[0], self.block_size):
            if exact:
                Z = self.net_.ntk(X[rows].astype(np.float64, copy=False), self.X_fit_)
            else:
                Z = self.features_.transform(X[rows]).astype(np.float64, copy=False)
            out[rows] = Z @ ridge.coef + ridge.intercept
        return out


def _weighty(X: Rows, Y: Array, weight: Array | None) -> tuple[Rows, Array, Array | None]:
    """Leave out rows of weight zero: they are as good as absent, also for the feature map."""
    if weight is None or np.all(weight > 0):
        return X, Y, weight
    kept = np.flatnonzero(weight)
    return X[kept], Y[kept], weight[kept]


def _blocks(n: int, size: int) -> Iterator[slice]:
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def _distinct(X: Rows) -> Rows:
    """Return the distinct rows in an order of their own.

    The feature map adapts to the rows that it is fitted on. So a row of weight 2 gives the same
    map, and the same predictions, as that row twice. In large sets that makes no difference.
    """
    if sp.issparse(X):
        bounds = pairwise(X.indptr)
        keys = [X.indices[a:b].tobytes() + X.data[a:b].tobytes() for a, b in bounds]
    else:
        keys = [row.tobytes() for row in X]
    first = {key: i for i, key in enumerate(keys)}
    return X[[first[key] for key in sorted(first)]]
