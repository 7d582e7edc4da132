"""Which columns of the input matter: the heavy ones get features of their own, others are hashed.

A linear kernel <x, y> of d columns is sketched to W < d features by hashing the columns into W
buckets, which adds noise of variance (sum of the columns' energies)^2 / W. The energies of real
tables, of text above all, are far from equal: with the h heaviest columns in buckets of their own,
only what is left of the energy, t(h), is hashed, and the variance falls to t(h)^2 / (W - h).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from nkfast._arrays.blocks import row_blocks
from nkfast._arrays.rows import inverse
from nkfast._arrays.validation import Doubles, Rows
from nkfast.sketch._program import Ints, balanced_sample

_BLOCK_ENTRIES = 1 << 21


class Columns:
    """The energies of the columns of some rows.

    Attributes
    ----------
    order : ndarray of shape (d,)
        Columns by falling energy.
    tails : ndarray of shape (d + 1,)
        t(h), the share of the energy of other rows that the first h columns of `order` leave:
        each half of the rows is measured with the order that the other half gives. So columns that
        the rows do not show count as others like them that only one half shows.
    """

    def __init__(self, X: Rows, norms: Doubles, weights: Doubles) -> None:
        """Measure rows of these norms; `weights` tells how much each row counts."""
        factors = weights * inverse(norms) ** 2
        halves = [_energies(X, factors, first) for first in (0, 1)]
        self.order = np.argsort(-(halves[0] + halves[1]), kind="stable")
        tails = [_tail(a, b) for a, b in (halves, halves[::-1])]
        self.tails = np.concatenate([[1.0], (tails[0] + tails[1]) / 2])

    def hashes(self, rng: np.random.RandomState, n_own: int, width: int) -> Ints:
        """Return buckets below `width`: the first `n_own` for one heavy column each.

        The others go round by round, so that each bucket gets columns of all energies.
        """
        found = np.empty(len(self.order), np.int32)
        found[self.order[:n_own]] = np.arange(n_own)
        light = self.order[n_own:]
        found[light] = n_own + balanced_sample(rng, width - n_own, len(light))
        return found


def _energies(X: Any, factors: Doubles, first: int) -> Doubles:
    """Return sum_i factors_i X_ij^2 over every other row, from `first` on."""
    n, d = X.shape
    total = np.zeros(d)
    if sp.issparse(X):
        each = factors.copy()
        each[1 - first :: 2] = 0
        squares = np.square(X.data, dtype=np.float64) * np.repeat(each, np.diff(X.indptr))
        return np.bincount(X.indices, squares, d).astype(np.float64)
    for rows in row_blocks(n, 2 * max(1, _BLOCK_ENTRIES // d), X):
        part = X[rows][first::2]
        total += (np.square(part, dtype=np.float64) * factors[rows][first::2, None]).sum(axis=0)
    return total


def _tail(measured: Doubles, ordering: Doubles) -> Doubles:
    """Return what the first 1, 2, ... columns leave of the energy, as a share."""
    total = measured.sum()
    if not total > 0:
        return np.ones(len(measured))
    by_order = measured[np.argsort(-ordering, kind="stable")]
    return np.asarray(np.maximum(1 - np.cumsum(by_order) / total, 0))
