"""Hermite coefficients of activations and the norms that they are shares of."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import NDArray

from nkfast._arrays.validation import Doubles
from nkfast.activations import Activation
from nkfast.activations._numerical import Numerical

ORDER = 16  # highest degree; what lies above counts as one number
LN2 = math.log(2)
NOTHING = -745.0  # log of a norm of zero
_NEAR = 0.02  # to a multiple of 1/2, at which the power of a norm is taken for it
_NOISE = 1e-14  # share of the norm that is rounding
_SMALL = 1e-6  # share of the norm below which a coefficient has no power of its own
_REACH = 12.0  # of the normal density
_PANEL = 16  # nodes of a panel
_NARROW = 0.25  # panels of an activation's argument, next to where it bends
_REFINED = (1, 2, 4, 8, 16, 32, 64)  # pieces of a panel
_RESOLVED = 1e-5  # relative change of the squared norms that another refinement makes
_ROUNDING = 1e-12  # share of (|f| / s)^2 that |f'|^2 may be wrong by


@dataclass
class HermiteRow:
    """What the table has at one deviation.

    Attributes
    ----------
    shape : ndarray of shape (2 * ORDER + 4,)
        a_0..a_ORDER over the norm of f, b_0..b_ORDER over that of f', and what all later squares
        are of the squares of the norms.
    logs : ndarray of shape (2,)
        Of both norms.
    """

    shape: Doubles
    logs: Doubles

    @property
    def finite(self) -> bool:
        return bool(np.all(np.isfinite(self.shape)) and np.all(np.isfinite(self.logs)))

    def moved(self, powers: Doubles, by: float) -> HermiteRow:
        """Return the row at a deviation e^by times as large, of such powers of it."""
        shape = self.shape * np.exp(by * powers[:-2])
        shape[-2:] = np.maximum(1 - np.sum(shape[:-2].reshape(2, -1) ** 2, axis=1), 0)
        return HermiteRow(shape, self.logs + by * powers[-2:])

    def powers(self, other: HermiteRow, by: float) -> Doubles:
        """Return the powers of the deviation by which this row comes of that at e^-by of it."""
        some = np.minimum(np.abs(self.shape), np.abs(other.shape)) > _SMALL
        some &= self.shape * other.shape > 0
        ratios = np.where(some, self.shape / np.where(some, other.shape, 1), 1)
        found = np.append(np.log(ratios), self.logs - other.logs) / by
        halves = np.rint(2 * found) / 2
        far = np.abs(found - halves) > _NEAR
        far[:-2] = False
        return np.where(far, found, halves)

    def distance(self, other: HermiteRow) -> float:
        """Return the largest difference, relative to the norms."""
        shapes, logs = self.shape - other.shape, self.logs - other.logs
        return float(max(np.abs(shapes).max(), np.abs(logs).max()))

    def raw(self, exponents: NDArray[np.int64]) -> Doubles:
        """Return the coefficients and the sums of later squares, in units of powers of two."""
        norms = np.exp(self.logs - exponents * LN2)
        return self.shape * np.concatenate([np.repeat(norms, ORDER + 1), norms**2])


def hermite_rows(activation: Activation, stds: Doubles) -> list[HermiteRow]:
    """Return the rows of an activation at deviations above zero, NaN where none are found."""
    with np.errstate(over="ignore", invalid="ignore"):
        if isinstance(activation, Numerical):
            both = [_integrals(activation, float(s)) for s in stds]
            found, whole = (np.array(part) for part in zip(*both, strict=True))
        else:
            found = activation._hermite_tables(stds, ORDER)
            whole = np.stack(np.broadcast_arrays(*activation._diagonal(stds**2)), axis=1)
        if not activation._has_slope:
            found[:, 1], whole[:, 1] = 0, 0
        # The derivative of a jump has no norm: what is known of it counts.
        whole[:, 1] = np.where(np.isinf(whole[:, 1]) & (whole[:, 0] < np.inf), 0, whole[:, 1])
        whole = np.maximum(whole, np.sum(found**2, axis=2))
        norms = np.sqrt(np.where(whole == 0, 1, whole))
        shapes = found / norms[:, :, None]
        shapes[np.abs(shapes) < _NOISE] = 0
        tails = np.maximum((whole > 0) - np.sum(shapes**2, axis=2), 0)
        logs = np.where(whole == 0, NOTHING, np.log(norms))
    columns = np.concatenate([shapes.reshape(len(stds), -1), tails], axis=1)
    return [HermiteRow(*row) for row in zip(columns, logs, strict=True)]


def _integrals(activation: Activation, s: float) -> tuple[Doubles, Doubles]:
    """Return the coefficients, (2, ORDER + 1), and E f(s z)^2 and E f'(s z)^2, by quadrature.

    In panels that are narrow near zero and the kinks, or all of them where that does not do; NaN
    where that does not do either. The derivative is that of the panels' polynomials.
    """
    away = _NARROW * 2.0 ** np.arange(max(math.ceil(math.log2(_REACH * s / _NARROW)), 0) + 1)
    centres = np.array([0.0, *activation._kinks])[:, None]
    corners = np.concatenate([centres, centres - away, centres + away], axis=1) / s
    edges = np.concatenate([corners.ravel(), np.linspace(-_REACH, _REACH, 49)])
    edges = np.unique(edges[np.abs(edges) <= _REACH])
    before = np.full(2, np.nan)
    for pieces in _REFINED:
        at = np.arange((len(edges) - 1) * pieces + 1) / pieces
        found, whole = _panels(activation, s, np.interp(at, np.arange(len(edges)), edges))
        # Of a function that hardly changes the slope is rounding.
        scale = np.maximum(whole, [0, _ROUNDING * whole[0] / s**2])
        if np.all(np.abs(whole - before) <= _RESOLVED * scale):
            return found, whole
        before = whole
    return np.full_like(found, np.nan), np.full_like(whole, np.nan)


def _panels(activation: Activation, s: float, edges: Doubles) -> tuple[Doubles, Doubles]:
    nodes, weights = legendre.leggauss(_PANEL)
    polynomials = np.eye(_PANEL)
    slopes = legendre.legval(nodes, legendre.legder(polynomials)).T
    differences = slopes @ np.linalg.inv(legendre.legvander(nodes, _PANEL - 1))
    edges = np.unique(edges)  # of panels as narrow as rounding, too
    half = np.diff(edges)[:, None] / 2
    z = edges[:-1, None] + half * (1 + nodes)
    w = half * weights * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    value = np.asarray(activation(s * z), np.float64)
    slope = value @ differences.T / (half * s)
    a, before, h = np.empty(ORDER + 2), np.zeros_like(z), np.ones_like(z)
    for l in range(ORDER + 2):
        a[l] = np.sum(w * value * h)
        before, h = h, (z * h - math.sqrt(l) * before) / math.sqrt(l + 1)
    # Those of the derivative by parts, with what jumps.
    b = np.sqrt(np.arange(1, ORDER + 2)) * a[1:] / s
    return np.stack([a[:-1], b]), np.array([np.sum(w * value**2), np.sum(w * slope**2)])
