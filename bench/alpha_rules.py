"""How well each rule chooses the penalty on small sets. `python bench/alpha_rules.py`.

Random draws of small sets: those of scikit-learn, made ones, and with NKFAST_DATA=FOLDER draws from
real sets there. Each as it is and with what misleads rules: near copies of a few rows, wild
targets, targets with heavy tails, columns of noise. Exact kernel, columns standardised.
The error on other rows is compared with that of the best penalty on the path, which no rule knows:
of numbers the ratio of root mean squared errors, of classes how many points more are wrong.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn import datasets

DRAWS = 3  # of each set, size and trouble
SIZES = (16, 40, 100, 300)
REAL = (
    *("reg_concrete", "reg_power", "reg_calhousing", "reg_protein", "reg_kin8nm", "reg_kin40k"),
    *("cls_magic", "cls_optical", "cls_adult", "cls_letter"),
)
EPS = 2.0**-52


class Draw(NamedTuple):
    """Rows and targets (n, k) to fit, and others to predict; of classes the targets are signs."""

    X: Any
    Y: Any
    X_new: Any
    Y_new: Any
    classes: bool


def sets() -> Iterator[tuple[str, Any, Any, bool]]:
    """Yield names, rows and targets, and whether these are classes."""
    yield "diabetes", *datasets.load_diabetes(return_X_y=True), False
    for name in ("iris", "wine", "breast_cancer", "digits"):
        yield name, *getattr(datasets, f"load_{name}")(return_X_y=True), True
    for noise in (0.0, 1.0, 4.0):
        X, y = datasets.make_friedman1(2000, 10, noise=noise, random_state=0)
        yield f"friedman1, noise {noise:g}", X, y, False
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2000, 13))
    yield "linear, much noise", X, X[:, :4].sum(axis=1) + 2 * rng.standard_normal(2000), False
    yield "noise only", X, rng.standard_normal(2000), False
    yield "classes, much noise", X, X[:, 0] + 2 * rng.standard_normal(2000) > 0, True
    levels = np.sign(X[:, :4])
    yield "few distinct rows", levels, levels[:, 0] + levels[:, 1] + X[:, 5], False
    yield "few distinct rows, classes", levels, levels[:, 0] + X[:, 5] > 0, True
    for name in REAL if "NKFAST_DATA" in os.environ else ():
        with np.load(Path(os.environ["NKFAST_DATA"]) / f"{name}.npz") as file:
            yield name, file["X"], file["y"], name.startswith("cls")


def near_copies(X: Any, Y: Any, rng: Any) -> None:
    """Make a few rows copies of others but for a little in one column."""
    k = max(1, len(X) // 100)
    X[:k], Y[:k] = X[k : 2 * k], Y[k : 2 * k]
    X[:k, rng.integers(X.shape[1])] += 0.05


def wild_targets(_: Any, Y: Any, rng: Any) -> None:
    """Give a few rows targets far off, or the wrong class."""
    k = max(1, len(Y) // 50)
    Y[:k] = -10 * Y[:k] if len(np.unique(Y)) > 2 else rng.permuted(Y[:k], axis=1) * -1


def heavy_tails(_: Any, Y: Any, rng: Any) -> None:
    """Add noise with a standard deviation only just."""
    Y += 0.3 * rng.standard_t(2.1, Y.shape) if len(np.unique(Y)) > 2 else 0


def as_it_is(*_: Any) -> None:
    """Leave everything."""


TROUBLES: tuple[Callable[..., None], ...] = (as_it_is, near_copies, wild_targets, heavy_tails)


def draws() -> Iterator[tuple[str, str, Draw]]:
    """Yield the name of a set, the trouble with it, and a draw."""
    for name, X, y, classes in sets():
        for size in SIZES:
            for seed in range(DRAWS):
                rng = np.random.default_rng([seed, size])
                chosen = rng.permutation(len(X))[: size + 1000]
                if len(chosen) < 1.3 * size:
                    continue
                A, b = np.asarray(X[chosen], np.float64), y[chosen]
                A = (A - A[:size].mean(axis=0)) / (A[:size].std(axis=0) + 1e-9)
                np.clip(A, -10, 10, out=A)
                if classes:
                    labels = np.unique(b)
                    B = np.where(b[:, None] == labels, 1.0, -1.0)
                    B = B[:, 1:] if len(labels) == 2 else B
                    if np.any(np.ptp(B[:size], axis=0) == 0) and len(labels) == 2:
                        continue
                else:
                    B = ((b - b[:size].mean()) / b[:size].std())[:, None].astype(np.float64)
                for trouble in TROUBLES:
                    if trouble is heavy_tails and classes:
                        continue
                    F, T = A[:size].copy(), B[:size].copy()
                    trouble(F, T, rng)
                    yield name, trouble.__name__, Draw(F, T, A[size:], B[size:], classes)
