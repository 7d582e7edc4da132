"""One layer of a network of rows, and what it sees of pairs of points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from ._arrays.validation import check_real
from ._parameters import Parameters
from .activations import Activation

Array = NDArray[Any]


@dataclass
class Moments:
    """What a layer sees of a set of pairs of points.

    `k` is the NNGP kernel and `theta` the NTK of the pairs; `p` and `q` are the NNGP variances of
    their left and right points. Everything broadcasts. Complex `k` and `theta` are the same
    kernels continued analytically in the input's cosine (see `expansion`).
    """

    k: Array
    theta: Array
    p: Array
    q: Array


@dataclass
class Diagonals:
    """The same for points with themselves: `k` and `theta` per point."""

    k: Array
    theta: Array


class Layer(Parameters):
    """One layer of a network."""

    _takes_images = False
    _is_gaussian = True  # the output, whatever the input; else it is what the input was

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


class Dense(Layer):
    """A fully connected layer in NTK parameterisation.

    Parameters
    ----------
    w_std : float, default=1.0
        Standard deviation of the weights; the output is scaled by 1 / sqrt(fan-in).
    b_std : float, default=0.0
        Standard deviation of the bias.

    Notes
    -----
    Moves the kernels by K <- w_std^2 K + b_std^2 and Theta <- w_std^2 Theta + K_new
    (Jacot et al. 2018; Novak et al. 2020).

    Examples
    --------
    >>> import nkfast as nk
    >>> nk.Dense(1.4, b_std=0.1)
    Dense(w_std=1.4, b_std=0.1)
    """

    def __init__(self, w_std: float = 1.0, b_std: float = 0.0) -> None:
        check_real(w_std, "w_std", low=0)
        check_real(b_std, "b_std", low=0)
        self.w_std = w_std
        self.b_std = b_std

    def _kind(self, kind: str | None) -> str | None:
        if kind == "images":
            raise ValueError(
                "expected flat rows, so expected a Flatten or GlobalAvgPool before it, got images"
            )
        return "rows"

    def _pairs(self, m: Moments) -> Moments:
        w2, b2 = self.w_std**2, self.b_std**2
        k = w2 * m.k + b2
        return Moments(k, w2 * m.theta + k, w2 * m.p + b2, w2 * m.q + b2)

    def _diagonal(self, d: Diagonals) -> Diagonals:
        w2, b2 = self.w_std**2, self.b_std**2
        k = w2 * d.k + b2
        return Diagonals(k, w2 * d.theta + k)

    def _homogeneity(self) -> float | None:
        return 1.0 if self.b_std == 0 else None


@dataclass
class Activated(Layer):
    """An activation in its place in a network."""

    activation: Activation

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
