"""Gaussian integrals of any function that is smooth between known kinks.

One-dimensional: composite Gauss-Legendre rules whose panels end at the kinks. Two-dimensional, for
kinks at zero only: polar coordinates, in which the kinks of f(u) and f(v) are four rays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

from nkfast._arrays.validation import Array

from ._complex_steps import clipped, density

Function = Callable[[Array], Array]

REACH = 12.0  # the normal density beyond is below 1e-32
_NODES = 16  # of a panel
_FINEST = 1 / 64  # width of the narrowest panels
_STEEP = 30.0  # standard deviation from which on panels are graded
_NEAR = 16  # panels before they widen
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
    """Return a rule for E g(z) with panels of `width` near zero and the kinks, wider elsewhere."""
    centres = sorted({0.0, *(k for k in kinks if -REACH < k < REACH)})
    away = [0.0]
    while away[-1] < 2 * REACH:
        away.append(away[-1] + min(max(width, away[-1] / _NEAR), 1.0))
    steps = np.concatenate([-np.array(away), away])
    bounds = [-REACH, *((a + b) / 2 for a, b in pairwise(centres)), REACH]
    edges = [np.array(bounds)]
    for centre, (low, high) in zip(centres, pairwise(bounds), strict=True):
        near = centre + steps
        edges.append(near[(near > low) & (near < high)])
    z, w = panels(np.unique(np.concatenate(edges)))
    return z, w * density(z)


def hermite_functions(z: Array, weight: Array, degree: int) -> Array:
    """Return weight_n h_l(z_n) for l = 0..degree, of shape (n, degree + 1).

    The recurrence starts from the square root of the density, so that nothing overflows.
    """
    root = np.exp(-z * z / 4)
    out = np.empty((degree + 1, len(z)))
    out[0] = root
    if degree >= 1:
        out[1] = z * root
    for l in range(1, degree):
        out[l + 1] = (z * out[l] - np.sqrt(l) * out[l - 1]) / np.sqrt(l + 1)
    out *= np.where(root > 0, weight / np.where(root > 0, root, 1), 0)
    return out.T


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
        the panels widen from there on, instead of being narrow everywhere.

    Returns
    -------
    ndarray of shape (S, degree + 1)
    """
    out = np.zeros((len(stds), degree + 1))
    out[stds == 0, 0] = f(np.zeros(1))[0]
    left = np.flatnonzero(stds > 0)
    # Where all kinks are at zero the nodes, and so the polynomials, are the same for all s.
    shared = not graded and all(k == 0 for k in kinks)
    for group in [left] if shared and len(left) else left[:, None]:
        s = stds[group]
        width = min(1.0, 1.5 / float(s.max()), 8 / np.sqrt(degree + 1))
        if graded and s[0] > _STEEP:
            found, done = _converged(f, s, degree, kinks, width, width / 8, grade=True)
            if done:
                out[group] = found
                continue
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
    return np.asarray(f(s[:, None] * z) @ hermite_functions(z, w, degree))


def polar_products(f: Function, s: Array, angles: Array, level: int) -> Array:
    """Return E f(s_i u) f(s_j v) for standard normal u, v with correlations cos(angles).

    For functions that are smooth but at zero: in polar coordinates u = r cos(a),
    v = r cos(a - angle) they are smooth on four arcs; each is integrated by the double exponential
    rule (Takahasi & Mori 1974), which takes steep ends too.

    Parameters
    ----------
    f : callable
    s : ndarray of shape (S,)
    angles : ndarray of shape (A,)
        In [0, pi].
    level : int
        1, 2, ...: fineness of the rules.

    Returns
    -------
    ndarray of shape (A, S, S)
    """
    r, wr = _radial_rule(level)
    x, wx = _double_exponential(12 * (level + 1))
    weight = (wr[:, None] * wx).ravel() / (2 * np.pi)
    step = max(1, _BATCH // (2 * len(s)))
    out = np.zeros((len(angles), len(s), len(s)))
    for n, angle in enumerate(angles):
        # Reflection a -> angle - a exchanges u and v: it maps the arcs [angle - pi/2, pi/2] and
        # [angle + pi/2, 3 pi/2] onto themselves and the other two, of length `angle`, onto each
        # other, so that f is needed once for each arc.
        half = np.pi / 2
        values = {}
        for name, begin, length in (
            ("front", angle - half, np.pi - angle),
            ("back", angle + half, np.pi - angle),
            ("left", half, angle),
            ("right", -half, angle),
        ):
            u = (r[:, None] * np.cos(begin + length * x)).ravel()
            values[name] = np.empty((len(s), len(u)))
            for i in range(0, len(u), step):
                part = slice(i, i + step)
                values[name][:, part] = f(s[:, None] * u[part])
        for name, mirrored in (("front", "front"), ("back", "back"), ("left", "right")):
            length = angle if name == "left" else np.pi - angle
            opposite = values[mirrored].reshape(len(s), len(r), len(x))[:, :, ::-1]
            part = (values[name] * (weight * length)) @ opposite.reshape(len(s), -1).T
            out[n] += part + part.T if name == "left" else part
    return out


@cache
def _radial_rule(level: int) -> tuple[Array, Array]:
    edges = np.array([0, 1.2, 2.6, 4.2, 6.2, 9.5])
    for _ in range(level - 1):  # graded to zero, where steep functions change
        inner = edges[1] * np.array([0.15, 0.4])
        middle = (edges[1:-1] + edges[2:]) / 2
        edges = np.sort(np.concatenate([edges, inner, middle]))
    r, w = panels(edges, 14)
    return r, w * r * np.exp(-r * r / 2)


@cache
def _double_exponential(half: int) -> tuple[Array, Array]:
    """Return the rule on (0, 1) with 2 half + 1 nodes."""
    step = 3.0 / half
    t = np.arange(-half, half + 1) * step
    e = np.exp(np.pi * np.sinh(t))
    x = e / (1 + e)
    w = step * np.pi * np.cosh(t) * e / (1 + e) ** 2
    return x, w / w.sum()


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
