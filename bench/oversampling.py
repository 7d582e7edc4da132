"""Oversampled NTK features beside plain ones and Nystroem's: `python bench/oversampling.py`.

Prints, for a ReLU NTK of three layers, errors of Z Z^T on pairs of rows that `fit` has not seen
(relative to the kernel's Frobenius norm: off the diagonal, and with it), and seconds of fit and of
transform per 1000 float32 rows, on one thread. With NKFAST_DATA=FOLDER further rows for the real
sets that are found there; names of sets and numbers of features may follow on the command line.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits

import nkfast as nk
from accuracy import Rows, standardise

NET = nk.mlp(3, w_std=1.4, b_std=0.1)
SETS = ("cls_letter", "reg_protein", "cls_optical", "reg_kin40k")
FITTED = 40000
HELD_OUT = 1500
TIMED = 1000
WIDTHS = (512, 2048)


def maps(m: int) -> dict[str, Any]:
    return {
        "plain": nk.NTKFeatures(NET, m, random_state=0),
        "oversampling=4": nk.NTKFeatures(NET, m, oversampling=4, random_state=0),
        "oversampling=8": nk.NTKFeatures(NET, m, oversampling=8, random_state=0),
        "Nystroem": nk.Nystroem(NET, m, random_state=0),
    }


def data_sets(names: list[str]) -> Iterator[tuple[str, Rows]]:
    """Yield shuffled, standardised sets."""
    found: dict[str, Rows] = {}
    folder = os.environ.get("NKFAST_DATA")
    if folder is None:
        found["digits"] = load_digits().data
    else:
        for name in SETS:
            path = Path(folder) / f"{name}.npz"
            if not path.exists():
                print(f"{path}: not found", file=sys.stderr)
            elif not names or name in names:
                with np.load(path) as arrays:
                    found[name] = arrays["X"].reshape(len(arrays["X"]), -1)
    for name, x in found.items():
        yield name, np.random.default_rng(0).permutation(standardise(x))


def pair_errors(z: Rows, exact: Rows) -> tuple[float, float]:
    """Return the errors of Z Z^T off the diagonal, and with it."""
    difference = z @ z.T - exact
    whole = float(np.linalg.norm(difference))
    off = float(np.sqrt(max(whole**2 - float(np.linalg.norm(np.diagonal(difference))) ** 2, 0.0)))
    size = float(np.linalg.norm(exact))
    return off / size, whole / size


def seconds_of(phi: Any, x: Any) -> float:
    start = time.perf_counter()
    phi.transform(x)
    return time.perf_counter() - start


def main() -> None:
    names = [a for a in sys.argv[1:] if not a.isdigit()]
    widths = [int(a) for a in sys.argv[1:] if a.isdigit()] or WIDTHS
    head = f"{'off diag.':>10}{'all pairs':>10}{'fit, s':>8}{'per 1000, ms':>14}"
    print(f"{'data':<24}{'m':>6}  {'':<16}{head}")
    for name, x in data_sets(names):
        n_held = min(HELD_OUT, len(x) // 4)
        new, fitted = x[:n_held], x[n_held:][:FITTED]
        many = np.resize(new, (TIMED, x.shape[1])).astype(np.float32)
        exact = NET.ntk(new)
        for m in widths:
            if m > len(fitted):
                continue
            for kind, phi in maps(m).items():
                start = time.perf_counter()
                phi.fit(fitted)
                middle = time.perf_counter()
                seconds = min(seconds_of(phi, many) for _ in range(3))
                off, whole = pair_errors(phi.transform(new), exact)
                where = f"{name} ({len(fitted)} x {x.shape[1]})"
                cost = f"{middle - start:8.1f}{seconds * 1e6 / TIMED:14.1f}"
                print(f"{where:<24}{m:>6}  {kind:<16}{off:10.4f}{whole:10.4f}{cost}", flush=True)


if __name__ == "__main__":
    with threadpool_limits(1), nk.num_threads(1):
        main()
