"""How well rules choose the penalty on small sets: `python bench/alpha_rules.py`.

Random draws of 16 to 300 rows of scikit-learn's sets, of made ones and, with NKFAST_DATA=FOLDER, of
the real ones there; each as it is, with near copies of a few rows, with wild targets of a few, and
with heavy-tailed noise in all. Exact kernel of `mlp()`, columns standardised. The error on other
rows is compared with that of the best penalty on the path, which no rule knows: of numbers as the
ratio of root mean squared errors, of classes how many more rows of a hundred are wrong.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn import datasets

import nkfast as nk
from nkfast._linalg.moments import RunningMoments
from nkfast.learn._ridge._solve import solve_primal
from nkfast.learn._ridge._state import Batch
from nkfast.learn._rows import merged, weighty

DRAWS = 3  # of each set and size
SIZES = (16, 40, 100, 300)
NEW = 1000  # rows to predict, at most
REAL = (
    *("reg_concrete", "reg_power", "reg_calhousing", "reg_protein", "reg_kin8nm", "reg_kin40k"),
    *("cls_magic", "cls_optical", "cls_adult", "cls_letter"),
)
RULES = ("GCV alone", "robust GCV", '"evidence"', '"loo"', '"gcv"', '"gcv" of a stream')
BAD = {False: 1.25, True: 5.0}  # ratio, points
_ROBUST = 0.3  # gamma of Lukas, "Robust generalized cross-validation", 2006


class Draw(NamedTuple):
    """Rows and targets (n, k) to fit, of classes signs, and others to predict."""

    X: Any
    Y: Any
    X_new: Any
    Y_new: Any
    classes: bool


def sets() -> Iterator[tuple[Any, Any, bool]]:
    """Yield rows and targets, and whether these are classes."""
    yield *datasets.load_diabetes(return_X_y=True), False
    for name in ("iris", "wine", "breast_cancer", "digits"):
        yield *getattr(datasets, f"load_{name}")(return_X_y=True), True
    for noise in (0.0, 1.0, 4.0):
        yield *datasets.make_friedman1(2000, 10, noise=noise, random_state=0), False
    rng = np.random.default_rng(0)
    X, e = rng.standard_normal((2000, 13)), rng.standard_normal(2000)
    yield X, X[:, :4].sum(axis=1) + 2 * e, False
    yield X, e, False
    yield X, X[:, 0] + 2 * e > 0, True
    levels = np.sign(X[:, :4])  # few distinct rows
    yield levels, levels[:, 0] * levels[:, 1] + e, False
    yield levels, np.rint(levels[:, 0] * levels[:, 1] + e), False
    yield levels, levels[:, 0] + e > 0, True
    for name in REAL if "NKFAST_DATA" in os.environ else ():
        with np.load(Path(os.environ["NKFAST_DATA"]) / f"{name}.npz") as file:
            yield file["X"], file["y"], name.startswith("cls")


def near_copies(draw: Draw, rng: Any) -> None:
    """Make a hundredth of the rows copies of others but for a little in one column."""
    k = max(1, len(draw.X) // 100)
    draw.X[:k], draw.Y[:k] = draw.X[k : 2 * k], draw.Y[k : 2 * k]
    draw.X[:k, rng.integers(draw.X.shape[1])] += 0.05


def wild_targets(draw: Draw, rng: Any) -> None:  # noqa: ARG001
    """Give a fiftieth of the rows targets far off, or the wrong class."""
    draw.Y[: max(1, len(draw.Y) // 50)] *= -1 if draw.classes else -10


def heavy_tails(draw: Draw, rng: Any) -> None:
    """Add noise of just finite variance to numbers."""
    if not draw.classes:
        draw.Y[:] += 0.3 * rng.standard_t(2.1, draw.Y.shape)


TROUBLES: dict[str, Callable[[Draw, Any], None]] = {
    "as it is": lambda draw, rng: None,  # noqa: ARG005
    "near copies": near_copies,
    "wild targets": wild_targets,
    "heavy tails": heavy_tails,
}


def draws(trouble: str) -> Iterator[Draw]:
    """Yield all draws with one trouble."""
    for X, y, classes in sets():
        for size in SIZES:
            for seed in range(DRAWS):
                rng = np.random.default_rng([seed, size])
                chosen = rng.permutation(len(X))[: size + NEW]
                if len(chosen) < 1.3 * size:
                    continue
                A, b = np.array(X[chosen], np.float64), y[chosen]
                A = (A - A[:size].mean(axis=0)) / (A[:size].std(axis=0) + 1e-9)
                np.clip(A, -10, 10, out=A)
                B = np.where(b[:, None] == np.unique(b), 1.0, -1.0) if classes else b[:, None] * 1.0
                if np.any(np.ptp(B[:size], axis=0) == 0):
                    continue  # a class that is not there
                if not classes:
                    B = (B - B[:size].mean()) / B[:size].std()
                draw = Draw(A[:size].copy(), B[:size].copy(), A[size:], B[size:], classes)
                TROUBLES[trouble](draw, rng)
                yield draw


def losses(draw: Draw) -> dict[str, float]:
    """Return how much worse than the best penalty each rule is."""
    net = nk.mlp()
    Y, weight = merged(draw.X, draw.Y, None, labels=draw.classes)
    X, Y, weight = weighty(draw.X, Y, weight)
    K = net.ntk(X)
    by_rule = {
        rule: Batch.solved(K.copy(), X, Y, weight, rule, centred=True, kernel=True)
        for rule in ("gcv", "evidence", "loo")
    }
    spectrum = by_rule["loo"].spectrum(lambda _: K)
    T = spectrum.coordinates(net.ntk(draw.X_new, X))

    def error(alpha: float) -> float:
        scores = T @ spectrum.ridge_weights(alpha) + spectrum.facts.mean_y
        if draw.classes:
            return float(100 * np.mean(scores.argmax(axis=1) != draw.Y_new.argmax(axis=1)))
        return float(np.sqrt(np.mean((scores - draw.Y_new) ** 2)))

    penalty = by_rule["gcv"].ridge.penalty
    alphas, gcv = penalty.alphas, penalty.scores
    if alphas is None or gcv is None:
        raise AssertionError("a search leaves its scores")
    squares = ((spectrum.values[:, None] / (spectrum.values[:, None] + alphas)) ** 2).sum(axis=0)
    robust = gcv * (_ROBUST + (1 - _ROBUST) * squares / len(X))
    sums = RunningMoments(T.shape[1], Y.shape[1])
    sums.add(spectrum.coordinates(K), Y, weight)
    chosen = (
        *(float(alphas[np.argmin(scores)]) for scores in (gcv, robust)),
        *(by_rule[rule].ridge.penalty.alpha for rule in ("evidence", "loo", "gcv")),
        solve_primal(sums, "gcv").penalty.alpha,
    )
    best = min(error(alpha) for alpha in alphas)
    found = [error(alpha) for alpha in chosen]
    return {
        rule: e - best if draw.classes else e / best for rule, e in zip(RULES, found, strict=True)
    }


def main() -> None:
    for classes in (False, True):
        what = "classes, points lost" if classes else "numbers, ratio of errors"
        print(f"\n| {what}: mean, share of bad draws, worst | " + " | ".join(TROUBLES) + " |")
        print("|---" * (len(TROUBLES) + 1) + "|")
        by_trouble = {
            trouble: [losses(draw) for draw in draws(trouble) if draw.classes == classes]
            for trouble in TROUBLES
        }
        for rule in RULES:
            cells = []
            for found in by_trouble.values():
                values = np.array([each[rule] for each in found])
                mean = values.mean() if classes else np.exp(np.log(values).mean())
                bad = 100 * np.mean(values > BAD[classes])
                digits = 1 if classes else 2
                cells.append(f"{mean:.{digits + 1}f}, {bad:.0f} %, {values.max():.{digits}f}")
            print(f"| {rule} | " + " | ".join(cells) + " |", flush=True)
        print("| draws | " + " | ".join(str(len(found)) for found in by_trouble.values()) + " |")


if __name__ == "__main__":
    main()
