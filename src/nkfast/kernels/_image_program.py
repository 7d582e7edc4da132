"""Pairs of images as programs for the core, and in NumPy for activations that it does not know."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nkfast._config import one_blas_thread
from nkfast._core import ImageBuilder, ImageProgram, LaneKind, Readout
from nkfast.activations import Activation
from nkfast.activations._dual_map import DualMap
from nkfast.layers import Conv, Window

from ._image_stages import Stage

Array = NDArray[Any]
_PANEL = 32  # lanes come in panels of so many (kDualPad)
_MOST_LANES = 64


@dataclass(frozen=True)
class Lanes:
    """How right images are laid out: `images` of them in a tile, side by side or pixel by pixel."""

    kind: LaneKind
    images: int

    @classmethod
    def best(cls, pixelwise: bool, width: int, n: int) -> Lanes:
        """Return the layout for n right images that leaves few lanes idle."""
        if pixelwise:
            return cls(LaneKind.IMAGES, 2 * _PANEL if n > _PANEL else _PANEL)

        def cost(images: int) -> float:
            lanes = images * width
            return (_whole(lanes) + 6) / lanes  # a row of lanes has a price of its own

        most = max(1, min(n, _MOST_LANES // width))
        return cls(LaneKind.COLUMNS, min(range(1, most + 1), key=cost))

    def tiles(self, x: Array) -> Array:
        """Return (n, height, width, ...) as (tiles, rows of lanes, lanes in whole panels, ...)."""
        n, height, width = x.shape[:3]
        n_tiles = -(-n // self.images)
        x = x[np.minimum(np.arange(n_tiles * self.images), n - 1)]  # the last one again
        x = x.reshape(n_tiles, self.images, height, width, *x.shape[3:])
        if self.kind is LaneKind.IMAGES:
            x = np.moveaxis(x, 1, 3)
            x = x.reshape(n_tiles, height * width, self.images, *x.shape[4:])
        else:
            x = np.moveaxis(x, 1, 2)
            x = x.reshape(n_tiles, height, self.images * width, *x.shape[4:])
        lanes = x.shape[2]
        return x[:, :, np.minimum(np.arange(_whole(lanes)), lanes - 1)]

    def panels(self, x: Array) -> Array:
        tiled = self.tiles(x)
        n_tiles, rows, lanes, channels = tiled.shape
        panels = tiled.reshape(n_tiles, rows, lanes // _PANEL, _PANEL, channels)
        return np.ascontiguousarray(np.swapaxes(panels, 3, 4))


def _whole(lanes: int) -> int:
    return -(-lanes // _PANEL) * _PANEL


class MissingMapError(Exception):
    """An activation has no form in the core."""


def dual_maps(
    activations: Iterable[Activation],
    left: list[Array],
    right: list[Array],
    lanes: Lanes,
    tol: float,
    spans: list[tuple[float, float]],
) -> list[DualMap]:
    """Return the activations' maps between pixels, in the core's order of points."""
    maps = []
    with one_blas_thread():
        for activation, p, q, span in zip(activations, left, right, spans, strict=True):
            columns = lanes.tiles(q).ravel()
            dual = activation._dual_map(p.ravel(), columns, tol, span)
            if dual is None:
                raise MissingMapError
            maps.append(dual)
    return maps


def build(
    stages: list[Stage],
    image: tuple[int, int, int],
    lanes: Lanes,
    maps: Iterable[DualMap],
    readout: Readout,
    rough: bool,
) -> ImageProgram:
    """Return the core's program of these stages; rough: angles may have an error of 1e-9."""
    height, width, channels = image
    builder = ImageBuilder(
        height=height, width=width, channels=channels, lanes=lanes.kind, images=lanes.images
    )
    left = iter(maps)
    for stage in stages:
        if stage.name == "activation":
            dual = next(left)
            builder.activation(dual.kind, dual.params, dual.left, dual.right, rough)
        elif stage.name == "push":
            builder.push()
        elif stage.name == "add":
            builder.add()
        elif stage.name == "pool":
            assert stage.windows is not None
            rows, cols = stage.windows
            builder.pool(taps=(rows.taps, cols.taps), strides=(rows.stride, cols.stride))
        else:
            assert isinstance(stage.layer, Conv)
            assert stage.windows is not None
            rows, cols = stage.windows
            builder.conv(
                taps=(rows.taps, cols.taps),
                strides=(rows.stride, cols.stride),
                before=(rows.before, cols.before),
                out=(rows.out, cols.out),
                circular=stage.layer.padding == "CIRCULAR",
                w2=stage.layer.w_std**2 / (rows.taps * cols.taps),
                b2=stage.layer.b_std**2,
            )
    return builder.finish(readout)


# --- in NumPy ---


def pair_in_numpy(
    stages: list[Stage],
    x: Array,
    z: Array,
    left: list[Array],
    right: list[Array],
    readout: Readout,
) -> tuple[Array, Array]:
    """Return (K, Theta) of two images at a readout, as the core's programs do.

    Parameters
    ----------
    stages : list of Stage
    x, z : ndarray of shape (height, width, channels)
    left, right : list of ndarrays of shape (height, width)
        Variances of the images' pixels at each activation.
    readout : Readout
    """
    k = np.einsum("abc,dec->abde", x, z) / x.shape[2]
    theta = np.zeros_like(k)
    kept: list[tuple[Array, Array]] = []
    n_activations = 0
    for stage in stages:
        if stage.activation is not None:
            p, q = left[n_activations], right[n_activations]
            n_activations += 1
            k, slope = stage.activation._pair(p[:, :, None, None], q[None, None], k)
            theta = slope * theta
        elif stage.name == "push":
            kept.append((k, theta))
        elif stage.name == "add":
            start = kept.pop()
            k, theta = start[0] + k, start[1] + theta
        elif stage.name == "pool":
            assert stage.windows is not None
            k, theta = _pooled(k, stage.windows), _pooled(theta, stage.windows)
        else:
            assert isinstance(stage.layer, Conv)
            assert stage.windows is not None
            circular = stage.layer.padding == "CIRCULAR"
            w2, b2 = stage.layer.w_std**2, stage.layer.b_std**2
            k = w2 * _convolved(k, stage.windows, circular) + b2
            theta = w2 * _convolved(theta, stage.windows, circular) + k
    if readout is Readout.MEAN:
        return k.mean(), theta.mean()
    same = np.einsum("abab->ab", k), np.einsum("abab->ab", theta)
    return same if readout is Readout.DIAGONAL else (same[0].mean(), same[1].mean())


def _starts(window: Window, tap: int) -> slice:
    return slice(tap, tap + (window.out - 1) * window.stride + 1, window.stride)


def _convolved(k: Array, windows: tuple[Window, Window], circular: bool) -> Array:
    """Return the means of k[s p + o, s p' + o] over the filter, along rows and then columns."""
    for axis, window in enumerate(windows):
        before = window.before
        after = max((window.out - 1) * window.stride + window.taps - window.size - before, 0)
        pads = [(0, 0)] * 4
        pads[axis] = pads[axis + 2] = (before, after)
        padded = np.pad(k, pads, mode="wrap" if circular else "constant")
        index: list[Any] = [slice(None)] * 4
        total: Array = np.zeros(1)
        for tap in range(window.taps):
            index[axis] = index[axis + 2] = _starts(window, tap)
            total = total + padded[tuple(index)]
        k = total / window.taps
    return k


def _pooled(k: Array, windows: tuple[Window, Window]) -> Array:
    """Return the means over a window of p and one of p'."""
    for axis in range(4):
        window = windows[axis % 2]
        index: list[Any] = [slice(None)] * 4
        total: Array = np.zeros(1)
        for tap in range(window.taps):
            index[axis] = _starts(window, tap)
            total = total + k[tuple(index)]
        k = total / window.taps
    return k
