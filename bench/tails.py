"""What features lose to the exact kernel at equal penalties, and what their tail gives back.

    python bench/tails.py [N_COMPONENTS]

Accuracy on new rows in percent, of classes, or of numbers cut into six: by the exact kernel, by
features alone, by features with `tail_` added to the penalty as learners do it, and with what each
row lacks. The penalty is a share of the kernel's mean diagonal. Sets of scikit-learn and, with
NKFAST_DATA=FOLDER, the real ones there; the last lines are of rows three tenths of which are there
twice. NTK of `mlp(3, w_std=1.41, b_std=0.1)`, columns standardised.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from sklearn import datasets
from sklearn.preprocessing import StandardScaler

import nkfast as nk

SHARES = (1e-4, 1e-3, 1e-2, 1e-1)
MOST = 3500  # rows, of which four sevenths are fitted
REAL = (
    *("cls_letter", "cls_magic", "cls_optical"),
    *("reg_calhousing", "reg_concrete", "reg_kin8nm", "reg_power", "reg_protein"),
)


def sets() -> Iterator[tuple[str, Any, Any]]:
    for name in ("wine", "breast_cancer", "digits"):
        yield name, *getattr(datasets, f"load_{name}")(return_X_y=True)
    for name in REAL if "NKFAST_DATA" in os.environ else ():
        with np.load(Path(os.environ["NKFAST_DATA"]) / f"{name}.npz") as file:
            X, y = file["X"], file["y"].ravel()
        if name.startswith("reg"):
            y = np.searchsorted(np.quantile(y, np.arange(1, 6) / 6), y)
        yield name, X, y
        if name == "reg_calhousing":
            yield f"{name}, twice", X, y


def accuracies(X: Any, y: Any, n: int, m: int) -> tuple[list[list[float]], float]:
    """Return those of each share, and the mean share of the diagonal that is missing."""
    net = nk.mlp(3, w_std=np.sqrt(2), b_std=0.1)
    classes, codes = np.unique(y, return_inverse=True)
    Y = np.eye(len(classes))[codes] - 1 / len(classes)
    K = net.ntk(X)
    phi = nk.NTKFeatures(net, m, random_state=0).fit(X[:n])
    Z = phi.transform(X)
    G, size = Z @ Z.T, np.diagonal(K).mean()
    ways = ((K, 0.0), (G, 0.0), (G, phi.tail_), (G, np.maximum(phi.missing_diagonal(X[:n]), 0)))
    found = []
    for share in SHARES:
        row = []
        for A, tail in ways:
            factor = cho_factor(A[:n, :n] + np.diag(np.full(n, share * size) + tail))
            scores = A[n:, :n] @ cho_solve(factor, Y[:n])
            row.append(100 * float(np.mean(scores.argmax(axis=1) == codes[n:])))
        found.append(row)
    return found, float(phi.missing_diagonal(X).mean() / size)


def main() -> None:
    m = int(sys.argv[1]) if len(sys.argv) > 1 else 4096
    print(f"{m} features; exact / features / with tail / with tails of rows, by penalty")
    print(f"{'':22}{'rows':>5}  missing  " + "".join(f"{share:<27g}" for share in SHARES))
    for name, X, y in sets():
        rng = np.random.default_rng(0)
        rows = rng.permutation(len(y))[:MOST]
        if name.endswith("twice"):
            rows = rng.permutation(np.concatenate([rows, rng.choice(rows, 3 * len(rows) // 10)]))
        n = len(rows) * 4 // 7
        X = StandardScaler().fit(X[rows[:n]]).transform(X[rows])
        found, missing = accuracies(X, y[rows], n, m)
        shown = "".join("{:5.1f} {:5.1f} {:5.1f} {:5.1f}    ".format(*row) for row in found)
        print(f"{name:22}{n:5}  {100 * missing:5.1f} %  {shown}", flush=True)


if __name__ == "__main__":
    main()
