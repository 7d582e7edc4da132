"""Kernels as series in the correlation: sum_l A_l(p) A_l(q) rho^l (Mehler)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nkfast._arrays.validation import Array
from nkfast._core import DualKind, product_series

from ._base import _inverse
from ._dual_map import DualMap

Pair = Callable[[Array, Array, Array], tuple[Array, Array]]

# Standard deviations below which slopes are taken to be those at zero: quotients by them, of sums
# whose rounding is that of f(0), or of numbers that float64 cannot hold.
_SMALL, _SMALLEST = 1e-6, 1e-75


def series_pair(a: Array, b: Array, s: Array, t: Array, c: Array) -> tuple[Array, Array]:
    """Return (k, kdot) of k = sum_l a_l b_l rho^l, rho = c / (s t).

    Parameters
    ----------
    a, b : ndarray of shape (..., L + 1)
        Hermite coefficients of the left and the right points.
    s, t : ndarray
        Their standard deviations.
    c : ndarray
        Covariances, maybe complex.
    """
    inverse = _inverse(s) * _inverse(t)
    rho = c * inverse
    if not np.iscomplexobj(rho):
        rho = np.clip(rho, -1, 1)
    if np.iscomplexobj(rho) and not (np.iscomplexobj(a) or np.iscomplexobj(b)):
        n, m = len(a), b.shape[1] if b.ndim > 1 else 0
        if rho.ndim == 3 and a.shape[:-1] == (n, 1, 1) and b.shape[:-1] == (1, m, 1):
            rho = np.ascontiguousarray(np.broadcast_to(rho, (n, m, rho.shape[2])))
            left, right = (np.ascontiguousarray(v.reshape(-1, v.shape[-1])) for v in (a, b))
            k, slope = product_series(left, right, rho)
            return k, slope * inverse
        if rho.ndim == 2 and a.shape[:-1] == b.shape[:-1] == (len(rho), 1):
            terms = np.ascontiguousarray((a * b)[:, 0])  # of each pair of points
            one = np.ones((1, terms.shape[1]))
            k, slope = product_series(terms, one, np.ascontiguousarray(rho[:, None]))
            return k[:, 0], slope[:, 0] * inverse
    shape = np.broadcast_shapes(a.shape[:-1], b.shape[:-1], rho.shape)
    k, slope = np.zeros((2, *shape), np.result_type(a, b, rho))
    first, second = (np.ascontiguousarray(np.moveaxis(v, -1, 0)) for v in (a, b))
    for left, right in zip(first[::-1], second[::-1], strict=True):
        slope *= rho
        slope += k
        k *= rho
        k += left * right
    return k, slope * inverse


def pair_down_to_zero(
    pair: Pair, s: Array, t: Array, c: Array, vanishes: bool
) -> tuple[Array, Array]:
    """Return pair(s, t, c), the slopes of very small deviations being those of a larger one.

    `vanishes` tells that f(0) = 0: then the slopes of small deviations have all their digits, and
    where f'(0) is zero, too, they are nothing like those of larger ones.
    """
    k, slope = pair(s, t, c)
    least = _SMALLEST if vanishes else _SMALL
    if min(s.real.min(initial=1.0), t.real.min(initial=1.0)) < least:
        u, v = (np.where(v.real < least, least, v) for v in (s, t))
        slope = pair(u, v, c * _inverse(s) * _inverse(t) * u * v)[1]
    return k, slope


def series_map(
    a: Array, b: Array, inverse_s: Array, inverse_t: Array, degrees: Array, tol: float = 0.0
) -> DualMap:
    """Return the core's form of `series_pair`, without the degrees of a missing parity.

    `degrees` tells which the function has, whatever the points: each side's table may be made
    beside other points. Rows stop at terms that cannot change their values by more than `tol` of
    the kernel's scale.
    """
    used = np.flatnonzero(degrees)
    stride = 2 if len(used) == 0 or np.all(used % 2 == used[0] % 2) else 1
    offset = int(used[0] % 2) if len(used) and stride == 2 else 0
    last = int(used[-1]) if len(used) else offset
    terms = slice(offset, last + 1, stride)
    left = np.column_stack([inverse_s, a[:, terms]])
    right = left if b is a else np.column_stack([inverse_t, b[:, terms]])
    params = (float(offset), float(stride), float(left.shape[1] - 1), tol)
    return DualMap(DualKind.SERIES, params, left, right)
