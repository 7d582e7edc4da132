"""How an output width is shared among the terms of an expansion, and with which factors.

A term (degree l, rank r) adds u(x) u(y) <x, y>^l / (|x| |y|)^l to the kernel. It is either *exact*,
by the C(d + l - 1, l) monomials of degree l, or *sketched* to m features, which adds noise of
variance about e^2 / m to every entry, e = mean u^2 over the data.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

Array: TypeAlias = NDArray[np.float64]

_PRIOR = 1e-4
_MIN_WIDTH = 2  # a narrower sketch is mostly noise: the term is dropped


@dataclass
class Allocation:
    """Features for each term: `widths`, and which terms are `exact`; `top` is L0.

    Degrees 0..L0 have their leading term exact.
    """

    widths: NDArray[np.int64]
    exact: NDArray[np.bool_]
    top: int
    noise: float  # expected squared error of an entry of the kernel


def n_monomials(n_features: int, degree: int) -> int:
    """Return the number of monomials of that degree: the width of the exact term."""
    return comb(n_features + degree - 1, degree)


def allocate(
    degrees: NDArray[np.int64],
    ranks: NDArray[np.int64],
    energies: Array,
    n_features: int,
    n_components: int,
) -> Allocation:
    """Share `n_components` features among the terms so that the expected error is least.

    For a given L0 the rest is shared in proportion to the energies, which minimises
    sum e^2 / m at a given sum of m; terms whose share would reach their number of monomials become
    exact and the rest is shared again. L0 is chosen by the error that remains.
    """
    sizes = np.array([min(n_monomials(n_features, int(l)), n_components + 1) for l in degrees])
    best: Allocation | None = None
    for top in range(int(degrees.max()) + 1):
        # Further ranks of degree 0 cost one feature each.
        exact = (ranks == 0) & (degrees <= top) | (degrees == 0) & (n_components >= 32)
        if sizes[exact].sum() > n_components:
            break
        found = _share(energies, sizes, exact, degrees <= top, n_components)
        if best is None or found.noise < best.noise:
            best = Allocation(found.widths, found.exact, top, found.noise)
    if best is None:  # no term of degree 0: nothing is exact
        none = np.zeros(len(degrees), bool)
        best = _share(energies, sizes, none, none, n_components)
    return best


def _share(
    energies: Array,
    sizes: NDArray[np.int64],
    exact: NDArray[np.bool_],
    eligible: NDArray[np.bool_],
    n_components: int,
) -> Allocation:
    """Share the features that `exact` terms leave; `eligible` terms may become exact, too."""
    exact = exact.copy()
    # Rounded, so that another BLAS, with another last bit, makes the same plan.
    open_ = np.array([float(f"{e:.6g}") for e in energies])
    dropped = open_ <= 0
    while True:
        left = n_components - int(sizes[exact].sum())
        active = ~exact & ~dropped
        total = open_[active].sum()
        if not active.any() or total <= 0:
            share = np.zeros(len(sizes))
            break
        share = np.where(active, left * open_ / total, 0.0)
        full = active & eligible & (share >= sizes)
        if full.any():  # the cheapest first: it frees features for the others
            exact[np.flatnonzero(full)[np.argmin(sizes[full])]] = True
            continue
        small = active & (share < np.minimum(_MIN_WIDTH, sizes))
        if small.any():
            dropped[np.flatnonzero(small)[np.argmin(share[small])]] = True
            continue
        break
    widths = np.where(exact, sizes, np.floor(share)).astype(np.int64)
    sketched = widths * ~exact > 0
    if sketched.any():  # whole features by largest remainder
        spare = n_components - int(widths.sum())
        order = np.argsort(np.where(sketched, np.floor(share) - share, 1.0), kind="stable")
        widths[order[: min(spare, int(sketched.sum()))]] += 1
    noise = float(np.sum(open_[sketched] ** 2 / widths[sketched]))
    noise += float(np.sum(open_[(widths == 0)] ** 2))
    return Allocation(widths, exact, -1, noise)


def fit_factors(
    terms: Array,
    kernel: Array,
    n_rows: int,
    degrees: NDArray[np.int64],
    ranks: NDArray[np.int64],
    energies: Array,
    n_features: int,
    n_components: int,
) -> Array:
    """Return factors f_l >= 0 on the degrees that minimise the expected error of Z Z^T.

    The power series is cut at degree q. What lies above it is missed near rho = 1, and degrees
    that the data hardly use cost more in noise than they bring. So the g_l are multiplied by the
    non-negative factors that minimise, over the pairs of rows of a sample,

        mean (sum_l f_l g_l rho^l - K)^2 + sum over sketched terms of f_l^2 e^2 / m,

    where the mean counts the diagonal as often as it stands in the kernel of `n_rows` rows.

    Parameters
    ----------
    terms : ndarray of shape (q + 1, s, s)
        g_l rho^l of the sample, degree by degree.
    kernel : ndarray of shape (s, s)
        The exact kernel.
    n_rows : int
        Number of rows of which the sample was drawn.
    degrees, ranks, energies, n_features, n_components
        As for `allocate`.

    Returns
    -------
    ndarray of shape (q + 1,)
    """
    q, s = len(terms) - 1, len(kernel)
    size = np.array([np.sum(energies[degrees == l]) for l in range(q + 1)])
    off = ~np.eye(s, dtype=bool)
    near = np.einsum("lii->li", terms)
    gram = near @ near.T / (s * n_rows)
    right = near @ np.diagonal(kernel) / (s * n_rows)
    if s > 1:
        far = terms[:, off]
        share = (1 - 1 / n_rows) / far.shape[1]
        gram += share * (far @ far.T)
        right += share * (far @ kernel[off])
    # Neighbouring powers are nearly collinear: stay near 1 where the data do not care. On held-out
    # rows this costs nothing; with few rows, which say little, the pull is stronger.
    prior = size**2 * max(_PRIOR, 1 / s**2)
    gram += np.diag(prior)
    right += prior

    factors = np.ones(q + 1)
    for _ in range(3):
        plan = allocate(degrees, ranks, energies * factors[degrees], n_features, n_components)
        noise = np.zeros(q + 1)
        for l, e, m, exact in zip(degrees, energies, plan.widths, plan.exact, strict=True):
            if not exact and m > 0:
                noise[l] += e**2 / m
        lost = np.array([not np.any(plan.widths[degrees == l] > 0) for l in range(q + 1)])
        factors = _nnls(gram + np.diag(noise), right, ~lost)
    return factors


def _nnls(gram: Array, right: Array, used: NDArray[np.bool_]) -> Array:
    """Return argmin f' G f - 2 f' r over f >= 0, with f = 0 where not `used`."""
    used = used & (np.diagonal(gram) > 0)
    factors = np.zeros(len(right))
    if not used.any():  # SciPy's nnls crashes on an empty matrix
        return factors
    scale = np.sqrt(np.diagonal(gram)[used])
    g = gram[np.ix_(used, used)] / np.outer(scale, scale)
    value, vector = np.linalg.eigh(g)
    root = np.sqrt(np.maximum(value, 1e-12 * value.max(initial=1.0)))
    target = (vector.T @ (right[used] / scale)) / root
    factors[used] = nnls(root[:, None] * vector.T, target, maxiter=1000)[0] / scale
    return factors
