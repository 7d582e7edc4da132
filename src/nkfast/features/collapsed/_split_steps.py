"""The steps of a sketch whose powers are split between leading directions and the others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from math import comb

import numpy as np

from nkfast.features._monomials import monomials, n_monomials
from nkfast.sketch._program import (
    INPUT,
    LAST,
    SPARE,
    Factor,
    SketchSteps,
    multiplier,
    next_power_of_two,
)

from ._allocation import MIN_SKETCH
from ._polynomial import add_zeros
from ._split import Split

_ONE, _FIRST = 1, 8  # buffers of a constant, and from which on they are free for powers


class _Powers:
    """The powers of the rows' part in a block of directions."""

    def __init__(self, n: int, buffer: int, top: int) -> None:
        """Set up degrees 1..top of n directions, exactly, in buffers from `buffer` on."""
        self.n = n
        self.first = buffer
        self.top = top
        self.sources: dict[int, Factor] = {0: (_ONE, 1)}
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
    powers = _SplitPowers(split, rng, multiplier(sketch))
    parts: dict[tuple[int, int], list[int]] = defaultdict(list)
    for p, (i, j) in enumerate(zip(split.leading, split.others, strict=True)):
        parts[int(i), int(j)].append(p)
    powers.climb()
    for (i, j), some in parts.items():
        exact = [p for p in some if split.exact[p]]
        sketched = [p for p in some if not split.exact[p]]
        if exact:
            powers.write_exact(i, j, exact)
        if sketched:
            powers.write_sketched(i, j, sketched)
    add_zeros(powers.steps, n_components - int(split.widths.sum()))
    return powers.steps


class _SplitPowers:
    """Records the powers of both blocks, and what each part takes of their products."""

    def __init__(
        self, split: Split, rng: np.random.RandomState, multiply: Callable[..., None]
    ) -> None:
        """Append the exact powers."""
        k, d = split.n_leading, len(split.axes)
        self.steps = SketchSteps()
        self._split = split
        self._rng = rng
        self._multiply = multiply
        self._ladders = split.ladders()
        tops = [top for _, _, top in self._ladders]
        self._a = _Powers(k, _FIRST, tops[0])
        self._b = _Powers(d - k, _FIRST + tops[0], tops[1])
        self._free = _FIRST + sum(tops)  # the next buffer
        self.steps.one(_ONE)
        self.steps.linear(INPUT, split.axes[:k].ravel(), self._a.first)
        self.steps.linear(INPUT, split.axes[k:].ravel(), self._b.first)
        self._a.add_exact(self.steps)
        self._b.add_exact(self.steps)

    def climb(self) -> None:
        """Append the powers that are sketched, a ladder for each block."""
        for block, (parents, widths, _) in zip((self._a, self._b), self._ladders, strict=True):
            for l, parent in parents.items():
                left, right = block.sources[l - parent], block.sources[parent]
                self._multiply(self.steps, self._rng, left, right, self._free, widths[l])
                self.steps.normalise(self._free)
                block.sources[l] = self._free, widths[l]
                block.sketched.add(l)
                self._free += 1

    def write_exact(self, i: int, j: int, parts: list[int]) -> None:
        """Append parts that are all products of a monomial of degree i and one of degree j."""
        left, right = self._a.sources[i], self._b.sources[j]
        source, scale = left if j == 0 else right, 1.0
        if i > 0 and j > 0:
            source, scale = (SPARE, left[1] * right[1]), _root(i, j)
            pairs = (
                np.repeat(np.arange(left[1]), right[1]).astype(np.int32),
                np.tile(np.arange(right[1]), left[1]).astype(np.int32),
            )
            self.steps.product(left[0], pairs[0], right[0], pairs[1], 1.0, SPARE)
        for p in parts:
            self.steps.emit(*source, scale, int(self._split.terms[p]))

    def write_sketched(self, i: int, j: int, parts: list[int]) -> None:
        """Append parts of one sketch of S_i(a) x S_j(b), as wide as the widest of them."""
        left, right = self._a.sources[i], self._b.sources[j]
        if j == 0 and i in self._a.sketched:
            buffer = left[0]
        elif i == 0 and j in self._b.sketched:
            buffer = right[0]
        else:
            buffer = LAST
            width = next_power_of_two(max(MIN_SKETCH, int(self._split.widths[parts].max())))
            self._multiply(self.steps, self._rng, left, right, buffer, width)
        for p in parts:
            size, term = int(self._split.widths[p]), int(self._split.terms[p])
            self.steps.emit_part(
                buffer, size, _root(i, j), term, self._a.first, i, self._b.first, j
            )


def _root(i: int, j: int) -> float:
    """Return the square root of the binomial coefficient of a part."""
    return float(np.sqrt(comb(i + j, j)))
