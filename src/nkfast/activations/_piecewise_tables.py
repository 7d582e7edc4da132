"""Tables of points for the core's kernels of piecewise polynomials (csrc/simd/piecewise.inl.hpp).

Everything needs P(X > h, Y > k) of standard normals of correlation rho = cos(theta). With Owen's T
(Ann. Math. Statist. 27, 1956), x = (k - rho h) / sin and y = (h - rho k) / sin,

    P = (Q(h) + Q(k)) / 2 - T(h, x / h) - T(k, y / k) (- 1 / 2),    Q(h) = P(X > h),
    2 pi T(h, x / h) = arctan(x / h) - U(h, x),
    U(h, x) = h * integral from 0 to x of (1 - exp(-(h^2 + u^2) / 2)) / (h^2 + u^2).

The arcs of both sum up to theta (and pi, where the 1/2 is), which leaves

    P = (Q(h) + Q(k)) / 2 - (theta - U(h, x) - U(k, y)) / (2 pi)

for all signs. U is entire in h and in x, so that U(h, .) is a short polynomial whose coefficients
depend on the point alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import comb, factorial, sqrt
from typing import NamedTuple

import numpy as np
from numpy.polynomial import chebyshev, hermite_e, legendre
from scipy.special import ndtr

from nkfast._arrays.validation import Array
from nkfast._core import DualKind
from nkfast._linalg.chebyshev import to_series

from ._base import Span, _inverse
from ._central import Lengths, lengths
from ._dual_map import DualMap
from ._piecewise import Term, derivatives, evaluate, largest_deviation

_MOST_POWER = 3
_MOST_CLASSES = 8
_MOST_TERMS = 64  # of the series in rho: beyond, the closed form is faster
_SERIES_TOL = 1e-13  # of it, relative to the norms
_PLACES = 32  # deviations at which the terms' sizes are looked up
_POWERS = np.arange(_MOST_POWER + 1)
_SIZES = 1 / np.sqrt([1.0, 1.0, 2.0, 6.0])  # of normalised Hermite polynomials


class _Fit(NamedTuple):
    """Polynomials in z(x) = 2 x^2 (1 + bend^2 / reach^2) / (x^2 + bend^2) - 1, |x| <= reach.

    The bend spreads the Chebyshev points as evenly as such functions need them.
    """

    reach: float  # beyond, the Gaussian is below the tolerance
    bend: float
    terms: int


FINE = _Fit(8.5, 7.0, 24)
_COARSE = _Fit(6.2, 6.0, 14)
_COARSE_TOL = 1e-9


def piecewise_map(
    terms: Sequence[Term], p: Array, q: Array, tol: float, span: Span
) -> DualMap | None:
    """Return the core's form of `truncated_pair`, None if it has none or would lose digits.

    `tol` is relative to the kernel of a function as large as its terms.
    """
    if sqrt(span[1]) > largest_deviation(tuple(terms), False):
        return None
    if len({abs(term.at) for term in terms if term.side}) > _MOST_CLASSES:
        return None
    s = np.sqrt(p)
    t = s if q is p else np.sqrt(q)
    fit = _COARSE if tol >= _COARSE_TOL else FINE
    shape = _Shape(terms)
    left = shape.table(s, fit)
    right = left if q is p else shape.table(t, fit)
    return DualMap(DualKind.PIECEWISE, shape.params(fit), left, right)


@lru_cache(maxsize=64)
def piecewise_lengths(
    terms: tuple[Term, ...], low: float, high: float, tol: float
) -> Lengths | None:
    """Return how many terms of the series in rho it takes for deviations in [low, high].

    `tol` is relative to the norms.
    """
    shape = _Shape(terms)
    if shape.low == 0:  # it jumps, so that the derivative's series is not the slope's
        return None
    # Far below its kinks a function is a polynomial.
    unit = min((abs(term.at) for term in terms if term.side and term.at), default=high)
    least = max(low, 1e-3 * min(high, unit))
    s = np.exp(np.linspace(np.log(least), np.log(high), _PLACES))
    n, n1 = (_norm(own, s)[:, None] for own in (terms, derivatives(terms)))
    a = shape.coefficients(s, 2 * _MOST_TERMS)
    slopes = np.sqrt(np.arange(a.shape[1])) * a / s[:, None] / n1
    sizes, of_slopes = (np.square(v).max(axis=0) for v in (a / n, slopes))
    return lengths(sizes, of_slopes, tol, _MOST_TERMS, whole=False)


def piecewise_core_map(
    terms: tuple[Term, ...], p: Array, q: Array, tol: float, span: Span, ends: tuple[float, float]
) -> DualMap | None:
    """Return `piecewise_map` behind the series in rho; `ends` are deviations around the span."""
    beyond = piecewise_map(terms, p, q, tol, span)
    if beyond is None:
        return None
    found = piecewise_lengths(terms, *ends, max(tol / 10, _SERIES_TOL))
    if found is None:
        return beyond
    shape = _Shape(terms)
    s = np.sqrt(p)
    t = s if q is p else np.sqrt(q)
    count = found.degrees.stop
    a = shape.coefficients(s, count)
    b = a if q is p else shape.coefficients(t, count)
    return found.map(a, b, s, t, beyond)


def _norm(terms: Sequence[Term], s: Array) -> Array:
    """Return sqrt(E f(s z)^2), by the trapezoidal rule: about."""
    z = np.linspace(-8, 8, 4001)
    values = evaluate(terms, s[:, None] * z) ** 2
    return np.asarray(np.sqrt(np.maximum(values @ _density(z) * (z[1] - z[0]), 1e-300)))


def piecewise_tangent_map(
    terms: Sequence[Term], p: Array, q: Array, tol: float, span: Span
) -> DualMap | None:
    """Return the form of `piecewise_map` with derivatives, as in csrc/kernels/tangents.hpp."""
    dual = piecewise_map(terms, p, q, tol, span)
    if dual is None:
        return None
    fit = _COARSE if tol >= _COARSE_TOL else FINE
    shape = _Shape(terms)
    left, right = (
        np.hstack([table, shape.slopes(np.sqrt(v), fit)])
        for table, v in ((dual.left, p), (dual.right, q))
    )
    return DualMap(dual.kind, dual.params, left, right)


class _Shape:
    """A sum of c x^i and of c (side (x - b))_+^i, sorted by kinks, these by their distance |b|."""

    def __init__(self, terms: Sequence[Term]) -> None:
        self.whole = np.zeros(_MOST_POWER + 1)
        self.classes: dict[float, dict[tuple[int, float], Array]] = {}
        for term in terms:
            at = self.whole
            if term.side:
                parts = self.classes.setdefault(abs(term.at), {})
                at = parts.setdefault((term.side, term.at), np.zeros(_MOST_POWER + 1))
            at[term.power] += term.coef
        kinked = [term.power for term in terms if term.side]
        self.low = 0 if 0 in kinked else 1
        self.degree = max(kinked, default=1) or 1
        self.n_whole = max((term.power for term in terms), default=0) + 1

    def params(self, fit: _Fit) -> tuple[float, ...]:
        """Return what holds for all points; the order is that of csrc/kernels/dual.hpp."""
        params = [self.degree, self.low, self.n_whole, *fit, *_normal_table(fit)]
        params.append(len(self.classes))
        for distance, parts in self.classes.items():
            params += [float(distance != 0), len(parts)]
            for side, at in parts:
                params += [-1.0 if side * at < 0 else 1.0, side]
        return tuple(map(float, params))

    def table(self, s: Array, fit: _Fit) -> Array:
        """Return one row for each standard deviation."""
        powers = s[:, None] ** _POWERS
        # A kink that the Gaussian never meets leaves a polynomial, or zero: so nothing overflows or
        # cancels for small s.
        whole = np.tile(self.whole, (len(s), 1))
        hermite = np.zeros((2, len(s), _MOST_POWER + 1))  # of f and f', what has kinks
        blocks = []
        for distance, parts in self.classes.items():
            met = (s > 0) & (distance <= fit.reach * s)
            h = np.where(met, distance * _inverse(s), 0)
            blocks.append(np.column_stack([h, _density(h), ndtr(-h)]))
            for (side, at), c in parts.items():
                start = side * at
                past = np.where(met, 0.0, 0.5 if start == 0 else float(start < 0))
                whole += past[:, None] * expanded(c, side, start)
                value = met[:, None] * c * powers
                slope = met[:, None] * _derived(c) * side * powers
                blocks.append(value[:, self.low : self.degree + 1])
                blocks.append(slope[:, max(self.low - 1, 0) : self.degree])
                moments = _hermite_moments(np.copysign(h, start), side)
                hermite += np.einsum("gni,nil->gnl", np.stack([value, slope]), moments)
            if distance:
                blocks.append(_outer_polynomials(h, fit))
        heads = [_inverse(s)[:, None]]
        for n, own, kinked in zip(
            (self.n_whole, self.n_whole - 1), (whole, _derived(whole)), hermite, strict=True
        ):
            heads += [((own * powers) @ MONOMIALS)[:, :n], kinked[:, :n]]
        return np.hstack([*heads, *blocks])

    def coefficients(self, s: Array, count: int) -> Array:
        """Return the first Hermite coefficients at each standard deviation, as (n, l)."""
        out = np.zeros((count, len(s)))
        whole = np.tile(self.whole, (len(s), 1))
        powers = s[:, None] ** _POWERS
        low = np.zeros((len(s), _MOST_POWER + 1))
        for distance, parts in self.classes.items():
            met = (s > 0) & (distance <= FINE.reach * s)
            h = np.where(met, distance * _inverse(s), 0)
            peak = met * _density(h)
            at_kink = _hermites(h, count)
            for (side, at), c in parts.items():
                start = side * at
                past = np.where(met, 0.0, 0.5 if start == 0 else float(start < 0))
                whole += past[:, None] * expanded(c, side, start)
                low += np.einsum(
                    "ni,nil->nl",
                    met[:, None] * c * powers,
                    _hermite_moments(np.copysign(h, start), side),
                )
                for i in np.flatnonzero(c):
                    # E (side X - h)_+^i He_l = side^l i! He_(l-i-1)(h) density(h)
                    l = np.arange(i + 1, count)
                    falling = np.prod([l - j for j in range(i + 1)], axis=0)
                    scale = c[i] * factorial(i) * side**l / np.sqrt(falling)
                    if np.signbit(start):
                        scale = scale * (-1.0) ** (l - i - 1)
                    weight = peak * powers[:, i]
                    out[i + 1 :] += scale[:, None] * at_kink[: count - i - 1] * weight
        head = min(count, _MOST_POWER + 1)
        out[:head] = (low + (whole * powers) @ MONOMIALS).T[:head]
        return out.T

    def slopes(self, s: Array, fit: _Fit) -> Array:
        """Return the derivatives in log s of a table's Hermite coefficients, in its order."""
        powers = s[:, None] ** _POWERS
        whole = np.tile(self.whole, (len(s), 1))
        hermite = np.zeros((2, len(s), _MOST_POWER + 1))
        for distance, parts in self.classes.items():
            met = (s > 0) & (distance <= fit.reach * s)
            h = np.where(met, distance * _inverse(s), 0)
            for (side, at), c in parts.items():
                start = side * at
                past = np.where(met, 0.0, 0.5 if start == 0 else float(start < 0))
                whole += past[:, None] * expanded(c, side, start)
                values = np.stack([c * powers, _derived(c) * side * powers]) * met[:, None]
                kink = np.copysign(h, start)
                moments = _hermite_moments(kink, side)
                # (side X - h)_+^i moves with h = b / s, the power 0 by a point mass at h.
                moved = np.zeros_like(moments)
                moved[:, 1:] = moments[:, :-1] * (kink[:, None] * _POWERS[1:])[..., None]
                there = hermite_e.hermevander(side * kink, _MOST_POWER) * _SIZES
                moved[:, 0] = (kink * _density(kink))[:, None] * there
                hermite += np.einsum("gni,nil->gnl", values * _POWERS, moments)
                hermite += np.einsum("gni,nil->gnl", values, moved)
        columns = []
        for n, own, kinked in zip(
            (self.n_whole, self.n_whole - 1), (whole, _derived(whole)), hermite, strict=True
        ):
            columns += [((own * _POWERS * powers) @ MONOMIALS)[:, :n], kinked[:, :n]]
        return np.hstack(columns)


# Row i: x^i in normalised Hermite polynomials.
MONOMIALS = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [1, 0, sqrt(2), 0], [0, 3, 0, sqrt(6)]], float)


def _derived(c: Array) -> Array:
    """Return the coefficients of the derivative, along the last axis."""
    out = np.zeros_like(c)
    out[..., :-1] = c[..., 1:] * np.arange(1, c.shape[-1])
    return out


def expanded(c: Array, side: int, start: float) -> Array:
    """Return sum_i c_i (side x - start)^i as a polynomial in x."""
    out = np.zeros(len(c))
    for i, j in np.ndindex(len(c), len(c)):
        if j <= i:
            out[j] += c[i] * comb(i, j) * side**j * (-start) ** (i - j)
    return out


def _hermites(x: Array, count: int) -> Array:
    """Return the orthonormal Hermite polynomials below a degree, as (l, n)."""
    out = np.empty((count, len(x)))
    out[0] = 1
    out[1:2] = x
    for l in range(1, count - 1):
        out[l + 1] = (x * out[l] - sqrt(l) * out[l - 1]) / sqrt(l + 1)
    return out


def _density(x: Array) -> Array:
    return np.asarray(np.exp(-x * x / 2) / sqrt(2 * np.pi))


def _hermite_moments(h: Array, side: int) -> Array:
    """Return E (side X - h)_+^i He_l(X) / sqrt(l!) as (n, i, l), by parts: E g He_l = E g^(l)."""
    peak = _density(h)
    above = [ndtr(-h), peak - h * ndtr(-h)]
    at_kink = [np.ones_like(h), h, h * h - 1]
    for i in range(2, _MOST_POWER + 1):
        above.append(-h * above[i - 1] + (i - 1) * above[i - 2])
    out = np.empty((len(h), _MOST_POWER + 1, _MOST_POWER + 1))
    for i, l in np.ndindex(out.shape[1:]):
        if l <= i:
            moment = above[i - l] * (factorial(i) / factorial(i - l))
        else:
            moment = factorial(i) * at_kink[l - i - 1] * peak
        out[:, i, l] = side**l * moment / sqrt(factorial(l))
    return out


def variable(x: Array, fit: _Fit) -> Array:
    """Return z(x) in [-1, 1], the variable of the polynomials of a fit."""
    squares = x * x
    return 2 * squares * (1 + (fit.bend / fit.reach) ** 2) / (squares + fit.bend**2) - 1


def _nodes(count: int, fit: _Fit) -> Array:
    """Return Chebyshev points as x >= 0."""
    share = (chebyshev.chebpts1(count) + 1) / 2 / (1 + (fit.bend / fit.reach) ** 2)
    return np.asarray(fit.bend * np.sqrt(share / (1 - share)))


def _monomials(series: Array) -> Array:
    """Return polynomial coefficients from Chebyshev ones, along the last axis.

    No digits are lost: the series fall faster than the powers' coefficients grow.
    """
    to_monomials = np.zeros((series.shape[-1],) * 2)
    for m, unit in enumerate(np.eye(len(to_monomials))):
        to_monomials[m, : m + 1] = chebyshev.cheb2poly(unit[: m + 1])
    return np.asarray(series @ to_monomials)


@lru_cache(maxsize=4)
def _normal_table(fit: _Fit) -> tuple[float, ...]:
    """Return the polynomial of (1 / 2 - Q(x)) / x."""
    u, w = legendre.leggauss(80)
    x = _nodes(fit.terms, fit)
    values = _density(x[:, None] * (u + 1) / 2) @ w / 2
    return tuple(_monomials(to_series(values)))


@lru_cache(maxsize=4)
def outer_table(fit: _Fit) -> Array:
    """Return U(h, x) / (h x): Chebyshev series in h, polynomials in x."""
    u, w = legendre.leggauss(80)
    h, x = _nodes(fit.terms + 4, fit), _nodes(fit.terms, fit)
    halves = (h[:, None, None] ** 2 + (x[:, None] * (u + 1) / 2) ** 2) / 2
    values = (-np.expm1(-halves) / (2 * halves)) @ w / 2
    return _monomials(to_series(to_series(values).T).T)


def _outer_polynomials(h: Array, fit: _Fit) -> Array:
    table = outer_table(fit)
    basis = chebyshev.chebvander(variable(h, fit), len(table) - 1)
    return np.asarray(h[:, None] * (basis @ table))
