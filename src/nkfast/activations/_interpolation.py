"""Kernels of an activation for a range of standard deviations, from few accurate integrals.

Everything is interpolated by Chebyshev polynomials in log(s + 0.02), relative to the norms
sqrt(E f(s z)^2), so that small variances are as accurate as large ones. Kernels are analytic in s
at zero, so that coordinate reaches down to s = 0 within a short range.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.polynomial.chebyshev import chebpts1, chebval, chebvander

from nkfast._arrays.validation import Array
from nkfast._core import DualKind
from nkfast._linalg.chebyshev import (
    closed_points,
    closed_series,
    series_matrix,
    to_series,
)

from ._base import _inverse, _snapped
from ._central import Lengths, lengths
from ._dual_map import DualMap
from ._polar import PolarGrid, levels
from ._quadrature import NotResolved, graded_rule, hermite_integrals, normal_rule
from ._series import series_map, series_pair

Function = Callable[[Array], Array]

MAX_TERMS = 192  # of a series: beyond, a table is faster
_NODE_COUNTS = (6, 9, 13, 18, 25, 34, 48, 66, 90, 120, 160, 220)
_LEAST_ANGLES, _MOST_ANGLES = 8, 160  # up to pi / 2
_ROWS = 1 << 11  # entries at a time in `Table.pair`
TABLE_DEGREES = 4  # as in csrc/simd/kernels.hpp
_NARROW = 0.35  # angles nearer to 0 or pi are left to quadrature in two dimensions
_DEGREE = 512  # of the series at others: cos(_NARROW)^512 is at rounding
_ANGLE_COST = 40.0  # multiplications that an angle takes
_ALIKE = 30.0  # factor within which norms of f and f' may differ for one basis
_LARGE = 8.0  # standard deviations from which on tables are in a stretched angle
_LARGE_TOL = 1e-9  # of those tables


_NARROWEST = 0.1  # panels of the norms' integrals
_STEEP = 70.0  # deviation from which on series that fall geometrically or less are given up early
_SOFT = 0.02  # below this s the coordinate is linear
_PLACES = 24  # where the terms' sizes are looked up
_ENDS = np.array([1.0, 0.1, -0.99])  # where the terms that are needed are counted
LEAST = 1e-3  # ranges that reach below reach down to zero


def coordinate(s: Any) -> Any:
    """Return the variable of interpolation, a stretched log s; s may be complex."""
    return np.log(s + _SOFT)


@dataclass(frozen=True)
class Profile:
    """A function with its derivative between kinks, on standard deviations in [low, high]."""

    both: Callable[[Array], tuple[Array, Array]]
    kinks: tuple[float, ...]
    low: float
    high: float
    jumps: bool = False  # of f itself

    def f(self, x: Array) -> Array:
        return self.both(x)[0]

    def derivative(self, x: Array) -> Array:
        return self.both(x)[1]

    @property
    def middle(self) -> float:
        return float(coordinate(self.low) + coordinate(self.high)) / 2

    @property
    def half(self) -> float:
        return max(float(coordinate(self.high) - coordinate(self.low)) / 2, 1e-9)

    def points(self, x: Array) -> Array:
        """Return the standard deviations at Chebyshev coordinates x in [-1, 1]."""
        return np.asarray(np.maximum(np.exp(self.middle + self.half * x) - _SOFT, 1e-9))

    def squares(self, s: Array) -> tuple[Array, Array]:
        """Return E f(s z)^2 and E f'(s z)^2, by one-dimensional integrals; takes complex steps."""
        out = np.empty((2, len(s)), s.dtype)
        for i, std in enumerate(s):
            x = std.real
            rule = graded_rule if x > _LARGE else normal_rule
            z, w = rule(min(0.5, max(0.7 / x, _NARROWEST)), [k / x for k in self.kinks])
            # By parts: s d/ds E g(s z) = E g(s z) (z^2 - 1), whatever jumps in g.
            w = w * (1 + (std - x) / x * (z * z - 1))
            for value, f in zip(out, self.both(x * z), strict=True):
                value[i] = f**2 @ w
        return out[0], out[1]

    def norms(self, s: Array) -> tuple[Array, Array]:
        """Return sqrt(E f(s z)^2) and sqrt(E f'(s z)^2)."""
        k, slope = self.squares(s)
        return np.sqrt(k), np.sqrt(slope)


class Norms:
    """Series of log(sqrt(E f(s z)^2) / s^i), the same of f'; i is its order of vanishing at 0."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        near = np.maximum(profile.norms(np.array([1e-6, 2e-6])), 1e-150)
        orders = np.log2(near[:, 1] / near[:, 0])
        self.orders = np.clip(np.round(orders), 0, 4)
        test = np.array([-0.97, -0.6, -0.2, 0.13, 0.55, 0.83, 0.99])
        exact = self._logs(profile.points(test))
        for count in _NODE_COUNTS:
            self.series = to_series(self._logs(profile.points(chebpts1(count))))
            if np.abs(chebvander(test, count - 1) @ self.series - exact).max() < 2e-14:
                break

    def _logs(self, s: Array) -> Array:
        norms = np.maximum(self.profile.norms(s), 1e-150)
        return np.asarray(np.log(norms.T) - self.orders * np.log(s)[:, None])

    def sum_series(self, s: Array, series: Array) -> Array:
        """Return the sums of some series, one a column, at s >= 0, maybe complex: the last axis."""
        x = (coordinate(s) - self.profile.middle) / self.profile.half
        basis = chebvander(x.ravel(), len(series) - 1)
        return np.asarray(basis @ series).reshape(*s.shape, series.shape[1])

    def __call__(self, s: Array) -> tuple[Array, Array]:
        """Return both norms."""
        value = np.exp(self.sum_series(s, self.series))
        return value[..., 0] * s ** self.orders[0], value[..., 1] * s ** self.orders[1]

    def diagonal(self, p: Array) -> tuple[Array, Array]:
        """Return E f(u)^2 and E f'(u)^2 for u ~ N(0, p)."""
        n, n1 = self(np.sqrt(p))
        return n * n, n1 * n1


class Series:
    """k = sum_l a_l(s) a_l(t) rho^l."""

    def __init__(self, norms: Norms, tol: float, max_terms: int = MAX_TERMS) -> None:
        profile = norms.profile
        self.norms = norms
        self.tol = tol
        degree, last = 64, 2 * max_terms
        while True:
            at = profile.points(_ENDS)
            a = hermite_integrals(
                profile.f, at, min(degree, last), profile.kinks, graded=profile.high > _LARGE
            )
            tail = np.cumsum(((1 + np.arange(a.shape[1])) * a**2)[:, ::-1], axis=1)[:, ::-1]
            share = (tail / np.maximum(tail[:, :1], 1e-300)).max(axis=0)
            # Settled well before the end, or what lies beyond is not known to be small.
            if share[3 * len(share) // 4] <= tol:
                break
            slow = profile.high > _STEEP and share[3 * len(share) // 4] ** (last / degree) > tol
            if degree >= last or slow:
                raise NotResolved
            degree *= 2
        self.degree = max(int(np.argmax(share <= tol)), 1)
        used = np.any(np.abs(a[:, : self.degree]) > 1e-15 * np.sqrt(tail[:, :1]), axis=0)
        if used.sum() > max_terms:
            raise NotResolved
        self.used = used
        if self._fit() > 1e-10:
            raise NotResolved

    def _fit(self) -> float:
        """Fit the coefficients relative to the norms; return the error."""
        profile = self.norms.profile
        test = profile.points(np.array([-0.97, -0.6, -0.2, 0.13, 0.55, 0.83, 0.99]))
        exact = self._relative(test)
        for count in _NODE_COUNTS:
            self.series = to_series(self._relative(profile.points(chebpts1(count))))
            error = self.norms.sum_series(test, self.series) - exact
            if np.abs(error).max() < 1e-14 * np.sqrt(self.degree):
                break
        return float(np.abs(error).max())

    def _relative(self, s: Array) -> Array:
        profile = self.norms.profile
        a = hermite_integrals(
            profile.f, s, self.degree - 1, profile.kinks, graded=profile.high > _LARGE
        )
        return np.asarray(np.where(self.used, a, 0) / self.norms(s)[0][:, None])

    def coefficients(self, s: Array) -> Array:
        """Return a_l(s) on the last axis, s >= 0 and maybe complex."""
        # Half of the degrees are missing in odd functions; the others scale as the norm does.
        used = self.used[: self.degree]
        kept = self.norms.sum_series(s, self.series[:, used]) * self.norms(s)[0][..., None]
        a = np.zeros((*s.shape, self.degree), kept.dtype)
        a[..., used] = kept
        return a

    def pair(self, s: Array, t: Array, c: Array) -> tuple[Array, Array]:
        return series_pair(self.coefficients(s), self.coefficients(t), s, t, c)

    def lengths(self, most: int, *, whole: bool = True) -> Lengths | None:
        """Return how many terms it takes up to which |rho|; whole: those left out are nothing."""
        s = self.norms.profile.points(chebpts1(_PLACES))
        a = self.coefficients(s)
        n, n1 = (np.maximum(v, 1e-150)[:, None] for v in self.norms(s))
        slopes = np.sqrt(np.arange(a.shape[1])) * a / s[:, None] / n1
        sizes, of_slopes = (np.square(v).max(axis=0) for v in (a / n, slopes))
        return lengths(sizes, of_slopes, self.tol / 10, most, whole=whole)

    def dual_map(self, s: Array, t: Array) -> DualMap:
        a = self.coefficients(s)
        b = a if t is s else self.coefficients(t)
        used = self.used[: self.degree]
        return series_map(a, b, _inverse(s), _inverse(t), used, self.tol / 10)


class ShortSeries(Series):
    """The first terms of a series, for |rho| well below 1."""

    def __init__(self, norms: Norms, tol: float, degree: int) -> None:
        self.norms, self.tol, self.degree = norms, tol, degree
        profile = norms.profile
        if profile.jumps:
            raise NotResolved
        at = profile.points(_ENDS)
        a = hermite_integrals(
            profile.f, at, degree - 1, profile.kinks, graded=profile.high > _LARGE
        )
        self.used = np.any(np.abs(a) > 1e-15 * norms(at)[0][:, None], axis=0)
        if self._fit() > max(tol, 1e-12):
            raise NotResolved


class Products:
    """E f(s u) f(t v) and E f'(s u) f'(t v) at any angle, for kinks at zero only."""

    def __init__(self, profile: Profile, tol: float) -> None:
        self.profile = profile
        both, kinks, graded = profile.both, profile.kinks, profile.high > _LARGE
        self.hermite = partial(hermite_integrals, degree=_DEGREE, kinks=kinks, graded=graded)
        low = float(profile.points(chebpts1(_NODE_COUNTS[-1])[:1])[0])
        ends = profile.points(_ENDS)
        scale = np.stack([np.outer(n, n)[None] for n in profile.norms(ends)])
        angles = np.array([0.0, min(_NARROW, 1 / profile.high), _NARROW])
        grids = (PolarGrid(both, low, profile.high, level) for level in levels(tol))
        self.grid = next(grids)
        found = self.grid.products(ends, angles)
        for finer_grid in grids:
            finer = finer_grid.products(ends, angles)
            if np.abs((finer - found) / np.where(scale > 0, scale, 1)).max() <= tol:
                return
            self.grid, found = finer_grid, finer
        raise NotResolved

    def __call__(self, s: Array, angles: Array) -> Array:
        """Return the products for all pairs of `s`; shape (2, 2, A, S, S).

        First at `angles`, in [0, pi / 2], then at pi - `angles`; f before f'.
        """
        profile = self.profile
        out = np.empty((2, 2, len(angles), len(s), len(s)))
        wide = angles > _NARROW
        out[:, :, ~wide] = self.grid.products(s, angles[~wide])
        if not np.any(wide):
            return out
        # In the middle the series in rho is short enough, and far cheaper.
        a = self.hermite(profile.f, s)
        if profile.jumps:
            b = self.hermite(profile.derivative, s)
        else:
            b = a[:, 1:] * np.sqrt(np.arange(1, a.shape[1])) / s[:, None]
        for which, series in enumerate((a, b)):
            powers = np.cos(angles[wide])[:, None, None] ** np.arange(series.shape[1])
            even, odd = (
                (series[:, part] * powers[..., part]) @ series[:, part].T
                for part in (slice(0, None, 2), slice(1, None, 2))
            )
            out[0, which, wide], out[1, which, wide] = even + odd, even - odd
        return out


class Angles:
    """A variable in [-1, 1] for angles in [0, pi], stretched near the ends on a scale."""

    def __init__(self, stretch: float) -> None:
        self.stretch = stretch  # 1 / scale, 0 for none

    def __call__(self, angle: Array) -> Array:
        """Return the variable at angles, maybe complex."""
        if not self.stretch:
            return np.asarray(2 / np.pi * angle - 1)
        k = self.stretch
        both = np.arcsinh(k * angle), np.arcsinh(k * (np.pi - angle))
        return np.asarray((both[0] - both[1]) / np.arcsinh(k * np.pi))

    def nodes(self, count: int) -> Array:
        """Return the angles up to pi / 2 at `closed_points` of an even count, rising from 0."""
        x = -closed_points(count)[: count // 2 + 1]
        if not self.stretch:
            return np.asarray(np.pi / 2 * (1 + x))
        low, high = np.zeros(len(x)), np.full(len(x), np.pi / 2)
        for _ in range(80):
            middle = (low + high) / 2
            below = self(middle) < x
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        low[0], low[-1] = 0.0, np.pi / 2
        return low


class _Columns(NamedTuple):
    series: Array | None  # of functions relative to the norm; None: both bases
    places: list[Array]  # of the bases in them
    first: int  # of those of f'
    ranks: tuple[float, ...]  # see csrc/kernels/dual.hpp


def _parts(*arrays: Array) -> Iterator[tuple[Array, ...]]:
    """Yield the arrays, or their real and then their imaginary parts: for what is linear."""
    if not any(map(np.iscomplexobj, arrays)):
        yield arrays
        return
    yield tuple(a.real for a in arrays)
    yield tuple(a.imag for a in arrays)


def _angles_of(high: float) -> int:
    """Return about how many angles up to pi / 2 it takes for deviations up to `high`, large."""
    # Of erf, the steepest of the usual functions, whose tails at _LARGE_TOL were counted.
    return round(min(17 + 6.1 * math.log(high), 26 + 4.5 * math.log(high)))


class Table:
    """k as a Chebyshev series in the angle and in log s, log t, for kinks at zero only.

    Where s and t are large, k changes near the angles 0 and pi on the scale 1 / s, as sign's bends
    there; the angle then is stretched.
    """

    def __init__(self, norms: Norms, tol: float) -> None:
        profile = norms.profile
        if any(profile.kinks):
            raise NotResolved
        large = profile.high > _LARGE
        self.norms = norms
        self.tol = tol = max(tol, _LARGE_TOL) if large else tol
        self.angles = Angles(profile.high if large else 0.0)
        products = Products(profile, tol)

        def relative(s: Array, angles: Array) -> Array:
            scale = np.stack([np.outer(n, n) for n in norms(s)])
            return np.asarray(products(s, angles) / scale[:, None])

        self.count = self._count_nodes(products.grid, tol)
        nodes = profile.points(chebpts1(self.count))
        half = _angles_of(profile.high) if large else _LEAST_ANGLES
        found = relative(nodes, self.angles.nodes(2 * half))
        while True:
            # All angles, falling from pi.
            series = [closed_series(np.vstack([v[1], v[0, -2::-1]])) for v in found.swapaxes(0, 1)]
            if max(np.abs(part[-max(half // 4, 2) :]).max() for part in series) < tol:
                break
            half *= 2
            if half > _MOST_ANGLES:
                raise NotResolved
            between = relative(nodes, self.angles.nodes(2 * half)[1::2])
            found = np.insert(found, np.arange(1, half // 2 + 1), between, axis=2)
        self.values: list[Array] = []
        self.bases: list[Array] = []
        for full in series:
            keep = np.flatnonzero(np.abs(full).max(axis=(1, 2)) > tol / 10)
            full = full[: keep[-1] + 1 if len(keep) else 1]  # (M, J, J)
            # Few functions of s carry all J: full = U (U^T full U) U^T.
            rows = full.transpose(0, 2, 1).reshape(-1, self.count)
            u, size, _ = np.linalg.svd(np.asarray(np.linalg.qr(rows, mode="r")).T)
            u = u[:, : max(int(np.sum(size > tol / 10 * size[0])), 1)]
            self.values.append(u.T @ full @ u)
            self.bases.append(to_series(u))

    def _count_nodes(self, grid: PolarGrid, tol: float) -> int:
        profile = self.norms.profile
        test = np.array([-0.97, -0.6, 0.13, 0.83])
        # Where large deviations differ, and where their roots do.
        near = 0.5 / np.array([max(profile.high, 25.0), max(np.sqrt(profile.high), 2.0)])
        tables = [grid.at(float(angle)) for angle in (0.0, *near)]
        for count in (n for n in _NODE_COUNTS if n > 6 * profile.half):
            s = profile.points(np.concatenate([chebpts1(count), test]))
            scale = np.stack([np.outer(n, n) for n in self.norms(s)])
            value = grid.between(s, tables) / scale[:, None]
            basis = chebvander(test, count - 1) @ series_matrix(count)
            inner, exact = value[..., :count, :count], value[..., count:, count:]
            if np.abs(basis @ inner @ basis.T - exact).max() < tol:
                return count
        raise NotResolved

    def _basis(self, s: Array, which: int) -> Array:
        """Return the functions of s, times the norm; shape (n, R)."""
        return self._scaled(s, self.bases[which], self.norms(s)[which])

    def _scaled(self, s: Array, series: Array, norm: Array) -> Array:
        return np.asarray(self.norms.sum_series(s, series) * norm[:, None])

    def _ratio(self, x: Array) -> Array:
        """Return the norm of f' by that of f at Chebyshev coordinates."""
        n, n1 = self.norms(self.norms.profile.points(x))
        return np.asarray(n1 / np.where(n > 0, n, 1))

    def _angle(self, s: Array, t: Array, c: Array) -> Array:
        return np.asarray(np.arccos(_snapped(c * _inverse(s) * _inverse(t))))

    def pair(self, s: Array, t: Array, c: Array) -> tuple[Array, Array]:
        shape = np.broadcast_shapes(s.shape, t.shape, c.shape)
        flat = [np.broadcast_to(v, shape).ravel() for v in (s, t, c)]
        out = np.empty((2, flat[0].size), np.result_type(*flat))
        for i in range(0, flat[0].size, _ROWS):
            part = slice(i, i + _ROWS)
            u, v, w = (x[part] for x in flat)
            angle = self._angle(u, v, w)
            x = self.angles(angle)
            for which, values in enumerate(self.values):
                left, right = self._basis(u, which), self._basis(v, which)
                half = np.tensordot(left, values, (1, 1))
                rows = np.matmul(half, right[:, :, None])[:, :, 0]
                out[which, part] = chebval(x, rows.T, tensor=False)
            # Of equal points more is known than the table's tolerance.
            same = (u == v) & (angle == 0)
            out[:, part][:, same] = np.square(self.norms(u[same]))
        return out[0].reshape(shape), out[1].reshape(shape)

    @cached_property
    def _columns(self) -> _Columns:
        """Return the functions of the right points: the core takes one basis, for f and f'."""
        # Those of f' come in relative to the norm of f; where that is not about the same at all
        # points (some are near zero), each has functions of its own.
        ratio = self._ratio(chebpts1(_NODE_COUNTS[-1]))
        units = 1.0, max(float(ratio.min()), 1e-300)
        if ratio.max() > _ALIKE * ratio.min():
            series, first, units = None, self.bases[0].shape[1], (1.0, 1.0)
            own = [chebvander(chebpts1(self.count), self.count - 1) @ base for base in self.bases]
            places = [np.eye(base.shape[1]) for base in self.bases]
        else:
            # The ratio is no polynomial of the bases' degree: nodes for the product of both.
            terms = np.abs(to_series(ratio)) > self.tol / 100 * ratio.min()
            x = chebpts1(self.count + int(np.flatnonzero(terms)[-1]))
            own = [chebvander(x, self.count - 1) @ base for base in self.bases]
            right = own[0], own[1] * self._ratio(x)[:, None]
            scales = (1.0, max(float(np.sqrt(ratio.min() * ratio.max())), 1e-300))
            # As many functions as the kernels at the nodes need to the tolerance.
            joint = np.hstack(
                [
                    base @ values.reshape(-1, values.shape[2]).T / scale
                    for values, base, scale in zip(self.values, right, scales, strict=True)
                ]
            )
            u, size, _ = np.linalg.svd(joint, full_matrices=False)
            u = u[:, : max(int(np.sum(size > self.tol / 4)), 1)]
            series, first, places = to_series(u), 0, [base.T @ u for base in right]
        ranks: list[float] = []
        for base, values, place, unit in zip(own, self.values, places, units, strict=True):
            # What the last functions add to each degree, at most.
            sizes = np.abs(np.einsum("xj,mjk,kr->xmr", base, values, place, optimize=True))
            rests = np.cumsum(sizes.max(axis=0)[:, ::-1], axis=1)[:, ::-1]
            needed = np.sum(rests > self.tol * unit / 8, axis=1)
            starts = np.arange(0, len(needed), TABLE_DEGREES)
            ranks += np.maximum.reduceat(needed, starts).astype(float).tolist()
        return _Columns(series, places, first, tuple(ranks))

    @property
    def cost(self) -> float:
        """Multiplications for each pair, about."""
        ranks = self._columns.ranks
        return TABLE_DEGREES * sum(ranks) + 2 * sum(map(len, self.values)) + _ANGLE_COST

    def _right(self, t: Array, norms: tuple[Array, Array]) -> Array:
        series = self._columns.series
        if series is not None:
            return self._scaled(t, series, norms[0])
        both = zip(self.bases, norms, strict=True)
        return np.hstack([self._scaled(t, base, norm) for base, norm in both])

    def dual_map(self, s: Array, t: Array) -> DualMap:
        """Return the core's form of `pair`; s and t may be complex steps, as in `with_slopes`."""
        _, places, first, ranks = self._columns
        norms = self.norms(s)
        own = self._right(s, norms)
        right = own if t is s else self._right(t, self.norms(t))
        rank = right.shape[1]
        widths = [rank * len(values) for values in self.values]
        kind = np.result_type(own, *norms)
        table = np.zeros((len(s), 1 + sum(widths)), kind)
        table[:, 0] = _inverse(s)
        needed, begin = iter(ranks), 1
        for which, (values, place) in enumerate(zip(self.values, places, strict=True)):
            left = self._scaled(s, self.bases[which], norms[which])
            start, count = first * which, len(values)
            tensor = np.einsum("mjk,kr->jrm", values, place)
            flat = tensor.reshape(len(tensor), -1)
            at = begin + start * count
            for part, side in _parts(table[:, at : at + flat.shape[1]], left):
                part[...] = side @ flat
            # Of equal points more is known than the table's tolerance, whose root would be an angle
            # between them in the next layer. At angle 0 the series are sums of alternating signs:
            # the least change of the coefficients that are used makes them what they have to be.
            signs = np.zeros((rank, count))
            for m in range(0, count, TABLE_DEGREES):
                signs[start : start + int(next(needed)), m : m + TABLE_DEGREES] = 1
            uses = signs.sum(axis=1)
            signs *= (-1.0) ** np.arange(count)
            used = signs[start : start + place.shape[1]]
            sums = left @ np.einsum("jrm,rm->jr", tensor, used)
            of = own[:, start : start + place.shape[1]]
            lacking = np.square(norms[which]) - np.sum(sums * of, axis=1)
            change = own * (lacking * _inverse(np.sum(own**2 * uses, axis=1)))[:, None]
            for r in map(int, np.flatnonzero(uses)):
                at = begin + r * count
                table[:, at : at + count] += change[:, r : r + 1] * signs[r]
            begin += widths[which]
        sizes = (float(rank), *(float(len(values)) for values in self.values))
        params = (*sizes, self.angles.stretch, float(first), *ranks)
        return DualMap(DualKind.TABLE, params, table, np.column_stack([_inverse(t), right]))
