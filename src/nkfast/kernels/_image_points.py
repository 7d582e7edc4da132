"""Images that are prepared for kernels: checked once, and their pixels' variances computed once.

The variances K(x, x)[p, p] of every pixel follow a recursion of their own up to the first pool; a
pool mixes pixels, so behind it they are read from the kernels of each image with itself, of which
only the pairs of pixels near each other are needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from nkfast._arrays.memory import refuse_bytes
from nkfast._arrays.validation import Array, check_images
from nkfast._config import get_num_threads
from nkfast._core import LaneKind, Pairing, Readout
from nkfast.activations._dual_map import span
from nkfast.layers import Diagonals, Row

from ._image_program import Lanes, MissingMapError, build, dual_maps, pair_in_numpy
from ._image_stages import Kind, Stages
from ._points import Diagonal, check_size

TABLE_BYTES = 64 << 20  # tables of the left, or of the right, images of a block


class ImagePoints:
    """Images prepared for the kernels of a network.

    Parameters
    ----------
    net : Row
    X : array_like of shape (n, h, w, c)
    name : str, default="X"
        What error messages call them.
    tol : float, optional
        How exact maps that are series have to be; by default as their dtype wants it.

    Attributes
    ----------
    X : ndarray of shape (n, h, w, c)
        The images, checked.
    stages : Stages
        The network for images of this shape.
    variances : list of ndarray of shape (n, height, width)
        Those of the pixels at each activation.
    spans : list of tuple of float
        The least and the largest of each; of a part of some images, those of all.
    """

    def __init__(self, net: Row, X: Any, name: str = "X", tol: float | None = None) -> None:
        self.net = net
        self.X = check_images(X, name)
        self.stages = Stages(net, self.X.shape[1:3])
        activated = [s.shape for s in self.stages.stages if s.kind is Kind.ACTIVATION]
        size = 8 * len(self.X) * sum(height * width for height, width in activated)
        refuse_bytes(size, name, f"variances of all pixels of {len(self.X)} images")
        # Maps that are series stop where they are good enough for the dtype of the result.
        self.tol = tol or (1e-8 if self.X.dtype == np.float32 else 1e-14)
        self.variances: list[Array] = []  # (n, height, width) at each activation
        self._pixels: Diagonals | None = None  # where pixels know their kernels
        self._own: dict[bool, Diagonals] = {}  # kernels at the readout, with and without the NTK
        self._at: dict[float, ImagePoints] = {}
        with np.errstate(over="ignore", invalid="ignore"):  # which is refused
            self._walk(name)
        self.spans = [span(v, v) for v in self.variances] if len(self) else []

    def __len__(self) -> int:
        return len(self.X)

    def __getitem__(self, which: slice | Array) -> ImagePoints:
        """Return some of the images; nothing is computed anew."""
        part = object.__new__(ImagePoints)
        part.net, part.X, part.stages, part.tol = self.net, self.X[which], self.stages, self.tol
        part.variances, part.spans = [v[which] for v in self.variances], self.spans
        own = self._pixels
        part._pixels = own and Diagonals(own.k[which], own.theta[which])
        part._own = {key: Diagonals(d.k[which], d.theta[which]) for key, d in self._own.items()}
        part._at = {tol: points[which] for tol, points in self._at.items()}
        return part

    def at(self, tol: float) -> ImagePoints:
        """Return the same images for maps of another exactness."""
        if tol == self.tol:
            return self
        if tol not in self._at:
            self._at[tol] = ImagePoints(self.net, self.X, tol=tol)
        return self._at[tol]

    @property
    def own(self) -> Diagonal:
        """Their kernels with themselves behind the last layer."""
        end = self.readout()
        for step in self.stages.tail:
            end = step._diagonal(end)
        return Diagonal(end.k, end.theta)

    def diagonal(self) -> Diagonal:
        """Return the kernels of the images with themselves, in their dtype."""
        return Diagonal(*(values.astype(self.X.dtype) for values in self.own))

    def left(self, which: slice) -> Array:
        return np.ascontiguousarray(self.X[which], np.float64)

    def _walk(self, name: str) -> None:
        k = np.einsum("nijc,nijc->nij", self.X, self.X, dtype=np.float64) / self.X.shape[3]
        check_size(k, f"squares of the pixels of {name}", np.float64)
        d = Diagonals(k, np.zeros_like(k))
        kept: list[Diagonals] = []
        for i, stage in enumerate(self.stages.stages):
            if stage.kind is Kind.POOL:
                k = self._matched(i + 1, Readout.DIAGONAL, False)[0]
                k = k.reshape(len(self), *stage.out)
                d = Diagonals(k, np.zeros_like(k))
            elif stage.kind is Kind.PUSH:
                kept.append(d)
            elif stage.kind is Kind.ADD:
                start = kept.pop()
                d = Diagonals(start.k + d.k, start.theta + d.theta)
            else:
                if stage.kind is Kind.ACTIVATION:
                    check_size(d.k, f"variances of the pixels of {name}", np.float64)
                    self.variances.append(d.k)
                d = stage.layer._diagonal(d)
        # A mean over pairs of pixels is at most the largest of the pixels' own.
        end = Diagonals(*(np.array([v.max(initial=0.0)]) for v in (d.k, d.theta)))
        for step in self.stages.tail:
            # What a step like Sign makes finite again has no NTK.
            check_size(np.append(end.k, end.theta), f"kernels of pixels of {name}", np.float64)
            end = step._diagonal(end)
        check_size(end.k, f"kernels of {name}", self.X.dtype)
        if self.stages.pixelwise:
            self._pixels = d

    def readout(self, with_theta: bool = True) -> Diagonals:
        """Return the kernels of the images with themselves at the readout."""
        if self._pixels is not None:
            d = self._pixels
            return Diagonals(d.k.mean(axis=(1, 2)), d.theta.mean(axis=(1, 2)))
        if with_theta not in self._own:
            k, theta = self._matched(len(self.stages.stages), self.stages.readout, with_theta)
            self._own[with_theta] = Diagonals(k[:, 0], theta[:, 0] if with_theta else k[:, 0])
        return self._own[with_theta]

    def _matched(self, n_stages: int, readout: Readout, with_theta: bool) -> tuple[Array, Array]:
        """Return the kernels of each image with itself behind so many stages."""
        stages = self.stages.stages[:n_stages]
        activations = [s.activation for s in stages if s.activation is not None]
        n_outputs = 1
        if readout is Readout.DIAGONAL:
            n_outputs = stages[-1].out[0] * stages[-1].out[1]
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
        step = max(1, int(TABLE_BYTES / sum(self.table_bytes(activations, spans))))
        step = min(step, 64)
        for i in range(0, n, step):
            yield slice(i, min(i + step, n))

    def table_bytes(self, activations: list[Any], spans: list[Any]) -> tuple[float, float]:
        """Return the size of the tables of one left and one right image, about."""
        left = right = 8.0
        for activation, p, ends in zip(activations, self.variances, spans, strict=False):
            one = p.ravel()[:1]
            dual = activation._core_map(one, one, self.tol, ends)
            if dual is not None:
                left += 8.0 * dual.left.shape[1] * p[0].size
                right += 8.0 * dual.right.shape[1] * p[0].size
        return left, right
