"""Networks of images of one shape: stages up to the readout, and the layers behind it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from nkfast._core import Readout
from nkfast.activations import Activation
from nkfast.layers import (
    Activated,
    AvgPool,
    Conv,
    Dense,
    Flatten,
    GlobalAvgPool,
    Layer,
    Residual,
    Row,
    Windows,
)

Shape = tuple[int, int]


class Kind(Enum):
    """What a stage does."""

    CONV = "conv"
    ACTIVATION = "activation"
    PUSH = "push"  # keeps the maps for a later ADD
    ADD = "add"
    POOL = "pool"


@dataclass(frozen=True)
class Stage:
    """A step of the core.

    `shape` is that of the images that enter, `layer` the layer of a convolution, pool or
    activation, `windows` those of a convolution or pool.
    """

    kind: Kind
    shape: Shape
    layer: Any = None
    windows: Windows | None = None

    @property
    def activation(self) -> Activation | None:
        """The activation, if this is one."""
        return self.layer.activation if self.kind is Kind.ACTIVATION else None

    @property
    def out(self) -> Shape:
        """The shape of the images that leave."""
        if self.windows is None:
            return self.shape
        return self.windows[0].out, self.windows[1].out


class Stages:
    """A network of images of one shape; a `Visitor` of its layers."""

    def __init__(self, net: Row, shape: Shape) -> None:
        self.stages: list[Stage] = []
        self.readout = Readout.FLATTEN
        self.tail: list[Layer] = []  # behind the readout
        self.tail_is_affine = True  # and so needs no variances
        self.shape = shape  # now, and in the end at the readout
        self._ended = False
        self._depth = 0  # of branches behind the readout
        net._walk(self)
        # Without pools, pixels at unlike positions never meet.
        pooled = any(s.kind is Kind.POOL for s in self.stages)
        self.pixelwise = self.readout is Readout.FLATTEN and not pooled

    @property
    def activations(self) -> list[Activation]:
        """The activations up to the readout, in order."""
        return [s.activation for s in self.stages if s.activation is not None]

    def entries(self) -> float:
        """Return how many pairs of pixels of a pair of images meet at activations."""
        kinds = Kind.ACTIVATION, Kind.CONV
        sizes = [s.shape[0] * s.shape[1] for s in self.stages if s.kind in kinds]
        return float(sum(n if self.pixelwise else n * n for n in sizes)) / 2 + 1

    # --- layers ---

    def conv(self, layer: Conv) -> None:
        self._slide(Kind.CONV, layer, layer._windows(self.shape))

    def pool(self, layer: AvgPool) -> None:
        windows = layer._windows(self.shape)
        if layer.window != (1, 1) or (windows[0].out, windows[1].out) != self.shape:
            self._slide(Kind.POOL, layer, windows)

    def activation(self, layer: Activated) -> None:
        if self._ended:
            self.tail_is_affine = False
            self._behind(layer)
        else:
            self.stages.append(Stage(Kind.ACTIVATION, self.shape, layer))

    def residual(self, layer: Residual) -> None:
        if self._ended:
            self._behind(layer)
            self._depth += 1
            layer._walk(self)
            self._depth -= 1
            return
        shape = self.shape
        self.stages.append(Stage(Kind.PUSH, shape))
        layer._walk(self)
        if self.shape != shape:
            raise ValueError(
                f"expected a branch that keeps the shape of images, got {self.shape} from {shape}"
            )
        self.stages.append(Stage(Kind.ADD, shape))

    def flatten(self, layer: Flatten) -> None:  # noqa: ARG002
        self._ended = True

    def global_pool(self, layer: GlobalAvgPool) -> None:  # noqa: ARG002
        self.readout = Readout.MEAN
        self._ended = True

    def dense(self, layer: Dense) -> None:
        self._behind(layer)

    def _slide(self, kind: Kind, layer: Layer, windows: Windows) -> None:
        stage = Stage(kind, self.shape, layer, windows)
        self.stages.append(stage)
        self.shape = stage.out

    def _behind(self, layer: Layer) -> None:
        if self._depth == 0:
            self.tail.append(layer)
