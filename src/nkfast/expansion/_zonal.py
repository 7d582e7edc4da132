"""Zonal functions: polynomials of the cosine that are orthogonal on a sphere."""

from __future__ import annotations

from math import comb

import numpy as np

from nkfast._arrays.validation import Doubles


def n_harmonics(n_features: int, degree: int) -> int:
    """Return N_l, the number of harmonics of that degree."""
    below = comb(n_features + degree - 3, degree - 2) if degree >= 2 else 0
    return comb(n_features + degree - 1, degree) - below


def orthogonal(index: float, degree: int) -> Doubles:
    """Return b_1..b_q of t p_n = b_(n+1) p_(n+1) + b_n p_(n-1), p_n orthonormal polynomials.

    For the weight (1 - t^2)^(index - 1/2): Gegenbauer's of that index, Chebyshev's for index 0.
    """
    n = np.arange(1.0, degree + 1)
    top, bottom = n * (n + 2 * index - 1), 4 * (n + index) * (n + index - 1)
    return np.sqrt(np.divide(top, bottom, out=np.full_like(n, 0.5), where=bottom > 0))


def zonal(rho: Doubles, n_features: int, degree: int) -> Doubles:
    """Return P_0(rho)..P_q(rho) in that many dimensions, of shape (q + 1, *rho.shape)."""
    b = orthogonal((n_features - 2) / 2, degree)
    out = np.ones((degree + 1, *rho.shape))
    end = np.ones(degree + 1)
    for values, x in ((out, rho), (end, 1.0)):
        for n in range(degree):
            values[n + 1] = x * values[n] - (b[n - 1] * values[n - 1] if n > 0 else 0.0)
            values[n + 1] /= b[n]
    out /= end.reshape(-1, *[1] * rho.ndim)
    return out
