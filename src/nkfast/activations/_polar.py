"""Two-dimensional Gaussian integrals of functions that are smooth but at zero, at any scale.

In polar coordinates u = r cos(a), v = r cos(a - angle) the kinks of f(u) and f(v) are four rays, so
that both are smooth on four arcs. Reflection a -> angle - a exchanges u and v: it maps the arcs
[angle - pi/2, pi/2] and [angle + pi/2, 3 pi/2] onto themselves, and the other two, of length
`angle`, onto each other.

Functions that are steep bend near the ends of the arcs and near r = 0, evenly in the logarithms of
the distances from there: in these the trapezoidal rule takes all scales at once (Stenger 1973). And
f(s r cos(a)) depends on log s + log r: on one grid for both, the integrals over the arcs serve all
pairs of deviations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.lib.stride_tricks import as_strided
from scipy.special import gammaln

from nkfast._arrays.validation import Array

from ._quadrature import panels

Functions: TypeAlias = Callable[[Array], Sequence[Array]]

LEVELS = (1, 2, 3, 4)  # of fineness
_MILD = 8.0  # standard deviations up to which functions bend on the scale of the Gaussian
_BATCH = 1 << 14  # numbers in a temporary
# For others: steps of the angular rule and of the logarithms, and the share that is cut off.
_STEPS = {
    1: (0.4, 0.2, 1e-10),
    2: (0.3, 0.18, 1e-11),
    3: (0.22, 0.16, 1e-12),
    4: (0.17, 0.14, 1e-13),
}
_STENCIL = 48  # points of the grid that a value between them is interpolated from
_FROZEN = 1e-3  # radii below which functions of the least deviation do not change


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
    if s.max() > _MILD:
        return _steep_products(functions, s, angles, level)
    x, wx = _double_exponential(12 * (level + 1))
    r, wr = _radial_panels(level)
    out = []
    for angle in angles:
        # (K, S, R, X), the radii weighted
        arcs = _Arcs(functions, np.outer(s, r).ravel(), x, angle)
        shape = (-1, len(s), len(r) * len(x))
        weight = (wr[:, None] * wx).ravel()
        out.append(arcs.products(weight, shape))
    return np.moveaxis(np.array(out), 0, 1)


def _steep_products(functions: Functions, s: Array, angles: Array, level: int) -> Array:
    step, log_step, cut = _STEPS[level]
    # Whole multiples of the step: deviations, radii and their products.
    ends = np.log(np.array([s.min(), s.max()])) / log_step
    margin = _STENCIL // 2
    low, high = int(np.floor(ends[0])) - margin + 1, int(np.ceil(ends[1])) + margin
    count = high - low + 1
    largest = float(np.exp(high * log_step))
    first = int(np.floor(np.log(np.sqrt(cut / largest)) / log_step))
    last = int(np.ceil(np.log(7.0) / log_step))
    r = np.exp(log_step * np.arange(first, last + 1))
    wr = log_step * r * r * np.exp(-r * r / 2)
    # Of products below `least` functions are as at it.
    least = min(low + int(np.log(_FROZEN) / log_step), high + first)
    scales = np.exp(log_step * np.arange(max(least, low + first), high + last + 1))
    before = max(least - (low + first), 0)
    x, wx = _logistic_rule(step, cut / largest)
    # T[i, i + j] = wr[j]
    toeplitz = np.zeros((count, count + len(r) - 1))
    for i in range(count):
        toeplitz[i, i : i + len(r)] = wr
    between = _interpolation(np.log(s) / log_step - low, count)
    one, other = np.indices((count, count))
    rows, offsets = np.minimum(one, other), np.abs(one - other)

    def at(angle: float) -> Array:
        """Return the products of all points of the grid."""
        out = []
        shape = (-1, len(scales), len(x))
        for own in _Arcs(functions, scales, x, angle).products(wx, shape):
            wide = np.pad(own, ((before, 0), (before, count)), "edge")
            # Diagonals become columns: K[i, i + d] = sum over j of wr[j] own[i + j, i + d + j].
            n, stride = len(wide), wide.strides[0]
            skewed = as_strided(wide, (n, count), (stride + wide.itemsize, wide.itemsize))
            out.append((toeplitz @ skewed)[rows, offsets])
        return np.array(out)

    ends_of = np.sqrt(np.maximum(np.diagonal(at(0.0), axis1=1, axis2=2), 1e-300))
    norms = np.exp(np.log(ends_of) @ between.T)
    outer = ends_of[:, :, None] * ends_of[:, None, :]
    out = [between @ (at(angle) / outer) @ between.T for angle in angles]
    relative = np.moveaxis(np.array(out), 0, 1)
    return np.asarray(relative * (norms[:, :, None] * norms[:, None, :])[:, None])


class _Arcs:
    """The values of functions on the four arcs, at scales times the cosines."""

    def __init__(self, functions: Functions, scales: Array, x: Array, angle: float) -> None:
        self.functions = functions
        self.scales = scales
        self.x = x
        self.angle = angle

    def _values(self, begin: float, length: float, shape: tuple[int, ...]) -> Array:
        cosines = np.cos(begin + length * self.x)
        # In pieces that stay in cache, as functions take many steps.
        step = max(1, _BATCH // len(cosines))
        parts = [
            np.array(self.functions(self.scales[i : i + step, None] * cosines))
            for i in range(0, len(self.scales), step)
        ]
        return np.concatenate(parts, axis=1).reshape(shape)

    def products(self, weight: Array, shape: tuple[int, ...]) -> Array:
        """Return the sums over the nodes, which are the last axis of `shape`."""
        turn = len(self.x)
        n, nodes = shape[1], (shape[2] // turn, turn)
        weight = weight.reshape(nodes) / (2 * np.pi)

        def sums(left: Array, right: Array, weight: Array) -> Array:
            weighted, mirrored = (left * weight).reshape(-1, n, weight.size), right[..., ::-1]
            part = weighted @ mirrored.reshape(-1, n, weight.size).transpose(0, 2, 1)
            return np.asarray(part + part.transpose(0, 2, 1))

        def own(values: Array) -> Array:
            # Of two nodes that mirror each other one will do, its sum being the other's transpose.
            first, last = values[..., : turn // 2 + 1], values[..., turn // 2 :]
            halved = weight[:, : turn // 2 + 1].copy()
            halved[:, -1] /= 2
            return sums(first, last, halved)

        half, wide = np.pi / 2, np.pi - self.angle
        front = self._values(self.angle - half, wide, (-1, n, *nodes))
        back = self._values(self.angle + half, wide, (-1, n, *nodes))
        total = wide * (own(front) + own(back))
        if self.angle > 0:
            left = self._values(half, self.angle, (-1, n, *nodes))
            right = self._values(-half, self.angle, (-1, n, *nodes))
            total = total + self.angle * sums(left, right, weight)
        return np.asarray(total)


def _interpolation(at: Array, count: int) -> Array:
    """Return the matrix from values at 0, 1, ..., count - 1 to those at `at`, well inside."""
    k = np.arange(_STENCIL)
    sizes = gammaln(_STENCIL) - gammaln(k + 1) - gammaln(_STENCIL - k)
    weights = (-1.0) ** k * np.exp(sizes - sizes.max())
    out = np.zeros((len(at), count))
    for row, x in zip(out, at, strict=True):
        first = min(max(int(np.floor(x)) - _STENCIL // 2 + 1, 0), count - _STENCIL)
        gap = x - first - k
        if np.abs(gap).min() < 1e-12:
            row[first + int(np.abs(gap).argmin())] = 1.0
        else:
            row[first + k] = weights / gap / np.sum(weights / gap)
    return out


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
