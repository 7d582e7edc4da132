"""Classification by ridge regression with the neural tangent kernel, streamed or exact."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from nkfast._arrays.validation import Array, Doubles, FloatArray, check_labels, check_weights
from nkfast._sklearn import ClassifierMixin, Request
from nkfast.features._base import FeatureMap
from nkfast.networks import Sequential

from ._calibration import best_slope, probabilities
from ._learner import Method, NTKLearner
from ._ridge._solve import Alpha
from ._rows import count, weighty
from ._streaming import streaming


class NTKClassifier(ClassifierMixin, NTKLearner):
    """Classification by kernel ridge regression with the neural tangent kernel.

    Each class has a target of +1 in the class and -1 outside (one against the rest; one target
    for two classes), and the largest prediction decides. Rows that agree in columns are merged into
    one by `fit`, whatever their labels.

    Parameters
    ----------
    net, n_components, kernel, method, features, alpha, fit_intercept, image_shape, random_state, \
block_size, verbose
        As in `NTKRegressor`.
    class_weight : dict, "balanced" or None, default=None
        Factors of the sample weights by class, 1 for classes that are not named. "balanced" takes
        n / (n_classes * n of the class), where a row of weight 3 counts as three; streams take a
        dict only.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.
    coef_ : ndarray of shape (1, n_components) or (n_classes, n_components)
        Weights of the features, if ``method="sketch"``.
    intercept_ : ndarray of shape (1,) or (n_classes,)
        The constants.
    slope_ : float
        Of the scores in `predict_proba`.
    alpha_, alphas_, gcv_, loo_, evidence_, features_, dual_coef_, X_fit_, net_, image_shape_, \
n_features_in_, feature_names_in_
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
    >>> model.predict_proba(X[:1]).shape
    (1, 3)
    """

    _samples_streams = _has_labels = True
    classes_: Array

    if TYPE_CHECKING:

        @property
        def intercept_(self) -> Doubles: ...

        def set_partial_fit_request(
            self, *, classes: Request = ..., sample_weight: Request = ...
        ) -> Self: ...  # scikit-learn adds it

    def __init__(
        self,
        net: Sequential | None = None,
        n_components: int | str = 4096,
        *,
        kernel: str = "ntk",
        method: Method = "sketch",
        features: FeatureMap | None = None,
        alpha: Alpha = "gcv",
        class_weight: Mapping[Any, float] | str | None = None,
        fit_intercept: bool = True,
        image_shape: tuple[int, int, int] | None = None,
        random_state: int | np.random.RandomState | None = None,
        block_size: int = 2048,
        verbose: bool | int = False,
    ) -> None:
        super().__init__(
            net,
            n_components,
            kernel=kernel,
            method=method,
            features=features,
            alpha=alpha,
            fit_intercept=fit_intercept,
            image_shape=image_shape,
            random_state=random_state,
            block_size=block_size,
            verbose=verbose,
        )
        self.class_weight = class_weight

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
        with self._all_or_nothing():
            net, X = self._checked(X, first=True)
            y = check_labels(y, X.shape[0])
            check_classification_targets(y)
            weight = check_weights(sample_weight, X.shape[0], some=True)
            X, y, weight = weighty(X, y, weight)
            classes, codes = np.unique(y, return_inverse=True)
            if len(classes) < 2:
                raise ValueError(
                    f"y: expected at least 2 classes, got the one class {classes[0]!r}"
                )
            weight = self._class_weighted(weight, classes, codes)
            if weight is not None and not np.any(weight):
                raise ValueError("class_weight: expected a weight above zero, got zeros only")
            self._fit(net, X, _signs(codes, len(classes)), weight, flat=False)
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
            If ``method="exact"`` or ``alpha="loo"``, which need all rows at once.
        """
        if isinstance(self.class_weight, str):
            raise ValueError(
                "class_weight: expected a dict or None for a stream, whose classes cannot be "
                f"counted before, got {self.class_weight!r}"
            )
        first = not hasattr(self, "_fitted")
        with self._partial():
            known = self._stream_classes(classes, first=first)
            if first and count(X) == 0 == count(y):
                self.classes_ = known  # the next block need not name them again
                return self
            net, X = self._checked(X, first=first)
            y = check_labels(y, X.shape[0])
            weight = check_weights(sample_weight, X.shape[0], some=False)
            X, y, weight = weighty(X, y, weight)
            unknown = np.setdiff1d(y, known) if len(y) else y
            if len(unknown):
                raise ValueError(f"y: expected labels among {known.tolist()}, got {unknown[0]!r}")
            codes = np.searchsorted(known, y) if len(y) else np.empty(0, np.intp)
            weight = self._class_weighted(weight, known, codes)
            self._partial_fit(net, X, _signs(codes, len(known)), weight, flat=False)
            self.classes_ = known
        return self

    @streaming
    def fit_blocks(self, blocks: Iterable[Any], classes: ArrayLike, *, resume: Any = None) -> Self:
        """Fit on blocks of rows as they come, in bounded memory, forgetting what was learnt before.

        Parameters
        ----------
        blocks : iterable of (X, y) or (X, y, sample_weight)
            Each as in `fit`, for instance from a generator that reads files. The first fits the
            feature map, so its rows should be representative of all.
        classes : array_like of shape (n_classes,)
            All labels that will occur.
        resume : path-like, optional
            A file for the sums so far: begun if there is none, and written from time to time, aside
            and renamed. The same call later, be it in another process, goes on behind the last
            block that it knows; earlier ones are compared and skipped. It belongs to one version
            of nkfast, these parameters and these blocks, and holds plain arrays. Needs a
            `random_state`: the first block gives the feature map again.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            As `partial_fit`; on no blocks; if `resume` belongs to something else. After any error,
            and after Ctrl-C, the estimator is as it was before.
        AttributeError
            If ``method="exact"`` or ``alpha="loo"``, which need all rows at once.
        """
        return self._fit_blocks(blocks, resume, classes=classes)

    def _class_weighted(self, weight: Array | None, classes: Array, codes: Array) -> Array | None:
        """Return the sample weights times those of the classes.

        "balanced" gives all classes the same sum.
        """
        if self.class_weight is None:
            return weight
        given = self.class_weight
        if isinstance(given, str):
            if given != "balanced":
                raise ValueError(
                    f"class_weight: expected a dict, 'balanced' or None, got {given!r}"
                )
        elif not isinstance(given, Mapping):
            raise TypeError(f"class_weight: expected a dict, 'balanced' or None, got {given!r}")
        else:
            given = {label: given[label] for label in classes.tolist() if label in given}
            if any(not np.isfinite(factor) or factor < 0 for factor in given.values()):
                raise ValueError(f"class_weight: expected finite weights >= 0, got {given!r}")
        each = np.ones(len(codes)) if weight is None else weight
        if isinstance(given, str):
            factors = each.sum() / (len(classes) * np.bincount(codes, each))
        else:
            factors = np.array([given.get(label, 1.0) for label in classes.tolist()])
        return np.asarray(each * factors[codes], dtype=np.float64)

    def _stream_classes(self, classes: ArrayLike | None, *, first: bool) -> Array:
        if classes is None:
            if not hasattr(self, "classes_"):
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

    def decision_function(self, X: Any) -> FloatArray:
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

    def predict_proba(self, X: Any) -> FloatArray:
        """Return the probability of each class.

        They are softmax(slope * scores), for two classes sigmoid(2 slope * score), so that the most
        probable class is the one that `predict` gives. The slope makes the leave-one-out scores
        of fitted rows most probable: those scores come exactly, without refitting, from a
        factorisation of the matrix that the first call makes. At most 2048 rows, taken at random,
        are looked at; of a stream so many are kept for that.

        Parameters
        ----------
        X : array_like or CSR matrix of shape (n, d)

        Returns
        -------
        ndarray of shape (n, n_classes)
            In the order of `classes_`; rows sum to 1.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            After a fit of more than 20000 rows with ``method="exact"``.
        """
        return probabilities(self._scores(X), self.slope_)

    @property
    def slope_(self) -> float:
        """The factor of the scores in `predict_proba`, found when it is first asked for."""
        check_is_fitted(self)
        fitted = self._fitted
        if fitted.slope is None:
            fitted.slope = best_slope(*fitted.left_out(self._columns))
        return fitted.slope


def _signs(codes: Array, n_classes: int) -> Array:
    """Return targets of +1 and -1, (n, n_classes), or (n, 1) for two classes."""
    if n_classes == 2:
        return np.where(codes == 1, 1.0, -1.0)[:, None]
    return np.where(codes[:, None] == np.arange(n_classes), 1.0, -1.0)
