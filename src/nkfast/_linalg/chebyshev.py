"""Chebyshev series from values at Chebyshev points, in any number of dimensions."""

from __future__ import annotations

import numpy as np
from numpy.polynomial.chebyshev import chebpts1, chebvander

from nkfast._arrays.validation import Array


def series_matrix(count: int) -> Array:
    """Return the matrix from values at `chebpts1(count)` to the coefficients of their series.

    Returns
    -------
    ndarray of shape (count, count)
        The transposed Vandermonde matrix, scaled: its rows are orthogonal (as in NumPy's
        `chebinterpolate`, which takes a function, and values of up to two dimensions).
    """
    matrix = chebvander(chebpts1(count), count - 1).T * (2 / count)
    matrix[0] /= 2
    return np.asarray(matrix)


def closed_points(count: int) -> Array:
    """Return count + 1 Chebyshev points of the second kind, falling from 1 to -1.

    Every other one is a point of half the count.
    """
    return np.asarray(np.cos(np.pi / count * np.arange(count + 1)))


def closed_series(values: Array) -> Array:
    """Return Chebyshev coefficients from values at `closed_points`, by the first axis."""
    count = len(values) - 1
    k = np.arange(count + 1)
    matrix = np.cos(np.pi / count * (np.outer(k, k) % (2 * count))) * (2 / count)
    matrix[:, [0, -1]] /= 2
    matrix[[0, -1]] /= 2
    return np.asarray(np.tensordot(matrix, values, axes=1))


def to_series(values: Array) -> Array:
    """Return Chebyshev coefficients from values at `chebpts1(len(values))`, by the first axis."""
    return np.asarray(np.tensordot(series_matrix(len(values)), values, axes=1))
