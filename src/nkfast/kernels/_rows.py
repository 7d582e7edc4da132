"""Exact kernels of networks of rows.

The core takes each row of a tile of inner products through all layers while it is in cache
(csrc/kernels). Networks with an activation that has no compiled map go through the same blocks in
NumPy.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import scipy.sparse as sp

from nkfast._arrays.rows import inner_products
from nkfast._arrays.validation import Array
from nkfast._config import get_num_threads, one_blas_thread
from nkfast._core import Destination
from nkfast.activations._dual_map import DualMap
from nkfast.layers import Moments

from ._outputs import NAMES, Blocks, Result, open_blocks, write
from ._points import TABLE_BYTES, RowPoints

_BLOCK_ENTRIES = 1 << 18  # entries of a block that NumPy computes: a few MB of temporaries
_PRODUCT_ENTRIES = 1 << 20  # entries of a block of inner products from BLAS or scipy.sparse
_BOUNDED_ENTRIES = 1 << 22  # entries of a block that is buffered, or whose pages are let go
_TILED_FEATURES = 16384  # up to here the core computes the inner products, in cache
# Float32 kernels of float32 rows are computed in float32, and again in float64 where |rho| is too
# near 1 for that, unless the network is deep, numbers are extreme, most pairs are of that kind, or
# they are so few that finding out would take longer than float64 does.
_SINGLE_PAIRS = 1 << 17
_SINGLE_LAYERS = 8
_SINGLE_RANGE = (1e-12, 1e12)
_SINGLE_SAMPLE = 64  # rows and columns of pairs that tell
_SINGLE_SHARE = 0.2  # of pairs in float64


class RowPairs:
    """All pairs of a row of X and a row of Z, and what each point brings along."""

    def __init__(self, left: RowPoints, right: RowPoints) -> None:
        self._left, self._right = left, right
        self.symmetric = left is right
        self.X, self.Z = left.X, right.X
        d = self.X.shape[1]
        if self.Z.shape[1] != d:
            raise ValueError(f"Z: expected {d} features as in X, got {self.Z.shape[1]}")
        self.shape = (len(left), len(right))
        self.dtype = np.result_type(self.X.dtype, self.Z.dtype)
        # Maps that are series stop where they are good enough for the dtype of the result: the last
        # one, since near 1 and -1 an activation behind makes roots of errors in correlations.
        self._tols = [1e-14] * len(left.variances)
        if self._tols and self.dtype == np.float32:
            self._tols[-1] = 1e-7
        # The exact diagonal: from c = p = q, not from a rounded inner product.
        self.ends: dict[str, Array] = left.own._asdict() if self.symmetric else {}
        self._tiled = not sp.issparse(self.X) and not sp.issparse(self.Z) and d <= _TILED_FEATURES
        self._single = self._may_be_single() and self._is_tame() and self._pays()

    def _may_be_single(self) -> bool:
        n, m = self.shape
        return self._tiled and self.dtype == np.float32 and n * m >= _SINGLE_PAIRS

    def _is_tame(self) -> bool:
        """Return whether few layers with numbers of usual size make the network."""
        left, right = self._left, self._right
        if len(left.variances) > _SINGLE_LAYERS:
            return False
        maps = self._extremes
        if maps is None:
            return False
        least, most = _SINGLE_RANGE
        numbers = [left.p, right.p, *left.variances, *right.variances, *(m.params for m in maps)]
        sizes = np.abs(np.concatenate([np.asarray(x, np.float64) for x in numbers]))
        return bool(np.all((sizes == 0) | ((sizes >= least) & (sizes <= most))))

    def _pays(self) -> bool:
        """Return whether float32 is enough for most pairs of a sample, whatever the blocks."""
        rows, cols = (
            np.unique(np.linspace(0, n - 1, _SINGLE_SAMPLE).astype(np.intp)) for n in self.shape
        )
        builder = self._left.steps.builder(self._some_maps(rows, cols) or [])
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
        height = max(64, TABLE_BYTES // (8 * max(1, sum(x.left.shape[1] for x in maps))))
        width = max(64, TABLE_BYTES // (8 * max(1, sum(x.right.shape[1] for x in maps))))
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
        ends = [[int(p.argmin()), int(p.argmax())] for p in (self._left.p, self._right.p)]
        return self._some_maps(np.array(ends[0]), np.array(ends[1]))

    @cached_property
    def _spans(self) -> list[tuple[float, float]]:
        """The least and the largest variance at each activation, of both sides."""
        both = zip(self._left.spans, self._right.spans, strict=True)
        return [(min(a[0], b[0]), max(a[1], b[1])) for a, b in both]

    def _some_maps(self, rows: Array, cols: Array) -> list[DualMap] | None:
        """Return the activations' maps between a few points, None if the core cannot do it."""
        left, right = self._left, self._right
        known = zip(
            left.steps.activations,
            left.variances,
            right.variances,
            self._tols,
            self._spans,
            strict=True,
        )
        maps = []
        # BLAS threads that wait for more work would take the core from the loops that follow.
        with one_blas_thread():
            for activation, p, q, tol, span in known:
                dual = activation._core_map(p[rows], q[cols], tol, span)
                if dual is None:
                    return None
                maps.append(dual)
        return maps

    def _maps(self, rows: slice, cols: slice) -> list[DualMap] | None:
        """Return the activations' maps between these points, None if the core cannot do it."""
        known = self._extremes
        if known is None:
            return None
        left, right = self._left, self._right
        keep_left, keep_right = (
            left.few(sum(x.left.shape[1] for x in known)),
            right.few(sum(x.right.shape[1] for x in known)),
        )
        maps = []
        for i, (dual, tol, span) in enumerate(zip(known, self._tols, self._spans, strict=True)):
            if self.symmetric and rows == cols:
                keep = keep_left and keep_right
                tables = left.tables(i, rows, ("left", "right"), tol, span, keep)
            else:
                tables = left.tables(i, rows, ("left",), tol, span, keep_left)
                tables |= right.tables(i, cols, ("right",), tol, span, keep_right)
            maps.append(DualMap(dual.kind, dual.params, tables["left"], tables["right"]))
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
            builder = self._left.steps.builder(maps)
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

    def _points(self, X: Array) -> Array:
        return X if self.X.dtype == self.Z.dtype else X.astype(np.float64)

    def _products(self, rows: slice, cols: slice) -> Array:
        """Return the inner products, in float64 whatever the input: see `_fill_in_numpy`."""
        X, Z = (A.astype(np.float64, copy=False) for A in (self.X[rows], self.Z[cols]))
        return inner_products(X, Z)

    def _fill_in_numpy(self, blocks: Blocks, rows: slice, cols: slice, how: str) -> None:
        # In float64 whatever the input: near rho = 1 float32 covariances would lose half of their
        # digits in p q - c^2.
        k = self._products(rows, cols) / self.X.shape[1]
        p, q = self._left.p[rows, None], self._right.p[None, cols]
        end = self._left.net._propagate(Moments(k, np.zeros_like(k), p, q))
        ends = {name: self.ends[name][rows] for name in NAMES} if how == "symmetric" else None
        write(blocks, {"nngp": end.k, "ntk": end.theta}, ends)


def _square(entries: int) -> tuple[int, int]:
    """Return the sides of a block of so many entries, twice as wide as high."""
    height = max(1, int((entries / 2) ** 0.5))
    return height, max(1, entries // height)
