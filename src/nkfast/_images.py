"""Networks of images as the core takes them: stages of known shapes, layouts, programs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._config import one_blas_thread
from ._core import ImageProgram
from .activations import Activation
from .activations._dual_map import DualMap
from .layers import (
    Activated,
    AvgPool,
    Conv,
    Diagonals,
    Flatten,
    GlobalAvgPool,
    Layer,
    Residual,
    Row,
    Window,
)

Array = NDArray[Any]
_PANEL = 32  # lanes come in panels of so many (kDualPad)
_MOST_LANES = 64


@dataclass(frozen=True)
class Stage:
    """A step of the core: "conv", "activation", "push", "add" or "pool"."""

    name: str
    shape: tuple[int, int]  # of the images that enter
    layer: Layer | None = None
    activation: Activation | None = None
    windows: tuple[Window, Window] | None = None


class Stages:
    """A network of images of one shape: stages up to the readout, and the layers behind."""

    def __init__(self, net: Row, shape: tuple[int, int]) -> None:
        self.stages: list[Stage] = []
        self.readout = "flatten"
        self.tail: list[Layer] = []
        steps = net._steps()
        end = shape
        for i, step in enumerate(steps):
            if isinstance(step, (Flatten, GlobalAvgPool)):
                self.readout = "mean" if isinstance(step, GlobalAvgPool) else "flatten"
                self.tail = [s for s in steps[i + 1 :] if not isinstance(s, Flatten)]
                break
            end = self._append(step, f"layer {i}", end)
        self.shape = end  # at the readout
        # Without pools, pixels at unlike positions never meet.
        self.pixelwise = self.readout == "flatten" and all(s.name != "pool" for s in self.stages)

    def _append(self, step: Layer, name: str, shape: tuple[int, int]) -> tuple[int, int]:
        if isinstance(step, Activated):
            self.stages.append(Stage("activation", shape, activation=step.activation))
            return shape
        if isinstance(step, Residual):
            self.stages.append(Stage("push", shape))
            end = shape
            for i, inner in enumerate(step._steps()):
                end = self._append(inner, f"{name}, Residual: layer {i}", end)
            if end != shape:
                raise ValueError(
                    f"{name}, Residual: expected a branch that keeps the shape of images, got "
                    f"{end} from {shape}"
                )
            self.stages.append(Stage("add", shape))
            return shape
        assert isinstance(step, (Conv, AvgPool))
        try:
            windows = step._windows(shape)
        except ValueError as error:
            raise ValueError(f"{name}, {type(step).__name__}: {error}") from None
        out = (windows[0].out, windows[1].out)
        if isinstance(step, Conv):
            self.stages.append(Stage("conv", shape, layer=step, windows=windows))
        elif out != shape or step.window != (1, 1):
            self.stages.append(Stage("pool", shape, layer=step, windows=windows))
        return out

    @property
    def tail_is_affine(self) -> bool:
        """Whether the layers behind the readout need no variances."""
        return not any(_has_activation(step) for step in self.tail)

    def entries(self) -> float:
        """Return how many pairs of pixels of a pair of images meet at activations."""
        sizes = [s.shape[0] * s.shape[1] for s in self.stages if s.name in ("activation", "conv")]
        return float(sum(n if self.pixelwise else n * n for n in sizes)) / 2 + 1


def _has_activation(step: Layer) -> bool:
    if isinstance(step, Residual):
        return any(_has_activation(inner) for inner in step._steps())
    return isinstance(step, Activated)


# --- pixels with themselves ---


def window_mean(x: Array, windows: tuple[Window, Window], circular: bool) -> Array:
    """Return means over windows of (n, height, width), the padding counted as zeros."""
    for axis, window in zip((1, 2), windows, strict=True):
        before = window.before
        after = max((window.out - 1) * window.stride + window.taps - window.size - before, 0)
        pads = [(0, 0)] * 3
        pads[axis] = (before, after)
        padded = np.pad(x, pads, mode="wrap" if circular else "constant")
        index: list[Any] = [slice(None)] * 3
        total: Array = np.zeros(1)
        for tap in range(window.taps):
            index[axis] = slice(tap, tap + (window.out - 1) * window.stride + 1, window.stride)
            total = total + padded[tuple(index)]
        x = total / window.taps
    return x


def pixel_step(stage: Stage, d: Diagonals) -> Diagonals:
    """Take the kernels of pixels with themselves through a convolution or an activation."""
    if stage.activation is not None:
        k, slope = stage.activation._diagonal(d.k)
        return Diagonals(k, slope * d.theta)
    assert isinstance(stage.layer, Conv)
    assert stage.windows is not None
    circular = stage.layer.padding == "CIRCULAR"
    w2, b2 = stage.layer.w_std**2, stage.layer.b_std**2
    k = w2 * window_mean(d.k, stage.windows, circular) + b2
    return Diagonals(k, w2 * window_mean(d.theta, stage.windows, circular) + k)


@dataclass(frozen=True)
class Lanes:
    """How right images are laid out: `images` of them in a tile, side by side or pixel by pixel."""

    are_images: bool
    images: int

    @classmethod
    def best(cls, pixelwise: bool, width: int, n: int) -> Lanes:
        """Return the layout for n right images that leaves few lanes idle."""
        if pixelwise:
            return cls(True, 2 * _PANEL if n > _PANEL else _PANEL)

        def cost(images: int) -> float:
            lanes = images * width
            return (_whole(lanes) + 6) / lanes  # a row of lanes has a price of its own

        most = max(1, min(n, _MOST_LANES // width))
        return cls(False, min(range(1, most + 1), key=cost))

    def tiles(self, x: Array) -> Array:
        """Return (n, height, width, ...) as (tiles, rows of lanes, lanes in whole panels, ...)."""
        n, height, width = x.shape[:3]
        n_tiles = -(-n // self.images)
        x = x[np.minimum(np.arange(n_tiles * self.images), n - 1)]  # the last one again
        x = x.reshape(n_tiles, self.images, height, width, *x.shape[3:])
        if self.are_images:
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
    readout: str,
    rough: bool,
) -> ImageProgram:
    """Return the core's program of these stages; rough: angles may have an error of 1e-9."""
    program = ImageProgram(*image, lanes.are_images, lanes.images)
    left = iter(maps)
    for stage in stages:
        if stage.name == "activation":
            dual = next(left)
            program.activation(dual.kind, dual.params, dual.left, dual.right, rough)
        elif stage.name == "push":
            program.push()
        elif stage.name == "add":
            program.add()
        elif stage.name == "pool":
            assert stage.windows is not None
            rows, cols = stage.windows
            program.pool((rows.taps, rows.stride), (cols.taps, cols.stride))
        else:
            assert isinstance(stage.layer, Conv)
            assert stage.windows is not None
            rows, cols = stage.windows
            program.conv(
                (rows.taps, rows.stride, rows.before, rows.out),
                (cols.taps, cols.stride, cols.before, cols.out),
                stage.layer.padding == "CIRCULAR",
                stage.layer.w_std**2 / (rows.taps * cols.taps),
                stage.layer.b_std**2,
            )
    program.finish(readout)
    return program
