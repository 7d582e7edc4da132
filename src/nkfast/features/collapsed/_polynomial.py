"""The steps that turn rows into sketched polynomial features: for the core."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from nkfast.features._monomials import monomials, n_monomials
from nkfast.sketch._program import (
    EVEN,
    EXACT,
    INPUT,
    LAST,
    LEAF,
    ODD,
    SPARE,
    Factor,
    Ints,
    SketchSteps,
    balanced_sample,
    injective_hash,
    multiplier,
    next_power_of_two,
    random_signs,
)

from ._allocation import MIN_SKETCH, Allocation, ladder, sketch_widths

Hashes: TypeAlias = Callable[[np.random.RandomState, int, int], Ints]


def polynomial_steps(
    degrees: NDArray[np.int64],
    plan: Allocation,
    n_features: int,
    n_components: int,
    rng: np.random.RandomState,
    sketch: str = "tensorsrht",
    hashes: Hashes | None = None,
) -> SketchSteps:
    """Return the steps of a map whose part for term c has plan.widths[c] columns and weight c.

    Degrees 0..L0 come as monomials P_l. Degree 1, where it does not fit, is the input, hashed by
    `hashes(rng, plan.columns, width)`. The others climb a `ladder`, S_(a+k) = T(S_a, P_k), T a
    sketch of the tensor product, by name: see `_tensor_srht` and `_tensor_sketch`; S_1 is the input
    itself. From CSR rows each degree then costs O(nnz + N log N). E <S_l(x), S_l(y)> = <x, y>^l
    (Ahle et al., SODA 2020, section 4).
    """
    used = plan.widths > 0
    sketched = np.where(plan.exact, 0, plan.widths)
    parents = ladder(plan.base, (int(l) for l in np.unique(degrees[sketched > 0])))
    powers = _Powers(degrees, plan, n_features, rng, hashes)
    powers.add_exact(min(plan.base, int(degrees[used].max(initial=0))))
    powers.climb(
        parents, sketch_widths(parents, degrees, sketched, n_components), multiplier(sketch)
    )
    add_zeros(powers.steps, n_components - int(plan.widths.sum()))
    return powers.steps


class _Powers:
    """Records the powers of a row, and what the terms of each degree take of it."""

    def __init__(
        self,
        degrees: NDArray[np.int64],
        plan: Allocation,
        n_features: int,
        rng: np.random.RandomState,
        hashes: Hashes | None,
    ) -> None:
        self.steps = SketchSteps()
        self._degrees = degrees
        self._plan = plan
        self._n_features = n_features
        self._rng = rng
        self._hashes = hashes
        self._sources: dict[int, Factor] = {1: (INPUT, n_features)}  # of what others come from

    def add_exact(self, top: int) -> None:
        """Append degrees 0..top as monomials."""
        self.steps.one(SPARE)
        self._write(0, (SPARE, 1))
        levels = monomials(self._n_features, top)
        for l in range(1, top + 1):
            if l > 1:
                self._sources[l] = EXACT + l, n_monomials(self._n_features, l)
                below, variables, factors = levels[l - 2]
                self.steps.weighted_product(
                    self._sources[l - 1][0], below, INPUT, variables, factors, EXACT + l
                )
            self._write(l, self._sources[l])

    def climb(
        self, parents: dict[int, int], widths: dict[int, int], multiply: Callable[..., None]
    ) -> None:
        """Append the degrees of a ladder as sketches of these widths."""
        for l, parent in parents.items():
            left, right = self._sources[l - parent], self._sources[parent]
            feeds = l in parents.values()
            target = LAST if not feeds else ODD if right[0] == EVEN else EVEN
            multiply(self.steps, self._rng, left, right, target, widths[l])
            # |x^(l)| = 1 is known: without the drift of the norm the next product varies less.
            self.steps.normalise(target)
            if feeds:
                self._sources[l] = target, widths[l]
            self._write(l, (target, widths[l]))

    def _write(self, l: int, source: Factor) -> None:
        """Append the features of all terms of degree l, whose power is in `source`."""
        plan = self._plan
        for c in np.flatnonzero((plan.widths > 0) & (self._degrees == l)):
            width = int(plan.widths[c])
            if plan.exact[c]:
                self.steps.emit(*source, weight=int(c))
            elif l > plan.base:
                self.steps.emit(source[0], width, weight=int(c), unit=True)
            else:
                self._hash(l, source, int(c), width)
                self.steps.emit(SPARE, width, weight=int(c), unit=True)

    def _hash(self, l: int, source: Factor, c: int, width: int) -> None:
        """Append SPARE = a hash of an exact power: the input, or for a further rank of a degree."""
        (buffer, size), rng = source, self._rng
        if l == 1 > self._plan.top and c == np.flatnonzero(self._degrees == 1)[0]:
            linear_steps(self.steps, rng, size, width, self._plan.columns, self._hashes)
        else:
            places, signs = injective_hash(rng, size, width), random_signs(rng, size)
            self.steps.count_sketch(buffer, SPARE, width, places, signs)


def add_zeros(steps: SketchSteps, n: int) -> None:
    """Append n features that are 0: the kernel needs fewer than were asked for."""
    if n > 0:
        steps.gather(INPUT, np.zeros(n, np.int32), 0.0, SPARE)
        steps.emit(SPARE, n, 0.0)


def linear_steps(
    steps: SketchSteps,
    rng: np.random.RandomState,
    size: int,
    width: int,
    n_own: int,
    hashes: Hashes | None,
) -> None:
    """Append SPARE = a sketch of the input, with a feature for each of `n_own` columns.

    If no column has one, a Hadamard transform mixes all: none is lost to another alone.
    """
    mixed = min(next_power_of_two(size), next_power_of_two(max(width, MIN_SKETCH)))
    buckets = width if n_own > 0 else mixed
    if hashes is None or size <= buckets:
        places = injective_hash(rng, size, buckets)
    else:
        places = hashes(rng, n_own, buckets)
    target = SPARE if n_own > 0 else LEAF
    steps.count_sketch(INPUT, target, buckets, places, random_signs(rng, size))
    if n_own == 0:
        steps.hadamard(LEAF)
        steps.gather(LEAF, balanced_sample(rng, buckets, width), 1.0, SPARE)
