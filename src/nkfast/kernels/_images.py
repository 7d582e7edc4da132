"""Exact kernels of networks of images.

The core (csrc/kernels/images) takes pairs of images through the layers up to the readout, a
`Flatten` or `GlobalAvgPool`. It needs the variances K(x, x)[p, p] of every pixel at every
activation. They follow a recursion of their own up to the first pool; a pool mixes pixels, so
behind it they are read from the kernels of each image with itself, of which only the pairs of
pixels near each other are needed. Layers behind the readout see one number a pair, in NumPy.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nkfast._arrays.validation import check_images
from nkfast._config import get_num_threads
from nkfast._core import LaneKind, Pairing, Readout
from nkfast.activations._dual_map import DualMap, span
from nkfast.layers import Diagonals, Moments, Row

from ._image_program import Lanes, MissingMapError, build, dual_maps, pair_in_numpy
from ._image_stages import Stages, pixel_step
from ._outputs import NAMES, Result, open_blocks, write

Array = NDArray[Any]
_TABLE_BYTES = 64 << 20  # tables of the left, or of the right, images of a block
_BLOCK_ENTRIES = 4e8  # pairs of pixels at activations in a block: about a second of one thread
_MOST_IMAGES = 512  # on either side of a block


def image_diagonal(net: Row, X: Any) -> tuple[Array, Array]:
    """Return the kernels of images with themselves; see `Sequential.diag`."""
    images = _Images(net, X, "X")
    own = images.own()
    for step in images.stages.tail:
        own = step._diagonal(own)
    return own.k.astype(images.X.dtype), own.theta.astype(images.X.dtype)


class _Images:
    """Images, and their pixels' variances."""

    def __init__(self, net: Row, X: Any, name: str, tol: float | None = None) -> None:
        self.X = check_images(X, name)
        self.stages = Stages(net, self.X.shape[1:3])
        # Maps that are series stop where they are good enough for the dtype of the result.
        self.tol = tol or (1e-8 if self.X.dtype == np.float32 else 1e-14)
        self.variances: list[Array] = []  # (n, height, width) at each activation
        self._pixels: Diagonals | None = None  # where pixels know their kernels
        self._walk()

    def __len__(self) -> int:
        return len(self.X)

    def left(self, which: slice) -> Array:
        return np.ascontiguousarray(self.X[which], np.float64)

    def _walk(self) -> None:
        k = np.einsum("nijc,nijc->nij", self.X, self.X, dtype=np.float64) / self.X.shape[3]
        d = Diagonals(k, np.zeros_like(k))
        kept: list[Diagonals] = []
        for i, stage in enumerate(self.stages.stages):
            if stage.name == "pool":
                k = self._matched(i + 1, Readout.DIAGONAL, False)[0]
                assert stage.windows is not None
                k = k.reshape(len(self), *(window.out for window in stage.windows))
                d = Diagonals(k, np.zeros_like(k))
            elif stage.name == "push":
                kept.append(d)
            elif stage.name == "add":
                start = kept.pop()
                d = Diagonals(start.k + d.k, start.theta + d.theta)
            else:
                if stage.activation is not None:
                    self.variances.append(d.k)
                d = pixel_step(stage, d)
        if self.stages.pixelwise:
            self._pixels = d

    def own(self, with_theta: bool = True) -> Diagonals:
        """Return the kernels of the images with themselves at the readout."""
        if self._pixels is not None:
            d = self._pixels
            return Diagonals(d.k.mean(axis=(1, 2)), d.theta.mean(axis=(1, 2)))
        k, theta = self._matched(len(self.stages.stages), self.stages.readout, with_theta)
        return Diagonals(k[:, 0], theta[:, 0] if with_theta else k[:, 0])

    def _matched(self, n_stages: int, readout: Readout, with_theta: bool) -> tuple[Array, Array]:
        """Return the kernels of each image with itself behind so many stages."""
        stages = self.stages.stages[:n_stages]
        activations = [s.activation for s in stages if s.activation is not None]
        n_outputs = 1
        if readout is Readout.DIAGONAL:
            assert stages[-1].windows is not None
            n_outputs = stages[-1].windows[0].out * stages[-1].windows[1].out
        shape = (len(self), n_outputs)
        k, theta = np.zeros(shape), np.zeros(shape if with_theta else (0, 0))
        lanes = Lanes(LaneKind.COLUMNS, 1)
        spans = [span(p, p) for p in self.variances] if len(self) else []
        for which in self._chunks(activations, spans):
            X = self.left(which)
            p = [v[which] for v in self.variances]
            try:
                maps = dual_maps(activations, p, p, lanes, self.tol, spans)
            except MissingMapError:
                for i in range(len(X)):
                    at = [v[i] for v in p]
                    found = pair_in_numpy(stages, X[i], X[i], at, at, readout)
                    k[which.start + i] = np.ravel(found[0])
                    if with_theta:
                        theta[which.start + i] = np.ravel(found[1])
                continue
            program = build(stages, self.X.shape[1:], lanes, maps, readout, self.tol > 1e-9)
            program.run(
                X,
                lanes.panels(X),
                Pairing.MATCHED,
                k[which],
                theta[which] if with_theta else None,
                get_num_threads(),
            )
        return k, theta

    def _chunks(self, activations: list[Any], spans: list[Any]) -> Iterator[slice]:
        n = len(self)
        if n == 0:
            return
        step = max(1, int(_TABLE_BYTES / sum(self.table_bytes(activations, spans))))
        step = min(step, 64)
        for i in range(0, n, step):
            yield slice(i, min(i + step, n))

    def table_bytes(self, activations: list[Any], spans: list[Any]) -> tuple[float, float]:
        """Return the size of the tables of one left and one right image, about."""
        left = right = 8.0
        for activation, p, ends in zip(activations, self.variances, spans, strict=False):
            one = p.ravel()[:1]
            dual = activation._dual_map(one, one, self.tol, ends)
            if dual is not None:
                left += 8.0 * dual.left.shape[1] * p[0].size
                right += 8.0 * dual.right.shape[1] * p[0].size
        return left, right


class ImagePairs:
    """All pairs of an image of X and one of Z; the interface of `_rows.RowPairs`."""

    def __init__(self, net: Row, X: Any, Z: Any) -> None:
        self.symmetric = Z is None or Z is X
        X = check_images(X, "X")
        Z = X if self.symmetric else check_images(Z, "Z")
        if X.shape[1:] != Z.shape[1:]:
            raise ValueError(
                f"Z: expected images of shape {X.shape[1:]} as in X, got {Z.shape[1:]}"
            )
        self.X, self.Z = X, Z
        self.shape = (len(X), len(Z))
        self.dtype = np.result_type(X.dtype, Z.dtype)
        tol = 1e-8 if self.dtype == np.float32 else 1e-14
        self._left = _Images(net, X, "X", tol)
        self._right = self._left if self.symmetric else _Images(net, Z, "Z", tol)
        self._stages = self._left.stages
        self._activations = [s.activation for s in self._stages.stages if s.activation is not None]
        self._lanes = Lanes.best(self._stages.pixelwise, X.shape[2], len(Z))
        self.ends: dict[str, Array] = {}
        self._p = self._q = np.zeros(0)
        self._spans: list[tuple[float, float]] = []
        if min(self.shape) == 0:
            return
        self._spans = [
            span(p, q) for p, q in zip(self._left.variances, self._right.variances, strict=True)
        ]
        if self.symmetric and self._stages.pixelwise:
            own = self._left.own()
            for step in self._stages.tail:
                own = step._diagonal(own)
            self.ends = {"nngp": own.k, "ntk": own.theta}
        self._p, self._q = np.zeros(len(X)), np.zeros(len(Z))
        if not self._stages.tail_is_affine:
            self._p = self._left.own(with_theta=False).k
            self._q = self._p if self.symmetric else self._right.own(with_theta=False).k

    def block_shape(self, bounded: bool) -> tuple[int, int]:  # noqa: ARG002
        """Return the rows and columns of a block that takes about a second."""
        if min(self.shape) == 0:
            return 1, 1
        left = self._left.table_bytes(self._activations, self._spans)[0]
        right = self._right.table_bytes(self._activations, self._spans)[1]
        side = int((_BLOCK_ENTRIES / self._stages.entries()) ** 0.5)
        images = self._lanes.images
        height = max(1, min(side, int(_TABLE_BYTES / left), _MOST_IMAGES))
        width = max(1, min(side, int(_TABLE_BYTES / right), _MOST_IMAGES))
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
