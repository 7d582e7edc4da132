"""Kernels of truncated powers (x - b)_+^i, and so of every piecewise polynomial, in closed form.

The moments E (X - h)_+^i (Y - k)_+^j of a pair of standard normals follow from the bivariate normal
distribution function by integration by parts (Stein's identity E X g = E g_X + rho E g_Y).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import factorial2, ndtr, owens_t

Array = NDArray[Any]

_LEAST_STD = 1e-60  # stands for zero


@dataclass(frozen=True)
class Term:
    """coef * x^power (side 0), (x - at)_+^power (side 1) or (at - x)_+^power (side -1)."""

    power: int
    side: int
    at: float
    coef: float

    def __call__(self, x: Array) -> Array:
        if self.side == 0:
            return self.coef * x**self.power
        u = self.side * (x - self.at)
        return np.asarray(self.coef * np.where(u > 0, np.maximum(u, 0) ** self.power, 0.0))

    def derivative(self) -> Term | None:
        """Return the derivative off the jumps."""
        if self.power == 0:
            return None
        sign = -1 if self.side < 0 else 1
        return Term(self.power - 1, self.side, self.at, self.coef * self.power * sign)


def evaluate(terms: Sequence[Term], x: Array) -> Array:
    """Return the sum of the terms at every x."""
    return np.asarray(sum((term(x) for term in terms), np.zeros_like(x)))


def derivatives(terms: Sequence[Term]) -> list[Term]:
    """Return the terms of the derivative off the jumps."""
    return [d for term in terms if (d := term.derivative()) is not None]


def piecewise_pair(terms: Sequence[Term], s: Array, t: Array, c: Array) -> tuple[Array, Array]:
    """Return (k, kdot) of the sum of the terms."""
    s, t, c = np.broadcast_arrays(s, t, c)
    s, t = np.maximum(s, _LEAST_STD), np.maximum(t, _LEAST_STD)
    rho = np.where((s > _LEAST_STD) & (t > _LEAST_STD), c / s / t, 0)
    rho = np.clip(rho, -1, 1)
    eps = np.finfo(np.float64).eps
    rho = np.where(1 - np.abs(rho) <= 32 * eps, np.sign(rho), rho)
    out = []
    for own in (terms, derivatives(terms)):
        value = np.zeros(rho.shape)
        for a in own:
            for b in own:
                value += a.coef * b.coef * _moment(a, b, s, t, rho)
        out.append(value)
    return out[0], out[1]


def _moment(a: Term, b: Term, s: Array, t: Array, rho: Array) -> Array:
    """Return E A(u) B(v) of two terms without their coefficients."""
    sign = (a.side or 1) * (b.side or 1)
    h = (a.side or 1) * a.at / s
    k = (b.side or 1) * b.at / t
    scale = s**a.power * t**b.power
    r = sign * rho
    if a.side and b.side:
        value = _Truncated(h, k, r).moment(a.power, b.power)
    elif a.side:
        value = _one_truncated(b.power, a.power, h, r)
    elif b.side:
        value = _one_truncated(a.power, b.power, k, r)
    else:
        value = _full(a.power, b.power, r)
    return np.asarray(scale * value)


def _density(x: Array) -> Array:
    return np.asarray(np.exp(-np.minimum(x * x, 1e4) / 2) / np.sqrt(2 * np.pi))


def _tail_moments(mean: Array, std: Array, count: int) -> list[Array]:
    """Return E V_+^j, j < count, for V ~ N(mean, std^2); half the jump where V = 0 surely."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(std > 0, mean / np.where(std > 0, std, 1), np.sign(mean) * np.inf)
    ratio = np.where(np.isnan(ratio), 0, ratio)
    out = [ndtr(ratio)]
    if count > 1:
        finite = np.clip(ratio, -100, 100)
        out.append(mean * out[0] + std * _density(finite))
    for j in range(2, count):
        out.append(mean * out[j - 1] + (j - 1) * std * std * out[j - 2])
    return out


def _full(i: int, j: int, rho: Array) -> Array:
    """E X^i Y^j."""
    if i == 0:
        return np.full_like(rho, 0.0 if j % 2 else float(factorial2(j - 1)) if j else 1.0)
    value = np.zeros_like(rho)
    if i >= 2:
        value = value + (i - 1) * _full(i - 2, j, rho)
    if j >= 1:
        value = value + rho * j * _full(i - 1, j - 1, rho)
    return value


def _one_truncated(i: int, j: int, k: Array, rho: Array) -> Array:
    """E X^i (Y - k)_+^j."""
    if i == 0:
        return _tail_moments(-k, np.ones_like(k), j + 1)[j]
    value = np.zeros_like(rho)
    if i >= 2:
        value = value + (i - 1) * _one_truncated(i - 2, j, k, rho)
    if j >= 1:
        return np.asarray(value + rho * j * _one_truncated(i - 1, j - 1, k, rho))
    # E X^(i-1) given Y = k, where the indicator jumps
    mean, variance = rho * k, (1 - rho) * (1 + rho)
    given = [np.ones_like(mean), mean]
    for n in range(2, i):
        given.append(mean * given[n - 1] + (n - 1) * variance * given[n - 2])
    # Far out the density is zero before the powers overflow.
    return np.asarray(value + rho * np.where(np.abs(k) > 40, 0, _density(k) * given[i - 1]))


class _Truncated:
    """E (X - h)_+^i (Y - k)_+^j."""

    def __init__(self, h: Array, k: Array, rho: Array) -> None:
        self.h, self.k, self.rho = h, k, rho
        self.gap = (1 - rho) * (1 + rho)
        root = np.sqrt(self.gap)
        # rho h - k, without cancellation where rho is near 1 or -1
        self.y_given_h = self._tails(np.where(rho > 0, (h - k) - (1 - rho) * h, rho * h - k), root)
        self.x_given_k = self._tails(np.where(rho > 0, (k - h) - (1 - rho) * k, rho * k - h), root)
        self.at_h, self.at_k = _density(h), _density(k)
        self.known: dict[tuple[int, int], Array] = {}

    def _tails(self, mean: Array, std: Array) -> list[Array]:
        return _tail_moments(mean, std, 4)

    def moment(self, i: int, j: int) -> Array:
        if (i, j) not in self.known:
            self.known[i, j] = self._compute(i, j)
        return self.known[i, j]

    def _compute(self, i: int, j: int) -> Array:
        h, k, rho = self.h, self.k, self.rho
        if i == j == 0:
            return bivariate_tail(h, k, rho)
        if i == 0:
            value = -k * self.moment(0, j - 1) + rho * self._boundary(
                self.at_h, self.y_given_h[j - 1], h
            )
            if j == 1:
                return np.asarray(value + self._boundary(self.at_k, self.x_given_k[0], k))
            return np.asarray(value + (j - 1) * self.moment(0, j - 2))
        value = -h * self.moment(i - 1, j)
        if j >= 1:
            value = value + rho * j * self.moment(i - 1, j - 1)
        else:
            value = value + rho * self._boundary(self.at_k, self.x_given_k[i - 1], k)
        if i == 1:
            return np.asarray(value + self._boundary(self.at_h, self.y_given_h[j], h))
        return np.asarray(value + (i - 1) * self.moment(i - 2, j))

    @staticmethod
    def _boundary(density: Array, moment: Array, at: Array) -> Array:
        return np.where(np.abs(at) > 40, 0, density * moment)


def bivariate_tail(h: Array, k: Array, rho: Array) -> Array:
    """Return P(X > h, Y > k) for standard normals of correlation rho (Owen 1956)."""
    h = np.where(h == 0, 1e-150, h)
    k = np.where(k == 0, 1e-150, k)
    root = np.sqrt((1 - rho) * (1 + rho))
    inner = np.abs(rho) < 1
    root = np.where(inner, root, 1)
    # P(X < x, Y < y) at x = -h, y = -k
    x, y = -h, -k
    with np.errstate(over="ignore", invalid="ignore"):
        ax = np.where(rho > 0, (y - x) + (1 - rho) * x, y - rho * x) / (x * root)
        ay = np.where(rho > 0, (x - y) + (1 - rho) * y, x - rho * y) / (y * root)
    value = (ndtr(x) + ndtr(y)) / 2 - owens_t(x, ax) - owens_t(y, ay)
    value = value - np.where(x * y > 0, 0, 0.5)
    opposite = np.maximum(0, ndtr(x) - ndtr(-y))
    ends = np.where(rho > 0, ndtr(np.minimum(x, y)), opposite)
    return np.asarray(np.clip(np.where(inner, value, ends), 0, 1))
