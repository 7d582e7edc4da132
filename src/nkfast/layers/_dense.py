"""The fully connected layer."""

from __future__ import annotations

from typing import Any

from ._base import Diagonals, Layer, Moments, check_stds


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

    _is_affine = True

    def __init__(self, w_std: float = 1.0, b_std: float = 0.0) -> None:
        check_stds(w_std, b_std)
        self.w_std = w_std
        self.b_std = b_std

    def _kind(self, kind: str | None) -> str | None:
        if kind == "images":
            raise ValueError(
                "expected flat rows, so expected a Flatten or GlobalAvgPool before it, got images"
            )
        return "rows"

    def _accept(self, visitor: Any) -> None:
        visitor.dense(self)

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
