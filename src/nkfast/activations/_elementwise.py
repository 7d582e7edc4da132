"""Any function of the user's own as an activation."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property, lru_cache, partial
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import ArrayLike

from nkfast._arrays.validation import Array, check_real
from nkfast._config import one_blas_thread
from nkfast._linalg.chebyshev import to_series

from ._base import Span, _inverse
from ._blurs import FARTHEST, Blurs
from ._complex_steps import is_step
from ._dual_map import DualMap
from ._interpolant import ORDERS, Interpolant
from ._interpolation import LEAST, Profile, coordinate
from ._numerical import Numerical, _range, _Ref
from ._pieces import piecewise_terms
from ._piecewise import Term, correlation, evaluate, truncated_pair
from ._piecewise_tables import piecewise_core_map, piecewise_map, piecewise_tangent_map
from ._piecewise_wide import piecewise_pair
from ._quadrature import Function, NotResolved, hermite_integrals
from ._series import series_pair

_ACCURATE = 1e-7  # error of the series that is accepted
_SETTLED = 1e-8  # error at which no more terms are tried
_DEGREES = (64, 256, 1024)
_DIRECT = 2000  # so many pairs have no series of their own
_COARSE_STEP = 4.0  # largest deviations are rounded up to powers of this, where that does
_LEAST = 1 / 16  # share of the nearest kink: deviations below go with tiny ones
_COUNTS = (24, 48, 96, 192, 384)


class Elementwise(Numerical):
    """Any function, applied to every entry.

    Parameters
    ----------
    fn : callable
        Takes a float64 array and returns one of the same shape; at most moderate growth, smooth
        between the breakpoints. No derivative is needed.
    breakpoints : sequence of float, default=()
        Where fn or a derivative of it jumps. Undeclared kinks are refused.
    name : str, optional
        Shown in place of the function.

    Notes
    -----
    Polynomials of degree up to 3 between the breakpoints are recognised, by values from 1e-9 to 1e9
    times the scale of the breakpoints; their kernels are closed forms. Where the terms of these
    leave fewer than 8 digits (clips at variances above 1e12, cubic pieces between constants much
    earlier), variances are refused.

    The kernels of others come from Gaussian integrals of fn and of the derivative of its piecewise
    Chebyshev interpolant. Without breakpoints, or with one at 0 only, they are as fast as those of
    the named activations, at variances up to 1e14 if fn bends near zero only. With others, a pair
    costs an integral over one variable, of some microseconds, over tables of the function's
    Gaussian blurs that take up to a second or two; errors are below 1e-9 of the kernel's scale (of
    its largest, where fn vanishes up to a breakpoint and none is met). Where tables would become
    too large, as for oscillations at variances above 1e3 or so, or cut off what matters, as for
    growth like exp(x), a pair costs a double integral of a tenth of a second or more, and variances
    above 4e4 are refused.

    Where fn itself jumps, E f'(u) f'(v) has no finite limit for equal points; then kdot counts f'
    off the jumps only, as for `Sign`.

    Examples
    --------
    >>> import numpy as np, nkfast as nk
    >>> act = nk.Elementwise(lambda x: np.clip(x, 0, 1), breakpoints=(0, 1), name="unit clip")
    >>> act
    Elementwise(name='unit clip')
    >>> float(act.dual(1.0, 1.0, 0.5).round(4))
    0.1627
    """

    _bends_near_kinks = False

    def __init__(
        self,
        fn: Callable[[Array], Array],
        breakpoints: ArrayLike = (),
        name: str | None = None,
    ) -> None:
        if not callable(fn):
            raise TypeError(f"fn: expected a function of an array, got {fn!r}")
        if isinstance(breakpoints, str) or not np.iterable(breakpoints):
            raise TypeError(f"breakpoints: expected a sequence of numbers, got {breakpoints!r}")
        points = tuple(
            float(check_real(b, "breakpoints")) for b in np.asarray(breakpoints).tolist()
        )
        if name is not None and not isinstance(name, str):
            raise TypeError(f"name: expected a string or None, got {name!r}")
        sample = np.linspace(-3.05, 2.95, 7)
        value = np.asarray(fn(sample.copy()))
        if value.shape != sample.shape or value.dtype.kind not in "fiub":
            raise ValueError(
                "fn: expected real numbers of the shape of its argument, "
                f"got shape {value.shape} and dtype {value.dtype} for {sample.shape}"
            )
        if not np.all(np.isfinite(value)):
            raise ValueError(f"fn: expected finite numbers, got {value.tolist()}")
        self.fn = fn
        self.breakpoints = points
        self.name = name

    def __repr__(self) -> str:
        if self.name is not None:
            return f"Elementwise(name={self.name!r})"
        shown = getattr(self.fn, "__qualname__", repr(self.fn))
        return f"Elementwise({shown}, breakpoints={self.breakpoints!r})"

    def _key(self) -> tuple[Any, ...]:
        return (self.fn, self.breakpoints)

    @property
    def _kinks(self) -> tuple[float, ...]:
        return tuple(sorted(set(self.breakpoints)))

    def _function(self, x: Array) -> Array:
        value = np.asarray(self.fn(x), np.float64)
        if not np.all(np.isfinite(value)):
            raise ValueError(
                f"fn: expected finite numbers, got {value[~np.isfinite(value)][0]} at "
                f"{x[~np.isfinite(value)][0]}"
            )
        return value

    def _derivative(self, x: Array, order: int = 1) -> Array:
        return self._interpolant(float(np.abs(x).max(initial=1.0))).derivative(x, order)

    def _both(self, x: Array) -> tuple[Array, Array]:
        value, slope = super()._both(x.real)
        if not np.iscomplexobj(x):
            return value, slope
        step = 1j * x.imag
        return value + step * slope, slope + step * self._derivative(x.real, 2)

    @property
    def _terms(self) -> list[Term] | None:
        """The function as truncated powers, None if it is no piecewise polynomial."""
        return _recognise(_Ref(self))

    @property
    def _jumps(self) -> bool:  # type: ignore[override]
        if self._terms is not None:
            return any(term.side and term.power == 0 for term in self._terms)
        inner = self._interpolant(1.0 + max(map(abs, self._kinks), default=0.0))
        return any(inner.jump(kink, 0) for kink in self._kinks)

    def _interpolant(self, reach: float) -> Interpolant:
        # One of few: 16, 256, 4096...
        return _interpolate(_Ref(self), 16 * 16.0 ** max(math.ceil(math.log2(reach / 16) / 4), 0))

    def _pair(self, p: Array, q: Array, c: Array) -> tuple[Array, Array]:
        if not is_step(p, q, c):
            return super()._pair(p, q, c)
        s, t = np.sqrt(p), np.sqrt(q)
        if self._terms is not None:
            return piecewise_pair(self._terms, s, t, c)
        if not any(self._kinks):
            return super()._pair(p, q, c)
        stepped = any(map(np.iscomplexobj, (s, t, c)))
        if not stepped and (blurs := self._blurs(s, t)) is not None:
            return self._by_blurs(blurs, s, t, c)
        if np.broadcast(s, t, c).size > _DIRECT:
            with suppress(NotResolved):
                split = _split(_Ref(self), *_range(s.real, t.real))
                if split.error <= _ACCURATE:
                    return split.pair(s, t, c)
        return self._direct(s, t, c)

    def _blurs(self, s: Array, t: Array) -> Blurs | None:
        """Return tables for these deviations, None where they would be too large."""
        low, high = _range(s, t)
        unit = min(abs(kink) for kink in self._kinks if kink)
        coarse = _COARSE_STEP ** math.ceil(math.log(high) / math.log(_COARSE_STEP) - 1e-9)
        low = 0.0 if low < _LEAST * unit else _LEAST * unit
        if (blurs := _blur(_Ref(self), min(low, high), coarse)) is None and high < coarse:
            return _blur(_Ref(self), min(low, high), high)
        return blurs

    def _by_blurs(self, blurs: Blurs, s: Array, t: Array, c: Array) -> tuple[Array, Array]:
        k, slope = blurs.pair(s, t, correlation(s, t, c))
        # As in `_direct`, deviations of zero are infinitesimal ones.
        if not self._jumps and self._vanishes:
            k = np.where((s == 0) | (t == 0), 0, k)
        return k, slope

    def _diagonal(self, p: Array) -> tuple[Array, Array]:
        s = np.sqrt(p)
        if self._terms is not None:
            return piecewise_pair(self._terms, s, s, p)
        if not any(self._kinks):
            return super()._diagonal(p)
        if not np.iscomplexobj(s) and (blurs := self._blurs(s, s)) is not None:
            return blurs.squares(s)
        # Norms bend where a kink leaves the range of the Gaussian: no few nodes would do.
        distinct, index = np.unique(np.where(s.real > 1e-150, s, 1e-150), return_inverse=True)
        profile = Profile(self._both, self._kinks, 1.0, 1.0)
        k, slope = (v[index.reshape(p.shape)] for v in profile.squares(distinct))
        return k, slope

    def _dual_map(self, p: Array, q: Array, tol: float, span: Span) -> DualMap | None:
        if self._terms is not None:
            return piecewise_map(self._terms, p, q, tol, span)
        return None if any(self._kinks) else super()._dual_map(p, q, tol, span)

    def _core_map(self, p: Array, q: Array, tol: float, span: Span) -> DualMap | None:
        if self._terms is not None:
            ends = self._table_range(span)
            return piecewise_core_map(tuple(self._terms), p, q, tol, span, ends)
        return None if any(self._kinks) else super()._core_map(p, q, tol, span)

    def _tangent_map(self, p: Array, q: Array, tol: float, span: Span) -> DualMap | None:
        if self._terms is not None:
            return piecewise_tangent_map(self._terms, p, q, tol, span)
        return None if any(self._kinks) else super()._tangent_map(p, q, tol, span)


@lru_cache(maxsize=64)
def _recognise(ref: _Ref) -> list[Term] | None:
    return piecewise_terms(ref.activation.fn, ref.activation._kinks)  # type: ignore[attr-defined]


@lru_cache(maxsize=64)
def _interpolate(ref: _Ref, reach: float) -> Interpolant:
    return Interpolant(ref.activation._function, ref.activation._kinks, reach)


@lru_cache(maxsize=32)
def _blur(ref: _Ref, low: float, high: float) -> Blurs | None:
    own: Elementwise = ref.activation  # type: ignore[assignment]
    # Numbers that are not finite, far out, do not resolve the function, either.
    with suppress(ValueError), one_blas_thread(), np.errstate(over="ignore", invalid="ignore"):
        interpolant = Interpolant(own._function, own._kinks, 1.01 * FARTHEST * high)

        def both(x: Array) -> tuple[Array, Array]:
            return own._function(x), interpolant.between_kinks(x, 1)

        return Blurs(both, own._kinks, low, high)
    return None


@lru_cache(maxsize=64)
def _split(ref: _Ref, low: float, high: float) -> _Split:
    return _Split(ref.activation, low, high)  # type: ignore[arg-type]


class _Split:
    """f = (truncated powers that carry its kinks) + (rest, whose series is short)."""

    def __init__(self, activation: Elementwise, low: float, high: float) -> None:
        self.activation = activation
        self.low, self.high = low, high
        interpolant = activation._interpolant(16.0 + max(map(abs, activation._kinks)))
        self.terms = []
        for kink in activation._kinks:
            side = 1 if kink >= 0 else -1
            for order in range(ORDERS):
                jump = interpolant.jump(kink, order)
                if jump:
                    # (x - b)_+^i / i! adds the jump above b, (b - x)_+^i the opposite below.
                    coef = jump * (1 if side > 0 else -((-1) ** order)) / math.factorial(order)
                    self.terms.append(Term(order, side, kink, coef))

    @property
    def error(self) -> float:
        """Return the error of the series, relative to the kernel's scale."""
        return self._degree_and_error[1]

    @property
    def degree(self) -> int:
        """Return the degree of the series."""
        return self._degree_and_error[0]

    def _rest(self, x: Array) -> Array:
        return np.asarray(self.activation._function(x) - evaluate(self.terms, x))

    @cached_property
    def _degree_and_error(self) -> tuple[int, float]:
        low = max(self.low, LEAST)
        ends = np.array([low, math.sqrt(low * self.high), self.high])
        for degree in _DEGREES:
            rest, kinked = self._coefficients(ends, degree)[:2]
            l = 1 + np.arange(degree + 1)
            mass = l * (2 * np.abs(rest * kinked) + rest**2)
            total = (l * (rest + kinked) ** 2).sum(axis=1, keepdims=True)
            tail = np.cumsum(mass[:, ::-1], axis=1)[:, ::-1] / np.maximum(total, 1e-300)
            share = tail.max(axis=0)
            if share[3 * degree // 4] <= _SETTLED:
                break
        needed = int(np.argmax(share <= max(_SETTLED / 100, share[-1] * 1.0001)))
        return needed, float(share[3 * degree // 4])

    def _coefficients(self, s: Array, degree: int) -> Array:
        """Return those of the rest, of what has the kinks, and of the jumps in that."""
        kinks = self.activation._kinks
        steps = [term for term in self.terms if term.side and term.power == 0]
        functions: list[Function] = [self._rest, partial(evaluate, self.terms)]
        functions += [partial(evaluate, steps)] if steps else []
        return np.stack([hermite_integrals(f, s, degree, kinks) for f in functions])

    def _interpolated(self, s: Array, degree: int) -> Array:
        """Return the coefficients at many deviations, from those at Chebyshev nodes in log s."""
        profile = Profile(lambda x: (self._rest(x),) * 2, (), self.low, self.high)
        test = profile.points(np.array([-0.97, -0.3, 0.4, 0.93]))
        exact = self._coefficients(test, degree)

        def at(s: Array, series: Array) -> Array:
            x = (coordinate(s) - profile.middle) / profile.half
            return np.asarray(chebyshev.chebvander(x, len(series) - 1) @ series)

        for count in _COUNTS:
            values = self._coefficients(profile.points(chebyshev.chebpts1(count)), degree)
            series = [to_series(value) for value in values]
            found = np.stack([at(test, part) for part in series])
            if np.abs(found - exact).max() <= 1e-11 * np.abs(exact).max():
                break
        return np.stack([at(s, part) for part in series])

    def _tables(self, std: Array) -> Array:
        """Return the coefficients at all deviations, maybe with complex steps."""
        distinct, index = np.unique(std.real, return_inverse=True)
        index = index.reshape(std.shape)
        degree = self.degree + (2 if np.iscomplexobj(std) else 0)
        low = max(self.low, LEAST)
        compute = self._coefficients if len(distinct) <= _COUNTS[0] else self._interpolated
        a = compute(np.where(distinct > 0, distinct, low), degree)
        if distinct[:1] == 0:
            a[:, 0] = self._coefficients(np.zeros(1), degree)[:, 0]
        a = a[:, index]
        if not np.iscomplexobj(std):
            return a
        # s a_l' = l a_l + sqrt((l + 1) (l + 2)) a_(l+2), by parts
        l = np.arange(self.degree + 1)
        slope = l * a[..., :-2] + np.sqrt((l + 1) * (l + 2)) * a[..., 2:]
        return np.asarray(a[..., :-2] + 1j * (std.imag * _inverse(std.real))[..., None] * slope)

    def pair(self, s: Array, t: Array, c: Array) -> tuple[Array, Array]:
        k, slope = truncated_pair(self.terms, s, t, c)
        (r, a, *jumps), (r2, a2, *jumps2) = self._tables(s), self._tables(t)
        for left, right in ((r, a2 + r2), (a, r2)):
            more = series_pair(left, right, s, t, c)
            k, slope = k + more[0], slope + more[1]
        for jump, jump2 in zip(jumps, jumps2, strict=True):  # kdot leaves them out
            for left, right in ((r, jump2), (jump, r2)):
                slope = slope - series_pair(left, right, s, t, c)[1]
        return k, slope
