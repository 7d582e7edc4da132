"""How far from the norms of the fitted rows a map still has the kernel."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np

from nkfast._arrays.validation import Array, Doubles
from nkfast.kernels import Kernel, diagonal_of_norms
from nkfast.networks import Sequential

_MARGIN = 1.25  # by which norms may leave the range of the fitted rows
_EXCESS = 0.1  # of the kernel's diagonal, that rows beyond may lack besides what fitted ones do
_TWICE, _SOME = 1.0, 0.01  # excess of the diagonal, and share of rows with it, that is told


def warn_of_excess(shares: Doubles) -> None:
    """Warn if features of some fitted rows have more than twice the kernel's diagonal.

    A map is fitted to the kernel as a whole, and what that needs may be far from small rows.

    Parameters
    ----------
    shares : ndarray of shape (n,)
        What features lack of the diagonal, as a share of it.
    """
    wrong = np.mean(shares < -_TWICE) if len(shares) else 0.0
    if wrong > _SOME:
        warnings.warn(
            f"X: the features of {wrong:.0%} of the fitted rows have up to "
            f"{1 - shares.min():.3g} times the kernel's diagonal: they are too few for rows whose "
            "kernels differ so much; take more features, or scale the rows",
            stacklevel=4,
        )


class Reach:
    """The range of the norms of fitted rows, and what their features lack of the diagonal.

    A series is chosen for these norms, and its weights at others are exact; but of much larger
    rows, whose kernel has higher degrees, features may lack nearly all.
    """

    def __init__(
        self,
        net: Sequential,
        kernel: Kernel,
        n_features: int,
        norms: Doubles,
        lacking: Doubles,
        lost: Callable[[Doubles], Doubles] | None,
    ) -> None:
        """Keep what is known of the fitted rows.

        Parameters
        ----------
        net, kernel, n_features
            Of the map.
        norms : ndarray of shape (n,)
            Of the fitted rows.
        lacking : ndarray of shape (m,)
            What the features of some of them lack of the diagonal, as a share of it.
        lost : callable, optional
            From norms to what the map is known to lack, where features do not tell it.
        """
        self._lost = lost
        self._net, self._kernel, self._n_features = net, kernel, n_features
        inside = norms[norms > 0]
        self._range = (float(inside.min()), float(inside.max())) if len(inside) else (0.0, 0.0)
        known = np.abs(lacking) if lost is None else lost(norms[: len(lacking)])
        self._lacking = float(known.max(initial=0.0))

    def check(self, norms: Doubles, Z: Array) -> None:
        """Warn if features of rows of other norms lack, or have, too much of the diagonal."""
        low, high = self._range
        beyond = (norms > 0) & ((norms < low / _MARGIN) | (norms > high * _MARGIN))
        rows = np.flatnonzero(beyond)
        if len(rows) == 0:
            return
        lack = self._lack(norms[rows], Z[rows])
        wrong = rows[lack > self._lacking + _EXCESS]
        if len(wrong):
            warnings.warn(
                f"X: {len(wrong)} rows with norms from {norms[wrong].min():.3g} to "
                f"{norms[wrong].max():.3g}, where those of fit were {low:.3g} to {high:.3g}: "
                f"their features are off by up to {lack.max():.0%} of the kernel's diagonal, "
                f"those of fit by {self._lacking:.0%}; fit on rows like these",
                stacklevel=5,
            )

    def _lack(self, norms: Doubles, Z: Array) -> Doubles:
        """Return |1 - |z|^2 / k(x, x)|; zero where the kernel is zero or overflows."""
        if self._lost is not None:
            return self._lost(norms)
        distinct, index = np.unique(norms, return_inverse=True)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            own = diagonal_of_norms(self._net, distinct, self._n_features)
            exact = getattr(own, self._kernel)[index]
            found = np.square(Z, dtype=np.float64).sum(axis=1)
            share = np.abs(1 - found / exact)
        return np.where((exact > 0) & np.isfinite(share), share, 0.0)
