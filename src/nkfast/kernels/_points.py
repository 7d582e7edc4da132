"""Points that are prepared for kernels: checked once, and what each brings along computed once.

A kernel of two sets of points needs of each point its variance at every activation, what the
activations say of such variances (tables) and, for a diagonal, its kernel with itself. Whoever
needs several kernels of the same points prepares them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from nkfast._arrays.validation import Array, FloatArray, check_rows
from nkfast._config import one_blas_thread
from nkfast.activations._dual_map import span
from nkfast.layers import Diagonals, Row

from ._row_steps import RowSteps

TABLE_BYTES = 32 << 20  # tables of the rows, or of the columns, of a block


class Diagonal(NamedTuple):
    """Diagonals of the two kernels, (n,) each."""

    nngp: FloatArray
    ntk: FloatArray


def squared_norms(X: Any) -> Array:
    """Return ||x||^2 of every row in float64, for dense or CSR rows."""
    if sp.issparse(X):
        square = X.astype(np.float64)
        with np.errstate(over="ignore"):
            square.data **= 2
            return np.asarray(square.sum(axis=1)).ravel()
    return np.asarray(np.einsum("ij,ij->i", X, X, dtype=np.float64))


def check_size(values: Array, what: str, dtype: Any) -> None:
    """Refuse sizes that a dtype cannot hold, and NaN that came of such."""
    largest = np.finfo(dtype).max
    if not np.all(np.abs(values) <= largest):
        raise ValueError(
            f"{what}: expected numbers that {np.dtype(dtype).name} can hold, up to {largest:.2g}; "
            "scale the inputs"
        )


def diagonal_of_norms(net: Row, norms: Array, n_features: int) -> Diagonal:
    """Return the kernels of rows with themselves by their norms alone, (n,).

    What float64 cannot hold is infinite or NaN, not refused.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        p = norms**2 / n_features
        end = net._propagate_diagonal(Diagonals(p, np.zeros_like(p)))
    return Diagonal(end.k, end.theta)


class RowPoints:
    """Rows prepared for the kernels of a network.

    Parameters
    ----------
    net : Row
    X : array_like or CSR matrix of shape (n, d)
    name : str, default="X"
        What error messages call them.

    Attributes
    ----------
    X : ndarray or CSR matrix of shape (n, d)
        The rows, checked.
    p : ndarray of shape (n,)
        Their NNGP variances before the first layer, ||x||^2 / d.
    variances : list of ndarray of shape (n,)
        Those that enter each activation.
    spans : list of tuple of float
        The least and the largest of each; of a part of some points, those of all.
    own : Diagonal
        Their kernels with themselves behind the last layer, in float64.
    """

    def __init__(self, net: Row, X: Any, name: str = "X") -> None:
        self.net = net
        self.X = check_rows(X, name)
        self.steps = RowSteps(net)
        self.p = squared_norms(self.X) / self.X.shape[1]
        check_size(self.p, f"squared norms of the rows of {name}", np.float64)
        self.variances, end = self.steps.variances(self.p)
        check_size(end, f"kernels of {name}", self.X.dtype)
        self.spans = [span(v, v) if v.size else (np.inf, -np.inf) for v in self.variances]
        self._tables: dict[tuple[int, str], tuple[Any, Array]] = {}  # and what they are made for
        self._whole: tuple[RowPoints, slice] | None = None

    def __len__(self) -> int:
        return int(self.X.shape[0])

    def __getitem__(self, which: slice | Array) -> RowPoints:
        """Return some of the points; nothing is computed anew."""
        part = object.__new__(RowPoints)
        part.net, part.steps, part.X = self.net, self.steps, self.X[which]
        part.p, part.variances = self.p[which], [v[which] for v in self.variances]
        part.spans = self.spans
        part._tables = {}
        part._whole = (self, which) if isinstance(which, slice) and self._whole is None else None
        if "own" in vars(self):
            part.own = Diagonal(*(values[which] for values in self.own))
        return part

    @cached_property
    def own(self) -> Diagonal:
        """Their kernels with themselves."""
        end = self.net._propagate_diagonal(Diagonals(self.p, np.zeros_like(self.p)))
        return Diagonal(end.k, end.theta)

    def diagonal(self) -> Diagonal:
        """Return the kernels of the points with themselves, in their dtype."""
        return Diagonal(*(values.astype(self.X.dtype) for values in self.own))

    def tables(
        self,
        i: int,
        which: slice,
        sides: Sequence[str],
        tol: float,
        span: tuple[float, float],
        keep: bool,
    ) -> dict[str, Array]:
        """Return what activation i says of some of the points, as a `DualMap` has it.

        Parameters
        ----------
        i : int
        which : slice
        sides : sequence of {"left", "right"}
        tol, span
            As in `Activation._core_map`.
        keep : bool
            Whether the tables of all points are so small that they are made and kept.
        """
        if self._whole is not None:
            points, part = self._whole
            start, stop, _ = part.indices(len(points))
            first, last, _ = which.indices(stop - start)
            return points.tables(i, slice(start + first, start + last), sides, tol, span, keep)
        activation = self.steps.activations[i]
        made_for = tol, activation._table_range(span)
        kept = {side: self._tables.get((i, side)) for side in sides}
        if all(known is not None and known[0] == made_for for known in kept.values()):
            return {side: known[1][which] for side, known in kept.items() if known is not None}
        p = self.variances[i] if keep else self.variances[i][which]
        one = p[:1]  # of a side that is not asked for
        with one_blas_thread():
            dual = activation._core_map(
                p if "left" in sides else one, p if "right" in sides else one, tol, span
            )
        assert dual is not None
        found: dict[str, Array] = {side: getattr(dual, side) for side in sides}
        if not keep:
            return found
        # Those of another range of variances go, or each new one would add to the memory.
        self._tables |= {(i, side): (made_for, table) for side, table in found.items()}
        return {side: table[which] for side, table in found.items()}

    def few(self, width: int) -> bool:
        """Return whether tables of so many columns, of all activations together, are small."""
        n = len(self if self._whole is None else self._whole[0])
        return 8 * n * width <= TABLE_BYTES
