"""Ridge and Bayesian linear regression with the neural tangent kernel, streamed or exact."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike

from nkfast._arrays.blocks import row_blocks
from nkfast._arrays.validation import FloatArray, check_real, check_targets, check_weights
from nkfast._sklearn import RegressorMixin, Request

from ._bayesian import BayesianRegressor
from ._rows import count
from ._streaming import streaming


class NTKRegressor(RegressorMixin, BayesianRegressor):
    """Kernel ridge regression with the neural tangent kernel of a wide network.

    Parameters
    ----------
    net : Sequential, default=None
        The network, of rows or of images; None means ``mlp()``, one hidden layer of ReLU.
    n_components : int or "auto", default=4096
        Number of features. "auto" (method="sketch") is chosen by `NTKFeatures`, with its default
        `target_error`, on the rows of `fit` or of the first block of a stream. Of landmarks
        (method="nystroem") there are at most as many as distinct rows there.
    kernel : {"ntk", "nngp"}, default="ntk"
        Which kernel of the network.
    method : {"sketch", "nystroem", "exact"}, default="sketch"
        Ridge regression on `NTKFeatures` or `NNGPFeatures`, or on `Nystroem` features, in memory
        O(n_components^2) whatever the number of rows; or kernel ridge regression with the exact
        kernel. That of more than 20000 rows is solved in the memory of one kernel matrix in the
        precision of `X` (float32: 4 n^2 bytes), to residuals of 1e-9; there are predictions then,
        but no variances, and a rule for `alpha` looks at 8192 random rows.
    features : NTKFeatures, NNGPFeatures, Nystroem or "precomputed", default=None
        An unfitted feature map, of which a clone is fitted, for all options that these have: it
        decides network, kernel, method and width in place of the parameters above, and `net` has to
        be None. If its `random_state` is None, it takes the one below. With "precomputed" the rows
        of `X` are features already, as `write_features` keeps them.
    alpha : float, "gcv", "loo" or "evidence", default="gcv"
        The noise variance in units of the kernel, >= 0: solutions are those of K + alpha I.
        Minimised is ``||y - Z w - b||^2 + alpha_ ||w||^2``, as in scikit-learn's Ridge, where
        `alpha_` is `alpha` and the ``tail_`` of the features (times the mean sample weight): of
        what Z Z^T lacks on the diagonal of K nothing can be learnt, so it is noise, too. Where both
        are zero that is the solution of least norm. Or what chooses `alpha_`, one for all targets,
        from a path of 45 values scaled to the spectrum: generalised cross-validation, with
        leave-one-out where few rows could mislead it; the mean squared leave-one-out error, exact,
        for which `fit` needs all rows at once and turns them into features twice; or the marginal
        likelihood, refined between the values of the path.
    fit_intercept : bool, default=True
        Whether to add a constant, which is not penalised.
    image_shape : tuple of int, optional
        (height, width, channels): with a network of images flat rows are taken for images.
    random_state : int, RandomState instance or None, default=None
        Randomness of the features.
    block_size : int, default=2048
        Rows that are turned into features at a time; it bounds the memory and does not change the
        result beyond rounding.
    verbose : bool or int, default=False
        Whether to show on stderr how far a fit is: a bar by tqdm, or without it what has begun. Any
        number above 0 is True.

    Attributes
    ----------
    alpha_ : float
        The penalty in use: `alpha` and the tail of the features, or what was chosen.
    alphas_ : ndarray of shape (45,)
        Penalties tried, if `alpha` is one of the names; with their scores `gcv_`, `loo_` or
        `evidence_`. After "gcv" also `loo_`, or of a stream `evidence_`, if these decided.
    coef_ : ndarray of shape (n_components,) or (n_targets, n_components)
        Weights of the features, unless ``method="exact"``.
    intercept_ : float or ndarray of shape (n_targets,)
        The constant.
    noise_variance_ : float or ndarray of shape (n_targets,)
        The variance of the noise that makes the targets most probable, found when first asked for:
        that of a row of the mean weight.
    features_ : NTKFeatures, NNGPFeatures or Nystroem
        The fitted feature map, unless ``method="exact"``; with ``features="precomputed"`` one that
        gives rows back.
    dual_coef_, X_fit_ : ndarray of shape (n,) or (n, n_targets), array of shape (n, d)
        Weights and rows of the kernels, if ``method="exact"``; of repeated rows the first.
    net_ : Sequential
        The network in use, a copy.
    image_shape_ : tuple of int
        With a network of images: (height, width, channels).
    n_features_in_ : int
        Number of columns of `X`; with images the product of their shape.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, if `X` had names that are all strings.

    See Also
    --------
    NTKClassifier : Classification in the same way.

    Notes
    -----
    Sums and solutions are in float64; predictions have the dtype (float32 or float64) of the rows
    they are for.

    Sample weights are inverse variances of the targets, up to a common factor: that factor changes
    nothing but `alpha_`, in proportion. A row of weight 0 is as good as absent. `fit` merges
    repeated rows into one, of the sum of their weights and their mean target, so that a row of
    weight 3 is that row three times. Which rows are repeated? Those that agree in columns and
    targets; and if targets take few values (at most half as many as there are such rows), also
    those that agree in columns alone. In a stream each row counts as an observation of its own.

    The score of "gcv" can be made by few rows, such as near copies of each other, where others are
    fitted nearly exactly. So a minimum that leaves less than half of the degrees of freedom is not
    believed. The exact leave-one-out error of the 45 penalties decides then, at the price of an
    eigen-decomposition, and where rows outnumber the features of a second pass over them; in a
    stream, whose rows are gone, the marginal likelihood.

    From 2000 columns (or rows of the exact kernel) on, "gcv" and "evidence" are estimated from
    Cholesky factors, so that the penalty is that of the exact criteria within some percent; see
    docs/learners.md.

    Columns whose scales differ by a factor of 1000 or more are warned of, once in a fit.

    `coef_` weighs features of the kernel, not columns of `X`. RFE and SelectFromModel would take it
    for the latter, so these do not find it; see docs/learners.md.

    Uncertainty (`return_std`, `sample_y`, `log_marginal_likelihood`) needs a Cholesky factor of the
    (n_components, n_components) or (n, n) matrix, `predict_flow` and the likelihood at other
    penalties an eigen-decomposition. The first call makes it, and it is not pickled.

    References
    ----------
    Jacot, Gabriel & Hongler, "Neural tangent kernel", NeurIPS 2018. Golub, Heath & Wahba,
    "Generalized cross-validation as a method for choosing a good ridge parameter", Technometrics
    1979. Rasmussen & Williams, "Gaussian processes for machine learning", MIT Press 2006, chapters
    2 and 5.

    Examples
    --------
    >>> import numpy as np, nkfast as nk
    >>> X = np.random.default_rng(0).standard_normal((200, 5))
    >>> y = np.abs(X[:, 0]) + X[:, 1]
    >>> model = nk.NTKRegressor(nk.mlp(depth=2), n_components=256, random_state=0)
    >>> model.fit(X[:150], y[:150]).score(X[150:], y[150:]) > 0.8
    True
    >>> mean, std = model.predict(X[150:], return_std=True)
    >>> bool(np.mean(np.abs(y[150:] - mean) < 2 * std) > 0.8)
    True
    """

    if TYPE_CHECKING:  # scikit-learn adds these

        def set_partial_fit_request(self, *, sample_weight: Request = ...) -> Self: ...

        def set_predict_request(
            self,
            *,
            return_std: Request = ...,
            return_cov: Request = ...,
            include_noise: Request = ...,
        ) -> Self: ...

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
        with self._all_or_nothing():
            net, X = self._checked(X, first=True)
            Y = check_targets(y, X.shape[0])
            weight = check_weights(sample_weight, X.shape[0], some=True)
            flat = Y.ndim == 1
            self._fit(net, X, Y[:, None] if flat else Y, weight, flat=flat)
        return self

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
            If ``method="exact"`` or ``alpha="loo"``, which need all rows at once.
        """
        first = not hasattr(self, "_fitted")
        if first and count(X) == 0 == count(y):
            return self
        with self._partial():
            net, X = self._checked(X, first=first)
            Y = check_targets(y, X.shape[0])
            flat = Y.ndim == 1
            Y = Y[:, None] if flat else Y
            if not first and self._n_targets != Y.shape[1]:
                raise ValueError(
                    f"y: expected {self._n_targets} targets as before, got {Y.shape[1]}"
                )
            weight = check_weights(sample_weight, X.shape[0], some=False)
            self._partial_fit(net, X, Y, weight, flat=flat)
        return self

    @streaming
    def fit_blocks(self, blocks: Iterable[Any], *, resume: Any = None) -> Self:
        """Fit on blocks of rows as they come, in bounded memory, forgetting what was learnt before.

        Parameters
        ----------
        blocks : iterable of (X, y) or (X, y, sample_weight)
            Each as in `fit`, for instance from a generator that reads files. The first fits the
            feature map, so its rows should be representative of all.
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
        return self._fit_blocks(blocks, resume)

    def predict_flow(
        self, X: Any, t: float | ArrayLike | None = None, *, learning_rate: float = 1.0
    ) -> FloatArray:
        """Return the predictions of gradient flow at the training time `t`.

        The infinitely wide network, or the linear model on the features, is trained without penalty
        by dw/dt = -learning_rate dL/dw from zero on the loss L = ||y - b - Z w||^2 / (2 n), whose
        solution is

            f_t(x) = b + k(x, X) K^-1 (I - exp(-learning_rate K t / n)) (y - b)

        with K = Z Z^T, of ``method="exact"`` the kernel. With `fit_intercept` b is the mean of y,
        and features are taken less their mean; else b is 0. With sample weights the loss is
        weighted and n is the sum of the weights. `alpha` plays no part.

        Parameters
        ----------
        X : array_like or CSR matrix of shape (n_rows, d)
        t : float, array_like of shape (n_times,) or None, default=None
            Times >= 0; None and infinity mean the end, the solution of least norm.
        learning_rate : float, default=1.0
            Of the flow: only its product with `t` counts.

        Returns
        -------
        ndarray of shape (n_rows,) or (n_rows, n_targets)
            Behind a first axis of length n_times if `t` has one. float32 if `X` is, else float64.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError, TypeError
            On bad rows, times or learning rate.

        Notes
        -----
        neural-tangents' ``gradient_descent_mse`` divides by the number of all targets, n times
        n_targets: its time t is t / n_targets here.

        Examples
        --------
        >>> import numpy as np, nkfast as nk
        >>> X = np.random.default_rng(0).standard_normal((50, 3))
        >>> model = nk.NTKRegressor(method="exact").fit(X, X[:, 0])
        >>> start, end = model.predict_flow(X, t=[0, np.inf])
        >>> bool(np.allclose(start, X[:, 0].mean())), bool(np.allclose(end, X[:, 0]))
        (True, True)
        """
        spectrum = self._spectrum()
        rate = check_real(learning_rate, "learning_rate", low=0, open_low=True)
        times = np.asarray(np.inf if t is None else t, dtype=np.float64)
        if times.ndim > 1 or np.any(np.isnan(times)) or np.any(times < 0):
            raise ValueError(f"t: expected times >= 0, one or a list of them, got {t!r}")
        X = self._points(X)
        facts = spectrum.facts
        scaled = rate * np.atleast_1d(times) / facts.counts.total
        weights = np.hstack([spectrum.flow_weights(time) for time in scaled])
        out = np.empty((X.shape[0], len(scaled), self._n_targets), X.dtype)
        for rows in row_blocks(X.shape[0], self.block_size, X):
            T = spectrum.coordinates(self._columns(X[rows]))
            out[rows] = (T @ weights).reshape(len(T), len(scaled), -1) + facts.mean_y
        found = np.moveaxis(out, 1, 0)
        found = found[:, :, 0] if self._flat else found
        return np.asarray(found if times.ndim else found[0])
