"""Factors on the degrees of an expansion, fitted to the exact kernel of some rows."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from nkfast._arrays.validation import Doubles

from ._allocation import Allocation, allocate, powers
from ._noise import NoiseMeans, noise_covariance

Ints = NDArray[np.int64]

_PRIOR = 1e-4
_NEAREST = 2000  # pairs, and as many others, on which errors are measured, ...
_HEAVIEST = 1000  # ... and those with the largest kernel
_DIGITS = 1 << 40, 1 << 21  # into which cosines, then kernels are rounded to order pairs


def choose_pairs(rho: Doubles, kernel: Doubles) -> tuple[Ints, Ints, Doubles]:
    """Return the pairs i < j at the smallest angles, some others, and how many each stands for.

    Where not all of a power is there, it is missed by pairs at small angles; and of rows whose
    norms spread, few pairs have most of the kernel. The others are every so many-th in the order
    of angles, whatever the order of the rows.

    Parameters
    ----------
    rho, kernel : ndarray of shape (s, s)
        The cosines and the exact kernel of s rows.
    """
    i, j = np.triu_indices(len(rho), 1)
    order = _order(rho[i, j], kernel[i, j])
    size = np.abs(kernel[i, j][order])
    first = np.arange(len(order)) >= len(order) - _NEAREST
    if len(order) > _HEAVIEST:  # without those of the same size as the next
        first |= size > np.partition(size, -_HEAVIEST)[-_HEAVIEST]
    rest = order[~first]
    few = rest[:: -(-len(rest) // _NEAREST) or 1]
    some = np.concatenate([few, order[first]])
    counts = np.ones(len(some))
    counts[: len(few)] = len(rest) / max(len(few), 1)
    return i[some], j[some], counts


def _order(rho: Doubles, kernel: Doubles) -> Ints:
    """Return the order of pairs by their cosines, and by the kernel where these are the same."""
    low, high = kernel.min(initial=np.inf), kernel.max(initial=-np.inf)
    share = (kernel - low) / (high - low) if high > low else np.zeros_like(kernel)
    coarse = np.rint((1 + np.clip(rho, -1, 1)) * (_DIGITS[0] - 1)).astype(np.int64)
    return np.argsort(coarse * _DIGITS[1] + (share * (_DIGITS[1] - 1)).astype(np.int64))


@dataclass
class Pairs:
    """The kernel of a sample of s rows: its diagonal, and some pairs of rows.

    Attributes
    ----------
    coefficients : ndarray of shape (q + 1, n_pairs)
        g_l(|x_i|, |x_j|), degree by degree.
    rho, kernel : ndarray of shape (n_pairs,)
        Their cosines and the exact kernel.
    diagonal_coefficients : ndarray of shape (q + 1, s)
        g_l(|x_i|, |x_i|).
    diagonal : ndarray of shape (s,)
        Of the exact kernel.
    n_rows : int
        Number of rows of which the sample was drawn.
    rows : tuple of ndarray of shape (n_pairs,)
        The numbers of both rows of each pair.
    counts : ndarray of shape (n_pairs,), optional
        How many pairs each stands for, one by default.
    """

    coefficients: Doubles
    rho: Doubles
    kernel: Doubles
    diagonal_coefficients: Doubles
    diagonal: Doubles
    n_rows: int
    rows: tuple[Ints, Ints]
    counts: Doubles | None = None

    @cached_property
    def shares(self) -> Doubles:
        """The weight of each pair in a mean over all of them."""
        counts = np.ones(len(self.rho)) if self.counts is None else self.counts
        return np.asarray(counts / max(counts.sum(), 1))

    @cached_property
    def parts(self) -> tuple[Doubles, Doubles]:
        """What there is of each degree: on the diagonal, and g_l rho^l of the pairs."""
        q = len(self.coefficients) - 1
        return self.diagonal_coefficients, self.coefficients * powers(self.rho, q)

    @cached_property
    def problem(self) -> FactorProblem:
        """The error of all degrees without noise."""
        return FactorProblem(self, self.parts)

    @cached_property
    def noise(self) -> NoiseMeans:
        """What the noise of sketches is made of."""
        return NoiseMeans(self.coefficients, self.rho, self.shares)


def fit_factors(
    pairs: Pairs,
    degrees: NDArray[np.int64],
    ranks: NDArray[np.int64],
    energies: Doubles,
    n_features: int,
    n_components: int,
    tails: Doubles | None = None,
) -> tuple[Doubles, Allocation, float]:
    """Return factors f_l >= 0 on the degrees that minimise the expected error of Z Z^T.

    The power series is cut at degree q, the highest of `degrees`. What lies above it is missed near
    rho = 1, and degrees that the data hardly use cost more in noise than they bring. So the g_l are
    multiplied by the non-negative factors that minimise, over pairs of rows,

        mean (sum_l f_l g_l rho^l - K)^2 + sum_lk f_l f_k N_lk,

    N the `noise_covariance`; the mean counts the diagonal, which has no noise, as often as it
    stands in the kernel of all rows.

    Parameters
    ----------
    pairs : Pairs
        Of at least degree q.
    degrees, ranks, energies, n_features, n_components, tails
        As for `allocate`.

    Returns
    -------
    factors : ndarray of shape (q + 1,)
    plan : Allocation
        That of the terms with these factors.
    error : float
        The expected error, as a share of the root mean square of the kernel.
    """
    q = int(degrees.max(initial=0))
    size = np.bincount(degrees, energies, q + 1).astype(np.float64)
    problem = pairs.problem.up_to(q)
    problem.pull(size)
    spread = energies * pairs.noise.levels[degrees]
    factors = np.ones(q + 1)
    for _ in range(4):  # the factors are those of the plan that is returned
        weighted = spread * factors[degrees]
        plan = allocate(degrees, ranks, weighted, n_features, n_components, tails)
        noise = noise_covariance(pairs.noise, plan, degrees, ranks, energies, n_components)
        lost = np.bincount(degrees[plan.widths > 0], minlength=q + 1) == 0
        factors = problem.solve(noise, lost)
    return factors, plan, problem.error(factors, noise)


class FactorProblem:
    """The expected squared error as a function of the factors: quadratic."""

    def __init__(self, pairs: Pairs, parts: tuple[Doubles, Doubles]) -> None:
        """Sum over pairs of rows.

        Parameters
        ----------
        pairs : Pairs
        parts : tuple of ndarray, of shapes (q + 1, s) and (q + 1, n_pairs)
            Of what the factors are: for each degree its part of the diagonal, and of the kernel of
            the pairs.
        """
        near, far = parts
        s = len(pairs.diagonal)
        shares = pairs.shares * (1 - 1 / pairs.n_rows)
        share = 1 / (s * pairs.n_rows)
        self._gram = share * (near @ near.T) + (far * shares) @ far.T
        self._right = share * (near @ pairs.diagonal) + far @ (shares * pairs.kernel)
        self._whole = share * float(np.sum(pairs.diagonal**2)) + float(shares @ pairs.kernel**2)
        self._pull = max(_PRIOR, 1 / s**2)
        self._prior = np.zeros_like(self._gram)

    def up_to(self, degree: int) -> FactorProblem:
        """Return the problem of the degrees up to one."""
        found = copy(self)
        found._gram = self._gram[: degree + 1, : degree + 1]
        found._right = self._right[: degree + 1]
        return found

    def pull(self, size: Doubles) -> None:
        """Keep the factors near 1 where the data do not care; `size` is that of each degree.

        Neighbouring powers are nearly collinear. On held-out rows this costs nothing; with few
        rows, which say little, the pull is stronger.
        """
        self._prior = np.diag(size**2 * self._pull)

    def solve(self, noise: Doubles, lost: NDArray[np.bool_]) -> Doubles:
        """Return the best factors; those of `lost` degrees, which have no features, are 0."""
        gram = self._gram + self._prior + noise
        return _nnls(gram, self._right + np.diagonal(self._prior), ~lost)

    def error(self, factors: Doubles, noise: Doubles) -> float:
        """Return the expected error, as a share of the root mean square of the kernel."""
        square = factors @ (self._gram + noise) @ factors - 2 * factors @ self._right
        share = (float(square) + self._whole) / self._whole if self._whole > 0 else 0.0
        return float(np.sqrt(max(share, 0.0)))


def _nnls(gram: Doubles, right: Doubles, used: NDArray[np.bool_]) -> Doubles:
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
