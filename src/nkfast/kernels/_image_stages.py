"""Networks of images as stages of known shapes, and pixels with themselves on their way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nkfast._core import Readout
from nkfast.activations import Activation
from nkfast.layers import (
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
        self.readout = Readout.FLATTEN
        self.tail: list[Layer] = []
        steps = net._steps()
        end = shape
        for i, step in enumerate(steps):
            if isinstance(step, (Flatten, GlobalAvgPool)):
                mean = isinstance(step, GlobalAvgPool)
                self.readout = Readout.MEAN if mean else Readout.FLATTEN
                self.tail = [s for s in steps[i + 1 :] if not isinstance(s, Flatten)]
                break
            end = self._append(step, f"layer {i}", end)
        self.shape = end  # at the readout
        # Without pools, pixels at unlike positions never meet.
        pools = any(stage.name == "pool" for stage in self.stages)
        self.pixelwise = self.readout is Readout.FLATTEN and not pools

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
