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
        return _largest(np.where(self._whole, np.inf, energies), times * self.width)

    def features(self, among: Ints, unit: Doubles, norms: Doubles) -> Doubles:
        """Return some candidates, by their numbers, of rows of these norms."""
        return HarmonicMap(self._some(among))(unit, self.expansion.weights(norms))

    def _some(self, numbers: Ints) -> Harmonics:
        terms, columns = self.every.terms[numbers], self.every.columns[numbers]
        return replace(self.every, terms=terms, columns=columns)

    def fit(
        self, energies: Doubles, pairs: Pairs, among: Ints, Z: Doubles, rounds: int = _ROUNDS
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
        among : ndarray of shape (n,)
            The numbers of those that may be chosen, ascending.
        Z : ndarray of shape (s, n)
            Their `features` on the rows of the pairs.
        """
        q, degrees, energies = self.every.basis.degree, self._degrees[among], energies[among]
        size = np.bincount(degrees, energies, q + 1).astype(np.float64)
        nothing = np.zeros((q + 1, q + 1))
        best: tuple[float, Doubles, NDArray[np.bool_]] | None = None
        factors, chosen = np.ones(q + 1), np.zeros(len(among), bool)
        parts = np.zeros((q + 1, len(Z))), np.zeros((q + 1, len(pairs.rho)))
        for _ in range(rounds):
            some = self._choose(among, energies * factors[degrees])
            _add_parts(parts, degrees, pairs, Z, some & ~chosen, chosen & ~some)
            chosen = some
            problem = FactorProblem(pairs, parts)
            problem.pull(size)
            factors = problem.solve(nothing, np.bincount(degrees[some], minlength=q + 1) == 0)
            error = problem.error(factors, nothing)
            if best is None or error < best[0]:
                best = error, factors, some
        assert best is not None
        return best[0], best[1], self._some(among[best[2]])

    def _choose(self, among: Ints, energies: Doubles) -> NDArray[np.bool_]:
        """Return which have most energy; the low degrees are there whatever their energy."""
        whole = self._whole[among]
        order = _largest(np.where(whole, np.inf, energies), self.width)
        found = np.zeros(len(among), bool)
        found[order] = (energies[order] > 0) | whole[order]
        return found


def _largest(values: Doubles, n: int) -> Ints:
    """Return where the n largest values are, ascending; of equal ones the first."""
    if n >= len(values):
        return np.arange(len(values))
    least = np.partition(values, len(values) - n)[len(values) - n]
    found = values > least
    found[np.flatnonzero(values == least)[: n - int(np.sum(found))]] = True
    return np.flatnonzero(found)


def _add_parts(
    parts: tuple[Doubles, Doubles],
    degrees: Ints,
    pairs: Pairs,
    Z: Doubles,
    more: NDArray[np.bool_],
    less: NDArray[np.bool_],
) -> None:
    """Add what there is of each degree, on the diagonal and of the pairs, in more or fewer."""
    i, j = pairs.rows
    for sign, some in ((1.0, more), (-1.0, less)):
        for l in distinct(degrees[some]):
            part = Z[:, some & (degrees == l)]
            kernel = part @ part.T
            parts[0][l] += sign * np.diagonal(kernel)
            parts[1][l] += sign * kernel[i, j]
