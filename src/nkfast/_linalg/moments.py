"""Running means and centred second moments of features and targets: ridge regression's data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg.lapack import dtpttr, dtrttp

from nkfast._arrays.validation import Array

from .symmetric import rank_update


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What the weights of some rows amount to.

    Each row is one observation, and the weights are inverse variances, known up to a common factor.

    Attributes
    ----------
    total : float
        The sum of the weights.
    observations : int
        The number of rows.
    log_precisions : float
        The sum of the logarithms of the weights.
    """

    total: float
    observations: int
    log_precisions: float

    @classmethod
    def of(cls, n: int, weight: Array | None) -> Counts:
        """Return the counts of `n` rows with weights (n,) > 0, all 1 if None."""
        if weight is None:
            return cls(total=float(n), observations=n, log_precisions=0.0)
        logs = float(np.log(weight).sum())
        return cls(total=float(weight.sum()), observations=n, log_precisions=logs)

    @property
    def mean(self) -> float:
        """The mean weight."""
        return self.total / self.observations


class RunningMoments:
    """Weighted means of features z and targets y, and their second moments about these means.

    The memory is that of one (p, p) matrix, whatever the number of rows.

    Parameters
    ----------
    n_features : int
        Number p of features.
    n_targets : int
        Number k of targets.
    centred : bool, default=True
        If false the second moments are taken about zero (ridge without intercept).

    Attributes
    ----------
    mean_z, mean_y : ndarray of shape (p,), (k,)
        Weighted means; zeros if not `centred`.
    zz : ndarray of shape (p, p)
        sum_i w_i (z_i - mean_z)(z_i - mean_z)^T, **lower triangle only**.
    zy : ndarray of shape (p, k)
        sum_i w_i (z_i - mean_z)(y_i - mean_y)^T.
    yy : ndarray of shape (k,)
        sum_i w_i (y_i - mean_y)^2.
    total : float
        Sum of the weights.
    log_weights : float
        Sum of their logarithms.

    Notes
    -----
    Blocks are merged as in Chan, Golub & LeVeque, "Algorithms for computing the sample variance",
    1983: with d the difference of the means of two sets of weights a and b,

        M_ab = M_a + M_b + a b / (a + b) d d^T.

    Nothing large is ever subtracted, so a big common mean costs no digits. The last term is one
    more row of the block, sqrt(ab / (a + b)) d, and enters with it in one rank update.
    """

    def __init__(self, n_features: int, n_targets: int, *, centred: bool = True) -> None:
        self.centred = centred
        self.mean_z = np.zeros(n_features)
        self.mean_y = np.zeros(n_targets)
        self.zz = np.zeros((n_features, n_features), order="F")
        self.zy = np.zeros((n_features, n_targets))
        self.yy = np.zeros(n_targets)
        self.total = 0.0
        self.log_weights = 0.0
        self._rows = 0

    @property
    def counts(self) -> Counts:
        """What the weights so far amount to."""
        return Counts(total=self.total, observations=self._rows, log_precisions=self.log_weights)

    def add(self, Z: Array, Y: Array, weight: Array | None = None) -> None:
        """Add the rows of `Z` (n, p) and `Y` (n, k) with weights (n,) > 0, all 1 by default."""
        n = Z.shape[0]
        if n == 0:
            return
        Z, mean_z = self._standardised(Z, weight, self.mean_z)
        Y, mean_y = self._standardised(Y, weight, self.mean_y)
        # In place: the matrix may be most of the memory there is.
        self.zz = rank_update(self.zz, Z)
        self.zy += Z.T @ Y
        self.yy += np.einsum("ij,ij->j", Y, Y)
        self.mean_z, self.mean_y = mean_z, mean_y
        self.total += n if weight is None else float(weight.sum())
        self.log_weights += 0.0 if weight is None else float(np.log(weight).sum())
        self._rows += n

    def merge(self, other: RunningMoments) -> None:
        """Add all that `other` has seen; it stays as it is."""
        if other.total == 0:
            return
        total = self.total + other.total
        self.zz += other.zz
        self.zy += other.zy
        self.yy += other.yy
        if self.centred:
            share = other.total / total
            shift = [other.mean_z - self.mean_z, other.mean_y - self.mean_y]
            dz, dy = (np.sqrt(self.total * share) * d for d in shift)
            self.zz = rank_update(self.zz, dz[None])
            self.zy += np.outer(dz, dy)
            self.yy += dy**2
            self.mean_z = self.mean_z + share * shift[0]
            self.mean_y = self.mean_y + share * shift[1]
        self.total = total
        self.log_weights += other.log_weights
        self._rows += other._rows

    def __getstate__(self) -> dict[str, Any]:
        """Keep the lower triangle only: half of the file."""
        return vars(self) | {"zz": dtrttp(self.zz, uplo="L")[0]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        full, _ = dtpttr(len(state["mean_z"]), state["zz"], uplo="L")
        vars(self).update(state | {"zz": np.asfortranarray(full)})

    def _standardised(self, A: Array, weight: Array | None, mean: Array) -> tuple[Array, Array]:
        """Return float64 rows whose plain products are the block's new moments, and the new mean.

        They are the block's weighted deviations from its own mean, and the row that moves all to
        the new common mean.
        """
        n = A.shape[0]
        rows = np.empty((n + 1, A.shape[1]))
        rows[:n] = A
        rows[n] = 0.0
        new = mean
        if self.centred:
            added = n if weight is None else float(weight.sum())
            block_mean = weighted_mean(rows[:n], weight)
            rows[:n] -= block_mean
            total = self.total + added
            shift = block_mean - mean
            rows[n] = np.sqrt(self.total * (added / total)) * shift
            new = mean + (added / total) * shift
        if weight is not None:
            rows[:n] *= np.sqrt(weight)[:, None]
        return rows, new


def weighted_mean(A: Array, weight: Array | None) -> Array:
    """Return the weighted mean of the rows of `A`.

    The mean of the deviations from a first mean is added: a plain sum over many rows of a large
    mean would leave an error that the second moments then contain squared.
    """
    first = np.average(A, axis=0, weights=weight)
    return np.asarray(first + np.average(A - first, axis=0, weights=weight))
