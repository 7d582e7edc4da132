"""Exact kernels of networks of rows.

The core takes each row of a tile of inner products through all layers while it is in cache
(csrc/kernels). Networks with an activation that has no compiled map go through the same blocks in
NumPy.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from nkfast._arrays.validation import check_rows
from nkfast._config import get_num_threads, one_blas_thread
from nkfast._core import Destination, KernelBuilder
from nkfast.activations import Activation
from nkfast.activations._dual_map import DualMap, span
from nkfast.layers import Activated, Dense, Diagonals, Flatten, Layer, Moments, Residual, Row

from ._outputs import NAMES, Blocks, Result, open_blocks, write

Array = NDArray[Any]
_BLOCK_ENTRIES = 1 << 18  # entries of a block that NumPy computes: a few MB of temporaries
_PRODUCT_ENTRIES = 1 << 20  # entries of a block of inner products from BLAS or scipy.sparse
_BOUNDED_ENTRIES = 1 << 22  # entries of a block that is buffered, or whose pages are let go
_TABLE_BYTES = 32 << 20  # tables of the rows, or of the columns, of a block
_TILED_FEATURES = 16384  # up to here the core computes the inner products, in cache
# Float32 kernels of float32 rows are computed in float32, and again in float64 where |rho| is too
# near 1 for that, unless the network is deep, numbers are extreme, most pairs are of that kind, or
# they are so few that finding out would take longer than float64 does.
_SINGLE_PAIRS = 1 << 17
_SINGLE_LAYERS = 8
_SINGLE_RANGE = (1e-12, 1e12)
_SINGLE_SAMPLE = 64  # rows and columns of pairs that tell
_SINGLE_SHARE = 0.2  # of pairs in float64


def squared_norms(X: Any) -> Array:
    """Return ||x||^2 of every row in float64, for dense or CSR rows."""
    if sp.issparse(X):
        square = X.astype(np.float64)
        square.data **= 2
        return np.asarray(square.sum(axis=1)).ravel()
    return np.asarray(np.einsum("ij,ij->i", X, X, dtype=np.float64))


@dataclass(frozen=True)
class _Step:
    """A step of the core: "affine" (of `layer`), "activation", "push" or "add"."""

    name: str
    layer: Dense | None = None
    activation: Activation | None = None


def _steps_of(layers: Iterable[Layer]) -> list[_Step] | None:
    """Return the core's steps, None if it does not know one of the layers."""
    steps: list[_Step] = []
    for layer in layers:
        if isinstance(layer, Dense):
            steps.append(_Step("affine", layer=layer))
        elif isinstance(layer, Activated):
            steps.append(_Step("activation", activation=layer.activation))
        elif isinstance(layer, Flatten):  # of rows
            continue
        elif isinstance(layer, Residual) and (inner := _steps_of(layer._steps())) is not None:
            steps += [_Step("push"), *inner, _Step("add")]
        else:
            return None
    return steps


def _variances(steps: list[_Step], p: Array) -> list[Array]:
    """Return the variances that enter each activation, from those of the points."""
    found, kept = [], []
    for step in steps:
        if step.layer is not None:
            p = step.layer.w_std**2 * p + step.layer.b_std**2
        elif step.activation is not None:
            found.append(p)
            p = step.activation._diagonal(p)[0]
        elif step.name == "push":
            kept.append(p)
        else:
            p = p + kept.pop()
    return found


class RowPairs:
    """All pairs of a row of X and a row of Z, and what each point brings along."""

    def __init__(self, net: Row, X: Any, Z: Any) -> None:
        self.X = check_rows(X, "X")
        self.symmetric = Z is None or Z is X
        self.Z = self.X if self.symmetric else check_rows(Z, "Z")
        d = self.X.shape[1]
        if self.Z.shape[1] != d:
            raise ValueError(f"Z: expected {d} features as in X, got {self.Z.shape[1]}")
        self.shape = (self.X.shape[0], self.Z.shape[0])
        self.dtype = np.result_type(self.X.dtype, self.Z.dtype)
        # Maps that are series stop where they are good enough for the dtype of the result.
        self._tol = 1e-7 if self.dtype == np.float32 else 1e-14
        self._net = net
        self._steps = _steps_of(net._steps())
        self._p = squared_norms(self.X) / d
        self._q = self._p if self.symmetric else squared_norms(self.Z) / d
        self.ends: dict[str, Array] = {}
        if self.symmetric:
            # The exact diagonal: from c = p = q, not from a rounded inner product.
            ends = net._propagate_diagonal(Diagonals(self._p, np.zeros_like(self._p)))
            self.ends = {"nngp": ends.k, "ntk": ends.theta}
        self._left: list[Array] = []
        self._right: list[Array] = []
        if self._steps is not None:
            self._left = _variances(self._steps, self._p)
            self._right = self._left if self.symmetric else _variances(self._steps, self._q)
        self._tiled = not sp.issparse(self.X) and not sp.issparse(self.Z) and d <= _TILED_FEATURES
        self._single = self._may_be_single() and self._is_tame() and self._pays()

    def _may_be_single(self) -> bool:
        n, m = self.shape
        return self._tiled and self.dtype == np.float32 and n * m >= _SINGLE_PAIRS

    def _is_tame(self) -> bool:
        """Return whether few layers with numbers of usual size make the network."""
        if len(self._left) > _SINGLE_LAYERS:
            return False
        maps = self._extremes
        if maps is None:
            return False
        least, most = _SINGLE_RANGE
        numbers = [self._p, self._q, *self._left, *self._right, *(m.params for m in maps)]
        sizes = np.abs(np.concatenate([np.asarray(x, np.float64) for x in numbers]))
        return bool(np.all((sizes == 0) | ((sizes >= least) & (sizes <= most))))

    def _pays(self) -> bool:
        """Return whether float32 is enough for most pairs of a sample, whatever the blocks."""
        rows, cols = (
            np.unique(np.linspace(0, n - 1, _SINGLE_SAMPLE).astype(np.intp)) for n in self.shape
        )
        builder = self._builder(self._maps(rows, cols) or [])
        if not builder.be_single():
            return False
        ntk = np.empty((len(rows), len(cols)), np.float32)
        to = Destination(nngp=None, ntk=ntk)
        again = builder.finish().run_points(self.X[rows], self.Z[cols], 1 / self.X.shape[1], to, 1)
        return again <= _SINGLE_SHARE * ntk.size

    def block_shape(self, bounded: bool) -> tuple[int, int]:
        """Return the rows and columns of a block that keep extra memory small."""
        maps = self._extremes
        if maps is None:
            return _square(_BLOCK_ENTRIES)
        height = max(64, _TABLE_BYTES // (8 * max(1, sum(x.left.shape[1] for x in maps))))
        width = max(64, _TABLE_BYTES // (8 * max(1, sum(x.right.shape[1] for x in maps))))
        limit = _BOUNDED_ENTRIES if bounded else None
        limit = limit if self._tiled else _PRODUCT_ENTRIES
        if limit is not None:
            tall, wide = _square(limit)
            height, width = min(height, tall), min(width, wide)
        return height, width

    @cached_property
    def _extremes(self) -> list[DualMap] | None:
        """The maps of the extreme points: their widths and constants are those of all."""
        if min(self.shape) == 0:
            return None
        ends = [[int(p.argmin()), int(p.argmax())] for p in (self._p, self._q)]
        return self._maps(np.array(ends[0]), np.array(ends[1]))

    def _maps(self, rows: Any, cols: Any) -> list[DualMap] | None:
        """Return the activations' maps between these points, None if the core cannot do it."""
        if self._steps is None:
            return None
        activations = [step.activation for step in self._steps if step.activation is not None]
        maps = []
        with one_blas_thread():
            for activation, p, q in zip(activations, self._left, self._right, strict=True):
                left = p[rows]
                right = left if q is p and cols is rows else q[cols]  # tables of one, or of both
                dual = activation._dual_map(left, right, self._tol, span(p, q))
                if dual is None:
                    return None
                maps.append(dual)
        return maps

    def fill(
        self, results: dict[str, Result], rows: slice, cols: slice, how: str, first: int = 0
    ) -> None:
        """Compute the pairs (rows, cols); row `first` of X is the first row of the results.

        how: "plain"; "mirrored", the transpose is written too; or "symmetric", rows and cols are
        the same points.
        """
        at = slice(rows.start - first, rows.stop - first)
        blocks = open_blocks(results, at, cols, how == "mirrored")
        maps = self._maps(rows, cols)
        if maps is None:
            self._fill_in_numpy(blocks, rows, cols, how)
        else:
            ends = self.ends if how == "symmetric" else {}
            nngp, ntk = (blocks.get(name, (None, None)) for name in NAMES)
            to = Destination(
                nngp=nngp[0],
                ntk=ntk[0],
                nngp_mirror=nngp[1],
                ntk_mirror=ntk[1],
                nngp_diagonal=ends["nngp"][rows] if ends else None,
                ntk_diagonal=ends["ntk"][rows] if ends else None,
                symmetric=how == "symmetric",
            )
            builder = self._builder(maps)
            scale, n_threads = 1 / self.X.shape[1], get_num_threads()
            if self._tiled:
                X, Z = self._points(self.X[rows]), self._points(self.Z[cols])
                if self._single:
                    builder.be_single()
                builder.finish().run_points(X, Z, scale, to, n_threads)
            else:
                products = self._products(rows, cols)
                builder.finish().run_products(products, scale, to, n_threads)
        for result in results.values():
            result.done()

    def _builder(self, maps: list[DualMap]) -> KernelBuilder:
        """Return a builder that holds all layers."""
        builder = KernelBuilder()
        left = iter(maps)
        for step in self._steps or ():
            if step.layer is not None:
                builder.affine(step.layer.w_std**2, step.layer.b_std**2)
            elif step.activation is not None:
                dual = next(left)
                builder.activation(dual.kind, dual.params, dual.left, dual.right)
            elif step.name == "push":
                builder.push()
            else:
                builder.add()
        return builder

    def _points(self, X: Array) -> Array:
        return X if self.X.dtype == self.Z.dtype else X.astype(np.float64)

    def _products(self, rows: slice, cols: slice) -> Array:
        """Return the inner products, in float64 whatever the input: see `_fill_in_numpy`."""
        X, Z = (A.astype(np.float64, copy=False) for A in (self.X[rows], self.Z[cols]))
        product = X @ Z.T
        return np.ascontiguousarray(product.toarray() if sp.issparse(product) else product)

    def _fill_in_numpy(self, blocks: Blocks, rows: slice, cols: slice, how: str) -> None:
        # In float64 whatever the input: near rho = 1 float32 covariances would lose half of their
        # digits in p q - c^2.
        k = self._products(rows, cols) / self.X.shape[1]
        end = self._net._propagate(
            Moments(k, np.zeros_like(k), self._p[rows, None], self._q[None, cols])
        )
        ends = {name: self.ends[name][rows] for name in NAMES} if how == "symmetric" else None
        write(blocks, {"nngp": end.k, "ntk": end.theta}, ends)


def _square(entries: int) -> tuple[int, int]:
    """Return the sides of a block of so many entries, twice as wide as high."""
    height = max(1, int((entries / 2) ** 0.5))
    return height, max(1, entries // height)
