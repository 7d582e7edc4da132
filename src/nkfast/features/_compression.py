"""Wide features on fewer columns: their leading principal directions, fitted to the kernel."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.linalg import cho_solve
from sklearn.utils.extmath import svd_flip

from nkfast._arrays.blocks import blocks
from nkfast._arrays.memory import refuse_bytes
from nkfast._arrays.validation import Array, Rows
from nkfast._linalg.eigen import leading, symmetric_eigen
from nkfast._linalg.symmetric import cholesky, gram_matrix

_PULL = 0.01  # towards the directions as they are, as a share of the mean squared norm of a row


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
    if width <= n:
        moment = np.zeros((width, width))
        for rows in blocks(n, width):
            Z = features(X[rows])
            moment += gram_matrix(Z.T)
        energies = np.diagonal(moment).copy()
        values, vectors = leading(moment, m)
    else:  # the same from the inner products of the rows, of which there are fewer
        Z = features(X)
        energies = np.einsum("ij,ij->j", Z, Z)
        values, left = leading(gram_matrix(Z), m)
        vectors = Z.T @ (left / np.sqrt(values))
    if len(values) < m:
        more = np.zeros((width, m - len(values)))
        axes = np.argsort(-energies, kind="stable")[: more.shape[1]]
        more[axes, np.arange(len(axes))] = 1
        # Householder's QR: orthonormal columns, also where an axis depends on the others.
        vectors = np.linalg.qr(np.hstack([vectors, more]))[0]
    return np.ascontiguousarray(svd_flip(vectors, None)[0])


def refuse_directions(n: int, width: int, m: int) -> None:
    """Refuse principal directions that do not fit into memory."""
    needed = 8 * (3 * min(n, width) ** 2 + 3 * width * m)
    refuse_bytes(needed, "oversampling", f"principal directions of {width} features")


def fit_to_kernel(
    Y: Array, kernel: Callable[[slice], Array], diagonal: Array, n_rows: int
) -> Array:
    """Return the symmetric C for which Y C C^T Y^T is nearest to a kernel.

    The inner products of sketched features are right on average only. Those of the features Y of
    some rows can be compared with the kernel K of these rows: M = C C^T minimises

        ||Y M Y^T - K||_F^2 + 2 lambda ||Y (M - I)||_F^2 + lambda^2 ||M - I||_F^2

    up to the clipping of negative eigenvalues, with lambda small beside the kernel. The diagonal
    of K, of which few features lack a part that no M can make up for, counts as often as it stands
    in the kernel of all `n_rows` rows.

    Parameters
    ----------
    Y : ndarray of shape (s, m)
    kernel : callable
        From a slice of the rows to their exact kernel with all s rows.
    diagonal : ndarray of shape (s,)
        That of the exact kernel.
    n_rows : int
        Number of rows of which the s were drawn.

    Returns
    -------
    ndarray of shape (m, m)
    """
    s, m = Y.shape
    size = gram_matrix(Y.T)
    gap = (1 - min(s / n_rows, 1)) * (diagonal - np.einsum("ij,ij->i", Y, Y))
    excess = -size @ size - (Y.T * gap) @ Y
    for rows in blocks(s, s):
        excess += Y[rows].T @ (kernel(rows) @ Y)
    shift = _PULL * float(np.trace(size)) / s
    if shift == 0:
        return np.eye(m)
    factor, failed = cholesky(np.asfortranarray(size + shift * np.eye(m)))
    if failed:
        raise np.linalg.LinAlgError("oversampling: the features of a sample are not finite")
    inner = cho_solve((factor, True), cho_solve((factor, True), excess).T)
    values, vectors = symmetric_eigen(
        np.eye(m) + (inner + inner.T) / 2, driver="evd", overwrite_a=True
    )
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T)
