"""The penalty, and its choice by generalised cross-validation or the marginal likelihood."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypeAlias, get_args

import numpy as np
from scipy.optimize import brentq

from nkfast._arrays.validation import Array

from ._system import Facts

Criterion: TypeAlias = Literal["gcv", "loo", "evidence"]
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

    @property
    def chosen_by(self) -> Criterion | None:
        """What decided in the end."""
        return self.judge or self.criterion

    @property
    def decided_at(self) -> list[float]:
        """The penalties at which the criteria are least: their choices, the last one in use."""
        if self.alphas is None or self.scores is None or self.judge is None:
            return [self.alpha]
        return [float(self.alphas[most_cautious(self.scores)]), self.alpha]

    def scores_of(self, criterion: Criterion) -> Array | None:
        """Return the scores of this criterion, if they are known."""
        return {self.criterion: self.scores, self.judge: self.judged}.get(criterion)

    def overruled(self, other: Penalty) -> Penalty:
        """Return the choice of another criterion among the same penalties."""
        return replace(self, alpha=other.alpha, judge=other.criterion, judged=other.scores)


class Scorer(Protocol):
    """The criteria of a system for one penalty after the other."""

    @property
    def facts(self) -> Facts:
        """Of the system."""

    @property
    def alphas(self) -> Array:
        """The penalties to try."""

    def gcv(self, alpha: float) -> tuple[float, float]:
        """Return the score of generalised cross-validation, and n - degrees of freedom."""

    def evidence(self, alpha: float) -> tuple[float, float]:
        """Return minus the log marginal likelihood, up to a constant, and its slope."""


def choose(of: Scorer, criterion: Criterion) -> Penalty:
    """Choose alpha by generalised cross-validation or the marginal likelihood.

    Where the least score of the former leaves so few degrees of freedom that few rows may have
    made it, the latter decides, which no few rows sway. Who has the rows asks leave-one-out.
    """
    if criterion == "evidence":
        return _most_probable(of)
    alphas = of.alphas
    scores, left = np.array([of.gcv(a) for a in alphas]).T
    best = most_cautious(scores)
    penalty = Penalty(float(alphas[best]), alphas, scores, "gcv")
    if left[best] < _CREDIBLE * of.facts.counts.observations:
        penalty = penalty.overruled(_most_probable(of))
    return penalty


def _most_probable(of: Scorer) -> Penalty:
    alphas = of.alphas
    scores = np.array([of.evidence(a)[0] for a in alphas])
    return Penalty(_refined(of.evidence, alphas, most_cautious(scores)), alphas, scores, "evidence")


def minus_evidence(
    q: Array,
    weights: Array,
    squares: Array,
    log_determinant: float,
    degrees: float,
    alpha: float,
    free: float,
) -> tuple[float, float]:
    """Return minus the log marginal likelihood, up to a constant, and its slope in log(alpha).

    At the best noise variances. `q` (k,) are the minima of ||y - Z w||^2 + alpha ||w||^2, `weights`
    (k,) the ||w||^2 there, which is the derivative of q, and `squares` (k,) the ||y||^2.
    `log_determinant` is that of I + A / alpha, `degrees` of freedom are its slope. Targets that are
    zero say nothing.
    """
    told = squares > 0
    q = np.maximum(q[told], _EPS * squares[told])
    value = 0.5 * float(free * np.log(q).sum() + len(q) * log_determinant)
    slope = free * np.sum(alpha * weights[told] / q) - len(q) * degrees
    return value, 0.5 * float(slope)


def most_cautious(scores: Array) -> int:
    """Return where the least score is; of equals the last, the strongest penalty."""
    least = scores.min()
    return int(np.flatnonzero(scores <= least + 1e-12 * abs(least))[-1])


def _refined(evidence: Callable[[float], tuple[float, float]], alphas: Array, best: int) -> float:
    """Return where the slope vanishes between the neighbours of the best of the alphas."""
    ends = alphas[[max(best - 1, 0), min(best + 1, len(alphas) - 1)]]
    if evidence(ends[0])[1] >= 0 or evidence(ends[1])[1] <= 0:  # best at an end of the path
        return float(alphas[best])
    # SciPy keeps what it is given in a circle of references, and with that a large matrix.
    held = [evidence]
    found = brentq(lambda x: held[0](np.exp(x))[1], *np.log(ends), xtol=1e-13)
    held.clear()
    return float(np.exp(found))


def path(top: float, total: float, facts: Facts) -> Array:
    """Return the penalties to try; `top` is the largest eigenvalue, `total` the sum of all > 0."""
    if total == 0:  # nothing can be learnt, and every penalty predicts the mean
        return np.asarray(max(1.0, facts.noise) * np.geomspace(LOWEST, HIGHEST, GCV_STEPS))
    prior = total / max(facts.free, 1)
    least = max(LOWEST * top, LEAST_NOISE * prior, facts.noise)
    return np.geomspace(least, HIGHEST * top, GCV_STEPS)
