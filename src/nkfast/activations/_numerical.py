"""Activations whose dual kernels are computed numerically, and any function of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from nkfast._config import one_blas_thread
from nkfast._dualmap import DualMap
from nkfast._validation import check_real

from ._base import Activation, Span, _inverse
from ._corners import piecewise_map
from ._interpolation import LEAST, Norms, NotResolved, Profile, Series, Table
from ._piecewise import Term, derivatives, evaluate, piecewise_pair
from ._quadrature import direct_products, hermite_integrals
from ._series import series_pair
from ._steps import is_step

Array = NDArray[Any]

_TOL = 1e-12  # of tables, relative to the kernel's scale
_LOOSE = 1e-8  # where float32 is asked for
_STEP = 0.35  # ranges of log std are rounded outward to multiples, so that they can be kept
_FEW = 128  # entries that are integrated one by one where that spares a table
_MOST_TERMS = 4096  # of a series where nothing else helps
_CONTINUED = 1024  # most terms of a kernel of complex arguments


class Numerical(Activation):
    """An activation known by its function, its derivative and its kinks only.

    Its kernels are interpolated from accurate integrals: as a series in rho where that is short, by
    a table in the angle elsewhere.
    """

    _jumps = False  # of the function itself

    def _function(self, x: Array) -> Array:
        """Return f(x) for float64 x."""
        raise NotImplementedError

    def _derivative(self, x: Array) -> Array:
        """Return f'(x) off the kinks for float64 x."""
        raise NotImplementedError

    def __call__(self, x: ArrayLike) -> Array:
        x = np.asarray(x)
        value = np.asarray(self._function(np.asarray(x, np.float64)))
        return value.astype(x.dtype) if x.dtype.kind == "f" else value

    def _key(self) -> tuple[Any, ...]:
        return tuple(sorted(self.get_params(deep=False).items()))

    def _pair(self, p: Array, q: Array, c: Array) -> tuple[Array, Array]:
        if not is_step(p, q, c):
            return self._continued(p, q, c)
        s, t = np.sqrt(p), np.sqrt(q)
        few = np.broadcast(s, t, c).size <= _FEW and not any(map(np.iscomplexobj, (s, t, c)))
        if few and _series(_Ref(self), *_range(s, t), _TOL) is None:
            return self._direct(s, t, c)
        return self._representation(s.real, t.real, _TOL).pair(s, t, c)

    def _both(self, x: Array) -> tuple[Array, Array]:
        """Return f(x) and f'(x)."""
        return self._function(x), self._derivative(x)

    def _direct(self, s: Array, t: Array, c: Array) -> tuple[Array, Array]:
        """Return the pair by an integral for each entry; takes complex steps if `_both` does."""
        s, t, c = np.broadcast_arrays(s, t, c)
        rho = c * _inverse(s) * _inverse(t)
        near = 1 - np.abs(rho.real) <= 32 * np.finfo(np.float64).eps
        rho = np.where(near, np.sign(rho.real), rho)
        # An infinitesimal deviation stands for zero: there a kink at zero still has two sides.
        s, t = (np.where(v.real > 1e-150, v, 1e-150) for v in (s, t))
        dtype = np.result_type(rho, np.float64)  # complex if any is
        entries = zip(*(v.astype(dtype).flat for v in (s, t, rho)), strict=True)
        out = [direct_products(self._both, self._kinks, *entry) for entry in entries]
        both = np.reshape(out, (*rho.shape, 2))
        return both[..., 0], both[..., 1]

    def _representation(self, s: Array, t: Array, tol: float) -> Series | Table:
        return _represent(_Ref(self), *_range(s, t), tol)

    def _continued(self, p: Array, q: Array, c: Array) -> tuple[Array, Array]:
        """Return the pair for complex c, |rho| < 1, by the series in rho."""
        s, t = np.sqrt(p.real), np.sqrt(q.real)
        rho = np.abs(c) * _inverse(s) * _inverse(t)
        # Whatever the function, its coefficients are bounded: rho^count is at rounding.
        largest = min(float(rho.max(initial=0.0)), 1.0)
        count = int(np.clip(38 / -np.log(min(largest, 1 - 1e-9) + 1e-300) + 8, 16, _CONTINUED))
        a, b = (self._coefficients(v, count, self._function) for v in (s, t))
        sizes = [np.abs(v).reshape(-1, count).max(axis=0) for v in (a, b)]
        terms = sizes[0] * sizes[1] * (1 + np.arange(count)) * largest ** np.arange(count)
        matter = int(np.flatnonzero(terms > 1e-17 * terms.max())[-1]) + 1 if terms.any() else 1
        k, slope = series_pair(a[..., :matter], b[..., :matter], s, t, c)
        if self._jumps:  # which are in the series of the derivative, too
            a, b = (self._coefficients(v, count, self._derivative) for v in (s, t))
            slope, _ = series_pair(a, b, s, t, c)
        return k, slope

    def _coefficients(self, s: Array, count: int, g: Callable[[Array], Array]) -> Array:
        distinct, index = np.unique(s, return_inverse=True)
        with one_blas_thread():
            a = hermite_integrals(g, distinct, count - 1, self._kinks)
        return np.asarray(a[index.reshape(s.shape)])

    def _diagonal(self, p: Array) -> tuple[Array, Array]:
        s = np.sqrt(p)
        return _norms(_Ref(self), *_range(s.real, s.real)).diagonal(p)

    def _dual_map(self, p: Array, q: Array, tol: float, span: Span) -> DualMap | None:
        ends = np.sqrt(np.array(span))
        tol = _TOL if tol < _LOOSE else _LOOSE
        s = np.sqrt(p)
        t = s if q is p else np.sqrt(q)
        return self._representation(ends, ends, tol).dual_map(s, t)


class _Ref:
    """An activation as a key of caches: equal if type and parameters are."""

    def __init__(self, activation: Numerical) -> None:
        self.activation = activation
        key = activation._key()
        # What cannot be hashed is known by its identity, which `activation` keeps alive.
        self.key = (type(activation), tuple(v if _hashable(v) else id(v) for v in key))

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Ref) and self.key == other.key


def _hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _range(s: Array, t: Array) -> tuple[float, float]:
    """Return a range that holds all values, one of few."""
    low = min((float(v.min()) for v in (s, t) if v.size), default=1.0)
    high = max((float(v.max()) for v in (s, t) if v.size), default=1.0)
    low = np.exp(_STEP * np.floor(np.log(low) / _STEP + 1e-9)) if low > LEAST else 0.0
    return float(low), float(np.exp(_STEP * np.ceil(np.log(max(high, LEAST)) / _STEP - 1e-9)))


@lru_cache(maxsize=256)
def _norms(ref: _Ref, low: float, high: float) -> Norms:
    own = ref.activation
    return Norms(Profile(own._function, own._derivative, own._kinks, low, high, own._jumps))


@lru_cache(maxsize=256)
def _series(ref: _Ref, low: float, high: float, tol: float) -> Series | None:
    if not ref.activation._jumps:
        with suppress(NotResolved), one_blas_thread():
            return Series(_norms(ref, low, high), tol)
    return None


@lru_cache(maxsize=64)
def _represent(ref: _Ref, low: float, high: float, tol: float) -> Series | Table:
    if (series := _series(ref, low, high, tol)) is not None:
        return series
    norms = _norms(ref, low, high)
    with one_blas_thread():
        with suppress(NotResolved):
            return Table(norms, tol)
        with suppress(NotResolved):
            return Series(norms, tol, _MOST_TERMS)
    raise ValueError(
        f"{ref.activation!r}: its kernels for variances up to {high**2:.3g} cannot be resolved; "
        "expected a function that is smooth on the scale 0.01 between its breakpoints"
    )


class Tanh(Numerical):
    """The hyperbolic tangent.

    Examples
    --------
    >>> import nkfast as nk
    >>> float(nk.Tanh().dual(1.0, 1.0, 0.5).round(6))
    0.187137
    """

    def _function(self, x: Array) -> Array:
        return np.tanh(x)

    def _derivative(self, x: Array) -> Array:
        return np.asarray(1 / np.cosh(np.clip(x, -350, 350)) ** 2)


class Sigmoid(Numerical):
    """The logistic function 1 / (1 + exp(-x)).

    Examples
    --------
    >>> import nkfast as nk
    >>> nk.Sigmoid()([0.0]).tolist()
    [0.5]
    """

    def _function(self, x: Array) -> Array:
        return np.asarray(expit(x))

    def _derivative(self, x: Array) -> Array:
        return np.asarray(expit(x) * expit(-x))


class Softplus(Numerical):
    """log(1 + exp(beta x)) / beta.

    Parameters
    ----------
    beta : float, default=1
        Sharpness, > 0.

    Examples
    --------
    >>> import nkfast as nk
    >>> nk.Softplus()([0.0]).round(4).tolist()
    [0.6931]
    """

    def __init__(self, beta: float = 1.0) -> None:
        check_real(beta, "beta", low=0, open_low=True)
        self.beta = beta

    def _function(self, x: Array) -> Array:
        return np.asarray(np.logaddexp(0, self.beta * x) / self.beta)

    def _derivative(self, x: Array) -> Array:
        return np.asarray(expit(self.beta * x))


class SiLU(Numerical):
    """x / (1 + exp(-x)), also known as swish.

    References
    ----------
    Elfwing, Uchibe & Doya, Neural Networks 107 (2018).

    Examples
    --------
    >>> import nkfast as nk
    >>> nk.SiLU()([1.0]).round(4).tolist()
    [0.7311]
    """

    def _function(self, x: Array) -> Array:
        return np.asarray(x * expit(x))

    def _derivative(self, x: Array) -> Array:
        return np.asarray(expit(x) * (1 + x * expit(-x)))


class Mish(Numerical):
    """x tanh(log(1 + exp(x))).

    References
    ----------
    Misra, "Mish: a self regularized non-monotonic activation function", BMVC 2020.

    Examples
    --------
    >>> import nkfast as nk
    >>> nk.Mish()([1.0]).round(4).tolist()
    [0.8651]
    """

    def _function(self, x: Array) -> Array:
        return np.asarray(x * np.tanh(np.logaddexp(0, x)))

    def _derivative(self, x: Array) -> Array:
        t = np.tanh(np.logaddexp(0, x))
        return np.asarray(t + x * (1 - t) * (1 + t) * expit(x))


class _KinkAtZero(Numerical):
    _kinks = (0.0,)


class ELU(_KinkAtZero):
    """x for x > 0, alpha (exp(x) - 1) for x < 0.

    Parameters
    ----------
    alpha : float, default=1

    References
    ----------
    Clevert, Unterthiner & Hochreiter, ICLR 2016.

    Examples
    --------
    >>> import nkfast as nk
    >>> nk.ELU()([-1.0, 2.0]).round(4).tolist()
    [-0.6321, 2.0]
    """

    def __init__(self, alpha: float = 1.0) -> None:
        check_real(alpha, "alpha")
        self.alpha = alpha

    def _constants(self) -> tuple[float, float, float]:
        """Return (scale of x > 0, size and length of the exponential)."""
        return 1.0, self.alpha, 1.0

    def _function(self, x: Array) -> Array:
        scale, size, length = self._constants()
        return np.where(x > 0, scale * x, size * np.expm1(np.minimum(x, 0) / length))

    def _derivative(self, x: Array) -> Array:
        scale, size, length = self._constants()
        return np.where(x > 0, scale, size / length * np.exp(np.minimum(x, 0) / length))


class SELU(ELU):
    """1.0507 ELU(x) with alpha = 1.6733: the scaled exponential linear unit.

    References
    ----------
    Klambauer et al., "Self-normalizing neural networks", NIPS 2017.

    Examples
    --------
    >>> import nkfast as nk
    >>> nk.SELU()([1.0]).round(4).tolist()
    [1.0507]
    """

    def __init__(self) -> None:
        super().__init__(1.6732632423543772848170429916717)

    def _constants(self) -> tuple[float, float, float]:
        scale = 1.0507009873554804934193349852946
        return scale, scale * self.alpha, 1.0


class CELU(ELU):
    """x for x > 0, alpha (exp(x / alpha) - 1) for x < 0.

    Parameters
    ----------
    alpha : float, default=1
        > 0.

    References
    ----------
    Barron, "Continuously differentiable exponential linear units", arXiv:1704.07483.

    Examples
    --------
    >>> import nkfast as nk
    >>> nk.CELU(2.0)([-2.0]).round(4).tolist()
    [-1.2642]
    """

    def __init__(self, alpha: float = 1.0) -> None:
        check_real(alpha, "alpha", low=0, open_low=True)
        self.alpha = alpha

    def _constants(self) -> tuple[float, float, float]:
        return 1.0, self.alpha, self.alpha


class Softsign(_KinkAtZero):
    """x / (1 + |x|).

    Examples
    --------
    >>> import nkfast as nk
    >>> nk.Softsign()([-1.0, 3.0]).tolist()
    [-0.5, 0.75]
    """

    def _function(self, x: Array) -> Array:
        return np.asarray(x / (1 + np.abs(x)))

    def _derivative(self, x: Array) -> Array:
        return np.asarray(1 / np.square(1 + np.abs(x)))


class _PiecewisePolynomial(Numerical):
    """Kernels by moments of the bivariate normal distribution."""

    def _terms(self) -> list[Term]:
        raise NotImplementedError

    @property
    def _kinks(self) -> tuple[float, ...]:
        return tuple(sorted({term.at for term in self._terms() if term.side}))

    def _derivative(self, x: Array) -> Array:
        return evaluate(derivatives(self._terms()), x)

    def _pair(self, p: Array, q: Array, c: Array) -> tuple[Array, Array]:
        if not is_step(p, q, c):
            return self._continued(p, q, c)
        return piecewise_pair(self._terms(), np.sqrt(p), np.sqrt(q), c)

    def _diagonal(self, p: Array) -> tuple[Array, Array]:
        return piecewise_pair(self._terms(), np.sqrt(p), np.sqrt(p), p)

    def _dual_map(self, p: Array, q: Array, tol: float, span: Span) -> DualMap | None:  # noqa: ARG002
        return piecewise_map(self._terms(), p, q, tol)


class HardTanh(_PiecewisePolynomial):
    """x kept within [-1, 1].

    Examples
    --------
    >>> import nkfast as nk
    >>> nk.HardTanh()([-3.0, 0.5]).tolist()
    [-1.0, 0.5]
    """

    def _terms(self) -> list[Term]:
        return [Term(1, 0, 0.0, 1.0), Term(1, 1, 1.0, -1.0), Term(1, -1, -1.0, 1.0)]

    def _function(self, x: Array) -> Array:
        return np.clip(x, -1, 1)


class HardSigmoid(_PiecewisePolynomial):
    """x / 6 + 1 / 2 kept within [0, 1].

    Examples
    --------
    >>> import nkfast as nk
    >>> nk.HardSigmoid()([-9.0, 0.0, 9.0]).tolist()
    [0.0, 0.5, 1.0]
    """

    def _terms(self) -> list[Term]:
        return [
            Term(0, 0, 0.0, 0.5),
            Term(1, 0, 0.0, 1 / 6),
            Term(1, 1, 3.0, -1 / 6),
            Term(1, -1, -3.0, 1 / 6),
        ]

    def _function(self, x: Array) -> Array:
        return np.clip(x / 6 + 0.5, 0, 1)


class HardSwish(_PiecewisePolynomial):
    """x times HardSigmoid(x).

    References
    ----------
    Howard et al., "Searching for MobileNetV3", ICCV 2019.

    Examples
    --------
    >>> import nkfast as nk
    >>> nk.HardSwish()([-9.0, 3.0, 9.0]).tolist()
    [0.0, 3.0, 9.0]
    """

    def _terms(self) -> list[Term]:
        return [
            Term(1, 0, 0.0, 0.5),
            Term(2, 0, 0.0, 1 / 6),
            Term(1, 1, 3.0, -0.5),
            Term(2, 1, 3.0, -1 / 6),
            Term(1, -1, -3.0, -0.5),
            Term(2, -1, -3.0, -1 / 6),
        ]

    def _function(self, x: Array) -> Array:
        return np.asarray(x * np.clip(x / 6 + 0.5, 0, 1))


class ReLU6(_PiecewisePolynomial):
    """x kept within [0, 6].

    Examples
    --------
    >>> import nkfast as nk
    >>> nk.ReLU6()([-1.0, 5.0, 7.0]).tolist()
    [0.0, 5.0, 6.0]
    """

    def _terms(self) -> list[Term]:
        return [Term(1, 1, 0.0, 1.0), Term(1, 1, 6.0, -1.0)]

    def _function(self, x: Array) -> Array:
        return np.clip(x, 0, 6)
