"""A whole dense network as one expansion: kernel(x, x') = sum_l g_l(||x||, ||x'||) rho^l.

Every NNGP and NTK of a dense network, of any depth and with biases, is of this form with positive
semi-definite g_l (Schoenberg; Han et al., NeurIPS 2022, theorem 2 is the homogeneous case). Here
the g_l are computed on radial nodes, split into g_l(a, b) ~ sum_r u_lr(a) u_lr(b), and every u_lr
is kept as a Chebyshev series in log a. Cost and error do not grow with depth.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nkfast._core import radial_weights
from nkfast.kernels import Kernel
from nkfast.networks import Sequential

from ._coefficients import harmonic_coefficients, radial_coefficients
from ._zonal import zonal

Array: TypeAlias = NDArray[np.float64]

_MAX_HALF = 3.5  # half width in log norm that one Chebyshev series covers: a factor of 1100
_MARGIN = 1.25  # by which norms may leave the range of the fitted rows
_SAME = 1e-6  # norms that differ by less, in their logarithms, count as one: rounding of float32
_FLOOR = 1e-2  # share of the weight that is spread where no data lie
# Most ranks of a degree, and the share of the kernel's energy below which one is dropped. Ranks of
# degree 0 cost one feature each.
_RANKS = (4, 1e-5)
_CONSTANT_RANKS = (6, 1e-10)
_HARMONIC_RANKS = (8, 1e-8)  # of which those are taken that have most energy


@dataclass
class Expansion:
    """The radial weights u_c of all components c = (degree, rank) of an expansion.

    Attributes
    ----------
    degrees, ranks : ndarray of shape (n_terms,)
        Degree l and rank r of every term, ordered by degree, then rank.
    """

    net: Sequential
    kernel: Kernel
    n_features: int
    degrees: NDArray[np.int64]
    ranks: NDArray[np.int64]
    coefficients: Array  # (n_terms, n_nodes), Chebyshev series of u / a^power in log a
    at_zero: Array  # (n_terms,), u at norm zero
    middle: float  # of the range, in log norm
    half: float
    power: float
    nodes: Array  # norms; the last is 0 unless the network is homogeneous
    basis: Array  # (n_terms, len(nodes)): u_c(a) = sum_j g_l(a, a_j) basis[c, j]
    harmonic: bool = False  # in P_l(rho), the zonal harmonics, and not in rho^l

    def weights(self, norms: Array, n_threads: int = 1) -> Array:
        """Return u_c(norms[i]) as (n, n_terms), each row from its own norm alone."""
        out = radial_weights(
            norms,
            self.coefficients,
            self.at_zero,
            self.middle,
            self.half,
            self.power,
            n_threads,
        )
        if self.power == 0:
            with np.errstate(divide="ignore"):
                outside = (norms > 0) & (np.abs(np.log(norms) - self.middle) > self.half + _SAME)
            for i in np.flatnonzero(outside):
                out[i] = self._extend(norms[i : i + 1])
        return np.asarray(out)

    def _extend(self, norm: Array) -> Array:
        """Return u_c at a norm outside the range: by the kernel itself, not by the series."""
        q = int(self.degrees.max())
        of = harmonic_coefficients if self.harmonic else radial_coefficients
        g = of(self.net, norm, self.nodes, self.n_features, q, self.kernel)[:, 0]
        return np.asarray(np.einsum("cj,cj->c", g[self.degrees], self.basis))

    def kernel_of(self, norms: Array, rho: Array, used: NDArray[np.bool_] | None = None) -> Array:
        """Return the kernel that the expansion stands for, with no error of a sketch.

        Parameters
        ----------
        norms : ndarray of shape (n,)
        rho : ndarray of shape (n, n)
            Cosines.
        used : ndarray of shape (n_terms,), optional
            The terms that count, all by default.

        Returns
        -------
        ndarray of shape (n, n)
        """
        u = self.weights(norms)
        kept = np.ones(len(self.degrees), bool) if used is None else used
        total = np.zeros_like(rho)
        angular = zonal(rho, self.n_features, int(self.degrees.max())) if self.harmonic else None
        for l in np.unique(self.degrees[kept]):
            part = u[:, kept & (self.degrees == l)]
            total += (part @ part.T) * (rho**l if angular is None else angular[l])
        return total

    def scale(self, factors: Array) -> Expansion:
        """Return the expansion up to degree q with every g_l multiplied by factors[l], l <= q."""
        found = self.take(self.degrees < len(factors))
        root = np.sqrt(factors)[found.degrees]
        return replace(
            found,
            coefficients=found.coefficients * root[:, None],
            at_zero=found.at_zero * root,
            basis=found.basis * root[:, None],
        )

    def take(self, terms: NDArray[Any]) -> Expansion:
        """Return the expansion of some of the terms, by number or mask."""
        return replace(
            self,
            degrees=self.degrees[terms],
            ranks=self.ranks[terms],
            coefficients=self.coefficients[terms],
            at_zero=self.at_zero[terms],
            basis=self.basis[terms],
        )


def expand(
    net: Sequential,
    norms: Array,
    n_features: int,
    degree: int,
    kernel: Kernel,
    *,
    harmonic: bool = False,
) -> Expansion:
    """Return the expansion of a network's kernel for points with norms like `norms`.

    Parameters
    ----------
    net : Sequential
        A dense network.
    norms : ndarray of shape (n,)
        Norms of the points that the expansion is for; zeros are allowed.
    n_features, degree, kernel
        As in `radial_coefficients`.
    harmonic : bool, default=False
        Expand in the zonal harmonics of the cosine instead of its powers; two features at least.
    """
    positive = norms[norms > 0]
    power = net._homogeneity()
    middle, half = log_range(positive)
    if power is not None:
        half = 0.0
    n_nodes = 1 if half == 0 else int(np.clip(np.ceil(12 + 10 * half), 16, 48))
    cosines = np.cos(np.pi * (np.arange(n_nodes) + 0.5) / n_nodes) if half > 0 else np.zeros(1)
    nodes = np.exp(middle + half * cosines)
    share = _density(positive, middle, half, cosines)
    if power is None:  # the origin is a node, too: degree 0 does not vanish there
        nodes = np.append(nodes, 0.0)
        zero = np.mean(norms == 0) if len(norms) else 0.0
        share = np.append(share * (1 - zero), zero + _FLOOR)
    root = np.sqrt(share)

    of = harmonic_coefficients if harmonic else radial_coefficients
    g = of(net, nodes, nodes, n_features, degree, kernel)
    energy = float(sum(np.sum(share * np.diagonal(part)) for part in g))
    # Chebyshev coefficients from values at the roots of T_n.
    chebyshev = np.cos(np.arange(n_nodes)[:, None] * np.arccos(cosines))
    chebyshev *= np.where(np.arange(n_nodes) == 0, 1, 2)[:, None] / n_nodes

    degrees, ranks, series, at_zero, basis = [], [], [], [], []
    for l, part in enumerate(g):
        value, vector = np.linalg.eigh(root[:, None] * part * root)
        max_rank, tolerance = _CONSTANT_RANKS if l == 0 else _HARMONIC_RANKS if harmonic else _RANKS
        for r, k in enumerate(np.argsort(value)[::-1][:max_rank]):
            if value[k] <= energy * tolerance:
                break
            b = root * vector[:, k] / np.sqrt(value[k])
            b = b if b.sum() >= 0 else -b  # the same sign on every machine
            u = part @ b
            if power is not None:
                u = u / nodes**power
            degrees.append(l)
            ranks.append(r)
            series.append(chebyshev @ u[:n_nodes])
            at_zero.append(float(u[-1]) if l == 0 and power is None else 0.0)
            basis.append(b)
    return Expansion(
        net,
        kernel,
        n_features,
        np.array(degrees, np.int64),
        np.array(ranks, np.int64),
        np.array(series, np.float64).reshape(len(degrees), n_nodes),
        np.array(at_zero, np.float64),
        middle,
        half,
        0.0 if power is None else power,
        nodes,
        np.array(basis, np.float64).reshape(len(degrees), len(nodes)),
        harmonic,
    )


def log_range(norms: Array) -> tuple[float, float]:
    """Return middle and half width of the range of log norms that the series cover."""
    if len(norms) == 0:
        return 0.0, float(np.log(_MARGIN))
    logs = np.log(norms)
    low, high = float(logs.min()), float(logs.max())
    if high - low > 2 * (_MAX_HALF - np.log(_MARGIN)):
        low, high = (float(x) for x in np.quantile(logs, [0.005, 0.995]))
        middle = float(np.median(logs))
        low = max(low, middle - _MAX_HALF)
        high = min(high, middle + _MAX_HALF)
    if high - low < _SAME:  # one norm: one node
        return (low + high) / 2, 0.0
    return (low + high) / 2, float(min((high - low) / 2 + np.log(_MARGIN), _MAX_HALF))


def _density(norms: Array, middle: float, half: float, cosines: Array) -> Array:
    """Return the share of the norms nearest to each node, with a floor, summing to one."""
    n = len(cosines)
    share = np.full(n, _FLOOR / n)
    if len(norms) and half > 0:
        t = np.clip((np.log(norms) - middle) / half, -1, 1)
        edges = -np.cos(np.pi * np.arange(n + 1) / n)
        share += np.histogram(t, edges)[0][::-1] / len(norms)
    return np.asarray(share / share.sum())
