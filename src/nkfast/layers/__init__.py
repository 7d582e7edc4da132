"""Layers as descriptions, and what each does to the kernels of pairs of points.

`_base` is what every layer is and what it sees of pairs (`Moments`) and of points with themselves
(`Diagonals`); `_dense` and `_images` are the layers of rows and of images (NTK parameterisation:
Jacot et al. 2018; Arora et al. 2019; Novak et al. 2020), `_chain` layers in a row: a `Residual`
branch, and the `Row` that networks are; `_visitor` is the interface of those who have a use of
their own for layers. A row of layers knows activations; that it has kernels is known one room
above.
"""

from ._base import Activated, Diagonals, Layer, Moments
from ._chain import Residual, Row, check_layers, takes_images
from ._dense import Dense
from ._images import AvgPool, Conv, Flatten, GlobalAvgPool, Window, Windows
from ._visitor import Visitor

__all__ = [
    "Activated",
    "AvgPool",
    "Conv",
    "Dense",
    "Diagonals",
    "Flatten",
    "GlobalAvgPool",
    "Layer",
    "Moments",
    "Residual",
    "Row",
    "Visitor",
    "Window",
    "Windows",
    "check_layers",
    "takes_images",
]
