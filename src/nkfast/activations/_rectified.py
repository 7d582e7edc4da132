"""Activations that are powers on each half-line: ReLU and its family, and the sign."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.polynomial import polynomial as poly
from numpy.typing import ArrayLike
from scipy.special import gammaln

from nkfast._arrays.validation import Array, check_count, check_real
from nkfast._core import DualKind

from ._base import Activation, Span, _angle, _inverse, _log_deviation, _scaled
from ._dual_map import DualMap


class _Rectifier(Activation):
    """a min(x, 0) + b max(x, 0): the family of ReLU, leaky ReLU and the absolute value."""

    _homogeneity = 1.0
    _kinks = (0.0,)

    def _slopes(self) -> tuple[float, float]:
        raise NotImplementedError

    def __call__(self, x: ArrayLike) -> Array:
        a, b = self._slopes()
        x = np.asarray(x)
        return np.asarray(a * np.minimum(x, 0) + b * np.maximum(x, 0))

    def _pair(self, p: Array, q: Array, c: Array) -> tuple[Array, Array]:
        # Cho & Saul 2009, eqs. (3)-(6), order 1, for both half-lines at once.
        a, b = self._slopes()
        root, theta = _angle(p, q, c)
        slope = ((a * a + b * b) * (np.pi - theta) + 2 * a * b * theta) / (2 * np.pi)
        return (a - b) ** 2 / (2 * np.pi) * root + c * slope, slope

    def _diagonal(self, p: Array) -> tuple[Array, Array]:
        a, b = self._slopes()
        slope = (a * a + b * b) / 2
        return slope * p, np.full_like(p, slope)

    def _dual_map(self, p: Array, q: Array, tol: float, span: Span) -> DualMap:  # noqa: ARG002
        return DualMap(DualKind.RECTIFIER, self._slopes(), _scaled(p), _scaled(q))

    def _tangents(self, p: Array) -> tuple[tuple[Any, ...], Array]:
        a, b = self._slopes()
        params = ((a - b) ** 2, a * a + b * b, 2 * a * b)
        return tuple(v / (2 * np.pi) for v in params), _log_deviation(p)

    def _hermite(self, std: float, degree: int) -> Array:
        a, b = self._slopes()
        l = np.arange(degree + 1)
        even = np.where(l % 2 == 0, l, 2)
        # E[max(z, 0) h_l(z)] for even l >= 2: (-1)^{l/2 - 1} (l - 3)!! / sqrt(2 pi l!)
        size = np.exp(
            (even - 2) / 2 * np.log(2)
            + gammaln((np.maximum(even, 2) - 1) / 2)
            - gammaln(even + 1) / 2
        )
        value = np.where(l % 2 == 0, (-1.0) ** (even // 2 - 1) * size / np.sqrt(2 * np.pi**2), 0.0)
        value[0] = 1 / np.sqrt(2 * np.pi)
        if degree >= 1:
            value[1] = 0.5
        return np.asarray(std * (b - a * (-1.0) ** l) * value)


class ReLU(_Rectifier):
    """The rectifier max(x, 0), whose dual is the arc-cosine kernel of order one.

    References
    ----------
    Cho & Saul, "Kernel methods for deep learning", NIPS 2009.

    Examples
    --------
    >>> import nkfast as nk
    >>> nk.ReLU()([-1.0, 2.0]).tolist()
    [0.0, 2.0]
    """

    def _slopes(self) -> tuple[float, float]:
        return 0.0, 1.0


class LeakyReLU(_Rectifier):
    """x for x > 0, alpha x for x < 0.

    Parameters
    ----------
    alpha : float, default=0.01
        Slope on the negative half-line.

    References
    ----------
    Cho & Saul, "Kernel methods for deep learning", NIPS 2009, for each half-line.

    Examples
    --------
    >>> import nkfast as nk
    >>> nk.LeakyReLU(0.1)([-1.0, 2.0]).tolist()
    [-0.1, 2.0]
    """

    _smooth_parameters = ("alpha",)

    def __init__(self, alpha: float = 0.01) -> None:
        check_real(alpha, "alpha")
        self.alpha = alpha

    def _slopes(self) -> tuple[float, float]:
        return self.alpha, 1.0


class ABReLU(_Rectifier):
    """a min(x, 0) + b max(x, 0).

    Parameters
    ----------
    a, b : float
        Slopes on the negative and the positive half-line.

    References
    ----------
    Cho & Saul, "Kernel methods for deep learning", NIPS 2009, for each half-line.

    Examples
    --------
    >>> import nkfast as nk
    >>> nk.ABReLU(-0.5, 2.0)([-1.0, 2.0]).tolist()
    [0.5, 4.0]
    """

    _smooth_parameters = ("a", "b")

    def __init__(self, a: float, b: float) -> None:
        check_real(a, "a")
        check_real(b, "b")
        self.a = a
        self.b = b

    def _slopes(self) -> tuple[float, float]:
        return self.a, self.b


class Abs(_Rectifier):
    """The absolute value.

    Examples
    --------
    >>> import nkfast as nk
    >>> nk.Abs()([-1.0, 2.0]).tolist()
    [1.0, 2.0]
    """

    def _slopes(self) -> tuple[float, float]:
        return -1.0, 1.0


class Sign(Activation):
    """The sign of x.

    Notes
    -----
    k = 1 - 2 theta / pi. Its derivative is infinite at 0; kdot is taken as 0, as in the libraries
    of the field, so the NTK below a sign layer is zero.

    Examples
    --------
    >>> import nkfast as nk
    >>> float(nk.Sign().dual(1.0, 4.0, 1.0).round(4))
    0.3333
    """

    _kinks = (0.0,)

    def __call__(self, x: ArrayLike) -> Array:
        return np.asarray(np.sign(np.asarray(x)))

    def _pair(self, p: Array, q: Array, c: Array) -> tuple[Array, Array]:
        _, theta = _angle(p, q, c)
        k = np.where((p == 0) | (q == 0), 0, 1 - 2 / np.pi * theta)
        return k, np.zeros_like(k)

    def _diagonal(self, p: Array) -> tuple[Array, Array]:
        return np.where(p == 0, 0, np.ones_like(p)), np.zeros_like(p)

    def _dual_map(self, p: Array, q: Array, tol: float, span: Span) -> DualMap:  # noqa: ARG002
        return DualMap(DualKind.SIGN, (), _scaled(p), _scaled(q))

    def _tangents(self, p: Array) -> tuple[tuple[Any, ...], Array]:
        return (), _log_deviation(p)


class RectifiedMonomial(Activation):
    """max(x, 0)^degree, whose dual is the arc-cosine kernel of that order.

    Parameters
    ----------
    degree : int
        The power, >= 0; 0 is the step function, with kdot = 0 as for `Sign`.

    References
    ----------
    Cho & Saul, "Kernel methods for deep learning", NIPS 2009, eqs. (3)-(5).

    Examples
    --------
    >>> import nkfast as nk
    >>> nk.RectifiedMonomial(2)([-1.0, 3.0]).tolist()
    [0.0, 9.0]
    """

    _kinks = (0.0,)

    def __init__(self, degree: int) -> None:
        check_count(degree, "degree", high=50)
        self.degree = degree

    @property
    def _homogeneity(self) -> float | None:  # type: ignore[override]
        return float(self.degree) if self.degree > 0 else None

    def __call__(self, x: ArrayLike) -> Array:
        x = np.asarray(x)
        x = x if x.dtype.kind == "f" else x.astype(np.float64)
        if self.degree == 0:
            return (x > 0).astype(x.dtype)
        return np.asarray(np.maximum(x, 0) ** self.degree)

    def _pair(self, p: Array, q: Array, c: Array) -> tuple[Array, Array]:
        n = self.degree
        root, theta = _angle(p, q, c)
        inverse = _inverse(np.sqrt(p) * np.sqrt(q))
        rho, sine = c * inverse, root * inverse
        scale = (np.sqrt(p) * np.sqrt(q)) ** max(n - 1, 0)
        nought = (p == 0) | (q == 0)
        k = _arc_cosine(n, rho, theta, sine) * scale * (np.sqrt(p) * np.sqrt(q) if n else 1)
        k = np.where(nought, 0, k)
        if n == 0:
            return k, np.zeros_like(k)
        slope = n * n * scale * _arc_cosine(n - 1, rho, theta, sine)
        return k, np.where(nought, 0 if n > 1 else 0.25, slope)

    def _diagonal(self, p: Array) -> tuple[Array, Array]:
        n = self.degree
        half = 0.5 * float(np.prod(np.arange(1.0, 2 * n, 2)))  # E max(z, 0)^(2n)
        k = half * p**n if n else np.where(p == 0, 0, half * np.ones_like(p))
        if n == 0:
            return k, np.zeros_like(k)
        return k, n * n * half / (2 * n - 1) * p ** (n - 1)

    def _dual_map(self, p: Array, q: Array, tol: float, span: Span) -> DualMap:  # noqa: ARG002
        n = self.degree
        params = self._params(n, n - 1)

        def columns(p: Array) -> Array:
            s = np.sqrt(p)
            power = s**n if n else (s > 0).astype(np.float64)
            return np.column_stack([power, s ** max(n - 1, 0), _inverse(s)])

        return DualMap(DualKind.RECTIFIED_POWER, params, columns(p), columns(q))

    def _params(self, *orders: int) -> tuple[float, ...]:
        """Return the degree and the polynomials of some J_n, as the core takes them."""
        params = [float(self.degree)]
        for order in orders:
            for part in _numerators(max(order, 0)):
                params += [float(len(part)), *part]
        return tuple(params)

    def _tangents(self, p: Array) -> tuple[tuple[Any, ...], Array]:
        return (), _log_deviation(p)

    def _tangent_map(self, p: Array, q: Array, tol: float, span: Span) -> DualMap:
        n = self.degree
        return replace(self._dual_map(p, q, tol, span), params=self._params(n, n - 1, n - 2))


def _numerators(n: int) -> tuple[Array, Array]:
    """Return polynomials A, B in rho with J_n = A (pi - theta) + B sin(theta).

    Differentiating (A (pi - theta) + B sin) / sin^(2n+1) in Cho & Saul's eq. (4) gives the
    recurrence.
    """
    a, b = np.array([1.0]), np.array([0.0])
    square = np.array([1.0, 0, -1.0])
    for k in range(n):
        rise = poly.polyadd(poly.polymul(square, poly.polyder(a)), (2 * k + 1) * poly.polymulx(a))
        b = poly.polyadd(
            a, poly.polyadd(poly.polymul(square, poly.polyder(b)), 2 * k * poly.polymulx(b))
        )
        a = rise
    return a, b


def _arc_cosine(n: int, rho: Array, theta: Array, sine: Array) -> Array:
    a, b = _numerators(n)
    value = poly.polyval(rho, a) * (np.pi - theta) + poly.polyval(rho, b) * sine
    return np.asarray(value / (2 * np.pi))
