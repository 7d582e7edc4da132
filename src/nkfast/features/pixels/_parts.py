"""Pieces of a `PixelPlan`: how the features of pixels are summed up, hashed and multiplied."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb, frexp, hypot, ldexp, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nkfast.features._monomials import monomials
from nkfast.layers import Window
from nkfast.sketch._program import balanced_sample, next_power_of_two, random_signs

from ._records import (
    Hash,
    Ints,
    Monomials,
    PixelChannel,
    PixelLook,
    PixelPart,
    PixelPower,
    TensorProduct,
)

MOST_DEGREE = 16
NOTHING = -(1 << 30)  # below all exponents
_LEAST = -60  # exponent of what is typically zero, but need not always be
_NEAR = 32  # places between shifts of vectors that are read together
MOST_SHIFTS = 64  # of a sum
MOST_SIDE = 512  # features that are laid side by side: of exact parts, of an exact power


@dataclass
class Vectors:
    """Features (c, v) of one kernel: their field, or the channel that will make them.

    `blocks` are the sizes of the parts of v, the first the one with most energy; `exact` says that
    nothing is sketched yet, `signed` that every feature has a random sign of its own. `c` and
    `energy` are typical values of the scalar and of |v|^2 in units of 2^exponent and 4^exponent,
    near 1, so that images and weights may be of any size.
    """

    blocks: tuple[int, ...]
    exact: bool
    c: float
    energy: float
    exponent: int = 0
    field: int = -1
    channel: PixelChannel | None = None
    signed: bool = False

    @property
    def n(self) -> int:
        return sum(self.blocks)


def mix(
    rng: np.random.RandomState,
    sources: list[Vectors],
    taps: list[PixelLook],
    scale: float,
    constant: float,
    width: int,
) -> Vectors:
    """Return the channel of all sources at all taps, each times `scale`, and a constant.

    `width`: its features, if the parts do not fit side by side.
    """
    parts = [(v, tap) for v in sources for tap in taps]
    sizes = [binary_exponent(constant)]
    for v in sources:
        size = max(binary_exponent(sqrt(len(taps)) * hypot(v.c, sqrt(v.energy))), _LEAST)
        sizes.append(v.exponent + binary_exponent(scale) + size)
    exponent = max(sizes) if max(sizes) > NOTHING // 2 else 0
    scales = [ldexp(scale, v.exponent - exponent) for v, _ in parts]
    constant = ldexp(constant, -exponent)
    scalars = np.array([v.c * s for (v, _), s in zip(parts, scales, strict=True)] + [constant])
    norm = float(np.linalg.norm(scalars))
    directions = scalars / norm if norm > 0 else np.zeros(len(scalars))
    rests = 0 if np.count_nonzero(scalars) < 2 else 1  # entries for the rest of a scalar
    total = sum(v.n + rests for v, _ in parts) + rests
    exact = all(v.exact for v, _ in parts) and total <= min(width, MOST_SIDE)
    # The block with most energy stays exact where there is room for it.
    side = sum(v.blocks[0] if len(v.blocks) > 1 else 0 for v, _ in parts)
    side = total if exact else side if 2 * side <= width else 0
    n = total if exact else width
    listed = []
    start = 0
    shifts = Shifts(rng, n - side)
    for (v, tap), factor, direction in zip(parts, scales, directions, strict=False):
        signs = random_signs(rng, v.n + 1)
        if exact:
            to = start + np.arange(v.n + 1) if rests else np.append(start + np.arange(v.n), 0)
            start += v.n + rests
        else:
            first = v.blocks[0] if side and len(v.blocks) > 1 else 0
            rest: NDArray[Any]
            if v.signed and len(parts) <= MOST_SHIFTS:
                rest = shifts.places(v.n + 1 - first, (v.field, tap.row_offset))
                signs[:-1] = 1
            else:
                rest = balanced_sample(rng, n - side, v.n + 1 - first)
            to = np.concatenate([start + np.arange(first), rest + side])
            start += first
        hashed = Hash(to.astype(np.int32), signs)
        listed.append(PixelPart(v.field, tap, factor, float(direction), hashed))
    last = n - 1 if exact else int(rng.randint(side, n))
    hashed = Hash(np.array([last], np.int32), random_signs(rng, 1))
    channel = PixelChannel(n, listed, constant, float(directions[-1]), hashed)
    energy = sum(v.energy * s**2 for (v, _), s in zip(parts, scales, strict=True))
    return Vectors((n,), exact, norm, energy, exponent, channel=channel)


class Shifts:
    """Places of many vectors in a sum: shifts around a ring of n places.

    Of vectors whose features have random signs, the product with one that is shifted is noise of
    the size that any other hash gives; and noise that is independent of that of all other pairs of
    vectors, as long as no two pairs are the same distance apart. Such sums read memory in order.
    """

    def __init__(self, rng: np.random.RandomState, n: int) -> None:
        self.rng = rng
        self.n = n
        self.taken: list[int] = []
        self.distances: set[int] = set()
        self.starts: dict[Any, int] = {}

    def places(self, size: int, group: Any) -> NDArray[np.int64]:
        """Return the places of a vector; vectors of a group are read together: they stay near."""
        found = []
        for turn, first in enumerate(range(0, size, self.n)):
            start = self.starts.setdefault((group, turn), int(self.rng.randint(self.n)))
            shift = self._shift(start)
            found.append((np.arange(min(self.n, size - first)) + shift) % self.n)
        return np.concatenate(found)

    def _shift(self, start: int) -> int:
        """Return a shift that makes no distance twice, or as few as some draws find."""
        best: tuple[int, int, set[int]] | None = None
        for _ in range(16):
            shift = (start + int(self.rng.randint(_NEAR))) % self.n
            new = {(shift - other) % self.n for other in self.taken}
            new |= {-d % self.n for d in new}
            again = len(new & self.distances) + (len(self.taken) if shift in self.taken else 0)
            if best is None or again < best[0]:
                best = again, shift, new
            if again == 0:
                break
        assert best is not None
        self.taken.append(best[1])
        self.distances |= best[2]
        return best[1]


def with_units(parts: list[Vectors]) -> Vectors:
    """Return the features of a sum of kernels, in their own unit; blocks are those of the first."""
    exponent = max(
        v.exponent + max(binary_exponent(hypot(v.c, sqrt(v.energy))), _LEAST) for v in parts
    )
    shifts = [v.exponent - exponent for v in parts]
    c = hypot(*(ldexp(v.c, shift) for v, shift in zip(parts, shifts, strict=True)))
    energy = sum(ldexp(v.energy, 2 * shift) for v, shift in zip(parts, shifts, strict=True))
    return Vectors(parts[0].blocks, False, c, energy, exponent)


def binary_exponent(x: float) -> int:
    """Return e with 2^(e - 1) <= x < 2^e, or `NOTHING` for 0."""
    return frexp(x)[1] if x > 0 else NOTHING


def powers(
    rng: np.random.RandomState, phi: Vectors, width: int, degree: int
) -> tuple[list[PixelPower], list[int], bool]:
    """Return the powers 2..degree, the sizes of all, and whether the first are exact."""
    sizes = [phi.n]
    steps: list[PixelPower] = []
    top = 1
    if phi.exact:
        degree = min(2 * degree, MOST_DEGREE)  # cheap, and all that follows rests on it
        while top < degree and comb(phi.n + top, top + 1) <= MOST_SIDE:
            top += 1
    for l, (below, variables, factors) in enumerate(monomials(phi.n, top), 2):
        steps.append(PixelPower(l - 2, 0, Monomials(below, variables, factors)))
        sizes.append(len(below))
    exact = phi.exact
    size = max(width // 4, 32) if exact else width
    leaves: dict[int, Leaf] = {}
    for l in range(top + 1, degree + 1):
        parent = max(top * ((l - 1) // top), 1) if top > 1 else l - 1
        pair = parent - 1, l - parent - 1
        if pair[1] not in leaves:  # each transformed once: what it meets is hashed anew
            leaves[pair[1]] = leaf(rng, sizes[pair[1]], size)
        sketched = product(rng, sizes[pair[0]], sizes[pair[1]], size, leaves[pair[1]])
        steps.append(PixelPower(*pair, sketched))
        sizes.append(size)
    return steps, sizes, exact


@dataclass(frozen=True)
class Leaf:
    """A vector's hash into a power of two, to be transformed, and the entries that are taken."""

    length: int
    hashed: Hash
    take: Ints


def leaf(rng: np.random.RandomState, n: int, width: int) -> Leaf:
    """Return a leaf for n features, in their transform's order where all of it is taken."""
    length = next_power_of_two(n)
    hashed = Hash(balanced_sample(rng, length, n), random_signs(rng, n))
    in_order = length == width
    take = np.arange(width, dtype=np.int32) if in_order else balanced_sample(rng, length, width)
    return Leaf(length, hashed, take)


def product(
    rng: np.random.RandomState, n_a: int, n_b: int, width: int, b: Leaf | None = None
) -> TensorProduct:
    """Return a sketch of the tensor product of vectors of these sizes, b with a given leaf."""
    a = leaf(rng, n_a, width)
    b = b or leaf(rng, n_b, width)
    return TensorProduct(
        n=width,
        length_a=a.length,
        length_b=b.length,
        hash_a=a.hashed,
        hash_b=b.hashed,
        take_a=a.take,
        take_b=b.take,
    )


def shifted(rng: np.random.RandomState, width: int, sizes: list[int]) -> list[Hash]:
    """Return hashes of vectors into one sum, by shifts and with the sum's own signs.

    For vectors without a product with each other in the mean, whatever the signs.
    """
    signs = random_signs(rng, width)
    hashes = []
    for size in sizes:
        to = (np.arange(size) + rng.randint(width)) % width
        hashes.append(Hash(to.astype(np.int32), signs[to]))
    return hashes


def taps_of(windows: tuple[Window, Window], circular: bool) -> list[PixelLook]:
    """Return which pixel each tap of a filter sees."""
    rows, cols = windows
    return [
        PixelLook(rows.stride, i - rows.before, cols.stride, j - cols.before, circular)
        for i in range(rows.taps)
        for j in range(cols.taps)
    ]


def typical(parts: NDArray[np.float64]) -> tuple[float, float]:
    """Return the scalar and the energy of the rest."""
    return float(np.sqrt(max(parts[0], 0.0))), float(max(parts[1] - parts[0], 0.0))
