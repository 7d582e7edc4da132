"""Hermite coefficients of activations as tables over the standard deviation of the input."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from nkfast._arrays.validation import Doubles
from nkfast.activations import Activation

from ._hermite_rows import LN2, NOTHING, ORDER, HermiteRow, hermite_rows
from ._records import HermiteGrid

_STEP = 0.1  # between rows, in log s
# Deviations between which activations bend, most of them; beyond the last all are taken for powers.
_LOW_ENDS = (1 / 64, 1 / 512, 1 / 4096)
_HIGH_ENDS = (64.0, 512.0, 4096.0)
_SETTLED = 4e-3  # their error there, relative to the norm


class _Curve:
    """Rows on a grid in log s where an activation bends, and the powers of s below and above."""

    def __init__(self, activation: Activation, near: float) -> None:
        self._activation = activation
        low, self.low = self._end(_LOW_ENDS, near)
        high, self.high = self._end(_HIGH_ENDS, near)
        self.first, self.last = math.log(low), math.log(high)
        n = max(math.ceil((self.last - self.first) / _STEP) + 1, 4)
        self.step = (self.last - self.first) / (n - 1)
        self.rows = self._at(np.exp(self.first + self.step * np.arange(n)))

    def __call__(self, log_s: float) -> HermiteRow:
        """Return the row at one deviation."""
        if log_s < self.first:
            return self.rows[0].moved(self.low, log_s - self.first)
        if log_s > self.last:
            return self.rows[-1].moved(self.high, log_s - self.last)
        return self._at([math.exp(log_s)])[0]

    def _at(self, stds: Any) -> list[HermiteRow]:
        return hermite_rows(self._activation, np.array(stds))

    def _end(self, ends: tuple[float, ...], near: float) -> tuple[float, Doubles]:
        """Return the first end, outward, beyond which there are but powers, and these.

        They must hold at the next end, and at `near` if that lies beyond.
        """
        sign = 1 if ends[-1] > ends[0] else -1
        rows = self._at(ends)
        while not rows[0].finite:  # as of exponentials
            if sign * ends[0] <= sign:
                raise ValueError(f"{self._activation!r}: expected a function with finite kernels")
            ends = (ends[0] / 2**sign, *ends)
            rows = self._at(ends[:1]) + rows
        inner = self._at(np.multiply(ends, math.exp(-sign * _STEP)))
        [beyond] = self._at([near])
        for i, (end, row) in enumerate(zip(ends, rows, strict=True)):
            powers = row.powers(inner[i], sign * _STEP)
            probes = list(zip(ends, rows, strict=True))[i + 1 : i + 2]
            if sign * near > sign * end:
                probes.append((near, beyond))
            if not all(other.finite for _, other in probes):
                return end, np.full_like(powers, np.nan)  # no number rather than a wrong one
            errors = [other.distance(row.moved(powers, math.log(s / end))) for s, other in probes]
            if max(errors, default=0.0) < _SETTLED:
                break
        return end, powers


@dataclass(frozen=True)
class _Known:
    """An activation as a key of the cache."""

    kind: type
    parameters: tuple[Any, ...]
    activation: Activation = field(compare=False)


@lru_cache(maxsize=64)
def _cached_curve(known: _Known, near: float) -> _Curve:
    return _Curve(known.activation, near)


def _curve(activation: Activation, log_s: float) -> _Curve:
    """Return the curve of an activation, for inputs of deviations around one."""
    near = math.exp(min(max(log_s, math.log(_LOW_ENDS[-1])), math.log(_HIGH_ENDS[-1])))
    near = 1.0 if _LOW_ENDS[0] <= near <= _HIGH_ENDS[0] else near
    parameters = tuple(sorted(activation.get_params(deep=False).items()))
    try:
        return _cached_curve(_Known(type(activation), parameters, activation), near)
    except TypeError:  # parameters that cannot be hashed
        return _Curve(activation, near)


class HermiteTable:
    """Coefficients a_l of an activation and b_l of its derivative, at all deviations of the input.

    Those of homogeneous activations are powers of the deviation. Those of others are interpolated
    where they bend, and are powers below and above.

    All numbers are in units of powers of two: that of the deviation is given, and those of a and b,
    2^exponent and 2^slope_exponent, make typical ones about 1.

    Attributes
    ----------
    deviation : float
        A typical one.
    typical : ndarray of shape (2 * ORDER + 4,)
        a_0..a_ORDER, b_0..b_ORDER and the sums of the squares of all later a and b, there.
    """

    def __init__(self, activation: Activation, deviation: float, unit: int) -> None:
        self._activation = activation
        self.deviation = deviation if deviation > 0 else 1.0
        self._power = power = activation._homogeneity
        away, shift = math.log(self.deviation), np.zeros(2)
        if power is not None:
            # Whole powers of a unit are units themselves.
            whole = np.array([power, power - 1]) * unit
            shift = np.rint(whole)
            [row] = hermite_rows(activation, np.ones(1))
            row.logs += (whole - shift) * LN2
            self._rows, self._first, self._step = [row], 0.0, 1.0
            self._low = self._high = np.append(np.zeros(len(row.shape)), [power, power - 1])
            typical = row.moved(self._low, away)
        else:
            curve = _curve(activation, away + unit * LN2)
            self._rows, self._first, self._step = curve.rows, curve.first, curve.step
            self._first -= unit * LN2
            self._low, self._high = curve.low, curve.high
            typical = curve(away + unit * LN2)
        if not typical.finite:
            raise ValueError(
                f"X: expected smaller images or weights for {activation!r}: its kernels overflow "
                f"at inputs of standard deviation {math.exp(away + unit * LN2):.3g}"
            )
        exponents = np.where(typical.logs > NOTHING, np.rint(typical.logs / LN2), 0).astype(int)
        self.exponent, self.slope_exponent = (int(x) for x in exponents + shift.astype(int))
        self._shift = shift.astype(int)
        self.typical = typical.raw(exponents)

    def grid(self, share: float, slope_exponent: int | None = None) -> HermiteGrid:
        """Return the table for the core.

        Parameters
        ----------
        share : float
            The scalar's in a typical deviation.
        slope_exponent : int, optional
            Of the unit of the b_l, if not its own.
        """
        q = ORDER
        wanted = self.slope_exponent if slope_exponent is None else slope_exponent
        units = np.array([self.exponent, wanted]) - self._shift
        first = self._rows[0].raw(units)
        # At zero remains what has the power zero, and of the function its value.
        norms = np.repeat(self._low[-2:], q + 1)
        constant = np.abs(self._low[:-2] + np.append(norms, 2 * self._low[-2:])) < 0.25
        at_zero = np.where(constant, first, 0.0)
        at_zero[: q + 1] = at_zero[-2] = 0
        at_zero[0] = np.ldexp(self._activation.hermite_coefficients(0.0, 0)[0], -self.exponent)
        rows = [np.append(row.shape, row.logs - units * LN2) for row in self._rows]
        return HermiteGrid(
            first=self._first,
            step=self._step,
            n=len(rows),
            order=q,
            power=self._power,
            rows=first if self._power is not None else np.concatenate(rows),
            low=self._low,
            high=self._high,
            at_zero=at_zero,
            deviation=self.deviation,
            reference=self.typical,
            share=share,
        )

    def weights(self, share: float) -> tuple[Doubles, Doubles, Doubles]:
        """Return the degree 0 part and the whole of three kernels at the typical deviation.

        Those of f, of f' and of K (E f'f') where the scalar has this share of the deviation, in
        units of 4^exponent, 4^slope_exponent and 4^(unit + slope_exponent).
        """
        q = ORDER
        a, b = self.typical[: q + 1], self.typical[q + 1 : 2 * q + 2]
        powers = share ** (2 * np.arange(q + 1))
        variance = self.deviation**2
        tangent = variance * np.concatenate([[0], b[:q] ** 2])
        whole = np.sum(a**2) + self.typical[-2], np.sum(b**2) + self.typical[-1]
        return (
            np.array([a**2 @ powers, whole[0]]),
            np.array([b**2 @ powers, whole[1]]),
            np.array([tangent @ powers, variance * whole[1]]),
        )
