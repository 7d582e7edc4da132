"""The series in rho for pairs of points whose correlations are far enough from 1 and -1.

sum_l a_l(s) a_l(t) rho^l takes a product of two numbers for each term, where tables and closed
forms take many: up to some |rho| it is the fastest form of any kernel, and most pairs of points in
many dimensions lie below. The core takes each pair as far as it needs, by its |rho|.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nkfast._arrays.validation import Array
from nkfast._core import DualKind

from ._base import _inverse
from ._dual_map import DualMap

# Terms at which the core may stop: each about a seventh longer than the one before.
_LENGTHS = tuple(np.unique(np.round(1.15 ** np.arange(4, 42))).astype(int))
_RHOS = np.sin(np.linspace(0, np.pi / 2, 401))[:-1]  # closer together near 1
_GAIN = 1.02  # a longer series has to reach so much farther
_BELOW = 1e-28  # sizes that are roundings of nothing


@dataclass(frozen=True)
class Lengths:
    """How many terms a series needs up to which |rho|.

    Attributes
    ----------
    offset, stride : int
        Its powers are offset + stride t, t = 0, 1, ...
    terms : tuple of int
        Rising.
    limits : tuple of float
        Up to which |rho| so many terms will do.
    """

    offset: int
    stride: int
    terms: tuple[int, ...]
    limits: tuple[float, ...]

    @property
    def degrees(self) -> slice:
        """Those of the longest series."""
        return slice(self.offset, self.offset + self.stride * self.terms[-1], self.stride)

    def map(self, a: Array, b: Array, s: Array, t: Array, beyond: DualMap | None) -> DualMap:
        """Return the core's form, from the coefficients of both sides and the map beyond."""
        one, other = a[:, self.degrees], b[:, self.degrees]
        left = np.column_stack([_inverse(s), one])
        right = left if b is a else np.column_stack([_inverse(t), other])
        params: list[float] = [self.offset, self.stride, self.terms[-1], len(self.terms)]
        params += [x for pair in zip(self.terms, self.limits, strict=True) for x in pair]
        if beyond is not None:
            params += [beyond.kind.value, *beyond.params]
            left, right = np.hstack([left, beyond.left]), np.hstack([right, beyond.right])
        return DualMap(DualKind.CENTRAL, tuple(map(float, params)), left, right)


def lengths(sizes: Array, slopes: Array, tol: float, most: int, *, whole: bool) -> Lengths | None:
    """Return how many terms are needed up to which |rho|.

    Parameters
    ----------
    sizes, slopes : ndarray of shape (L,)
        The largest terms of each power at |rho| = 1, of points of any deviation, relative to the
        norms of both: a_l(s)^2 / E f(s z)^2, and l a_l(s)^2 / (s^2 E f'(s z)^2) of the derivative.
        They sum to no more than 1 at each s.
    tol : float
        What may be left out of k and of its derivative, relative to the norms.
    most : int
        Terms beyond which another form is faster.
    whole : bool
        Whether the series is known to its end: the longest one then holds for all rho.

    Returns
    -------
    Lengths or None
        None if no length will do.
    """
    used = np.flatnonzero(np.maximum(sizes, slopes) > _BELOW)
    parity = len(used) > 0 and bool(np.all(used % 2 == used[0] % 2))
    offset, stride = (int(used[0] % 2), 2) if parity else (0, 1)
    powers = np.arange(offset, len(sizes), stride)
    # From the last known terms on none is larger than these, nor do all together exceed 1.
    rest = np.where(whole, 0.0, 1.0)
    terms: list[int] = []
    limits: list[float] = []
    logs = np.log(np.maximum(_RHOS, 1e-18))[:, None]
    with np.errstate(under="ignore"):
        value = sizes[powers] * np.exp(logs * powers)
        slope = slopes[powers] * np.exp(logs * np.maximum(powers - 1, 0))
        beyond = rest * np.exp(logs[:, 0] * (len(sizes) - 1))
        tails = [np.cumsum(x[:, ::-1], axis=1)[:, ::-1] for x in (value, slope)]
        tail = np.maximum(*tails) + beyond[:, None]
    end = len(powers)
    for count in (n for n in (*_LENGTHS, end) if n <= min(most, end)):
        if terms and count <= terms[-1]:
            continue
        left = tail[:, count] if count < end else beyond
        fits = np.flatnonzero(left <= tol)
        reach = float(_RHOS[fits[-1]]) if len(fits) else 0.0
        if whole and count == end:
            reach = 2.0
        if reach > (_GAIN * limits[-1] if limits else 0.0):
            terms.append(int(count))
            limits.append(reach)
    if not terms:
        return None
    return Lengths(offset, stride, tuple(terms), tuple(limits))
