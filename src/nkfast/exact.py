"""Exact NNGP and NTK kernels of dense networks."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from ._validation import check_rows
from .layers import Diagonals, Moments

if TYPE_CHECKING:
    from .layers import Sequential

Array = NDArray[Any]
NAMES = ("nngp", "ntk")
_BLOCK_ENTRIES = 1 << 18  # entries of a block of kernel rows: a few MB of temporaries


class Diagonal(NamedTuple):
    """Diagonals of the two kernels, (n,) each."""

    nngp: Array
    ntk: Array


def squared_norms(X: Any) -> Array:
    """Return ||x||^2 of every row in float64, for dense or CSR rows."""
    if sp.issparse(X):
        square = X.astype(np.float64)
        square.data **= 2
        return np.asarray(square.sum(axis=1)).ravel()
    return np.asarray(np.einsum("ij,ij->i", X, X, dtype=np.float64))


def _names(get: str | Iterable[str]) -> tuple[str, ...]:
    names = (get,) if isinstance(get, str) else tuple(get)
    if not names or any(name not in NAMES for name in names) or len(set(names)) < len(names):
        raise ValueError(f"get: expected one or both of {NAMES}, got {get!r}")
    return names


def _gram(X: Any, Z: Any) -> Array:
    product = X @ Z.T
    return product.toarray() if sp.issparse(product) else np.asarray(product)


def diag(net: Sequential, X: Any) -> Diagonal:
    """Return the diagonals of the kernels of `X` with itself; see `Sequential.diag`."""
    X = check_rows(X)
    start = squared_norms(X) / X.shape[1]
    end = net._propagate_diagonal(Diagonals(start, np.zeros_like(start)))
    return Diagonal(end.k.astype(X.dtype), end.theta.astype(X.dtype))


def kernel(net: Sequential, X: Any, Z: Any, get: str | Iterable[str]) -> Any:
    """Return exact kernels; see `Sequential.kernel`."""
    names = _names(get)
    X = check_rows(X, "X")
    symmetric = Z is None or Z is X
    Z = X if symmetric else check_rows(Z, "Z")
    n, d = X.shape
    m = Z.shape[0]
    if Z.shape[1] != d:
        raise ValueError(f"Z: expected {d} features as in X, got {Z.shape[1]}")
    dtype = np.result_type(X.dtype, Z.dtype)
    out = {name: np.empty((n, m), dtype) for name in names}

    # The recursion runs in float64 whatever the input: near rho = 1 float32 covariances would
    # lose half of their digits in p q - c^2.
    X64 = X.astype(np.float64, copy=False)
    Z64 = X64 if symmetric else Z.astype(np.float64, copy=False)
    p = squared_norms(X64) / d
    q = p if symmetric else squared_norms(Z64) / d
    step = max(1, _BLOCK_ENTRIES // max(m, 1))
    for i in range(0, n, step):
        rows = slice(i, min(i + step, n))
        first = i if symmetric else 0  # the lower triangle is mirrored
        k = _gram(X64[rows], Z64[first:]) / d
        end = net._propagate(
            Moments(k, np.zeros_like(k), p[rows, None], np.ascontiguousarray(q[first:])[None, :])
        )
        for name, value in zip(NAMES, (end.k, end.theta), strict=True):
            if name in out:
                out[name][rows, first:] = value
                if symmetric:
                    block = out[name][rows, rows]
                    out[name][rows, rows] = np.triu(block) + np.triu(block, 1).T
                    out[name][rows.stop :, rows] = out[name][rows, rows.stop :].T
    if symmetric:
        ends = net._propagate_diagonal(Diagonals(p, np.zeros_like(p)))
        for name, value in zip(NAMES, (ends.k, ends.theta), strict=True):
            if name in out:
                np.fill_diagonal(out[name], value)
    if isinstance(get, str):
        return out[get]
    return namedtuple("Kernels", names)(*(out[name] for name in names))
