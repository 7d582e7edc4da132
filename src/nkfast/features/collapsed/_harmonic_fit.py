"""Which spherical harmonics become features, and with which factors on their degrees."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nkfast._arrays.validation import Doubles
from nkfast.expansion import Expansion, n_harmonics

from ._factors import FactorProblem, Pairs
from ._harmonics import MOST_HARMONIC_DEGREE, HarmonicMap, Harmonics, distinct, harmonic_basis

Ints = NDArray[np.int64]

WHOLE = 2  # degrees that are there for rows of any kind, and more as long as they take
_WHOLE_SHARE = 4  # of the features no more than one of so many
_BLOCK = 1 << 20  # features of some rows at a time
_ROUNDS = 3  # of choosing harmonics and fitting their factors


def whole_size(n_features: int) -> int:
    """Return the number of harmonics up to degree `WHOLE`."""
    return sum(n_harmonics(n_features, l) for l in range(WHOLE + 1))


def whole_degree(n_features: int, width: int) -> int:
    """Return up to which degree all harmonics are features, whatever the rows."""
    degree, size = WHOLE, whole_size(n_features)
    while degree < MOST_HARMONIC_DEGREE:
        size += n_harmonics(n_features, degree + 1)
        if size * _WHOLE_SHARE > width:
            break
        degree += 1
    return degree


class Candidates:
    """Harmonics that may become features: all pairs of a term and a harmonic of its degree."""

    def __init__(
        self,
        expansion: Expansion,
        axes: Doubles,
        shares: Doubles,
        norms: Doubles,
        width: int,
        limit: int,
    ) -> None:
        """Set up about `limit` candidates for `width` features.

        Parameters
        ----------
        expansion : Expansion
            In harmonics.
        axes, shares : ndarray of shape (d, d) and (d,)
            Directions of the rows, and the energies in them, ascending.
        norms : ndarray of shape (n,)
            Of some rows.
        """
        self.width = width
        q = int(expansion.degrees.max(initial=0))
        strengths = np.mean(expansion.weights(norms) ** 2, axis=0)
        strengths = np.bincount(expansion.degrees, strengths, q + 1).astype(np.float64)
        whole = min(whole_degree(len(shares), width), q)
        basis = harmonic_basis(shares, strengths, limit, whole)
        self.expansion = expansion = expansion.take(expansion.degrees <= basis.degree)
        columns = [np.flatnonzero(basis.degrees == l) for l in expansion.degrees]
        terms = [np.full(len(some), c) for c, some in enumerate(columns)]
        self.every = Harmonics(axes, basis, np.concatenate(terms), np.concatenate(columns))
        self._degrees = expansion.degrees[self.every.terms]
        shares_of_degree = strengths / np.maximum(np.bincount(self._degrees, minlength=q + 1), 1)
        self.expected = shares_of_degree[self._degrees]  # energies, before any rows are looked at
        self._whole = (self._degrees <= whole) & (expansion.ranks[self.every.terms] == 0)

    def energies(self, unit: Doubles, norms: Doubles, among: Ints | None = None) -> Doubles:
        """Return the mean square of each candidate; rows have norm 1 or 0 in `unit`.

        Of the others it is 0, if only those `among` some are asked for, by their numbers.
        """
        every, weights = self.every, np.square(self.expansion.weights(norms))
        among = np.arange(len(every.terms)) if among is None else among
        columns = distinct(every.columns[among])
        terms = every.basis.degrees[columns]
        features = HarmonicMap(replace(every, terms=terms, columns=columns))
        sums = np.zeros((len(self.expansion.degrees), len(columns)))
        ends = np.searchsorted(terms, np.arange(every.basis.degree + 2))
        step = max(_BLOCK // max(len(columns), 1), 1)
        buffer = np.empty((min(step, len(unit)), len(columns)))
        for i in range(0, len(unit), step):
            rows, heavy = unit[i : i + step], weights[i : i + step]
            squares = features(rows, np.ones((len(rows), 1)), buffer[: len(rows)])
            np.square(squares, out=squares)
            for l in distinct(self.expansion.degrees):
                ranks, part = self.expansion.degrees == l, slice(ends[l], ends[l + 1])
                sums[ranks, part] += heavy[:, ranks].T @ squares[:, part]
        found = np.zeros(len(every.terms))
        places = np.searchsorted(columns, every.columns[among])
        found[among] = sums[every.terms[among], places] / max(len(unit), 1)
        return found

    def best(self, energies: Doubles, times: int) -> Ints:
        """Return the numbers of so many times the candidates that become features, by energy."""
        order = np.lexsort((-energies, ~self._whole))[: times * self.width]
        return np.sort(order)

    def fit(
        self, energies: Doubles, pairs: Pairs, unit: Doubles, norms: Doubles, rounds: int = _ROUNDS
    ) -> tuple[float, Doubles, Harmonics]:
        """Return the expected error, the factors of the degrees, and the harmonics.

        Those with most energy are chosen, then factors are fitted, which change energies, and so
        on. What lies above the chosen degrees is missed near rho = 1, where the highest of them
        can make up for some of it.

        Parameters
        ----------
        energies : ndarray
            Of all candidates.
        pairs : Pairs
            Of the rows `unit` and `norms`.
        """
        q, degrees = self.every.basis.degree, self._degrees
        size = np.bincount(degrees, energies, q + 1).astype(np.float64)
        nothing = np.zeros((q + 1, q + 1))
        best: tuple[float, Doubles, Harmonics] | None = None
        factors = np.ones(q + 1)
        for _ in range(rounds):
            some = self._choose(energies * factors[degrees])
            problem = FactorProblem(pairs, self._parts(some, pairs, unit, norms))
            problem.pull(size)
            lost = np.bincount(self.expansion.degrees[some.terms], minlength=q + 1) == 0
            factors = problem.solve(nothing, lost)
            error = problem.error(factors, nothing)
            if best is None or error < best[0]:
                best = error, factors, some
        assert best is not None
        return best

    def _choose(self, energies: Doubles) -> Harmonics:
        """Return those with most energy; the low degrees whatever their energy."""
        order = np.lexsort((-energies, ~self._whole))[: self.width]
        order = np.sort(order[(energies[order] > 0) | self._whole[order]])
        terms, columns = self.every.terms[order], self.every.columns[order]
        return replace(self.every, terms=terms, columns=columns)

    def _parts(
        self, harmonics: Harmonics, pairs: Pairs, unit: Doubles, norms: Doubles
    ) -> tuple[Doubles, Doubles]:
        """Return what there is of each degree, on the diagonal and of the pairs."""
        i, j = pairs.rows
        q = harmonics.basis.degree
        near, far = np.zeros((q + 1, len(unit))), np.zeros((q + 1, len(i)))
        Z = HarmonicMap(harmonics)(unit, self.expansion.weights(norms))
        degrees = self.expansion.degrees[harmonics.terms]
        ends = np.searchsorted(degrees, np.arange(q + 2))
        for l in distinct(degrees):
            part = Z[:, ends[l] : ends[l + 1]]
            kernel = part @ part.T
            near[l], far[l] = np.diagonal(kernel), kernel[i, j]
        return near, far
