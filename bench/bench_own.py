"""What has no rival: jobs of all rooms, for `make bench-save` and `make bench-compare`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.special import erf
from sklearn.datasets import load_digits

import nkfast as nk
from harness import OURS, measure

Job = Callable[[], object]


def rows(n: int, d: int, dtype: str = "float64") -> Any:
    return np.random.default_rng(0).standard_normal((n, d)).astype(dtype)


def images(n: int, size: int) -> Any:
    return rows(n, size * size * 3, "float32").reshape(n, size, size, 3)


def exact(activation: str, n: int, depth: int, dtype: str) -> Job:
    X, net = rows(n, 64, dtype), nk.mlp(depth, activation)
    out = net.ntk(X)
    return lambda: net.ntk(X, out=out)


def exact_cntk() -> Job:
    X, net = images(8, 32), nk.myrtle(5)
    return lambda: net.ntk(X)


def gp_kernel(activation: str, n: int, depth: int, gradient: bool) -> Job:
    X, kernel = rows(n, 20), nk.gp.NeuralKernel(nk.mlp(depth, activation, 1.4, 0.1))
    return lambda: kernel(X, eval_gradient=gradient)


def features(X: Any, net: Any, n_components: int, **options: Any) -> Job:
    phi = nk.NTKFeatures(net, n_components, random_state=0, **options).fit(X[:500])
    return lambda: phi.transform(X)


def fit(X: Any, net: Any) -> Job:
    return lambda: nk.NTKFeatures(net, 1024, random_state=0).fit(X)


def landmarks(X: Any, net: Any, count: int) -> Job:
    return lambda: nk.Nystroem(net, count, selection="kmeans++", random_state=0).fit(X)


def nystroem() -> Job:
    X = rows(4000, 20)
    phi = nk.Nystroem(nk.mlp(2), 500, random_state=0).fit(X)
    return lambda: phi.transform(X)


def exact_learner() -> Job:
    X, net = rows(4000, 20), nk.mlp(2, "gelu")
    model = nk.NTKRegressor(net, method="exact", alpha=0.1, block_size=500)
    model.fit(X[:1000], X[:1000, 0])
    return lambda: model.predict(X)


def nystroem_learner() -> Job:
    X = rows(3000, 20)
    model = nk.NTKRegressor(nk.mlp(2), 1024, method="nystroem", alpha=0.1, random_state=0)
    model.fit(X, X[:, 0])
    return lambda: model.predict(X[:2000])


def targets(X: Any) -> Any:
    noise = np.random.default_rng(1).standard_normal(len(X))
    return X[:, 0] * X[:, 1] + noise


def ridge(n: int, n_components: int) -> Job:
    X = rows(n, 20)
    y = targets(X)
    return lambda: nk.NTKRegressor(nk.mlp(1), n_components, random_state=0).fit(X, y)


def exact_fit(n: int) -> Job:
    X = rows(n, 20)
    y = targets(X)
    return lambda: nk.NTKRegressor(nk.mlp(1), method="exact", alpha="evidence").fit(X, y)


def own_activation(spread: float) -> Job:
    X = rows(300, 5)
    X *= (np.geomspace(1, spread, 300) / np.linalg.norm(X, axis=1))[:, None]
    # A new function each time: tables of one that was there before are kept.
    return lambda: nk.mlp(2, nk.Elementwise(lambda x: erf(x))).kernel(X)


JOBS: dict[str, Callable[[], Job]] = {
    "exact ReLU, 3000 x 64, depth 3, float32": lambda: exact("relu", 3000, 3, "float32"),
    "exact GELU, 2000 x 64, depth 3": lambda: exact("gelu", 2000, 3, "float64"),
    "exact tanh, 1500 x 64, depth 2": lambda: exact("tanh", 1500, 2, "float64"),
    "GP kernel, 2000 x 20, ReLU, depth 3": lambda: gp_kernel("relu", 2000, 3, False),
    "GP kernel and gradient, 2000 x 20, ReLU, depth 3": lambda: gp_kernel("relu", 2000, 3, True),
    "GP kernel, 2000 x 20, ELU, depth 3": lambda: gp_kernel("elu", 2000, 3, False),
    "GP kernel and gradient, 2000 x 20, ELU, depth 3": lambda: gp_kernel("elu", 2000, 3, True),
    "own erf with its tables, 300 rows of norms 1 to 30": lambda: own_activation(30),
    "exact CNTK, 8 images, Myrtle-5": exact_cntk,
    "features, 4000 x 64 to 4096, float32": lambda: features(
        rows(4000, 64, "float32"), nk.mlp(3), 4096
    ),
    "features by layers, 2000 x 64 to 1024, float32": lambda: features(
        rows(2000, 64, "float32"), nk.mlp(2), 1024, construction="layerwise"
    ),
    "features of 20 images, Myrtle-5 to 1024": lambda: features(images(20, 32), nk.myrtle(5), 1024),
    "fit, digits, GELU": lambda: fit(load_digits().data / 16, nk.mlp(2, "gelu")),
    "fit, 5000 x 20, ReLU, depth 3": lambda: fit(rows(5000, 20), nk.mlp(3)),
    "k-means++, 2000 x 20, 60 landmarks": lambda: landmarks(rows(2000, 20), nk.mlp(2, "gelu"), 60),
    "k-means++, 24 images, 6 landmarks": lambda: landmarks(images(24, 16), nk.myrtle(5), 6),
    "Nystroem, 4000 x 20 by 500 landmarks": nystroem,
    "exact learner, 1000 rows, predictions of 4000": exact_learner,
    "learner by Nystroem, 1024 landmarks, predictions of 2000": nystroem_learner,
    "ridge, 4000 rows, 1024 features": lambda: ridge(4000, 1024),
    "ridge, 6000 rows, 4096 features": lambda: ridge(6000, 4096),
    "exact learner, 3000 rows, evidence": lambda: exact_fit(3000),
}


@pytest.mark.parametrize("name", JOBS)
def bench_own(benchmark: Any, name: str) -> None:
    measure(benchmark, OURS, JOBS[name](), {}, group=name, threads=2, rounds=5)
