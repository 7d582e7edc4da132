"""Spherical harmonics of rows in few dimensions: the kernel's own basis, as far as the data use it.

At given norms every kernel of a dense network is a function of the cosine,

    k(x, y) = sum_l G_l(|x|, |y|) P_l(cos(x, y)),

P_l the Gegenbauer polynomial of degree l with P_l(1) = 1, and P_l(cos(x, y)) is the inner product
of the N_l harmonics of degree l, N_l^(-1/2) Y_t(x / |x|). No power of the cosine is cut off: what
high powers have in common with low degrees is in G_l. Harmonics are products of one polynomial for
each dimension. So, with the leading direction of the rows as the pole, few of them have nearly all
of the energy, and only these are features.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln

from nkfast._arrays.validation import Doubles
from nkfast._config import get_num_threads
from nkfast.expansion import n_harmonics
from nkfast.expansion._zonal import orthogonal
from nkfast.sketch._program import EVEN, INPUT, LAST, LEAF, LEFT, ODD, SPARE, SketchSteps

from ._polynomial import add_zeros

Ints = NDArray[np.int64]

MOST_HARMONIC_DEGREE = 48
_BIN, _MOST_COST = 0.05, 30.0  # of the logarithm of the energy, when harmonics are counted
_TINY = 1e-300
_TURNED, _TABLE = LEFT, LEAF  # buffers: turned rows, and the polynomials of one dimension


@dataclass(frozen=True)
class Basis:
    """How some harmonics up to a degree come from those of one dimension less.

    Attributes
    ----------
    parents, entries : tuple of ndarray
        For 2, 3, ..., d dimensions, of each harmonic: that of the first coordinates, and the
        polynomial of the last one, it is the product of. In the table of these polynomials degree
        n over a harmonic of degree p is at p (q + 1) - p (p - 1) / 2 + n.
    degrees : ndarray
        Of the harmonics in d dimensions.
    """

    n_features: int
    degree: int
    parents: tuple[Ints, ...]
    entries: tuple[Ints, ...]
    degrees: Ints

    @property
    def size(self) -> int:
        """Number of harmonics."""
        return len(self.degrees)

    def recurrence(self, k: int) -> tuple[Doubles, Doubles, Doubles]:
        """Return a, b and c of `SketchSteps.recurrence` for the table of the last of k coordinates.

        Entries are in the order of degrees n within p, as `entries` counts them.
        """
        return _recurrence(k, self.degree)


@lru_cache(maxsize=1000)
def _recurrence(k: int, q: int) -> tuple[Doubles, Doubles, Doubles]:
    """Return the recurrence of the orthonormal polynomials of the last of k coordinates.

    For each degree p of the harmonic of the coordinates before, they are Gegenbauer's of index
    p + (k - 2) / 2, from degree p up to q: x_t = a_t x x_(t-1) - b_t r^2 x_(t-2) + c_t.
    """
    if k == 1:  # the sphere of two points: 1 and x
        n = min(q, 1) + 1
        a = np.arange(n, dtype=np.float64)
        return a, np.zeros(n), np.asarray(1 - a)
    a, b, c = (np.zeros((q + 1) * (q + 2) // 2) for _ in range(3))
    at = 0
    for p in range(q + 1 if k > 2 else min(q, 1) + 1):
        # What (1 - t^2)^p takes from the measure of the last coordinate.
        share = betaln(0.5, p + (k - 1) / 2) - betaln(0.5, (k - 1) / 2)
        c[at] = np.exp(-share / 2)
        step = orthogonal(p + (k - 2) / 2, q - p)
        a[at + 1 : at + len(step) + 1] = 1 / step
        b[at + 2 : at + len(step) + 1] = step[:-1] / step[1:]
        at += q - p + 1
    return a[:at], b[:at], c[:at]


def harmonic_basis(shares: Doubles, energies: Doubles, limit: int, whole: int) -> Basis:
    """Return the harmonics that have most energy, as far as that can be told beforehand.

    A harmonic with n_k factors of coordinate k, sum_k n_k = l, has about the energy

        energies_l / N_l prod_k (R_k d / k)^n_k,  R_k = shares_1 + ... + shares_k,

    the same for all of a degree where the rows lie in all directions alike.

    Parameters
    ----------
    shares : ndarray of shape (d,)
        Of the energy of the rows in each coordinate, ascending.
    energies : ndarray of shape (q + 1,)
        Of the kernel in each degree.
    limit : int
        Of the number of harmonics, roughly.
    whole : int
        The degree up to which all are there.
    """
    d, q = len(shares), len(energies) - 1
    k = np.arange(1, d + 1)
    inside = np.cumsum(shares) / max(float(np.sum(shares)), _TINY)
    steps = np.maximum(np.log(k / d) - np.log(np.maximum(inside, _TINY)), 0.0)
    counts = np.array([n_harmonics(d, l) for l in range(q + 1)], float)
    start = np.maximum.accumulate(np.log(counts) - np.log(np.maximum(energies, _TINY)))
    most = _highest_cost(steps, start, limit)
    degrees = np.arange(min(q, 1) + 1)
    costs = degrees * steps[0]
    parents, below = [], []
    for step in steps[1:]:
        sources, found, cost = [], [], []
        for n in range(q + 1):
            total = np.minimum(degrees + n, q)
            kept = (costs + n * step + start[total] <= most) | (degrees + n <= whole)
            kept = np.flatnonzero(kept & (degrees + n <= q))
            if len(kept) == 0:
                break
            sources.append(kept)
            found.append(degrees[kept] + n)
            cost.append(costs[kept] + n * step)
        total = np.concatenate(found)
        order = np.argsort(total, kind="stable")
        parents.append(np.concatenate(sources)[order])
        below.append((degrees[parents[-1]], total[order]))
        degrees, costs = total[order], np.concatenate(cost)[order]
    q = int(degrees.max())
    entries = [p * (q + 1) - p * (p - 1) // 2 + l - p for p, l in below]
    return Basis(d, q, tuple(parents), tuple(entries), degrees)


def _highest_cost(steps: Doubles, start: Doubles, limit: int) -> float:
    """Return up to which cost there are `limit` harmonics, by counting them in steps of _BIN."""
    q = len(start) - 1
    bins = int(_MOST_COST / _BIN)
    shift = np.rint(steps / _BIN).astype(np.int64)
    counts = np.zeros((q + 1, bins))
    counts[0, 0] = 1
    for k, by in enumerate(np.minimum(shift, bins).tolist()):
        if k == 0:  # one coordinate: degrees 0 and 1
            counts[1:2, by:] += counts[:1, : bins - by]
            continue
        for l in range(1, q + 1):  # one factor more than there are already
            counts[l, by:] += counts[l - 1, : bins - by]
    cost = (start - start[0])[:, None] + _BIN * np.arange(bins)
    order = np.argsort(cost, axis=None, kind="stable")
    total = np.cumsum(counts.ravel()[order])
    last = int(np.searchsorted(total, limit, side="right"))
    return float(start[0] + (cost.ravel()[order[last]] if last < len(order) else np.inf))


@dataclass(frozen=True)
class Harmonics:
    """The harmonics that are features.

    Attributes
    ----------
    axes : ndarray of shape (d, d)
        Orthonormal rows, by rising energy of the data: the pole is the last one.
    basis : Basis
    terms, columns : ndarray of shape (n,)
        Of each feature: its term (degree, rank) of the expansion, and its number in the basis;
        ordered by term, then number.
    """

    axes: Doubles
    basis: Basis
    terms: Ints
    columns: Ints


def harmonic_steps(harmonics: Harmonics, n_components: int) -> SketchSteps:
    """Return the steps of a map whose features are these harmonics, times the terms' weights.

    Only harmonics that some feature needs are computed, for each number of dimensions.
    """
    axes, basis, d = harmonics.axes, harmonics.basis, len(harmonics.axes)
    needed = [distinct(harmonics.columns)]
    for parents in basis.parents[::-1]:
        needed.append(distinct(parents[needed[-1]]))
    needed = needed[::-1]  # in 1, 2, ..., d dimensions
    steps = SketchSteps()
    steps.linear(INPUT, axes.ravel(), _TURNED)
    steps.recurrence(_TURNED, 1, *basis.recurrence(1), EVEN)
    below, target, held = EVEN, ODD, np.arange(min(basis.degree, 1) + 1)
    for k in range(2, d + 1):
        parents, entries = basis.parents[k - 2], basis.entries[k - 2]
        table = basis.recurrence(k)
        used = _reached(distinct(entries[needed[k - 1]]), table[2])
        a, b, c = (part[used] for part in table)
        steps.recurrence(_TURNED, k, a, b, c, _TABLE)
        entries = np.cumsum(used)[entries] - 1
        if k < d:
            _multiply(steps, below, held, parents, entries, needed[k - 1], target)
            below, target, held = target, below, needed[k - 1]
    for l in np.unique(basis.degrees[needed[-1]]):
        of_degree = needed[-1][basis.degrees[needed[-1]] == l]
        _multiply(steps, below, held, parents, entries, of_degree, LAST)
        scale = n_harmonics(d, int(l)) ** -0.5
        mine = basis.degrees[harmonics.columns] == l
        for c in np.unique(harmonics.terms[mine]):
            columns = harmonics.columns[harmonics.terms == c]
            source = LAST
            if len(columns) < len(of_degree):
                places = np.searchsorted(of_degree, columns).astype(np.int32)
                steps.gather(LAST, places, 1.0, SPARE)
                source = SPARE
            steps.emit(source, len(columns), scale, int(c))
    add_zeros(steps, n_components - len(harmonics.terms))
    return steps


def distinct(numbers: Ints) -> Ints:
    """Return the distinct ones of small integers >= 0, ascending."""
    return np.flatnonzero(np.bincount(numbers))


def _reached(entries: Ints, starts: Doubles) -> NDArray[np.bool_]:
    """Return which entries of a table it takes for some: those before them, from where c is."""
    run = np.cumsum(starts > 0)  # all c are positive
    last = np.full(run[-1] + 1, -1)
    np.maximum.at(last, run[entries], entries)
    return np.arange(len(run)) <= last[run]


def _multiply(
    steps: SketchSteps,
    below: int,
    held: Ints,
    parents: Ints,
    entries: Ints,
    wanted: Ints,
    target: int,
) -> None:
    """Append the step from the harmonics `held` in buffer `below` to the `wanted` ones."""
    places = np.searchsorted(held, parents[wanted]).astype(np.int32)
    steps.product(below, places, _TABLE, entries[wanted].astype(np.int32), 1.0, target)


class HarmonicMap:
    """These harmonics of rows of norm 1 or 0, times weights."""

    def __init__(self, harmonics: Harmonics) -> None:
        """Build the program."""
        d, self._size = len(harmonics.axes), len(harmonics.terms)
        self._program = harmonic_steps(harmonics, self._size).compile(d)

    def __call__(self, unit: Doubles, weights: Doubles, out: Doubles | None = None) -> Doubles:
        """Return the features of rows with these weights, of shape (n, n_terms) or (n, 1)."""
        out = np.empty((len(unit), self._size)) if out is None else out
        shape = (len(unit), self._program.n_weights)
        needed = (
            np.broadcast_to(weights, shape) if weights.shape[1] == 1 else weights[:, : shape[1]]
        )
        needed, unit = np.ascontiguousarray(needed), np.ascontiguousarray(unit)
        self._program.run(unit, None, needed, out, get_num_threads())
        return out
