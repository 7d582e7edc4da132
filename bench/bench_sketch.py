"""Sketches of rows and of tall matrices: CountSketch, TensorSketch, SRHT, and cost in nnz and d."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.linalg import clarkson_woodruff_transform
from sklearn.kernel_approximation import PolynomialCountSketch

import nkfast as nk
from harness import OURS, measure, relative_error
from nkfast.sketch import OSNAP, SRHT, CountSketch, PolySketch, TensorSketch

Array = NDArray[Any]
THREADS = 2


def csr(rng: np.random.Generator, n: int, d: int, nnz: int, dtype: str = "float64") -> sp.csr_array:
    """Return rows of nnz nonzeros each (fewer where a column is drawn twice), of unit norm."""
    columns = rng.integers(0, d, (n, nnz)).astype(np.int32)
    values = rng.standard_normal((n, nnz)).astype(dtype) / np.sqrt(nnz).astype(dtype)
    starts = np.arange(n + 1, dtype=np.int32) * nnz
    X = sp.csr_array((values.ravel(), columns.ravel(), starts), shape=(n, d))
    X.sum_duplicates()
    return X


def array_bytes(X: Any) -> int:
    parts = (X.data, X.indices, X.indptr) if sp.issparse(X) else (X,)
    return sum(int(part.nbytes) for part in parts)


def threaded_copy(source: Array, target: Array, pool: ThreadPoolExecutor) -> None:
    """Copy by as many threads as nkfast gets."""
    parts = zip(np.array_split(target, THREADS), np.array_split(source, THREADS), strict=True)
    for job in [pool.submit(np.copyto, to, part) for to, part in parts]:
        job.result()


def rates(benchmark: Any, ours: int, theirs: int) -> None:
    """Note GB/s of both, from the bytes that each reads and writes."""
    if benchmark.stats is None:  # under --benchmark-disable
        return
    info = benchmark.extra_info
    rival = theirs / benchmark.stats.stats.median / 1e9
    mine = ours / info["ours_median"][OURS] / 1e9
    info.update(
        copy_GB_per_second=round(rival, 2),
        nkfast_GB_per_second=round(mine, 2),
        share_of_copy=round(mine / rival, 3),
    )
    print(f"\n{benchmark.group}: {mine:.1f} GB/s, {info['rival']} {rival:.1f} GB/s")


# --- CountSketch: bytes per second beside a memory copy ---


@pytest.mark.parametrize("kind", ["dense", "csr"])
def bench_count_sketch(benchmark: Any, kind: str) -> None:
    """`transform` allocates its output, so the copy gets a fresh target too.

    The kernel clears fresh memory while it is written to; both pay for it.
    """
    rng = np.random.default_rng(0)
    m = 4096
    X = (
        rng.standard_normal((100_000, 1024), dtype=np.float32)
        if kind == "dense"
        else csr(rng, 100_000, 100_000, 100, "float32")
    )
    sketch = CountSketch(m, random_state=0).fit(X)
    few = X[:200]
    S = np.zeros((X.shape[1], m), np.float32)
    S[np.arange(X.shape[1]), sketch.hashes_[:, 0]] = sketch.values_[:, 0]
    assert np.allclose(sketch.transform(few), few @ S, rtol=0, atol=1e-4)

    moved = array_bytes(X) + X.shape[0] * m * 4
    source = np.ones(moved // 8, np.float32)  # read once and written once: as many bytes
    with ThreadPoolExecutor(THREADS) as pool:
        measure(
            benchmark,
            "copy",
            lambda: threaded_copy(source, np.empty_like(source), pool),
            {OURS: lambda: sketch.transform(X)},
            group=f"CountSketch {kind} threads={THREADS}",
            threads=THREADS,
            rounds=7,
            moved_bytes=moved,
        )
    rates(benchmark, moved, 2 * source.nbytes)


# --- TensorSketch beside scikit-learn ---


@pytest.mark.parametrize(
    ("kind", "degree", "m", "dtype"),
    [
        ("dense", 2, 1024, "float64"),
        ("dense", 2, 1024, "float32"),
        ("dense", 4, 4096, "float64"),
        ("dense", 4, 4096, "float32"),
        ("csr", 2, 1024, "float64"),
    ],
)
def bench_tensor_sketch(benchmark: Any, kind: str, degree: int, m: int, dtype: str) -> None:
    rng = np.random.default_rng(0)
    n = 2048
    if kind == "dense":
        X = rng.standard_normal((n, 256)).astype(dtype)
        X /= np.linalg.norm(X, axis=1, keepdims=True)
    else:
        X = csr(rng, n, 100_000, 100, dtype)
    rows = X[:300]
    exact = (
        np.asarray((rows @ rows.T).todense() if sp.issparse(X) else rows @ rows.T) + 1
    ) ** degree
    ours = TensorSketch(degree, m, gamma=1.0, coef0=1.0, random_state=0).fit(X)
    theirs = PolynomialCountSketch(
        degree=degree, n_components=m, gamma=1.0, coef0=1.0, random_state=0
    ).fit(X)
    for phi in (ours, theirs):
        z = phi.transform(rows)
        assert relative_error(z @ z.T, exact) < 0.5
    measure(
        benchmark,
        "PolynomialCountSketch",
        lambda: theirs.transform(X),
        {OURS: lambda: ours.transform(X)},
        group=f"TensorSketch {kind} q={degree} m={m} {dtype}",
        threads=THREADS,
        rounds=9 if kind == "dense" else 1,  # scikit-learn goes through d columns: some ten seconds
        rows=n,
        d=X.shape[1],
    )


# --- cost on CSR rows: in the nonzeros, not in the features ---

SKETCHES: dict[str, Callable[[], Any]] = {
    "CountSketch": lambda: CountSketch(1024, random_state=0),
    "OSNAP": lambda: OSNAP(1024, 4, random_state=0),
    "TensorSketch": lambda: TensorSketch(2, 1024, random_state=0),
    "PolySketch": lambda: PolySketch(3, 1024, random_state=0),
}


@pytest.mark.parametrize("n", [64, 2048])
@pytest.mark.parametrize("name", SKETCHES)
def bench_csr_width(benchmark: Any, name: str, n: int) -> None:
    """100 nonzeros a row of 1e6 features beside 100 nonzeros of 1e3: the ratio is about 1.

    What remains is the caches' doing: hashes and signs of 1e6 features do not fit into them.
    """
    rng = np.random.default_rng(0)
    jobs = {}
    for d in (1_000, 1_000_000):
        X = csr(rng, n, d, 100)
        sketch = SKETCHES[name]().fit(X)
        assert np.array_equal(sketch.transform(X)[:8], sketch.transform(X[:8]))
        jobs[d] = lambda sketch=sketch, X=X: sketch.transform(X)
    measure(
        benchmark,
        "with d=1e6",
        jobs[1_000_000],
        {OURS: jobs[1_000]},
        group=f"{name} csr {n} rows, d=1e3",
        own=True,
        threads=THREADS,
        rounds=31,
    )


# --- SRHT of a tall matrix's rows ---

TALL, WIDE, KEPT = 65536, 1024, 4096


@cache
def tall() -> Array:
    return np.random.default_rng(0).standard_normal((TALL, WIDE)).astype(np.float32)


@cache
def subspace() -> Array:
    """Return an orthonormal basis of 128 of the columns: what is embedded."""
    q: Array = np.linalg.qr(tall()[:, :128])[0]
    return q


def embedding_error(SU: Array) -> float:
    return float(np.linalg.norm(SU.T @ SU - np.eye(SU.shape[1]), 2))


@pytest.mark.parametrize("rival", ["Gaussian, BLAS", "clarkson_woodruff"])
def bench_sketch_rows(benchmark: Any, rival: str) -> None:
    """S A for A of 65536 x 1024, to 4096 rows: each job ends with the finished array.

    The Gaussian matrix is drawn before; scipy's transform draws its hashes in each call, which is
    below 1 % of its time.
    """
    A, U = tall(), subspace()
    sketch = SRHT(KEPT, random_state=0).fit_rows(A)
    ours = sketch.sketch_rows(U)
    if rival == "Gaussian, BLAS":
        G = np.random.default_rng(1).standard_normal((KEPT, TALL), dtype=np.float32)
        G /= np.float32(KEPT**0.5)
        job: Callable[[], Array] = lambda: G @ A  # noqa: E731
        theirs = G @ U
    else:
        job = lambda: clarkson_woodruff_transform(A, KEPT, np.random.default_rng(1))  # noqa: E731
        theirs = clarkson_woodruff_transform(U, KEPT, np.random.default_rng(1))
    errors = {OURS: embedding_error(ours), rival: embedding_error(theirs)}
    assert errors[OURS] < 0.5
    assert errors[rival] < 1
    measure(
        benchmark,
        rival,
        job,
        {OURS: lambda: sketch.sketch_rows(A)},
        group=f"SRHT of rows, {TALL} x {WIDE} to {KEPT}",
        threads=THREADS,
        rounds=5,
        embedding_errors={name: round(error, 3) for name, error in errors.items()},
    )


# --- Walsh-Hadamard transforms: what the second thread brings ---


@pytest.mark.parametrize("n", [64, 256, 1024, 4096, 16384])
def bench_wht_threads(benchmark: Any, n: int) -> None:
    """One thread beside two, on 1.5 MB: 768 KB for each core's second-level cache.

    Many transforms at a time, since the other's turn has emptied the caches.
    """
    x = np.random.default_rng(0).standard_normal((1536 * 1024 // 4 // n, n)).astype(np.float32)
    one, two = x.copy(), x.copy()

    def job(y: Array, threads: int) -> None:
        with nk.num_threads(threads):
            for _ in range(200):
                nk.fwht(y, norm="ortho", out=y)

    job(one, 1)
    job(two, THREADS)
    assert np.array_equal(one, two)
    measure(
        benchmark,
        "one thread",
        lambda: job(one, 1),
        {OURS: lambda: job(two, THREADS)},
        group=f"wht n={n} float32, two threads on 1.5 MB",
        own=True,
        threads=THREADS,
        rounds=31,
    )


@pytest.mark.parametrize("n", [64, 1024, 16384])
def bench_wht_memory(benchmark: Any, n: int) -> None:
    """256 MB in place beside a copy of 256 MB into another array, both by two threads."""
    x = np.random.default_rng(0).standard_normal((2**26 // n, n), dtype=np.float32)
    y = np.empty_like(x)
    few = x[:10].copy()
    assert np.allclose(nk.fwht(nk.fwht(few, norm="ortho"), norm="ortho"), few, rtol=0, atol=1e-4)
    with ThreadPoolExecutor(THREADS) as pool:
        measure(
            benchmark,
            "copy",
            lambda: threaded_copy(x, y, pool),
            {OURS: lambda: nk.fwht(x, norm="ortho", out=x)},
            group=f"wht n={n} float32, 256 MB",
            threads=THREADS,
            rounds=9,
        )
    rates(benchmark, 2 * x.nbytes, 2 * x.nbytes)
