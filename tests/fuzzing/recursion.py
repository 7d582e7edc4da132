"""NNGP and NTK of rows, layer by layer, in extended precision."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import nkfast as nk
from nkfast.activations._numerical import Numerical

from . import duals
from .duals import Real

EPS = float(np.finfo(np.float64).eps)
SNAP = 12 * EPS  # correlations so near to 1 or -1 are at rounding level, and count as such
ROUNDING = 100 * EPS  # more than any layer's, or than what nkfast counts as 1 or -1
TABLES = 1e-12  # what tables make of equal rows' correlation
WIDE = 5.7  # tables that reach beyond 8, ends being rounded up, are made to an error of WIDE_ERROR
WIDE_ERROR = 1e-9
FAR = 1e-3  # from 1 and -1, where rounding is not magnified


class State(NamedTuple):
    """Kernels of pairs, and of the left and right points with themselves."""

    k: Any
    theta: Any
    p: Any
    tp: Any
    q: Any
    tq: Any


class Reference(NamedTuple):
    """Kernels, the roots of the diagonals' products, and what rounding may make of them."""

    nngp: Any
    ntk: Any
    nngp_scale: Any
    ntk_scale: Any
    nngp_bound: Any
    ntk_bound: Any


def reference(net: Any, X: Any, Z: Any, line: float, tables: bool = False) -> Reference:
    """Return kernels to be met within `line` of their scale.

    And within what a rounding of each layer's correlations makes of them: where these are near to
    1 or -1 without being so to rounding, an ulp is magnified, in any arithmetic of float64. Of
    layers whose kernels are tables, within what later layers make of the error of these.
    """
    start = _start(X, Z)
    walk = Walk()
    end = walk(net.layers, start)
    scales = duals.root(end.p[:, None], end.q), duals.root(end.tp[:, None], end.tq)
    bounds = [line * scale + 1e-40 * scale.max(initial=0) for scale in scales]
    if tables or walk.nearest < FAR:
        move = TABLES if tables else ROUNDING
        others = [Walk(by)(net.layers, start) for by in (move, -move)]
        for i in range(2):
            bounds[i] = bounds[i] + np.max([np.abs(end[i] - other[i]) for other in others], axis=0)
    return Reference(end.k, end.theta, *scales, *bounds)


def diagonal(net: Any, X: Any) -> tuple[Any, Any]:
    """Return NNGP and NTK of each row with itself."""
    X = np.asarray(X, Real)
    p = np.sum(X * X, axis=1) / X.shape[1]
    end = Walk(of_pairs=False)(net.layers, State(p, 0 * p, p, 0 * p, p, 0 * p))
    return end.p, end.tp


def _start(X: Any, Z: Any) -> State:
    d = X.shape[1]
    X, Z = np.asarray(X, Real), np.asarray(Z, Real)
    p, q = np.sum(X * X, axis=1) / d, np.sum(Z * Z, axis=1) / d
    k = X @ Z.T / d
    return State(k, np.zeros_like(k), p, 0 * p, q, 0 * q)


class Walk:
    """The way through layers, all correlations moved by as much on it."""

    def __init__(self, move: float = 0.0, of_pairs: bool = True) -> None:
        self.move = move
        self.of_pairs = of_pairs
        self.nearest = 1.0  # that a correlation came to 1 or -1, without being so to rounding

    def __call__(self, layers: Any, state: State) -> State:
        for layer in layers:
            if isinstance(layer, nk.Dense):
                w, b = Real(layer.w_std) ** 2, Real(layer.b_std) ** 2
                k, p, q = (w * v + b for v in (state.k, state.p, state.q))
                state = State(k, w * state.theta + k, p, w * state.tp + p, q, w * state.tq + q)
            elif isinstance(layer, nk.Residual):
                branch = self(layer.layers, state)
                state = State(*(a + b for a, b in zip(state, branch, strict=True)))
            else:
                state = self._activated(duals.of(layer), state, isinstance(layer, Numerical))
        return state

    def _activated(self, dual: Any, state: State, numerical: bool) -> State:
        k, theta, p, tp, q, tq = state
        own_p, slope_p = dual(p, p, p)
        own_q, slope_q = (own_p, slope_p) if p is q else dual(q, q, q)
        if self.of_pairs:
            left, right = p[:, None], q
            moved = self._moved(k, duals.root(left, right))
            k, slope = dual(left, right, moved)
            if numerical and self.move and max(p.max(initial=0), q.max(initial=0)) > WIDE**2:
                # Equal and opposite points have no error of a table.
                between = np.abs(moved) < duals.root(left, right)
                error = np.copysign(WIDE_ERROR, self.move) * between
                k = k + error * duals.root(own_p[:, None], own_q)
                slope = slope + error * duals.root(slope_p[:, None], slope_q)
            theta = theta * slope
        return State(k, theta, own_p, tp * slope_p, own_q, tq * slope_q)

    def _moved(self, k: Any, s: Any) -> Any:
        """Return covariances within their bounds."""
        k = np.clip(k * (1 + self.move), -s, s)
        distance = s - np.abs(k)
        snapped = distance <= SNAP * s
        far = np.where(snapped, 1, distance / np.where(s > 0, s, 1))
        self.nearest = min(self.nearest, float(far.min(initial=1)))
        return np.where(snapped, np.sign(k) * s, k)
