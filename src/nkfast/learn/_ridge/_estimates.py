"""Criteria of large systems, estimated from Cholesky factors at one penalty or a few."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.linalg import hadamard

from nkfast._arrays.validation import Array
from nkfast._linalg.factor import Factor, factorise
from nkfast._linalg.lanczos import conjugate_gradients, quadratures
from nkfast._linalg.moments import Counts
from nkfast._linalg.symmetric import symmetric_product

from ._penalty import Criterion, Penalty, choose, minus_evidence, path
from ._scores import Scores
from ._system import Facts, System

_EPS = float(np.finfo(float).eps)

_LEAST = 2000  # order of a system; of smaller ones the exact criteria are as cheap
_COLUMNS = 64  # rows of the system for each column that is solved for
MOST_FACTORS = 4  # or traces; a tridiagonal form takes as long

_PROBES = 8
_MOST_PROBES = 64
_STEPS = 12
_NEAR = float(np.log(4))  # as far the logarithm of a penalty may be, for errors of some percent
_SAME = 0.1  # difference of distances to two factors that is none
_CLOSE = 0.7  # and as far for the trace to tell more than all random vectors
_STEADY = 0.02  # standard deviation of the logarithm of the penalty chosen
_SURE = 3.0  # standard deviations of a difference of scores
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


def part_of(system: System, share: int) -> System:
    """Return the system of one in `share` columns or, in a dual problem, rows, taken at random."""
    m, facts = len(system.A), system.facts
    kept = np.sort(np.random.default_rng(0).permutation(m)[: m // share])
    A, B = system.A[np.ix_(kept, kept)], system.B[kept]
    if not facts.dual:
        scale = m / len(kept)
        return System(A=scale * A, B=np.sqrt(scale) * B, facts=facts)
    weight = None if facts.weight is None else facts.weight[kept]
    facts = replace(facts, weight=weight, counts=Counts.of(len(kept), weight))
    if facts.centred:
        root = _direction_of_mean(facts, len(kept))
        means = A @ root
        A -= np.outer(root, means) + np.outer(means - (means @ root) * root, root)
        B -= np.outer(root, root @ B)
    return System(A=A, B=B, facts=replace(facts, squares=np.einsum("ij,ij->j", B, B)))


def _direction_of_mean(facts: Facts, n: int) -> Array:
    """Return the unit vector for which the matrix of a centred dual system is zero, (n,)."""
    root = np.ones(n) if facts.weight is None else np.sqrt(facts.weight)
    return np.asarray(root / np.linalg.norm(root))


def begin(system: System, criterion: Criterion) -> float:
    """Return about the best penalty, from those of ever larger parts, each twice the last one."""
    share = 2
    while len(system.A) // share >= _LEAST:
        share *= 2
    before, alpha = (
        choose(Scores(part_of(system, parts)), criterion).alpha for parts in (2 * share, share)
    )
    while True:
        start = alpha
        if not system.facts.dual:  # features that are missing are noise
            start *= float(np.exp(np.clip(np.log(alpha / before), -_NEAR, _NEAR)))
        share //= 2
        if share == 1:
            return start
        part = Estimates(part_of(system, share), start)
        before, alpha = alpha, part.located(criterion).alpha


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
        probes = np.random.default_rng(0).choice([-1.0, 1.0], (m, _MOST_PROBES))
        top = quadratures(lambda V: symmetric_product(system.A, V), probes[:, :2], _STEPS)[0].max()
        self.alphas = path(float(top), float(np.trace(system.A)), facts)
        self._size = m
        if facts.dual and facts.centred:  # one eigenvalue is known to be zero
            root = _direction_of_mean(facts, m)
            probes -= np.outer(root, root @ probes)
            self._size = m - 1
        self._probes = probes
        self._looks: list[_Look] = []
        self._factor: Factor | None = None  # of the last look
        self.factors = 0
        self.look(float(np.clip(start, self.alphas[0], self.alphas[-1])))

    def look(self, alpha: float) -> None:
        """Make a factor at this penalty."""
        self.factors += 1
        self._factor = None  # before there are two
        self._factor = factor = self._factorised(alpha)
        self._looks = [x for x in self._looks if x.settled or x.distance(alpha) > _NEAR]
        some = self._probes[:, :_PROBES]
        self._looks.append(_Look(factor, alpha, self._system.B, some, self._size))

    def located(self, criterion: Criterion) -> Penalty:
        """Return the choice, for which factors are made near all that decides it."""
        while True:
            penalty = choose(self, criterion)
            places = penalty.decided_at
            if self._is_open(penalty):
                places = places[:1]
            unknown = [alpha for alpha in places if not self._knows(alpha)]
            if not unknown or self.factors > MOST_FACTORS:
                return penalty
            self.look(unknown[0])

    def _knows(self, alpha: float) -> bool:
        """Return whether a factor was made near this penalty, and but one of those is as near."""
        first, *more = sorted(look.distance(alpha) for look in self._looks)
        return first <= _NEAR and not (more and more[0] - first < _SAME)

    def doubted(self, penalty: Penalty, criterion: Criterion) -> float | None:
        """Return where more must be known, lest the choice be off by more than some percent.

        Choices with halves of the random vectors differ from it as it may differ from the right
        one. None: it is as it is.
        """
        halves = []
        for half in _HALVES:
            self._use(half)
            halves.append(choose(self, criterion))
        self._use(_ALL)
        if all(self._is_open(found) for found in (penalty, *halves)):
            return None
        places = [found.decided_at[0] if self._is_open(found) else found.alpha for found in halves]
        changes = np.log(np.array(places) / penalty.alpha)
        # Where the slope of the likelihood is not zero, it does not go with the likelihood.
        sloping = penalty.chosen_by == "evidence" and penalty.alpha in self.alphas[1:-1]
        rivals = self._rivals(penalty, halves) if penalty.chosen_by == "gcv" else np.empty(0)
        if np.sqrt(np.mean(changes**2)) <= _STEADY and not sloping and len(rivals) == 0:
            return None
        among = [penalty.alpha, *(places if criterion == "gcv" else []), *rivals]
        return float(np.sqrt(min(among) * max(among)))

    def _rivals(self, penalty: Penalty, halves: list[Penalty]) -> Array:
        """Return the penalties whose scores are not surely above that of the one chosen."""
        logs = np.log([np.asarray(found.scores, np.float64) for found in (penalty, *halves)])
        gaps = logs - logs[:, self.alphas == penalty.alpha]
        spread = np.sqrt(np.mean((gaps[1:] - gaps[0]) ** 2, axis=0))
        near = gaps[0] < _SURE * spread
        return np.asarray(self.alphas[near & (self.alphas != penalty.alpha)])

    def learn_more(self, alpha: float) -> bool:
        """Compute a trace near this penalty or, if it is known, with more random vectors.

        False: that was done.
        """
        look = self._looks[-1]
        if look.distance(alpha) > _CLOSE:
            self.look(alpha)
            look = self._looks[-1]
        factor = self._factor
        assert factor is not None
        if not look.settled:
            look.settle(factor)
        elif not look.extended:
            look.extend(factor, self._probes[:, _PROBES:])
        else:
            return False
        self.factors += 1
        return True

    def _is_open(self, penalty: Penalty) -> bool:
        """Return whether leave-one-out will decide, as the rows of a dual problem are there."""
        return self.facts.dual and penalty.judge is not None

    def solution(self, alpha: float) -> Array:
        """Return (A + alpha I)^{-1} B."""
        B, look = self._system.B, self._looks[-1]
        factor = self._factor
        if factor is None or look.distance(alpha) > _NEAR:
            self._factor = factor = None
            return self._factorised(alpha).solve(B)
        shift = alpha - look.alpha
        X = factor.solve(B)
        root = np.exp(look.distance(alpha) / 2)  # of the condition
        rate = (root - 1) / (root + 1)
        if rate > 0:
            steps = int(np.ceil(np.log(_EPS) / np.log(rate)))
            X = conjugate_gradients(lambda V: V + shift * factor.solve(V), X, steps)
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

    def _factorised(self, alpha: float) -> Factor:
        factor = factorise(self._system.A, alpha, inside=not self.facts.dual)
        if factor is None:
            raise np.linalg.LinAlgError("ridge: the Gram matrix is not positive semi-definite")
        return factor


class _Look:
    """What one factor tells. Nodes are alpha / (s + alpha), s the eigenvalues.

    Attributes
    ----------
    settled : bool
        Whether the trace of the inverse is known.
    extended : bool
        Whether all random vectors are in use.
    """

    def __init__(self, factor: Factor, alpha: float, B: Array, probes: Array, size: int) -> None:
        self.alpha = alpha
        self.settled = self.extended = False
        self._without = factor.order - size  # eigenvalues, which are zero
        self._determinant = 2 * np.log(factor.diagonal).sum() - self._without * np.log(alpha)
        nodes, weights = quadratures(
            lambda V: alpha * factor.solve(V), np.hstack([B, probes]), _STEPS
        )
        nodes, k = np.clip(nodes, 0, 1), B.shape[1]
        self._nodes, self._weights = nodes[:k], weights[:k]
        self._probed = nodes[k:], weights[k:]
        self._sums = [float(size)]  # of the powers of alpha / (s + alpha)
        self.use(_ALL)

    def settle(self, factor: Factor) -> None:
        """Learn the trace of the inverse."""
        self._sums.append(self.alpha * factor.inverse_trace() - self._without)
        self.settled = True
        self.use(_ALL)

    def extend(self, factor: Factor, probes: Array) -> None:
        """Learn what more random vectors tell."""
        found = quadratures(lambda V: self.alpha * factor.solve(V), probes, _STEPS)
        nodes, weights = (np.vstack(both) for both in zip(self._probed, found, strict=True))
        self._probed = np.clip(nodes, 0, 1), weights
        self.extended = True
        self.use(_ALL)

    def use(self, kept: Array) -> None:
        """Use these random vectors of eight each, made to agree with the sums that are known."""
        kept = np.resize(kept, len(self._probed[0]))
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
