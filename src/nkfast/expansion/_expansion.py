"""A whole dense network as one expansion: kernel(x, x') = sum_l g_l(||x||, ||x'||) rho^l.

Every NNGP and NTK of a dense network, of any depth and with biases, is of this form with positive
semi-definite g_l (Schoenberg; Han et al., NeurIPS 2022, theorem 2 is the homogeneous case). Here
the g_l are computed on radial nodes, split into g_l(a, b) ~ sum_r u_lr(a) u_lr(b), and every u_lr
is kept as a Chebyshev series in log a (`_radial`). Cost and error do not grow with depth.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nkfast._arrays.validation import Doubles
from nkfast.kernels import Kernel
from nkfast.networks import Sequential

from ._coefficients import LONG, harmonic_coefficients, radial_coefficients
from ._radial import SAME, RadialSeries, log_range, radial_nodes
from ._zonal import zonal

_FLOOR = 1e-2  # share of the weight that is spread where no data lie
# Most ranks of a degree, and the share of the kernel's energy below which one is dropped. Ranks of
# degree 0 cost one feature each.
_RANKS = (4, 1e-5)
_CONSTANT_RANKS = (6, 1e-10)
_HARMONIC_RANKS = (8, 1e-8)  # of which those are taken that have most energy


@dataclass(kw_only=True)
class Expansion:
    """The radial weights u_c of all components c = (degree, rank) of an expansion.

    Attributes
    ----------
    net : Sequential
    kernel : {"nngp", "ntk"}
    n_features : int
    degrees, ranks : ndarray of shape (n_terms,)
        Degree l and rank r of every term, ordered by degree, then rank.
    radial : RadialSeries
        The functions u_c.
    nodes : ndarray of shape (n_nodes,)
        Norms; the last is 0 unless the network is homogeneous.
    basis : ndarray of shape (n_terms, n_nodes)
        u_c(a) = sum_j g_l(a, nodes_j) basis[c, j].
    harmonic : bool
        Whether in P_l(rho), the zonal harmonics, and not in rho^l.
    """

    net: Sequential
    kernel: Kernel
    n_features: int
    degrees: NDArray[np.int64]
    ranks: NDArray[np.int64]
    radial: RadialSeries
    nodes: Doubles
    basis: Doubles
    harmonic: bool = False

    def weights(self, norms: Doubles, n_threads: int = 1) -> Doubles:
        """Return u_c(norms[i]) as (n, n_terms), each row from its own norm alone."""
        if self.radial.power != 0:  # the series holds for all norms
            return self.radial(norms, n_threads)
        return self.radial.extended(norms, self._exact, n_threads, slack=SAME)

    def _exact(self, norm: Doubles) -> Doubles:
        """Return u_c at a norm outside the range: by the kernel itself, not by the series."""
        q = int(self.degrees.max())
        of = harmonic_coefficients if self.harmonic else radial_coefficients
        g = of(self.net, norm, self.nodes, self.n_features, q, self.kernel)[:, 0]
        return np.asarray(np.einsum("cj,cj->c", g[self.degrees], self.basis))

    def kernel_of(
        self, norms: Doubles, rho: Doubles, used: NDArray[np.bool_] | None = None
    ) -> Doubles:
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

    def scale(self, factors: Doubles) -> Expansion:
        """Return the expansion up to degree q with every g_l multiplied by factors[l], l <= q."""
        found = self.take(self.degrees < len(factors))
        root = np.sqrt(factors)[found.degrees]
        return replace(
            found,
            radial=found.radial.scale(root),
            basis=found.basis * root[:, None],
        )

    def take(self, terms: NDArray[Any]) -> Expansion:
        """Return the expansion of some of the terms, by number or mask."""
        return replace(
            self,
            degrees=self.degrees[terms],
            ranks=self.ranks[terms],
            radial=self.radial.take(terms),
            basis=self.basis[terms],
        )


@dataclass(frozen=True, kw_only=True)
class Nodes:
    """The norms at which a network's series is computed, for points with some norms.

    Attributes
    ----------
    norms : ndarray of shape (n_nodes,)
        `count` of them at `radial_nodes`, then 0 unless the network is homogeneous.
    share : ndarray of shape (n_nodes,)
        Of the points, near each node.
    count : int
    middle, half : float
        The `log_range`.
    power : float or None
        The network's degree of homogeneity.
    """

    norms: Doubles
    share: Doubles
    count: int
    middle: float
    half: float
    power: float | None

    @classmethod
    def of(cls, net: Sequential, norms: Doubles, n_features: int) -> Nodes:
        """Return those of a dense network for points with norms like these, zeros among them."""
        power = net._homogeneity()
        middle, half = log_range(norms[norms > 0])
        if power is not None:  # one norm tells all, and this one is neither small nor large
            middle, half = float(np.log(n_features)) / 2, 0.0
        count = 1 if half == 0 else int(np.clip(np.ceil(12 + 10 * half), 16, 48))
        nodes = radial_nodes(middle, half, count)
        share = _density(norms[norms > 0], middle, half, count)
        if power is None:  # the origin is a node, too: degree 0 does not vanish there
            nodes = np.append(nodes, 0.0)
            zero = np.mean(norms == 0) if len(norms) else 0.0
            share = np.append(share * (1 - zero), zero + _FLOOR)
        return cls(norms=nodes, share=share, count=count, middle=middle, half=half, power=power)


def long_series(net: Sequential, norms: Doubles, n_features: int, kernel: Kernel) -> Doubles:
    """Return the g_l up to degree `LONG` at the nodes of these norms, for several expansions."""
    nodes = Nodes.of(net, norms, n_features).norms
    with np.errstate(over="ignore", invalid="ignore"):
        return radial_coefficients(net, nodes, nodes, n_features, LONG, kernel)


def expand(
    net: Sequential,
    norms: Doubles,
    n_features: int,
    degree: int,
    kernel: Kernel,
    *,
    harmonic: bool = False,
    long: Doubles | None = None,
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
    long : ndarray, optional
        `long_series` of the same network and norms, if it is known.
    """
    at = Nodes.of(net, norms, n_features)
    nodes, share, count, power = at.norms, at.share, at.count, at.power
    shape = (net, nodes, nodes, n_features, degree, kernel)
    with np.errstate(over="ignore", invalid="ignore"):
        if harmonic:
            g = harmonic_coefficients(*shape, long)
        else:
            g = radial_coefficients(*shape) if long is None else long[: degree + 1]
    if not np.isfinite(g).all():
        raise ValueError(
            f"X: expected rows whose kernels float64 can hold in all layers of the network, up to "
            f"a quarter beyond their norms, got norms up to {norms.max(initial=0.0):.3g}; scale "
            "them"
        )
    degrees, ranks, basis = _components(g, share, _HARMONIC_RANKS if harmonic else _RANKS)
    values = np.array([g[l] @ b for l, b in zip(degrees, basis, strict=True)]).reshape(basis.shape)
    at_zero = np.where((degrees == 0) & (power is None), values[:, -1], 0.0)
    values = values[:, :count] / nodes[:count] ** (power or 0.0)
    return Expansion(
        net=net,
        kernel=kernel,
        n_features=n_features,
        degrees=degrees,
        ranks=ranks,
        radial=RadialSeries.through(values.T, at_zero, at.middle, at.half, power or 0.0),
        nodes=nodes,
        basis=basis,
        harmonic=harmonic,
    )


def _components(
    g: Doubles, share: Doubles, limits: tuple[int, float]
) -> tuple[NDArray[np.int64], NDArray[np.int64], Doubles]:
    """Return degrees, ranks and basis of all components that have energy enough.

    Parameters
    ----------
    g : ndarray of shape (q + 1, n_nodes, n_nodes)
        g_l at the nodes.
    share : ndarray of shape (n_nodes,)
        Of the rows, near each node.
    limits : (int, float)
        Most ranks of a degree above 0, and the share of the energy of the least.
    """
    energy = float(sum(np.sum(share * np.diagonal(part)) for part in g))
    found = [
        _ranks_of(part, np.sqrt(share), _CONSTANT_RANKS if l == 0 else limits, energy)
        for l, part in enumerate(g)
    ]
    if energy == 0:  # the NTK of a network that ends in a step
        found[0] = np.zeros((1, len(share)))
    counts = [len(part) for part in found]
    degrees = np.repeat(np.arange(len(g), dtype=np.int64), counts)
    ranks = np.concatenate([np.arange(count, dtype=np.int64) for count in counts])
    return degrees, ranks, np.concatenate(found)


def _ranks_of(part: Doubles, root: Doubles, limits: tuple[int, float], energy: float) -> Doubles:
    """Return the basis of one degree, most energy first: (n_ranks, n_nodes)."""
    most, tolerance = limits
    value, vector = np.linalg.eigh(root[:, None] * part * root)
    leading = np.argsort(value)[::-1][:most]
    leading = leading[value[leading] > energy * tolerance]
    basis = root * vector[:, leading].T / np.sqrt(value[leading])[:, None]
    # the same sign on every machine
    return np.asarray(np.where(basis.sum(axis=1, keepdims=True) >= 0, basis, -basis))


def _density(norms: Doubles, middle: float, half: float, n: int) -> Doubles:
    """Return the share of the norms nearest to each node, with a floor, summing to one."""
    share = np.full(n, _FLOOR / n)
    if len(norms) and half > 0:
        t = np.clip((np.log(norms) - middle) / half, -1, 1)
        edges = -np.cos(np.pi * np.arange(n + 1) / n)
        share += np.histogram(t, edges)[0] / len(norms)
    return np.asarray(share / share.sum())
