"""Ridge regression in the eigenvectors of its matrix: every penalty, every time, at no cost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from nkfast._arrays.validation import Array
from nkfast._linalg.eigen import symmetric_eigen

from ._penalty import Penalty, most_cautious, path
from ._solve import Ridge, balanced, ridge_of
from ._system import Facts, System

_EPS = float(np.finfo(float).eps)


@dataclass(frozen=True)
class Spectrum:
    """The singular value decomposition of the rows Z, and the targets in it.

    Z (centred, times the roots of the weights) is U diag(s)^(1/2) V^T. A row's columns f, its
    features or its kernels with the fitted rows, have the coordinates t = V^T z =
    directions^T (f - mean). Predictions are linear in t for every penalty and time of training.

    Attributes
    ----------
    facts : Facts
        Of the system that was decomposed.
    values : ndarray of shape (r,)
        s, ascending, >= 0.
    targets : ndarray of shape (r, k)
        U^T y.
    rest : ndarray of shape (k,)
        ||y - U U^T y||^2, what no weights explain.
    directions : ndarray of shape (p, r)
    """

    facts: Facts
    values: Array
    targets: Array
    rest: Array
    directions: Array

    def coordinates(self, columns: Array) -> Array:
        """Return t of rows with these columns, (n, p), as (n, r)."""
        return np.asarray((columns - self.facts.mean_z) @ self.directions)

    # --- weights of the coordinates ---

    def ridge_weights(self, alpha: float) -> Array:
        """Return the weights (r, k) at this penalty; zero where nothing is known."""
        root = np.sqrt(self.values)
        shrunk = np.divide(root, self.values + alpha, out=np.zeros_like(root), where=root > 0)
        return np.asarray(shrunk[:, None] * self.targets)

    def flow_weights(self, time: float) -> Array:
        """Return the weights (r, k) of gradient flow on ||y - Z w||^2 / 2 from w = 0."""
        root = np.sqrt(self.values)
        learnt = -np.expm1(-self.values * time) if np.isfinite(time) else np.ones_like(root)
        learnt = np.divide(learnt, root, out=np.zeros_like(root), where=root > 0)
        return np.asarray(learnt[:, None] * self.targets)

    def ridge(self, penalty: Penalty) -> Ridge:
        """Return the solution in the columns."""
        coef = self.directions @ self.ridge_weights(penalty.alpha)
        return ridge_of(self.facts, coef, penalty)

    # --- leave-one-out ---

    def left_out(self, T: Array, Y: Array, weight: Array | None, alphas: Array) -> Array:
        """Return y_i minus its prediction without row i, of fitted rows, (n_alphas, n, k)."""
        n, k = Y.shape
        facts = self.facts
        inverse = np.divide(
            1.0,
            self.values[:, None] + alphas,
            out=np.zeros((len(self.values), len(alphas))),
            where=self.values[:, None] > 0,
        )
        leverage = T**2 @ inverse + (1 / facts.counts.total if facts.centred else 0.0)
        if weight is not None:
            leverage *= weight[:, None]
        W = np.hstack([self.ridge_weights(alpha) for alpha in alphas])
        residual = (Y - facts.mean_y)[:, None, :] - (T @ W).reshape(n, len(alphas), k)
        left = np.maximum(1 - leverage, 64 * _EPS)
        return np.asarray((residual / left[:, :, None]).transpose(1, 0, 2))

    def left_out_ridge(
        self, blocks: Iterable[tuple[Array, Array, Array | None]], asked: Penalty | None
    ) -> Ridge:
        """Return the solution of least leave-one-out error, if that is to decide for `asked`."""
        alphas = None if asked is None else asked.alphas
        if alphas is None:
            top = self.values[-1] if len(self.values) else 0.0
            alphas = path(top, float(self.values.sum()), self.facts)
        found = self._search_left_out(blocks, alphas)
        return self.ridge(found if asked is None else asked.overruled(found))

    def _search_left_out(
        self, blocks: Iterable[tuple[Array, Array, Array | None]], alphas: Array
    ) -> Penalty:
        """Choose alpha by the mean squared leave-one-out error of blocks (T, Y, weight)."""
        scores = np.zeros(len(alphas))
        for T, Y, weight in blocks:
            squares = np.sum(self.left_out(T, Y, weight, alphas) ** 2, axis=2)
            scores += squares.sum(axis=1) if weight is None else squares @ weight
        scores /= self.facts.counts.total
        return Penalty(float(alphas[most_cautious(scores)]), alphas, scores, "loo")


def own_coordinates(spectrum: Spectrum, rows: Array | None) -> Array:
    """Return the coordinates of the rows of a dual system, which `dual_system` returned, (n, r)."""
    weight = spectrum.facts.weight
    if rows is None:
        T = spectrum.directions * spectrum.values
        return T if weight is None else T / weight[:, None]
    T = rows @ spectrum.directions
    return T if weight is None else T / np.sqrt(weight)[:, None]


def decompose(system: System, rows: Array | None = None) -> Spectrum:
    """Return the spectrum of a system.

    `rows` (n, p) are the centred, weighted features of a dual system; without them it is one of a
    kernel.
    """
    s, U = symmetric_eigen(system.A, lower=True, check_finite=False)
    known = s > system.floor(s[-1])
    facts = system.facts
    if not facts.dual:
        s = np.where(known, s, 0.0)
        root = np.sqrt(s)[:, None]
        projected = U.T @ system.B
        targets = np.divide(projected, root, out=np.zeros_like(projected), where=root > 0)
        rest = np.maximum(facts.squares - np.sum(targets**2, axis=0), 0)
        return Spectrum(facts, s, targets, rest, U)
    targets = U.T @ system.B
    rest = np.sum(targets[~known] ** 2, axis=0)
    s, U, targets = s[known], U[:, known], targets[known]
    scaled = U / np.sqrt(s)
    if rows is not None:
        directions = rows.T @ scaled
    else:
        weight = facts.weight
        directions = scaled if weight is None else scaled * np.sqrt(weight)[:, None]
        directions = balanced(directions, facts.share)
    return Spectrum(facts, s, targets, rest, np.asarray(directions))
