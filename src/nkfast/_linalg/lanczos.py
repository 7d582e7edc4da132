"""Quadratures by the spectrum of a symmetric matrix, and solutions, from products with it alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nkfast._arrays.validation import Array


def quadratures(
    product: Callable[[Array], Array], starts: Array, steps: int
) -> tuple[Array, Array]:
    """Return Gauss quadratures of v^T f(M) v for each column v of `starts`, by Lanczos' method.

    They are exact for polynomials f of degree 2 steps - 1 (Golub & Meurant 2010). Vectors are not
    made orthogonal again: what that loses are repeated nodes.

    Parameters
    ----------
    product : callable
        Returns M V of an (m, k) array.
    starts : ndarray of shape (m, k)
    steps : int

    Returns
    -------
    nodes, weights : ndarray of shape (k, steps)
    """
    k = starts.shape[1]
    lengths = np.linalg.norm(starts, axis=0)
    T = np.zeros((k, steps, steps))
    before, step = np.zeros_like(starts), np.zeros(k)
    now = _divided(starts, lengths)
    for i in range(steps):
        new = product(now) - step * before
        T[:, i, i] = np.einsum("ij,ij->j", now, new)
        new -= T[:, i, i] * now
        step = np.linalg.norm(new, axis=0)
        if i + 1 < steps:
            T[:, i + 1, i] = step
        before, now = now, _divided(new, step)
    nodes, vectors = np.linalg.eigh(T)
    return nodes, vectors[:, 0] ** 2 * lengths[:, None] ** 2


def conjugate_gradients(product: Callable[[Array], Array], B: Array, steps: int) -> Array:
    """Return the solutions X of M X = B, M positive definite, after so many steps."""
    X, R = np.zeros_like(B), B.copy()
    P, squares = R.copy(), np.einsum("ij,ij->j", R, R)
    for _ in range(steps):
        Q = product(P)
        length = _divided(squares, np.einsum("ij,ij->j", P, Q))
        X += length * P
        R -= length * Q
        old, squares = squares, np.einsum("ij,ij->j", R, R)
        P = R + _divided(squares, old) * P
    return X


def _divided(a: Array, b: Array) -> Array:
    """Return a / b, zero where b is."""
    return np.divide(a, b, out=np.zeros(np.broadcast(a, b).shape), where=b > 0)
