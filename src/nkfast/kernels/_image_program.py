"""Pairs of images as programs for the core, and in NumPy for activations that it does not know."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from nkfast._arrays.validation import Array
from nkfast._config import one_blas_thread
from nkfast._core import ImageBuilder, ImageProgram, LaneKind, Readout
from nkfast.activations import Activation
from nkfast.activations._dual_map import DualMap
from nkfast.layers import Moments

from ._image_stages import Kind, Stage

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
            dual = activation._core_map(p.ravel(), columns, tol, span)
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
        if stage.kind is Kind.ACTIVATION:
            dual = next(left)
            builder.activation(dual.kind, dual.params, dual.left, dual.right, rough)
        elif stage.kind is Kind.PUSH:
            builder.push()
        elif stage.kind is Kind.ADD:
            builder.add()
        else:
            assert stage.windows is not None
            rows, cols = stage.windows
            taps, strides = (rows.taps, cols.taps), (rows.stride, cols.stride)
            if stage.kind is Kind.POOL:
                builder.pool(taps=taps, strides=strides)
                continue
            builder.conv(
                taps=taps,
                strides=strides,
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
    unknown = np.full((1, 1, 1, 1), np.nan)
    m = Moments(k, np.zeros_like(k), unknown, unknown)
    kept: list[Moments] = []
    variances = zip(left, right, strict=False)
    for stage in stages:
        if stage.kind is Kind.PUSH:
            kept.append(m)
        elif stage.kind is Kind.ADD:
            start = kept.pop()
            m = Moments(start.k + m.k, start.theta + m.theta, unknown, unknown)
        else:
            if stage.kind is Kind.ACTIVATION:
                p, q = next(variances)
                m = Moments(m.k, m.theta, p[:, :, None, None], q[None, None])
            m = stage.layer._pairs(m)
    if readout is Readout.MEAN:
        return m.k.mean(), m.theta.mean()
    same = np.einsum("abab->ab", m.k), np.einsum("abab->ab", m.theta)
    return same if readout is Readout.DIAGONAL else (same[0].mean(), same[1].mean())
