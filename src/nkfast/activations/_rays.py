"""Kernels of functions with kinks anywhere, as integrals over the rays of a plane.

On a ray, u = r a and v = r b for standard polar coordinates, with a = s sin(L - x), b = t sin(x) on
the arcs of `_polar`. What a ray adds,

    I(a, b) = integral of f(r a) f(r b) r exp(-r^2 / 2) dr over r > 0,

depends on two numbers only, whatever the pair, and is smooth but where kinks of both factors meet:
b / a the ratio of two kinks, or zero. Between these lines it is tabulated; k is its integral over
the angle x, in panels that end where a ray meets such a line.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.polynomial.chebyshev import chebpts1, chebvander
from scipy.interpolate import BSpline, RectBivariateSpline, make_interp_spline

from nkfast._arrays.validation import Array
from nkfast._linalg.chebyshev import series_matrix

from ._quadrature import NotResolved, panels

Functions = Callable[[Array], tuple[Array, ...]]

_REACH = 9.0  # of the radius
_RADII = np.array([0.0, 0.5, 1.0, 1.75, 2.5, 3.5, 4.5, 6.0, 7.5, _REACH])
_AROUND = np.array([0, 0.3, -0.3, 1, -1, 3, -3, 8, -8])  # kinks, where functions bend most
_NODES = 12  # of a panel of the radius
_COUNTS = (40, 56, 80, 112, 150, 200)  # of nodes of a table on each side
_FLOOR = 1e-8  # of the squared norm where all kinks are met
_HOPELESS = 0.3  # an error with the second count
_STEP = 0.04  # of the splines
_TOL = 2e-9  # of the tables, relative to the roots of the ends I(a, a)
_RATIO = 3.0  # of neighbouring panels of an arc
_ANGLES = 12  # nodes of such a panel
_OUTMOST = 0.15  # of the unit, where the outermost panels end
_BATCH = 1 << 19  # numbers in a temporary


class Rays:
    """E f(u) f(v) for K functions and deviations up to `high`."""

    def __init__(self, functions: Functions, kinks: Sequence[float], high: float) -> None:
        self.functions = functions
        self.kinks = np.array(sorted(set(kinks)))
        self.high = high
        apart = np.abs(self.kinks[self.kinks != 0])
        self.unit = 0.4 * min(1.0, float(apart.min(initial=1.0)))
        ratios = {0.0, 1.0, -1.0}
        for a in self.kinks[self.kinks != 0]:
            ratios |= {float(b / a) for b in self.kinks if abs(b) <= abs(a)}
        self.ratios = np.array(sorted(ratios))
        scales = [0.0, *np.geomspace(8 * max(1.0, *apart, 1.0), 9 * high, 12)]
        marks = (np.array([0.0, *self.kinks])[:, None] + _AROUND).ravel()
        self.marks = np.unique(np.concatenate([marks, scales, -np.array(scales)]))
        self.top = float(np.arcsinh(high / self.unit))
        near = np.array([1e-6, 2e-6]) * self.unit
        squares = np.maximum(self.rays(near, near) + self.rays(-near, -near), 1e-300)
        self.orders = np.clip(np.round(np.log2(squares[:, 1] / squares[:, 0]) / 2), 0, 4)
        self.norms = self._norm_splines()
        # Of each sign of a and each pair of neighbouring ratios, a spline for each function.
        self.splines = [
            [self._table(sign, ends) for ends in pairwise(self.ratios)] for sign in (1, -1)
        ]

    def _stretched(self, x: Array) -> Array:
        return np.asarray(np.arcsinh(x / self.unit))

    def rays(self, a: Array, b: Array) -> Array:
        """Return I(a, b), by quadrature; shape (K, n)."""
        out = []
        for i in range(0, len(a), step := max(1, _BATCH // (_NODES * 3 * len(self.marks)))):
            u, v = a[i : i + step, None], b[i : i + step, None]
            with np.errstate(divide="ignore", invalid="ignore"):
                cuts = np.hstack([self.marks / u, self.marks / v, 0 * u + _RADII])
            cuts = np.sort(np.clip(np.where(np.isfinite(cuts), cuts, 0), 0, _REACH), axis=1)
            x, w = panels(np.array([0.0, 1.0]), _NODES)
            width = np.diff(cuts, axis=1)[..., None]
            r = (cuts[:, :-1, None] + width * x).reshape(len(u), -1)
            weight = (width * w).reshape(len(u), -1) * r * np.exp(-r * r / 2)
            inside = weight > 0
            r, weight = r[inside], weight[inside]
            rows = np.nonzero(inside)[0]
            products = zip(
                self.functions(r * u[rows, 0]), self.functions(r * v[rows, 0]), strict=True
            )
            out.append([np.bincount(rows, f * g * weight, minlength=len(u)) for f, g in products])
        return np.concatenate(out, axis=1)

    def _relative(self, a: Array, b: Array) -> Array:
        return np.asarray(self.rays(a, b) / (self._norms(a) * self._norms(b)))

    def _places(self, a: Array, y: Array, ends: tuple[float, float]) -> Array:
        """Return b at the share y between two ratios b / a."""
        low, high = (self._stretched(end * a) for end in ends)
        return np.asarray(self.unit * np.sinh(low + y * (high - low)))

    def _norm_splines(self) -> list[BSpline]:
        """Return splines of log(norm / |a|^order) in the stretched |a|."""
        x = np.linspace(0, self.top, int(4 * self.top / _STEP) + 8)
        a = np.maximum(self.unit * np.sinh(x), 1e-9 * self.unit)
        squares = self.rays(a, a) + self.rays(-a, -a)
        # A function that is zero up to a kink has next to no norm where the kink is not met.
        met = np.array([min(self.high, float(np.abs(self.kinks).max()))])
        least = _FLOOR * (self.rays(met, met) + self.rays(-met, -met))
        powers = self.orders[:, None] * np.log(a / met)
        squares = squares + least * np.exp(2 * powers) + 1e-300
        logs = np.log(squares) / 2 - self.orders[:, None] * np.log(a)
        return [make_interp_spline(x, log, k=5) for log in logs]

    def _norms(self, a: Array) -> Array:
        """Return about sqrt(I(a, a) + I(-a, -a)); shape (K, n)."""
        x, size = self._stretched(np.abs(a)), np.abs(a)
        rows = zip(self.norms, self.orders, strict=True)
        return np.array([np.exp(norm(x)) * size**order for norm, order in rows])

    def _table(self, sign: int, ends: tuple[float, float]) -> list[RectBivariateSpline]:
        rng = np.random.default_rng(0)
        test = rng.random((2, 100))
        a = sign * self.unit * np.sinh(self.top * test[0])
        exact = self._relative(a, self._places(a, test[1], ends))
        for count in _COUNTS:
            nodes = (1 + chebpts1(count)) / 2
            at = sign * self.unit * np.sinh(self.top * nodes)
            grid_a = np.repeat(at, count)
            found = self._relative(grid_a, self._places(grid_a, np.tile(nodes, count), ends))
            values = found.reshape(-1, count, count)
            basis = [chebvander(2 * t - 1, count - 1) @ series_matrix(count) for t in test]
            error = np.einsum("ni,kij,nj->kn", basis[0], values, basis[1], optimize=True) - exact
            if np.abs(error).max() <= _TOL:
                break
            if count > _COUNTS[0] and np.abs(error).max() > _HOPELESS:
                raise NotResolved
        else:
            raise NotResolved
        fine = [np.linspace(0, 1, int(self.top / _STEP) + 2) for _ in range(2)]
        left, right = (chebvander(2 * t - 1, count - 1) @ series_matrix(count) for t in fine)
        return [RectBivariateSpline(*fine, left @ v @ right.T, kx=5, ky=5) for v in values]

    def _found(self, a: Array, b: Array) -> Array:
        """Return I(a, b) from the tables; shape (K, n)."""
        swap = np.abs(b) > np.abs(a)
        a, b = np.where(swap, b, a), np.where(swap, a, b)
        ratio = b / np.where(a == 0, 1, a)
        segment = np.clip(np.searchsorted(self.ratios, ratio) - 1, 0, len(self.ratios) - 2)
        high = self._stretched(self.ratios[segment + 1] * a)
        low = self._stretched(self.ratios[segment] * a)
        width = high - low
        y = (self._stretched(b) - low) / np.where(width == 0, 1, width)
        x = np.abs(self._stretched(a)) / self.top
        out = np.empty((len(self.splines[0][0]), len(a)))
        for which, sign in enumerate((a >= 0, a < 0)):
            for n in range(len(self.ratios) - 1):
                part = np.flatnonzero(sign & (segment == n))
                for row, spline in zip(out, self.splines[which][n], strict=True):
                    row[part] = spline.ev(x[part], y[part])
        return out * self._norms(a) * self._norms(b)

    def pair(self, s: Array, t: Array, angle: Array) -> Array:
        """Return E f(u) f(v) for deviations > 0 and angles; shape (K, ...)."""
        # k is symmetric: of pairs that are the same up to the order one will do.
        entries = np.stack([np.minimum(s, t), np.maximum(s, t), angle], axis=-1).reshape(-1, 3)
        distinct, index = np.unique(entries, axis=0, return_inverse=True)
        return self._distinct(*distinct.T)[:, index.reshape(angle.shape)]

    def _distinct(self, s: Array, t: Array, angle: Array) -> Array:
        outmost = _OUTMOST * self.unit
        count = 2 + int(np.log(max(self.high / outmost, 1.0)) / np.log(_RATIO))
        first = np.minimum(outmost / np.maximum(s, t), 0.25)
        near = np.geomspace(first, 0.5, count, axis=1)
        edges = np.hstack([0 * s[:, None], near, 1 - near[:, -2::-1], 1 + 0 * s[:, None]])
        out = np.zeros((len(self.splines[0][0]), len(s)))
        step = max(1, _BATCH // (_ANGLES * (2 * count + 2 * len(self.ratios))))
        for i in range(0, len(s), step):
            part = slice(i, i + step)
            for length, rest, signs in (
                (np.pi - angle[part], angle[part], ((1, 1), (-1, -1))),
                (angle[part], np.pi - angle[part], ((1, -1), (-1, 1))),
            ):
                for sign in signs:
                    out[:, part] += self._arc(s[part], t[part], length, rest, sign, edges[part])
        return out / (2 * np.pi)

    def _arc(
        self, s: Array, t: Array, length: Array, rest: Array, sign: tuple[int, int], edges: Array
    ) -> Array:
        # b / a = q at x: t sin(x) = q s sin(length - x)
        same = sign[0] * sign[1]
        inner = np.array([q * same for q in self.ratios if q * same > 0])
        both = np.concatenate([inner, 1 / inner]) * (s / t)[:, None]
        sine = np.sin(np.minimum(length, rest))[:, None]
        cosine = np.cos(length)[:, None]
        meets = np.arctan2(both * sine, 1 + both * cosine) / np.maximum(length, 1e-300)[:, None]
        cuts = np.sort(np.hstack([edges, np.clip(meets, 0, 1)]), axis=1)
        x, w = panels(np.array([0.0, 1.0]), _ANGLES)
        width = np.diff(cuts, axis=1)[..., None]
        share = (cuts[:, :-1, None] + width * x).reshape(len(s), -1)
        # From the other end, without cancellation.
        other = ((1 - cuts[:, 1:, None]) + width * (1 - x)).reshape(len(s), -1)
        weight = (width * w).reshape(len(s), -1) * length[:, None]
        length, rest = length[:, None], rest[:, None]
        a = sign[0] * s[:, None] * np.sin(np.minimum(length * other, rest + length * share))
        b = sign[1] * t[:, None] * np.sin(np.minimum(length * share, rest + length * other))
        found = self._found(a.ravel(), b.ravel()).reshape(-1, *weight.shape)
        return np.asarray((found * weight).sum(axis=2))
