"""Ridge regression from a Gram matrix: a given penalty, or one that a criterion chooses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

import numpy as np
from scipy.linalg import lapack
from scipy.optimize import brentq

from nkfast._arrays.validation import Array
from nkfast._linalg.eigen import symmetric_eigen
from nkfast._linalg.moments import Counts, RunningMoments
from nkfast._linalg.symmetric import cholesky
from nkfast._linalg.tridiagonal import Tridiagonal

from ._system import Facts, System, system_of_kernel, system_of_moments, system_of_rows

Criterion: TypeAlias = Literal["gcv", "loo", "evidence"]
Alpha: TypeAlias = float | Criterion
CRITERIA: tuple[str, ...] = get_args(Criterion)

# This many penalties are tried, evenly spaced in the logarithm. The lowest is a noise variance of
# LEAST_NOISE times the mean squared norm of a row (the prior variance of a prediction) or, if that
# is more, a level at which float64 still resolves the smallest eigenvalues. At the highest, HIGHEST
# times the largest eigenvalue, all is shrunk away.
GCV_STEPS = 45
LEAST_NOISE = 1e-6
LOWEST, HIGHEST = 1e-10, 10.0

# GCV is the mean of squared leave-one-out errors, each times (1 - leverage)^2 / L^2, where L is the
# mean of 1 - leverage. Where L is small, the few rows of less leverage than all others, such as
# near copies of each other, decide alone; where it is this much none counts more than four times.
_CREDIBLE = 0.5

_EPS = float(np.finfo(float).eps)


@dataclass(frozen=True)
class Penalty:
    """The penalty in use; if it was searched, the `alphas` tried, their scores, and by what.

    The least score is the best: of "evidence" it is minus the log marginal likelihood up to a
    constant.

    Attributes
    ----------
    judge, judged : str or None, ndarray or None
        What decided in place of `criterion`, where that could not be believed, and its scores.
    """

    alpha: float
    alphas: Array | None = None
    scores: Array | None = None
    criterion: Criterion | None = None
    judge: Criterion | None = None
    judged: Array | None = None

    def scores_of(self, criterion: Criterion) -> Array | None:
        """Return the scores of this criterion, if they are known."""
        return {self.criterion: self.scores, self.judge: self.judged}.get(criterion)

    def overruled(self, other: Penalty) -> Penalty:
        """Return the choice of another criterion among the same penalties."""
        return replace(self, alpha=other.alpha, judge=other.criterion, judged=other.scores)


@dataclass(frozen=True)
class Ridge:
    """A solution: predictions are z^T coef + intercept.

    `coef` is (p, k) and `intercept` (k,), zero unless `centred`.
    """

    coef: Array
    intercept: Array
    centred: bool
    penalty: Penalty


def with_tail(alpha: Alpha, tail: float, counts: Counts) -> Alpha:
    """Return a given penalty with the noise that features lack on their diagonal.

    The kernel of a row with itself is ||z||^2 + `tail`. A criterion chooses the sum of both.
    """
    return alpha if isinstance(alpha, str) else alpha + tail * counts.mean


def solve_primal(sums: RunningMoments, alpha: Alpha) -> Ridge:
    """Solve min_w sum_i w_i (y_i - z_i^T w - b)^2 + alpha ||w||^2 from the moments."""
    system = system_of_moments(sums)
    coef, penalty = _solve(system, alpha)
    return ridge_of(system.facts, coef, penalty)


def dual_system(
    F: Array, Y: Array, weight: Array | None, *, centred: bool, kernel: bool
) -> tuple[System, Array | None]:
    """Return the (n, n) system of the same problem, cheaper for n < p, and its rows.

    `F` is in float64 and is overwritten: by the rows of the system, or, of a `kernel`, by its
    matrix. A kernel has no rows.
    """
    if kernel:
        return system_of_kernel(F, Y, weight, centred=centred), None
    return system_of_rows(F, Y, weight, centred=centred), F


def solve_dual(system: System, rows: Array | None, alpha: Alpha) -> Ridge:
    """Solve a dual system with the `rows` that `dual_system` returned.

    Of a kernel `coef` is (n, k): predictions are k(x, X) coef + intercept, and w is Z^T coef.
    """
    dual, penalty = _solve(system, alpha)
    facts = system.facts
    if rows is not None:
        return ridge_of(facts, rows.T @ dual, penalty)
    coef = dual if facts.weight is None else dual * np.sqrt(facts.weight)[:, None]
    return ridge_of(facts, balanced(coef, facts.share), penalty)


def ridge_of(facts: Facts, coef: Array, penalty: Penalty) -> Ridge:
    """Return the solution with its intercept."""
    intercept = facts.mean_y - facts.mean_z @ coef
    return Ridge(coef, intercept, facts.centred, penalty)


def balanced(coef: Array, share: Array | None) -> Array:
    """Return weights of the columns of a centred kernel that sum to zero, as they should.

    k(x, X) of a new x need not be centred. Rounding, magnified by 1 / alpha, would leave a sum that
    multiplies the kernel's mean.
    """
    return coef if share is None else coef - share[:, None] * coef.sum(axis=0)


def _solve(system: System, alpha: Alpha) -> tuple[Array, Penalty]:
    """Return (A + alpha I)^{-1} B, at alpha = 0 the pseudo-inverse, and the penalty."""
    if isinstance(alpha, str):
        return _search(system, alpha)
    return _penalised(system, alpha), Penalty(alpha)


def _search(system: System, criterion: Criterion) -> tuple[Array, Penalty]:
    """Choose alpha by generalised cross-validation or the marginal likelihood, then solve.

    Where the least score of the former leaves so few degrees of freedom that few rows may have
    made it, the latter decides, which no few rows sway. Who has the rows asks leave-one-out.
    """
    of = _Scores(system)
    alphas = path(of.eigenvalues, system.facts)
    if criterion == "evidence":
        penalty = _most_probable(of, alphas)
    else:
        scores, left = np.array([of.gcv(a) for a in alphas]).T
        best = most_cautious(scores)
        penalty = Penalty(float(alphas[best]), alphas, scores, "gcv")
        if left[best] < _CREDIBLE * system.facts.counts.observations:
            penalty = penalty.overruled(_most_probable(of, alphas))
    return of.solution(penalty.alpha), penalty


def _most_probable(of: _Scores, alphas: Array) -> Penalty:
    scores = np.array([of.evidence(a)[0] for a in alphas])
    return Penalty(_refined(of.evidence, alphas, most_cautious(scores)), alphas, scores, "evidence")


class _Scores:
    """The criteria for one penalty after the other.

    GCV(alpha) = n sum of squared residuals / (n - degrees of freedom)^2, summed over the targets
    (Golub, Heath & Wahba 1979); the likelihood is that of `Posterior.log_likelihood`, at the best
    noise variance of each target. With A = Q T Q^T, T tridiagonal, both need one tridiagonal solve
    for each alpha, and the degrees of freedom and the determinant only the eigenvalues of T: no
    eigenvectors at all.

    Attributes
    ----------
    eigenvalues : ndarray of shape (r,)
        Those of A above rounding level, ascending.
    """

    def __init__(self, system: System) -> None:
        self._facts = system.facts
        self._form = Tridiagonal(system.A)
        self._G = self._form.rotate(system.B)
        s = self._form.eigenvalues()
        self.eigenvalues = s[s > system.floor(s[-1])]

    def solution(self, alpha: float) -> Array:
        """Return (A + alpha I)^{-1} B."""
        return self._form.rotate_back(self._form.solve(alpha, self._G))

    def gcv(self, alpha: float) -> tuple[float, float]:
        """Return the score of generalised cross-validation, and n - degrees of freedom."""
        facts, s = self._facts, self.eigenvalues
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
        facts = self._facts
        x = self._form.solve(alpha, self._G)
        explained, norms = np.einsum("ij,ij->j", x, self._G), np.einsum("ij,ij->j", x, x)
        if facts.dual:
            q, weights = alpha * explained, explained - alpha * norms
        else:
            q, weights = facts.squares - explained, norms
        return minus_evidence(q, weights, facts.squares, self.eigenvalues, alpha, facts.free)


def minus_evidence(
    q: Array, weights: Array, squares: Array, s: Array, alpha: float, free: float
) -> tuple[float, float]:
    """Return minus the log marginal likelihood, up to a constant, and its slope in log(alpha).

    At the best noise variances. `q` (k,) are the minima of ||y - Z w||^2 + alpha ||w||^2, `weights`
    (k,) the ||w||^2 there, which is the derivative of q, and `squares` (k,) the ||y||^2. Targets
    that are zero say nothing.
    """
    told = squares > 0
    q = np.maximum(q[told], _EPS * squares[told])
    value = 0.5 * float(free * np.log(q).sum() + len(q) * np.log1p(s / alpha).sum())
    slope = free * np.sum(alpha * weights[told] / q) - len(q) * np.sum(s / (s + alpha))
    return value, 0.5 * float(slope)


def most_cautious(scores: Array) -> int:
    """Return where the least score is; of equals the last, the strongest penalty."""
    least = scores.min()
    return int(np.flatnonzero(scores <= least + 1e-12 * abs(least))[-1])


def cholesky_factor(A: Array, alpha: float) -> tuple[Array, int]:
    """Return the Cholesky factor of A + alpha I, lower triangle, and LAPACK's info."""
    factor = np.array(A, order="F")
    factor[np.diag_indices(len(A))] += alpha
    return cholesky(factor)


def _refined(evidence: Callable[[float], tuple[float, float]], alphas: Array, best: int) -> float:
    """Return where the slope vanishes between the neighbours of the best of the alphas."""
    ends = alphas[[max(best - 1, 0), min(best + 1, len(alphas) - 1)]]
    if evidence(ends[0])[1] >= 0 or evidence(ends[1])[1] <= 0:  # best at an end of the path
        return float(alphas[best])
    found = brentq(lambda x: evidence(np.exp(x))[1], *np.log(ends), xtol=1e-13)
    return float(np.exp(found))


def path(s: Array, facts: Facts) -> Array:
    """Return the penalties to try for the eigenvalues `s` > 0, ascending."""
    if len(s) == 0:  # nothing can be learnt, and every penalty predicts the mean
        return np.asarray(max(1.0, facts.noise) * np.geomspace(LOWEST, HIGHEST, GCV_STEPS))
    prior = s.sum() / max(facts.free, 1)
    least = max(LOWEST * s[-1], LEAST_NOISE * prior, facts.noise)
    return np.geomspace(least, HIGHEST * s[-1], GCV_STEPS)


def _penalised(system: System, alpha: float) -> Array:
    """Return (A + alpha I)^{-1} B, by Cholesky where A + alpha I is safely positive definite."""
    A, B = system.A, system.B
    # The trace bounds the norm of a positive semi-definite matrix.
    if alpha > system.floor(np.trace(A)):
        factor, failed = cholesky_factor(A, alpha)
        if not failed:
            return np.asarray(lapack.dpotrs(factor, B, lower=1)[0])
    s, Q = symmetric_eigen(A, lower=True, check_finite=False)
    kept = s > system.floor(s[-1])
    s, Q = s[kept], Q[:, kept]
    return np.asarray(Q @ ((Q.T @ B) / (s + alpha)[:, None]))
