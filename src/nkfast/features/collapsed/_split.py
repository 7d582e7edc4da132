"""Rows near few directions: the power of a cosine, split between these directions and the others.

In an orthonormal basis whose first k axes are the leading directions of the rows, a unit row is
(a, b), and

    <x, y>^l = sum_j C(l, j) <a, a'>^(l - j) <b, b'>^j.

Where the rows hardly leave the leading directions, |b| is small: parts with few factors of b carry
nearly all of the energy, and they have far fewer monomials than the whole power. Parts are exact or
sketched, as the terms of `allocation` are, each where it pays.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.extmath import svd_flip

from nkfast._arrays.validation import Doubles
from nkfast.features._monomials import n_monomials
from nkfast.sketch._program import next_power_of_two

from ._allocation import MIN_SKETCH, ladder, line, powers, rounded_energies

Ints = NDArray[np.int64]

_LEADING = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)  # numbers k that are tried
_LEAST = 4  # features of a sketched part at least, or
_SHARE = 256  # of all features; each part takes time
_ANGLES = 100  # rows whose angles tell what the noise of shared powers adds up to
_ENERGY_ROWS = 600  # that tell the energies of the parts
_MANY = 1 << 40  # monomials, more than any width
_OTHER = 1e-2  # of the squared norm, taken to lie in b at least: the rows of the fit are but some


@dataclass
class Split:
    """Leading directions and what each part gets.

    Attributes
    ----------
    axes : ndarray of shape (d, d)
        Orthonormal rows, by falling energy.
    n_leading : int
        k.
    terms, leading, others : ndarray of shape (n_parts,)
        Of each part: its term (degree, rank) of the expansion, and how many factors of a and b it
        has.
    widths : ndarray of shape (n_parts,)
        Features.
    exact : ndarray of shape (n_parts,)
        Whether these are all monomials of the part.
    noise : ndarray of shape (q + 1, q + 1)
        Expected products of the errors that the sketches of the degrees add to an entry.
    """

    axes: Doubles
    n_leading: int
    terms: Ints
    leading: Ints
    others: Ints
    widths: Ints
    exact: NDArray[np.bool_]
    noise: Doubles

    def kernel(self, inside: Doubles, whole: Doubles, weights: Doubles, degree: int) -> Doubles:
        """Return what the parts add up to without noise, for each degree and pair of rows.

        Parameters
        ----------
        inside, whole : ndarray of shape (n,)
            <a, a'> and <x, x'> of the pairs of rows, which have norm 1 or 0.
        weights : ndarray of shape (n, n_terms)
            Products of their weights u_c.
        degree : int

        Returns
        -------
        ndarray of shape (degree + 1, n)
        """
        a = powers(inside, int(self.leading.max(initial=0)))
        b = powers(whole - inside, int(self.others.max(initial=0)))
        out = np.zeros((degree + 1, len(inside)))
        for c in np.unique(self.terms):
            some = self.terms == c
            i, j = self.leading[some], self.others[some]
            ways = np.array([comb(int(s + t), int(t)) for s, t in zip(i, j, strict=True)], float)
            out[i[0] + j[0]] += weights[:, c] * (ways @ (a[i] * b[j]))
        return out

    def ladders(self) -> list[tuple[dict[int, int], dict[int, int], int]]:
        """Return, for a and for b, the parents and widths of sketched powers, and the last exact.

        A power that many parts share is as wide as all of them: its noise is theirs together.
        """
        found = []
        for power in (self.leading, self.others):
            top = max(1, int(power[self.exact].max(initial=0)))
            needed: dict[int, int] = {}
            for l in np.unique(power[~self.exact & (power > top)]):
                some = ~self.exact & (power == l)
                needed[int(l)] = next_power_of_two(max(MIN_SKETCH, int(self.widths[some].sum())))
            parents = ladder(top, needed)
            for l in reversed(parents):
                needed.setdefault(l, MIN_SKETCH)
                if parents[l] in parents:
                    needed[parents[l]] = max(needed[l], needed.get(parents[l], 0))
            found.append((parents, needed, top))
        return found


class Directions:
    """The leading directions of half of some rows, and how far the other half leaves them."""

    def __init__(self, unit: Doubles, weights: Doubles, degrees: Ints, n_rows: int) -> None:
        """Look at some of `n_rows` rows, of norm 1 or 0, and their weights u_c in all terms c."""
        some = np.flatnonzero(degrees == 1)[:1] if np.any(degrees == 1) else degrees >= 0
        counts = np.square(weights[::2, some]).sum(axis=1, keepdims=True)
        values, vectors = np.linalg.eigh((unit[::2] * counts).T @ unit[::2])
        self.shares = np.maximum(values[::-1], 0.0)
        self.axes = np.ascontiguousarray(svd_flip(vectors[:, ::-1], None)[0].T)
        others = slice(1, 2 * _ENERGY_ROWS, 2)
        self._squares = np.square(weights[others])
        self._fourths = np.square(self._squares)
        self._ranks = [(int(l), np.flatnonzero(degrees == l)) for l in np.unique(degrees)]
        turned = unit[others] @ self.axes.T
        self._inside = np.cumsum(np.square(turned), axis=1)
        self._some = turned[:_ANGLES]
        self._degrees = degrees
        self._n_rows = n_rows
        self._known: dict[int, tuple[Any, ...]] = {}  # parts of each k

    @property
    def numbers(self) -> list[int]:
        """The numbers of leading directions to be tried."""
        return [k for k in _LEADING if k < len(self.axes)]

    def split(self, k: int, n_components: int, factors: Doubles, levels: Doubles) -> Split:
        """Return the split at k leading directions, if degree l has factors[l], noise levels[l]."""
        q = len(factors) - 1
        if k not in self._known:
            self._known[k] = self._parts(k)
        parts, means = self._known[k][:6], self._known[k][6:]
        kept = np.append(factors, np.zeros(len(means[0])))[parts[1] + parts[2]] > 0
        terms, i, j, sizes, energies, diagonal = (part[kept] for part in parts)
        degree = i + j
        levels = np.where(np.arange(q + 1) == 0, 1.0, levels)[degree]  # a feature for each rank
        sizes = np.minimum(sizes, n_components + 1)
        spread, scale = energies * levels, factors[degree]
        # Linear functions of the rows stay linear functions of the features.
        whole = (degree == 1) & (terms == terms[degree == 1].min(initial=len(self._degrees)))
        widths, exact = _share(spread * scale, diagonal * scale**2, sizes, whole, n_components)
        used = widths > 0
        none = np.zeros((q + 1, q + 1))
        found = Split(self.axes, k, terms[used], i[used], j[used], widths[used], exact[used], none)
        some = used & ~exact
        own = np.bincount(degree[some], np.square(spread[some]) / widths[some], q + 1)
        found.noise = np.diag(own)
        # The noise of a power that parts share adds up over them.
        for power, mean, (parents, needed, _) in zip((i, j), means, found.ladders(), strict=True):
            shared = np.zeros((q + 1, q + 1))
            np.add.at(shared, (power[some], degree[some]), spread[some])
            covariance = _covariance(parents, needed, mean[: 2 * q + 1])
            found.noise = found.noise + shared.T @ covariance @ shared
        return found

    def _means(self, block: slice, degree: int) -> Doubles:
        """Return the means of the cosines' powers, of rows' parts in a block, up to an even one."""
        part = self._some[:, block]
        norms = np.linalg.norm(part, axis=1)
        part = part[norms > 0] / norms[norms > 0, None]
        cosines = (part @ part.T)[np.triu_indices(len(part), 1)]
        means = np.ones(degree + 1)
        if len(cosines):  # of c^(m + n), the inner product of c^m and c^n
            some = powers(cosines, degree // 2)
            means[::2] = np.einsum("ln,ln->l", some, some) / len(cosines)
            means[1::2] = np.einsum("ln,ln->l", some[:-1], some[1:]) / len(cosines)
        return means

    def _parts(self, k: int) -> tuple[Any, ...]:
        """Return term, degrees in a and b, monomials and energy of all parts.

        And what the error of an entry gains if the part is missing on the diagonal, then `_means`
        of both blocks.
        """
        d, q = len(self.axes), int(self._degrees.max(initial=0))
        a = np.clip(self._inside[:, k - 1], 0, 1)
        in_a, in_b = powers(a, q), powers(np.maximum(1 - a, _OTHER), q)
        first = [n_monomials(k, n) for n in range(q + 1)]
        second = [n_monomials(d - k, n) for n in range(q + 1)]
        terms, others, found, inside = [], [], [], np.empty((q + 1, len(a)))
        for l, ranks in self._ranks:
            part = np.multiply(in_a[l::-1], in_b[: l + 1], out=inside[: l + 1])
            first_moments = part @ self._squares[:, ranks]
            np.square(part, out=part)
            squares = part @ self._fourths[:, ranks]
            terms.append(np.tile(ranks, l + 1))
            others.append(np.repeat(np.arange(l + 1), len(ranks)))
            found.append((first_moments.ravel(), squares.ravel()))
        c, j = (np.concatenate(some) if some else np.zeros(0, np.int64) for some in (terms, others))
        degrees = self._degrees[c]
        ways = _binomials(q)[degrees, j] / len(a)
        energies = np.concatenate([one for one, _ in found]) * ways
        diagonal = np.concatenate([squares for _, squares in found]) * (
            ways**2 * len(a) / self._n_rows
        )
        sizes = np.minimum(np.multiply.outer(_capped(first), _capped(second)), float(_MANY))
        sizes = sizes.astype(np.int64)[degrees - j, j]
        means = [self._means(block, 2 * q) for block in (slice(0, k), slice(k, None))]
        return c, degrees - j, j, sizes, energies, diagonal, *means


def _capped(numbers: list[int]) -> Doubles:
    return np.array([min(n, _MANY) for n in numbers], float)


@lru_cache(maxsize=16)
def _binomials(degree: int) -> Doubles:
    """Return the binomial coefficients C(l, j), l and j up to `degree`."""
    return np.array([[comb(l, j) for j in range(degree + 1)] for l in range(degree + 1)], float)


def _covariance(parents: dict[int, int], widths: dict[int, int], means: Doubles) -> Doubles:
    """Return the covariances of the errors of a ladder's powers, as `noise_covariance` does."""
    q = (len(means) - 1) // 2
    own = np.zeros(q + 1)
    for l, parent in parents.items():
        own[l] = 1 / widths[l] + means[2 * (l - parent)] * own[parent]
    found = np.zeros((q + 1, q + 1))
    degrees, shared = _shared(tuple(parents.items()))
    rows = degrees[:, None]
    found[rows, degrees] = means[rows + degrees - 2 * shared] * own[shared]
    return found


@lru_cache(maxsize=256)
def _shared(ladder_: tuple[tuple[int, int], ...]) -> tuple[Ints, Ints]:
    """Return the degrees of a ladder, and what each two of them both come from."""
    parents = dict(ladder_)
    found = np.zeros((len(parents), len(parents)), np.int64)
    for i, l in enumerate(parents):
        above = set(line(l, parents))
        for j, other in enumerate(parents):
            if other > l:
                break
            found[i, j] = found[j, i] = other if other in above else parents[other]
    return np.array(list(parents), np.int64), found


def _share(
    energies: Doubles, diagonal: Doubles, sizes: Ints, whole: NDArray[np.bool_], n_components: int
) -> tuple[Ints, NDArray[np.bool_]]:
    """Share the features among parts so that the noise of those that are sketched is least.

    Those that have to be `whole` are exact. Others become exact in the order of their energy per
    feature, as long as that lowers (sum of the rest's energies)^2 / (features left). The rest gets
    shares as its energies; of the smallest those remain that are needed for the diagonal.
    """
    least = max(_LEAST, n_components // _SHARE)
    rounded = rounded_energies(energies)
    exact = np.zeros(len(sizes), bool)
    taken = np.flatnonzero(whole).tolist()
    left, rest = n_components - int(sizes[whole].sum()), float(rounded[~whole].sum())
    best, n_best = rest**2 / max(left, 1), len(taken)
    for t in np.lexsort((sizes, -rounded / sizes)):
        if whole[t] or sizes[t] > left:
            continue
        taken.append(int(t))
        left -= int(sizes[t])
        rest = max(rest - rounded[t], 0.0)
        noise = rest**2 / left if left > 0 else rest**2
        if noise < best or rest == 0:
            best, n_best = noise, len(taken)
    exact[taken[:n_best]] = True
    widths = np.where(exact, sizes, 0)
    left = n_components - int(widths.sum())
    active = ~exact & (rounded > 0)
    while active.any() and left >= least:
        each = rounded[active].sum() / left  # energy of a feature
        small = active & (rounded < least * each)
        if not small.any():
            break
        # The smallest half of them: what they leave makes others large enough.
        few = np.flatnonzero(small)
        few = few[np.argsort(rounded[few], kind="stable")[: -(-len(few) // 2)]]
        active[few] = False
        gain = np.square(rounded[few]) * (1 - 1 / least) + diagonal[few]
        kept = few[gain > least * each**2]
        kept = kept[np.argsort(-gain[gain > least * each**2], kind="stable")][: left // least]
        widths[kept] = least
        left -= least * len(kept)
    if active.any() and left > 0:
        share = left * rounded / rounded[active].sum()
        widths[active] = np.minimum(np.floor(share[active]), sizes[active]).astype(np.int64)
        spare = left - int(widths[active].sum())
        largest = np.flatnonzero(active)[np.argsort(-share[active], kind="stable")]
        widths[largest[: max(min(spare, len(largest)), 0)]] += 1
    return widths.astype(np.int64), exact
