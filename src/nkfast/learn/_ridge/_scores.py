"""Criteria from a tridiagonal form: exact, and some times as dear as a Cholesky factor."""

from __future__ import annotations

import numpy as np

from nkfast._arrays.validation import Array
from nkfast._linalg.tridiagonal import Tridiagonal

from ._penalty import minus_evidence, path
from ._system import System

_EPS = float(np.finfo(float).eps)


class Scores:
    """The criteria for one penalty after the other, exactly.

    GCV(alpha) = n sum of squared residuals / (n - degrees of freedom)^2, summed over the targets
    (Golub, Heath & Wahba 1979); the likelihood is that of `Posterior.log_likelihood`, at the best
    noise variance of each target. With A = Q T Q^T, T tridiagonal, both need one tridiagonal solve
    for each alpha, and the degrees of freedom and the determinant only the eigenvalues of T: no
    eigenvectors at all.

    Attributes
    ----------
    eigenvalues : ndarray of shape (r,)
        Those of A above rounding level, ascending.
    alphas : ndarray
        The penalties to try.
    """

    def __init__(self, system: System) -> None:
        self.facts = system.facts
        self._form = Tridiagonal(system.A)
        self._G = self._form.rotate(system.B)
        s = self._form.eigenvalues()
        self.eigenvalues = s = s[s > system.floor(s[-1])]
        self.alphas = path(s[-1] if len(s) else 0.0, float(s.sum()), system.facts)

    def solution(self, alpha: float) -> Array:
        """Return (A + alpha I)^{-1} B."""
        return self._form.rotate_back(self._form.solve(alpha, self._G))

    def gcv(self, alpha: float) -> tuple[float, float]:
        """Return the score of generalised cross-validation, and n - degrees of freedom."""
        facts, s = self.facts, self.eigenvalues
        x = self._form.solve(alpha, self._G)
        if facts.dual:
            residual = float(np.linalg.norm(alpha * x)) ** 2
        else:
            squares = float(facts.squares.sum())
            left_over = squares - float(np.vdot(x, self._G)) - alpha * float(np.vdot(x, x))
            residual = max(left_over, _EPS * squares)
        # n - degrees of freedom, without cancellation where these near n.
        outside = max(facts.free - len(s), 0)
        left = float(outside + np.sum(alpha / (s + alpha)))
        return facts.counts.observations * residual / left**2 if left > 0 else np.inf, left

    def evidence(self, alpha: float) -> tuple[float, float]:
        """Return minus the log marginal likelihood, up to a constant, and its slope."""
        facts = self.facts
        x = self._form.solve(alpha, self._G)
        explained, norms = np.einsum("ij,ij->j", x, self._G), np.einsum("ij,ij->j", x, x)
        if facts.dual:
            q, weights = alpha * explained, explained - alpha * norms
        else:
            q, weights = facts.squares - explained, norms
        s = self.eigenvalues
        log_determinant, degrees = np.log1p(s / alpha).sum(), np.sum(s / (s + alpha))
        return minus_evidence(
            q, weights, facts.squares, log_determinant, degrees, alpha, facts.free
        )
