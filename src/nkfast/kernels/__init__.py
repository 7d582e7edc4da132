"""Exact NNGP and NTK kernels of a row of layers, block by block.

`_exact` walks over blocks of a kernel of prepared points (`_points`, `_image_points`: whoever needs
several kernels of the same points calls `prepare`). `_rows` computes a block for rows and `_images`
for images, most of it in the core (csrc/kernels): the recursions of Jacot et al. 2018, Arora et al.
2019 and Novak et al. 2020, whose formulas stand with the layers. `_gradients` has the derivatives
of those of rows in hyperparameters. `_row_steps`, `_image_stages` and
`_image_program` bring a network into the core's form, `_outputs` says where results are written and
`_journal` which blocks are finished. This room knows layers and activations, and nothing of
networks: those offer it.
"""

from ._exact import Kernels, Points, diag, kernel, kernel_blocks, prepare
from ._gradients import gradient
from ._outputs import NAMES, Kernel
from ._points import Diagonal, RowPoints, diagonal_of_norms, squared_norms

__all__ = [
    "NAMES",
    "Diagonal",
    "Kernel",
    "Kernels",
    "Points",
    "RowPoints",
    "diag",
    "diagonal_of_norms",
    "gradient",
    "kernel",
    "kernel_blocks",
    "prepare",
    "squared_norms",
]
