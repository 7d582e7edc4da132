"""Ridge regression and classification with the neural tangent kernel, streamed or exact."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, Self, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from ._moments import Moments
from ._ridge import Alpha, Ridge, Stream, solve_dual, solve_kernel
from ._validation import (
    Rows,
    check_count,
    check_estimator_rows,
    check_labels,
    check_real,
    check_targets,
    check_weights,
)
from .features import NTKFeatures
from .layers import Sequential, mlp

Array = NDArray[Any]
Method = Literal["sketch", "exact"]
F = TypeVar("F", bound=Callable[..., Any])

# The exact method holds two (n, n) matrices in float64: 6.4 GB at this many rows.
EXACT_LIMIT = 20_000


def _streams(learner: _NTKLearner) -> bool:
    if learner.method == "exact":
        raise AttributeError("partial_fit: method='exact' needs all rows at once, in fit")
    return True


def _streaming(method: F) -> F:
    """Offer a method only where rows can be streamed."""
    return cast(F, available_if(_streams)(method))


class _NTKLearner(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Ridge regression of one or more columns of targets; what both learners share."""

    def __init__(
        self,
        net: Sequential | None = None,
        n_components: int = 4096,
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
            found["X_fit_"] = X
            found["_fitted"] = solve_kernel(K, Y, weight, alpha, centred=self.fit_intercept)
        else:
            features = self._make_features(net).fit(X)
            found["features_"] = features
            if n <= self.n_components:
                Z = np.empty((n, self.n_components))
                for rows in _blocks(n, self.block_size):
                    Z[rows] = features.transform(X[rows])
                found["_rows"] = (X, Y, weight)
                found["_fitted"] = solve_dual(Z, Y, weight, alpha, centred=self.fit_intercept)
            else:
                sums = Moments(self.n_components, Y.shape[1], centred=self.fit_intercept)
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
            features = self._make_features(net).fit(X)
            sums = Moments(self.n_components, Y.shape[1], centred=self.fit_intercept)
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
        sums = Moments(self.features_.n_components, Y.shape[1], centred=self._fitted.centred)
        self._accumulate(sums, self.features_, X, Y, weight)
        return sums

    def _accumulate(
        self, sums: Moments, features: NTKFeatures, X: Rows, Y: Array, weight: Array | None
    ) -> None:
        for rows in _blocks(X.shape[0], self.block_size):
            Z = features.transform(X[rows])
            sums.add(Z, Y[rows], None if weight is None else weight[rows])

    def _make_features(self, net: Sequential) -> NTKFeatures:
        return NTKFeatures(net, self.n_components, random_state=self.random_state)

    def _checked_network(self) -> Sequential:
        """Check the parameters; return a copy of the network, which set_params cannot reach."""
        if self.net is not None and not isinstance(self.net, Sequential):
            raise TypeError(
                f"net: expected a network (Sequential, or mlp()) or None, got {self.net!r}"
            )
        check_count(self.n_components, "n_components", low=1)
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
        return mlp() if self.net is None else clone(self.net)

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


class NTKRegressor(RegressorMixin, _NTKLearner):  # type: ignore[misc]
    """Kernel ridge regression with the neural tangent kernel of a wide network.

    Parameters
    ----------
    net : Sequential, default=None
        The network; None means ``mlp()``, one hidden layer of ReLU.
    n_components : int, default=4096
        Number of features (method="sketch").
    alpha : float or "gcv", default="gcv"
        Penalty on the squared norm of the weights, >= 0: minimised is
        ``||y - Z w - b||^2 + alpha ||w||^2``, as in scikit-learn's Ridge. Zero gives the solution
        of least norm. "gcv" chooses it by generalised cross-validation from a path of 45 values
        scaled to the spectrum, one for all targets.
    method : {"sketch", "exact"}, default="sketch"
        Ridge regression on `NTKFeatures`, in memory O(n_components^2) whatever the number of rows;
        or kernel ridge regression with the exact kernel, for at most 20000 rows.
    fit_intercept : bool, default=True
        Whether to add a constant, which is not penalised.
    random_state : int, RandomState instance or None, default=None
        Randomness of the features.
    block_size : int, default=2048
        Rows that are turned into features at a time; it bounds the memory and does not change the
        result beyond rounding.

    Attributes
    ----------
    alpha_ : float
        The penalty in use.
    alphas_, gcv_ : ndarray of shape (45,)
        Penalties tried and their scores, if ``alpha="gcv"``.
    coef_ : ndarray of shape (n_components,) or (n_targets, n_components)
        Weights of the features, if ``method="sketch"``.
    intercept_ : float or ndarray of shape (n_targets,)
        The constant.
    features_ : NTKFeatures
        The fitted feature map, if ``method="sketch"``.
    dual_coef_, X_fit_ : ndarray of shape (n,) or (n, n_targets), array of shape (n, d)
        Weights and rows of the kernels, if ``method="exact"``.
    net_ : Sequential
        The network in use, a copy.
    n_features_in_ : int
        Number of columns of `X`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, if `X` had names that are all strings.

    See Also
    --------
    NTKClassifier : Classification in the same way.

    Notes
    -----
    Sums and solutions are in float64; predictions have the dtype (float32 or float64) of the rows
    they are for. A row of sample weight w counts as w rows. For "gcv" whole weights are numbers of
    observations; other weights are taken as inverse variances, each row being one observation.

    References
    ----------
    Jacot, Gabriel & Hongler, "Neural tangent kernel", NeurIPS 2018. Golub, Heath & Wahba,
    "Generalized cross-validation as a method for choosing a good ridge parameter", Technometrics
    1979.

    Examples
    --------
    >>> import numpy as np, nkfast as nk
    >>> X = np.random.default_rng(0).standard_normal((200, 5))
    >>> y = np.abs(X[:, 0]) + X[:, 1]
    >>> model = nk.NTKRegressor(nk.mlp(depth=2), n_components=256, random_state=0)
    >>> model.fit(X[:150], y[:150]).score(X[150:], y[150:]) > 0.8
    True
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit on all rows, forgetting what was learnt before.

        Parameters
        ----------
        X : array_like or CSR matrix of shape (n, d)
        y : array_like of shape (n,) or (n, n_targets)
        sample_weight : array_like of shape (n,), optional
            Weights >= 0, all 1 by default.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            On a bad parameter, NaN or infinity, or unequal numbers of rows.
        """
        X = check_estimator_rows(self, X, reset=True)
        Y = check_targets(y, X.shape[0])
        weight = check_weights(sample_weight, X.shape[0])
        return self._fit(X, Y.reshape(X.shape[0], -1), weight, flat=Y.ndim == 1)

    @_streaming
    def partial_fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Add rows to those seen so far.

        The first call, unless `fit` came before it, fits the feature map, so its rows should be
        representative of all. The solution is computed when it is first needed after a call.

        Parameters
        ----------
        X : array_like or CSR matrix of shape (n, d)
        y : array_like of shape (n,) or (n, n_targets)
        sample_weight : array_like of shape (n,), optional
            Weights >= 0, all 1 by default.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            As `fit`; on other numbers of columns or targets than before.
        AttributeError
            If ``method="exact"``.
        """
        first = not hasattr(self, "_fitted")
        X = check_estimator_rows(self, X, reset=first)
        Y = check_targets(y, X.shape[0])
        flat = Y.ndim == 1
        Y = Y.reshape(X.shape[0], -1)
        if not first and self._n_targets != Y.shape[1]:
            raise ValueError(f"y: expected {self._n_targets} targets as before, got {Y.shape[1]}")
        return self._partial_fit(X, Y, check_weights(sample_weight, X.shape[0]), flat=flat)

    def predict(self, X: Any) -> Array:
        """Return predictions, of shape (n,) or (n, n_targets) as the targets had.

        Parameters
        ----------
        X : array_like or CSR matrix of shape (n, d)

        Returns
        -------
        ndarray
            float32 if `X` is, else float64.

        Raises
        ------
        NotFittedError
            Before `fit`.
        """
        scores = self._scores(X)
        return scores[:, 0] if self._flat else scores


class NTKClassifier(ClassifierMixin, _NTKLearner):  # type: ignore[misc]
    """Classification by kernel ridge regression with the neural tangent kernel.

    Each class has a target of +1 in the class and -1 outside (one against the rest; one target
    for two classes), and the largest prediction decides.

    Parameters
    ----------
    net, n_components, alpha, method, fit_intercept, random_state, block_size
        As in `NTKRegressor`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.
    coef_ : ndarray of shape (1, n_components) or (n_classes, n_components)
        Weights of the features, if ``method="sketch"``.
    intercept_ : ndarray of shape (1,) or (n_classes,)
        The constants.
    alpha_, alphas_, gcv_, features_, dual_coef_, X_fit_, net_, n_features_in_, feature_names_in_
        As in `NTKRegressor`.

    See Also
    --------
    NTKRegressor : Regression in the same way.

    Examples
    --------
    >>> import nkfast as nk
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = nk.NTKClassifier(nk.mlp(depth=2), n_components=256, random_state=0)
    >>> model.fit(X[::2], y[::2]).score(X[1::2], y[1::2]) > 0.9
    True
    """

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit on all rows, forgetting what was learnt before.

        Parameters
        ----------
        X : array_like or CSR matrix of shape (n, d)
        y : array_like of shape (n,)
            Labels of at least two classes, numbers or strings.
        sample_weight : array_like of shape (n,), optional
            Weights >= 0, all 1 by default.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            On a bad parameter, NaN or infinity, unequal numbers of rows, or a single class.
        """
        X = check_estimator_rows(self, X, reset=True)
        y = check_labels(y, X.shape[0])
        check_classification_targets(y)
        weight = check_weights(sample_weight, X.shape[0])
        present = np.unique(y if weight is None else y[weight > 0])
        if len(present) < 2:
            raise ValueError(f"y: expected at least 2 classes, got the one class {present[0]!r}")
        classes, codes = np.unique(y, return_inverse=True)
        self._fit(X, _signs(codes, len(classes)), weight, flat=False)
        self.classes_ = classes
        return self

    @_streaming
    def partial_fit(
        self,
        X: Any,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Add rows to those seen so far.

        The first call, unless `fit` came before it, fits the feature map, so its rows should be
        representative of all. The solution is computed when it is first needed after a call.

        Parameters
        ----------
        X : array_like or CSR matrix of shape (n, d)
        y : array_like of shape (n,)
        classes : array_like of shape (n_classes,), optional
            All labels that will occur; needed in the first call, unless `fit` came before it.
        sample_weight : array_like of shape (n,), optional
            Weights >= 0, all 1 by default.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            As `fit`; on a label that is not one of the classes.
        AttributeError
            If ``method="exact"``.
        """
        first = not hasattr(self, "_fitted")
        known = self._stream_classes(classes, first=first)
        X = check_estimator_rows(self, X, reset=first)
        y = check_labels(y, X.shape[0])
        unknown = np.setdiff1d(y, known)
        if len(unknown):
            raise ValueError(f"y: expected labels among {known.tolist()}, got {unknown[0]!r}")
        codes = np.searchsorted(known, y)
        weight = check_weights(sample_weight, X.shape[0])
        self._partial_fit(X, _signs(codes, len(known)), weight, flat=False)
        self.classes_ = known
        return self

    def _stream_classes(self, classes: ArrayLike | None, *, first: bool) -> Array:
        if classes is None:
            if first:
                raise ValueError("classes: expected all labels in the first call, got None")
            return np.asarray(self.classes_)
        given = np.unique(np.asarray(classes))
        if len(given) < 2:
            raise ValueError(f"classes: expected at least 2 classes, got {given.tolist()}")
        if not first and not np.array_equal(given, self.classes_):
            raise ValueError(
                f"classes: expected {self.classes_.tolist()} as in the first call, "
                f"got {given.tolist()}"
            )
        return given

    def decision_function(self, X: Any) -> Array:
        """Return the score of each class; of two classes only that of the second.

        Parameters
        ----------
        X : array_like or CSR matrix of shape (n, d)

        Returns
        -------
        ndarray of shape (n,) or (n, n_classes)
            About +1 in the class and -1 outside; float32 if `X` is, else float64.

        Raises
        ------
        NotFittedError
            Before `fit`.
        """
        scores = self._scores(X)
        return scores[:, 0] if scores.shape[1] == 1 else scores

    def predict(self, X: Any) -> Array:
        """Return the label of the class with the largest score, (n,).

        Parameters
        ----------
        X : array_like or CSR matrix of shape (n, d)

        Returns
        -------
        ndarray of shape (n,)

        Raises
        ------
        NotFittedError
            Before `fit`.
        """
        scores = self.decision_function(X)
        best = (scores > 0).astype(np.intp) if scores.ndim == 1 else scores.argmax(axis=1)
        return np.asarray(self.classes_[best])


def _signs(codes: Array, n_classes: int) -> Array:
    """Return targets of +1 and -1, (n, n_classes), or (n, 1) for two classes."""
    if n_classes == 2:
        return np.where(codes == 1, 1.0, -1.0)[:, None]
    return np.where(codes[:, None] == np.arange(n_classes), 1.0, -1.0)


def _weighty(X: Rows, Y: Array, weight: Array | None) -> tuple[Rows, Array, Array | None]:
    """Leave out rows of weight zero: they are as good as absent, also for the feature map."""
    if weight is None or np.all(weight > 0):
        return X, Y, weight
    kept = np.flatnonzero(weight)
    return X[kept], Y[kept], weight[kept]


def _blocks(n: int, size: int) -> Iterator[slice]:
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))
