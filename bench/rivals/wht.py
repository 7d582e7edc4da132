"""Walsh-Hadamard transforms of rows without compiled code: NumPy, BLAS, SciPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import hadamard

Rows = NDArray[Any]


class Butterflies:
    """Levels of u + v, u - v over whole arrays, each level from one of two buffers to the other.

    Neighbours are added and subtracted into the two halves of the row: one perfect shuffle a level,
    and after log2(n) of them the order is the natural one. Every operation runs over long
    halves, which in NumPy is 2 to 3 times as fast as butterflies in place, whose inner loops are as
    short as the distance of the partners.
    """

    def __init__(self, x: Rows) -> None:
        self.levels = x.shape[1].bit_length() - 1
        self.scale = x.dtype.type(x.shape[1] ** -0.5)
        self.spare = np.empty_like(x)

    def __call__(self, x: Rows) -> Rows:
        half = x.shape[1] // 2
        source, target = x, self.spare
        for _ in range(self.levels):
            np.add(source[:, ::2], source[:, 1::2], out=target[:, :half])
            np.subtract(source[:, ::2], source[:, 1::2], out=target[:, half:])
            source, target = target, source
        np.multiply(source, self.scale, out=x)
        return x


class Kronecker:
    """Two products with small Hadamard matrices by BLAS: H_ab = H_a x H_b."""

    def __init__(self, x: Rows) -> None:
        levels = x.shape[1].bit_length() - 1
        self.shape = (len(x), 1 << (levels // 2), 1 << (levels - levels // 2))
        self.left, self.right = ((hadamard(k) * k**-0.5).astype(x.dtype) for k in self.shape[1:])
        self.spare = np.empty(self.shape, x.dtype)

    def __call__(self, x: Rows) -> Rows:
        cube = x.reshape(self.shape)
        b = self.shape[2]
        np.matmul(cube.reshape(-1, b), self.right, out=self.spare.reshape(-1, b))
        np.matmul(self.left, self.spare, out=cube)
        return x


class Matrix:
    """One product with scipy.linalg.hadamard(n) by BLAS."""

    def __init__(self, x: Rows) -> None:
        n = x.shape[1]
        self.matrix = (hadamard(n, dtype=np.int8) * n**-0.5).astype(x.dtype)
        self.spare = np.empty_like(x)

    def __call__(self, x: Rows) -> Rows:
        return np.matmul(x, self.matrix, out=self.spare)
