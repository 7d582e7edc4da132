"""Kernels of truncated powers (x - b)_+^i, and so of every piecewise polynomial, in closed form.

The moments E (X - h)_+^i (Y - k)_+^j of a pair of standard normals follow from the bivariate normal
distribution function by integration by parts (Stein's identity E X g = E g_X + rho E g_Y).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from scipy.special import factorial2, ndtr, owens_t

from nkfast._arrays.validation import Array

from ._base import _snapped
from ._complex_steps import clipped, density, distribution
from ._quadrature import REACH, panels

_LEAST_STD = np.float64(1e-60)  # from which on a kink is met, or powers of its distance overflow
_LOST = 1e-8  # of the kernel, that may be lost to cancelling terms
_EPS = float(np.finfo(np.float64).eps)


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


@lru_cache(maxsize=256)
def largest_deviation(terms: tuple[Term, ...], wide: bool) -> float:
    """Return up to which standard deviation terms cancel to no less than 1e-8 of the kernel.

    Those of a function that grows less than they do, such as a clip, lose eps s^2 / E f(s z)^2. The
    form for `wide` Gaussians (see `_piecewise_wide`) loses only b / s as much.
    """
    unit = max((abs(term.at) for term in terms), default=0.0)
    if unit == 0 or not terms:
        return np.inf
    z, w = panels(np.linspace(-REACH, REACH, 97))
    w = w * density(z)
    largest = np.inf
    for s in unit * 2.0 ** np.arange(40, 0, -1):
        size = sum(abs(term.coef) * s**term.power for term in terms)
        kernel = float(evaluate(terms, s * z) ** 2 @ w)
        # Less where there is another form.
        if size**2 * _EPS * (unit / s if wide else 1.5) <= _LOST * kernel:
            break
        largest = float(s)
    return largest


def refuse_cancellation(terms: Sequence[Term], largest: float) -> None:
    """Refuse deviations at which the terms would leave too few digits of the kernel."""
    limit = largest_deviation(tuple(terms), True)
    if largest > limit:
        raise ValueError(
            f"activation: kernels of a function with breakpoints at "
            f"{sorted({term.at for term in terms if term.side})} are known for variances up to "
            f"{limit**2:.2g}, got {largest**2:.3g}; scale the inputs"
        )


def correlation(s: Array, t: Array, c: Array) -> Array:
    """Return rho = c / (s t), 0 where one of them is zero."""
    nought = (s == 0) | (t == 0)
    s, t = (np.where(v == 0, 1, v) for v in (s, t))
    return _snapped(np.where(nought, 0, c / s / t))


def distance(at: float, s: Array) -> Array:
    """Return at / s; very far is as far as any."""
    return at / np.where(s.real > _LEAST_STD, s, _LEAST_STD)


def truncated_pair(terms: Sequence[Term], s: Array, t: Array, c: Array) -> tuple[Array, Array]:
    """Return (k, kdot) of the sum of the terms; takes complex steps.

    Where rho is 1 or -1 it stays so: it does for points on a line through zero, and only there.
    """
    rho = correlation(s, t, c)
    out = np.zeros((2, *rho.shape), rho.dtype)
    kinks: dict[tuple[float, float, int], list[tuple[int, Term, Term]]] = {}
    for which, own in enumerate((terms, derivatives(terms))):
        for a, b in product(own, own):
            if a.side and b.side:
                key = (a.side * a.at, b.side * b.at, a.side * b.side)
                kinks.setdefault(key, []).append((which, a, b))
            else:
                out[which] += a.coef * b.coef * _moment(a, b, s, t, rho)
    for (h, k, sign), pairs in kinks.items():
        powers = max(max(a.power, b.power) for _, a, b in pairs)
        moments = _Truncated(distance(h, s), distance(k, t), sign * rho, powers)
        for which, a, b in pairs:
            scale = a.coef * s**a.power * (b.coef * t**b.power)
            out[which] += scale * moments.moment(a.power, b.power)
    return out[0], out[1]


def _moment(a: Term, b: Term, s: Array, t: Array, rho: Array) -> Array:
    """Return E A(u) B(v) without the coefficients; not for two truncated powers."""
    scale = s**a.power * t**b.power
    if a.side:
        value = _one_truncated(b.power, a.power, distance(a.side * a.at, s), a.side * rho)
    elif b.side:
        value = _one_truncated(a.power, b.power, distance(b.side * b.at, t), b.side * rho)
    else:
        value = _full(a.power, b.power, rho)
    return np.asarray(scale * value)


def ratio(mean: Array, std: Array) -> Array:
    """Return mean / std within [-100, 100], where the normal distribution ends; 0 for 0 / 0."""
    positive = std.real > 0
    with np.errstate(over="ignore", invalid="ignore"):
        value = np.where(positive, mean / np.where(positive, std, 1), 100 * np.sign(mean.real))
    return clipped(value, -100, 100)


def _tail_moments(mean: Array, std: Array, count: int) -> list[Array]:
    """Return E V_+^j, j < count, for V ~ N(mean, std^2); half the jump where V = 0 surely."""
    at = ratio(mean, std)
    out = [distribution(at)]
    if count > 1:
        out.append(mean * out[0] + std * density(at))
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
    return np.asarray(value + rho * np.where(np.abs(k.real) > 40, 0, density(k) * given[i - 1]))


class PairMoments(ABC):
    """Moments of a pair of kinks h and k, each computed once from lower ones."""

    def __init__(self, h: Array, k: Array, rho: Array) -> None:
        self.h, self.k, self.rho = h, k, rho
        self.root = np.sqrt((1 - rho) * (1 + rho))
        # rho h - k and rho k - h, without cancellation where rho is near 1 or -1
        same = rho.real > 0
        self.y_below = np.where(same, (h - k) - (1 - rho) * h, rho * h - k)
        self.x_below = np.where(same, (k - h) - (1 - rho) * k, rho * k - h)
        self.known: dict[tuple[int, int], Array] = {}

    def moment(self, i: int, j: int) -> Array:
        if (i, j) not in self.known:
            self.known[i, j] = self._compute(i, j)
        return self.known[i, j]

    @abstractmethod
    def _compute(self, i: int, j: int) -> Array:
        """Return the moment of degrees i and j, from lower ones."""


class _Truncated(PairMoments):
    """E (X - h)_+^i (Y - k)_+^j for i and j up to `powers`."""

    def __init__(self, h: Array, k: Array, rho: Array, powers: int) -> None:
        super().__init__(h, k, rho)
        root, y_given_h, x_given_k = self.root, self.y_below, self.x_below
        self.y_given_h = _tail_moments(y_given_h, root, powers + 1)
        self.x_given_k = _tail_moments(x_given_k, root, powers + 1)
        self.at_h, self.at_k = density(h), density(k)
        self.known = {(0, 0): self._tail(y_given_h.real, root.real)}

    def _tail(self, y_given_h: Array, root: Array) -> Array:
        """Return P(X > h, Y > k)."""
        h, k, rho = self.h, self.k, self.rho
        value = bivariate_tail(h.real, k.real, rho.real)
        if not any(map(np.iscomplexobj, (h, k, rho))):
            return value
        # The derivative in rho is the density of both variables at (h, k).
        joint = density(ratio(y_given_h, root)) / np.where(root > 0, root, 1)
        at_h = rho.imag * joint - h.imag * self.y_given_h[0].real
        at_k = -k.imag * self.x_given_k[0].real
        return np.asarray(value + 1j * (self.at_h.real * at_h + self.at_k.real * at_k))

    def _compute(self, i: int, j: int) -> Array:
        h, k, rho = self.h, self.k, self.rho
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
        return np.where(np.abs(at.real) > 40, 0, density * moment)


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
