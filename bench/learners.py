"""Which method when: exact kernel, Nystroem and features as learners. `python bench/learners.py`.

Needs NKFAST_DATA=FOLDER with the real sets below; their names may follow on the command line. The
network of a set is the one that `tune_network` finds most probable on 1000 of its rows. Columns are
standardised, rows of text are as they come. Each fit runs in a process of its own on two threads
and one of the set's predefined splits: error on all test rows (root mean squared error, or share
of wrong classes, in percent), seconds of the fit, seconds of predictions per 10000 rows, and by how
many MB the memory of the process grew at most. First with 10000 rows, then with all.

`--kernel` prints the networks only; `--large` adds, for each set, 16384 features on all rows, and
to 10000 rows as many features, oversampled 3 times: a quarter of an hour and 11 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

import nkfast as nk

FEW = 10000
TUNED_ROWS = 1000
WIDTHS = (1024, 2048, 4096, 8192, 16384)
GRID: dict[str, list[Any]] = {
    "activation": ["relu", "gelu", "erf", "gaussian"],
    "depth": [1, 2, 3],
    "w_std": [0.5, 0.7, 1.0, 1.4],
    "b_std": [0.1, 0.5],
}
# Errors of gradient boosting (HistGradientBoosting with defaults), of ridge regression for text.
YARDSTICKS = {
    "reg_kin40k": 0.520,
    "reg_protein": 4.35,
    "reg_calhousing": 45600.0,
    "cls_letter": 8.0,
    "cls_adult": 13.7,
    "text_20news_stripped": 29.9,
}
Split = tuple[Any, Any, Any, Any]


def load(name: str) -> Split:
    """Return shuffled training rows and targets, and those of the test."""
    with np.load(Path(os.environ["NKFAST_DATA"]) / f"{name}.npz") as file:
        d = {k: file[k] for k in file.files}
    if "indptr" in d:
        X, y, X_new, y_new = text(d)
    elif "X_test" in d:
        X, y, X_new, y_new = d["X"], d["y"], d["X_test"], d["y_test"]
    else:
        n = len(d["X"])
        if "test_mask" in d:
            test = np.flatnonzero(d["test_mask"][:, 0])
        elif "cv0_test" in d:
            test = d["cv0_test"]
        else:
            test = np.random.default_rng(0).permutation(n)[: n // 10]
        train = np.setdiff1d(np.arange(n), test)
        X, y, X_new, y_new = d["X"][train], d["y"][train], d["X"][test], d["y"][test]
    if not sp.issparse(X):
        mean, std = X.mean(axis=0, dtype=np.float64), X.std(axis=0, dtype=np.float64)
        std[std == 0] = 1
        X, X_new = (((x - mean) / std).astype(np.float32) for x in (X, X_new))
    order = np.random.default_rng(1).permutation(X.shape[0])
    return X[order], y[order], X_new, y_new


def text(d: dict[str, Any]) -> Split:
    """Return rows of tf-idf, of norm 1."""
    row = np.repeat(np.arange(len(d["indptr"]) - 1), np.diff(d["indptr"]))
    total = np.cumsum(d["delta"].astype(np.int64))
    before = np.concatenate([[0], total])[d["indptr"][:-1]]  # columns are stored as steps in a row
    counts = sp.csr_array(
        (d["count"].astype(np.float32), total - before[row], d["indptr"]), shape=tuple(d["shape"])
    )
    counts.data *= d["idf"][counts.indices]
    norms = np.sqrt(counts.power(2).sum(axis=1))
    X = sp.csr_array(sp.diags(1 / np.maximum(norms, 1e-30)) @ counts).astype(np.float32)
    n = int(d["n_train"])
    return X[:n], d["y"][:n], X[n:], d["y"][n:]


def tuned(name: str) -> dict[str, Any]:
    """Return the parameters that are most probable on some rows."""
    X, y, *_ = load(name)
    if name.startswith("reg"):
        targets = (y - y.mean()) / y.std()
    else:
        targets = np.where(y[:, None] == np.unique(y), 1.0, -1.0)
    found = nk.tune_network(X, targets, grid=GRID, n_rows=TUNED_ROWS, random_state=0)
    return found.params


def learner(name: str, params: dict[str, Any], method: str, m: int) -> Any:
    net = nk.mlp(**params)
    options: dict[str, Any] = {"random_state": 0}
    if method.startswith("oversampled"):  # 4 times, or as many as stand behind it
        times = int(method.removeprefix("oversampled") or 4)
        options["features"] = nk.NTKFeatures(net, m, oversampling=times)
    else:
        options |= {"net": net, "n_components": m, "method": method}
    if name.startswith("reg"):
        return nk.NTKRegressor(**options, alpha="evidence")
    return nk.NTKClassifier(**options)


def memory(entry: str) -> float:
    """Return MB of this process."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split(f"{entry}:")[1].split()[0]) / 1024


def measure(name: str, params: dict[str, Any], method: str, m: int, rows: int) -> dict[str, float]:
    """Fit and predict here."""
    X, y, X_new, y_new = load(name)
    X, y = X[:rows], y[:rows]
    if rows:  # what the first call costs: threads, tables
        learner(name, params, "sketch", 64).fit(X[:100], y[:100]).predict(X_new[:10])
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts here
    before = memory("VmRSS")
    model = learner(name, params, method, m)
    start = time.perf_counter()
    model.fit(X, y)
    fitted = time.perf_counter()
    found = model.predict(X_new)
    end = time.perf_counter()
    if name.startswith("reg"):
        error = float(np.sqrt(np.mean((found.astype(np.float64) - y_new) ** 2)))
    else:
        error = 100 * float(np.mean(found != y_new))
    return {
        "error": error,
        "fit": fitted - start,
        "predict": (end - fitted) * 10000 / X_new.shape[0],
        "memory": memory("VmHWM") - before,
    }


def in_a_process(*task: Any) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, __file__, "--task", json.dumps(task)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "2"},
    )
    return dict(json.loads(done.stdout))


def table(name: str, *, large: bool) -> None:
    params = tuned(name)
    X = load(name)[0]
    print(f"\n{name}: {X.shape[0]} x {X.shape[1]}, {params}, yardstick {YARDSTICKS[name]:g}")
    print(f"{'rows':>6} {'method':<18} {'error':>9} {'fit s':>7} {'predict s':>9} {'MB':>6}")
    few: list[tuple[str, int]] = [("exact", 0)]
    few += [("nystroem", m) for m in (1024, 4096)] + [("sketch", m) for m in WIDTHS]
    few += [("oversampled", m) for m in (1024, 2048)]
    every = [("nystroem", m) for m in (1024, 4096)] + [("sketch", m) for m in WIDTHS[:4]]
    every += [("oversampled", m) for m in (1024, 2048)]
    if large:
        few.append(("oversampled3", FEW))
        every.append(("sketch", WIDTHS[-1]))
    todo = [(min(FEW, X.shape[0]), *which) for which in few]
    todo += [(X.shape[0], *which) for which in every]
    for rows, method, m in todo:
        r = in_a_process(name, params, method, max(m, 1), rows)
        print(
            f"{rows:6d} {method + (f' {m}' if m else ''):<18} {r['error']:9.4g} {r['fit']:7.1f} "
            f"{r['predict']:9.2f} {r['memory']:6.0f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(YARDSTICKS))
    parser.add_argument("--kernel", action="store_true")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--task", type=json.loads)
    options = parser.parse_args()
    if options.task:
        print(json.dumps(measure(*options.task)))
        return
    for name in options.names:
        if options.kernel:
            print(name, tuned(name))
        else:
            table(name, large=options.large)


if __name__ == "__main__":
    main()
