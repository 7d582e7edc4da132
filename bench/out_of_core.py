"""Memory of fits that stream: `python bench/out_of_core.py [fit | file | dask ...]`.

Each part writes float32 rows to a temporary folder and fits in a process of its own, whose peak
memory (everything, pages of mapped files included) it prints.

fit   `NTKRegressor(n_components=2048).fit` on memory-mapped rows of 64 columns: 500,000 and
      2,000,000 of them.
file  `nkfast fit` on a .npy file of 2 GB (2,000,000 rows of 256 columns, the target in the last),
      and how far the predictions are from those of the same fit in Python.
dask  `nkfast.dask.fit` with 1024 features on 600,000 rows of 64 columns in blocks of 20,000 and of
      60,000, by one and by four worker processes: largest difference of the coefficients to the
      fit in memory, relative to the largest coefficient, and the peak memory of the largest worker.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import numpy as np

import nkfast as nk

COLUMNS, WIDE = 64, 256
PARTS = ("fit", "file", "dask")


def write(path: Path, n: int, d: int = COLUMNS) -> None:
    """Write rows; the last column is a function of the others, with noise."""
    rng = np.random.default_rng(0)
    X = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n, d))
    for start in range(0, n, 100_000):
        block = rng.standard_normal((min(100_000, n - start), d), dtype=np.float32)
        block[:, -1] = np.abs(block[:, 0]) + block[:, 1] * block[:, 2] + 0.1 * block[:, -1]
        X[start : start + len(block)] = block
    X.flush()
    np.save(path.with_suffix(".y.npy"), X[:, -1])


def in_a_process(*arguments: str) -> None:
    subprocess.run([sys.executable, __file__, "--", *arguments], check=True)


def peak(process: str = "self") -> float:
    """Return the peak memory of a process in MB, 0 if it has ended.

    Not that of `getrusage`, which begins with the memory of the process that started it.
    """
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    except (OSError, IndexError):
        return 0.0


class Children:
    """A context in which the processes that this one starts are watched.

    Attributes
    ----------
    peak : float
        Of the largest, in MB.
    """

    def __enter__(self) -> Self:
        self.peak = 0.0
        self._done = threading.Event()
        self._watch = threading.Thread(target=self._look)
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._watch.join()

    def _look(self) -> None:
        while not self._done.wait(0.02):
            for thread in Path("/proc/self/task").iterdir():
                with suppress(OSError):
                    for child in (thread / "children").read_text(encoding="ascii").split():
                        self.peak = max(self.peak, peak(child))


def fit(path: Path, width: int) -> None:
    y = np.load(path.with_suffix(".y.npy"))
    X = np.load(path, mmap_mode="r")
    start_time = time.perf_counter()
    model = nk.NTKRegressor(nk.mlp(2), width, random_state=0).fit(X, y)
    seconds = time.perf_counter() - start_time
    print(f"fit, {len(X):,} rows: {seconds:.0f} s, peak {peak():.0f} MB, alpha {model.alpha_:.3g}")


def fit_file(path: Path) -> None:
    """Fit by the command and by the same calls in Python; compare the predictions."""
    import joblib

    model_file, found = path.with_suffix(".joblib"), path.with_suffix(".predicted.npy")
    some = path.with_suffix(".some.npy")
    X = np.load(path, mmap_mode="r")
    np.save(some, X[:: len(X) // 10_000])
    run = [sys.executable, "-m", "nkfast"]
    target = ["--target", "-1", "--quiet"]
    start = time.perf_counter()
    with Children() as children:
        subprocess.run([*run, "fit", path, *target, "--output", model_file], check=True)
    print(
        f"nkfast fit, {path.stat().st_size / 1e9:.2f} GB: {time.perf_counter() - start:.0f} s, "
        f"peak {children.peak:.0f} MB",
        flush=True,
    )
    subprocess.run([*run, "predict", model_file, some, *target, "--output", found], check=True)
    model = nk.NTKRegressor(nk.mlp(2, b_std=0.1), 2048, random_state=0)
    model.fit_blocks((X[i : i + 8192, :-1], X[i : i + 8192, -1]) for i in range(0, len(X), 8192))
    rows = np.load(some)
    expected = model.predict(rows[:, :-1])
    difference = np.abs(np.load(found) - expected).max() / expected.std()
    same = np.abs(joblib.load(model_file).coef_ - model.coef_).max() / np.abs(model.coef_).max()
    print(f"from Python: coefficients differ by {same:.1e}, predictions by {difference:.1e}")


def lazy(path: Path, size: int) -> Any:
    """Return the rows of a file as a Dask array, whose blocks are read by the workers."""
    import dask
    import dask.array as da

    def read(start: int) -> Any:
        return np.array(np.load(path, mmap_mode="r")[start : start + size])

    n = np.load(path, mmap_mode="r").shape[0]
    parts = [
        da.from_delayed(dask.delayed(read)(i), (min(size, n - i), COLUMNS), np.float32)
        for i in range(0, n, size)
    ]
    return da.concatenate(parts)


def fit_by_workers(path: Path, size: int, workers: int) -> None:
    import dask

    from nkfast.dask import fit as fit_dask

    X = np.load(path, mmap_mode="r")
    model = nk.NTKRegressor(nk.mlp(2), 1024, random_state=0)

    def blocks() -> Iterator[Any]:
        for i in range(0, len(X), size):
            yield X[i : i + size, :-1], X[i : i + size, -1]

    expected = model.fit_blocks(blocks()).coef_.copy()
    rows = lazy(path, size)
    with dask.config.set(scheduler="processes", num_workers=workers), Children() as children:
        start = time.perf_counter()
        fit_dask(model, rows[:, :-1], rows[:, -1])
        seconds = time.perf_counter() - start
    difference = np.abs(model.coef_ - expected).max() / np.abs(expected).max()
    print(
        f"dask, {len(X):,} rows in blocks of {size:,}, {workers} processes: {seconds:.0f} s, "
        f"largest worker {children.peak:.0f} MB, coefficients differ by {difference:.1e}"
    )


def main() -> None:
    if sys.argv[1:2] == ["--"]:
        part, name, *numbers = sys.argv[2:]
        parts: dict[str, Any] = {"fit": fit, "file": fit_file, "dask": fit_by_workers}
        parts[part](Path(name), *map(int, numbers))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        for part in sys.argv[1:] or PARTS:
            if part == "fit":
                for n in (500_000, 2_000_000):
                    write(path, n)
                    in_a_process("fit", str(path), "2048")
            elif part == "file":
                write(path, 2_000_000, WIDE)
                in_a_process("file", str(path))
            elif part == "dask":
                write(path, 600_000)
                for size in (20_000, 60_000):
                    for workers in (1, 4):
                        in_a_process("dask", str(path), str(size), str(workers))
            else:
                raise SystemExit(f"expected some of {', '.join(PARTS)}, got {part!r}")


if __name__ == "__main__":
    main()
