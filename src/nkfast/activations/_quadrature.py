"""Gaussian integrals of any function that is smooth between known kinks.

Composite Gauss-Legendre rules whose panels end at the kinks. Rules in polar coordinates, for kinks
at zero only, are in `_polar`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

from nkfast._arrays.validation import Array
from nkfast._core import hermite_sums

from ._complex_steps import clipped, density

Function = Callable[[Array], Array]


class NotResolved(ValueError):  # noqa: N818
    """Integrals or representations do not reach their tolerance."""


REACH = 12.0  # the normal density beyond is below 1e-32
_NODES = 16  # of a panel
_FINEST = 1 / 64  # width of the narrowest panels
_STEEP = 30.0  # standard deviation from which on panels are graded
_NARROWEST = 1e-3  # panels that are not
_HALVINGS = 34  # of the panels nearest to where they are graded
_BATCH = 1 << 20  # numbers in a temporary


@cache
def _legendre(n: int) -> tuple[Array, Array]:
    x, w = np.polynomial.legendre.leggauss(n)
    return x, w


def panels(edges: Array, n: int = _NODES) -> tuple[Array, Array]:
    """Return nodes and weights of n-point Gauss-Legendre rules between neighbouring edges."""
    x, w = _legendre(n)
    half = np.diff(edges)[:, None] / 2
    return (edges[:-1, None] + half * (1 + x)).ravel(), (half * w).ravel()


def normal_rule(width: float, kinks: Sequence[float]) -> tuple[Array, Array]:
    """Return a rule for E g(z), z standard normal, with panels of at most `width`."""
    inside = sorted({k for k in kinks if -REACH < k < REACH})
    parts = [
        np.linspace(a, b, int(np.ceil((b - a) / width)) + 1)
        for a, b in pairwise([-REACH, *inside, REACH])
    ]
    edges = np.concatenate([parts[0], *(part[1:] for part in parts[1:])])
    z, w = panels(edges)
    return z, w * density(z)


def graded_rule(width: float, kinks: Sequence[float]) -> tuple[Array, Array]:
    """Return a rule for E g(z) whose panels double their widths away from zero and the kinks.

    So it serves functions of s z for all large s at once, if they bend near s z = 0 and the kinks.
    """
    centres = sorted({0.0, *(k for k in kinks if -REACH < k < REACH)})
    away = width * 2.0 ** np.arange(-_HALVINGS, 1)
    away = np.concatenate([[0.0], away, np.arange(2 * width, 2 * REACH + width, width)])
    bounds = [-REACH, *((a + b) / 2 for a, b in pairwise(centres)), REACH]
    edges = [np.array(bounds)]
    for centre, (low, high) in zip(centres, pairwise(bounds), strict=True):
        near = centre + np.concatenate([-away, away])
        edges.append(near[(near > low) & (near < high)])
    z, w = panels(np.unique(np.concatenate(edges)))
    return z, w * density(z)


def hermite_integrals(
    f: Function, stds: Array, degree: int, kinks: Sequence[float], *, graded: bool = False
) -> Array:
    """Return a_l(s) = E f(s z) h_l(z) for every s in `stds` and l = 0..degree.

    Parameters
    ----------
    f : callable
    stds : ndarray of shape (S,)
    degree : int
    kinks : sequence of float
        Where f or a derivative of it jumps.
    graded : bool, default=False
        Whether f bends most near zero and the kinks, the less the farther away. Of a large s then
        the panels widen from there on, instead of being narrow everywhere; so they are if that does
        not do.

    Returns
    -------
    ndarray of shape (S, degree + 1)
    """
    out = np.zeros((len(stds), degree + 1))
    out[stds == 0, 0] = f(np.zeros(1))[0]
    left = np.flatnonzero(stds > 0)
    # Where all kinks are at zero the nodes, and so the polynomials, are the same for all s.
    shared = all(k == 0 for k in kinks)
    for group in [left] if shared and len(left) else left[:, None]:
        s = stds[group]
        width = min(1.0, 8 / np.sqrt(degree + 1))
        if graded and s.max() > _STEEP:
            found, done = _converged(f, s, degree, kinks, width / 2, width / 8, grade=True)
            if done:
                out[group] = found
                continue
        width = min(width, 1.5 / float(s.max()))
        if width < _NARROWEST:
            raise NotResolved(
                f"Gaussian integrals of a function of numbers of size {s.max():.3g} cannot be "
                "resolved: expected one that bends near zero and its breakpoints only"
            )
        out[group] = _converged(f, s, degree, kinks, width, _FINEST)[0]
    return out


def _converged(
    f: Function,
    s: Array,
    degree: int,
    kinks: Sequence[float],
    width: float,
    least: float,
    grade: bool = False,
) -> tuple[Array, bool]:
    """Halve the panels until the integrals agree, or down to `least`; return whether they did."""
    found = _integrals(f, s, degree, kinks, width, grade)
    done = False
    while width > least and not done:
        width /= 2
        finer = _integrals(f, s, degree, kinks, width, grade)
        scale = np.abs(finer).max() + 1e-300
        done = bool(np.abs(finer - found).max() <= 2e-13 * scale)
        found = finer
    return found, done


def _integrals(
    f: Function, s: Array, degree: int, kinks: Sequence[float], width: float, grade: bool
) -> Array:
    corners = [k / s[0] for k in kinks]
    z, w = graded_rule(width, corners) if grade else normal_rule(width, corners)
    # From the square root of the density, so that nothing overflows.
    root = np.exp(-z * z / 4)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(root > 0, w / root, 0)
    out = np.zeros((len(s), degree + 1))
    step = max(1, _BATCH // len(s))
    for i in range(0, len(z), step):
        part = slice(i, i + step)
        out += hermite_sums(f(s[:, None] * z[part]) * share[part], z[part], root[part], degree + 1)
    return out


def direct_products(
    functions: Callable[[Array], tuple[Array, ...]],
    kinks: Sequence[float],
    s: Any,
    t: Any,
    rho: Any,
) -> list[Any]:
    """Return E f(s u) f(t v), corr(u, v) = rho, for every f of `functions`, by panels in u and v.

    Works for kinks anywhere and any correlation: with v = rho u + sqrt(1 - rho^2) w the panels in w
    end where t v meets a kink, and those in u are narrow where such an end passes through.

    Complex steps of s, t and rho move the ends of the panels with the kinks, and so give the
    derivative with all that jumps at the kinks, if the functions take them between the kinks.
    """
    marks, corners = _marks(kinks), np.array(kinks)
    even = np.linspace(-_RANGE, _RANGE, int(np.ceil(2 * _RANGE * max(s.real / 6, 2))) + 1)
    if rho.real in (-1, 1):
        other = np.linspace(-_RANGE, _RANGE, int(np.ceil(2 * _RANGE * max(t.real / 6, 2))) + 1)
        edges = [even, other, marks / s, rho * marks / t]
        z, w = _cut(edges, np.concatenate([corners / s, rho * corners / t]))
        both = zip(functions(s * z), functions(t * rho * z), strict=True)
        return [(left * right) @ w for left, right in both]
    root = np.sqrt((1 - rho) * (1 + rho))
    edges = [even, marks / s]
    if rho.real != 0:
        steps = root / rho * np.array([0, 1, -1, 2.5, -2.5, 5, -5, 9, -9])
        edges.append((marks[:, None] / (t * rho) + steps).ravel())
    z, w = _cut(edges, corners / s)
    width = max(t.real * root.real / 6, 0.5)
    even = np.linspace(-_RANGE, _RANGE, int(np.ceil(2 * _RANGE * width)) + 1)
    parts = []
    x, wx = _legendre(_NODES)
    step = max(1, _BATCH // (_NODES * (len(even) + len(marks))))
    for i in range(0, len(z), step):
        u = z[i : i + step, None]
        at_marks = (marks / t - rho * u).real / root.real
        ends = np.hstack([np.broadcast_to(even, (len(u), len(even))), at_marks])
        ends = np.sort(np.clip(ends, -_RANGE, _RANGE), axis=1)
        if np.iscomplexobj(z):
            # Each with the kink that is nearest, if that is within reach.
            moves = clipped((corners / t - rho * u) / root, -_RANGE, _RANGE).imag
            at = t.real * (rho.real * u.real + root.real * ends)
            nearest = np.searchsorted((corners[1:] + corners[:-1]) / 2, at)
            ends = ends + 1j * np.take_along_axis(moves, nearest, axis=1)
        half = np.diff(ends, axis=1)[..., None] / 2
        v = ends[:, :-1, None] + half * (1 + x)
        weight = half * wx * density(v)
        left = functions(s * u[:, 0])
        right = functions(t * (rho * u[..., None] + root * v))
        parts.append(
            [
                w[i : i + step] * f @ np.sum(weight * g, axis=(1, 2))
                for f, g in zip(left, right, strict=True)
            ]
        )
    return list(np.sum(parts, axis=0))


_RANGE = 11.0  # of the normal variables there


def _marks(kinks: Sequence[float]) -> Array:
    """Return the kinks, and points around them and around zero, where functions bend most."""
    around = np.array([0, 0.3, -0.3, 1, -1, 3, -3, 8, -8])
    return np.unique(np.array(sorted({0.0, *kinks}))[:, None] + around)


def _cut(edges: Sequence[Array], corners: Array) -> tuple[Array, Array]:
    """Return a rule for E g(z), whose panels move with the corners, maybe by complex steps."""
    ends = np.unique(np.clip(np.concatenate(edges).real, -_RANGE, _RANGE))
    if np.iscomplexobj(corners):
        corners = np.sort(clipped(corners, -_RANGE, _RANGE))
        ends = ends + 1j * np.interp(ends, corners.real, corners.imag)
    z, w = panels(ends, 12)
    return z, w * density(z)
