"""Kernels of functions with kinks anywhere, from tables of their Gaussian blurs.

With v = rho u + sqrt(1 - rho^2) w, u and w independent,

    E f(s u) f(t v) = E f(s u) g(t rho u, t sqrt(1 - rho^2)),   g(m, tau) = E f(m + tau w),

an integral over one variable; likewise for the derivatives. f is tabulated as polynomials on cells
that end at the kinks; g for tau between neighbours of a geometric sequence, as polynomials of m and
tau, on cells that are about as wide as tau where f has kinks, and the wider the farther away. The
core integrates cell by cell (csrc/simd/blur.inl.hpp), so that no node needs a search.

By Cauchy and Schwarz an error of f or g that is small beside the root r(t) of E f(t v)^2 is as
small beside the kernel's scale r(s) r(t), wherever it is made: so far the cells are halved.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from nkfast._arrays.validation import Array
from nkfast._config import get_num_threads
from nkfast._core import BlurTables

from ._cells import COUNTS, Cells, Places, nodes
from ._quadrature import NotResolved

Functions = Callable[[Array], tuple[Array, ...]]

_REACH = 8.5  # of normal variables, the core's kNormalReach
FARTHEST = 1.5 * _REACH  # arguments of f, in units of the largest deviation
_RATIOS = (1.4, 1.7)  # of neighbouring taus, from the distance of the kinks on and below
_STEP = 4.0  # of neighbouring deviations for which f has cells of its own
_TOL = 2e-10
_NOISE = (4e-16, 3e-14)  # of f and f', beside their largest values between the kinks
_FLOOR = 1e-4  # of the norm where all kinks are met
_LEAST_TAU = 1e-8  # in units of the distance of the kinks: less is no blur
_NO_TURN = 3e-5  # blur beside the deviation, that a function without kinks does not notice
_NEAREST = 1e-9  # in units of the kinks' distance: deviations below are like it
_WIDTH = 1.4  # of cells near kinks, in units of tau
_NEAR = 6.0  # so far from kinks, in units of tau
_SMOOTH = 10.0  # so far the kinks are hardly felt
_GROWTH = 0.7  # of the widths beyond, in units of the distance
_NARROW = 0.03  # width of a cell, in units of the deviation
_MOST, _MOST_IN_ALL = 2400, 60_000  # cells of a list, of all lists: some seconds, some 40 MB
_BEYOND = 1e-9  # of the squares, times the density where normal variables end


class Blurs:
    """E f(u) f(v) and E f'(u) f'(v) for deviations from `low` to `high`.

    Parameters
    ----------
    functions : callable
        Returns f and f' at an array, |x| <= FARTHEST * high, that holds no kink.
    kinks : sequence of float
    low, high : float
        Of deviations; low may be 0, which counts as tiny.

    Raises
    ------
    NotResolved
        Where tables would become too large, as for oscillations at large deviations, or where
        what lies beyond 8.5 deviations matters.
    """

    def __init__(
        self, functions: Functions, kinks: Sequence[float], low: float, high: float
    ) -> None:
        self.functions = functions
        self.kinks = np.unique(np.asarray(kinks, np.float64))
        apart = np.abs(self.kinks[self.kinks != 0])
        self.unit = float(apart.min(initial=1.0))
        self.met = float(apart.max(initial=1.0))
        self.low = max(low, _NEAREST * self.unit)
        self.high = max(high, 2 * self.low)
        # Close to zero both are homogeneous, each on either side.
        near = np.array([1e-6, 2e-6])[:, None] * self.unit * np.array([-1.5, -0.7, 0.7, 1.5])
        squares = [np.maximum((v**2).sum(axis=1), 1e-300) for v in functions(near)]
        self.orders = np.clip([np.round(np.log2(v[1] / v[0]) / 2) for v in squares], 0, 4)
        middle = functions(min(self.met, self.high) * np.linspace(-1.99, 2, 256))
        self.noise = np.array(_NOISE) * [np.abs(v).max() for v in middle]
        f = self._at_all_numbers()
        # The core's tables of f alone serve to find norms and blurs.
        self._core = _to_core([f])
        self._find_norms()
        deviations, own = self._by_deviations()
        taus, blurs = self._by_taus()
        self._core = _to_core([f, own, blurs], deviations, taus)

    def pair(self, s: Array, t: Array, rho: Array) -> tuple[Array, Array]:
        """Return E f(u) f(v) and E f'(u) f'(v) for deviations and correlations."""
        s, t, rho = np.broadcast_arrays(s, t, rho)
        least = np.maximum(s, self.low), np.maximum(t, self.low)
        small, large, cosine = (
            np.ascontiguousarray(v, np.float64).ravel()
            for v in (np.minimum(*least), np.maximum(*least), rho)
        )
        k, slope = self._core.pairs(small, large, cosine, get_num_threads()).reshape(2, *s.shape)
        factor = (s / least[0]) * (t / least[1])
        return k * factor ** self.orders[0], slope * factor ** self.orders[1]

    def squares(self, s: Array) -> tuple[Array, Array]:
        """Return E f(u)^2 and E f'(u)^2 for deviations."""
        least = np.maximum(s, self.low)
        flat = np.ascontiguousarray(least, np.float64).ravel()
        out = self._core.moments(np.zeros_like(flat), flat, get_num_threads())[2:]
        factor = (s / least) ** 2
        k, slope = out.reshape(2, *s.shape)
        return k * factor ** self.orders[0], slope * factor ** self.orders[1]

    # --- f ---

    def _values(self, places: Places) -> Array:
        x = nodes(places.begin, places.end)
        return np.stack([v.reshape(x.shape) for v in self.functions(x.ravel())], axis=1)[..., None]

    def _at_all_numbers(self) -> Cells:
        """Return cells of f that are accurate relative to it."""
        top, low = FARTHEST * self.high, 0.1 * self.low
        away = np.append(low * 4.0 ** np.arange(np.log(top / low) / np.log(4)), top)
        edges = np.concatenate([-away[::-1], [0.0], away])
        apart = np.abs(edges[:, None] - self.kinks).min(axis=1) > 0.15 * np.abs(edges)
        apart[[0, -1]] = True
        edges = np.union1d(edges[apart], self.kinks[np.abs(self.kinks) < top])
        sizes: list[Array] = []

        def allowed(values: Array, places: Places) -> Array:
            own = np.abs(values).max(axis=(2, 3))
            nearest = np.minimum(np.abs(places.begin), np.abs(places.end))
            if not sizes:  # the largest values of the first cells up to some distance
                order = np.argsort(nearest)
                sizes.extend([nearest[order], np.maximum.accumulate(own[order], axis=0)])
            at = np.searchsorted(sizes[0], nearest, side="right") - 1
            return np.asarray(0.1 * _TOL * np.maximum(own, 1e-3 * sizes[1][at]) + self.noise)

        return Cells([_places([edges])], self._values, allowed, _MOST)

    def _find_norms(self) -> None:
        """Tabulate the least norm of f and f' at deviations from s on."""
        count = int(np.ceil(np.log(self.high / self.low) / np.log(1.5))) + 2
        self.at = np.geomspace(self.low, self.high, count)
        s = np.append(self.at, min(self.high, self.met))
        norms = np.sqrt(self._core.moments(np.zeros_like(s), s, get_num_threads())[2:])
        # Where all kinks are met, what lies beyond must not matter, as of an exponential function.
        large = s >= self.met
        ends = self.functions(_REACH * np.concatenate([s[large], -s[large]]))
        share = np.exp(-(_REACH**2) / 4) / np.sqrt(_BEYOND)
        for end, norm in zip(ends, norms, strict=True):
            if np.any(np.abs(end.reshape(2, -1)) * share > norm[large]):
                raise NotResolved
        # A function that is zero up to a kink has next to no norm where the kink is not met.
        floor = _FLOOR * norms[:, -1:] * np.minimum(self.at / s[-1], 1.0) ** self.orders[:, None]
        norms = np.maximum(norms[:, :-1], floor)
        self.norms = np.minimum.accumulate(norms[:, ::-1], axis=1)[:, ::-1]

    def _least(self, s: Array) -> Array:
        """Return the least norms at deviations from s on, of shape (n, 2)."""
        i = np.clip(np.searchsorted(self.at, s, side="right") - 1, 0, len(self.at) - 1)
        return np.asarray(self.norms[:, i].T)

    def _by_deviations(self) -> tuple[Array, Cells]:
        """Return deviations, and cells of f that are accurate enough between neighbours."""
        count = max(1, int(np.ceil(np.log(self.high / self.low) / np.log(_STEP))))
        deviations = np.geomspace(self.low, self.high, count + 1)

        def allowed(values: Array, places: Places) -> Array:
            size = np.maximum(
                self._least(deviations[places.which]), np.abs(values).min(axis=(2, 3))
            )
            return np.asarray(_TOL * size + self.noise)

        edges = []
        for top in (1.01 * _REACH * deviations[1:]).tolist():
            count = max(1, int(np.ceil(np.log(top / self.unit) / np.log(4))))
            away = top * 4.0 ** -np.arange(count)
            both = np.concatenate([-away, away])
            edges.append(np.union1d(both, self.kinks[np.abs(self.kinks) < top]))
        return deviations, Cells([_places(edges)], self._values, allowed, _MOST_IN_ALL)

    # --- its blurs ---

    def _by_taus(self) -> tuple[Array, Cells]:
        """Return taus, and cells of the blurs between neighbours."""
        turn = _LEAST_TAU if 0 in self.kinks else _NO_TURN
        least = min(_LEAST_TAU * self.unit, turn * self.low)
        rising = [self.high]
        while rising[-1] > least:
            rising.append(rising[-1] / _RATIOS[int(rising[-1] < 0.3 * self.unit)])
        taus = np.array(rising[::-1])

        def values(places: Places) -> Array:
            m = nodes(places.begin, places.end)[:, :, None]
            tau = nodes(taus[places.which], taus[places.which + 1], places.count)[:, None, :]
            m, tau = np.broadcast_arrays(m, tau)
            out = self._core.moments(m.ravel(), tau.ravel(), get_num_threads())[:2]
            return np.asarray(out.reshape(2, *m.shape).swapaxes(0, 1))

        def allowed(values: Array, places: Places) -> Array:
            # Only deviations from these on meet this tau and m.
            within = places.begin * places.end <= 0
            nearest = np.where(within, 0, np.minimum(np.abs(places.begin), np.abs(places.end)))
            met = np.maximum(taus[places.which], nearest / _REACH)
            size = np.maximum(self._least(met), np.abs(values).min(axis=(2, 3)))
            # What is wrong in a narrow cell has little weight.
            weight = np.minimum(1.0, (places.end - places.begin) / (_NARROW * met))
            return np.asarray(_TOL * size / weight[:, None] + self.noise)

        places = _places([self._graded(*ends) for ends in pairwise(taus.tolist())])
        far = np.abs((places.begin + places.end)[:, None] / 2 - self.kinks).min(axis=1)
        far = far - (places.end - places.begin) / 2
        smooth = far > _SMOOTH * taus[places.which + 1]
        parts = [places.some(smooth, COUNTS[0]), places.some(~smooth, COUNTS[1])]
        return taus, Cells([v for v in parts if len(v.begin)], values, allowed, _MOST_IN_ALL)

    def _graded(self, low: float, high: float) -> Array:
        """Return edges about as wide as tau at the kinks, and the wider the farther away."""
        # The squares of tau and of the deviation of m have the sum t^2.
        top = 1.01 * _REACH * float(np.sqrt(self.high**2 - low**2))
        marks = self.kinks[np.abs(self.kinks) < top]
        tau = (low + high) / 2
        out = [_WIDTH * tau / 2]
        while out[-1] < 2 * top:
            out.append(out[-1] + float(_width(out[-1], tau)))
        away = np.concatenate([-np.array(out)[::-1], out])
        # Where the cells of two kinks meet none is much narrower than the others.
        rest = 0.3 * _width(np.abs(away), tau)
        bounds = [-top, *((a + b) / 2 for a, b in pairwise(marks)), top]
        edges = [np.array([-top, top])]
        for mark, (begin, end) in zip(marks, pairwise(bounds), strict=True):
            near = mark + away
            at_begin = rest if begin == -top else rest / 2
            at_end = rest if end == top else rest / 2
            edges.append(near[(near > begin + at_begin) & (near < end - at_end)])
        return np.unique(np.concatenate(edges))


def _width(away: Array | float, tau: float) -> Array:
    return np.maximum(_WIDTH * tau, _GROWTH * (away - _NEAR * tau))


def _places(edges: Sequence[Array]) -> Places:
    return Places(
        np.concatenate([e[:-1] for e in edges]),
        np.concatenate([e[1:] for e in edges]),
        np.repeat(np.arange(len(edges)), [len(e) - 1 for e in edges]),
    )


def _to_core(
    lists: Sequence[Cells], deviations: Array | None = None, taus: Array | None = None
) -> BlurTables:
    terms = np.concatenate([part.terms for part in lists])
    return BlurTables(
        np.concatenate([part.counts() for part in lists]).tolist(),
        np.concatenate([part.edges() for part in lists]),
        np.concatenate([[0], np.cumsum(terms)]),
        np.concatenate([part.rows for part in lists]),
        [] if deviations is None else deviations.tolist(),
        [] if taus is None else taus.tolist(),
    )
