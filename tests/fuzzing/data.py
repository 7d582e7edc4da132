"""Random numbers: of any scale, with repeated, opposite, near and zero rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from .draw import Draw


def matrix(draw: Draw, n: int, d: int, scale: float, spread: float = 0.0) -> Any:
    """Return n rows of d entries; norms differ by up to 10^spread."""
    rng = draw.rng
    kind = draw.pick(("normal", "whole", "positive", "heavy", "constant"), (6, 1, 1, 1, 0.3))
    if kind == "whole":
        X = rng.integers(-4, 5, (n, d)).astype(float)
    elif kind == "positive":
        X = rng.random((n, d)) + 0.1
    elif kind == "heavy":
        X = np.clip(rng.standard_t(1.5, (n, d)), -1e3, 1e3)
    elif kind == "constant":
        X = np.broadcast_to(rng.standard_normal((n, 1)), (n, d)).copy()
    else:
        X = rng.standard_normal((n, d))
    if draw.chance(0.3):
        X[rng.random(X.shape) < draw.pick((0.3, 0.7, 0.95))] = 0
    X *= scale * 10.0 ** (spread * rng.uniform(-0.5, 0.5, (n, 1)))
    if n > 1 and draw.chance(0.6):
        _relate(draw, X)
    return X


def _relate(draw: Draw, X: Any) -> None:
    """Make some rows repeats of others, opposite, parallel or near ones, or zero."""
    rng = draw.rng
    for _ in range(draw.count(1, 6)):
        i, j = rng.integers(len(X), size=2)
        kind = draw.pick(("equal", "opposite", "zero", "parallel", "near", "unit"))
        if kind == "zero":
            X[i] = 0
        elif kind == "equal":
            X[i] = X[j]
        elif kind == "opposite":
            X[i] = -X[j]
        elif kind == "parallel":
            X[i] = X[j] * draw.uniform(-2, 2)
        elif kind == "near":
            X[i] = X[j] * (1 + draw.power(-14, -1) * rng.standard_normal(X.shape[1]))
        else:
            X[i] = 0
            X[i, rng.integers(X.shape[1])] = np.abs(X[j]).max()


def images(draw: Draw, n: int, shape: tuple[int, int, int], scale: float) -> Any:
    """Return n images, some alike."""
    X = matrix(draw, n, int(np.prod(shape)), scale)
    return X.reshape(n, *shape)
