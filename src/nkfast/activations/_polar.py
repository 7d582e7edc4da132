"""Two-dimensional Gaussian integrals of functions that are smooth but at zero, at any scale.

In polar coordinates u = r cos(a), v = r cos(a - angle) the kinks of f(u) and f(v) are four rays, so
that both are smooth on four arcs. A steep function bends near the ends of the arcs and near r = 0,
and that evenly in the logarithms of the distances from there: these are the variables of the rules,
which take all scales at once (the trapezoidal rule after an exponential map: Stenger 1973).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from nkfast._arrays.validation import Array

from ._quadrature import panels

Functions = Callable[[Array], Sequence[Array]]


_BATCH = 1 << 13  # numbers in a temporary


LEVELS = (1, 2, 3, 4)  # of fineness
_MILD = 8.0  # standard deviations up to which functions bend on the scale of the Gaussian
# Steps of the angular and the radial rule for others, and what is cut off.
_STEPS = {
    1: (0.4, 0.35, 1e-10),
    2: (0.4, 0.3, 1e-11),
    3: (0.28, 0.25, 1e-12),
    4: (0.2, 0.17, 1e-13),
}


def polar_products(functions: Functions, s: Array, angles: Array, level: int) -> Array:
    """Return E f(s_i u) f(s_j v) for standard normal u, v with correlations cos(angles).

    Parameters
    ----------
    functions : callable
        Returns the values of K functions.
    s : ndarray of shape (S,)
    angles : ndarray of shape (A,)
        In [0, pi].
    level : int
        One of LEVELS.

    Returns
    -------
    ndarray of shape (K, A, S, S)
    """
    largest = float(s.max())
    if largest <= _MILD:
        x, wx = _double_exponential(12 * (level + 1))
        r, wr = _radial_panels(level)
    else:
        angular, radial, cut = _STEPS[level]
        x, wx = _logistic_rule(angular, cut / largest)
        r, wr = _radial_rule(radial, np.sqrt(cut / largest))
    weight = (wr[:, None] * wx).ravel() / (2 * np.pi)
    half = np.pi / 2

    def values(begin: float, length: float) -> Array:
        u = (r[:, None] * np.cos(begin + length * x)).ravel()
        # In pieces that stay in cache, as functions take many steps.
        step = max(1, _BATCH // len(s))
        parts = [functions(s[:, None] * u[i : i + step]) for i in range(0, len(u), step)]
        return np.concatenate([np.asarray(part) for part in parts], axis=2)

    def product(left: Array, right: Array, length: float) -> Array:
        # Reflection a -> angle - a exchanges u and v, and reverses the nodes of an arc.
        mirrored = right.reshape(len(s), len(r), len(x))[:, :, ::-1].reshape(len(s), -1)
        return np.asarray((left * (weight * length)) @ mirrored.T)

    out = []
    for angle in angles:
        # It maps the arcs [angle - pi/2, pi/2] and [angle + pi/2, 3 pi/2] onto themselves and the
        # other two, of length `angle`, onto each other, so that f is needed once for each arc.
        wide = np.pi - angle
        front, back = values(angle - half, wide), values(angle + half, wide)
        total = [
            product(f, f, wide) + product(g, g, wide) for f, g in zip(front, back, strict=True)
        ]
        left, right = values(half, angle), values(-half, angle)
        for i, (f, g) in enumerate(zip(left, right, strict=True)):
            part = product(f, g, angle)
            total[i] += part + part.T
        out.append(total)
    return np.moveaxis(np.array(out).reshape(len(angles), -1, len(s), len(s)), 0, 1)


@cache
def _double_exponential(half: int) -> tuple[Array, Array]:
    """Return the rule on (0, 1) with 2 half + 1 nodes (Takahasi & Mori 1974)."""
    step = 3.0 / half
    t = np.arange(-half, half + 1) * step
    e = np.exp(np.pi * np.sinh(t))
    x = e / (1 + e)
    w = step * np.pi * np.cosh(t) * e / (1 + e) ** 2
    return x, w / w.sum()


@cache
def _radial_panels(level: int) -> tuple[Array, Array]:
    edges = np.array([0, 1.2, 2.6, 4.2, 6.2, 9.5])
    for _ in range(level - 1):  # graded to zero, where steep functions change
        inner = edges[1] * np.array([0.15, 0.4])
        middle = (edges[1:-1] + edges[2:]) / 2
        edges = np.sort(np.concatenate([edges, inner, middle]))
    r, w = panels(edges, 14)
    return r, w * r * np.exp(-r * r / 2)


def _logistic_rule(step: float, least: float) -> tuple[Array, Array]:
    """Return a rule on (0, 1) whose nodes come as near to the ends as `least`."""
    half = int(np.ceil(-np.log(least) / step))
    t = step * np.arange(-half, half + 1)
    x = 1 / (1 + np.exp(-t))
    w = step * x * x[::-1]
    return x, w / w.sum()


def _radial_rule(step: float, least: float) -> tuple[Array, Array]:
    """Return a rule for the integral of g(r) r exp(-r^2 / 2)."""
    t = np.arange(np.log(least), 9.0, step)
    r = np.log1p(np.exp(t))  # as exp(t) near zero, as t where the Gaussian ends
    w = step * r * np.exp(-r * r / 2) / (1 + np.exp(-t))
    keep = (t < 0) | (w > 1e-17)
    return r[keep], w[keep]
