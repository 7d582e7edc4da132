"""Rows per second of NTK features beside scikit-learn's kernel approximations of equal width.

Then two threads beside one, and CSR rows by their numbers of nonzeros and of columns, which have no
rival here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.kernel_approximation import PolynomialCountSketch, RBFSampler
from sklearn.metrics.pairwise import polynomial_kernel, rbf_kernel

import nkfast as nk
from harness import OURS, measure, relative_error

N_ROWS, WIDTH = 2048, 4096
DEPTHS = (1, 3, 10)
RIVALS = ("RBFSampler", "PolynomialCountSketch(4)")
Transform = Callable[[NDArray[Any]], NDArray[Any]]


@cache
def data(d: int) -> NDArray[Any]:
    x = np.random.default_rng(0).standard_normal((N_ROWS, d))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x.astype(np.float32)


@cache
def ntk_map(d: int, depth: int) -> Transform:
    net = nk.mlp(depth)
    phi = nk.NTKFeatures(net, WIDTH, random_state=0).fit(data(d))
    few = data(d)[:300]
    z = phi.transform(few)
    assert z.shape == (300, WIDTH)
    assert z.dtype == np.float32
    assert relative_error(z @ z.T, net.ntk(few)) < 0.1
    transform: Transform = phi.transform
    return transform


@cache
def rival_map(d: int, name: str) -> Transform:
    few = data(d)[:300]
    if name == "RBFSampler":
        phi = RBFSampler(gamma=0.5, n_components=WIDTH, random_state=0).fit(data(d))
        exact = rbf_kernel(few, gamma=0.5)
    else:
        phi = PolynomialCountSketch(degree=4, n_components=WIDTH, coef0=1, random_state=0).fit(
            data(d)
        )
        exact = polynomial_kernel(few, degree=4, gamma=1, coef0=1)
    z = phi.transform(few)
    assert z.shape == (300, WIDTH)
    assert relative_error(z @ z.T, exact) < 0.3
    transform: Transform = phi.transform
    return transform


@pytest.mark.parametrize("rival", [*(f"{OURS} depth {k}" for k in DEPTHS), *RIVALS])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("d", [64, 1024])
def bench_features(benchmark: Any, d: int, threads: int, rival: str) -> None:
    x = data(d)
    maps = {f"depth {k}": ntk_map(d, k) for k in DEPTHS}
    ours = rival not in RIVALS
    transform = maps[rival.removeprefix(OURS + " ")] if ours else rival_map(d, rival)
    measure(
        benchmark,
        rival,
        lambda: transform(x),
        {} if ours else {name: lambda f=f: f(x) for name, f in maps.items()},  # type: ignore[misc]
        group=f"features d={d} width={WIDTH} threads={threads}",
        threads=threads,
        rounds=9,
        pause=0.0 if threads == 1 else 0.2,
        rows=N_ROWS,
        d=d,
    )
    if benchmark.stats is not None:  # None under --benchmark-disable
        benchmark.extra_info["rows_per_second"] = round(N_ROWS / benchmark.stats.stats.median)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("d", [64, 1024])
def bench_two_threads(benchmark: Any, d: int, depth: int) -> None:
    x, transform = data(d), ntk_map(d, depth)

    def with_one() -> None:
        with nk.num_threads(1):
            transform(x)

    measure(
        benchmark,
        f"depth {depth} on one thread",
        with_one,
        {f"depth {depth}": lambda: transform(x)},
        group=f"features d={d} width={WIDTH} threads=2",
        own=True,
        threads=2,
        rounds=31,
        rows=N_ROWS,
        d=d,
    )


@cache
def sparse_rows(d: int, nnz: int) -> Any:
    """Return rows of about `nnz` random entries."""
    rng = np.random.default_rng(0)
    columns = np.sort(rng.integers(0, d, (N_ROWS, nnz)), axis=1).ravel()
    values = rng.standard_normal(N_ROWS * nnz).astype(np.float32)
    x = sp.csr_array((values, columns, np.arange(0, len(columns) + 1, nnz)), shape=(N_ROWS, d))
    x.sum_duplicates()
    return x


@pytest.mark.parametrize("nnz", [50, 200, 800])
@pytest.mark.parametrize("d", [10**4, 10**5, 10**6])
def bench_csr(benchmark: Any, d: int, nnz: int) -> None:
    x = sparse_rows(d, nnz)
    phi = nk.NTKFeatures(nk.mlp(3, w_std=1.4, b_std=0.1), WIDTH, random_state=0).fit(x)
    measure(
        benchmark,
        f"{OURS} d={d} nnz={nnz}",
        lambda: phi.transform(x),
        {},
        group=f"CSR features width={WIDTH} threads=1",
        threads=1,
        rounds=5,
        rows=N_ROWS,
        d=d,
    )
