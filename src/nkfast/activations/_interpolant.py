"""The derivatives of functions that are known by their values only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from itertools import pairwise, product
from typing import TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.polynomial import chebyshev
from numpy.polynomial.polynomial import polyval

from nkfast._arrays.validation import Array
from nkfast._core import smooth_values

from ._quadrature import Function, NotResolved

# The coefficients of the cells, their unit, where asinh begins, and the cells of a unit of it.
_Table: TypeAlias = tuple[Array, float, float, float]

_NODES = 24  # of a panel of the interpolant
_NARROWEST = 1e-3
_POWERS = 8  # of the polynomials of tables, as in csrc/simd/kernels.hpp
_PER_UNIT = (32, 64, 128, 256, 512, 1024)  # points of the table of the derivative
_COARSE = 1e-10  # error of its table that is accepted
_MOST_POINTS = 1 << 21
_MOST_PANELS = 1 << 15
_BATCH = 1 << 11  # points at a time, whose coefficients stay in cache
_NOISE = 1e-13  # of the derivative of the interpolant
_LEAST_JUMP = 1e-6  # those below are rounding errors of the interpolant
_TINY = 3e-4  # of a panel: x below have their derivatives from the Taylor polynomial about 0
_TAYLOR_NOISE = 1e-12  # of f'(0), relative to the function around
ORDERS = 4  # derivatives 0..3 are known


def _too_rough(reach: float) -> NotResolved:
    return NotResolved(
        f"fn: expected a function that is smooth between its breakpoints and, up to {reach:.3g}, "
        "that bends near these and zero only; scale the inputs, or declare where it has kinks"
    )


@cache
def _cell_matrix(shift: int) -> Array:
    """Return the matrix from values at 0..7 to coefficients of t, in the cell from `shift` on."""
    nodes = np.arange(_POWERS) - shift
    return np.linalg.inv(np.vander(nodes.astype(float), increasing=True)).T


def _cells(value: Array) -> Array:
    """Return coefficients of the polynomials between equidistant points, each through eight."""
    last = len(value) - _POWERS
    middle = (_POWERS - 1) // 2
    windows = sliding_window_view(value, _POWERS)
    out = np.empty((len(value) - 1, _POWERS))
    out[middle : middle + last + 1] = windows @ _cell_matrix(middle)
    for i in range(middle):
        out[i] = windows[0] @ _cell_matrix(i)
        out[-1 - i] = windows[last] @ _cell_matrix(_POWERS - 2 - i)
    return out


def _values(table: _Table, x: Array) -> Array:
    cells, unit, begin, per_unit = table
    return smooth_values(cells, unit, begin, per_unit, np.ascontiguousarray(x))


class Interpolant:
    """The piecewise Chebyshev interpolant of a function on [-reach, reach]."""

    def __init__(self, f: Function, kinks: Sequence[float], reach: float) -> None:
        self.reach = reach
        self.kinks = [k for k in kinks if -reach < k < reach]
        # The inverse, not the transpose, of the Vandermonde matrix: it is so much closer that
        # pieces which are polynomials are recognised as such.
        x = chebyshev.chebpts1(_NODES)
        fit = np.linalg.inv(chebyshev.chebvander(x, _NODES - 1)).T
        cuts = np.array([-reach, *self.kinks, reach])
        self.near = 8.0 + max(map(abs, self.kinks), default=0.0)
        parts = [self._edges(a, b) for a, b in pairwise(cuts)]
        begin = np.concatenate([part[:-1] for part in parts])
        end = np.concatenate([part[1:] for part in parts])
        done: list[tuple[Array, Array, Array]] = []
        while len(begin):
            half = (end - begin)[:, None] / 2
            coef = f(begin[:, None] + half * (1 + x)) @ fit
            size = np.abs(coef).max(axis=1)
            # Far out, x itself is rounded.
            far = np.maximum(np.abs(begin), np.abs(end)) / (end - begin)
            fine = np.abs(coef[:, -4:]).max(axis=1) <= (1e-14 + 2e-15 * far) * size + 1e-300
            fine |= end - begin < _NARROWEST
            if len(fine) > _MOST_PANELS:
                raise _too_rough(reach)
            done.append((begin[fine], end[fine], coef[fine]))
            middle = (begin + end)[~fine] / 2
            begin = np.concatenate([begin[~fine], middle])
            end = np.concatenate([middle, end[~fine]])
        begin, end, coef = (np.concatenate(part) for part in zip(*done, strict=True))
        self.size = float(np.abs(coef[np.abs(begin) <= self.near]).max(initial=1e-290))
        order = np.argsort(begin)
        self.begin, self.end = begin[order], end[order]
        self.scale = 2 / (self.end - self.begin)
        self.series = [coef[order].T]
        for _ in range(1, ORDERS):
            self.series.append(chebyshev.chebder(self.series[-1]) * self.scale)
        self.segments = list(pairwise(cuts))
        self.tables: dict[int, list[_Table]] = {}
        self.taylor: dict[int, Array] = {}  # of both sides of 0

    def _edges(self, begin: float, end: float) -> Array:
        """Return ends of panels, of width 1 near the kinks and of width |x| / 2 far out."""
        stops = [begin, *(x for x in (-self.near, self.near) if begin < x < end), end]
        parts = [np.array([begin])]
        for a, b in pairwise(stops):
            if min(abs(a), abs(b)) < self.near or a * b < 0:
                parts.append(np.linspace(a, b, int(np.ceil(b - a)) + 1)[1:])
            else:
                ratio = abs(math.log2(b / a))
                parts.append(a * (b / a) ** np.linspace(0, 1, int(np.ceil(2 * ratio)) + 1)[1:])
        return np.concatenate(parts)

    def between_kinks(self, x: Array, order: int) -> Array:
        """Return a derivative anywhere but at the kinks."""
        return self._exact(x, order, np.searchsorted(self.begin, x, side="right") - 1)

    def _exact(self, x: Array, order: int, panel: Array) -> Array:
        out, series = np.empty_like(x), self.series[order]
        for i in range(0, len(x), _BATCH):
            of = panel[i : i + _BATCH]
            t = (x[i : i + _BATCH] - self.begin[of]) * self.scale[of] - 1
            out[i : i + _BATCH] = chebyshev.chebval(t, series[:, of], tensor=False)
        return out

    def _tabulate(self, order: int, begin: float, end: float) -> _Table:
        """Return a table of a derivative between two kinks, coarser far out if that will do."""
        best, least = None, _COARSE * 100.0 ** (order - 1)
        before, coarser = 0.0, math.inf  # of the last table: its unit and error
        for unit, points in product((self.near, 16 * self.near, self.reach), _PER_UNIT):
            low, high = math.asinh(begin / unit), math.asinh(end / unit)
            count = max(math.ceil((high - low) * unit * points), _POWERS)
            if count > _MOST_POINTS:
                continue
            y = np.linspace(low, high, count + 1)
            x = unit * np.sinh(y)
            x[0], x[-1] = begin, end
            # The panel to the right of a point, but of the last point that to its left.
            panel = np.searchsorted(self.begin, x, side="right") - 1
            panel[-1] = panel[-2]
            value = self._exact(x, order, panel)
            table = (_cells(value), unit, low, count / (high - low))
            between = unit * np.sinh((y[:-1] + y[1:]) / 2)
            error = np.abs(_values(table, between) - self.between_kinks(between, order)).max()
            # Where it vanishes, rounding of the panels is left, 300 times as large with each order.
            size = np.abs(value).max() + 1e-3 * 20.0 ** (order - 1) * self.size
            # Twice the points leave 1/256 of the error, unless rounding is all that is left.
            settled = best is not None and unit == before and error > coarser / 8
            if error <= least * size:
                best, least = table, error / size
            if settled or error <= _NOISE * size:
                break
            before, coarser = unit, error
        if best is None:
            raise _too_rough(self.reach)
        return best

    def derivative(self, x: Array, order: int) -> Array:
        """Return f'(x) or f''(x) from fine tables."""
        if order not in self.tables:
            self.tables[order] = [self._tabulate(order, *ends) for ends in self.segments]
        tables = self.tables[order]
        if len(tables) == 1:
            out = _values(tables[0], x)
        else:
            out = np.empty_like(x)
            segment = np.searchsorted(self.kinks, x, side="right")
            for i, table in enumerate(tables):
                inside = segment == i
                out[inside] = _values(table, x[inside])
        if order == 1:
            self._set_near_zero(x, out)
        return out

    def _set_near_zero(self, x: Array, out: Array) -> None:
        """Replace derivatives near 0 by Taylor polynomials, to relative accuracy, if f'(0) = 0.

        Rows of tiny norm see nothing else of a function.
        """
        if self._taylor(1)[0] and self._taylor(-1)[0]:
            return
        here = np.searchsorted(self.begin, 0.0, side="left") - 1
        width = float(np.min(self.end[here : here + 2] - self.begin[here : here + 2]))
        reach = min([_TINY * min(width, 1.0), *(abs(kink) / 2 for kink in self.kinks if kink)])
        at = np.flatnonzero(np.abs(x) < reach)
        if len(at):
            some = x.take(at)
            value = polyval(some, self._taylor(1))
            if 0.0 in self.kinks:
                value = np.where(some < 0, polyval(some, self._taylor(-1)), value)
            out.put(at, value)

    def _taylor(self, side: int) -> Array:
        """Return the coefficients of f' about 0, on one side; those that are rounding are 0."""
        if side not in self.taylor:
            at = np.searchsorted(self.begin, 0.0, side="right" if side > 0 else "left") - 1
            t = (0.0 - self.begin[at]) * self.scale[at] - 1
            value = [chebyshev.chebval(t, series[:, at]) for series in self.series[1:]]
            value.append(
                chebyshev.chebval(t, chebyshev.chebder(self.series[-1][:, at])) * self.scale[at]
            )
            size = float(np.abs(self.series[0][:, at]).max())
            kept = [
                v
                if abs(v) > _TAYLOR_NOISE * size * 300.0**l * (self.scale[at] / 2) ** (l + 1)
                else 0.0
                for l, v in enumerate(value)
            ]
            self.taylor[side] = np.array(kept) / [math.factorial(l) for l in range(len(kept))]
        return self.taylor[side]

    def jump(self, kink: float, order: int) -> float:
        """Return the jump of a derivative, 0 where it is at rounding level."""
        right = int(np.searchsorted(self.begin, kink, side="right")) - 1
        series = self.series[order]
        above = chebyshev.chebval(-1.0, series[:, right])
        below = chebyshev.chebval(1.0, series[:, right - 1])
        size = abs(above) + abs(below) + float(np.abs(self.series[0][:, [right - 1, right]]).max())
        jump = float(above - below)
        return jump if abs(jump) > _LEAST_JUMP * size else 0.0
