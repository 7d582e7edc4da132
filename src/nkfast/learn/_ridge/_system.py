"""The symmetric systems behind ridge regression: from moments, from rows, from a kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nkfast._linalg.moments import (
    RunningMoments,
    is_whole,
    log_precisions,
    observations,
    weighted_mean,
)
from nkfast._linalg.symmetric import gram_matrix

Array = NDArray[Any]

_ROUNDING = 8 * np.finfo(float).eps  # relative error that centring may leave


@dataclass(frozen=True)
class System:
    """(A + alpha I) X = B, and what is needed to choose alpha and to go back to the rows.

    In a primal problem A = Z^T Z and B = Z^T Y; in a `dual` one A = Z Z^T and B = Y, where Z and Y
    are the deviations from the weighted means if `centred`, times the roots of the weights. Of A
    only the lower triangle is read.

    Attributes
    ----------
    squares : ndarray of shape (k,)
        ||y||^2 of each target.
    mean_z, mean_y : ndarray of shape (p,), (k,)
        What was subtracted: of features their means, of a kernel's columns k(x, X) those of K.
    observations, total, log_precisions, whole
        As in `RunningMoments`.
    noise : float
        If the rows were `centred`, eigenvalues below it are what rounding left of zero.
    weight : ndarray of shape (n,) or None
        Of a dual system's rows.
    share : ndarray of shape (n,) or None
        Of a kernel's system: the weights, scaled to the sum 1, that centre it.
    """

    A: Array
    B: Array
    squares: Array
    mean_z: Array
    mean_y: Array
    observations: float
    total: float
    log_precisions: float
    whole: bool
    centred: bool
    noise: float
    dual: bool
    weight: Array | None = None
    share: Array | None = None

    def floor(self, top: float) -> float:
        """Below this an eigenvalue counts as zero, if `top` is the largest."""
        return max(self.noise, len(self.A) * np.finfo(float).eps * top)

    @property
    def free(self) -> float:
        """Observations less the one that the mean takes."""
        return self.observations - self.centred


def without_matrix(system: System) -> System:
    """Return the same without A and B, which are large."""
    facts = dict(vars(system))
    facts["A"] = facts["B"] = np.empty((0, 0))
    return System(**facts)


def system_of_moments(sums: RunningMoments) -> System:
    """Return the primal system; the sums stay as they are."""
    return System(
        sums.zz,
        sums.zy,
        sums.yy,
        sums.mean_z,
        sums.mean_y,
        sums.observations,
        sums.total,
        sums.log_precisions,
        sums.whole,
        sums.centred,
        noise=sums.total * (_ROUNDING * float(np.linalg.norm(sums.mean_z))) ** 2,
        dual=False,
    )


def system_of_rows(Z: Array, Y: Array, weight: Array | None, *, centred: bool) -> System:
    """Return the dual system of features `Z` (n, p), float64, and targets `Y` (n, k).

    `Z` is overwritten by its weighted deviations from the mean.
    """
    mean_z, mean_y = np.zeros(Z.shape[1]), np.zeros(Y.shape[1])
    if centred:
        mean_z, mean_y = weighted_mean(Z, weight), weighted_mean(Y, weight)
        Z -= mean_z
    if weight is not None:
        Z *= np.sqrt(weight)[:, None]
    total = len(Z) if weight is None else float(weight.sum())
    noise = total * (_ROUNDING * float(np.linalg.norm(mean_z))) ** 2
    return _dual(gram_matrix(Z), Y, weight, mean_z, mean_y, centred, noise)


def system_of_kernel(K: Array, Y: Array, weight: Array | None, *, centred: bool) -> System:
    """Return the dual system given K = Z Z^T alone; `K` (n, n) is overwritten."""
    mean_y, mean_k = np.zeros(Y.shape[1]), np.zeros(len(K))
    noise, share = 0.0, None
    if centred:
        noise = _ROUNDING * float(np.trace(K) if weight is None else weight @ np.diagonal(K))
        # K of the deviations from the weighted mean of the rows, H K H^T, H = I - 1 v^T.
        share = np.full(len(K), 1 / len(K)) if weight is None else weight / weight.sum()
        mean_k, mean_y = K @ share, weighted_mean(Y, weight)
        K -= mean_k[:, None]
        K -= mean_k
        K += share @ mean_k
    if weight is not None:
        root = np.sqrt(weight)
        K *= root[:, None]
        K *= root
    return _dual(K, Y, weight, mean_k, mean_y, centred, noise, share)


def _dual(
    A: Array,
    Y: Array,
    weight: Array | None,
    mean_z: Array,
    mean_y: Array,
    centred: bool,
    noise: float,
    share: Array | None = None,
) -> System:
    B = Y - mean_y
    if weight is not None:
        B *= np.sqrt(weight)[:, None]
    n = len(A)
    return System(
        A,
        B,
        np.einsum("ij,ij->j", B, B),
        mean_z,
        mean_y,
        observations(n, weight),
        n if weight is None else float(weight.sum()),
        log_precisions(weight),
        is_whole(weight),
        centred,
        noise,
        dual=True,
        weight=weight,
        share=share,
    )
