"""Leading eigenvectors of symmetric matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import eigh

from nkfast._arrays.validation import Array

from .waiting import interruptible

_EPS = float(np.finfo(np.float64).eps)
_LARGE = 1500  # matrices of which a small part of the eigenvectors is found by iteration
_ITERATIONS = 2


def symmetric_eigen(matrix: Array, **options: Any) -> tuple[Array, Array]:
    """Return what `scipy.linalg.eigh` does; Ctrl-C does not have to wait for it."""
    if len(matrix) < 2:  # the driver "evd" of older SciPys refuses one row, and all of them none
        return np.diagonal(matrix).copy(), np.ones_like(matrix)
    found: tuple[Array, Array] = interruptible(
        4.0 * len(matrix) ** 3, lambda: eigh(matrix, **options)
    )
    return found


def leading(matrix: Array, m: int) -> tuple[Array, Array]:
    """Return up to m eigenvalues above rounding level, falling, and their eigenvectors.

    Those of large matrices are the best in a subspace that block power iteration finds.
    """
    n = len(matrix)
    side = m + m // 4 + 32
    if n >= _LARGE and 3 * side <= n:
        start = np.random.RandomState(0).standard_normal((n, side))
        basis = np.linalg.qr(matrix @ start)[0]
        for _ in range(_ITERATIONS):
            basis = np.linalg.qr(matrix @ basis)[0]
        small = basis.T @ matrix @ basis
        values, vectors = _largest((small + small.T) / 2, m)
        vectors = basis @ vectors
    else:
        values, vectors = _largest(matrix, min(m, n))
    kept = np.flatnonzero(values > n * _EPS * max(values[-1], 0.0))[::-1]
    return values[kept], vectors[:, kept]


def _largest(matrix: Array, m: int) -> tuple[Array, Array]:
    """Return the m largest eigenvalues, ascending, and their eigenvectors; `matrix` is lost.

    LAPACK finds some of the vectors one by one, each made orthogonal to those before: of more than
    a third it takes longer than for all.
    """
    n = len(matrix)
    some: dict[str, Any] = {"subset_by_index": [n - m, n - 1]} if 3 * m <= n else {"driver": "evd"}
    values, vectors = symmetric_eigen(matrix, overwrite_a=True, **some)
    return values[-m:], vectors[:, -m:]
