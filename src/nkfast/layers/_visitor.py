"""Who has a use of his own for layers: programs for the core, features, standard deviations."""

from __future__ import annotations

from typing import Protocol

from ._base import Activated
from ._chain import Residual
from ._dense import Dense
from ._images import AvgPool, Conv, Flatten, GlobalAvgPool


class Visitor(Protocol):
    """Is led through the layers of a row by `Row._walk`: a method for each kind of layer.

    A new kind of layer is a method here, and the type checker names all who do not know it yet.
    """

    def dense(self, layer: Dense) -> None:
        """Take a fully connected layer."""

    def activation(self, layer: Activated) -> None:
        """Take an activation."""

    def conv(self, layer: Conv) -> None:
        """Take a convolution."""

    def pool(self, layer: AvgPool) -> None:
        """Take means over windows."""

    def global_pool(self, layer: GlobalAvgPool) -> None:
        """Take the mean over all pixels."""

    def flatten(self, layer: Flatten) -> None:
        """Take images that become rows; rows stay as they are."""

    def residual(self, layer: Residual) -> None:
        """Take a skip connection; its branch is a row to be walked."""
