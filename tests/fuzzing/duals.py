"""Dual kernels in extended precision, from formulas of their own.

Every function takes variances p, q and the covariance c of Gaussian u, v, and returns
(E f(u) f(v), E f'(u) f'(v)). Without a closed form here (see `CLOSED`) nkfast's own public duals
are taken, which the tests of activations compare with quadrature.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import nkfast as nk

Real = np.longdouble
PI = np.arctan2(Real(0), Real(-1))


def root(p: Any, q: Any) -> Any:
    """sqrt(p q), of equal points without rounding."""
    return np.where(p == q, p, np.sqrt(p) * np.sqrt(q))


def gap(p: Any, q: Any, c: Any) -> Any:
    """p q - c^2, which does not cancel."""
    s = root(p, q)
    return np.maximum(s - c, 0) * np.maximum(s + c, 0)


def half_square(p: Any, q: Any, c: Any) -> Any:
    """E (u - v)^2 / 2, of large variances without rounding."""
    return (np.sqrt(p) - np.sqrt(q)) ** 2 / 2 + np.maximum(root(p, q) - c, 0)


def angle(p: Any, q: Any, c: Any) -> Any:
    """The angle between two vectors, a right one if one of them is zero."""
    return np.where(p * q == 0, PI / 2, np.arctan2(np.sqrt(gap(p, q, c)), c))


def rectifier(a: float, b: float) -> Any:
    """a min(x, 0) + b max(x, 0): b relu(x) - a relu(-x)."""

    def dual(p: Any, q: Any, c: Any) -> Any:
        sine, theta = np.sqrt(gap(p, q, c)), angle(p, q, c)
        near = (sine + (PI - theta) * c) / (2 * PI)
        far = (sine - theta * c) / (2 * PI)
        slopes = (a * a + b * b) * (PI - theta) + 2 * a * b * theta
        return (a * a + b * b) * near - 2 * a * b * far, slopes / (2 * PI)

    return dual


def sign(p: Any, q: Any, c: Any) -> Any:
    k = np.where(p * q == 0, 0, 1 - 2 * angle(p, q, c) / PI)
    return k, np.zeros_like(k)


def _arc_cosine(n: int, theta: Any) -> Any:
    """J_n of Cho & Saul 2009 over 2 pi."""
    sine, cosine = np.sin(theta), np.cos(theta)
    value = (
        PI - theta,
        sine + (PI - theta) * cosine,
        3 * sine * cosine + (PI - theta) * (1 + 2 * cosine**2),
        4 * sine**3 + 15 * sine * cosine**2 + (PI - theta) * (9 * cosine + 6 * cosine**3),
    )[n]
    return value / (2 * PI)


def rectified(n: int) -> Any:
    """max(x, 0)^n."""

    def dual(p: Any, q: Any, c: Any) -> Any:
        s, theta = root(p, q), angle(p, q, c)
        k = np.where(s == 0, 0, s**n * _arc_cosine(n, theta))
        if n == 0:
            return k, np.zeros_like(k)
        return k, n * n * s ** (n - 1) * _arc_cosine(n - 1, theta)

    return dual


def erf(a: float, b: float, shift: float) -> Any:
    """a erf(b x) + shift (Williams 1996)."""

    def dual(p: Any, q: Any, c: Any) -> Any:
        t = 2 * Real(b) ** 2
        det = np.sqrt(1 + t * p + t * q + t * t * gap(p, q, c))
        k = 2 * Real(a) ** 2 / PI * np.arctan2(t * c, det) + Real(shift) ** 2
        return k, 2 * Real(a) ** 2 / PI * t / det

    return dual


def gelu(p: Any, q: Any, c: Any) -> Any:
    """x Phi(x), by parts (Stein's lemma)."""
    left, right, rest = 1 + p, 1 + q, gap(p, q, c)
    det = 1 + p + q + rest
    both = 0.25 + np.arctan2(c, np.sqrt(det)) / (2 * PI)  # E Phi(u) Phi(v)
    m = 1 / (2 * PI * np.sqrt(det))  # E phi(u) phi(v)
    k = c * both + m * (rest + c * c / left + c * c / right)
    return k, both + m * c * (1 / left + 1 / right + 1 / det)


def sine(a: float, b: float, phase: float) -> Any:
    """a sin(b x + phase)."""

    def dual(p: Any, q: Any, c: Any) -> Any:
        b2 = Real(b) ** 2
        squares = 2 * np.sin(Real(phase)) ** 2, 2 * np.cos(Real(phase)) ** 2
        size = np.abs(c)
        near = np.exp(-b2 * half_square(p, q, size))
        apart = -near * np.expm1(-2 * b2 * size)  # of the terms with u - v and u + v
        far = np.where(c < 0, near, near - apart)
        apart = np.where(c < 0, -apart, apart)
        half = Real(a) ** 2 / 2
        return half * (apart + squares[0] * far), half * b2 * (apart + squares[1] * far)

    return dual


def rbf(gamma: float) -> Any:
    def dual(p: Any, q: Any, c: Any) -> Any:
        k = np.exp(-2 * Real(gamma) * half_square(p, q, c))
        return k, 2 * Real(gamma) * k

    return dual


def exponential(a: float, b: float) -> Any:
    """a exp(b x)."""

    def dual(p: Any, q: Any, c: Any) -> Any:
        b2 = Real(b) ** 2
        k = Real(a) ** 2 * np.exp(b2 * ((p + q) / 2 + c))
        return k, b2 * k

    return dual


def gaussian(a: float, b: float) -> Any:
    """a exp(b x^2)."""

    def dual(p: Any, q: Any, c: Any) -> Any:
        t = -2 * Real(b)
        det = 1 + t * p + t * q + t * t * gap(p, q, c)
        k = Real(a) ** 2 / np.sqrt(det)
        return k, k * t * t * c / det

    return dual


def exp_normalized(gamma: float, shift: float) -> Any:
    def dual(p: Any, q: Any, c: Any) -> Any:
        s = root(p, q)
        k = np.exp(Real(gamma) * (np.where(s == 0, 0, c / np.where(s == 0, 1, s)) + Real(shift)))
        return s * k, Real(gamma) * k

    return dual


def polynomial(coef: Any) -> Any:
    """sum_i coef_i x^i, by the moments of two Gaussians (Isserlis)."""

    def value(coef: Any, p: Any, q: Any, c: Any) -> Any:
        total = np.zeros(np.broadcast_shapes(np.shape(p), np.shape(q)), Real)
        for i, a in enumerate(coef):
            for j, b in enumerate(coef):
                if a != 0 and b != 0:
                    total = total + Real(a) * Real(b) * _moment(i, j, p, q, c)
        return total

    def dual(p: Any, q: Any, c: Any) -> Any:
        return value(coef, p, q, c), value([i * a for i, a in enumerate(coef)][1:], p, q, c)

    return dual


def _moment(i: int, j: int, p: Any, q: Any, c: Any) -> Any:
    """E u^i v^j: a sum over the number k of pairs of a u and a v."""
    total = np.zeros(np.broadcast_shapes(np.shape(p), np.shape(q)), Real)
    for k in range(min(i, j) + 1):
        if (i - k) % 2 == 0 and (j - k) % 2 == 0:
            ways = math.comb(i, k) * math.comb(j, k) * math.factorial(k)
            ways *= _pairings(i - k) * _pairings(j - k)
            total = total + ways * c**k * p ** ((i - k) // 2) * q ** ((j - k) // 2)
    return total


def _pairings(n: int) -> int:
    return math.prod(range(1, n, 2))


CLOSED = {
    nk.ReLU: lambda f: rectifier(0, 1),
    nk.LeakyReLU: lambda f: rectifier(Real(f.alpha), 1),
    nk.ABReLU: lambda f: rectifier(Real(f.a), Real(f.b)),
    nk.Abs: lambda f: rectifier(-1, 1),
    nk.Sign: lambda f: sign,
    nk.RectifiedMonomial: lambda f: rectified(f.degree),
    nk.Erf: lambda f: erf(f.a, f.b, f.c),
    nk.SigmoidLike: lambda f: erf(0.5, 1 / 2.4020563531719796, 0.5),
    nk.GELU: lambda f: gelu,
    nk.Sin: lambda f: sine(f.a, f.b, f.c),
    nk.Cos: lambda f: sine(f.a, f.b, Real(f.c) + PI / 2),
    nk.RBF: lambda f: rbf(f.gamma),
    nk.Exp: lambda f: exponential(f.a, f.b),
    nk.Gaussian: lambda f: gaussian(f.a, f.b),
    nk.ExpNormalized: lambda f: exp_normalized(f.gamma, f.shift),
    nk.Monomial: lambda f: polynomial([0] * f.degree + [1]),
    nk.Polynomial: lambda f: polynomial(f.coef),
    nk.Hermite: lambda f: polynomial(_hermite(f.degree)),
}


def _hermite(degree: int) -> Any:
    coef = np.polynomial.hermite_e.herme2poly([0] * degree + [1])
    return coef / math.sqrt(math.factorial(degree))


def of(activation: Any) -> Any:
    """Return the dual of an activation: (p, q, c) -> (k, kdot)."""
    make = CLOSED.get(type(activation))
    if make is not None:
        return make(activation)

    def own(p: Any, q: Any, c: Any) -> Any:
        p, q, c = (np.asarray(v, np.float64) for v in (p, q, c))
        return activation.dual(p, q, c), activation.dual_derivative(p, q, c)

    return own
