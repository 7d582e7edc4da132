"""How often 95 % intervals hold the truth: `NKFAST_DATA=FOLDER python bench/calibration.py`.

`NTKRegressor(alpha="evidence")` with 2048 features on the standardised columns of three real sets,
the network chosen by `tune_network` on 1000 training rows of the first split. Prints the share of
test targets within mean +- 1.96 standard deviations (noise included), mean and extremes over the
first splits, and the root mean squared error beside the root mean predicted variance.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

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
    print(f"{'data':<14}{'covered, %':>11}{'least':>7}{'most':>7}{'RMSE':>9}{'predicted':>10}")
    for name in SETS:
        with np.load(Path(os.environ["NKFAST_DATA"]) / f"{name}.npz") as file:
            X, y, masks = file["X"], file["y"], file["test_mask"]
        net: nk.Sequential | None = None
        covered, squares, variances = [], [], []
        for test in masks.T[:SPLITS].astype(bool):
            mean, scale = X[~test].mean(axis=0), X[~test].std(axis=0)
            train, new = ((X[rows] - mean) / scale for rows in (~test, test))
            target = y[~test]
            if net is None:
                scaled = (target - target.mean()) / target.std()
                found = nk.tune_network(train, scaled, grid=GRID, n_rows=1000, random_state=0)
                params, net = found.params, nk.mlp(**found.params)
            model = nk.NTKRegressor(net, n_components=2048, alpha="evidence", random_state=0)
            prediction, std = model.fit(train, target).predict(new, return_std=True)
            error = y[test] - prediction
            covered.append(100 * np.mean(np.abs(error) <= 1.96 * std))
            squares.append(np.mean(error**2))
            variances.append(np.mean(std**2))
        print(
            f"{name:<14}{np.mean(covered):11.1f}{min(covered):7.1f}{max(covered):7.1f}"
            f"{np.sqrt(np.mean(squares)):9.4g}{np.sqrt(np.mean(variances)):10.4g}   {params}",
            flush=True,
        )


if __name__ == "__main__":
    main()
