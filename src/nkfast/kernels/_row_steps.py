"""Networks of rows as the core takes them: steps, and their programs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from nkfast._arrays.validation import Array
from nkfast._core import KernelBuilder
from nkfast.activations import Activation
from nkfast.activations._dual_map import DualMap
from nkfast.layers import (
    Activated,
    AvgPool,
    Conv,
    Dense,
    Flatten,
    GlobalAvgPool,
    Residual,
    Row,
)


@dataclass(frozen=True)
class Affine:
    """K <- w2 K + b2, Theta <- w2 Theta + K."""

    w2: float
    b2: float


@dataclass(frozen=True)
class Push:
    """Keeps the kernels for a later `Add`."""


@dataclass(frozen=True)
class Add:
    """Adds the kernels of the last `Push` that is open."""


class RowSteps:
    """The steps of a network of rows; a `Visitor` of its layers."""

    def __init__(self, net: Row) -> None:
        self.steps: list[Affine | Activation | Push | Add] = []
        net._walk(self)

    @property
    def activations(self) -> list[Activation]:
        """The activations, in order."""
        return [step for step in self.steps if isinstance(step, Activation)]

    def dense(self, layer: Dense) -> None:
        self.steps.append(Affine(layer.w_std**2, layer.b_std**2))

    def activation(self, layer: Activated) -> None:
        self.steps.append(layer.activation)

    def flatten(self, layer: Flatten) -> None:
        """Rows stay as they are."""

    def residual(self, layer: Residual) -> None:
        self.steps.append(Push())
        layer._walk(self)
        self.steps.append(Add())

    def conv(self, layer: Conv) -> None:  # noqa: ARG002
        raise ValueError("expected a layer of rows")

    def pool(self, layer: AvgPool) -> None:  # noqa: ARG002
        raise ValueError("expected a layer of rows")

    def global_pool(self, layer: GlobalAvgPool) -> None:  # noqa: ARG002
        raise ValueError("expected a layer of rows")

    def variances(self, p: Array) -> tuple[list[Array], Array]:
        """Return the variances that enter each activation, and those behind the last layer."""
        found: list[Array] = []
        kept: list[Array] = []
        for step in self.steps:
            if isinstance(step, Affine):
                p = step.w2 * p + step.b2
            elif isinstance(step, Activation):
                if not np.all(np.isfinite(p)):
                    return found, p
                found.append(p)
                with np.errstate(over="ignore", invalid="ignore"):
                    p = step._diagonal(p)[0]
            elif isinstance(step, Push):
                kept.append(p)
            else:
                p = p + kept.pop()
        return found, p

    def builder(self, maps: Iterable[DualMap]) -> KernelBuilder:
        """Return the core's program so far, with these maps for the activations."""
        builder = KernelBuilder()
        left = iter(maps)
        for step in self.steps:
            if isinstance(step, Affine):
                builder.affine(step.w2, step.b2)
            elif isinstance(step, Activation):
                dual = next(left)
                builder.activation(dual.kind, dual.params, dual.left, dual.right)
            elif isinstance(step, Push):
                builder.push()
            else:
                builder.add()
        return builder
