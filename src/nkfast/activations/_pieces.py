"""Functions that are polynomials between their breakpoints, known by their values only."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.polynomial import polynomial

from nkfast._arrays.validation import Array

from ._piecewise import Term

_MOST_DEGREE = 3
_ROUNDING = 1e-13  # of the size of a polynomial's terms
_BEGIN, _END = 0.3, 12.0  # where the polynomial of an outer piece is found, from its kink on
_CHECKED = np.concatenate([np.geomspace(1e-9, 0.2, 9), np.linspace(_BEGIN, _END, 20)])
_FAR = np.geomspace(20, 1e9, 9)


def piecewise_terms(f: Callable[[Array], Array], kinks: Sequence[float]) -> list[Term] | None:
    """Return f as truncated powers, None if it is no polynomial of degree <= 3 between its kinks.

    Only the kinks set a scale: what f is does not depend on where Gaussians lie.
    """
    ends = sorted(set(kinks))
    unit = max(map(abs, ends), default=0.0) or 1.0
    pieces: list[Array] = []
    for low, high in pairwise([-math.inf, *(ends or [0.0]), math.inf]):
        coef = _polynomial(f, low, high, unit)
        if coef is None:
            return None
        pieces.append(coef)
    # The piece that ends at zero or holds it is the base; the others are what they add to it.
    base = sum(kink < 0 for kink in ends)
    terms = [Term(i, 0, 0.0, float(a)) for i, a in enumerate(pieces[base]) if a]
    for n, kink in enumerate(ends):
        side = 1 if n >= base else -1
        inner, outer = pieces[n : n + 2][::side]
        jumps = _moved(outer - inner, kink)
        sizes = _moved(np.abs(outer) + np.abs(inner), abs(kink))
        for i, (jump, size) in enumerate(zip(jumps, sizes, strict=True)):
            if abs(jump) > 10 * _ROUNDING * size:
                terms.append(Term(i, side, kink, float(jump * side**i)))
    return terms if ends else [t for t in terms if t.side == 0] if _same(pieces) else None


def _same(pieces: Sequence[Array]) -> bool:
    first, second = pieces
    return bool(np.all(np.abs(first - second) <= 10 * _ROUNDING * np.abs(first)))


def _polynomial(f: Callable[[Array], Array], low: float, high: float, unit: float) -> Array | None:
    """Return the coefficients of f between two kinks, of the least degree that will do."""
    if math.isinf(low) or math.isinf(high):
        start, step = (low, unit) if math.isinf(high) else (high, -unit)
        begin, end, checked = _BEGIN, _END, [_CHECKED, _FAR]
    else:
        start, step = low, high - low
        begin, end, checked = 0.05, 0.95, [np.linspace(0.01, 0.99, 30)]
    for degree in range(_MOST_DEGREE + 1):
        x = start + step * np.linspace(begin, end, degree + 1)
        powers = np.vander(x, degree + 1, increasing=True)
        coef = np.linalg.solve(powers, _values(f, x))
        sizes = np.abs(coef) * np.abs(powers).max(axis=0)
        coef[sizes <= _ROUNDING * sizes.max()] = 0  # or they would be noticed far out
        # Far out last: there f may overflow.
        if all(_agrees(f, coef, start + step * t) for t in checked):
            return np.pad(coef, (0, _MOST_DEGREE - degree))
    return None


def _values(f: Callable[[Array], Array], x: Array) -> Array:
    with np.errstate(all="ignore"):
        return np.asarray(f(x.copy()), np.float64)


def _agrees(f: Callable[[Array], Array], coef: Array, x: Array) -> bool:
    size = polynomial.polyval(np.abs(x), np.abs(coef))
    with np.errstate(invalid="ignore"):
        return bool(np.all(np.abs(_values(f, x) - polynomial.polyval(x, coef)) <= _ROUNDING * size))


def _moved(coef: Array, to: float) -> Array:
    """Return the coefficients in powers of x - to."""
    out = np.zeros(len(coef))
    for i, a in enumerate(coef):
        out[: i + 1] += a * polynomial.polypow([to, 1.0], i)
    return out
