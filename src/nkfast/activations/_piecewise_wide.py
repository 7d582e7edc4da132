"""Kernels of piecewise polynomials whose kinks are near, beside the Gaussian's width.

There the truncated powers of `_piecewise` cancel: a clip is of size 1, its terms of size s. So
f = Q + S, Q the mean of the outer polynomials and S = sum of c (x - b)^i sgn(x - b) / 2, and

    E f(u) f(v) = E Q Q + E Q S + E S Q + E L L + (E S S - E L L),

L being S with all kinks moved to zero: of the size of f far out. What is left is of order b / s,
and is computed term by term without the parts that cancel: D_ij = E (X - h)^i (Y - k)^j [sgn(X - h)
sgn(Y - k) - sgn(X) sgn(Y)] / 4 from D_00 = (U(h, x) + U(k, y)) / (2 pi), see `_piecewise_tables`,
by Stein's identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import pi, sqrt

import numpy as np
from numpy.polynomial import chebyshev, polynomial
from scipy.special import erf, gamma

from nkfast._arrays.validation import Array

from ._complex_steps import density
from ._piecewise import (
    PairMoments,
    Term,
    correlation,
    derivatives,
    distance,
    largest_deviation,
    ratio,
    refuse_cancellation,
    truncated_pair,
)
from ._piecewise_tables import FINE, MONOMIALS, expanded, outer_table, variable
from ._quadrature import panels

_POWERS = 4
_NODES, _WEIGHTS = panels(np.array([0.0, 0.5, 1.0]), 20)
_CLEAN = 1e-14  # coefficients below are roundings of what cancels
# E X^i sgn(X) h_l(X) / 2
_HALVES = (
    np.array(
        [
            [
                2 ** (n / 2) * gamma((n + 1) / 2) / sqrt(pi) / 2 * (n % 2)
                for n in range(i, i + _POWERS)
            ]
            for i in range(_POWERS)
        ]
    )
    @ np.linalg.inv(MONOMIALS).T
)


def piecewise_pair(terms: Sequence[Term], s: Array, t: Array, c: Array) -> tuple[Array, Array]:
    """Return (k, kdot) of the sum of the terms at any deviations; takes complex steps."""
    largest = max(float(np.max(v.real, initial=0.0)) for v in (s, t))
    if largest <= largest_deviation(tuple(terms), False):
        return truncated_pair(terms, s, t, c)
    refuse_cancellation(terms, largest)
    return _wide_pair(terms, s, t, c)


def _wide_pair(terms: Sequence[Term], s: Array, t: Array, c: Array) -> tuple[Array, Array]:
    rho = correlation(s, t, c)
    out = [np.zeros(rho.shape, rho.dtype) for _ in range(2)]
    parts = (terms, derivatives(terms))
    sides = [[_Point(own, v) for own in parts] for v in (s, t)]
    for value, left, right in zip(out, *sides, strict=True):
        for l in range(_POWERS):
            a, b = left.mean[..., l], right.mean[..., l]
            value += rho**l * (a * (b + right.odd[..., l]) + left.odd[..., l] * b)
        for i, j in np.ndindex(_POWERS, _POWERS):
            if np.any(left.limit[..., i]) and np.any(right.limit[..., j]):
                value += left.limit[..., i] * right.limit[..., j] * _signed(i, j, rho)
    for a, b in product(sides[0][0].kinks, sides[1][0].kinks):
        if not (a or b):
            continue
        moved = None
        for value, left, right in zip(out, *sides, strict=True):
            one, other = left.kinks.get(a), right.kinks.get(b)
            if one is None or other is None:
                continue
            if moved is None:
                moved = _Moved(one.h, other.h, rho)
            for i, j in product(one.powers, other.powers):
                value += one.weights[..., i] * other.weights[..., j] * moved.moment(i, j)
    return out[0], out[1]


def _signed(i: int, j: int, rho: Array) -> Array:
    """Return E X^i Y^j sgn(X) sgn(Y) / 4."""
    if i > j:
        return _signed(j, i, rho)
    root = np.sqrt((1 - rho) * (1 + rho))
    if j == 0:
        arc = np.arctan2(rho.real, root.real)
        if np.iscomplexobj(rho):
            arc = arc + 1j * rho.imag / np.where(root.real > 0, root.real, np.inf)
        return np.asarray(arc / (2 * pi))
    value = (j - 1) * _signed(i, j - 2, rho) if j >= 2 else np.zeros_like(rho)
    if i:
        value = value + rho * i * _signed(i - 1, j - 1, rho)
    # E X^i sgn(X) / 2 given Y = 0, where sgn(Y) jumps, and the same of Y
    given = (0, 1, 0, 2)
    at_y = given[i] * root**i if j == 1 else 0
    at_x = rho * given[j - 1] * root ** (j - 1) if i == 0 else 0
    return np.asarray(value + (at_y + at_x) / (2 * pi))


@dataclass
class _Kink:
    h: Array
    weights: Array  # of ((x - b) / s)^i sgn(x - b) / 2
    powers: list[int]


class _Point:
    """The parts of a sum of terms, at standard deviations s."""

    def __init__(self, terms: Sequence[Term], s: Array) -> None:
        scale = s[..., None] ** np.arange(_POWERS)
        whole = np.zeros(_POWERS)
        jumps: dict[float, Array] = {}
        for term in terms:
            unit = term.coef * np.eye(_POWERS)[term.power]
            if not term.side:
                whole += unit
            else:  # (b - x)_+^i is a polynomial less what it lacks above b
                jump = jumps.setdefault(term.at, np.zeros(_POWERS))
                jump += unit if term.side > 0 else -((-1) ** term.power) * unit
        outer = np.broadcast_to(whole, scale.shape).copy()  # the outer polynomial on the left
        sizes = np.abs(outer)
        limit = np.zeros(scale.shape)
        self.kinks: dict[float, _Kink] = {}
        self.odd = np.zeros(scale.shape, s.dtype)
        for at, jump in jumps.items():
            met = np.abs(at) <= FINE.reach * s.real
            own = expanded(jump, 1, at)
            for term in terms:
                if term.side and term.at == at:
                    power = term.coef * np.eye(_POWERS)[term.power]
                    piece = expanded(power, term.side, term.side * at)
                    # Left of a kink that is met, or where the Gaussian lies.
                    there = met if term.side < 0 else np.False_
                    there = there | (~met & (term.side * at < 0))
                    outer += there[..., None] * piece
                    sizes += there[..., None] * np.abs(piece)
            limit += met[..., None] * own
            sizes += met[..., None] * np.abs(own)
            h = np.where(met, distance(at, s), 0)
            self.kinks[at] = _Kink(
                h, met[..., None] * jump * scale, [int(i) for i in np.flatnonzero(jump)]
            )
            # What moving the kink to zero changes, in the powers of x / s.
            inside = -polynomial.polyval(at * _NODES, own) * _WEIGHTS
            for node, value in zip(_NODES, inside, strict=True):
                x = h * node
                moved = h * met * value * density(x)
                for i in range(_POWERS):
                    self.odd[..., i] += moved
                    moved = moved * x
        self.odd = self.odd @ np.linalg.inv(MONOMIALS).T
        limit[np.abs(limit) <= _CLEAN * sizes] = 0
        mean = outer + limit / 2
        mean[np.abs(mean) <= _CLEAN * sizes] = 0
        self.limit = limit * scale
        self.mean = (mean * scale) @ MONOMIALS
        self.odd = self.odd + self.limit @ _HALVES


class _Moved(PairMoments):
    """D_ij of a pair of kinks."""

    def __init__(self, h: Array, k: Array, rho: Array) -> None:
        super().__init__(h, k, rho)
        root, y_given_h, x_given_k = self.root, self.y_below, self.x_below
        at = ratio(y_given_h, root)
        self.less = np.expm1(-np.minimum((h * h + at * at).real, 1e4) / 2) / (2 * pi)
        if np.iscomplexobj(rho) or np.iscomplexobj(at):
            slope = -(h * h + at * at).imag / 2 * (self.less + 1 / (2 * pi))
            self.less = self.less + 1j * slope
        self.at_h = self._boundaries(h, k, y_given_h)
        self.at_k = self._boundaries(k, h, x_given_k)
        first = _outer(h.real, y_given_h.real, root.real) + _outer(
            k.real, x_given_k.real, root.real
        )
        value = first / (2 * pi)
        if any(map(np.iscomplexobj, (h, k, rho))):
            spread = np.where(root.real > 0, root.real, 1)
            step = rho.imag * self.less.real / spread
            value = value + 1j * (step - h.imag * self.at_h[0].real - k.imag * self.at_k[0].real)
        self.known = {(0, 0): value}

    def _boundaries(self, h: Array, k: Array, mean: Array) -> list[Array]:
        """Return density(h) E V^j sgn(V) / 2 - density(0) E (W - k)^j sgn(W) / 2, j < 4.

        V ~ N(mean, root^2) is Y - k given X = h, and W ~ N(0, root^2) is Y given X = 0.
        """
        root, unit = self.root, 1 / (2 * pi)
        at = ratio(mean, root)
        half = erf(at.real / sqrt(2)) / 2
        if np.iscomplexobj(at):
            half = half + 1j * at.imag * density(at.real)
        half = density(h) * half
        both = root * (unit + self.less)
        second = (mean * mean + root * root) * half + mean * both
        third = mean * second + 2 * root**2 * (mean * half + both)
        return [
            half,
            mean * half + root * self.less,
            second + 2 * k * root * unit,
            third - root * (3 * k * k + 2 * root**2) * unit,
        ]

    def _at_zero(self, j: int, k: Array) -> Array:
        """Return density(0) E (W - k)^j sgn(W) / 2."""
        unit = self.root / (2 * pi)
        return np.asarray((0 * unit, unit, -2 * k * unit, unit * (3 * k * k + 2 * self.root**2))[j])

    def _compute(self, i: int, j: int) -> Array:
        h, k, rho = self.h, self.k, self.rho
        if i == 0:
            value = -k * self.moment(0, j - 1) + rho * self.at_h[j - 1]
            if j == 1:
                return np.asarray(value + self.at_k[0])
            return np.asarray(value + (j - 1) * self.moment(0, j - 2))
        value = -h * self.moment(i - 1, j)
        if i >= 2:
            value = value + (i - 1) * self.moment(i - 2, j)
            value = value - (-h) ** (i - 1) * self._at_zero(j, k)
        else:
            value = value + self.at_h[j]
        if j == 0:
            return np.asarray(value + rho * self.at_k[i - 1])
        value = value + rho * j * self.moment(i - 1, j - 1)
        return np.asarray(value - rho * (-k) ** j * self._at_zero(i - 1, h))


def _outer(h: Array, mean: Array, root: Array) -> Array:
    """Return U(h, x) at x = -mean / root."""
    x = -ratio(mean, root)
    table = outer_table(FINE)
    basis = chebyshev.chebvander(variable(h, FINE).ravel(), len(table) - 1) @ table
    series = np.moveaxis(basis.reshape(*h.shape, basis.shape[-1]), -1, 0)
    z = variable(np.clip(x, -FINE.reach, FINE.reach), FINE)
    value = np.zeros_like(z)
    for coef in series[::-1]:
        value *= z
        value += coef
    # Beyond the Gaussian's reach T(h, x / h) is sign(x) Q(h) / 2.
    far = pi * erf(h / sqrt(2)) / 2 - np.arctan2(h * root, np.abs(mean))
    return np.where(np.abs(x) < FINE.reach, x * h * value, np.sign(x) * far)
