"""Activations whose dual kernels are computed numerically, and any function of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from nkfast._arrays.validation import Array
from nkfast._config import one_blas_thread

from ._base import Activation, Span, _inverse, _log_deviation, _snapped
from ._complex_steps import STEP, is_step
from ._dual_map import DualMap, with_slopes
from ._interpolation import LEAST, Norms, Profile, Series, ShortSeries, Table
from ._quadrature import NotResolved, direct_products, hermite_integrals
from ._series import pair_down_to_zero, series_pair

_TOL = 1e-12  # of tables, relative to the kernel's scale
_LOOSE = 1e-7  # where float32 is asked for
_STEP = 0.35  # ranges of log std are rounded outward to multiples, so that they can be kept
_WIDE = 30.0  # standard deviation beyond which such integrals are slow...
WIDEST = 200.0  # ... and beyond which they are refused
_FEW = 128  # entries that are integrated one by one where that spares a table
_LONG = 320  # terms of a series whose length depends on the pair
_MOST_TERMS = 4096  # of a series where nothing else helps
_LARGEST = 1e7  # standard deviation
_OSCILLATING = 70.0  # largest one at which a function without a limit is tried
_TERM_COST = 3.0  # multiplications for each pair and term of a series
_MOST_CENTRAL = 64  # of its terms beside a table
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
        if (
            few
            and max(s.max(initial=0), t.max(initial=0)) <= _WIDE
            and _series(_Ref(self), *_range(s, t), _TOL) is None
        ):
            return self._direct(s, t, c)
        pair = self._representation(s.real, t.real, _TOL).pair
        return pair_down_to_zero(pair, s, t, c, self._vanishes)

    @property
    def _vanishes(self) -> bool:
        """Whether f(0) = 0."""
        return not np.any(self._function(np.zeros(1)))

    def _both(self, x: Array) -> tuple[Array, Array]:
        """Return f(x) and f'(x)."""
        return self._function(x), self._derivative(x)

    def _direct(self, s: Array, t: Array, c: Array) -> tuple[Array, Array]:
        """Return the pair by an integral for each entry; takes complex steps if `_both` does."""
        s, t, c = np.broadcast_arrays(s, t, c)
        largest = float(max(s.real.max(initial=0), t.real.max(initial=0)))
        if largest > WIDEST:
            raise ValueError(
                f"{self!r}: kernels of functions with breakpoints away from zero are known for "
                f"variances up to {WIDEST**2:.0e}, got {largest**2:.3g}; scale the inputs"
            )
        rho = _snapped(c * _inverse(s) * _inverse(t))
        # An infinitesimal deviation stands for zero: there a kink at zero still has two sides.
        nought = (s == 0) | (t == 0)
        s, t = (np.where(v == 0, 1e-150, v) for v in (s, t))
        dtype = np.result_type(rho, np.float64)  # complex if any is
        entries = zip(*(v.astype(dtype).flat for v in (s, t, rho)), strict=True)
        out = [direct_products(self._both, self._kinks, *entry) for entry in entries]
        k, slope = np.moveaxis(np.reshape(out, (*rho.shape, 2)), -1, 0)
        if not self._jumps and self._vanishes:
            k = np.where(nought, 0, k)
        return k, slope

    def _representation(self, s: Array, t: Array, tol: float) -> Series | Table:
        return _represent(_Ref(self), *_range(s, t), tol)

    def _continued(self, p: Array, q: Array, c: Array) -> tuple[Array, Array]:
        """Return the pair for complex c, |rho| < 1, by the series in rho."""
        s, t = np.sqrt(p.real), np.sqrt(q.real)
        rho = np.abs(c) * _inverse(s) * _inverse(t)
        # Whatever the function, its coefficients are bounded: rho^count is at rounding.
        largest = min(float(rho.max(initial=0.0)), 1.0)
        count = int(np.clip(38 / -np.log(min(largest, 1 - 1e-9) + 1e-300) + 8, 16, _CONTINUED))
        a, b = self._coefficients(s, t, count, self._function)
        sizes = [np.abs(v).reshape(-1, count).max(axis=0) for v in (a, b)]
        terms = sizes[0] * sizes[1] * (1 + np.arange(count)) * largest ** np.arange(count)
        matter = int(np.flatnonzero(terms > 1e-17 * terms.max())[-1]) + 1 if terms.any() else 1
        k, slope = series_pair(a[..., :matter], b[..., :matter], s, t, c)
        if self._jumps:  # which are in the series of the derivative, too
            a, b = self._coefficients(s, t, count, self._derivative)
            slope, _ = series_pair(a, b, s, t, c)
        return k, slope

    def _coefficients(
        self, s: Array, t: Array, count: int, g: Callable[[Array], Array]
    ) -> tuple[Array, Array]:
        """Return the coefficients of g at both sides' deviations, which often are the same."""
        distinct, index = np.unique(np.concatenate([s.ravel(), t.ravel()]), return_inverse=True)
        with one_blas_thread():
            a = hermite_integrals(g, distinct, count - 1, self._kinks, graded=True)
        left, right = a[index[: s.size]], a[index[s.size :]]
        return left.reshape(*s.shape, count), right.reshape(*t.shape, count)

    def _diagonal(self, p: Array) -> tuple[Array, Array]:
        s = np.sqrt(p)
        return _norms(_Ref(self), *_range(s.real, s.real)).diagonal(p)

    def _table_range(self, span: Span) -> Span:
        ends = np.sqrt(np.array(span))
        return _range(ends, ends)

    def _dual_map(self, p: Array, q: Array, tol: float, span: Span) -> DualMap | None:
        ends = np.sqrt(np.array(span))
        tol = _TOL if tol < _LOOSE else _LOOSE
        s = np.sqrt(p)
        t = s if q is p else np.sqrt(q)
        return self._representation(ends, ends, tol).dual_map(s, t)

    def _core_map(self, p: Array, q: Array, tol: float, span: Span) -> DualMap | None:
        ends = np.sqrt(np.array(span))
        tol = _TOL if tol < _LOOSE else _LOOSE
        s = np.sqrt(p)
        t = s if q is p else np.sqrt(q)
        return _central_map(_Ref(self), *_range(ends, ends), tol)(s, t)

    def _tangents(self, p: Array) -> tuple[tuple[Any, ...], Array] | None:
        return (), _log_deviation(p)

    def _tangent_map(self, p: Array, q: Array, tol: float, span: Span) -> DualMap | None:
        ends = np.sqrt(np.array(span))
        tol = _TOL if tol < _LOOSE else _LOOSE
        s = np.sqrt(p) * (1 + 1j * STEP)
        t = s if q is p else np.sqrt(q) * (1 + 1j * STEP)
        return with_slopes(self._representation(ends, ends, tol).dual_map(s, t))


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
    return Norms(Profile(own._both, own._kinks, low, high, own._jumps))


@lru_cache(maxsize=256)
def _series(ref: _Ref, low: float, high: float, tol: float) -> Series | None:
    if high > _LARGEST:
        raise ValueError(
            f"{ref.activation!r}: expected variances up to {_LARGEST**2:.0e}, got {high**2:.3g}; "
            "scale the inputs"
        )
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
        if high < _OSCILLATING:
            with suppress(NotResolved):
                return Series(norms, tol, _MOST_TERMS)
    raise ValueError(
        f"{ref.activation!r}: its kernels for variances up to {high**2:.3g} cannot be resolved; "
        "expected a function that bends near zero and its breakpoints only; scale the inputs"
    )


@lru_cache(maxsize=64)
def _central_map(
    ref: _Ref, low: float, high: float, tol: float
) -> Callable[[Array, Array], DualMap]:
    """Return the core's form between two sets of points: a series that is as long as a pair needs.

    Where correlations are so near 1 or -1 that a table is faster, it is that.
    """
    series = _series(ref, low, high, tol)
    if series is None and not ref.activation._jumps:
        # Such lengths cost nothing but where correlations are near 1 or -1.
        with suppress(NotResolved), one_blas_thread():
            series = Series(_norms(ref, low, high), tol, _LONG)
    whole = series or _represent(ref, low, high, tol)
    found = None
    if isinstance(whole, Series):
        series, found = whole, whole.lengths(_MOST_TERMS)
    else:
        with suppress(NotResolved), one_blas_thread():
            most = int(min(whole.cost / _TERM_COST, _MOST_CENTRAL))
            series = ShortSeries(_norms(ref, low, high), tol, 2 * most)
            found = series.lengths(most, whole=False)
    if series is None or found is None:
        return whole.dual_map
    beyond = None if series is whole else whole.dual_map

    def central_map(s: Array, t: Array) -> DualMap:
        a = series.coefficients(s)
        b = a if t is s else series.coefficients(t)
        return found.map(a, b, s, t, None if beyond is None else beyond(s, t))

    return central_map
