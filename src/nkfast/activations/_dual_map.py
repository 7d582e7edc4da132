"""What the core needs to know of an activation to map kernels: a formula and numbers for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nkfast._arrays.validation import Array
from nkfast._core import DualKind

from ._complex_steps import STEP


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


def with_slopes(dual: DualMap) -> DualMap:
    """Return a series or table of complex steps in log s, with derivatives beside its functions.

    As csrc/kernels/tangents.hpp has it.
    """
    sides = []
    for side in (dual.left, dual.right):
        value, slope = side.real, side[:, 1:].imag / STEP
        if dual.kind == DualKind.SERIES:
            offset, stride = dual.params[:2]
            slope = slope - (offset + stride * np.arange(slope.shape[1])) * value[:, 1:]
        sides.append(np.hstack([value, slope]))
    return DualMap(dual.kind, dual.params, *sides)


def span(p: Array, q: Array) -> tuple[float, float]:
    """Return the least and the largest variance of the points on both sides."""
    return float(min(p.min(), q.min())), float(max(p.max(), q.max()))
