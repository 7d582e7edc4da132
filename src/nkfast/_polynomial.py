"""The steps that turn rows into sketched polynomial features: a list for `_core.Program`."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import _core
from .allocation import Allocation, n_monomials

Steps: TypeAlias = list[tuple[Any, ...]]
Ints: TypeAlias = NDArray[np.int32]

# Buffers of the program. Degrees go back and forth between the first two.
_INPUT, _EVEN, _ODD, _LEFT, _LEAF, _SPARE = range(6)
_MIN_WIDTH = 32  # of the chain


def build_program(n_features: int, steps: Steps) -> _core.Program:
    """Return the program of a list of steps (method, arguments...), as a fitted map keeps it."""
    program = _core.Program(n_features)
    for method, *arguments in steps:
        getattr(program, method)(*arguments)
    return program


def next_power_of_two(n: int) -> int:
    """Return the least power of two that is at least `n` (1 for n = 0)."""
    return 1 << max(n - 1, 0).bit_length()


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


def monomials(n_features: int, degree: int) -> list[tuple[Ints, Ints, NDArray[np.float64]]]:
    """Return, for degrees 2..degree, how each monomial comes from one of the degree below.

    Monomial t of degree l is factors[t] * (monomial parents[t] of degree l - 1) *
    x[variables[t]]; with these factors the monomials' inner product is <x, y>^l.
    """
    last = np.arange(n_features)
    run = np.ones(n_features, np.int64)  # how often the last variable occurs
    levels = []
    for l in range(2, degree + 1):
        count = n_features - last
        parents = np.repeat(np.arange(len(last)), count)
        first = np.cumsum(count) - count
        variables = np.arange(len(parents)) - first[parents] + last[parents]
        run = np.where(variables == last[parents], run[parents] + 1, 1)
        last = variables
        factors = np.sqrt(l / run)
        levels.append((parents.astype(np.int32), variables.astype(np.int32), factors))
    return levels


def polynomial_steps(
    degrees: NDArray[np.int64],
    plan: Allocation,
    n_features: int,
    n_components: int,
    rng: np.random.RandomState,
    sketch: str = "tensorsrht",
) -> Steps:
    """Return the steps of a map whose part for term c has plan.widths[c] columns and weight c.

    Degrees 0..L0 come as monomials. From there the chain S_{l+1} = T(S_l, x) goes on, T a sketch of
    the tensor product, by name: see `_tensor_srht` and `_tensor_sketch`. For CSR rows each degree
    costs O(nnz + N log N). E <S_l(x), S_l(y)> = <x, y>^l (Ahle et al., SODA 2020, section 4).
    """
    multiply = _tensor_sketch if sketch == "tensorsketch" else _tensor_srht
    steps: Steps = []
    used = np.flatnonzero(plan.widths > 0)
    q = int(degrees[used].max(initial=0))
    sketched = np.where(plan.exact, 0, plan.widths)
    need = np.array([max(sketched[degrees == l], default=0) for l in range(q + 1)])
    # S_l feeds all higher degrees, so it is never narrower than they are.
    widths = [max(next_power_of_two(int(need[l:].max())), _MIN_WIDTH) for l in range(q + 1)]

    def write(l: int, buffer: int, size: int) -> None:
        for c in used[degrees[used] == l]:
            if plan.exact[c]:
                steps.append(("emit", buffer, size, 1.0, int(c), False))
            elif l > plan.top:
                steps.append(("emit", buffer, int(plan.widths[c]), 1.0, int(c), True))
            else:  # a further rank of an exact degree
                m = int(plan.widths[c])
                hashes, signs = injective_hash(rng, size, m), random_signs(rng, size)
                steps.append(("count_sketch", buffer, _SPARE, m, hashes, signs))
                steps.append(("emit", _SPARE, m, 1.0, int(c), True))

    steps.append(("one", _SPARE))
    write(0, _SPARE, 1)
    state, size = _INPUT, n_features
    levels = monomials(n_features, min(plan.top, q))
    for l in range(1, q + 1):
        target = _EVEN if l % 2 == 0 else _ODD
        if l <= plan.top:
            if l > 1:
                parents, variables, factors = levels[l - 2]
                steps.append(
                    ("weighted_product", state, parents, _INPUT, variables, factors, target)
                )
                state, size = target, n_monomials(n_features, l)
        else:
            width = widths[l]
            left = None if l == 1 else (state, size)
            multiply(steps, rng, left, n_features, target, width)
            # |x^(l)| = 1 is known: without the drift of the norm the next product varies less.
            steps.append(("normalise", target))
            state, size = target, width
        write(l, state, size)
    spare = n_components - int(plan.widths.sum())
    if spare > 0:  # the kernel needs fewer features than were asked for
        steps.append(("gather", _INPUT, np.zeros(spare, np.int32), 0.0, _SPARE))
        steps.append(("emit", _SPARE, spare, 0.0, -1, False))
    return steps


def _tensor_srht(
    steps: Steps,
    rng: np.random.RandomState,
    left: tuple[int, int] | None,
    n_features: int,
    target: int,
    width: int,
) -> None:
    """Append target = T(s, x) for the state s (buffer, size), or T(x) if there is none.

    T(s, x)_t = (H D s)_{i_t} (H D' P x)_{j_t} / sqrt(N) with fresh signs D, D', fresh samples i, j
    and, where x does not fit, a fresh CountSketch P.
    """
    leaf = hadamard_leaf(steps, rng, _INPUT, n_features, _LEAF, width)
    if left is None:
        take = balanced_sample(rng, leaf, width)
        steps.append(("gather", _LEAF, take, 1 / np.sqrt(width), target))
        return
    buckets = hadamard_leaf(steps, rng, *left, _LEFT, width)
    i = balanced_sample(rng, buckets, width)
    j = balanced_sample(rng, leaf, width)
    steps.append(("product", _LEFT, i, _LEAF, j, 1 / np.sqrt(width), target))


def _tensor_sketch(
    steps: Steps,
    rng: np.random.RandomState,
    left: tuple[int, int] | None,
    n_features: int,
    target: int,
    width: int,
) -> None:
    """Append target = the spectrum of the TensorSketch of s (x) x, or of x if there is no s.

    The product of the Fourier transforms of fresh CountSketches (Pham & Pagh, KDD 2013), left as
    it is: the transform is orthogonal up to a factor. Of each conjugate pair one number is kept, as
    a real and an imaginary part; each part alone is unbiased, too, up to a factor. So any first
    entries will do, and that the two real numbers of the spectrum stand for one and not for two
    changes the variance by O(1 / N) only.
    """
    factors = [(_INPUT, n_features, target if left is None else _LEAF)]
    if left is not None:
        factors.append((*left, target))
    for src, size, dst in factors:
        hashes = injective_hash(rng, size, width)
        steps.append(("count_sketch", src, dst, width, hashes, random_signs(rng, size)))
        steps.append(("fourier", dst))
    if left is not None:
        steps.append(("multiply_spectra", target, _LEAF))


def hadamard_leaf(
    steps: Steps, rng: np.random.RandomState, src: int, size: int, dst: int, width: int
) -> int:
    """Append dst = H D P src, P into at most `width` buckets; return the number of buckets."""
    buckets = min(next_power_of_two(size), width)
    hashes = injective_hash(rng, size, buckets)
    steps.append(("count_sketch", src, dst, buckets, hashes, random_signs(rng, size)))
    steps.append(("hadamard", dst))
    return buckets
