"""The plain construction of NTK features for points of unit norm: the rival in accuracy.

Han et al., "Fast Neural Kernel Embeddings for General Activations", NeurIPS 2022: on the sphere the
NTK of a network is one function of the cosine, K(x, y) = sum_l c_l <x, y>^l, so its features are

    concat_l sqrt(c_l) S_l(x^(l)),    l = 0..q,

compressed by one SRHT to the output width. S_l is a binary tree of degree-2 sketches (Ahle et al.,
SODA 2020), here all as wide as the output. No width is chosen by degree.

Where there is a choice, the rival gets the better one. Degrees 0 and 1 enter the SRHT as they are,
and each degree has a tree of its own: with one tree of degree q for all, on x^(l) (x) e_1^(q - l),
the errors on digits are twice as large. The mass of the degrees above q is left out: adding it to
degree q makes the errors on digits larger by 5 to 10 %.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import nkfast as nk
from nkfast.expansion import radial_coefficients

Rows = NDArray[np.float64]

_DEGREE = 8
_BLOCK = 64  # rows at a time, for the sake of memory


def coefficients(net: nk.Sequential, n_features: int, degree: int) -> Rows:
    """Return the Taylor coefficients c_0..c_degree of a network's NTK on the unit sphere."""
    one = np.ones(1)
    c: Rows = radial_coefficients(net, one, one, n_features, degree, "ntk")[:, 0, 0]
    return np.maximum(c, 0)  # zeros come with rounding errors


class Transform:
    """x -> (P H D x): signs, the Walsh-Hadamard matrix (entries +-1), sampled entries."""

    def __init__(self, rng: np.random.Generator, d: int, m: int) -> None:
        self.length = 1 << (d - 1).bit_length()
        self.signs = rng.choice([-1.0, 1.0], d)
        self.samples = rng.integers(0, self.length, m)

    def __call__(self, x: Rows) -> Rows:
        padded = np.zeros((len(x), self.length))
        padded[:, : x.shape[1]] = x * self.signs
        sampled: Rows = nk.fwht(padded)[:, self.samples]
        return sampled


class TensorSRHT:
    """T(x, y) = (P1 H D1 x) o (P2 H D2 y) / sqrt(m): a sketch of the tensor product of x and y."""

    def __init__(self, rng: np.random.Generator, sizes: list[int], m: int) -> None:
        self.left, self.right = (Transform(rng, size, m) for size in sizes)
        self.scale = m**-0.5

    def __call__(self, x: Rows, y: Rows) -> Rows:
        product: Rows = self.left(x) * self.right(y) * self.scale
        return product


class Power:
    """A sketch of x^(l): a binary tree of TensorSRHTs, each half of the factors with its own."""

    def __init__(self, rng: np.random.Generator, degree: int, d: int, m: int) -> None:
        self.parts: list[Power] = []
        if degree > 1:
            sizes = (degree // 2, degree - degree // 2)
            self.parts = [Power(rng, size, d, m) for size in sizes]
            self.join = TensorSRHT(rng, [d if size == 1 else m for size in sizes], m)

    def __call__(self, x: Rows) -> Rows:
        if not self.parts:
            return x
        left, right = (part(x) for part in self.parts)
        return self.join(left, right)


class PlainFeatures:
    """Features of width m whose inner products approximate sum_l c_l <x, y>^l on unit vectors."""

    def __init__(self, c: Rows, n_features: int, n_components: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.roots = np.sqrt(c)
        self.powers = [Power(rng, l, n_features, n_components) for l in range(1, len(c))]
        total = 1 + n_features + (len(c) - 2) * n_components
        self.last = Transform(rng, total, n_components)
        self.scale = n_components**-0.5

    def transform(self, x: Rows) -> Rows:
        return np.concatenate([self._block(x[i : i + _BLOCK]) for i in range(0, len(x), _BLOCK)])

    def _block(self, x: Rows) -> Rows:
        parts = [np.ones((len(x), 1)), *(power(x) for power in self.powers)]
        weighted = [root * part for root, part in zip(self.roots, parts, strict=True)]
        compressed: Rows = self.last(np.concatenate(weighted, axis=1)) * self.scale
        return compressed


def plain_features(net: nk.Sequential, x: NDArray[Any], n_components: int, seed: int) -> Rows:
    """Return plain features of degree _DEGREE for the NTK of a network; rows of x of unit norm."""
    c = coefficients(net, x.shape[1], _DEGREE)
    return PlainFeatures(c, x.shape[1], n_components, seed).transform(x)
