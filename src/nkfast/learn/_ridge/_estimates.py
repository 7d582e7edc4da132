"""Criteria of large systems, estimated from Cholesky factors at one penalty or a few."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.linalg import hadamard

from nkfast._arrays.validation import Array
from nkfast._linalg.lanczos import conjugate_gradients, quadratures
from nkfast._linalg.moments import Counts
from nkfast._linalg.symmetric import (
    cholesky_solve,
    inverse_trace,
    shifted_cholesky,
    symmetric_product,
)

from ._penalty import Criterion, Penalty, choose, minus_evidence, path
from ._system import System

_EPS = float(np.finfo(float).eps)

_LEAST = 2000  # order of a system; of smaller ones the exact criteria are as cheap
_COLUMNS = 64  # rows of the system for each column that is solved for
_PROBES = 8
_STEPS = 12
_PART = 4  # times smaller is the system that tells where to begin
_NEAR = float(np.log(4))  # as far the logarithm of a penalty may be, for errors of some percent
_SAME = 0.1  # and as far, so that nothing is left to estimate
_STEADY = 0.02  # standard deviation of the logarithm of the penalty chosen
_ALL = np.full(_PROBES, True)
_HALVES = np.vstack([hadamard(_PROBES)[1:] > 0, hadamard(_PROBES)[1:] < 0])  # balanced


def estimable(system: System) -> bool:
    """Return whether estimates are cheaper than the exact criteria, and as good.

    Where fewer rows than features made the sums, the number of eigenvalues that are zero, which is
    not estimated, is most of the degrees of freedom.
    """
    m, k = system.B.shape
    facts = system.facts
    determined = facts.dual or facts.free >= m
    trace = float(np.trace(system.A))
    some = trace > m * system.floor(trace)
    return bool(m >= _LEAST and _COLUMNS * (k + _PROBES) <= m and determined and some)


def part_of(system: System) -> System:
    """Return the system of some columns or, in a dual problem, of some rows, taken at random.

    Its best penalty is much like that of all.
    """
    m, facts = len(system.A), system.facts
    kept = np.sort(np.random.default_rng(0).permutation(m)[: m // _PART])
    A, B = system.A[np.ix_(kept, kept)], system.B[kept]
    if not facts.dual:
        share = m / len(kept)
        return System(A=share * A, B=np.sqrt(share) * B, facts=facts)
    weight = None if facts.weight is None else facts.weight[kept]
    counts = Counts.of(len(kept), weight)
    squares = np.einsum("ij,ij->j", B, B)
    return System(A=A, B=B, facts=replace(facts, squares=squares, counts=counts))


class Estimates:
    """The criteria for one penalty after the other, as in `Scores`, near those of some factors.

    A factor of A + alpha I gives its determinant. What changes from there to another penalty
    follows from quadratures of y and, for traces, of random vectors with (A + alpha I)^{-1}, a few
    steps of Lanczos' method (Ubaru, Chen & Saad 2017). The random vectors are always the same.
    Where they are too few, the trace of the inverse, as dear as another factor, corrects them.

    Attributes
    ----------
    alphas : ndarray
        The penalties to try.
    factors : int
        How many were made, or what takes as long.
    """

    def __init__(self, system: System, start: float) -> None:
        self.facts = facts = system.facts
        self._system = system
        m = len(system.A)
        probes = np.random.default_rng(0).choice([-1.0, 1.0], (m, _PROBES))
        top = quadratures(lambda V: symmetric_product(system.A, V), probes[:, :2], _STEPS)[0].max()
        self.alphas = path(float(top), float(np.trace(system.A)), facts)
        self._size = m
        if facts.dual and facts.centred:  # one eigenvalue is known to be zero: rows sum to zero
            root = np.ones(m) if facts.weight is None else np.sqrt(facts.weight)
            root /= np.linalg.norm(root)
            probes -= np.outer(root, root @ probes)
            self._size = m - 1
        self._probes = probes
        self._looks: list[_Look] = []
        self.factors = 0
        self.look(float(np.clip(start, self.alphas[0], self.alphas[-1])))

    def look(self, alpha: float) -> None:
        """Make a factor at this penalty."""
        self.factors += 1
        self._factor = np.empty(0)  # before there are two
        self._factor = factor = self._factorised(alpha)
        self._looks = [x for x in self._looks if x.settled or x.distance(alpha) > _NEAR]
        self._looks.append(_Look(factor, alpha, self._system.B, self._probes, self._size))

    def knows(self, alpha: float) -> bool:
        """Return whether a factor was made near this penalty, and but one of those is as near."""
        first, *more = sorted(look.distance(alpha) for look in self._looks)
        return first <= _NEAR and not (more and more[0] - first < _SAME)

    def settles(self, penalty: Penalty, criterion: Criterion) -> bool:
        """Return whether the choice does not depend on the random vectors, but for some percent.

        Choices with halves of these differ from it as it may differ from the right one. If they do,
        a trace is computed: of the factor that is there, else at what was chosen.
        """
        choices = []
        for half in _HALVES:
            self._use(half)
            choices.append(choose(self, criterion).alpha)
        self._use(_ALL)
        changes = np.log(np.array(choices) / penalty.alpha)
        # Where the slope of the likelihood is not zero, it does not go with the likelihood.
        sloping = penalty.chosen_by == "evidence" and penalty.alpha in self.alphas[1:-1]
        if np.sqrt(np.mean(changes**2)) <= _STEADY and not sloping:
            return True
        near = self._nearest(penalty.alpha)
        if near is self._looks[-1] and not near.settled:
            self._settle()
            return False
        contested = [penalty.alpha]
        if penalty.chosen_by == "gcv":  # among few
            contested += choices
        for alpha in contested:
            look = self._nearest(alpha)
            if not look.settled or look.distance(alpha) > _SAME:
                if look.distance(alpha) <= _SAME:
                    self._looks.remove(look)
                self.look(alpha)
                self._settle()
                return False
        return True

    def _settle(self) -> None:
        self._looks[-1].settle(self._factor)
        self.factors += 1

    def solution(self, alpha: float) -> Array:
        """Return (A + alpha I)^{-1} B."""
        B, look = self._system.B, self._looks[-1]
        if look.distance(alpha) > _NEAR:
            self._factor = np.empty(0)
            return cholesky_solve(self._factorised(alpha), B)
        factor, shift = self._factor, alpha - look.alpha
        X = cholesky_solve(factor, B)
        root = np.exp(look.distance(alpha) / 2)  # of the condition
        rate = (root - 1) / (root + 1)
        if rate > 0:
            steps = int(np.ceil(np.log(_EPS) / np.log(rate)))
            X = conjugate_gradients(lambda V: V + shift * cholesky_solve(factor, V), X, steps)
        return X

    def gcv(self, alpha: float) -> tuple[float, float]:
        """Return the score of generalised cross-validation, and n - degrees of freedom."""
        facts, look = self.facts, self._nearest(alpha)
        explained, norms = look.forms(alpha)
        if facts.dual:
            residual = float(alpha**2 * norms.sum())
        else:
            squares = float(facts.squares.sum())
            residual = max(squares - float((explained + alpha * norms).sum()), _EPS * squares)
        left = facts.free - self._size + look.trace(alpha)
        return facts.counts.observations * residual / left**2 if left > 0 else np.inf, left

    def evidence(self, alpha: float) -> tuple[float, float]:
        """Return minus the log marginal likelihood, up to a constant, and its slope."""
        facts, look = self.facts, self._nearest(alpha)
        explained, norms = look.forms(alpha)
        if facts.dual:
            q, weights = alpha * explained, explained - alpha * norms
        else:
            q, weights = facts.squares - explained, norms
        determinant = look.log_determinant(alpha) - self._size * np.log(alpha)
        degrees = self._size - look.trace(alpha)
        return minus_evidence(q, weights, facts.squares, determinant, degrees, alpha, facts.free)

    def _use(self, kept: Array) -> None:
        for look in self._looks:
            look.use(kept)

    def _nearest(self, alpha: float) -> _Look:
        return min(self._looks, key=lambda look: look.distance(alpha))

    def _factorised(self, alpha: float) -> Array:
        factor, failed = shifted_cholesky(self._system.A, alpha)
        if failed:
            raise np.linalg.LinAlgError("ridge: the Gram matrix is not positive semi-definite")
        return factor


class _Look:
    """What one factor tells. Nodes are alpha / (s + alpha), s the eigenvalues.

    Attributes
    ----------
    settled : bool
        Whether the trace of the inverse is known.
    """

    def __init__(self, factor: Array, alpha: float, B: Array, probes: Array, size: int) -> None:
        self.alpha = alpha
        self.settled = False
        self._without = len(factor) - size  # eigenvalues, which are zero
        self._determinant = 2 * np.log(np.diagonal(factor)).sum() - self._without * np.log(alpha)
        nodes, weights = quadratures(
            lambda V: alpha * cholesky_solve(factor, V), np.hstack([B, probes]), _STEPS
        )
        nodes, k = np.clip(nodes, 0, 1), B.shape[1]
        self._nodes, self._weights = nodes[:k], weights[:k]
        self._probed = nodes[k:], weights[k:]
        self._sums = [float(size)]  # of the powers of alpha / (s + alpha)
        self.use(_ALL)

    def settle(self, factor: Array) -> None:
        """Learn the trace of the inverse."""
        self._sums.append(self.alpha * inverse_trace(factor) - self._without)
        self.settled = True
        self.use(_ALL)

    def use(self, kept: Array) -> None:
        """Use these random vectors, made to agree with the sums that are known."""
        own, share = (values[kept] for values in self._probed)
        self._own, share = own.ravel(), share.ravel() / len(own)
        powers = self._own ** np.arange(len(self._sums))[:, None]
        lacking = np.array(self._sums) - powers @ share
        mend = np.linalg.lstsq(powers * share @ powers.T, lacking, rcond=None)[0]
        self._share = share * (1 + mend @ powers)

    def distance(self, alpha: float) -> float:
        """Return |log(alpha / its own)|."""
        return float(abs(np.log(alpha / self.alpha)))

    def forms(self, alpha: float) -> tuple[Array, Array]:
        """Return b^T (A + alpha I)^{-1} b and that of the square, for each column b, (k,)."""
        inverses = self._shrunk(self._nodes, alpha) / alpha
        return np.sum(self._weights * inverses, axis=1), np.sum(self._weights * inverses**2, axis=1)

    def trace(self, alpha: float) -> float:
        """Return the trace of alpha (A + alpha I)^{-1}."""
        return float(self._share @ self._shrunk(self._own, alpha))

    def log_determinant(self, alpha: float) -> float:
        """Return that of A + alpha I."""
        changes = np.log1p((alpha / self.alpha - 1) * self._own)
        return float(self._determinant + self._share @ changes)

    def _shrunk(self, nodes: Array, alpha: float) -> Array:
        ratio = alpha / self.alpha
        return ratio * nodes / (1 + (ratio - 1) * nodes)
