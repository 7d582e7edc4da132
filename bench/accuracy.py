"""Kernel errors of NTK features beside those of the plain construction: `python bench/accuracy.py`.

Prints a table. With NKFAST_DATA=FOLDER further rows for the real sets that are found there, as
FOLDER/reg_protein.npz and so on, each with an array X.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, eigsh
from sklearn.datasets import load_digits

import nkfast as nk
from rivals.plain import plain_features

Rows = NDArray[Any]
Features = Callable[[nk.Sequential, Rows, int, int], NDArray[Any]]

SETS = ("reg_protein", "reg_kin8nm", "cls_letter", "cls_optical", "reg_concrete")
MAX_ROWS = 5000
SEEDS = 4


@dataclass
class Errors:
    """||Khat - K|| / ||K||: Frobenius norm, that of the centred kernels, spectral norm."""

    frobenius: float
    centred: float
    spectral: float


def centre(kernel: Rows) -> Rows:
    kernel = kernel - kernel.mean(axis=0)
    return np.asarray(kernel - kernel.mean(axis=1, keepdims=True))


def spectral_norm(a: Rows) -> float:
    if len(a) < 3:
        return float(np.linalg.norm(a, 2))
    operator = LinearOperator(a.shape, matvec=a.__matmul__, dtype=a.dtype)
    start = np.random.default_rng(0).standard_normal(len(a))
    return float(abs(eigsh(operator, k=1, tol=1e-3, v0=start, return_eigenvectors=False)[0]))


def kernel_errors(z: NDArray[Any], exact: Rows) -> Errors:
    z = z.astype(np.float64)
    difference = z @ z.T - exact
    return Errors(
        float(np.linalg.norm(difference) / np.linalg.norm(exact)),
        float(np.linalg.norm(centre(difference)) / np.linalg.norm(centre(exact))),
        spectral_norm(difference) / spectral_norm(exact),
    )


def our_features(net: nk.Sequential, x: Rows, m: int, seed: int) -> NDArray[Any]:
    phi = nk.NTKFeatures(net, m, random_state=seed)
    z: NDArray[Any] = phi.fit_transform(x.astype(np.float32))
    return z


def mean_errors(features: Features, net: nk.Sequential, x: Rows, m: int, seeds: int) -> Errors:
    exact = net.ntk(x)
    found = [kernel_errors(features(net, x, m, seed), exact) for seed in range(seeds)]
    return Errors(
        *(float(np.mean([getattr(e, k) for e in found])) for k in Errors.__dataclass_fields__)
    )


def unit_digits() -> Rows:
    """Digits, centred, rows of unit norm."""
    x = load_digits().data
    x = x - x.mean(axis=0)
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True))


def standard_digits() -> Rows:
    """The first 600 digits, features of unit variance, norms as they are."""
    return standardise(load_digits().data)[:600]


def standardise(x: NDArray[Any]) -> Rows:
    x = x.astype(np.float64)
    std = x.std(axis=0)
    return np.asarray((x - x.mean(axis=0)) / np.where(std > 0, std, 1))


def real_sets(folder: Path) -> Iterator[tuple[str, Rows]]:
    """Yield the sets of the folder: at most MAX_ROWS rows, standardised, norms as they are."""
    for name in SETS:
        path = folder / f"{name}.npz"
        if path.exists():
            with np.load(path) as arrays:
                x = arrays["X"]
            rows = np.sort(np.random.default_rng(0).permutation(len(x))[:MAX_ROWS])
            yield name, standardise(x[rows].reshape(len(rows), -1))
        else:
            print(f"{path}: not found", file=sys.stderr)


def print_row(data: str, depth: int, m: int, who: str, e: Errors) -> None:
    errors = f"{e.frobenius:10.4f}{e.centred:10.4f}{e.spectral:10.4f}"
    print(f"{data:<32}{depth:>5}{m:>7}  {who:<7}{errors}", flush=True)


def main() -> None:
    print(
        f"{'data':<32}{'depth':>5}{'m':>7}  {'':<7}{'frobenius':>10}{'centred':>10}{'spectral':>10}"
    )
    x = unit_digits()
    for depth in (1, 3):
        net = nk.mlp(depth)
        ours = mean_errors(our_features, net, x, 4096, SEEDS)
        plain = mean_errors(plain_features, net, x, 4096, SEEDS)
        print_row(f"digits, unit norm ({len(x)})", depth, 4096, "nkfast", ours)
        print_row("", depth, 4096, "plain", plain)
        ratio = ours.frobenius / plain.frobenius
        print(f"{'':<46}ratio  {ratio:10.3f}")
    sets = [("digits, standardised", standard_digits())]
    if folder := os.environ.get("NKFAST_DATA"):
        sets += real_sets(Path(folder))
    net = nk.mlp(3, w_std=1.4, b_std=0.1)
    for name, x in sets:
        for m in (1024, 4096, 16384):
            seeds = SEEDS if len(x) < 2000 else 2
            errors = mean_errors(our_features, net, x, m, seeds)
            print_row(f"{name} ({len(x)} x {x.shape[1]})", 3, m, "nkfast", errors)


if __name__ == "__main__":
    main()
