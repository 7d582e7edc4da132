"""Exact neural kernels in scikit-learn's kernel machines: SVC, KernelRidge and their searches.

Three ways to hand a kernel over, each with what it is compared with:

1. As a function. SVC(kernel=net.ntk) calls it; a search may try several networks.
2. As a matrix, kernel="precomputed". It is computed once for all penalties and folds of a search,
   which slices it; for new rows the matrix has them against the rows learnt from.
3. As features, for models that take none: nk.Nystroem makes them from kernels with a few landmarks.

    python examples/kernel_machines.py
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.datasets import load_diabetes, load_digits
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

import nkfast as nk

PENALTIES = {"alpha": np.logspace(-1, 2, 4)}
NET = nk.mlp(depth=2, activation="relu", w_std=1.4, b_std=0.1)


def rbf_classifier(X: np.ndarray, y: np.ndarray) -> Any:
    return SVC(kernel="rbf").fit(X, y)


def ntk_classifier(X: np.ndarray, y: np.ndarray) -> Any:
    return SVC(kernel=NET.ntk).fit(X, y)


def searched_classifier(X: np.ndarray, y: np.ndarray) -> Any:
    """Three depths, both kernels, two penalties: 12 candidates in 3 folds."""
    nets = [nk.mlp(depth, "relu", 1.4, 0.1) for depth in (1, 2, 4)]
    grid = {"kernel": [f for net in nets for f in (net.nngp, net.ntk)], "C": [1.0, 10.0]}
    return GridSearchCV(SVC(), grid, cv=3).fit(X, y)


def landmark_classifier(X: np.ndarray, y: np.ndarray) -> Any:
    features = nk.Nystroem(NET, n_components=300, random_state=0)
    return make_pipeline(features, LinearSVC(C=1.0)).fit(X, y)


def rbf_regressor(X: np.ndarray, y: np.ndarray) -> Any:
    grid = {**PENALTIES, "gamma": np.logspace(-3, -1, 3)}
    return GridSearchCV(KernelRidge(kernel="rbf"), grid, cv=5).fit(X, y)


class Precomputed:
    """KernelRidge on the kernel matrix, its penalty found by cross-validation.

    GridSearchCV knows that rows and columns of a precomputed kernel are split alike.
    """

    def __init__(self, X: np.ndarray, y: np.ndarray) -> None:
        self.X = X
        self.search = GridSearchCV(KernelRidge(kernel="precomputed"), PENALTIES, cv=5)
        self.search.fit(NET.ntk(X), y)

    def score(self, X: np.ndarray, y: np.ndarray) -> float:
        return float(self.search.score(NET.ntk(X, self.X), y))


def report(
    title: str,
    data: tuple[np.ndarray, np.ndarray],
    models: dict[str, Callable[[np.ndarray, np.ndarray], Any]],
) -> list[dict[str, Any]]:
    """Fit every model, print a line for each, and return the lines."""
    X, y = data
    X, X_test, y, y_test = train_test_split(X, y, random_state=0)
    print(
        f"{title}: {len(y)} rows of {X.shape[1]} features to learn from, {len(y_test)} to test on"
    )
    print(f"{'model':52}{'score':>8}{'fit':>9}{'predict':>10}")
    lines = []
    for name, fit in models.items():
        start = time.perf_counter()
        model = fit(X, y)
        middle = time.perf_counter()
        score = model.score(X_test, y_test)
        times = middle - start, time.perf_counter() - middle
        print(f"{name:52}{score:8.3f}{times[0]:7.2f} s{times[1]:8.3f} s")
        lines.append({"name": name, "score": score, "model": model})
    return lines


def digits(most: int) -> list[dict[str, Any]]:
    X, y = load_digits(return_X_y=True)
    lines = report(
        "Digits, accuracy",
        (X[:most] / 16, y[:most]),
        {
            "SVC(kernel='rbf')": rbf_classifier,
            "SVC(kernel=net.ntk)": ntk_classifier,
            "the same, network and C by GridSearchCV": searched_classifier,
            "Nystroem(net, n_components=300), LinearSVC()": landmark_classifier,
        },
    )
    best = lines[2]["model"].best_params_
    kernel = best["kernel"]
    print(f"best: kernel = {kernel.__self__!r}.{kernel.__name__}, C = {best['C']:g}\n")
    return lines


def diabetes() -> list[dict[str, Any]]:
    X, y = load_diabetes(return_X_y=True)
    y = (y - y.mean()) / y.std()  # KernelRidge has no intercept
    lines = report(
        "Diabetes, R^2",
        (StandardScaler().fit_transform(X), y),
        {
            "KernelRidge(kernel='rbf'), alpha and gamma searched": rbf_regressor,
            "KernelRidge(kernel='precomputed'), alpha searched": Precomputed,
        },
    )
    print(f"best: alpha = {lines[1]['model'].search.best_params_['alpha']:.3g}\n")
    return lines


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1797, help="most digits to use")
    options = parser.parse_args(arguments)
    print(f"net = {NET!r}\n")
    digits(options.rows)
    diabetes()


if __name__ == "__main__":
    main()
