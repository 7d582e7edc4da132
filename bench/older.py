"""Times of this nkfast over those of another one, such as an older commit, in one run.

    python bench/older.py PYTHON [JOB ...]

PYTHON is the interpreter of an environment that holds the other. Each job is done by both in turns,
a round each, in processes that stay; printed are the medians of wall and CPU time of this one over
the other one, and the range of the rounds' wall ratios.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from typing import Any

ROUNDS = 7

JOBS = {
    "exact ReLU, 3000 x 64, depth 3, float32": (
        "X = rng.standard_normal((3000, 64)).astype('f'); net = nk.mlp(3); out = net.ntk(X)",
        "net.ntk(X, out=out)",
    ),
    "exact GELU, 2000 x 64, depth 3": (
        "X = rng.standard_normal((2000, 64)); net = nk.mlp(3, 'gelu'); out = net.ntk(X)",
        "net.ntk(X, out=out)",
    ),
    "exact tanh, 1500 x 64, depth 2": (
        "X = rng.standard_normal((1500, 64)); net = nk.mlp(2, 'tanh'); out = net.ntk(X)",
        "net.ntk(X, out=out)",
    ),
    "exact CNTK, 8 images, Myrtle-5": (
        "X = rng.standard_normal((8, 32, 32, 3)).astype('f'); net = nk.myrtle(5)",
        "net.ntk(X)",
    ),
    "4096 features, 4000 x 64, float32": (
        (
            "X = rng.standard_normal((4000, 64)).astype('f');"
            "phi = nk.NTKFeatures(nk.mlp(3), 4096, random_state=0).fit(X[:500])"
        ),
        "phi.transform(X)",
    ),
    "features by layers, 2000 x 64, float32": (
        (
            "X = rng.standard_normal((2000, 64)).astype('f');"
            "phi = nk.NTKFeatures(nk.mlp(2), 1024, construction='layerwise', random_state=0)"
            ".fit(X[:500])"
        ),
        "phi.transform(X)",
    ),
    "CNTK features, 20 images, 1024": (
        (
            "X = rng.standard_normal((20, 32, 32, 3)).astype('f');"
            "phi = nk.NTKFeatures(nk.myrtle(5), 1024, random_state=0).fit(X)"
        ),
        "phi.transform(X)",
    ),
    "TensorSketch, 4000 x 256 to 1024": (
        (
            "X = rng.standard_normal((4000, 256)).astype('f');"
            "s = nk.sketch.TensorSketch(2, 1024, random_state=0).fit(X)"
        ),
        "s.transform(X)",
    ),
    "Walsh-Hadamard, 4096 x 1024": ("X = rng.standard_normal((4096, 1024))", "nk.fwht(X)"),
    "fit, digits, GELU": (
        "from sklearn.datasets import load_digits; X = load_digits().data / 16",
        "nk.NTKFeatures(nk.mlp(2, 'gelu'), 1024, random_state=0).fit(X)",
    ),
    "k-means++, 2000 x 20, 60 landmarks": (
        "X = rng.standard_normal((2000, 20)); net = nk.mlp(2, 'gelu')",
        "nk.Nystroem(net, 60, selection='kmeans++', random_state=0).fit(X)",
    ),
    "k-means++, 24 images of a pooled network, 6 landmarks": (
        "X = rng.standard_normal((24, 16, 16, 3)); net = nk.myrtle(5)",
        "nk.Nystroem(net, 6, selection='kmeans++', random_state=0).fit(X)",
    ),
    "Nystroem, 4000 x 20 by 500 landmarks": (
        (
            "X = rng.standard_normal((4000, 20)); phi = nk.Nystroem(nk.mlp(2), 500, random_state=0)"
            ".fit(X)"
        ),
        "phi.transform(X)",
    ),
    "exact learner, 1000 rows, predictions of 4000": (
        (
            "X = rng.standard_normal((4000, 20)); model = nk.NTKRegressor(nk.mlp(2, 'gelu'),"
            "method='exact', alpha=0.1, block_size=500).fit(X[:1000], X[:1000, 0])"
        ),
        "model.predict(X)",
    ),
    "learner by Nystroem, 1024 landmarks, predictions of 2000": (
        (
            "X = rng.standard_normal((3000, 20)); model = nk.NTKRegressor(nk.mlp(2), 1024,"
            "method='nystroem', alpha=0.1, random_state=0).fit(X, X[:, 0])"
        ),
        "model.predict(X[:2000])",
    ),
    "ridge, 6000 rows, 4096 features": (
        "X = rng.standard_normal((6000, 20)); y = X[:, 0] + rng.standard_normal(6000)",
        "nk.NTKRegressor(nk.mlp(1), 4096, random_state=0).fit(X, y)",
    ),
    "exact learner, 4000 rows, evidence": (
        "X = rng.standard_normal((4000, 20)); y = np.abs(X[:, 0]) + rng.standard_normal(4000)",
        "nk.NTKRegressor(nk.mlp(2), method='exact', alpha='evidence').fit(X, y)",
    ),
    "ridge, 4000 rows, 1024 features": (
        "X = rng.standard_normal((4000, 20)); y = X[:, 0]",
        "nk.NTKRegressor(nk.mlp(1), 1024, random_state=0).fit(X, y)",
    ),
}

WORKER = """
import json, sys, time
import numpy as np, nkfast as nk
for line in sys.stdin:
    prepare, job = json.loads(line)
    if prepare:
        names = {"np": np, "nk": nk, "rng": np.random.default_rng(0)}
        exec(prepare, names)
        exec(job, names)
    start, cpu = time.perf_counter(), time.process_time()
    exec(job, names)
    print(json.dumps([time.perf_counter() - start, time.process_time() - cpu]), flush=True)
"""


class Worker:
    """A process that times jobs."""

    def __init__(self, python: str) -> None:
        self.process = subprocess.Popen(
            [python, "-c", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def time(self, prepare: str | None, job: str) -> tuple[float, float]:
        """Return wall and CPU seconds."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([prepare, job]) + "\n")
        self.process.stdin.flush()
        wall, cpu = json.loads(self.process.stdout.readline())
        return wall, cpu


def compare(ours: Worker, other: Worker, prepare: str, job: str) -> dict[str, Any]:
    """Return medians of the ratios of both, and the range of that of wall times."""
    walls, cpus, seconds = [], [], []
    for i in range(ROUNDS + 1):
        first = prepare if i == 0 else None
        ours_now, other_now = ours.time(first, job), other.time(first, job)
        if i > 0:
            walls.append(ours_now[0] / other_now[0])
            cpus.append(ours_now[1] / max(other_now[1], 1e-9))
            seconds.append(ours_now[1])
    return {
        "wall": statistics.median(walls),
        "cpu": statistics.median(cpus),
        "range": (min(walls), max(walls)),
        "seconds": statistics.median(seconds),
    }


def main(arguments: list[str]) -> None:
    """Print the table."""
    ours, other = Worker(sys.executable), Worker(arguments[0])
    chosen = {k: v for k, v in JOBS.items() if all(a in k for a in arguments[1:])}
    print(f"{'job':<55} {'wall':>6} {'CPU':>6}  {'wall, range':>12}  CPU s of this one")
    for name, (prepare, job) in chosen.items():
        found = compare(ours, other, prepare, job)
        low, high = found["range"]
        print(
            f"{name:<55} {found['wall']:>6.2f} {found['cpu']:>6.2f}  {low:>5.2f}-{high:<5.2f}  "
            f"{found['seconds']:.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
