"""Cholesky factors of A + alpha I that leave the lower half of A as it is.

Up to some order a factor is a matrix of its own. Above, it stands in the upper half of A, which
nobody else reads: half of the memory, which at that order is what there is too little of.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import Lock
from typing import Protocol, TypeVar
from weakref import WeakValueDictionary

import numpy as np
from scipy.linalg import lapack, solve_triangular

from nkfast._arrays.blocks import slices
from nkfast._arrays.validation import Array

from . import symmetric
from .symmetric import cholesky_solve, inverse_trace, panelled_inverse_trace, shifted_cholesky
from .waiting import interruptible

T = TypeVar("T")

_RESIDUAL = 1e-9  # of refined solutions, relative to the right-hand side


class Factor(Protocol):
    """L with L L^T = A + alpha I.

    Attributes
    ----------
    order : int
    diagonal : ndarray of shape (order,)
        Of L.
    """

    order: int
    diagonal: Array

    def solve(self, B: Array) -> Array:
        """Return (L L^T)^{-1} B."""

    def inverse_trace(self) -> float:
        """Return the trace of (L L^T)^{-1}."""


def factorise(A: Array, alpha: float, *, inside: bool) -> Factor | None:
    """Return a factor of A + alpha I; None if that is not positive definite to rounding.

    Parameters
    ----------
    A : ndarray of shape (n, n)
        Of which the lower half is read, and stays.
    alpha : float
    inside : bool
        Whether the upper half of `A` is free, and may be written at any time, also by a call that
        was interrupted. It is if `A` is large, writeable and in Fortran's order.
    """
    if inside and len(A) > symmetric._ORDER and A.flags.f_contiguous and A.flags.writeable:
        try:
            return _InsideFactor(A, alpha)
        except np.linalg.LinAlgError:
            return None
    L, failed = shifted_cholesky(A, alpha)
    return None if failed else _OwnFactor(L)


def refined_solve(A: Array, alpha: float, B: Array) -> Array:
    """Return (A + alpha I)^{-1} B for a matrix in single or double precision, in its own memory.

    The factor has the precision of `A`; residuals in float64 make up for that.

    Parameters
    ----------
    A : ndarray of shape (n, n)
        In Fortran's order and writeable. The lower half is read, and stays; the upper one is
        overwritten.
    alpha : float
    B : ndarray of shape (n, k)

    Returns
    -------
    ndarray of shape (n, k)
        In float64.

    Raises
    ------
    LinAlgError
        If alpha is too small for the precision of `A`.
    """
    factor = _InsideFactor(A, alpha)
    X, before = factor.solve(B), np.inf
    sizes = np.maximum(np.linalg.norm(B, axis=0), np.finfo(float).tiny)
    while True:
        rest = B - alpha * X - _lower_product(A, X)
        left = float(np.max(np.linalg.norm(rest, axis=0) / sizes, initial=0.0))
        if left <= _RESIDUAL:
            return X
        if not left < before / 2:
            raise np.linalg.LinAlgError(f"a residual of {left:.1e} does not become smaller")
        X += factor.solve(rest)
        before = left


def _lower_product(A: Array, B: Array) -> Array:
    """Return A B in float64 of a symmetric matrix, of which the lower half is read."""
    out = np.zeros(B.shape)

    def work() -> Array:
        for cols in slices(0, len(A), symmetric._PANEL):
            head, below = np.tril(A[cols, cols]).astype(float), A[cols.stop :, cols].astype(float)
            out[cols] += head @ B[cols] + np.tril(head, -1).T @ B[cols] + below.T @ B[cols.stop :]
            out[cols.stop :] += below @ B[cols]
        return out

    return interruptible(2 * len(A) * B.size, work)


class _OwnFactor:
    """In a matrix of its own."""

    def __init__(self, L: Array) -> None:
        self._L = L
        self.order, self.diagonal = len(L), np.diagonal(L)

    def solve(self, B: Array) -> Array:
        return cholesky_solve(self._L, B)

    def inverse_trace(self) -> float:
        return inverse_trace(self._L)


# Several factors may want the same upper half: of two threads, or of a call that was interrupted
# and still runs. Whoever writes or reads one holds the lock, and makes its factor again where
# another has taken the place.
_lock = Lock()
_holders: WeakValueDictionary[int, _InsideFactor] = WeakValueDictionary()  # by where A begins


def _after_fork() -> None:
    global _lock
    _lock = Lock()  # a thread that the child does not have may hold the other
    _holders.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class _InsideFactor:
    """L^T in the upper half of A, in pieces; square blocks on the diagonal are kept apart.

    It has the precision of A, these blocks that of float64.
    """

    def __init__(self, A: Array, alpha: float) -> None:
        self._A, self._alpha = A, alpha
        self.order = len(A)
        self._heads: list[Array] = []
        self._do(self.order**3 / 3, lambda: None)
        self.diagonal = np.concatenate([np.diagonal(head) for head in self._heads])

    def solve(self, B: Array) -> Array:
        return self._do(2 * self.order * B.size, lambda: self._solved(np.array(B, order="F")))

    def inverse_trace(self) -> float:
        return self._do(self.order**3 / 3, self._inverse_trace)

    def _do(self, operations: float, work: Callable[[], T]) -> T:
        """Return work(), which finds the factor in its place."""

        def alone() -> T:
            with _lock:
                place = self._A.ctypes.data
                if _holders.get(place) is not self:
                    _holders.pop(place, None)
                    self._make()
                    _holders[place] = self
                return work()

        return interruptible(operations, alone)

    def _make(self) -> None:
        A, n, heads = self._A, self.order, []
        for cols in slices(0, n, symmetric._PANEL):
            j, end = cols.start, cols.stop
            panel = np.array(A[j:, cols], order="F")
            panel[np.diag_indices(end - j)] += self._alpha
            panel -= A[:j, j:].T @ A[:j, cols]
            head, failed = lapack.dpotrf(panel[: end - j], lower=1, clean=1)
            if failed:
                raise np.linalg.LinAlgError(f"not positive definite at {j + failed}")
            heads.append(head)
            for rows in slices(end, n, symmetric._ORDER):
                rest = panel[rows.start - j : rows.stop - j]
                A[cols, rows] = solve_triangular(head, rest.T, lower=True, check_finite=False)
        self._heads = heads

    def _solved(self, X: Array) -> Array:
        """Return the solution, in place of the right-hand side."""
        A, parts = self._A, list(slices(0, self.order, symmetric._PANEL))
        for cols, head in zip(parts, self._heads, strict=True):
            X[cols] = solve_triangular(head, X[cols], lower=True, check_finite=False)
            X[cols.stop :] -= A[cols, cols.stop :].T @ X[cols]
        for cols, head in zip(parts[::-1], self._heads[::-1], strict=True):
            X[cols] -= A[cols, cols.stop :] @ X[cols.stop :]
            X[cols] = solve_triangular(head, X[cols], lower=True, trans=1, check_finite=False)
        return X

    def _inverse_trace(self) -> float:
        parts = list(slices(0, self.order, symmetric._PANEL))
        return panelled_inverse_trace(parts, self._heads, lambda rows, cols: self._A[cols, rows].T)
