"""Products A A^T and Cholesky factors of any order.

OpenBLAS, which NumPy and SciPy bring along, lets each of its threads pack a share of the rows into
a buffer of fixed size. Where the product is symmetric nothing bounds that share: with two threads
the process crashes from an order of some 15,000 on (numpy issue 19685, OpenBLAS issue 2562).
General products are safe; so above a smaller order the symmetric ones are made in pieces.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.linalg import lapack, solve_triangular
from scipy.linalg.blas import dsymm, dsyrk

from nkfast._arrays.blocks import slices
from nkfast._arrays.validation import Array

from .waiting import interruptible

_ORDER = 8192  # up to here BLAS and LAPACK do it at once
_DEPTH = 384  # numbers of a row that a thread packs at most
_PANEL = 1024  # columns
_BLOCK = 128  # columns of an inverse


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


def shifted_cholesky(A: Array, alpha: float) -> tuple[Array, int]:
    """Return what `cholesky` does of A + alpha I; `A`, lower triangle, stays as it is."""
    factor = np.array(A, order="F")
    factor[np.diag_indices(len(A))] += alpha
    return cholesky(factor)


def cholesky_solve(L: Array, B: Array) -> Array:
    """Return (L L^T)^{-1} B."""
    return interruptible(2 * len(L) * B.size, lambda: np.asarray(lapack.dpotrs(L, B, lower=1)[0]))


def inverse_trace(L: Array) -> float:
    """Return the trace of (L L^T)^{-1}, ||L^{-1}||_F^2, without room for it: n^3 / 3 operations."""
    return interruptible(len(L) ** 3 / 3, lambda: _inverse_trace(L))


def _inverse_trace(L: Array) -> float:
    parts = list(slices(0, len(L), _BLOCK))
    return panelled_inverse_trace(
        parts, [L[rows, rows] for rows in parts], lambda rows, cols: L[rows, cols]
    )


def panelled_inverse_trace(
    parts: list[slice], heads: list[Array], below: Callable[[slice, slice], Array]
) -> float:
    """Return `inverse_trace` of L in pieces: blocks on its diagonal, and what is below them."""
    n = parts[-1].stop if parts else 0
    heads = [np.tril(lapack.dtrtri(head, lower=1)[0]) for head in heads]
    total = 0.0
    for first, cols in enumerate(parts):
        j = cols.start
        inverse = np.zeros((n - j, cols.stop - j), order="F")
        inverse[: cols.stop - j] = heads[first]
        for rows, head in zip(parts[first + 1 :], heads[first + 1 :], strict=True):
            i = rows.start - j
            inverse[i : rows.stop - j] = -head @ (below(rows, slice(j, rows.start)) @ inverse[:i])
        total += float(np.vdot(inverse, inverse))
    return total


def symmetric_product(A: Array, B: Array) -> Array:
    """Return A B of a symmetric matrix, of which the lower triangle is read."""
    flipped = not A.flags.f_contiguous  # then the transpose is a Fortran array
    return interruptible(
        2 * len(A) * B.size,
        lambda: np.asarray(dsymm(1.0, A.T if flipped else A, B, lower=not flipped)),
    )


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
