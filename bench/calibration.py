"""How often 95 % intervals hold the truth: `NKFAST_DATA=FOLDER python bench/calibration.py`.

`NTKRegressor` with 2048 features on the standardised columns of three real sets, the penalty by
"evidence" and by "gcv", the network chosen by `tune_network` on 1000 training rows of the first
split. Prints the share of test targets within mean +- 1.96 standard deviations (noise included),
mean and extremes over the first splits, and the root mean squared error beside the root mean
predicted variance.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import nkfast as nk

SETS = ("reg_concrete", "reg_power", "reg_kin8nm")
SPLITS = 5
GRID: dict[str, list[Any]] = {
    "activation": ["relu", "gelu", "erf"],
    "depth": [1, 2, 3],
    "w_std": [0.7, 1.0, 1.4],
    "b_std": [0.1, 0.5],
}


def main() -> None:
    print(
        f"{'data':<14}{'alpha':<10}{'covered, %':>11}{'least':>7}{'most':>7}{'RMSE':>9}"
        f"{'predicted':>10}"
    )
    for name in SETS:
        with np.load(Path(os.environ["NKFAST_DATA"]) / f"{name}.npz") as file:
            X, y, masks = file["X"], file["y"], file["test_mask"]
        splits = masks.T[:SPLITS].astype(bool)
        params = tuned(X[~splits[0]], y[~splits[0]])
        for alpha in ("evidence", "gcv"):
            covered, squares, variances = [], [], []
            for test in splits:
                train, new = standardised(X[~test], X[test])
                model = nk.NTKRegressor(
                    nk.mlp(**params), n_components=2048, alpha=alpha, random_state=0
                )
                prediction, std = model.fit(train, y[~test]).predict(new, return_std=True)
                error = y[test] - prediction
                covered.append(100 * np.mean(np.abs(error) <= 1.96 * std))
                squares.append(np.mean(error**2))
                variances.append(np.mean(std**2))
            print(
                f"{name:<14}{alpha:<10}{np.mean(covered):11.1f}{min(covered):7.1f}"
                f"{max(covered):7.1f}{np.sqrt(np.mean(squares)):9.4g}"
                f"{np.sqrt(np.mean(variances)):10.4g}   {params}",
                flush=True,
            )


def standardised(train: NDArray[Any], new: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    mean, scale = train.mean(axis=0), train.std(axis=0)
    return (train - mean) / scale, (new - mean) / scale


def tuned(X: NDArray[Any], y: NDArray[Any]) -> dict[str, Any]:
    """Return the parameters that are most probable on some rows."""
    X, _ = standardised(X, X[:1])
    found = nk.tune_network(X, (y - y.mean()) / y.std(), grid=GRID, n_rows=1000, random_state=0)
    return found.params


if __name__ == "__main__":
    main()
