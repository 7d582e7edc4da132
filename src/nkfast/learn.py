"""Ridge regression and classification with the neural tangent kernel, streamed or exact."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets

from ._learner import NTKLearner, streaming
from ._validation import check_estimator_rows, check_labels, check_targets, check_weights

Array = NDArray[Any]


class NTKRegressor(RegressorMixin, NTKLearner):  # type: ignore[misc]
    """Kernel ridge regression with the neural tangent kernel of a wide network.

    Parameters
    ----------
    net : Sequential, default=None
        The network; None means ``mlp()``, one hidden layer of ReLU.
    n_components : int or "auto", default=4096
        Number of features (method="sketch"). "auto" is chosen by `NTKFeatures`, with its default
        `target_error`, on the rows of `fit` or of the first `partial_fit`.
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

    @streaming
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


class NTKClassifier(ClassifierMixin, NTKLearner):  # type: ignore[misc]
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

    @streaming
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
