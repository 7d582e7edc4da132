"""Ridge regression from a Gram matrix: given or generalised cross-validated penalty."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh, lapack

from ._moments import Moments, observations, weighted_mean

Array = NDArray[Any]
Alpha: TypeAlias = float | Literal["gcv"]

# GCV tries this many penalties, evenly spaced in the logarithm. The lowest is a noise variance of
# LEAST_NOISE times the mean squared norm of a row (the prior variance of a prediction) or, if that
# is more, a level at which float64 still resolves the smallest eigenvalues. At the highest, HIGHEST
# times the largest eigenvalue, all is shrunk away.
GCV_STEPS = 45
LEAST_NOISE = 1e-6
LOWEST, HIGHEST = 1e-10, 10.0

_ROUNDING = 8 * np.finfo(float).eps  # relative error that centring may leave


@dataclass(frozen=True)
class Penalty:
    """The penalty in use; if it was searched, the `alphas` tried and their scores `gcv`."""

    alpha: float
    alphas: Array | None = None
    gcv: Array | None = None


@dataclass(frozen=True)
class Ridge:
    """A solution: predictions are z^T coef + intercept.

    `coef` is (p, k) and `intercept` (k,), zero unless `centred`.
    """

    coef: Array
    intercept: Array
    centred: bool
    penalty: Penalty


@dataclass(frozen=True)
class Stream:
    """Sums that may still grow, and their solution, computed when it is first asked for."""

    sums: Moments
    alpha: Alpha

    @cached_property
    def ridge(self) -> Ridge:
        """The solution for the sums as they are now."""
        return solve_primal(self.sums, self.alpha)


def solve_primal(sums: Moments, alpha: Alpha) -> Ridge:
    """Solve min_w sum_i w_i (y_i - z_i^T w - b)^2 + alpha ||w||^2 from the moments."""
    system = _System(
        sums.zz,
        sums.zy,
        observations=sums.observations,
        centred=sums.centred,
        noise=sums.total * (_ROUNDING * np.linalg.norm(sums.mean_z)) ** 2,
        squares=float(sums.yy.sum()),
    )
    coef, penalty = _solve(system, alpha)
    return Ridge(coef, sums.mean_y - sums.mean_z @ coef, sums.centred, penalty)


def solve_dual(Z: Array, Y: Array, weight: Array | None, alpha: Alpha, *, centred: bool) -> Ridge:
    """Solve the same problem through the (n, n) matrix Z Z^T, cheaper for n < p.

    `Z` is (n, p) in float64 and is overwritten; `Y` is (n, k).
    """
    mean_z, mean_y = np.zeros(Z.shape[1]), np.zeros(Y.shape[1])
    if centred:
        mean_z, mean_y = weighted_mean(Z, weight), weighted_mean(Y, weight)
        Z -= mean_z
        Y = Y - mean_y
    if weight is not None:
        root = np.sqrt(weight)[:, None]
        Z *= root
        Y = Y * root
    count = observations(len(Z), weight)
    noise = (len(Z) if weight is None else weight.sum()) * (_ROUNDING * np.linalg.norm(mean_z)) ** 2
    dual, penalty = _solve(_System(Z @ Z.T, Y, count, centred, noise), alpha)
    coef = Z.T @ dual
    return Ridge(coef, mean_y - mean_z @ coef, centred, penalty)


def solve_kernel(K: Array, Y: Array, weight: Array | None, alpha: Alpha, *, centred: bool) -> Ridge:
    """Solve the same problem given the kernel K = Z Z^T of the rows only.

    `K` (n, n) is overwritten. `coef` is (n, k): predictions are k(x, X) coef + intercept, and w is
    Z^T coef.
    """
    mean_y, mean_k = np.zeros(Y.shape[1]), np.zeros(len(K))
    noise = 0.0
    if centred:
        noise = _ROUNDING * (np.trace(K) if weight is None else weight @ np.diagonal(K))
        # K of the deviations from the weighted mean of the rows, H K H^T, H = I - 1 v^T.
        share = np.full(len(K), 1 / len(K)) if weight is None else weight / weight.sum()
        mean_k, mean_y = K @ share, weighted_mean(Y, weight)
        K -= mean_k[:, None]
        K -= mean_k
        K += share @ mean_k
        Y = Y - mean_y
    if weight is not None:
        root = np.sqrt(weight)
        K *= root[:, None]
        K *= root
        Y = Y * root[:, None]
    coef, penalty = _solve(_System(K, Y, observations(len(K), weight), centred, noise), alpha)
    if weight is not None:
        coef = coef * root[:, None]
    if centred:
        # They sum to zero, and k(x, X) of a new x need not be centred. Rounding, magnified by
        # 1 / alpha, would leave a sum that multiplies the kernel's mean.
        coef = coef - share[:, None] * coef.sum(axis=0)
    return Ridge(coef, mean_y - mean_k @ coef, centred, penalty)


@dataclass(frozen=True)
class _System:
    """(A + alpha I) X = B, and what is needed to choose alpha.

    In a primal problem A = Z^T Z, B = Z^T Y and `squares` is ||Y||^2; in a dual one A = Z Z^T,
    B = Y and `squares` is None. Of A only the lower triangle is read. If the rows were `centred`
    eigenvalues below `noise` are what rounding left of zero.
    """

    A: Array
    B: Array
    observations: float
    centred: bool
    noise: float
    squares: float | None = None

    def floor(self, top: float) -> float:
        """Below this an eigenvalue counts as zero, if `top` is the largest."""
        return max(self.noise, len(self.A) * np.finfo(float).eps * top)


def _solve(system: _System, alpha: Alpha) -> tuple[Array, Penalty]:
    """Return (A + alpha I)^{-1} B, at alpha = 0 the pseudo-inverse, and the penalty."""
    if alpha == "gcv":
        return _gcv(system)
    return _penalised(system, alpha), Penalty(alpha)


def _gcv(system: _System) -> tuple[Array, Penalty]:
    """Choose alpha by generalised cross-validation (Golub, Heath & Wahba 1979), then solve.

    GCV(alpha) = n sum of squared residuals / (n - degrees of freedom)^2, summed over the targets.
    With A = Q T Q^T, T tridiagonal, residuals need one tridiagonal solve for each alpha, and the
    degrees of freedom only the eigenvalues of T: no eigenvectors at all.
    """
    form = _Tridiagonal(system.A)
    G = form.rotate(system.B)
    s = form.eigenvalues()
    s = s[s > system.floor(s[-1])]
    alphas = _path(s, system)
    n, squares = system.observations, system.squares
    free = max(n - system.centred - len(s), 0)
    scores = np.full(len(alphas), np.inf)
    for i, alpha in enumerate(alphas):
        x = form.solve(alpha, G)
        if squares is None:
            residual = np.linalg.norm(alpha * x) ** 2
        else:
            residual = squares - np.vdot(x, G) - alpha * np.vdot(x, x)
            residual = max(residual, np.finfo(float).eps * squares)
        left = free + np.sum(alpha / (s + alpha))  # n - df, without cancellation where df nears n
        if left > 0:
            scores[i] = n * residual / left**2
    best = np.flatnonzero(scores <= scores.min() * (1 + 1e-12))[-1]  # of equals the most cautious
    coef = form.rotate_back(form.solve(alphas[best], G))
    return coef, Penalty(float(alphas[best]), alphas, scores)


def _path(s: Array, system: _System) -> Array:
    """Return the penalties to try for the eigenvalues `s` > 0."""
    if len(s) == 0:  # nothing can be learnt, and every penalty predicts the mean
        return np.asarray(max(1.0, system.noise) * np.geomspace(LOWEST, HIGHEST, GCV_STEPS))
    prior = s.sum() / max(system.observations - system.centred, 1)
    least = max(LOWEST * s[-1], LEAST_NOISE * prior, system.noise)
    return np.geomspace(least, HIGHEST * s[-1], GCV_STEPS)


def _penalised(system: _System, alpha: float) -> Array:
    """Return (A + alpha I)^{-1} B, by Cholesky where A + alpha I is safely positive definite."""
    A, B = system.A, system.B
    # The trace bounds the norm of a positive semi-definite matrix.
    if alpha > system.floor(np.trace(A)):
        factor = np.array(A, order="F")
        factor[np.diag_indices(len(A))] += alpha
        factor, failed = lapack.dpotrf(factor, lower=1, overwrite_a=1, clean=0)
        if not failed:
            return np.asarray(lapack.dpotrs(factor, B, lower=1)[0])
    s, Q = eigh(A, lower=True, check_finite=False)
    kept = s > system.floor(s[-1])
    s, Q = s[kept], Q[:, kept]
    return np.asarray(Q @ ((Q.T @ B) / (s + alpha)[:, None]))


class _Tridiagonal:
    """A symmetric matrix (lower triangle read) as Q T Q^T with T tridiagonal, Q orthogonal."""

    def __init__(self, A: Array) -> None:
        m = len(A)
        work = int(lapack.dsytrd_lwork(m, lower=1)[0])
        packed, self._d, self._e, self._tau, _ = lapack.dsytrd(
            np.array(A, order="F"), lower=1, lwork=work, overwrite_a=1
        )
        # Q leaves the first coordinate alone. Its reflectors lie below the first subdiagonal: in
        # memory, a Fortran array of m rows that begins one entry later. No copy of m^2 numbers.
        flat = packed.reshape(-1, order="F")
        self._reflectors = flat[1 : 1 + m * (m - 1)].reshape((m, m - 1), order="F")

    def eigenvalues(self) -> Array:
        """Return the eigenvalues in increasing order."""
        if len(self._d) == 1:  # LAPACK's wrappers refuse an empty subdiagonal
            return np.asarray(self._d)
        return np.asarray(lapack.dsterf(self._d, self._e)[0])

    def solve(self, alpha: float, G: Array) -> Array:
        """Return (T + alpha I)^{-1} G; alpha lifts T well above its rounding noise."""
        if len(self._d) == 1:
            return np.asarray(G / (self._d[0] + alpha))
        *_, x, failed = lapack.dptsv(self._d + alpha, self._e, G)
        if failed:
            raise np.linalg.LinAlgError("ridge: the Gram matrix is not positive semi-definite")
        return np.asarray(x)

    def rotate(self, B: Array) -> Array:
        """Return Q^T B."""
        return self._apply("T", B)

    def rotate_back(self, B: Array) -> Array:
        """Return Q B."""
        return self._apply("N", B)

    def _apply(self, trans: str, B: Array) -> Array:
        out = np.array(B, dtype=np.float64, order="F")
        if len(out) > 1:
            rest = np.asfortranarray(out[1:])
            work = int(lapack.dormqr("L", trans, self._reflectors, self._tau, rest, -1)[1][0])
            out[1:] = lapack.dormqr("L", trans, self._reflectors, self._tau, rest, work)[0]
        return out
