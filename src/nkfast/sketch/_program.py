"""Sketches as steps for the core: random draws, the steps of tensor products, compiled programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nkfast._core import Program

Steps: TypeAlias = list[tuple[Any, ...]]
Ints: TypeAlias = NDArray[np.int32]
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


def build_program(n_features: int, steps: Steps) -> Program:
    """Return the program of a list of steps (method, arguments...), as a fitted map keeps it."""
    program = Program(n_features)
    for method, *arguments in steps:
        getattr(program, method)(*arguments)
    return program


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
    steps: Steps, rng: np.random.RandomState, left: Factor, right: Factor, target: int, width: int
) -> None:
    """Append target = T(s, p) for two factors.

    T(s, p)_t = (H D C s)_{i_t} (H D' C' p)_{j_t} / sqrt(N) with fresh signs D, D', fresh samples
    i, j and, where s or p do not fit, fresh CountSketches C, C'.
    """
    taken = []
    for (src, size), dst in ((left, LEAF), (right, LEFT)):
        buckets = hadamard_leaf(steps, rng, src, size, dst, width)
        taken += [dst, balanced_sample(rng, buckets, width)]
    steps.append(("product", *taken, 1 / np.sqrt(width), target))


def _tensor_sketch(
    steps: Steps, rng: np.random.RandomState, left: Factor, right: Factor, target: int, width: int
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
        steps.append(("count_sketch", src, dst, width, hashes, random_signs(rng, size)))
        steps.append(("fourier", dst))
    steps.append(("multiply_spectra", target, LEAF))


def hadamard_leaf(
    steps: Steps, rng: np.random.RandomState, src: int, size: int, dst: int, width: int
) -> int:
    """Append dst = H D P src, P into at most `width` buckets; return the number of buckets."""
    buckets = min(next_power_of_two(size), width)
    hashes = injective_hash(rng, size, buckets)
    steps.append(("count_sketch", src, dst, buckets, hashes, random_signs(rng, size)))
    steps.append(("hadamard", dst))
    return buckets
