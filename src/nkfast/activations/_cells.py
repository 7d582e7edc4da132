"""Functions as polynomials on cells, of x alone or of x and one more variable in [-1, 1]."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.polynomial.chebyshev import cheb2poly, chebpts1

from nkfast._arrays.validation import Array
from nkfast._linalg.chebyshev import series_matrix

from ._quadrature import NotResolved

TERMS = 12  # of polynomials; those in x are the core's kCellPowers
COUNTS = (5, 12, 18)  # of nodes in the other variable: more where fewer do not do
_SLACK = 0.1  # for the last term in the other variable
_ROUNDS = 20  # of halving


@cache
def _powers(count: int) -> Array:
    """Return the matrix from Chebyshev series to coefficients of powers."""
    out = np.zeros((count, count))
    for k in range(count):
        out[: k + 1, k] = cheb2poly(np.eye(count)[k])[: k + 1]
    return out


def nodes(begin: Array, end: Array, count: int = TERMS) -> Array:
    """Return Chebyshev points of every cell, of shape (n, count)."""
    middle, half = (begin + end)[:, None] / 2, (end - begin)[:, None] / 2
    return np.asarray(middle + half * chebpts1(count))


@dataclass(frozen=True)
class Places:
    """Some cells, of one list each, and how many nodes each has in the other variable."""

    begin: Array
    end: Array
    which: Array
    count: int = 1

    def halves(self) -> Places:
        middle = (self.begin + self.end) / 2
        return Places(
            np.concatenate([self.begin, middle]),
            np.concatenate([middle, self.end]),
            np.tile(self.which, 2),
            self.count,
        )

    def some(self, chosen: Array, count: int | None = None) -> Places:
        rows = self.begin[chosen], self.end[chosen], self.which[chosen]
        return Places(*rows, self.count if count is None else count)


class Cells:
    """Lists of cells, each halved until its polynomials are accurate.

    Parameters
    ----------
    places : sequence of Places
        To begin with: those with few nodes in the other variable get more where these do not do.
    values : callable
        values(places) are those of K functions at the nodes, of shape (n, K, nodes in x, count).
    allowed : callable
        allowed(values, places) are the errors that they may have, of shape (n, K).
    most : int
        More cells are refused, by NotResolved.
    """

    def __init__(
        self,
        places: Sequence[Places],
        values: Callable[[Places], Array],
        allowed: Callable[[Array, Places], Array],
        most: int,
    ) -> None:
        done: list[tuple[Array, ...]] = []
        total = 0
        left = list(places)
        for round_ in range(_ROUNDS + 1):
            more: list[Places] = []
            for some in left:
                found = values(some)
                allow = allowed(found, some)
                series = np.matmul(series_matrix(TERMS), found) @ series_matrix(some.count).T
                size = np.abs(series)
                fine = (size[:, :, -2:].sum(axis=3).max(axis=2) <= allow).all(axis=1)
                of_other = size.sum(axis=2)
                few = np.zeros_like(fine)
                if some.count > 1:
                    # Halving in x helps little here.
                    few = (of_other[:, :, -1] > _SLACK * allow).any(axis=1) & fine
                    fine &= ~few
                terms = _terms_that_matter(of_other, allow)[fine]
                matter = np.arange(some.count) < terms[:, None]
                # Terms that are left out must not leave their part in lower powers.
                kept = series[fine] * matter[:, None, None, :]
                powers = (_powers(TERMS) @ kept @ _powers(some.count).T).transpose(0, 3, 1, 2)
                rows = powers.reshape(*matter.shape, powers.shape[2] * TERMS)[matter]
                done.append((some.which[fine], some.begin[fine], some.end[fine], terms, rows))
                total += len(terms)
                more.append(some.some(~fine & ~few).halves())
                if few.any() and some.count == COUNTS[-1]:
                    more.append(some.some(few).halves())
                elif few.any():
                    more.append(some.some(few, COUNTS[COUNTS.index(some.count) + 1]))
            left = [some for some in more if len(some.begin)]
            if not left:
                break
            if round_ == _ROUNDS or total + sum(len(some.begin) for some in left) > most:
                raise NotResolved
        which, begin, end, terms, rows = (np.concatenate(v) for v in zip(*done, strict=True))
        order = np.lexsort((begin, which))
        starts = np.concatenate([[0], np.cumsum(terms)])[:-1]
        self.which, self.begin, self.end, self.terms = (
            v[order] for v in (which, begin, end, terms)
        )
        first = np.concatenate([[0], np.cumsum(self.terms)])[:-1]
        # The rows of a cell lie one after the other, before and after.
        self.rows = rows[np.repeat(starts[order] - first, self.terms) + np.arange(len(rows))]

    def counts(self) -> Array:
        """Return how many cells each list has."""
        return np.bincount(self.which)

    def edges(self) -> Array:
        """Return the edges of all lists, one after the other."""
        last = np.append(np.diff(self.which) > 0, True)
        return np.insert(self.begin, np.flatnonzero(last) + 1, self.end[last])


def _terms_that_matter(size: Array, allow: Array) -> Array:
    """Return how many terms of the series in the other variable matter, of shape (n,)."""
    tail = np.cumsum(size[:, :, ::-1], axis=2)[:, :, ::-1]
    return np.asarray((tail > allow[:, :, None] / 2).sum(axis=2).max(axis=1).clip(1))
