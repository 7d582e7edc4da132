"""Exact kernels of networks of images.

The core (csrc/kernels/images) takes pairs of images through the layers up to the readout, a
`Flatten` or `GlobalAvgPool`, given the variances of every pixel at every activation (see
`_image_points`). Layers behind the readout see one number a pair, in NumPy.
"""

from __future__ import annotations

import numpy as np

from nkfast._arrays.validation import Array
from nkfast._config import get_num_threads
from nkfast._core import Pairing
from nkfast.activations._dual_map import DualMap
from nkfast.layers import Diagonals, Moments

from ._image_points import TABLE_BYTES, ImagePoints
from ._image_program import Lanes, MissingMapError, build, dual_maps, pair_in_numpy
from ._outputs import NAMES, Result, open_blocks, write

_BLOCK_ENTRIES = 4e8  # pairs of pixels at activations in a block: about a second of one thread
_MOST_IMAGES = 512  # on either side of a block


class ImagePairs:
    """All pairs of an image of X and one of Z; the interface of `_rows.RowPairs`."""

    def __init__(self, left: ImagePoints, right: ImagePoints) -> None:
        self.symmetric = left is right
        self.X, self.Z = left.X, right.X
        if self.X.shape[1:] != self.Z.shape[1:]:
            raise ValueError(
                f"Z: expected images of shape {self.X.shape[1:]} as in X, got {self.Z.shape[1:]}"
            )
        self.shape = (len(left), len(right))
        self.dtype = np.result_type(self.X.dtype, self.Z.dtype)
        # Maps that are series stop where they are good enough for the dtype of the result.
        tol = 1e-8 if self.dtype == np.float32 else 1e-14
        self._left = left.at(tol)
        self._right = self._left if self.symmetric else right.at(tol)
        self._stages = self._left.stages
        self._activations = self._stages.activations
        self._lanes = Lanes.best(self._stages.pixelwise, self.X.shape[2], len(right))
        self.ends: dict[str, Array] = {}
        self._p = self._q = np.zeros(0)
        self._spans: list[tuple[float, float]] = []
        if min(self.shape) == 0:
            return
        both = zip(self._left.spans, self._right.spans, strict=True)
        self._spans = [(min(a[0], b[0]), max(a[1], b[1])) for a, b in both]
        if self.symmetric and self._stages.pixelwise:
            self.ends = self._left.own._asdict()
        self._p, self._q = np.zeros(len(left)), np.zeros(len(right))
        if not self._stages.tail_is_affine:
            self._p = self._left.readout(with_theta=False).k
            self._q = self._p if self.symmetric else self._right.readout(with_theta=False).k

    def block_shape(self, bounded: bool) -> tuple[int, int]:  # noqa: ARG002
        """Return the rows and columns of a block that takes about a second."""
        if min(self.shape) == 0:
            return 1, 1
        left = self._left.table_bytes(self._activations, self._spans)[0]
        right = self._right.table_bytes(self._activations, self._spans)[1]
        side = int((_BLOCK_ENTRIES / self._stages.entries()) ** 0.5)
        images = self._lanes.images
        height = max(1, min(side, int(TABLE_BYTES / left), _MOST_IMAGES))
        width = max(1, min(side, int(TABLE_BYTES / right), _MOST_IMAGES))
        return height, -(-width // images) * images

    def fill(
        self, results: dict[str, Result], rows: slice, cols: slice, how: str, first: int = 0
    ) -> None:
        """Compute the pairs (rows, cols); see `_rows.RowPairs.fill`."""
        at = slice(rows.start - first, rows.stop - first)
        blocks = open_blocks(results, at, cols, how == "mirrored")
        k, theta = self._readout(rows, cols, how == "symmetric", "ntk" in results)
        m = Moments(k, theta, self._p[rows, None], self._q[None, cols])
        for step in self._stages.tail:
            m = step._pairs(m)
        ends = self._ends(k, theta, rows) if how == "symmetric" else None
        write(blocks, {"nngp": m.k, "ntk": m.theta}, ends)
        for result in results.values():
            result.done()

    def _maps(self, rows: slice, cols: slice) -> list[DualMap]:
        left = [p[rows] for p in self._left.variances]
        right = [p[cols] for p in self._right.variances]
        return dual_maps(self._activations, left, right, self._lanes, self._left.tol, self._spans)

    def _readout(
        self, rows: slice, cols: slice, symmetric: bool, with_theta: bool
    ) -> tuple[Array, Array]:
        """Return the kernels at the readout; of symmetric ones only the upper triangle."""
        stages, readout = self._stages.stages, self._stages.readout
        X, Z = self._left.left(rows), self._right.left(cols)
        try:
            maps = self._maps(rows, cols)
        except MissingMapError:
            k, theta = np.zeros((2, len(X), len(Z)))
            for i in range(len(X)):
                for j in range(i if symmetric else 0, len(Z)):
                    left = [p[rows.start + i] for p in self._left.variances]
                    right = [q[cols.start + j] for q in self._right.variances]
                    k[i, j], theta[i, j] = pair_in_numpy(stages, X[i], Z[j], left, right, readout)
            return k, theta
        program = build(stages, X.shape[1:], self._lanes, maps, readout, self._left.tol > 1e-9)
        panels = self._lanes.panels(Z)
        shape = (len(X), len(panels) * self._lanes.images)
        k, theta = np.zeros((2, *shape))
        pairing = Pairing.UPPER if symmetric else Pairing.ALL
        program.run(X, panels, pairing, k, theta if with_theta else None, get_num_threads())
        return k[:, : len(Z)], theta[:, : len(Z)]

    def _ends(self, k: Array, theta: Array, rows: slice) -> dict[str, Array]:
        """Return the diagonals behind the last layer, from the kernels at the readout."""
        if self.ends:
            return {name: self.ends[name][rows] for name in NAMES}
        own = Diagonals(np.diag(k), np.diag(theta))
        for step in self._stages.tail:
            own = step._diagonal(own)
        return {"nngp": own.k, "ntk": own.theta}
