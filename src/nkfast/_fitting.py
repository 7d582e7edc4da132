"""What the fit of a feature map looks at: the expansion, and the exact kernel of some rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from ._columns import Columns
from ._config import get_num_threads
from ._mapped import take
from ._rows import row_norms
from ._validation import Rows
from .allocation import Allocation, Pairs, fit_factors
from .expansion import Expansion, Kernel, expand
from .layers import Sequential

Array = NDArray[Any]

_ROWS = 500  # on whose exact kernel the factors are fitted
_WIDE = 8  # columns are told apart if there are more than that share of the features
_COLUMN_ROWS = 20000  # on which the columns' energies are measured
_GAIN = 0.1  # share of the expected error that twice the degree must save


@dataclass
class Fit:
    """Factors of the degrees up to some degree, the plan with them, and the expected error."""

    factors: Array
    plan: Allocation
    error: float


class Sample:
    """Rows for a fit: the norms of all, and the expansion fitted on some, once it is asked for."""

    def __init__(
        self, net: Sequential, X: Rows, kernel: Kernel, degree: int, rng: np.random.RandomState
    ) -> None:
        self.net = net
        self.X = X
        self.kernel: Kernel = kernel
        self.degree = degree
        self.norms = row_norms(X, get_num_threads())
        order = rng.permutation(X.shape[0])
        self._rows = np.sort(order[:_ROWS])
        self._column_rows = np.sort(order[:_COLUMN_ROWS])

    @cached_property
    def expansion(self) -> Expansion:
        """That of the network for rows of these norms, up to the sample's degree."""
        return expand(self.net, self.norms, self.X.shape[1], self.degree, self.kernel)

    @cached_property
    def _weights(self) -> Array:
        return self.expansion.weights(self.norms[self._rows])

    @cached_property
    def columns(self) -> Columns:
        """The energies of the input's columns in the leading term of degree 1."""
        some = self._column_rows
        norms, linear = self.norms[some], np.flatnonzero(self.expansion.degrees == 1)[:1]
        counts = self.expansion.weights(norms)[:, linear].sum(axis=1) ** 2
        return Columns(take(self.X, some), norms, counts)

    def hashes_columns(self, width: int) -> bool:
        """Return whether not all columns may be worth a feature, and degree 1 is there at all."""
        many = self.X.shape[1] > width // _WIDE
        return many and bool(np.any(self.expansion.degrees == 1))

    @cached_property
    def _pairs(self) -> Pairs:
        sample, a = take(self.X, self._rows).astype(np.float64), self.norms[self._rows]
        unit = np.divide(1, a, out=np.zeros_like(a), where=a > 0)
        unit = sp.diags_array(unit) @ sample if sp.issparse(sample) else unit[:, None] * sample
        rho = unit @ unit.T
        rho = rho.toarray() if sp.issparse(rho) else rho
        exact = self.net.kernel(sample, get=self.kernel)
        i, j = np.triu_indices(len(a), 1)
        near = np.empty((self.degree + 1, len(a)))
        far = np.empty((self.degree + 1, len(i)))
        for l in range(self.degree + 1):
            part = self._weights[:, self.expansion.degrees == l]
            near[l] = np.einsum("ir,ir->i", part, part)
            far[l] = (part @ part.T)[i, j]
        return Pairs(far, rho[i, j], exact[i, j], near, np.diagonal(exact), self.X.shape[0])

    def fit(self, degree: int, width: int) -> Fit:
        """Return the fit of degrees up to that, for so many features."""
        degrees, ranks = self.expansion.degrees, self.expansion.ranks
        kept = degrees <= degree
        energies = np.mean(self._weights[:, kept] ** 2, axis=0)
        shape = (degrees[kept], ranks[kept], energies, self.X.shape[1], width)
        tails = self.columns.tails if self.hashes_columns(width) else None
        return Fit(*fit_factors(self._pairs, *shape, tails))

    def best(self, degrees: list[int], width: int) -> Fit:
        """Return the fit of the degree at which the error, and the costs a little, are least."""
        fits = [self.fit(degree, width) for degree in degrees]
        doublings = np.log2(np.maximum(degrees, 1))
        return fits[int(np.argmin([f.error for f in fits] * (1 + _GAIN) ** doublings))]
