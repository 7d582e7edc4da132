"""Ridge regression from a Gram matrix: a given penalty, or one that a criterion chooses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from nkfast._arrays.validation import Array
from nkfast._linalg.eigen import symmetric_eigen
from nkfast._linalg.factor import factorise, refined_solve
from nkfast._linalg.moments import Counts, RunningMoments

from ._estimates import MOST_FACTORS, Estimates, begin, estimable
from ._penalty import Criterion, Penalty, choose
from ._scores import Scores
from ._system import Facts, System, system_of_kernel, system_of_moments, system_of_rows

Alpha: TypeAlias = float | Criterion


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


def solve_large_kernel(
    K: Array, Y: Array, weight: Array | None, alpha: float, *, centred: bool
) -> Ridge:
    """Return what `solve_dual` does of a kernel in any precision, in the memory of one matrix.

    `K` (n, n) is overwritten.

    Raises
    ------
    ValueError
        If alpha is too small for the precision of `K`.
    """
    system = system_of_kernel(K, Y, weight, centred=centred)
    try:
        dual = refined_solve(system.A.T, alpha, system.B)
    except np.linalg.LinAlgError as error:
        raise ValueError(
            f"alpha: expected a penalty that a kernel in {K.dtype} can tell from rounding, got "
            f"{alpha:.3g} for a mean of {np.mean(np.diagonal(K)):.3g} on the diagonal ({error})"
        ) from None
    facts = system.facts
    coef = dual if weight is None else dual * np.sqrt(weight)[:, None]
    return ridge_of(facts, balanced(coef, facts.share), Penalty(alpha))


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
    """Choose alpha, then solve. Of large systems the criteria are estimated if that is enough."""
    found = _search_estimates(system, criterion) if estimable(system) else None
    if found is None:
        of = Scores(system)
        penalty = choose(of, criterion)
        found = of.solution(penalty.alpha), penalty
    return found


def _search_estimates(system: System, criterion: Criterion) -> tuple[Array, Penalty] | None:
    """Choose alpha by estimates; None where so many factors are needed that they are no cheaper.

    A factor tells of the penalties near its own. The first is made where parts of the system have
    their best penalty, others where the criteria were least and no factor was near.
    """
    of = Estimates(system, begin(system, criterion))
    while True:
        penalty = of.located(criterion)
        doubted = of.doubted(penalty, criterion)
        if doubted is None:
            return of.solution(penalty.alpha), penalty
        if of.factors > MOST_FACTORS or not of.learn_more(doubted):
            return None


def _penalised(system: System, alpha: float) -> Array:
    """Return (A + alpha I)^{-1} B, by Cholesky where A + alpha I is safely positive definite."""
    A, B = system.A, system.B
    # The trace bounds the norm of a positive semi-definite matrix.
    if alpha > system.floor(np.trace(A)):
        factor = factorise(A, alpha, inside=not system.facts.dual)
        if factor is not None:
            return factor.solve(B)
    s, Q = symmetric_eigen(A, lower=True, check_finite=False)
    kept = s > system.floor(s[-1])
    s, Q = s[kept], Q[:, kept]
    return np.asarray(Q @ ((Q.T @ B) / (s + alpha)[:, None]))
