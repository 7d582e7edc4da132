"""What the core needs to know of an activation to map kernels: a formula and numbers for it."""

from __future__ import annotations

from dataclasses import dataclass

from nkfast._arrays.validation import Array
from nkfast._core import DualKind


@dataclass(frozen=True)
class DualMap:
    """A dual kernel k(p, q, c) and its derivative, as one of the core's formulas.

    Attributes
    ----------
    kind : DualKind
        Which formula of the core.
    params : tuple of float
        Its constants.
    left : ndarray of shape (n, a)
        Functions of the left points' variances.
    right : ndarray of shape (m, b)
        Functions of the right points' variances.
    """

    kind: DualKind
    params: tuple[float, ...]
    left: Array
    right: Array


def span(p: Array, q: Array) -> tuple[float, float]:
    """Return the least and the largest variance of the points on both sides."""
    return float(min(p.min(), q.min())), float(max(p.max(), q.max()))
