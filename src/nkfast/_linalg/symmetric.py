"""Products A A^T and Cholesky factors of any order.

OpenBLAS, which NumPy and SciPy bring along, lets each of its threads pack a share of the rows into
a buffer of fixed size. Where the product is symmetric nothing bounds that share: with two threads
the process crashes from an order of some 15,000 on (numpy issue 19685, OpenBLAS issue 2562).
General products are safe; so above a smaller order the symmetric ones are made in pieces.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import lapack, solve_triangular
from scipy.linalg.blas import dsyrk

from nkfast._arrays.blocks import slices
from nkfast._arrays.validation import Array

from .waiting import interruptible

_ORDER = 8192  # up to here BLAS and LAPACK do it at once
_DEPTH = 384  # numbers of a row that a thread packs at most
_PANEL = 1024  # columns


def rank_update(C: Array, Z: Array) -> Array:
    """Return C + Z^T Z, lower triangle only, in place of the Fortran array C, in float64.

    `Z` is (n, p), in C order.
    """
    n, p = Z.shape
    step = n if p <= _ORDER else max(1, _ORDER * _DEPTH // p)

    def update(C: Array) -> Array:
        for rows in slices(0, n, step):
            C = dsyrk(1.0, Z[rows].T, beta=1.0, c=C, lower=1, overwrite_c=1)
        return C

    return interruptible(n * p * p, lambda: update(C))


def gram_matrix(Z: Array) -> Array:
    """Return Z Z^T, for `Z` of shape (n, p)."""
    n, p = Z.shape
    if n <= _ORDER:
        return np.asarray(interruptible(n * n * p, lambda: Z @ Z.T))
    out = np.empty((n, n), Z.dtype)
    for rows in slices(0, n, _PANEL):
        out[rows, rows] = Z[rows] @ Z[rows].T
        out[rows, : rows.start] = Z[rows] @ Z[: rows.start].T
        out[: rows.start, rows] = out[rows, : rows.start].T
    return out


def cholesky(A: Array) -> tuple[Array, int]:
    """Return L in the lower triangle of the Fortran array A = L L^T, and LAPACK's info.

    Of `A` the lower triangle is read, and overwritten; what is above it stays. Info is above zero
    if the matrix is not positive definite to rounding.
    """
    return interruptible(len(A) ** 3 / 3, lambda: _cholesky(A))


def _cholesky(A: Array) -> tuple[Array, int]:
    n = len(A)
    if n <= _ORDER:
        factor, failed = lapack.dpotrf(A, lower=1, overwrite_a=1, clean=0)
        return factor, int(failed)
    for cols in slices(0, n, _PANEL):
        j, end = cols.start, cols.stop
        panel = np.asfortranarray(A[j:, cols])
        panel -= A[j:, :j] @ A[cols, :j].T
        head, failed = lapack.dpotrf(panel[: end - j], lower=1, clean=0)
        if failed:
            return A, j + int(failed)
        for rows in slices(end, n, _ORDER):
            rest = panel[rows.start - j : rows.stop - j]
            A[rows, cols] = solve_triangular(head, rest.T, lower=True, check_finite=False).T
        A[cols, cols] = np.tril(head) + np.triu(A[cols, cols], 1)
    return A, 0
