"""Functions of a row's norm as Chebyshev series in its logarithm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.polynomial.chebyshev import chebpts1
from numpy.typing import NDArray

from nkfast._arrays.validation import Doubles
from nkfast._core import radial_weights
from nkfast._linalg.chebyshev import to_series

_MAX_HALF = 3.5  # half width in log norm that one Chebyshev series covers: a factor of 1100
_MARGIN = 1.25  # by which norms may leave the range of the fitted rows
SAME = 1e-6  # norms that differ by less, in their logarithms, count as one: rounding of float32


@dataclass(frozen=True, kw_only=True)
class RadialSeries:
    """Functions u_c of a norm a, known where log a is in some range: series of u_c / a^power.

    Attributes
    ----------
    coefficients : ndarray of shape (n_functions, n_nodes)
        Chebyshev series in log a.
    at_zero : ndarray of shape (n_functions,)
        The values at norm zero.
    middle, half : float
        The range: the middle of it in log a, and half its width.
    power : float
    """

    coefficients: Doubles
    at_zero: Doubles
    middle: float
    half: float
    power: float = 0.0

    @classmethod
    def through(
        cls, values: Doubles, at_zero: Doubles, middle: float, half: float, power: float = 0.0
    ) -> RadialSeries:
        """Return the series through values of u_c / a^power at `radial_nodes`, (n_nodes, n)."""
        series = np.ascontiguousarray(to_series(values).T)
        return cls(coefficients=series, at_zero=at_zero, middle=middle, half=half, power=power)

    def __call__(self, norms: Doubles, n_threads: int = 1) -> Doubles:
        """Return u_c(norms[i]) as (n, n_functions), outside the range that of its nearer end."""
        return np.asarray(
            radial_weights(
                norms,
                self.coefficients,
                self.at_zero,
                self.middle,
                self.half,
                self.power,
                n_threads,
            )
        )

    def extended(
        self,
        norms: Doubles,
        exact: Callable[[Doubles], Doubles],
        n_threads: int = 1,
        *,
        slack: float = 0.0,
    ) -> Doubles:
        """Return u_c(norms[i]), outside the range from `exact`.

        Parameters
        ----------
        norms : ndarray of shape (n,)
        exact : callable
            Takes one norm, as an array of shape (1,), and returns all u_c. So a row's values depend
            on its own norm alone, to the last bit; equal norms are computed once.
        n_threads : int
        slack : float
            By which a logarithm may leave the range.
        """
        out = self(norms, n_threads)
        with np.errstate(divide="ignore"):
            far = np.abs(np.log(norms) - self.middle) > self.half + slack
        outside = np.flatnonzero((norms > 0) & far)
        distinct, index = np.unique(norms[outside], return_inverse=True)
        for i, norm in enumerate(distinct):
            out[outside[index == i]] = exact(np.array([norm]))
        return out

    def take(self, functions: NDArray[Any]) -> RadialSeries:
        """Return some of the functions, by number or mask."""
        return replace(
            self, coefficients=self.coefficients[functions], at_zero=self.at_zero[functions]
        )

    def scale(self, factors: Doubles) -> RadialSeries:
        """Return the functions times a factor each."""
        return replace(
            self,
            coefficients=self.coefficients * factors[:, None],
            at_zero=self.at_zero * factors,
        )


def radial_nodes(middle: float, half: float, count: int) -> Doubles:
    """Return the norms at Chebyshev points of a range of log norms, ascending."""
    return np.asarray(np.exp(middle + half * chebpts1(count)))


def log_range(norms: Doubles) -> tuple[float, float]:
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
    if high - low < SAME:  # one norm: one node
        return (low + high) / 2, 0.0
    return (low + high) / 2, float(min((high - low) / 2 + np.log(_MARGIN), _MAX_HALF))
