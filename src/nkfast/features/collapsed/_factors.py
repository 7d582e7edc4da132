"""Factors on the degrees of an expansion, fitted to the exact kernel of some rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from nkfast._arrays.validation import Doubles

from ._allocation import Allocation, allocate, noise_covariance, noise_levels, powers

_PRIOR = 1e-4
_NOISE_PAIRS = 2500  # on which the noise is estimated
_NEAREST = 4000  # pairs on which parts of powers are summed, and as many others


@dataclass
class Pairs:
    """The kernel of a sample of s rows: its diagonal, and the pairs i < j.

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
    """

    coefficients: Doubles
    rho: Doubles
    kernel: Doubles
    diagonal_coefficients: Doubles
    diagonal: Doubles
    n_rows: int

    @cached_property
    def _order(self) -> NDArray[np.int64]:
        return np.lexsort((self.kernel, np.round(self.rho, 12)))

    @cached_property
    def nearest(self) -> tuple[NDArray[np.int64], Doubles]:
        """Numbers of the pairs at the smallest angles, and some others; how many each stands for.

        Where not all of a power is there, it is missed by pairs at small angles.
        """
        order = self._order
        rest, first = order[:-_NEAREST], order[-_NEAREST:]
        rest = rest[:: -(-len(rest) // _NEAREST) or 1]
        counts = np.ones(len(rest) + len(first))
        counts[: len(rest)] = (len(order) - len(first)) / max(len(rest), 1)
        return np.concatenate([rest, first]), counts

    @property
    def nearest_rows(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The two rows of each of the `nearest` pairs."""
        i, j = np.triu_indices(len(self.diagonal), 1)
        some, _ = self.nearest
        return i[some], j[some]

    def among(self, rows: NDArray[np.bool_]) -> Pairs:
        """Return the pairs of some of the rows."""
        i, j = np.triu_indices(len(self.diagonal), 1)
        kept = rows[i] & rows[j]
        return Pairs(
            self.coefficients[:, kept],
            self.rho[kept],
            self.kernel[kept],
            self.diagonal_coefficients[:, rows],
            self.diagonal[rows],
            self.n_rows,
        )

    @cached_property
    def some(self) -> NDArray[np.int64]:
        """Numbers of some pairs: the same in whatever order rows are."""
        found = self._order
        return found[:: -(-len(found) // _NOISE_PAIRS) or 1]


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
    size = np.array([np.sum(energies[degrees == l]) for l in range(q + 1)])
    problem = FactorProblem(pairs, size)
    g, rho = pairs.coefficients[: q + 1, pairs.some], pairs.rho[pairs.some]
    spread = energies * noise_levels(rho, q)[degrees]
    factors = np.ones(q + 1)
    for _ in range(4):  # the factors are those of the plan that is returned
        weighted = spread * factors[degrees]
        plan = allocate(degrees, ranks, weighted, n_features, n_components, tails)
        noise = noise_covariance(g, rho, plan, degrees, ranks, energies, n_components)
        lost = np.array([not np.any(plan.widths[degrees == l] > 0) for l in range(q + 1)])
        factors = problem.solve(noise, lost)
    return factors, plan, problem.error(factors, noise)


class FactorProblem:
    """The expected squared error as a function of the factors: quadratic."""

    def __init__(
        self, pairs: Pairs, size: Doubles, parts: tuple[Doubles, Doubles] | None = None
    ) -> None:
        """Sum over pairs of rows.

        Parameters
        ----------
        pairs : Pairs
        size : ndarray of shape (q + 1,)
            How much of the kernel each degree is.
        parts : tuple of ndarray, of shapes (q + 1, s) and (q + 1, n), optional
            Of what the factors are, if not of powers of the cosine: for each degree its part of
            the diagonal, and of the kernel of the pairs ``pairs.nearest``.
        """
        s = len(pairs.diagonal)
        if parts is None:
            n, q = len(pairs.kernel), len(size) - 1
            near, far = pairs.diagonal_coefficients[: q + 1], pairs.coefficients[: q + 1]
            far = far * powers(pairs.rho, q)
            kernel, counts = pairs.kernel, np.ones(n)
        else:
            near, far = parts
            some, counts = pairs.nearest
            kernel = pairs.kernel[some]
        shares = counts / max(counts.sum(), 1) * (1 - 1 / pairs.n_rows)
        share = 1 / (s * pairs.n_rows)
        self._gram = share * (near @ near.T) + (far * shares) @ far.T
        self._right = share * (near @ pairs.diagonal) + far @ (shares * kernel)
        self._whole = share * float(np.sum(pairs.diagonal**2)) + float(shares @ kernel**2)
        # Neighbouring powers are nearly collinear: stay near 1 where the data do not care. On
        # held-out rows this costs nothing; with few rows, which say little, the pull is stronger.
        self._prior = np.diag(size**2 * max(_PRIOR, 1 / s**2))

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
