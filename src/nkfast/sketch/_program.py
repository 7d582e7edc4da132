"""Sketches as steps for the core: random draws, the steps of tensor products, compiled programs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nkfast._core import SketchBuilder, SketchProgram

Ints: TypeAlias = NDArray[np.int32]
Signs: TypeAlias = NDArray[np.int8] | NDArray[np.float64]
Reals: TypeAlias = NDArray[np.float64]
Factor: TypeAlias = tuple[int, int]  # a buffer and its number of features

# Buffers of the program. Degrees that feed others go back and forth between EVEN and ODD; exact
# degree l is kept in buffer EXACT + l.
INPUT, EVEN, ODD, LAST, LEFT, LEAF, SPARE, EXACT = range(8)


class Compiled:
    """Keeps what the core compiles from fitted attributes out of pickles.

    Subclasses keep such objects in attributes whose names begin with `_compiled`, and make them
    anew where they are missing.
    """

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()  # type: ignore[assignment]
        return {name: value for name, value in state.items() if not name.startswith("_compiled")}


def next_power_of_two(n: int) -> int:
    """Return the least power of two that is at least `n` (1 for n = 0)."""
    return 1 << max(n - 1, 0).bit_length()


class Step(NamedTuple):
    """A call of a method of the core's `SketchBuilder`."""

    method: str
    arguments: tuple[Any, ...]


class SketchSteps(Sequence[Step]):
    """The steps of a sketch: what the core's `SketchBuilder` is told, and a program of it.

    Steps work on numbered buffers of features, 0 being the input, and end with those that write
    features out. The core checks them when it makes a program; until then they are Python data,
    as a fitted map keeps and pickles them.
    """

    def __init__(self, steps: Iterable[Step] = ()) -> None:
        self._steps = list(steps)

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[Step]:
        return iter(self._steps)

    def __getitem__(self, index: Any) -> Any:
        """Return a step, or steps as `SketchSteps`."""
        found = self._steps[index]
        return SketchSteps(found) if isinstance(index, slice) else found

    def extend(self, steps: Iterable[Step]) -> None:
        """Append other steps."""
        self._steps.extend(steps)

    def compile(self, n_features: int) -> SketchProgram:
        """Return the program of these steps for rows of so many features."""
        builder = SketchBuilder(n_features)
        for method, arguments in self:
            getattr(builder, method)(*arguments)
        return builder.finish()

    def _add(self, method: str, *arguments: Any) -> None:
        self._steps.append(Step(method, arguments))

    def count_sketch(self, src: int, dst: int, width: int, hashes: Ints, signs: Signs) -> None:
        """Set dst, of `width` features, to the sum of signs[j] src[j] at hashes[j]."""
        self._add("count_sketch", src, dst, width, hashes, signs)

    def add_constant(self, buffer: int, index: int, value: float) -> None:
        """Add `value` to buffer[index]."""
        self._add("add_constant", buffer, index, value)

    def hadamard(self, buffer: int) -> None:
        """Take the Walsh-Hadamard transform, entries +-1."""
        self._add("hadamard", buffer)

    def fourier(self, buffer: int) -> None:
        """Take the real Fourier transform, in the core's order."""
        self._add("fourier", buffer)

    def inverse_fourier(self, buffer: int) -> None:
        """Take the inverse of `fourier`, times the number of features."""
        self._add("inverse_fourier", buffer)

    def multiply_spectra(self, dst: int, src: int) -> None:
        """Multiply the spectrum dst by src."""
        self._add("multiply_spectra", dst, src)

    def product(self, a: int, i: Ints, b: int, j: Ints, scale: float, dst: int) -> None:
        """Set dst[t] to a[i[t]] b[j[t]] scale."""
        self._add("product", a, i, b, j, scale, dst)

    def weighted_product(self, a: int, i: Ints, b: int, j: Ints, factors: Reals, dst: int) -> None:
        """Set dst[t] to a[i[t]] b[j[t]] factors[t]."""
        self._add("weighted_product", a, i, b, j, factors, dst)

    def gather(self, src: int, i: Ints, scale: float, dst: int) -> None:
        """Set dst[t] to src[i[t]] scale."""
        self._add("gather", src, i, scale, dst)

    def one(self, dst: int) -> None:
        """Set dst to the constant 1."""
        self._add("one", dst)

    def normalise(self, buffer: int) -> None:
        """Divide by the norm, unless that is 0."""
        self._add("normalise", buffer)

    def linear(self, src: int, matrix: Reals, dst: int) -> None:
        """Set dst to matrix src, where `matrix` follows row by row."""
        self._add("linear", src, matrix, dst)

    def recurrence(self, src: int, n: int, a: Reals, b: Reals, c: Reals, dst: int) -> None:
        """Set dst[t] to a[t] x dst[t - 1] - b[t] r^2 dst[t - 2] + c[t].

        x is feature n - 1 of src and r the norm of its first n.
        """
        self._add("recurrence", src, n, a, b, c, dst)

    def emit(
        self, buffer: int, n: int, scale: float = 1.0, weight: int = -1, unit: bool = False
    ) -> None:
        """Write the first n features out, times `scale` and the row's weight of that number.

        No weight if it is negative; `unit`: over the norm.
        """
        self._add("emit", buffer, n, scale, weight, unit)

    def emit_part(
        self,
        buffer: int,
        n: int,
        scale: float,
        weight: int,
        first: int,
        i: int,
        second: int,
        j: int,
    ) -> None:
        """Write the same out over the norm and times |first|^i |second|^j, two other buffers."""
        self._add("emit_part", buffer, n, scale, weight, first, i, second, j)


def random_signs(rng: np.random.RandomState, n: int) -> NDArray[np.int8]:
    """Return n independent signs."""
    return (2 * rng.randint(0, 2, n) - 1).astype(np.int8)


def balanced_sample(rng: np.random.RandomState, n: int, size: int) -> Ints:
    """Return `size` random indices below n that take every index about equally often."""
    rounds = [rng.permutation(n) for _ in range(-(-size // n))]
    return np.concatenate(rounds)[:size].astype(np.int32)


def injective_hash(rng: np.random.RandomState, n: int, width: int) -> Ints:
    """Return a random map of n coordinates into `width` buckets: one to one if they fit."""
    if n <= width:
        return rng.permutation(width)[:n].astype(np.int32)
    return rng.randint(0, width, n).astype(np.int32)


def multiplier(sketch: str) -> Callable[..., None]:
    """Return the function that appends a sketch of tensor products of that name."""
    return _tensor_sketch if sketch == "tensorsketch" else _tensor_srht


def _tensor_srht(
    steps: SketchSteps,
    rng: np.random.RandomState,
    left: Factor,
    right: Factor,
    target: int,
    width: int,
) -> None:
    """Append target = T(s, p) for two factors.

    T(s, p)_t = (H D C s)_{i_t} (H D' C' p)_{j_t} / sqrt(N) with fresh signs D, D', fresh samples
    i, j and, where s or p do not fit, fresh CountSketches C, C'.
    """
    taken = []
    for (src, size), dst in ((left, LEAF), (right, LEFT)):
        buckets = hadamard_leaf(steps, rng, src, size, dst, width)
        taken.append(balanced_sample(rng, buckets, width))
    steps.product(LEAF, taken[0], LEFT, taken[1], 1 / np.sqrt(width), target)


def _tensor_sketch(
    steps: SketchSteps,
    rng: np.random.RandomState,
    left: Factor,
    right: Factor,
    target: int,
    width: int,
) -> None:
    """Append target = the spectrum of the TensorSketch of two factors.

    The product of the Fourier transforms of fresh CountSketches (Pham & Pagh, KDD 2013), left as
    it is: the transform is orthogonal up to a factor. Of each conjugate pair one number is kept, as
    a real and an imaginary part; each part alone is unbiased, too, up to a factor. So any first
    entries will do, and that the two real numbers of the spectrum stand for one and not for two
    changes the variance by O(1 / N) only.
    """
    for (src, size), dst in ((left, target), (right, LEAF)):
        hashes = injective_hash(rng, size, width)
        steps.count_sketch(src, dst, width, hashes, random_signs(rng, size))
        steps.fourier(dst)
    steps.multiply_spectra(target, LEAF)


def hadamard_leaf(
    steps: SketchSteps, rng: np.random.RandomState, src: int, size: int, dst: int, width: int
) -> int:
    """Append dst = H D P src, P into at most `width` buckets; return the number of buckets."""
    buckets = min(next_power_of_two(size), width)
    hashes = injective_hash(rng, size, buckets)
    steps.count_sketch(src, dst, buckets, hashes, random_signs(rng, size))
    steps.hadamard(dst)
    return buckets
