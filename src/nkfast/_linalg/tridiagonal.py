"""Symmetric matrices in tridiagonal form: shifted solves and eigenvalues without eigenvectors."""

from __future__ import annotations

import numpy as np
from scipy.linalg import lapack

from nkfast._arrays.validation import Array

from .waiting import interruptible


class Tridiagonal:
    """A symmetric matrix (lower triangle read) as Q T Q^T with T tridiagonal, Q orthogonal."""

    def __init__(self, A: Array) -> None:
        m = len(A)
        work = int(lapack.dsytrd_lwork(m, lower=1)[0])
        packed, self._d, self._e, self._tau, _ = interruptible(
            4 / 3 * m**3,
            lambda: lapack.dsytrd(np.array(A, order="F"), lower=1, lwork=work, overwrite_a=1),
        )
        # Q leaves the first coordinate alone. Its reflectors lie below the first subdiagonal: in
        # memory, a Fortran array of m rows that begins one entry later. No copy of m^2 numbers.
        flat = packed.reshape(-1, order="F")
        self._reflectors = flat[1 : 1 + m * (m - 1)].reshape((m, m - 1), order="F")

    def eigenvalues(self) -> Array:
        """Return the eigenvalues in increasing order."""
        if len(self._d) == 1:  # LAPACK's wrappers refuse an empty subdiagonal
            return np.asarray(self._d)
        m = len(self._d)
        return np.asarray(interruptible(20 * m * m, lambda: lapack.dsterf(self._d, self._e)[0]))

    def solve(self, alpha: float, G: Array) -> Array:
        """Return (T + alpha I)^{-1} G; alpha lifts T well above its rounding noise."""
        if len(self._d) == 1:
            return np.asarray(G / (self._d[0] + alpha))
        *_, x, failed = lapack.dptsv(self._d + alpha, self._e, G)
        if failed:
            raise np.linalg.LinAlgError("ridge: the Gram matrix is not positive semi-definite")
        return np.asarray(x)

    def rotate(self, B: Array) -> Array:
        """Return Q^T B."""
        return self._apply("T", B)

    def rotate_back(self, B: Array) -> Array:
        """Return Q B."""
        return self._apply("N", B)

    def _apply(self, trans: str, B: Array) -> Array:
        out = np.array(B, dtype=np.float64, order="F")
        if len(out) > 1:
            rest = np.asfortranarray(out[1:])
            work = int(lapack.dormqr("L", trans, self._reflectors, self._tau, rest, -1)[1][0])
            out[1:] = interruptible(
                2 * len(out) * out.size,
                lambda: lapack.dormqr("L", trans, self._reflectors, self._tau, rest, work)[0],
            )
        return out
