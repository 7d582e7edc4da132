"""Walsh-Hadamard transforms of rows that stay in cache."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness import OURS, measure, wht
from rivals.wht import Butterflies, Kronecker, Matrix

# One thread on a batch of 512 KB; two threads on 2 MB for each: less is not worth a thread.
BATCHES = {1: 512 * 1024, 2: 4 * 1024 * 1024}
RIVALS: dict[str, type[Butterflies] | type[Kronecker] | type[Matrix]] = {
    "numpy": Butterflies,
    "numpy + BLAS": Kronecker,
    "scipy + BLAS": Matrix,
}
CASES = [
    (n, dtype, threads, name)
    for threads in BATCHES
    for dtype in ("float32", "float64")
    for n in (64, 256, 1024, 4096, 16384)
    for name in (OURS, *RIVALS)
    if name != "scipy + BLAS" or n <= 4096  # its matrix has n^2 entries
]


@pytest.mark.parametrize(("n", "dtype", "threads", "rival"), CASES)
def bench_wht(benchmark: Any, n: int, dtype: str, threads: int, rival: str) -> None:
    size = BATCHES[threads] // np.dtype(dtype).itemsize
    x = np.random.default_rng(0).standard_normal((size // n, n)).astype(dtype)
    before = x.copy()
    ours, theirs = x.copy(), x.copy()
    job: Any = wht if rival == OURS else RIVALS[rival](x)

    tolerance = 20 * float(np.finfo(dtype).eps) * n**0.5
    assert np.allclose(job(x.copy()), wht(x.copy()), rtol=0, atol=tolerance)
    assert np.allclose(wht(wht(x)), before, rtol=0, atol=tolerance)
    measure(
        benchmark,
        rival,
        lambda: job(theirs),
        {} if rival == OURS else {OURS: lambda: wht(ours)},
        group=f"wht n={n} {dtype} threads={threads}",
        threads=threads,
        rounds=5 if rival == "scipy + BLAS" else 31,
        n=n,
        dtype=dtype,
        batch_bytes=BATCHES[threads],
    )
