"""The symmetric systems behind ridge regression: from moments, from rows, from a kernel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nkfast._arrays.validation import Array
from nkfast._linalg.moments import Counts, RunningMoments, weighted_mean
from nkfast._linalg.symmetric import gram_matrix

_ROUNDING = 8 * np.finfo(float).eps  # relative error that centring may leave


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What belongs to a system beside its matrix and right-hand side.

    Attributes
    ----------
    squares : ndarray of shape (k,)
        ||y||^2 of each target.
    mean_z, mean_y : ndarray of shape (p,), (k,)
        What was subtracted: of features their means, of a kernel's columns k(x, X) those of K.
    counts : Counts
        What the weights of the rows amount to.
    centred : bool
        Whether Z and Y are deviations from their means.
    noise : float
        If the rows were `centred`, eigenvalues below it are what rounding left of zero.
    dual : bool
        Whether the matrix is Z Z^T, not Z^T Z.
    weight : ndarray of shape (n,) or None
        Of a dual system's rows.
    share : ndarray of shape (n,) or None
        Of a kernel's system: the weights, scaled to the sum 1, that centre it.
    """

    squares: Array
    mean_z: Array
    mean_y: Array
    counts: Counts
    centred: bool
    noise: float
    dual: bool
    weight: Array | None = None
    share: Array | None = None

    @property
    def free(self) -> float:
        """Observations less the one that the mean takes."""
        return self.counts.observations - self.centred


@dataclass(frozen=True, kw_only=True)
class System:
    """(A + alpha I) X = B, and what is needed to choose alpha and to go back to the rows.

    In a primal problem A = Z^T Z and B = Z^T Y; in a dual one A = Z Z^T and B = Y, where Z and Y
    are the deviations from the weighted means if centred, times the roots of the weights. Of A
    only the lower triangle is read.
    """

    A: Array
    B: Array
    facts: Facts

    def floor(self, top: float) -> float:
        """Below this an eigenvalue counts as zero, if `top` is the largest."""
        return max(self.facts.noise, len(self.A) * np.finfo(float).eps * top)


def system_of_moments(sums: RunningMoments) -> System:
    """Return the primal system; the sums stay as they are."""
    facts = Facts(
        squares=sums.yy,
        mean_z=sums.mean_z,
        mean_y=sums.mean_y,
        counts=sums.counts,
        centred=sums.centred,
        noise=_rounding(sums.total, sums.mean_z),
        dual=False,
    )
    return System(A=sums.zz, B=sums.zy, facts=facts)


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
    B, counts = _right_hand_side(Y, mean_y, weight), Counts.of(len(Y), weight)
    facts = Facts(
        squares=np.einsum("ij,ij->j", B, B),
        mean_z=mean_z,
        mean_y=mean_y,
        counts=counts,
        centred=centred,
        noise=_rounding(counts.total, mean_z),
        dual=True,
        weight=weight,
    )
    return System(A=gram_matrix(Z), B=B, facts=facts)


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
    B = _right_hand_side(Y, mean_y, weight)
    facts = Facts(
        squares=np.einsum("ij,ij->j", B, B),
        mean_z=mean_k,
        mean_y=mean_y,
        counts=Counts.of(len(Y), weight),
        centred=centred,
        noise=noise,
        dual=True,
        weight=weight,
        share=share,
    )
    return System(A=K, B=B, facts=facts)


def _right_hand_side(Y: Array, mean_y: Array, weight: Array | None) -> Array:
    """Return the deviations of the targets, times the roots of the weights."""
    B = Y - mean_y
    return B if weight is None else B * np.sqrt(weight)[:, None]


def _rounding(total: float, mean_z: Array) -> float:
    """Return what rounding leaves of zero eigenvalues after the mean was subtracted."""
    return float(total * (_ROUNDING * float(np.linalg.norm(mean_z))) ** 2)
