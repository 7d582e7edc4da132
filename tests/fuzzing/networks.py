"""The grammar of networks, and how large the rows of one may be."""

from __future__ import annotations

from typing import Any

import numpy as np

import nkfast as nk
from activation_cases import CASES

from .draw import Draw

PLAIN = {
    nk.ReLU: lambda draw: nk.ReLU(),
    nk.LeakyReLU: lambda draw: nk.LeakyReLU(draw.uniform(-0.5, 0.9)),
    nk.ABReLU: lambda draw: nk.ABReLU(draw.uniform(-1, 1), draw.uniform(0.2, 1.5)),
    nk.Abs: lambda draw: nk.Abs(),
    nk.Sign: lambda draw: nk.Sign(),
    nk.RectifiedMonomial: lambda draw: nk.RectifiedMonomial(draw.count(0, 3)),
    nk.Erf: lambda draw: nk.Erf(draw.uniform(0.3, 2), draw.power(-1, 0.5), draw.pick((0, 0.3))),
    nk.SigmoidLike: lambda draw: nk.SigmoidLike(),
    nk.GELU: lambda draw: nk.GELU(),
    nk.Sin: lambda draw: nk.Sin(draw.uniform(0.3, 2), draw.uniform(0.3, 2), draw.uniform(-2, 2)),
    nk.Cos: lambda draw: nk.Cos(draw.uniform(0.3, 2), draw.uniform(0.3, 2), draw.pick((0, 0.5))),
    nk.RBF: lambda draw: nk.RBF(draw.power(-2, 0)),
    nk.Exp: lambda draw: nk.Exp(draw.uniform(0.5, 1.5), draw.uniform(-0.4, 0.4)),
    nk.Gaussian: lambda draw: nk.Gaussian(draw.uniform(0.5, 2), -draw.power(-2, 0.5)),
    nk.ExpNormalized: lambda draw: nk.ExpNormalized(draw.uniform(0.2, 2), draw.pick((-1, -0.5))),
    nk.Gabor: lambda draw: nk.Gabor(),
    nk.Monomial: lambda draw: nk.Monomial(draw.count(1, 4)),
    nk.Polynomial: lambda draw: nk.Polynomial(draw.rng.uniform(-1, 1, draw.count(2, 5)).tolist()),
    nk.Hermite: lambda draw: nk.Hermite(draw.count(1, 5)),
}
# By the time that their tables take: a few ms, 0.2 s, seconds.
PIECES = ("hard_tanh", "hard_sigmoid", "hard_swish", "relu6", "own shifted hard_tanh")
TABLES = ("tanh", "sigmoid", "softplus", "silu", "mish", "elu", "selu", "celu", "softsign")
SLOW = ("own tanh", "own unit clip", "own step cosine")


class Network:
    """A random network; `reach` bounds the root mean squares of the rows that it may be given."""

    def __init__(self, draw: Draw, images: bool = False, cheap: bool = False) -> None:
        self.draw = draw
        self.cheap = cheap
        self.tables = False
        # One kind of activation in most networks, or each layer its own.
        self._only = self._activation() if draw.chance(0.3) else None
        layers = self._of_images() if images else self._of_rows()
        self.net = nk.Sequential(*layers)

    def scale(self) -> float:
        """Return a scale of rows that the network can take."""
        draw = self.draw
        if self.tables:  # which are made anew for other ranges
            return draw.power(-8, 8) if draw.chance(0.02) else draw.power(-1, 0.5)
        return draw.power(-8, 8)

    def _activation(self) -> Any:
        draw = self.draw
        kind = (
            "plain"
            if self.cheap
            else draw.pick(("plain", "pieces", "tables", "slow"), (95, 1.5, 1.5, 0.02))
        )
        if kind == "plain":
            activation = PLAIN[draw.pick(tuple(PLAIN))](draw)
        else:
            names = {"pieces": PIECES, "tables": TABLES, "slow": SLOW}[kind]
            activation = CASES[draw.pick(names)][0]
            self.tables = True
        return activation

    def _next(self) -> Any:
        return self._activation() if self._only is None else self._only

    def _stds(self) -> tuple[float, float]:
        draw = self.draw
        return draw.uniform(0.3, 2), float(draw.pick((0, 0, draw.uniform(0, 1))))

    def _dense(self) -> Any:
        return nk.Dense(*self._stds())

    def _of_rows(self) -> Any:
        draw = self.draw
        for _ in range(draw.count(0, 5)):
            yield self._dense()
            if draw.chance(0.2):
                yield from self._residuals()
            if draw.chance(0.95):
                yield self._next()
        if draw.chance(0.9):
            yield self._dense()
        else:
            yield nk.Dense()
            yield self._next()

    def _residuals(self) -> Any:
        draw = self.draw
        inner = [self._next(), self._dense()]
        if draw.chance(0.3):
            inner = [self._dense(), *inner]
        if draw.chance(0.2):
            inner = [self._dense(), nk.Residual(self._next(), self._dense()), *inner]
        yield nk.Residual(*inner)

    def _conv(self, padding: str | None = None) -> Any:
        draw = self.draw
        shape = tuple(int(v) for v in draw.rng.integers(1, 4, 2))
        strides = (1, 1)
        if padding is None:
            padding = draw.pick(("SAME", "CIRCULAR", "VALID"))
            strides = tuple(int(v) for v in draw.rng.integers(1, 3, 2))
        return nk.Conv(shape, strides, padding, *self._stds())

    def _of_images(self) -> Any:
        draw = self.draw
        for _ in range(draw.count(1, 2)):
            yield self._conv()
            if draw.chance(0.3):
                yield nk.Residual(self._next(), self._conv(draw.pick(("SAME", "CIRCULAR"))))
            yield self._next()
            if draw.chance(0.3):
                window = tuple(int(v) for v in draw.rng.integers(1, 3, 2))
                yield nk.AvgPool(window, draw.pick((None, (1, 1))))
        end = draw.pick((nk.GlobalAvgPool, nk.Flatten, None))
        if end is not None:
            yield end()
            yield self._dense()
            if draw.chance(0.3):
                yield self._next()
                yield self._dense()


def n_features(draw: Draw) -> int:
    return draw.count(1, 70)


def root_mean_square(X: Any) -> float:
    return float(np.sqrt(np.mean(np.square(X), axis=-1).max(initial=0)))
