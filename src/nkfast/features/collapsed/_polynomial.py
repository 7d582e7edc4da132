"""The steps that turn rows into sketched polynomial features: for the core."""

from __future__ import annotations

from collections.abc import Callable

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
    Ints,
    SketchSteps,
    balanced_sample,
    injective_hash,
    multiplier,
    next_power_of_two,
    random_signs,
)

from ._allocation import MIN_SKETCH, Allocation, ladder, sketch_widths


def polynomial_steps(
    degrees: NDArray[np.int64],
    plan: Allocation,
    n_features: int,
    n_components: int,
    rng: np.random.RandomState,
    sketch: str = "tensorsrht",
    hashes: Callable[[np.random.RandomState, int, int], Ints] | None = None,
) -> SketchSteps:
    """Return the steps of a map whose part for term c has plan.widths[c] columns and weight c.

    Degrees 0..L0 come as monomials P_l. Degree 1, where it does not fit, is the input, hashed by
    `hashes(rng, plan.columns, width)`. The others climb a `ladder`, S_(a+k) = T(S_a, P_k), T a
    sketch of the tensor product, by name: see `_tensor_srht` and `_tensor_sketch`; S_1 is the input
    itself. From CSR rows each degree then costs O(nnz + N log N). E <S_l(x), S_l(y)> = <x, y>^l
    (Ahle et al., SODA 2020, section 4).
    """
    multiply = multiplier(sketch)
    steps = SketchSteps()
    used = np.flatnonzero(plan.widths > 0)
    q = int(degrees[used].max(initial=0))
    top = plan.base
    sketched = np.where(plan.exact, 0, plan.widths)
    parents = ladder(top, (int(l) for l in np.unique(degrees[sketched > 0])))
    widths = sketch_widths(parents, degrees, sketched, n_components)

    def write(l: int, buffer: int, size: int) -> None:
        for c in used[degrees[used] == l]:
            if plan.exact[c]:
                steps.emit(buffer, size, weight=int(c))
            elif l > top:
                steps.emit(buffer, int(plan.widths[c]), weight=int(c), unit=True)
            else:  # the input, or a further rank of an exact degree
                m = int(plan.widths[c])
                if l == 1 > plan.top and c == np.flatnonzero(degrees == 1)[0]:
                    linear_steps(steps, rng, size, m, plan.columns, hashes)
                else:
                    places, signs = injective_hash(rng, size, m), random_signs(rng, size)
                    steps.count_sketch(buffer, SPARE, m, places, signs)
                steps.emit(SPARE, m, weight=int(c), unit=True)

    steps.one(SPARE)
    write(0, SPARE, 1)
    buffers = {1: INPUT}  # where each degree is that will be needed
    levels = monomials(n_features, min(top, q))
    for l in range(1, min(top, q) + 1):
        if l > 1:
            buffers[l] = EXACT + l
            below, variables, factors = levels[l - 2]
            steps.weighted_product(buffers[l - 1], below, INPUT, variables, factors, buffers[l])
        write(l, buffers[l], n_monomials(n_features, l))
    sizes = {l: n_monomials(n_features, l) for l in range(1, top + 1)} | widths
    for l, parent in parents.items():
        width = widths[l]
        feeds = l in parents.values()
        target = LAST if not feeds else ODD if buffers.get(parent) == EVEN else EVEN
        k = l - parent
        left, right = (buffers[k], n_monomials(n_features, k)), (buffers[parent], sizes[parent])
        multiply(steps, rng, left, right, target, width)
        # |x^(l)| = 1 is known: without the drift of the norm the next product varies less.
        steps.normalise(target)
        if feeds:
            buffers[l] = target
        write(l, target, width)
    add_zeros(steps, n_components - int(plan.widths.sum()))
    return steps


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
    hashes: Callable[[np.random.RandomState, int, int], Ints] | None,
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
