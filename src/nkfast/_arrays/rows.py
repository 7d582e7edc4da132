"""Norms, multiples and joins of dense or CSR rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from nkfast._core import row_norms as _row_norms
from nkfast._core import row_norms_csr

from .mapped import pieces
from .validation import Array, Rows, csr_arrays


def row_norms(X: Any, n_threads: int) -> NDArray[np.float64]:
    """Return the norms of dense or CSR rows in float64, safe from overflow of the squares."""
    norms = np.empty(X.shape[0])
    if sp.issparse(X):
        row_norms_csr(*csr_arrays(X), X.shape[1], norms, n_threads)
    else:
        start = 0
        for part in pieces(X):
            _row_norms(part, norms[start : start + len(part)], n_threads)
            start += len(part)
    # What float32 cannot invert counts as zero: the kernel there is that of zero to 1e-37.
    norms[norms < 4 * np.finfo(X.dtype).tiny] = 0
    return norms


def inverse(norms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 / norms, 0 where they are 0."""
    return np.divide(1, norms, out=np.zeros_like(norms), where=norms > 0)


def scale_rows(X: Rows, factors: NDArray[np.float64]) -> Rows:
    """Return the rows times one factor each, dense or CSR as they are."""
    factors = factors.astype(X.dtype)
    if not sp.issparse(X):
        return X * factors[:, None]
    scaled = X.copy()
    scaled.data *= np.repeat(factors, np.diff(X.indptr))
    return scaled


def inner_products(X: Rows, Z: Rows) -> Array:
    """Return X Z^T, dense. The memory of sparse rows is that of their entries, not columns."""
    if sp.issparse(X) and sp.issparse(Z) and X.shape[1] > X.nnz + Z.nnz:
        used = np.unique(X.indices)
        X, Z = (of_columns(A, used) for A in (X, Z))
    product = X @ Z.T
    return np.ascontiguousarray(product.toarray() if sp.issparse(product) else product)


def of_columns(A: Any, used: NDArray[Any]) -> Any:
    """Return these columns, ascending, of a CSR matrix."""
    at = np.searchsorted(used, A.indices)
    known = np.append(used, -1)[at] == A.indices
    starts = np.concatenate([[0], np.cumsum(known)])[A.indptr]
    return sp.csr_array((A.data[known], at[known], starts), shape=(A.shape[0], len(used)))


def side_by_side(parts: list[Rows]) -> Rows:
    """Return the columns of all parts: CSR if any is."""
    if len(parts) == 1:
        return parts[0]
    if any(map(sp.issparse, parts)):
        return sp.csr_array(sp.hstack(parts, "csr"))
    return np.concatenate(parts, axis=1)
