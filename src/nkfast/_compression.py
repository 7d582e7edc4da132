"""Wide features on fewer columns: their leading principal directions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from ._validation import Rows, refuse_bytes

Array = NDArray[Any]

_BLOCK_ENTRIES = 1 << 21  # wide features of a block of rows: 16 MB in float64
_EPS = float(np.finfo(np.float64).eps)


def blocks(n_rows: int, width: int) -> Iterator[slice]:
    """Yield slices of rows whose features, `width` for each row, take little memory."""
    height = max(1, _BLOCK_ENTRIES // width)
    for start in range(0, n_rows, height):
        yield slice(start, min(start + height, n_rows))


def principal_directions(features: Callable[[Rows], Array], X: Rows, width: int, m: int) -> Array:
    """Return the `m` orthonormal directions in which the features of the rows of `X` are largest.

    They are the leading eigenvectors of Z^T Z, uncentred: of all projections V V^T of rank m they
    leave the least of Z Z^T. Where Z has lower rank, the rows say nothing of the other directions.
    Those are taken from the orthogonal complement, along the columns with most energy: zeros would
    leave out a part of the kernel of other rows, and any direction more brings Z Z^T nearer to
    that of all features.

    Parameters
    ----------
    features : callable
        From rows to their features, (n, width) in float64.
    X : ndarray or CSR matrix of shape (n, d)
    width : int
    m : int
        At most `width`.

    Returns
    -------
    ndarray of shape (width, m)
        By falling eigenvalue.
    """
    n = X.shape[0]
    side = min(n, width)
    needed = 8 * (3 * side**2 + 3 * width * m)
    refuse_bytes(needed, "oversampling", f"principal directions of {width} features")
    if width <= n:
        moment = np.zeros((width, width))
        for rows in blocks(n, width):
            Z = features(X[rows])
            moment += Z.T @ Z
        energies = np.diagonal(moment).copy()
        values, vectors = _leading(moment, m)
    else:  # the same from the inner products of the rows, of which there are fewer
        Z = features(X)
        energies = np.einsum("ij,ij->j", Z, Z)
        values, left = _leading(Z @ Z.T, m)
        vectors = Z.T @ (left / np.sqrt(values))
    if len(values) < m:
        more = np.zeros((width, m - len(values)))
        axes = np.argsort(-energies, kind="stable")[: more.shape[1]]
        more[axes, np.arange(len(axes))] = 1
        # Householder's QR: orthonormal columns, also where an axis depends on the others.
        vectors = np.linalg.qr(np.hstack([vectors, more]))[0]
    return np.ascontiguousarray(oriented(vectors))


def oriented(vectors: Array) -> Array:
    """Return eigenvectors, in columns, with signs that are the same on any machine."""
    largest = np.abs(vectors).argmax(axis=0)
    return np.where(vectors[largest, np.arange(vectors.shape[1])] < 0, -vectors, vectors)


def _leading(gram: Array, m: int) -> tuple[Array, Array]:
    """Return up to m eigenvalues above rounding level, falling, and their eigenvectors."""
    n = len(gram)
    values, vectors = eigh(gram, subset_by_index=[max(0, n - m), n - 1], overwrite_a=True)
    kept = np.flatnonzero(values > n * _EPS * max(values[-1], 0.0))[::-1]
    return values[kept], vectors[:, kept]
