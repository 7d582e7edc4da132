"""Hermite coefficients of activations as tables over the standard deviation of the input."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nkfast._arrays.validation import Doubles
from nkfast.activations import Activation

from ._records import HermiteGrid

ORDER = 16  # highest degree; what lies above counts as one number
_STEP = 0.08  # between rows, in log s
# Deviations between which activations bend, most of them; beyond the last all are taken for powers.
_FIRST_ENDS = (1 / 64, 64.0)
_LAST_ENDS = (1e-6, 1e6)
_FACTOR = 8.0  # by which an end moves out until powers hold beyond it
_SETTLED = 4e-3  # their error there, relative to the norm
_NEAR = 0.02  # to a multiple of 1/2, at which a power is taken for it
_SMALL = 1e-6  # share of the norm below which a coefficient has no power of its own
_NOTHING = -745.0  # log of a norm of zero
_LN2 = math.log(2)


@dataclass
class _Row:
    """What the table has at one deviation.

    Attributes
    ----------
    shape : ndarray of shape (2 * ORDER + 4,)
        a_0..a_ORDER over the norm of f, b_0..b_ORDER over that of f', and what all later squares
        are of the squares of the norms.
    logs : ndarray of shape (2,)
        Of both norms.
    """

    shape: Doubles
    logs: Doubles

    @classmethod
    def of(cls, activation: Activation, s: float) -> _Row:
        """Return the row of an activation at a deviation above zero."""
        with np.errstate(over="ignore", invalid="ignore"):
            found = activation._hermite_tables(np.array([s]), ORDER)[0]
            whole = np.array([float(x) for x in activation._diagonal(np.array(s * s))])
            whole[1] *= activation._has_slope
            sums = np.sum(found**2, axis=1)
            if math.isfinite(whole[0]) and not math.isfinite(whole[1]):
                whole[1] = sums[1]  # of a jump: what is known of it
            whole = np.maximum(whole, sums)
            norms = np.sqrt(np.where(whole > 0, whole, 1))
            shapes = found / norms[:, None]
            tails = np.maximum((whole > 0) - np.sum(shapes**2, axis=1), 0)
            logs = np.where(whole > 0, np.log(norms), _NOTHING)
        return cls(np.append(shapes.ravel(), tails), logs)

    @property
    def finite(self) -> bool:
        return bool(np.all(np.isfinite(self.shape)) and np.all(np.isfinite(self.logs)))

    def moved(self, powers: Doubles, by: float) -> _Row:
        """Return the row at a deviation e^by times as large, of such powers of it."""
        return _Row(self.shape * np.exp(by * powers[:-2]), self.logs + by * powers[-2:])

    def powers(self, other: _Row, by: float) -> Doubles:
        """Return the powers of the deviation by which this row comes of that at e^-by of it."""
        some = np.minimum(np.abs(self.shape), np.abs(other.shape)) > _SMALL
        some &= self.shape * other.shape > 0
        ratios = np.where(some, self.shape / np.where(some, other.shape, 1), 1)
        found = np.append(np.log(ratios), self.logs - other.logs) / by
        halves = np.rint(2 * found) / 2
        return np.where(np.abs(found - halves) < _NEAR, halves, found)

    def distance(self, other: _Row) -> float:
        """Return the largest difference, relative to the norms."""
        shapes, logs = self.shape - other.shape, self.logs - other.logs
        return float(max(np.abs(shapes).max(), np.abs(logs).max()))

    def raw(self, exponents: NDArray[np.int64]) -> Doubles:
        """Return the coefficients and the sums of later squares, in units of powers of two."""
        norms = np.exp(self.logs - exponents * _LN2)
        return self.shape * np.concatenate([np.repeat(norms, ORDER + 1), norms**2])


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
        self._first, self._step = 0.0, 1.0
        away, shift = math.log(self.deviation), np.zeros(2)
        if power is not None:
            # Whole powers of a unit are units themselves.
            whole = np.array([power, power - 1]) * unit
            shift = np.rint(whole)
            row = self._at(1.0)
            row.logs += (whole - shift) * _LN2
            self._rows = [row]
            self._low = self._high = np.append(np.zeros(len(row.shape)), [power, power - 1])
            typical = row.moved(self._low, away)
        else:
            typical = self._tabulate(away + unit * _LN2)
            self._first -= unit * _LN2
        if not typical.finite:
            raise ValueError(
                f"X: expected smaller images or weights for {activation!r}: its kernels overflow "
                f"at inputs of standard deviation {math.exp(away + unit * _LN2):.3g}"
            )
        exponents = np.where(typical.logs > _NOTHING, np.rint(typical.logs / _LN2), 0).astype(int)
        self.exponent, self.slope_exponent = (int(x) for x in exponents + shift.astype(int))
        self._shift = shift.astype(int)
        self.typical = typical.raw(exponents)

    def _at(self, s: float) -> _Row:
        return _Row.of(self._activation, s)

    def _tabulate(self, log_s: float) -> _Row:
        """Fill the table; return the row at a typical deviation."""
        near = math.exp(min(max(log_s, math.log(_LAST_ENDS[0])), math.log(_LAST_ENDS[1])))
        low, self._low = self._end(0, near)
        high, self._high = self._end(1, near)
        self._first, last = math.log(low), math.log(high)
        n = max(math.ceil((last - self._first) / _STEP) + 1, 4)
        self._step = (last - self._first) / (n - 1)
        self._rows = [self._at(math.exp(self._first + self._step * i)) for i in range(n)]
        if log_s < self._first:
            return self._rows[0].moved(self._low, log_s - self._first)
        if log_s > last:
            return self._rows[-1].moved(self._high, log_s - last)
        return self._at(math.exp(log_s))

    def _end(self, side: int, near: float) -> tuple[float, Doubles]:
        """Return the low (0) or the high end (1) of the table, and the powers beyond.

        Those must hold at the next end, and at `near` if that lies beyond.
        """
        end, last = _FIRST_ENDS[side], _LAST_ENDS[side]
        sign = 2 * side - 1
        while not self._at(end).finite:  # of exponentials
            end /= 2
        while True:
            row = self._at(end)
            powers = row.powers(self._at(end * math.exp(-sign * _STEP)), sign * _STEP)
            probes = [end * _FACTOR**sign] + ([near] if sign * near > sign * end else [])
            others = [self._at(s) for s in probes]
            if not all(other.finite for other in others):
                return end, np.full_like(powers, np.nan)  # no number rather than a wrong one
            errors = [
                other.distance(row.moved(powers, math.log(s / end)))
                for s, other in zip(probes, others, strict=True)
            ]
            if max(errors) < _SETTLED or sign * end >= sign * last:
                return end, powers
            end = probes[0]

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
        rows = [np.append(row.shape, row.logs - units * _LN2) for row in self._rows]
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
