"""One layer of a network of rows, and what it sees of pairs of points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nkfast._arrays.validation import Array, check_real
from nkfast._parameters import Parameters
from nkfast.activations import Activation

_MOST_WHOLE_STD = 16  # a whole number above is taken for a width


@dataclass
class Moments:
    """What a layer sees of a set of pairs of points.

    `k` is the NNGP kernel and `theta` the NTK of the pairs; `p` and `q` are the NNGP variances of
    their left and right points. Everything broadcasts. Of images the points are pixels: `k` and
    `theta` are (h, w, h', w'), `p` and `q` (h, w, 1, 1) and (1, 1, h', w'). Complex `k` and `theta`
    are the same kernels continued analytically in the input's cosine (see `expansion`).
    """

    k: Array
    theta: Array
    p: Array
    q: Array


@dataclass
class Diagonals:
    """The same for points with themselves: `k` and `theta` per point, (n, h, w) of pixels."""

    k: Array
    theta: Array


def check_stds(w_std: Any, b_std: Any) -> None:
    """Refuse what is no standard deviation of weights or biases, such as a number of units."""
    check_real(w_std, "w_std", low=0)
    if isinstance(w_std, (int, np.integer)) and w_std > _MOST_WHOLE_STD:
        raise ValueError(
            f"w_std: expected the standard deviation of the weights, got {w_std!r}, which looks "
            "like a number of units; there is none to give, layers are infinitely wide. "
            f"If it is meant, write {float(w_std)!r}"
        )
    check_real(b_std, "b_std", low=0)


class Layer(Parameters):
    """One layer of a network.

    Its rule for kernels stands here in NumPy, `_pairs` for pairs of points and `_diagonal` for
    points with themselves. Whoever has another use for it, such as a program for the core, is a
    `Visitor`, which `_accept` tells what kind of layer this is.
    """

    _takes_images = False
    _is_gaussian = True  # the output, whatever the input; else it is what the input was
    _is_affine = False  # K <- w^2 (a mean of K) + b^2, Theta <- w^2 (a mean of Theta) + K

    def _accept(self, visitor: Any) -> None:
        """Call the method of a `Visitor` that is for this kind of layer."""
        raise NotImplementedError

    def _check(self, gaussian: bool, kind: str | None) -> tuple[bool, str | None]:
        """Return whether the output is Gaussian, and its kind; ValueError if it does not fit.

        Parameters
        ----------
        gaussian : bool
            Whether the input is.
        kind : str, optional
            That of the input, see `_kind`.
        """
        return gaussian or self._is_gaussian, self._kind(kind)

    def _kind(self, kind: str | None) -> str | None:
        """Return "images" or "rows", which the layer makes of `kind`; ValueError if it cannot.

        None: not known yet, as at the beginning of a network.
        """
        return kind

    def _pairs(self, m: Moments) -> Moments:
        raise NotImplementedError

    def _diagonal(self, d: Diagonals) -> Diagonals:
        raise NotImplementedError

    def _homogeneity(self) -> float | None:
        """Return h if scaling the input by t scales the output by t^h, None if no h does."""
        return None


@dataclass
class Activated(Layer):
    """An activation in its place in a network."""

    activation: Activation

    def _accept(self, visitor: Any) -> None:
        visitor.activation(self)

    def _pairs(self, m: Moments) -> Moments:
        k, slope = self.activation._pair(m.p, m.q, m.k)
        p = self.activation._diagonal(m.p)[0]
        q = self.activation._diagonal(m.q)[0]
        return Moments(k, slope * m.theta, p, q)

    def _diagonal(self, d: Diagonals) -> Diagonals:
        k, slope = self.activation._diagonal(d.k)
        return Diagonals(k, slope * d.theta)

    def _homogeneity(self) -> float | None:
        return self.activation._homogeneity
