"""Smooth activations whose dual kernels have a closed form."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import erf, gammaln, ndtr

from nkfast._arrays.validation import Array, check_real
from nkfast._core import DualKind

from ._base import (
    Activation,
    Span,
    _arcsine,
    _at_rounding,
    _inverse,
    _log_deviation,
    _scaled,
    _sine,
    _snapped,
)
from ._dual_map import DualMap

_DETERMINED = 1e-6  # error of a kernel, relative to its diagonal, that goes without a warning


def _column(x: Array) -> Array:
    return np.ascontiguousarray(x, np.float64)[:, None]


def _half_square(p: Array, q: Array, c: Array) -> Array:
    """Return E (u - v)^2 / 2 = (p + q) / 2 - c, never below zero, and zero where u = v to rounding.

    It is (sqrt(p) - sqrt(q))^2 / 2 + sqrt(p q) - c: of two large variances no rounding is left in
    it, only that of c. Imaginary parts go through, as all is linear in them.
    """
    s, t = np.sqrt(p.real), np.sqrt(q.real)
    size = np.where(p.real == q.real, p.real, s * t)
    gap = size - c.real
    gap = np.where(_at_rounding(gap, size), 0, gap)
    out = (s - t) ** 2 / 2 + gap
    if any(map(np.iscomplexobj, (p, q, c))):
        out = out + 1j * ((p.imag + q.imag) / 2 - c.imag)
    return np.asarray(out)


def _warn_of_lost_digits(activation: Activation, scale: float, p: Array, q: Array) -> None:
    """Warn where roundings of a covariance, times `scale`, are exponents that matter."""
    largest = max(float(np.max(v.real, initial=0.0)) for v in (p, q))
    exponent = np.real(scale) * largest
    if _at_rounding(_DETERMINED, exponent):
        error = min(32 * np.finfo(np.float64).eps * exponent, 1.0)
        warnings.warn(
            f"{activation!r}: kernels of nearly equal points with variances of {largest:.2g} are "
            f"known to {error:.0e} only; scale the inputs, as with StandardScaler",
            UserWarning,
            stacklevel=2,
        )


class _Erf(Activation):
    """a erf(b x) + c."""

    def _constants(self) -> tuple[float, float, float]:
        raise NotImplementedError

    def __call__(self, x: ArrayLike) -> Array:
        a, b, c = self._constants()
        return np.asarray(a * erf(b * np.asarray(x)) + c)

    def _pair(self, p: Array, q: Array, c: Array) -> tuple[Array, Array]:
        a, b, shift = self._constants()
        x, gap, r, _ = _sine(p, q, c, 2 * b * b)
        root = np.sqrt(gap)
        k = 2 * a * a / np.pi * _arcsine(x, root) + shift**2
        return k, 4 * a * a * b * b / np.pi * r / root

    def _diagonal(self, p: Array) -> tuple[Array, Array]:
        a, b, shift = self._constants()
        t = 2 * b * b * p
        k = 2 * a * a / np.pi * np.arctan(t / np.sqrt(1 + 2 * t)) + shift**2
        return k, 4 * a * a * b * b / np.pi / np.sqrt(1 + 2 * t)

    def _dual_map(self, p: Array, q: Array, tol: float, span: Span) -> DualMap:  # noqa: ARG002
        b = self._constants()[1]
        left, right = (_column(1 / np.sqrt(1 + 2 * b * b * v)) for v in (p, q))
        return DualMap(DualKind.ASIN, self._params(), left, right)

    def _params(self) -> tuple[float, ...]:
        a, b, shift = self._constants()
        return (2 * a * a / np.pi, 2 * b * b, shift**2, 4 * a * a * b * b / np.pi)

    def _tangents(self, p: Array) -> tuple[tuple[Any, ...], Array]:
        params = self._params()
        return params, -np.log(1 + params[1] * p) / 2


class Erf(_Erf):
    """a erf(b x) + c.

    Parameters
    ----------
    a, b, c : float, default=1, 1 and 0

    References
    ----------
    Williams, "Computing with infinite networks", NIPS 1996.

    Examples
    --------
    >>> import nkfast as nk
    >>> float(nk.Erf().dual(1.0, 1.0, 0.5).round(4))
    0.2163
    """

    _smooth_parameters = ("a", "b", "c")

    def __init__(self, a: float = 1.0, b: float = 1.0, c: float = 0.0) -> None:
        for name, value in (("a", a), ("b", b), ("c", c)):
            check_real(value, name)
        self.a = a
        self.b = b
        self.c = c

    def _constants(self) -> tuple[float, float, float]:
        return self.a, self.b, self.c


class SigmoidLike(_Erf):
    """(1 + erf(x / 2.4020563531719796)) / 2, an error function near the logistic sigmoid.

    Examples
    --------
    >>> import nkfast as nk
    >>> nk.SigmoidLike()([0.0, 2.4]).round(3).tolist()
    [0.5, 0.921]
    """

    def _constants(self) -> tuple[float, float, float]:
        return 0.5, 1 / 2.4020563531719796, 0.5


class GELU(Activation):
    """x Phi(x), Phi the standard normal distribution function.

    References
    ----------
    Hendrycks & Gimpel, "Gaussian error linear units", arXiv:1606.08415; the dual kernel: Han et
    al., NeurIPS 2022, and Tsuchida et al., "Avoiding kernel fixed points", AAAI 2021.

    Examples
    --------
    >>> import nkfast as nk
    >>> nk.GELU()([-1.0, 0.0, 1.0]).round(4).tolist()
    [-0.1587, 0.0, 0.8413]
    """

    def __call__(self, x: ArrayLike) -> Array:
        x = np.asarray(x)
        return np.asarray(x * ndtr(x))

    def _pair(self, p: Array, q: Array, c: Array) -> tuple[Array, Array]:
        x, gap, r, total = _sine(p, q, c, 1.0)
        root = np.sqrt(gap)
        angle = _arcsine(x, root)
        product = p / np.sqrt(1 + p) * (q / np.sqrt(1 + q))
        k = c / 4 + (x * x * r / root + product * root + c * angle) / (2 * np.pi)
        slope = 0.25 + angle / (2 * np.pi)
        slope = slope + x / root * ((r / root) ** 2 + total) / (2 * np.pi)
        return k, slope

    def _dual_map(self, p: Array, q: Array, tol: float, span: Span) -> DualMap:  # noqa: ARG002
        left, right = (np.column_stack([1 / np.sqrt(1 + v), v]) for v in (p, q))
        return DualMap(DualKind.GELU, (), left, right)

    def _tangents(self, p: Array) -> tuple[tuple[Any, ...], Array]:
        return (), p


class Sin(Activation):
    """a sin(b x + c).

    Parameters
    ----------
    a, b, c : float, default=1, 1 and 0

    Notes
    -----
    The kernel falls with the distance of u and v. Variances above 1e8 / b^2 leave a covariance too
    few digits for that of nearly equal points: a warning says so.

    Examples
    --------
    >>> import nkfast as nk
    >>> float(nk.Sin().dual(1.0, 1.0, 0.0))
    0.0
    """

    _smooth_parameters = ("a", "b", "c")
    _phase = 0.0

    def __init__(self, a: float = 1.0, b: float = 1.0, c: float = 0.0) -> None:
        for name, value in (("a", a), ("b", b), ("c", c)):
            check_real(value, name)
        self.a = a
        self.b = b
        self.c = c

    def __call__(self, x: ArrayLike) -> Array:
        return np.asarray(self.a * np.sin(self.b * np.asarray(x) + self.c + self._phase))

    def _pair(self, p: Array, q: Array, c: Array) -> tuple[Array, Array]:
        _warn_of_lost_digits(self, self.b**2, p, q)
        return self._known(p, q, c)

    def _diagonal(self, p: Array) -> tuple[Array, Array]:
        return self._known(p, p, p)

    def _known(self, p: Array, q: Array, c: Array) -> tuple[Array, Array]:
        b2 = self.b**2
        sine, cosine = self._squares
        c = np.asarray(c)
        above = c.real >= 0
        size = np.where(above, c, -c)
        near = np.exp(-b2 * _half_square(p, q, size))
        # The terms with u - v and with u + v: only their difference is left at small variances.
        apart = -near * np.expm1(-2 * b2 * size)
        far = np.where(above, near - apart, near)
        apart = np.where(above, apart, -apart)
        scale = self.a**2 / 2
        return scale * (apart + 2 * sine * far), scale * b2 * (apart + 2 * cosine * far)

    @property
    def _squares(self) -> tuple[float, float]:
        """Return sin^2 and cos^2 of the phase, which may be a complex step."""
        phase = self.c + self._phase
        return np.sin(phase) ** 2, np.cos(phase) ** 2

    def _dual_map(self, p: Array, q: Array, tol: float, span: Span) -> DualMap:  # noqa: ARG002
        _warn_of_lost_digits(self, self.b**2, p, q)
        left, right = (_column(abs(self.b) * np.sqrt(v)) for v in (p, q))
        return DualMap(DualKind.SIN, self._params(), left, right)

    def _params(self) -> tuple[float, ...]:
        return (self.a**2 / 2, self.b**2, *(2 * v for v in self._squares))

    def _tangents(self, p: Array) -> tuple[tuple[Any, ...], Array]:
        return self._params(), self.b**2 * p / 2

    def _hermite(self, std: float, degree: int) -> Array:
        l = np.arange(degree + 1)
        t = self.b * std
        phase = self.c + self._phase + l * (np.pi / 2)
        return np.asarray(self.a * _exponential(t, l, -t * t / 2) * np.sin(phase))


class Cos(Sin):
    """a cos(b x + c).

    Parameters
    ----------
    a, b, c : float, default=1, 1 and 0

    Examples
    --------
    >>> import nkfast as nk
    >>> nk.Cos()([0.0]).tolist()
    [1.0]
    """

    _phase = math.pi / 2


class RBF(Activation):
    """sqrt(2) sin(sqrt(2 gamma) x + pi / 4), whose dual is exp(-gamma (p + q - 2 c)).

    With p = |x|^2, q = |x'|^2 and c = <x, x'> that is the Gaussian kernel of x and x'.

    Parameters
    ----------
    gamma : float, default=1
        Inverse squared length, > 0.

    Examples
    --------
    >>> import nkfast as nk
    >>> float(nk.RBF(0.5).dual(1.0, 1.0, 0.0).round(4))
    0.3679
    """

    _smooth_parameters = ("gamma",)

    def __init__(self, gamma: float = 1.0) -> None:
        check_real(gamma, "gamma", low=0, open_low=True)
        self.gamma = gamma

    def __call__(self, x: ArrayLike) -> Array:
        angle = math.sqrt(2 * self.gamma) * np.asarray(x) + math.pi / 4
        return np.asarray(math.sqrt(2) * np.sin(angle))

    def _pair(self, p: Array, q: Array, c: Array) -> tuple[Array, Array]:
        _warn_of_lost_digits(self, 2 * self.gamma, p, q)
        k = np.exp(-2 * self.gamma * _half_square(p, q, c))
        return k, 2 * self.gamma * k

    def _diagonal(self, p: Array) -> tuple[Array, Array]:
        k = np.ones_like(p)
        return k, 2 * self.gamma * k

    def _dual_map(self, p: Array, q: Array, tol: float, span: Span) -> DualMap:  # noqa: ARG002
        g = self.gamma
        _warn_of_lost_digits(self, 2 * g, p, q)
        left, right = (_column(np.sqrt(2 * g) * np.sqrt(v)) for v in (p, q))
        return DualMap(DualKind.SIN, (1.0, 2 * g, 1.0, 1.0), left, right)

    def _tangents(self, p: Array) -> tuple[tuple[Any, ...], Array]:
        return (1.0, 2 * self.gamma, 1.0, 1.0), self.gamma * p

    def _hermite(self, std: float, degree: int) -> Array:
        l = np.arange(degree + 1)
        t = np.sqrt(2 * self.gamma) * std
        phase = np.pi / 4 + l * (np.pi / 2)
        return np.asarray(np.sqrt(2) * _exponential(t, l, -t * t / 2) * np.sin(phase))


class Exp(Activation):
    """a exp(b x).

    Parameters
    ----------
    a, b : float, default=1

    Examples
    --------
    >>> import nkfast as nk
    >>> float(nk.Exp(1.0, 0.5).dual(1.0, 1.0, 0.0).round(4))
    1.284
    """

    _smooth_parameters = ("a", "b")

    def __init__(self, a: float = 1.0, b: float = 1.0) -> None:
        check_real(a, "a")
        check_real(b, "b")
        self.a = a
        self.b = b

    def __call__(self, x: ArrayLike) -> Array:
        return np.asarray(self.a * np.exp(self.b * np.asarray(x)))

    def _pair(self, p: Array, q: Array, c: Array) -> tuple[Array, Array]:
        b2 = self.b**2
        k = self.a**2 * np.exp(b2 * ((p + q) / 2 + c))
        return k, b2 * k

    def _dual_map(self, p: Array, q: Array, tol: float, span: Span) -> DualMap:  # noqa: ARG002
        b2 = self.b**2
        return DualMap(DualKind.EXP, (self.a**2, b2), _column(b2 * p / 2), _column(b2 * q / 2))

    def _tangents(self, p: Array) -> tuple[tuple[Any, ...], Array]:
        b2 = self.b**2
        return (self.a**2, b2), b2 * p / 2

    def _hermite(self, std: float, degree: int) -> Array:
        l = np.arange(degree + 1)
        t = self.b * std
        return np.asarray(self.a * _exponential(t, l, t * t / 2))


class Gaussian(Activation):
    """a exp(b x^2) with b < 0.

    Parameters
    ----------
    a, b : float, default=1 and -1

    Examples
    --------
    >>> import nkfast as nk
    >>> float(nk.Gaussian().dual(1.0, 1.0, 0.0).round(4))
    0.3333
    """

    _smooth_parameters = ("a", "b")

    def __init__(self, a: float = 1.0, b: float = -1.0) -> None:
        check_real(a, "a")
        if check_real(b, "b") >= 0:
            raise ValueError(f"b: expected a number below 0, got {b!r}")
        self.a = a
        self.b = b

    def __call__(self, x: ArrayLike) -> Array:
        return np.asarray(self.a * np.exp(self.b * np.square(np.asarray(x))))

    def _pair(self, p: Array, q: Array, c: Array) -> tuple[Array, Array]:
        x, gap, r, _ = _sine(p, q, c, -2 * self.b)
        k = self.a**2 * (r / np.sqrt(gap))
        return k, -2 * self.b * x * (r / gap) * k

    def _dual_map(self, p: Array, q: Array, tol: float, span: Span) -> DualMap:  # noqa: ARG002
        left, right = (_column(1 / np.sqrt(1 - 2 * self.b * v)) for v in (p, q))
        return DualMap(DualKind.GAUSSIAN, (self.a**2, self.b), left, right)

    def _tangents(self, p: Array) -> tuple[tuple[Any, ...], Array]:
        return (self.a**2, self.b), -np.log(1 - 2 * self.b * p) / 2

    def _hermite(self, std: float, degree: int) -> Array:
        l = np.arange(degree + 1)
        r = 1 - 2 * self.b * std**2
        x = 2 * self.b * std**2 / r  # in (-1, 0]
        half = l // 2
        with np.errstate(divide="ignore"):
            power = np.where(half == 0, 0.0, half * np.log(-x)) if x else np.where(half, -np.inf, 0)
        size = np.exp(power + gammaln(l + 1) / 2 - half * np.log(2) - gammaln(half + 1))
        value = self.a / np.sqrt(r) * (-1.0) ** half * size
        return np.asarray(np.where(l % 2 == 0, value, 0.0))


class ExpNormalized(Activation):
    """The activation whose dual is sqrt(p q) exp(gamma (rho + shift)), rho = c / sqrt(p q).

    Parameters
    ----------
    gamma : float, default=1
        > 0.
    shift : float, default=-1

    Notes
    -----
    The kernel defines it, at every variance. As a function it is exp(sqrt(gamma) x +
    gamma (shift - 1) / 2), whose dual at unit variances it has.

    References
    ----------
    Shankar et al., "Neural kernels without tangents", ICML 2020.

    Examples
    --------
    >>> import nkfast as nk
    >>> float(nk.ExpNormalized().dual(4.0, 1.0, 2.0))
    2.0
    """

    _homogeneity = 1.0
    _smooth_parameters = ("gamma", "shift")

    def __init__(self, gamma: float = 1.0, shift: float = -1.0) -> None:
        check_real(gamma, "gamma", low=0, open_low=True)
        check_real(shift, "shift")
        self.gamma = gamma
        self.shift = shift

    def __call__(self, x: ArrayLike) -> Array:
        g = self.gamma
        return np.asarray(np.exp(math.sqrt(g) * np.asarray(x) + g * (self.shift - 1) / 2))

    def _pair(self, p: Array, q: Array, c: Array) -> tuple[Array, Array]:
        s = np.sqrt(p) * np.sqrt(q)
        value = np.exp(self.gamma * (_snapped(c * _inverse(s)) + self.shift))
        return s * value, self.gamma * value

    def _diagonal(self, p: Array) -> tuple[Array, Array]:
        value = np.exp(self.gamma * (1 + self.shift))
        return p * value, self.gamma * value * np.ones_like(p)

    def _dual_map(self, p: Array, q: Array, tol: float, span: Span) -> DualMap:  # noqa: ARG002
        return DualMap(DualKind.EXP_NORMALIZED, (self.gamma, self.shift), _scaled(p), _scaled(q))

    def _tangents(self, p: Array) -> tuple[tuple[Any, ...], Array]:
        return (self.gamma, self.gamma * self.shift), _log_deviation(p)

    def _hermite(self, std: float, degree: int) -> Array:
        l = np.arange(degree + 1)
        scale = std * np.exp(self.gamma * self.shift / 2)
        return np.asarray(scale * _exponential(np.sqrt(self.gamma), l))


class Gabor(Activation):
    """exp(-x^2) sin(x).

    Examples
    --------
    >>> import nkfast as nk
    >>> float(nk.Gabor().dual(1.0, 1.0, 0.0))
    0.0
    """

    def __call__(self, x: ArrayLike) -> Array:
        x = np.asarray(x)
        return np.asarray(np.exp(-np.square(x)) * np.sin(x))

    def _pair(self, p: Array, q: Array, c: Array) -> tuple[Array, Array]:
        size = np.where(p == q, p, np.sqrt(p) * np.sqrt(q))
        below, above = size - c, size + c
        if not np.iscomplexobj(below):
            near_one = _at_rounding(np.minimum(below, above), size)
            below = np.where(near_one, 0, np.maximum(below, 0))
        # All over m = 1 + p + q, as products of variances may overflow.
        total = p + q
        m = 1 + total
        det = below * (above / m)
        g = 4 * det + (2 * total + 1) / m
        x, e = c / m / g, np.exp(-(total / m + 4 * det) / (2 * g)) / np.sqrt(m) / np.sqrt(g)
        s = ((1 + 2 * total) / m + 4 * (c / m * c + p / m * q)) / g
        t = 4 * c * ((4 * det + (3 * total + 2) / m) / g)
        return e * np.sinh(x), (s * np.cosh(x) + t * np.sinh(x)) * e / m / g

    def _dual_map(self, p: Array, q: Array, tol: float, span: Span) -> DualMap:  # noqa: ARG002
        return DualMap(DualKind.GABOR, (), _column(p), _column(q))

    def _tangents(self, p: Array) -> tuple[tuple[Any, ...], Array]:
        return (), p


def _exponential(t: float, l: Array, power: float = 0.0) -> Array:
    """Return e^power t^l / sqrt(l!), without overflow on the way."""
    with np.errstate(divide="ignore", invalid="ignore"):  # t = 0
        logs = np.where(l == 0, 0.0, l * np.log(np.abs(t)))
        size = np.exp(logs - gammaln(l + 1) / 2 + power)
    return np.asarray(np.where(t < 0, (-1.0) ** l, 1.0) * size)
