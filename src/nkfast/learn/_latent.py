"""Uncertainty of a learner's predictions: variances, covariances, draws."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from nkfast._arrays.blocks import row_blocks
from nkfast._arrays.validation import Rows, as_double, refuse_bytes
from nkfast._linalg.symmetric import gram_matrix

from ._fitted import Solved

Array = NDArray[Any]


def latent_variances(learner: Solved, X: Rows) -> Array:
    """Return the posterior variances of z^T w + b over the noise variance, (n,).

    Of a fitted row of weight 1 that is its leverage.
    """
    posterior = learner._posterior()
    out = np.empty(X.shape[0])
    for rows in row_blocks(X.shape[0], learner.block_size, X):
        F = learner._columns(X[rows])
        norms = _squared_norms(learner, X[rows], F)
        out[rows] = posterior.variances(posterior.coordinates(F), norms)
    return out


def latent_covariance(learner: Solved, X: Rows) -> Array:
    """Return the posterior covariance over the noise variance, (n, n)."""
    n = X.shape[0]
    refuse_bytes(8 * 3 * n**2, "X", f"a covariance of {n} rows")
    posterior = learner._posterior()
    F = learner._columns(X)
    return posterior.covariance(posterior.coordinates(F), _gram(learner, X, F))


def latent_deviations(learner: Solved, X: Rows, size: int, rng: np.random.RandomState) -> Array:
    """Return `size` draws of z^T w + b less its mean, over the noise deviation, (n, size).

    Jointly for all rows. With features w is drawn, so that memory and time are linear in the rows.
    The exact kernel takes a root of the (n, n) covariance.
    """
    if learner._is_exact:
        s, Q = eigh(latent_covariance(learner, X), overwrite_a=True)
        drawn = np.sqrt(np.maximum(s, 0))[:, None] * rng.standard_normal((len(s), size))
        return np.asarray(Q @ drawn)
    posterior = learner._posterior()
    facts = posterior.facts
    weights = posterior.deviations(len(facts.mean_z), size, rng)
    constant = np.sqrt(posterior.of_mean) * rng.standard_normal(size)
    out = np.empty((X.shape[0], size))
    for rows in row_blocks(X.shape[0], learner.block_size, X):
        out[rows] = (learner._columns(X[rows]) - facts.mean_z) @ weights + constant
    return out


def _squared_norms(learner: Solved, X: Rows, F: Array) -> Array | None:
    """Return ||z - mean||^2 of rows with columns `F`; None if their coordinates tell it."""
    posterior = learner._posterior()
    facts = posterior.facts
    if posterior.complete:
        return None
    if not learner._is_exact:
        F = F - facts.mean_z
        return np.asarray(np.einsum("ij,ij->i", F, F))
    X = as_double(X)
    squares: Array = getattr(learner.net_.diag(X), learner._kernel)
    if facts.share is None:
        return squares
    return np.asarray(squares - 2 * (F @ facts.share) + facts.mean_z @ facts.share)


def _gram(learner: Solved, X: Rows, F: Array) -> Array | None:
    """Return the inner products of centred rows; None if their coordinates tell them."""
    posterior = learner._posterior()
    facts = posterior.facts
    if posterior.complete:
        return None
    if not learner._is_exact:
        F = F - facts.mean_z
        return gram_matrix(F)
    K = learner.net_.kernel(as_double(X), get=learner._kernel)
    if facts.share is None:
        return np.asarray(K)
    means = F @ facts.share
    return np.asarray(K - means[:, None] - means + facts.mean_z @ facts.share)
