"""Nystroem features beside NTK features of equal width: `python bench/nystroem.py`.

Prints, for a ReLU NTK of two layers, the error of Z Z^T on 500 rows that `fit` has not seen
(relative Frobenius norm, mean of seeds), and seconds: of fit, and of transform per 1000 rows. With
NKFAST_DATA=FOLDER further rows for the real sets that are found there.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

import nkfast as nk
from accuracy import Rows, kernel_errors, real_sets, standardise

NET = nk.mlp(2, w_std=1.4, b_std=0.1)
HELD_OUT = 500
SEEDS = 2


def maps(m: int, seed: int) -> dict[str, Any]:
    return {
        "NTKFeatures": nk.NTKFeatures(NET, m, random_state=seed),
        "Nystroem, uniform": nk.Nystroem(NET, m, random_state=seed),
        "Nystroem, kmeans++": nk.Nystroem(NET, m, selection="kmeans++", random_state=seed),
    }


def measure(features: Any, x: Rows, new: Rows) -> tuple[float, float, float]:
    """Return the error, seconds of fit, and seconds of transform per 1000 rows."""
    start = time.perf_counter()
    features.fit(x)
    middle = time.perf_counter()
    z = features.transform(new)
    end = time.perf_counter()
    error = kernel_errors(z, NET.ntk(new)).frobenius
    return error, middle - start, (end - middle) * 1000 / len(new)


def main() -> None:
    sets = [("digits", standardise(load_digits().data))]
    if folder := os.environ.get("NKFAST_DATA"):
        sets += real_sets(Path(folder))
    print(f"{'data':<28}{'m':>6}  {'':<20}{'error':>9}{'fit, s':>9}{'per 1000, s':>13}")
    for name, x in sets:
        order = np.random.default_rng(0).permutation(len(x))
        new, x = x[order[:HELD_OUT]], x[order[HELD_OUT:]]
        for m in (256, 1024):
            if m > len(x):
                continue
            for kind in maps(m, 0):
                found = [measure(maps(m, seed)[kind], x, new) for seed in range(SEEDS)]
                error = np.mean([f[0] for f in found])
                fit, transform = np.min([f[1:] for f in found], axis=0)
                where = f"{name} ({len(x)} x {x.shape[1]})"
                print(f"{where:<28}{m:>6}  {kind:<20}{error:9.5f}{fit:9.2f}{transform:13.3f}")


if __name__ == "__main__":
    main()
