"""Bayesian linear regression: predictions with their uncertainty, samples, likelihoods."""

from __future__ import annotations

from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from nkfast._arrays.validation import Array, Doubles, FloatArray, check_count, check_real

from ._learner import NTKLearner
from ._ridge._posterior import Posterior, SpectralPosterior


class BayesianRegressor(NTKLearner):
    """Ridge regression as the posterior mean of a Gaussian process, and what follows from that."""

    @overload
    def predict(
        self,
        X: Any,
        return_std: Literal[False] = False,
        return_cov: Literal[False] = False,
        *,
        include_noise: bool = True,
    ) -> FloatArray: ...

    @overload
    def predict(
        self,
        X: Any,
        return_std: Literal[True],
        return_cov: Literal[False] = False,
        *,
        include_noise: bool = True,
    ) -> tuple[FloatArray, FloatArray]: ...

    @overload
    def predict(
        self,
        X: Any,
        return_std: Literal[False] = False,
        *,
        return_cov: Literal[True],
        include_noise: bool = True,
    ) -> tuple[FloatArray, Doubles]: ...

    @overload
    def predict(
        self,
        X: Any,
        return_std: Literal[False],
        return_cov: Literal[True],
        *,
        include_noise: bool = True,
    ) -> tuple[FloatArray, Doubles]: ...

    @overload
    def predict(
        self,
        X: Any,
        return_std: bool = False,
        return_cov: bool = False,
        *,
        include_noise: bool = True,
    ) -> FloatArray | tuple[FloatArray, FloatArray]: ...

    def predict(
        self,
        X: Any,
        return_std: bool = False,
        return_cov: bool = False,
        *,
        include_noise: bool = True,
    ) -> FloatArray | tuple[FloatArray, FloatArray]:
        """Return predictions and, if asked for, how uncertain they are.

        The model is y = z^T w + b + e with w ~ N(0, s2 I), e ~ N(0, noise_variance_), b free (a
        flat prior), and s2 = noise_variance_ / alpha_. Features z have the (approximate) kernel
        as their inner products, so this is the Gaussian process of that kernel. With sample
        weights, e of a row of weight w has the variance noise_variance_ mean(weights) / w, and s2
        is noise_variance_ mean(weights) / alpha_.

        Parameters
        ----------
        X : array_like or CSR matrix of shape (n, d)
        return_std : bool, default=False
            Whether to return standard deviations, too.
        return_cov : bool, default=False
            Whether to return the covariance of all rows, too; not with `return_std`.
        include_noise : bool, default=True
            Whether they are those of new observations (of the mean weight), or of their mean.

        Returns
        -------
        y : ndarray of shape (n,) or (n, n_targets)
            float32 if `X` is, else float64.
        y_std : ndarray of shape (n,) or (n, n_targets)
            With `return_std`.
        y_cov : ndarray of shape (n, n) or (n, n, n_targets)
            With `return_cov`, float64.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            On both `return_std` and `return_cov`; if uncertainty is asked for and ``alpha_`` is
            0, or there is but one observation, or more than 20000 rows with ``method="exact"``.
        """
        scores = self._scores(X)
        mean = scores[:, 0] if self._flat else scores
        if not return_std and not return_cov:
            return mean
        if return_std and return_cov:
            raise ValueError("return_cov: expected False with return_std, got True")
        noise = self._noise()
        X = self._points(X)
        if return_std:
            variances = self._latent().variances(X) + bool(include_noise)
            std = np.sqrt(variances[:, None] * noise).astype(X.dtype)
            return mean, std[:, 0] if self._flat else std
        covariance = self._latent().covariance(X)
        if include_noise:
            covariance[np.diag_indices(len(covariance))] += 1
        scaled = covariance[:, :, None] * noise
        return mean, scaled[:, :, 0] if self._flat else scaled

    def sample_y(
        self,
        X: Any,
        n_samples: int = 1,
        random_state: Any = 0,
        *,
        include_noise: bool = True,
    ) -> Doubles:
        """Draw targets of rows, jointly, from the posterior that `predict` describes.

        Parameters
        ----------
        X : array_like or CSR matrix of shape (n, d)
            Any number of rows; with ``method="exact"`` so few that (n, n) matrices fit.
        n_samples : int, default=1
        random_state : int, RandomState instance or None, default=0
        include_noise : bool, default=True
            Whether observations are drawn, or their means.

        Returns
        -------
        ndarray of shape (n, n_samples) or (n, n_targets, n_samples)
            float64.

        Raises
        ------
        NotFittedError, ValueError
            As `predict` with `return_std`.
        """
        size = check_count(n_samples, "n_samples", low=1)
        rng = check_random_state(random_state)
        scores = self._scores(X).astype(np.float64)
        noise = self._noise()
        X = self._points(X)
        n, k = scores.shape
        drawn = self._latent().deviations(X, k * size, rng)
        if include_noise:
            drawn += rng.standard_normal(drawn.shape)
        found = scores[:, :, None] + np.sqrt(noise)[:, None] * drawn.reshape(n, k, size)
        return np.asarray(found[:, 0] if self._flat else found)

    @property
    def noise_variance_(self) -> float | Doubles:
        """The noise variance of the largest marginal likelihood at ``alpha_``, of each target."""
        return self._plain(self._noise())

    def log_marginal_likelihood(
        self, alpha: float | None = None, noise_variance: float | ArrayLike | None = None
    ) -> float:
        """Return the log marginal likelihood of the fitted targets, summed over them.

        With `fit_intercept` it is that of all differences of targets: the constant has a flat
        prior of density 1.

        Parameters
        ----------
        alpha : float, optional
            The penalty, noise variance over variance of the weights; that in use by default.
        noise_variance : float or array_like of shape (n_targets,), optional
            The best one for `alpha` by default.

        Returns
        -------
        float

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            On a penalty or a noise that is not above zero.
        """
        check_is_fitted(self)
        own = self.alpha_
        alpha = check_real(own if alpha is None else alpha, "alpha", low=0, open_low=True)
        posterior = self._posterior()
        if alpha != own:
            posterior = SpectralPosterior(self._spectrum(), alpha)
        noise = self._telling(posterior).noise_variances()
        if noise_variance is not None:
            given = np.asarray(noise_variance, dtype=np.float64)
            if given.shape not in ((), noise.shape) or not np.all((given > 0) & np.isfinite(given)):
                raise ValueError(
                    f"noise_variance: expected a number above zero, or {len(noise)} of them, "
                    f"got {noise_variance!r}"
                )
            noise = np.broadcast_to(given, noise.shape)
        return posterior.log_likelihood(noise)

    def _telling(self, posterior: Posterior) -> Posterior:
        """Return a posterior of data that tell a noise variance."""
        if posterior.facts.free < 1:
            raise ValueError("X: expected at least 2 observations for a noise variance, got 1")
        return posterior

    def _noise(self) -> Array:
        if self.alpha_ == 0:
            raise ValueError(
                "alpha: expected a penalty above zero, the ratio of noise to weights, got 0"
            )
        return self._telling(self._posterior()).noise_variances()
