"""Exact NNGP and NTK kernels of a row of layers, block by block.

`_exact` walks over blocks of a kernel; `_rows` computes one for rows and `_images` for images, most
of it in the core (csrc/kernels): the recursions of Jacot et al. 2018, Arora et al. 2019 and Novak
et al. 2020, whose formulas stand with the layers. `_image_stages` and `_image_program` bring a
network of images into the core's form, `_outputs` says where results are written and `_journal`
which blocks are finished. This room knows layers and activations, and nothing of networks: those
offer it.
"""

from ._exact import Diagonal, Kernels, diag, kernel, kernel_blocks
from ._outputs import NAMES, Kernel
from ._rows import squared_norms

__all__ = [
    "NAMES",
    "Diagonal",
    "Kernel",
    "Kernels",
    "diag",
    "kernel",
    "kernel_blocks",
    "squared_norms",
]
