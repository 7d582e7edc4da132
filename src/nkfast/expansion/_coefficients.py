"""The kernel of a network at given norms as a series in the cosine: powers, or zonal harmonics."""

from __future__ import annotations

import numpy as np
from scipy.special import roots_jacobi

from nkfast._arrays.validation import Doubles
from nkfast.kernels import Kernel
from nkfast.layers import Moments
from nkfast.networks import Sequential

from ._zonal import n_harmonics, zonal

_POINTS, _MOST_POINTS = 8, 512  # on the circle on which the kernel is sampled, for each degree
_CHUNK = 4096  # pairs of nodes at a time, to bound memory
LONG = 200  # powers that harmonics are summed from
_ENDED = 1e-7  # share of the last of them, below which that is all
_SERIES = 5  # dimensions from which on high powers hardly matter
_COSINES = 160  # nodes of a quadrature over them: exact to rounding for all powers that count


def radial_coefficients(
    net: Sequential, a: Doubles, b: Doubles, n_features: int, degree: int, kernel: Kernel
) -> Doubles:
    """Return g_l(a_i, b_j), the coefficients of the kernel's power series in rho.

    Parameters
    ----------
    net : Sequential
        A dense network.
    a, b : ndarray of shape (p,) and (q,)
        Norms of the left and right points.
    n_features : int
        Number of features d; the input's kernel is a b rho / d.
    degree : int
        Highest degree.
    kernel : {"nngp", "ntk"}

    Returns
    -------
    ndarray of shape (degree + 1, p, q)

    Notes
    -----
    The kernel is analytic in rho inside the unit disk, because every layer's map is a power series
    with a finite sum at 1. So the coefficients are Cauchy integrals, here a Fourier transform over
    a circle of radius below 1: no truncated series is composed, so nothing is lost. The more points
    there are, the nearer to 1 is that radius, and the less rounding is magnified.
    """
    n = min(_POINTS * (degree + 1), _MOST_POINTS)
    radius = 1e-16 ** (1 / n)  # the first aliased coefficient is at rounding
    rho = radius * np.exp(2j * np.pi * np.arange(n // 2 + 1) / n)
    # Of the same nodes on both sides one half of the pairs tells the other.
    symmetric = np.array_equal(a, b)
    every = np.indices((len(a), len(b))).reshape(2, -1)
    rows, cols = np.triu_indices(len(a)) if symmetric else every
    out = np.empty((degree + 1, len(a), len(b)))
    for i in range(0, len(rows), _CHUNK):
        at = rows[i : i + _CHUNK], cols[i : i + _CHUNK]
        left, right = a[at[0], None], b[at[1], None]
        k = left * right / n_features * rho
        end = net._propagate(
            Moments(k, np.zeros_like(k), left**2 / n_features, right**2 / n_features)
        )
        value = np.broadcast_to(end.theta if kernel == "ntk" else end.k, k.shape)
        series = np.fft.irfft(value.conj(), n=n)[:, : degree + 1]
        out[:, at[0], at[1]] = (series / radius ** np.arange(degree + 1)).T
    if symmetric:
        out[:, cols, rows] = out[:, rows, cols]
    return out


def harmonic_coefficients(
    net: Sequential,
    a: Doubles,
    b: Doubles,
    n_features: int,
    degree: int,
    kernel: Kernel,
    powers: Doubles | None = None,
) -> Doubles:
    """Return G_l(a_i, b_j), the coefficients of the kernel in the zonal harmonics P_l(rho).

    Parameters
    ----------
    net, a, b, n_features, degree, kernel
        As for `radial_coefficients`; two features at least, which tell the sphere.
    powers : ndarray of shape (LONG + 1, p, q), optional
        The `radial_coefficients`, if they are known.

    Returns
    -------
    ndarray of shape (degree + 1, p, q)

    Notes
    -----
    P_l is orthogonal for the weight (1 - rho^2)^((d - 3) / 2), which the angles of the uniform
    distribution have: G_l = N_l E k P_l. That of a power of rho is known, and of high powers small.
    In up to four dimensions it is not, and the quadrature takes the kernel itself, unless it has
    no high powers. G_l has a share of every g_(l + 2 i), so it is positive semi-definite, too.
    """
    power = (n_features - 3) / 2
    rho, share = roots_jacobi(_COSINES, power, power)
    weights = zonal(rho, n_features, degree) * (share / share.sum())
    weights *= np.array([n_harmonics(n_features, l) for l in range(degree + 1)], float)[:, None]
    g = powers
    if g is None:
        g = radial_coefficients(net, a, b, n_features, LONG, kernel)
    if n_features >= _SERIES or np.all(g[-2:].sum(axis=0) <= _ENDED * np.abs(g).sum(axis=0)):
        shares = weights @ rho[:, None] ** np.arange(LONG + 1)
        return np.asarray(np.tensordot(shares, g, 1))
    out = np.empty((degree + 1, len(a), len(b)))
    for i in range(len(a)):  # row by row, to bound memory
        left, right = a[i], b[:, None]
        k = left * right / n_features * rho
        end = net._propagate(
            Moments(k, np.zeros_like(k), left**2 / n_features, right**2 / n_features)
        )
        value = np.broadcast_to(end.theta if kernel == "ntk" else end.k, k.shape)
        out[:, i] = weights @ value.T
    return out
