"""Two-dimensional Gaussian integrals of functions that are smooth but at zero, at any scale.

In polar coordinates u = r sin(a), v = r sin(L - a) the kinks of f(u) and f(v) are four rays, so
that both are smooth on four arcs: two of length L = pi - angle, where u and v have the same sign,
and two of length L = angle, where they have opposite ones. With E and O the even and the odd part
of f, both kinds of arcs need the integrals of E E and of O O only, and those serve the angle
pi - angle, too.

Functions that are steep bend near the ends of the arcs and near r = 0, evenly in the logarithms of
the distances from there: in these the trapezoidal rule takes all scales at once (Stenger 1973). And
f(s r sin(a)) depends on log s + log r: on one grid for both, the integrals over the arcs serve all
pairs of deviations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.lib.stride_tricks import as_strided
from scipy.linalg.blas import dsyr2k
from scipy.special import gammaln

from nkfast._arrays.validation import Array

Functions: TypeAlias = Callable[[Array], Sequence[Array]]

_MILD = 8.0  # standard deviations up to which functions bend on the scale of the Gaussian
_BATCH = 1 << 14  # numbers in a temporary
# Steps of the angular rule of steep functions and of the logarithms, and the share that is cut off.
_STEPS = {
    1: (0.4, 0.2, 1e-10),
    2: (0.3, 0.18, 1e-11),
    3: (0.22, 0.16, 1e-12),
    4: (0.17, 0.14, 1e-13),
    5: (0.14, 0.125, 1e-14),
    # Of functions that oscillate.
    6: (0.1, 0.09, 1e-14),
    7: (0.07, 0.06, 1e-14),
    8: (0.05, 0.045, 1e-14),
    9: (0.05, 0.03, 1e-14),
    10: (0.05, 0.02, 1e-14),
}
_STENCIL = 20  # points of the grid that a value between them is interpolated from
_FROZEN = 1e-3  # radii below which functions of the least deviation do not change
_ROWS = 32  # points of the grid whose integrals over the radius are one product


def levels(tol: float) -> list[int]:
    """Return the levels of fineness whose radial rule may reach an error, and one as a check."""
    fit = [level for level, (_, log_step, _) in _STEPS.items() if _rule_error(log_step) <= tol]
    return fit or list(_STEPS)[-1:]


def _rule_error(log_step: float) -> float:
    # The Gaussian's integrand is analytic within pi / 4 of the real line.
    return 300 * float(np.exp(-(np.pi**2) / 2 / log_step))


class PolarGrid:
    """E f(s u) f(t v) for K functions, standard normal u, v and deviations in [low, high].

    Deviations, radii and their products are on one grid of whole multiples of a step of the log.

    Parameters
    ----------
    functions : callable
        Returns the values of K functions.
    low, high : float
        The least and the largest deviation, > 0.
    level : int
        Of fineness, from `levels`.
    """

    def __init__(self, functions: Functions, low: float, high: float, level: int) -> None:
        step, log_step, cut = _STEPS[level]
        self.functions = functions
        self.log_step = log_step
        margin = _STENCIL // 2
        self.first = int(np.floor(np.log(low) / log_step)) - margin + 1
        end = int(np.ceil(np.log(high) / log_step)) + margin
        self.count = end - self.first + 1
        largest = float(np.exp(end * log_step))
        inmost = int(np.floor(np.log(np.sqrt(cut / largest)) / log_step))
        outmost = int(np.ceil(np.log(np.sqrt(-2 * np.log(cut / 100))) / log_step))
        r = np.exp(log_step * np.arange(inmost, outmost + 1))
        wr = log_step * r * r * np.exp(-r * r / 2)
        # Of products below `least` functions are as at it.
        least = min(self.first + int(np.log(_FROZEN) / log_step), end + inmost)
        self.before = max(least - (self.first + inmost), 0)
        self.scales = np.exp(
            log_step * np.arange(self.before + self.first + inmost, end + outmost + 1)
        )
        if high <= _MILD:
            self.x, w = _double_exponential(12 * (level + 1))
        else:
            self.x, w = _logistic_rule(step, cut / largest)
        # Of two nodes that mirror each other one will do, its sum being the other's transpose.
        self.half = len(w) // 2 + 1
        self.weights = w[: self.half] / (4 * np.pi)
        self.weights[-1] /= 2
        # T[i, i + j] = wr[j]
        rows = min(_ROWS, self.count)
        self.toeplitz = np.zeros((rows, rows + len(r) - 1))
        for i in range(rows):
            self.toeplitz[i, i : i + len(r)] = wr
        one, other = np.indices((self.count, self.count))
        self.places = np.minimum(one, other), np.abs(one - other)
        self.norms = np.sqrt(np.maximum(np.diagonal(self.at(0.0)[0], axis1=1, axis2=2), 1e-300))

    def products(self, s: Array, angles: Array) -> Array:
        """Return those of all pairs of `s`.

        Parameters
        ----------
        s : ndarray of shape (S,)
        angles : ndarray of shape (A,)
            In [0, pi / 2].

        Returns
        -------
        ndarray of shape (2, K, A, S, S)
            First at correlations cos(angles), then at pi - `angles`.
        """
        return self.between(s, (self.at(float(angle)) for angle in angles))

    def between(self, s: Array, tables: Iterable[Array]) -> Array:
        """Return the products of all pairs of `s` from those of the grid, `at` some angles."""
        matrix = _interpolation(np.log(s) / self.log_step - self.first, self.count)
        norms = np.exp(np.log(self.norms) @ matrix.T)
        inner, outer = (v[:, :, None] * v[:, None, :] for v in (self.norms, norms))
        found = [matrix @ (table / inner) @ matrix.T * outer for table in tables]
        return np.moveaxis(np.reshape(found, (-1, 2, len(norms), len(s), len(s))), 0, 2)

    def at(self, angle: float) -> Array:
        """Return the products of all points of the grid at an angle and at pi - angle."""
        even, odd = self._arcs(np.pi - angle, angle)
        both = [(even + odd), (even - odd)]
        if angle > 0:
            even, odd = self._arcs(angle, np.pi - angle)
            both = [both[0] + (even - odd), both[1] + (even + odd)]
        return np.array([[self._radial(own) for own in side] for side in both])

    def _arcs(self, length: float, rest: float) -> Array:
        """Return the integrals of the even and the odd parts over arcs; (2, K, scales, scales).

        They are symmetric; what stands below the diagonal is not set.
        """
        # Near pi the distance from there, without cancellation.
        sines = np.sin(np.minimum(length * self.x, rest + length * self.x[::-1]))
        nodes = np.concatenate([sines[: self.half], sines[::-1][: self.half]])
        count = len(self.scales)
        step = max(1, _BATCH // len(nodes))
        parts: Array | None = None
        for i in range(0, count, step):
            at = self.scales[i : i + step, None] * nodes
            above, below = self.functions(at), self.functions(-at)
            if parts is None:
                parts = np.empty((2, len(above), 2, count, self.half))
            for k, (one, other) in enumerate(zip(above, below, strict=True)):
                for end in range(2):
                    own = np.s_[:, end * self.half : (end + 1) * self.half]
                    np.add(one[own], other[own], out=parts[0, k, end, i : i + step])
                    np.subtract(one[own], other[own], out=parts[1, k, end, i : i + step])
        assert parts is not None
        out = np.zeros((*parts.shape[:2], count, count))
        for place in np.ndindex(*parts.shape[:2]):
            first, last = parts[place]
            if np.any(first):  # functions of one parity have no other part
                first *= length * self.weights
                # first last^T + last first^T; BLAS takes the transposes of what is in rows.
                out[place] = dsyr2k(1.0, first.T, last.T, trans=1, lower=1).T
        return out

    def _radial(self, own: Array) -> Array:
        """Return K[i, j] = sum over n of wr[n] own[i + n, j + n], from the upper half of own."""
        wide = np.pad(own, ((self.before, 0), (self.before, self.count)), "edge")
        # Diagonals become columns.
        stride = wide.strides[0]
        skewed = as_strided(wide, (len(wide), self.count), (stride + wide.itemsize, wide.itemsize))
        rows, reach = self.toeplitz.shape
        out = np.zeros((self.count, self.count))
        for i in range(0, self.count, rows):
            n = min(rows, self.count - i)
            below = skewed[i : i + reach - rows + n, : self.count - i]
            out[i : i + n, : self.count - i] = self.toeplitz[:n, : len(below)] @ below
        return np.asarray(out[self.places])


def _interpolation(at: Array, count: int) -> Array:
    """Return the matrix from values at 0, 1, ..., count - 1 to those at `at`, well inside."""
    k = np.arange(_STENCIL)
    sizes = gammaln(_STENCIL) - gammaln(k + 1) - gammaln(_STENCIL - k)
    weights = (-1.0) ** k * np.exp(sizes - sizes.max())
    out = np.zeros((len(at), count))
    for row, x in zip(out, at, strict=True):
        first = min(max(int(np.floor(x)) - _STENCIL // 2 + 1, 0), count - _STENCIL)
        gap = x - first - k
        if np.abs(gap).min() < 1e-12:
            row[first + int(np.abs(gap).argmin())] = 1.0
        else:
            row[first + k] = weights / gap / np.sum(weights / gap)
    return out


@cache
def _double_exponential(half: int) -> tuple[Array, Array]:
    """Return the rule on (0, 1) with 2 half + 1 nodes (Takahasi & Mori 1974)."""
    step = 3.0 / half
    t = np.arange(-half, half + 1) * step
    e = np.exp(np.pi * np.sinh(t))
    x = e / (1 + e)
    w = step * np.pi * np.cosh(t) * e / (1 + e) ** 2
    return x, w / w.sum()


def _logistic_rule(step: float, least: float) -> tuple[Array, Array]:
    """Return a rule on (0, 1) whose nodes come as near to the ends as `least`."""
    half = int(np.ceil(-np.log(least) / step))
    t = step * np.arange(-half, half + 1)
    x = 1 / (1 + np.exp(-t))
    w = step * x * x[::-1]
    return x, w / w.sum()
