"""Monomials of a degree: how many there are, and how each comes from one of the degree below."""

from __future__ import annotations

from math import comb

import numpy as np
from numpy.typing import NDArray

from nkfast.sketch._program import Ints


def monomials(n_features: int, degree: int) -> list[tuple[Ints, Ints, NDArray[np.float64]]]:
    """Return, for degrees 2..degree, how each monomial comes from one of the degree below.

    Monomial t of degree l is factors[t] * (monomial parents[t] of degree l - 1) *
    x[variables[t]]; with these factors the monomials' inner product is <x, y>^l.
    """
    last = np.arange(n_features)
    run = np.ones(n_features, np.int64)  # how often the last variable occurs
    levels = []
    for l in range(2, degree + 1):
        count = n_features - last
        parents = np.repeat(np.arange(len(last)), count)
        first = np.cumsum(count) - count
        variables = np.arange(len(parents)) - first[parents] + last[parents]
        run = np.where(variables == last[parents], run[parents] + 1, 1)
        last = variables
        factors = np.sqrt(l / run)
        levels.append((parents.astype(np.int32), variables.astype(np.int32), factors))
    return levels


def n_monomials(n_features: int, degree: int) -> int:
    """Return the number of monomials of that degree: the width of the exact term."""
    return comb(n_features + degree - 1, degree)
