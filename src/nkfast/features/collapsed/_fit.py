"""What the fit of a feature map looks at: the expansion, and the exact kernel of some rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from nkfast._arrays.mapped import take
from nkfast._arrays.rows import inner_products, inverse, row_norms, scale_rows
from nkfast._arrays.validation import Array, Rows
from nkfast._config import get_num_threads
from nkfast.expansion import Expansion, expand, long_series
from nkfast.kernels import Kernel, diagonal_of_norms
from nkfast.networks import Sequential

from ._allocation import Allocation
from ._columns import Columns
from ._factors import FactorProblem, Pairs, choose_pairs, fit_factors
from ._harmonic_fit import WHOLE, Candidates, whole_size
from ._harmonics import MOST_HARMONIC_DEGREE, Harmonics
from ._split import Directions, Split

_ROWS = 500  # on whose exact kernel the factors are fitted
_WIDE = 8  # columns are told apart if there are more than that share of the features
_COLUMN_ROWS = 20000  # on which the columns' energies are measured
_SPLIT_ROWS = 8000  # in whose directions, and on which, powers are split
_MOST_DIMENSIONS = 256  # that are turned: d^2 operations for each row
_ROWS_A_DIMENSION = 4  # rows at least
_FAR = 1.25  # times the error of the best beginning, or to be beaten, at which splits are given up
_GAINS = (0.05, 0.15)  # of fits that are general, and of those closer to the rows they have seen
_CANDIDATES = 24000  # harmonics at least, or eight times the features
# Looks, in many and in few dimensions, that tell which are worth a closer one: rows at least, and
# rows that make features of so many entries; so many times those that become features are kept.
_LOOKS = ((50, 0), (150, 3_000_000)), ((300, 0), (300, 10_000_000))
_KEPT = (8, 2), (8, 2)
_ENTRIES = 5_000_000, 30_000_000  # of the last look
_MOST_ENERGY_ROWS = 4000
_HARMONIC_ROWS = 250, 500  # on whose pairs harmonics are fitted
_HOPELESS = 1.5  # times the error to be beaten, at which more candidates do not help
_FEW_DIMENSIONS = 16  # up to which harmonics that are better than powers are so than split ones
_SIZES = 1e-140, 1e140  # of kernels whose squares are no trouble
_GAIN = 0.1  # share of the expected error that twice the degree must save


@dataclass
class Fit:
    """Factors of the degrees up to some degree, the plan with them, and the expected error.

    `gain` is the share by which that error must be smaller than other ones to be preferred: on
    rows that are not fitted to it may be larger.
    """

    expansion: Expansion  # without the factors
    factors: Array
    plan: Allocation
    error: float
    split: Split | None = None
    harmonics: Harmonics | None = None
    gain: float = 0.0


class Sample:
    """Rows for a fit: the norms of all, and the expansion fitted on some, once it is asked for."""

    def __init__(
        self,
        net: Sequential,
        X: Rows,
        kernel: Kernel,
        degree: int,
        rng: np.random.RandomState,
        width: int = 0,
    ) -> None:
        """Take rows and the highest degree of powers; `width` features, if known, are the most."""
        self._width = width
        self.net = net
        self.X = X
        self.kernel: Kernel = kernel
        self.degree = degree
        norms = row_norms(X, get_num_threads())
        # What is fitted does not depend on the unit of rows of homogeneous networks.
        self._unit_exponent = 0
        if net._homogeneity() is not None:
            self._unit_exponent = int(np.frexp(norms.max(initial=0.0) / X.shape[1] ** 0.5)[1])
        self.norms = np.ldexp(norms, -self._unit_exponent)
        _refuse_extremes(net, kernel, self.norms, X.shape[1])
        order = rng.permutation(X.shape[0])
        self._rows = np.sort(order[:_ROWS])
        self._column_rows = np.sort(order[:_COLUMN_ROWS])
        self._split_rows = order[::-1][:_SPLIT_ROWS]
        held = order[: min(_ROWS, len(order) // 2)]
        self._energy_rows = order[::-1][: min(len(order) - len(held), _MOST_ENERGY_ROWS)]
        self._held = np.isin(self._rows, held)

    def rows(self, some: NDArray[np.int64]) -> Rows:
        """Return some rows in float64 and in the unit of `norms`."""
        rows = take(self.X, some).astype(np.float64)
        if sp.issparse(rows):
            rows.data = np.ldexp(rows.data, -self._unit_exponent)
            return rows
        return np.ldexp(rows, -self._unit_exponent)

    @cached_property
    def expansion(self) -> Expansion:
        """That of the network for rows of these norms, up to the sample's degree."""
        shape = (self.net, self.norms, self.X.shape[1], self.degree, self.kernel)
        return expand(*shape, long=self._long)

    @cached_property
    def _long(self) -> Array | None:
        """The network's long series, if harmonics, which are summed from it, may be tried."""
        d = self.X.shape[1]
        if not self._turns or whole_size(d) > self._width:
            return None
        return long_series(self.net, self.norms, d, self.kernel)

    @property
    def _turns(self) -> bool:
        """Whether there are enough rows, in few dimensions, to look at their directions."""
        n, d = self.X.shape
        return bool(2 <= d <= _MOST_DIMENSIONS and n >= _ROWS_A_DIMENSION * d)

    @cached_property
    def _weights(self) -> Array:
        return self.expansion.weights(self.norms[self._rows])

    @cached_property
    def columns(self) -> Columns:
        """The energies of the input's columns in the leading term of degree 1."""
        some = self._column_rows
        norms, linear = self.norms[some], np.flatnonzero(self.expansion.degrees == 1)[:1]
        counts = self.expansion.weights(norms)[:, linear].sum(axis=1) ** 2
        return Columns(self.rows(some), norms, counts)

    def hashes_columns(self, width: int) -> bool:
        """Return whether not all columns may be worth a feature, and degree 1 is there at all."""
        many = self.X.shape[1] > width // _WIDE
        return many and bool(np.any(self.expansion.degrees == 1))

    def _unit_rows(self, some: NDArray[np.int64]) -> tuple[Array, Array]:
        """Return some rows, made to norm 1 (or 0), and their norms."""
        rows, norms = self.rows(some), self.norms[some]
        rows = rows.toarray() if sp.issparse(rows) else rows
        return rows * inverse(norms)[:, None], norms

    @cached_property
    def _unit(self) -> Array:
        return self._unit_rows(self._rows)[0]

    @cached_property
    def _exact(self) -> tuple[Array, Array]:
        """Cosines and exact kernel of the rows on which the factors are fitted."""
        sample, a = self.rows(self._rows), self.norms[self._rows]
        unit = scale_rows(sample, inverse(a))
        exact = np.asarray(self.net.kernel(sample, get=self.kernel), np.float64)
        return inner_products(unit, unit), exact

    def _pairs_of(self, some: NDArray[np.int64]) -> Pairs:
        """Return pairs among some of those rows."""
        rho, exact = (part[np.ix_(some, some)] for part in self._exact)
        i, j, counts = choose_pairs(rho, exact)
        of_degree = np.arange(self.degree + 1)[:, None] == self.expansion.degrees
        u = self._weights[some]
        near, far = (of_degree.astype(np.float64) @ part.T for part in (u**2, u[i] * u[j]))
        diagonal = np.diagonal(exact)
        rest = (self.X.shape[0], (i, j), counts)
        return Pairs(far, rho[i, j], exact[i, j], near, diagonal, *rest)

    @cached_property
    def _pairs(self) -> Pairs:
        return self._pairs_of(np.arange(len(self._rows)))

    def fit(self, degree: int, width: int) -> Fit:
        """Return the fit of degrees up to that, for so many features."""
        degrees, ranks = self.expansion.degrees, self.expansion.ranks
        kept = degrees <= degree
        energies = np.mean(self._weights[:, kept] ** 2, axis=0)
        shape = (degrees[kept], ranks[kept], energies, self.X.shape[1], width)
        tails = self.columns.tails if self.hashes_columns(width) else None
        return Fit(self.expansion, *fit_factors(self._pairs, *shape, tails))

    @cached_property
    def _directions(self) -> Directions | None:
        """The leading directions of the rows, if there are enough of them in few dimensions."""
        if not self._turns:
            return None
        unit, norms = self._unit_rows(self._split_rows)
        weights, degrees = self.expansion.weights(norms), self.expansion.degrees
        return Directions(unit, weights, degrees, self.X.shape[0])

    @cached_property
    def _products(self) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        """Of the rows, then of the pairs: sums of products along leading axes, and of weights."""
        assert self._directions is not None
        turned, u = self._unit @ self._directions.axes.T, self._weights
        i, j = self._pairs.rows
        near, far = np.cumsum(turned**2, axis=1), np.cumsum(turned[i] * turned[j], axis=1)
        return (near, u**2), (far, u[i] * u[j])

    def _parts(self, split: Split, q: int) -> tuple[Array, Array]:
        """Return what a split has of each degree, on the diagonal and of the pairs."""
        k = split.n_leading - 1
        near, far = (split.kernel(s[:, k], s[:, -1], u, q) for s, u in self._products)
        return near, far

    def fit_split(
        self, whole: Fit, width: int, start: int | None = None, bound: float = np.inf
    ) -> Fit | None:
        """Return the fit of the same degrees, split between leading directions and the others.

        The number of leading directions is sought downhill from `start`, or from the best of a few.
        None if no number comes near an expected error, and a gain on it, below the bound.
        """
        if not self._splits(width):
            return None
        assert self._directions is not None
        q = len(whole.factors) - 1
        degrees = self.expansion.degrees[self.expansion.degrees <= q]
        energies = np.mean(self._weights[:, : len(degrees)] ** 2, axis=0)
        size = np.bincount(degrees, energies, q + 1)
        numbers = self._directions.numbers
        first = range(0, len(numbers), 2) if start is None else [numbers.index(start)]
        begun = {at: self._begin_split(size, width, numbers[at]) for at in first}
        least = min(error for error, _ in begun.values())
        if least * (1 + _GAINS[1]) > _FAR * bound:
            return None
        near = [at for at, (error, _) in begun.items() if error <= _FAR * least]
        found = {at: self._end_split(size, width, numbers[at], begun[at][1]) for at in near}
        while True:
            best = min(found, key=lambda at: (found[at][0], at))
            around = [at for at in (best - 1, best + 1) if 0 <= at < len(numbers)]
            around = [at for at in around if at not in found]
            if not around:
                break
            for at in around:
                k = numbers[at]
                _, factors = begun.get(at) or self._begin_split(size, width, k)
                found[at] = self._end_split(size, width, k, factors)
        error, factors, split = found[best]
        widths = np.bincount(split.terms, split.widths, len(degrees)).astype(np.int64)
        exact = np.bincount(split.terms, ~split.exact, len(degrees)) == 0
        plan = Allocation(widths, exact & (widths > 0), -1, float(np.trace(split.noise)))
        return Fit(self.expansion, factors, plan, error, split, gain=_GAINS[1])

    def _splits(self, width: int) -> bool:
        """Return whether powers may be split."""
        few = self.X.shape[1] <= width // 2 and self._directions is not None
        return few and bool(np.any(self.expansion.degrees == 1))

    def _begin_split(self, size: Array, width: int, k: int) -> tuple[float, Array]:
        """Return factors at k leading directions, and the error if no part were missing."""
        q = len(size) - 1
        problem = self._pairs.problem.up_to(q)
        problem.pull(size)
        split, lost = self._split(width, k, np.ones(q + 1))
        factors = problem.solve(split.noise, lost)
        return problem.error(factors, split.noise), factors

    def _end_split(
        self, size: Array, width: int, k: int, factors: Array
    ) -> tuple[float, Array, Split]:
        """Return expected error, factors and split at k leading directions, from first factors."""
        q = len(size) - 1
        problem = self._pairs.problem.up_to(q)
        for last in (False, True):
            split, lost = self._split(width, k, factors)
            if last:
                problem = FactorProblem(self._pairs, self._parts(split, q))
            problem.pull(size)
            factors = problem.solve(split.noise, lost)
        return problem.error(factors, split.noise), factors, split

    def _split(self, width: int, k: int, factors: Array) -> tuple[Split, Array]:
        """Return the split of powers with these factors, and which degrees it lacks."""
        assert self._directions is not None
        levels = self._pairs.noise.levels[: len(factors)]
        split = self._directions.split(k, width, factors, levels)
        return split, np.bincount(split.leading + split.others, minlength=len(factors)) == 0

    def fit_harmonics(self, most: int, width: int, bound: float = np.inf) -> Fit | None:
        """Return the fit of spherical harmonics up to some degree, at most `most`.

        None if there is none with an expected error, and a gain on it, below the bound.
        """
        d, q = self.X.shape[1], min(most, MOST_HARMONIC_DEGREE)
        if d < 2 or whole_size(d) > width or q <= WHOLE or self._directions is None:
            return None
        expansion = expand(self.net, self.norms, d, q, self.kernel, harmonic=True, long=self._long)
        # Features chosen for the rows whose pairs tell the error would look too good.
        few = d <= _FEW_DIMENSIONS  # where features are nothing but harmonics
        held = np.flatnonzero(self._held)[: _HARMONIC_ROWS[few]]
        pairs, norms = self._pairs_of(held), self.norms[self._rows]
        axes, shares = self._directions.axes[::-1], self._directions.shares[::-1]
        if not few:
            candidates = Candidates(expansion, axes, shares, norms, width, width)
            among = np.arange(len(candidates.expected))
            Z = candidates.features(among, self._unit[held], norms[held])
            error, *_ = candidates.fit(candidates.expected, pairs, among, Z, 1)
            if error >= _HOPELESS * bound:
                return None
        candidates = Candidates(expansion, axes, shares, norms, width, max(8 * width, _CANDIDATES))
        rows, among = self._energy_rows, np.arange(len(candidates.expected))
        for (n, entries), kept in zip(_LOOKS[few], _KEPT[few], strict=True):
            some = rows[: max(entries // len(among), n)]
            energies = candidates.energies(*self._unit_rows(some), among)
            among = candidates.best(energies, kept)
        rows = rows[: max(_ENTRIES[few] // len(among), _LOOKS[few][0][0])]
        energies = candidates.energies(*self._unit_rows(rows), among)
        Z = candidates.features(among, self._unit, norms)
        error, factors, chosen = candidates.fit(energies, pairs, among, Z[held])
        if error * (1 + _GAINS[0]) >= bound:
            return None
        if len(rows) == len(self._energy_rows):  # once the error is known, all are looked at
            energies *= len(rows)
            energies[among] += np.square(Z[held]).sum(axis=0)
            energies /= len(rows) + len(held)
            _, factors, chosen = candidates.fit(energies, self._pairs, among, Z)
        used, terms, widths = np.unique(chosen.terms, return_inverse=True, return_counts=True)
        plan = Allocation(widths, widths == np.bincount(candidates.every.terms)[used], -1, 0.0)
        chosen = replace(chosen, terms=terms)
        expansion = candidates.expansion.take(used)
        return Fit(expansion, factors, plan, error, None, chosen, _GAINS[0])

    def best(self, degrees: list[int], width: int, most: int) -> Fit:
        """Return the fit of the degree at which the error, and the costs a little, are least.

        Of powers up to one of `degrees`, or of harmonics up to degree `most`.
        """
        costs = [(1 + _GAIN) ** np.log2(max(degree, 1)) for degree in degrees]
        whole = [self.fit(degree, width) for degree in degrees]
        found = list(zip(costs, whole, strict=True))
        bound = _score(min(found, key=_score)) / costs[0]
        harmonic = self.fit_harmonics(most, width, bound)
        if harmonic is not None:
            found.append((costs[0], harmonic))
        if self._splits(width) and (self.X.shape[1] > _FEW_DIMENSIONS or harmonic is None):
            start = None
            for cost, fit in zip(costs, whole, strict=True):
                bound = _score(min(found, key=_score)) / cost
                split = self.fit_split(fit, width, start, bound)
                if split is not None and split.split is not None:
                    found.append((cost, split))
                    start = split.split.n_leading
        return min(found, key=_score)[1]


def _score(pair: tuple[float, Fit]) -> float:
    cost, fit = pair
    return cost * (1 + fit.gain) * fit.error


def _refuse_extremes(net: Sequential, kernel: Kernel, norms: Array, n_features: int) -> None:
    """Refuse rows whose kernel, which is squared in the fit, is too small or too large for that."""
    largest = norms.max(initial=0.0)
    size = float(getattr(diagonal_of_norms(net, np.array([largest]), n_features), kernel)[0])
    if not (size == 0 or _SIZES[0] <= size <= _SIZES[1]) or size == largest**2 == 0 < largest:
        raise ValueError(
            f"X: expected rows and weights whose kernel is in [{_SIZES[0]:g}, {_SIZES[1]:g}], so "
            f"that float64 can hold squares, got {size:.3g} for a norm of {norms.max():.3g}"
        )
