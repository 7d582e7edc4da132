"""Hermite coefficients of activations as tables over the standard deviation of the input."""

from __future__ import annotations

import numpy as np

from nkfast._arrays.validation import Doubles
from nkfast.activations import Activation

from ._records import HermiteGrid

ORDER = 16  # highest degree; what lies above counts as one number
_NODES = 128
_RANGE = 48.0  # of deviations on either side of the typical one
_LEAST = 1e-4  # deviation: below, slopes are those there


class HermiteTable:
    """Coefficients a_l of an activation and b_l of its derivative around a typical deviation.

    Attributes
    ----------
    typical : ndarray of shape (2 * ORDER + 4,)
        a_0..a_ORDER, b_0..b_ORDER and the sums of the squares of all later a and b.
    """

    def __init__(self, activation: Activation, deviation: float) -> None:
        self._activation = activation
        self.deviation = max(deviation, _LEAST)
        self.typical = self._rows(np.array([self.deviation]))[0]

    def grid(self, share: float) -> HermiteGrid:
        """Return the table for the core; `share` is the scalar's in a typical deviation."""
        half = float(np.log(_RANGE))
        logs = np.linspace(-half, half, _NODES) + np.log(self.deviation)
        rows = self._rows(np.exp(logs))
        ends = [float(self._activation._diagonal(np.array(np.exp(2 * t)))[0]) for t in logs[-2:]]
        growth = 0.5 * np.log(ends[1] / ends[0]) / (logs[1] - logs[0]) if min(ends) > 0 else 0.0
        return HermiteGrid(
            first=float(logs[0]),
            step=float(logs[1] - logs[0]),
            n=_NODES,
            order=ORDER,
            growth=float(growth),
            rows=rows.ravel(),
            at_zero=self._rows(np.zeros(1))[0],
            reference=self.typical,
            share=share,
        )

    def _rows(self, stds: Doubles) -> Doubles:
        """Return what the table has at some deviations, as `typical` at its own."""
        own, counted = self._activation, self._activation._has_slope
        tables = own._hermite_tables(stds, ORDER)
        whole = np.empty((len(stds), 2))
        for at, std in zip(whole, stds, strict=True):  # one by one: all at once would be less exact
            at[0] = float(own._diagonal(np.array(std**2))[0])
            at[1] = float(own._diagonal(np.array(max(std, _LEAST) ** 2))[1]) if counted else 0.0
        tails = whole - np.sum(tables**2, axis=2)
        tails = np.maximum(np.nan_to_num(tails, posinf=0.0), 0)
        return np.concatenate([tables.reshape(len(stds), -1), tails], axis=1)

    def weights(self, share: float) -> tuple[Doubles, Doubles, Doubles]:
        """Return the degree 0 part and the whole of three kernels at the typical deviation.

        Those of f, of f' and of K (E f'f') where the scalar has this share of the deviation.
        """
        q = ORDER
        a, b = self.typical[: q + 1], self.typical[q + 1 : 2 * q + 2]
        powers = share ** (2 * np.arange(q + 1))
        variance = self.deviation**2
        tangent = variance * np.concatenate([[0], b[:q] ** 2])
        whole = np.sum(a**2) + self.typical[-2], np.sum(b**2) + self.typical[-1]
        return (
            np.array([a**2 @ powers, whole[0]]),
            np.array([b**2 @ powers, whole[1]]),
            np.array([tangent @ powers, variance * whole[1]]),
        )
