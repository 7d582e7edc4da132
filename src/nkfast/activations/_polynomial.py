"""Polynomial activations: their kernels are finite series."""

from __future__ import annotations

from functools import lru_cache
from math import factorial
from typing import Any

import numpy as np
from numpy.polynomial import hermite_e
from numpy.polynomial import polynomial as poly
from numpy.typing import ArrayLike

from nkfast._arrays.validation import Array, check_count, check_real

from ._base import Activation, Span, _inverse, _log_deviation
from ._complex_steps import STEP
from ._dual_map import DualMap, with_slopes
from ._series import series_map, series_pair

_MAX_DEGREE = 50


class _Polynomial(Activation):
    """sum_j coef_j x^j."""

    def _coefficients(self) -> Array:
        raise NotImplementedError

    def __call__(self, x: ArrayLike) -> Array:
        x = np.asarray(x)
        coef = self._coefficients()
        return np.asarray(poly.polyval(x, coef.astype(x.dtype) if x.dtype.kind == "f" else coef))

    def _series(self, s: Array, coef: Array | None = None) -> Array:
        """Return r_l(p), l = 0..degree, on the last axis: the Hermite coefficients at s = sqrt(p).

        r_l(p) = sum_i coef_{l+2i} (l+2i)! / (i! 2^i sqrt(l!)) p^((l+2i)/2).
        """
        coef = self._coefficients() if coef is None else coef
        out = []
        for l in range(len(coef)):
            inner = np.zeros(len(coef))
            for i in range((len(coef) - 1 - l) // 2 + 1):
                j = l + 2 * i
                inner[j] = coef[j] * (factorial(j) / (factorial(i) * 2**i)) / factorial(l) ** 0.5
            out.append(poly.polyval(s, inner))
        return np.stack(out, axis=-1)

    def _pair(self, p: Array, q: Array, c: Array) -> tuple[Array, Array]:
        # The slope is the dual of the derivative: no quotient by what may be tiny, or zero.
        s, t, coef = np.sqrt(p), np.sqrt(q), self._coefficients()
        k, slope = (
            series_pair(self._series(s, each), self._series(t, each), s, t, c)[0]
            for each in (coef, poly.polyder(coef))
        )
        return k, slope

    def _dual_map(self, p: Array, q: Array, tol: float, span: Span) -> DualMap:  # noqa: ARG002
        left, right = np.sqrt(p), np.sqrt(q)
        coef = self._coefficients() != 0
        degrees = np.array([np.any(coef[l::2]) for l in range(len(coef))])
        a, b = self._series(left), self._series(right)
        return series_map(a, b, _inverse(left), _inverse(right), degrees)

    def _tangents(self, p: Array) -> tuple[tuple[Any, ...], Array]:
        return (), _log_deviation(p)

    def _tangent_map(self, p: Array, q: Array, tol: float, span: Span) -> DualMap:
        step = (1 + 1j * STEP) ** 2
        return with_slopes(self._dual_map(p * step, q * step, tol, span))

    def _hermite(self, std: float, degree: int) -> Array:
        out = np.zeros(degree + 1)
        own = self._series(np.array(std))[: degree + 1]
        out[: len(own)] = own
        return out


class Monomial(_Polynomial):
    """x^degree.

    Parameters
    ----------
    degree : int
        The power, in [0, 50].

    Examples
    --------
    >>> import nkfast as nk
    >>> float(nk.Monomial(2).dual(1.0, 1.0, 0.5))
    1.5
    """

    def __init__(self, degree: int) -> None:
        check_count(degree, "degree", high=_MAX_DEGREE)
        self.degree = degree

    @property
    def _homogeneity(self) -> float | None:  # type: ignore[override]
        return float(self.degree) if self.degree > 0 else None

    def _coefficients(self) -> Array:
        return np.asarray(np.eye(1, self.degree + 1, self.degree)[0])


class Polynomial(_Polynomial):
    """sum_j coef[j] x^j.

    Parameters
    ----------
    coef : sequence of float
        Coefficients in ascending order; the degree is at most 50.

    Notes
    -----
    The dual is sum_l r_l(p) r_l(q) rho^l with polynomials r_l in sqrt(p), exact at any variance.

    Examples
    --------
    >>> import nkfast as nk
    >>> nk.Polynomial([1.0, 0.0, 2.0])([3.0]).tolist()
    [19.0]
    """

    def __init__(self, coef: ArrayLike) -> None:
        if isinstance(coef, str) or not np.iterable(coef):
            raise TypeError(f"coef: expected a sequence of numbers, got {coef!r}")
        values = [float(check_real(value, "coef")) for value in np.asarray(coef).tolist()]
        if not 1 <= len(values) <= _MAX_DEGREE + 1:
            raise ValueError(
                f"coef: expected between 1 and {_MAX_DEGREE + 1} numbers, got {len(values)}"
            )
        self.coef = values

    def _coefficients(self) -> Array:
        return np.array(self.coef)


class Hermite(_Polynomial):
    """The normalised Hermite polynomial h_n = He_n / sqrt(n!).

    Parameters
    ----------
    degree : int
        n, in [0, 50].

    Notes
    -----
    At unit variances the dual is c^n; at others it is that of the polynomial.

    Examples
    --------
    >>> import nkfast as nk
    >>> float(nk.Hermite(3).dual(1.0, 1.0, 0.5).round(6))
    0.125
    """

    def __init__(self, degree: int) -> None:
        check_count(degree, "degree", high=_MAX_DEGREE)
        self.degree = degree

    def _coefficients(self) -> Array:
        return _hermite_polynomial(self.degree).copy()


@lru_cache(maxsize=_MAX_DEGREE + 1)
def _hermite_polynomial(degree: int) -> Array:
    unit = np.eye(1, degree + 1, degree)[0]
    return np.asarray(hermite_e.herme2poly(unit) / factorial(degree) ** 0.5)
