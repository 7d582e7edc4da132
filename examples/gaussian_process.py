"""Gaussian processes with neural kernels: tune a network's w_std and b_std by marginal likelihood.

The kernel of a wide network is a prior over functions. How rough they are is in the network's
hyperparameters, and the log marginal likelihood says how well they suit the data without any row
held out: GaussianProcessRegressor climbs it along nk.gp.NeuralKernel's exact gradient. The table
has it before and after (higher is better), then the error on rows never seen, and how many of
these lie within the two standard deviations that the process predicts (95 % is right).

    python examples/gaussian_process.py

uses the diabetes data of scikit-learn. With NKFAST_DATA=FOLDER it takes the concrete data as well
(Yeh 1998; compressive strength in MPa from mixture and age) from FOLDER/reg_concrete.npz, an
archive with X (1030, 8), y and optionally test_mask (1030, splits).
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.preprocessing import StandardScaler

import nkfast as nk

Task = tuple[str, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def kernels(n_features: int) -> dict[str, Any]:
    """Neural kernels of two hidden layers and the usual ones, each with noise of any variance."""
    net = nk.mlp(depth=2, activation="relu", w_std=1.4, b_std=0.5)
    smooth = nk.mlp(depth=2, activation="erf", w_std=1.4, b_std=0.5)
    noise = WhiteKernel(0.1, (1e-3, 1e1))
    return {
        "NNGP, ReLU": nk.gp.NeuralKernel(net, get="nngp") + noise,
        "NTK, ReLU": nk.gp.NeuralKernel(net, get="ntk") + noise,
        "NNGP, erf": nk.gp.NeuralKernel(smooth, get="nngp") + noise,
        "RBF": ConstantKernel() * RBF(1.0) + noise,
        "RBF, a scale per feature": ConstantKernel() * RBF(np.ones(n_features)) + noise,
    }


def tasks(folder: str | None) -> Iterator[Task]:
    """Yield (name, X_train, X_test, y_train, y_test)."""
    X, y = load_diabetes(return_X_y=True)
    test = np.random.default_rng(0).random(len(y)) < 0.25
    yield "diabetes", X[~test], X[test], y[~test], y[test]
    path = Path(folder or "") / "reg_concrete.npz"
    if not folder:
        print("concrete: left out, NKFAST_DATA does not name a folder\n")
    elif not path.is_file():
        print(f"concrete: left out, there is no {path}\n")
    else:
        with np.load(path) as data:
            X, y = data["X"], data["y"]
            drawn = np.random.default_rng(0).random(len(y)) < 0.1
            test = data["test_mask"][:, 0].astype(bool) if "test_mask" in data else drawn
        yield "concrete", X[~test], X[test], y[~test], y[test]


def report(task: Task, most: int) -> list[dict[str, Any]]:
    """Tune every kernel, print a line for each, and return the lines."""
    name, X, X_test, y, y_test = task
    X, y = X[:most], y[:most]
    scaler = StandardScaler().fit(X)
    X, X_test = scaler.transform(X), scaler.transform(X_test)
    print(f"{name}: {len(y)} rows of {X.shape[1]} features to learn from, {len(y_test)} to test on")
    print(f"{'':26}{'log marginal likelihood':>24}{'test':>9}{'within':>9}{'time':>8}")
    print(f"{'kernel':26}{'before':>12}{'after':>12}{'RMSE':>9}{'2 std':>9}{'s':>8}")
    lines = []
    for title, kernel in kernels(X.shape[1]).items():
        start = time.perf_counter()
        with warnings.catch_warnings():  # some optima lie on a bound, where nothing is learnt
            warnings.simplefilter("ignore", ConvergenceWarning)
            gp = GaussianProcessRegressor(kernel, normalize_y=True).fit(X, y)
        seconds = time.perf_counter() - start
        mean, std = gp.predict(X_test, return_std=True)
        line = {
            "name": title,
            "before": gp.log_marginal_likelihood(kernel.theta),
            "after": gp.log_marginal_likelihood_value_,
            "rmse": float(np.sqrt(np.mean((mean - y_test) ** 2))),
            "within": float(np.mean(np.abs(mean - y_test) < 2 * std)),
            "kernel": gp.kernel_,
        }
        print(
            f"{title:26}{line['before']:12.1f}{line['after']:12.1f}{line['rmse']:9.2f}"
            f"{line['within']:9.0%}{seconds:8.1f}"
        )
        lines.append(line)
    print("\nfound:")
    for line in lines[:3]:
        net, noise = line["kernel"].k1.net, line["kernel"].k2.noise_level
        print(
            f"  {line['name']}: w_std = {net.w_std:.3g}, b_std = {net.b_std:.3g}, "
            f"noise = {noise**0.5:.2f} standard deviations of y"
        )
    print()
    return lines


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1000, help="most rows to learn from")
    options = parser.parse_args(arguments)
    for task in tasks(os.environ.get("NKFAST_DATA")):
        report(task, options.rows)


if __name__ == "__main__":
    main()
