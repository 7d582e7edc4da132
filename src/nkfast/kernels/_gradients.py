"""Derivatives of exact kernels of networks of rows in hyperparameters.

The core takes each pair with its derivatives through all layers (csrc/kernels/tangents.hpp). What
it needs of points and parameters alone comes from complex steps: copies of the network whose
hyperparameter v is v (1 + ih).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nkfast._arrays.blocks import slices
from nkfast._arrays.validation import Array
from nkfast._config import get_num_threads, one_blas_thread
from nkfast._core import TangentBuilder, TangentProgram
from nkfast.activations import Activation
from nkfast.activations._complex_steps import STEP
from nkfast.activations._dual_map import DualMap
from nkfast.layers import Diagonals, Row

from ._outputs import Kernel, aligned
from ._points import RowPoints
from ._row_steps import Affine, Push, RowSteps
from ._rows import RowPairs

_TABLE_BYTES = 128 << 20  # tables of the rows, or of the columns, of a block


def gradient(points: RowPoints, nets: Sequence[Row], get: Kernel) -> Array | None:
    """Return the derivatives of a kernel of points with themselves, (len(nets), n, n).

    Parameters
    ----------
    points : RowPoints
        In float64.
    nets : sequence of Row
        The network of the points with a complex step in one hyperparameter each.
    get : {"nngp", "ntk"}

    Returns
    -------
    ndarray or None
        None if the core has no form of an activation's derivatives.
    """
    return _Gradients(points, nets).compute(get)


class _Moving(NamedTuple):
    """The derivatives of an activation's parameters, (m * params,), and of its points, (n, m)."""

    params: Array
    points: Array


class _Gradients(RowPairs):
    """Pairs of points with themselves, and the derivatives of what each brings along."""

    def __init__(self, points: RowPoints, nets: Sequence[Row]) -> None:
        super().__init__(points, points)
        self._nets = nets
        self._moved = [RowSteps(net) for net in nets]
        self._p = points.p + 0j  # complex from the start: no layer need look for it

    def compute(self, get: Kernel) -> Array | None:
        n = self.shape[0]
        out = aligned((len(self._nets), n, n), np.dtype(np.float64))
        if not out.size:
            return out
        maps = self._tangent_maps(*(slice(0, 1),) * 2)
        if maps is None:
            return None
        tangents = self._tangents()
        ends = self._diagonals(get)
        width = sum(dual.left.shape[1] for dual in maps)
        height = max(64, _TABLE_BYTES // (8 * max(1, width)))
        if not self._tiled:
            height = min(height, self.block_shape(False)[0])
        for rows in slices(0, n, height):
            self._fill(out, rows, rows, get, tangents, np.ascontiguousarray(ends[:, rows]))
            for cols in slices(rows.stop, n, height):
                self._fill(out, rows, cols, get, tangents, None)
        return out

    def _tangents(self) -> list[_Moving]:
        """Return how each activation's parameters and its points move."""
        found = []
        for steps in self._moved:
            known = zip(steps.activations, steps.variances(self._p)[0], strict=True)
            found.append([activation._tangents(p) for activation, p in known])
        moving = []
        for of_one in zip(*found, strict=True):
            params = [np.imag(m[0]) / STEP for m in of_one if m is not None]
            points = [np.imag(m[1]) / STEP for m in of_one if m is not None]
            moving.append(_Moving(np.concatenate(params), np.column_stack(points)))
        return moving

    def _tangent_maps(self, rows: slice, cols: slice) -> list[DualMap] | None:
        known = zip(
            self._left.steps.activations,
            self._left.variances,
            self._tols,
            self._spans,
            strict=True,
        )
        maps = []
        with one_blas_thread():
            for activation, variances, tol, span in known:
                p = variances[rows]
                q = p if rows == cols else variances[cols]
                dual = activation._tangent_map(p, q, tol, span)
                if dual is None:
                    return None
                maps.append(dual)
        return maps

    def _diagonals(self, get: Kernel) -> Array:
        """Return the derivatives of the exact diagonal, (m, n)."""
        ends = [net._propagate_diagonal(Diagonals(self._p, 0 * self._p)) for net in self._nets]
        return np.stack([(end.k if get == "nngp" else end.theta).imag / STEP for end in ends])

    def _program(self, rows: slice, cols: slice, tangents: list[_Moving]) -> TangentProgram:
        builder = TangentBuilder(len(self._nets))
        left = zip(self._tangent_maps(rows, cols) or [], tangents, strict=True)
        for i, step in enumerate(self._left.steps.steps):
            if isinstance(step, Affine):
                moved = [steps.steps[i] for steps in self._moved]
                moves = [(np.imag(m.w2), np.imag(m.b2)) for m in moved if isinstance(m, Affine)]
                dw2, db2 = (np.array(moves) / STEP).T
                builder.affine(step.w2, step.b2, dw2, db2)
            elif isinstance(step, Activation):
                dual, (params, points) = next(left)
                builder.activation(
                    dual.kind,
                    dual.params,
                    params,
                    np.ascontiguousarray(dual.left),
                    np.ascontiguousarray(points[rows]),
                    np.ascontiguousarray(dual.right),
                    np.ascontiguousarray(points[cols]),
                )
            elif isinstance(step, Push):
                builder.push()
            else:
                builder.add()
        return builder.finish()

    def _fill(
        self,
        out: Array,
        rows: slice,
        cols: slice,
        get: Kernel,
        tangents: list[_Moving],
        ends: Array | None,
    ) -> None:
        """Compute a block; with exact diagonals one on the diagonal, else with its transpose."""
        program = self._program(rows, cols, tangents)
        to = get == "ntk", out, rows.start, cols.start, ends, get_num_threads()
        scale = 1 / self.X.shape[1]
        if self._tiled:
            program.run_points(self.X[rows], self.X[cols], scale, *to)
        else:
            program.run_products(self._products(rows, cols), scale, *to)
