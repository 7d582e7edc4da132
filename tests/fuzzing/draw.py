"""Random choices of a case, and the count of what it calls."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

EXACT = ("sketch",)  # calls that give the same bits at every SIMD level (an SRHT's do not)


class Draw:
    """Random choices that depend on (seed, case) alone."""

    def __init__(self, seed: int, case: int) -> None:
        self.rng = np.random.default_rng([seed, case])
        self.seed = int(self.rng.integers(1 << 31))  # for maps

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def pick(self, choices: Sequence[Any], weights: Sequence[float] | None = None) -> Any:
        if weights is None:
            return choices[int(self.rng.integers(len(choices)))]
        edges = np.cumsum(weights)
        return choices[int(np.searchsorted(edges, self.rng.random() * edges[-1], side="right"))]

    def count(self, low: int, high: int) -> int:
        """Return an integer in [low, high], each size about as often: small ones more."""
        return low + int((high - low + 1) * self.rng.random() ** 2.5)

    def uniform(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def power(self, low: float, high: float) -> float:
        """Return 10 to a uniform exponent."""
        return float(10.0 ** self.rng.uniform(low, high))


class Library(Counter[str]):
    """Calls of nkfast, counted, and notes on what the case is about."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []
        self.bits = hashlib.sha256()  # of what has the same bits at every SIMD level

    def __call__(self, name: str, call: Callable[..., Any], *args: Any, **options: Any) -> Any:
        self[name] += 1
        result = call(*args, **options)
        if name in EXACT:
            self.bits.update(np.ascontiguousarray(result).tobytes())
        return result

    def note(self, *things: Any) -> None:
        self.notes.extend(map(str, things))


def expect(holds: Any, what: str) -> None:
    if not holds:
        raise AssertionError(what)


def same(found: Any, exact: Any, what: str) -> None:
    """Equal to the last bit."""
    found, exact = np.asarray(found), np.asarray(exact)
    expect(found.shape == exact.shape, f"{what}: shape {found.shape}, not {exact.shape}")
    if not np.array_equal(found, exact, equal_nan=True):
        gap = np.abs(found.astype(np.float64) - exact).max()
        raise AssertionError(f"{what}: other bits, off by {gap:.3g}")


def near(found: Any, exact: Any, bound: Any, what: str) -> None:
    """Within a bound for each entry."""
    found = np.asarray(found)
    expect(found.shape == np.shape(exact), f"{what}: shape {found.shape}, not {np.shape(exact)}")
    expect(np.all(np.isfinite(found)), f"{what}: not finite")
    gap = np.abs(found - exact)
    if np.any(gap > bound):
        bound = np.broadcast_to(bound, gap.shape)
        at = np.unravel_index(np.argmax(np.where(gap > bound, gap, -1)), gap.shape)
        at = tuple(map(int, at))
        raise AssertionError(
            f"{what}: {float(found[at]):.17g} at {at}, not {float(np.asarray(exact)[at]):.17g}; "
            f"off by {float(gap[at]):.3g}, bound {float(bound[at]):.3g}"
        )
