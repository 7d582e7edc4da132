"""The steps of a sketch whose powers are split between leading directions and the others."""

from __future__ import annotations

from collections import defaultdict
from math import comb

import numpy as np

from nkfast.features._monomials import monomials, n_monomials
from nkfast.sketch._program import INPUT, LAST, SPARE, SketchSteps, multiplier, next_power_of_two

from ._allocation import MIN_SKETCH
from ._polynomial import add_zeros
from ._split import Split

_ONE, _FIRST = 1, 8  # buffers of a constant, and from which on they are free for powers
Source = tuple[int, int]  # a buffer and its number of features


class _Powers:
    """The powers of the rows' part in a block of directions."""

    def __init__(self, n: int, buffer: int, top: int) -> None:
        """Set up degrees 1..top of n directions, exactly, in buffers from `buffer` on."""
        self.n = n
        self.first = buffer
        self.top = top
        self.sources: dict[int, Source] = {0: (_ONE, 1)}
        for l in range(1, self.top + 1):
            self.sources[l] = (buffer + l - 1, n_monomials(n, l))
        self.sketched: set[int] = set()

    def add_exact(self, steps: SketchSteps) -> None:
        """Append the steps of all degrees from 2 on."""
        for l, (parents, variables, factors) in enumerate(monomials(self.n, self.top), 2):
            below, target = self.sources[l - 1][0], self.sources[l][0]
            steps.weighted_product(below, parents, self.first, variables, factors, target)


def split_steps(
    split: Split,
    n_components: int,
    rng: np.random.RandomState,
    sketch: str = "tensorsrht",
) -> SketchSteps:
    """Return the steps of a map whose part p has split.widths[p] columns.

    Exact parts are products of the monomials of both blocks of directions. A sketched part is
    T(S_i(a), S_j(b)), T a sketch of tensor products; a power S that is not exact climbs a `ladder`
    of its own. The norms of both factors are known: sketches are of unit length, and multiplied by
    |a|^i |b|^j in the end.
    """
    k, d = split.n_leading, len(split.axes)
    multiply = multiplier(sketch)
    ladders = split.ladders()
    a = _Powers(k, _FIRST, ladders[0][2])
    b = _Powers(d - k, _FIRST + a.top, ladders[1][2])
    steps = SketchSteps()
    steps.one(_ONE)
    steps.linear(INPUT, split.axes[:k].ravel(), a.first)
    steps.linear(INPUT, split.axes[k:].ravel(), b.first)
    a.add_exact(steps)
    b.add_exact(steps)
    parts: dict[tuple[int, int], list[int]] = defaultdict(list)
    for p, which in enumerate(zip(split.leading, split.others, strict=True)):
        parts[int(which[0]), int(which[1])].append(p)
    wanted = {
        which: next_power_of_two(max(MIN_SKETCH, int(split.widths[sketched].max())))
        for which, some in parts.items()
        if len(sketched := [p for p in some if not split.exact[p]])
    }
    free = _FIRST + a.top + b.top
    for block, (parents, needed, _) in zip((a, b), ladders, strict=True):
        for l, parent in parents.items():
            left, right = block.sources[l - parent], block.sources[parent]
            multiply(steps, rng, left, right, free, needed[l])
            steps.normalise(free)
            block.sources[l] = (free, needed[l])
            block.sketched.add(l)
            free += 1
    for (i, j), some in parts.items():
        root = float(np.sqrt(comb(i + j, j)))
        left, right = a.sources[i], b.sources[j]
        exact = [p for p in some if split.exact[p]]
        if exact:
            source, scale = left if j == 0 else right, 1.0
            if i > 0 and j > 0:
                source, scale = (SPARE, left[1] * right[1]), root
                pairs = (
                    np.repeat(np.arange(left[1]), right[1]).astype(np.int32),
                    np.tile(np.arange(right[1]), left[1]).astype(np.int32),
                )
                steps.product(left[0], pairs[0], right[0], pairs[1], 1.0, SPARE)
            for p in exact:
                steps.emit(*source, scale, int(split.terms[p]))
        if len(exact) == len(some):
            continue
        if j == 0 and i in a.sketched:
            buffer = left[0]
        elif i == 0 and j in b.sketched:
            buffer = right[0]
        else:
            buffer = LAST
            multiply(steps, rng, left, right, buffer, wanted[i, j])
        for p in some:
            if not split.exact[p]:
                size, term = int(split.widths[p]), int(split.terms[p])
                steps.emit_part(buffer, size, root, term, a.first, i, b.first, j)
    add_zeros(steps, n_components - int(split.widths.sum()))
    return steps
