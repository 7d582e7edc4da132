"""Measure the sketches: writes the pictures and the tables of docs/sketching.md.

python docs/make_sketching.py          # errors, then cost
python docs/make_sketching.py cost     # only one of them
"""

from __future__ import annotations

import re
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import matplotlib as mpl
import numpy as np
import scipy.sparse as sp

mpl.use("Agg")
import matplotlib.pyplot as plt

import nkfast as nk
from nkfast.sketch import OSNAP, SRHT, CountSketch, PolySketch, TensorSketch

HERE = Path(__file__).parent
SEEDS = 15
COLOURS = {
    "CountSketch": "#d55e00",
    "OSNAP": "#0072b2",
    "SRHT": "#009e73",
    "TensorSketch": "#cc79a7",
    "PolySketch": "#e69f00",
}


def kernel_error(sketch: Any, X: np.ndarray, K: np.ndarray) -> float:
    """Root mean square over seeds of the relative Frobenius error of Z Z^T."""
    errors = []
    for seed in range(SEEDS):
        Z = sketch.set_params(random_state=seed).fit_transform(X)
        errors.append(np.linalg.norm(Z @ Z.T - K) / np.linalg.norm(K))
    return float(np.sqrt(np.mean(np.square(errors))))


def pair_terms(X: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """c^2, A and B of the user guide for all pairs of rows."""
    c = X @ X.T
    norms = np.sum(X**2, axis=1)
    Q = X**2 @ (X**2).T
    return c**2, np.outer(norms, norms) - Q, c**2 - Q


def inner_products(axis: Any) -> None:
    """Inner products of rows: variance V / m, and less without replacement."""
    d = 1024
    X = np.random.default_rng(0).standard_normal((40, d)) + 0.3
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    K = X @ X.T
    _, A, B = pair_terms(X)
    V = np.sum(A + B) / np.linalg.norm(K) ** 2
    sizes = 2 ** np.arange(4, 13)
    fine = np.geomspace(16, 4096, 200)
    axis.plot(fine, np.sqrt(V / fine), color="0.3", lw=1, label=r"$\sqrt{V/m}$")
    below = np.linspace(16, d - 0.2, 2000)
    axis.plot(
        below,
        np.sqrt(V / below * (d - below) / (d - 1)),
        color="0.3",
        lw=1,
        ls="--",
        label=r"$\sqrt{V/m \cdot (L-m)/(L-1)}$",
    )
    for make, marker in ((CountSketch, "o"), (OSNAP, "s"), (SRHT, "^")):
        used = sizes if make is not SRHT else np.array([*sizes[sizes < d], 768, 960])
        errors = [kernel_error(make(int(m)), X, K) for m in used]
        look = {"ms": 10, "mfc": "none", "mew": 1.6} if make is CountSketch else {"ms": 5}
        axis.plot(used, errors, marker, color=COLOURS[make.__name__], label=make.__name__, **look)
    axis.set_title(f"Inner products, d = L = {d}")
    axis.set_ylim(1e-2, 3)
    axis.annotate(
        "SRHT: exact\nat m = L",
        (1015, 1.15e-2),
        (60, 1.5e-2),
        color=COLOURS["SRHT"],
        arrowprops={"arrowstyle": "->", "color": COLOURS["SRHT"]},
        va="center",
    )


def polynomial(axis: Any, degree: int = 4) -> None:
    """Polynomial kernel: TensorSketch beside its exact variance, and PolySketch."""
    X = np.random.default_rng(0).standard_normal((40, 64)) + 0.5
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    K = (X @ X.T) ** degree
    c2, A, B = pair_terms(X)
    q = degree
    first = np.sum((c2 + A) ** q + (c2 + B) ** q - 2 * c2**q)
    second = 2 * np.sum((c2 + A + B) ** q - c2**q)
    fine = np.geomspace(64, 16384, 200)
    theory = np.sqrt((fine - 2) * first + second) / fine / np.linalg.norm(K)
    axis.plot(fine, theory, color="0.3", lw=1, label="TensorSketch, theory")
    for make, marker in ((TensorSketch, "o"), (PolySketch, "s")):
        sizes = 2 ** np.arange(6, 15)
        errors = [kernel_error(make(degree, int(m)), X, K) for m in sizes]
        axis.plot(sizes, errors, marker, color=COLOURS[make.__name__], ms=6, label=make.__name__)
    axis.set_title(rf"Polynomial kernel $\langle x, y\rangle^{degree}$, d = 64")


def subspaces(d: int, k: int) -> dict[str, np.ndarray]:
    """Orthonormal columns: of a random subspace, and all mass in k features."""
    Q = np.linalg.qr(np.random.default_rng(0).standard_normal((d, k)))[0]
    return {"random": Q, "spiky": np.eye(d, k)}


def embedding_error(sketch: Any, U: np.ndarray) -> float:
    """|(S U)^T S U - 1|_2 that nine seeds in ten stay below."""
    errors = []
    for seed in range(3 * SEEDS):
        SU = sketch.set_params(random_state=seed).fit_transform(U.T)
        errors.append(np.linalg.norm(SU @ SU.T - np.eye(len(SU)), 2))
    return float(np.quantile(errors, 0.9))


def edge(k: int, m: np.ndarray, length: int) -> np.ndarray:
    """Error of a random matrix: the outer edge of its spectrum (Wachter 1980)."""
    return (np.sqrt(1 - k / length) + np.sqrt(k / m * (1 - m / length))) ** 2 - 1


def embeddings(axis: Any, d: int = 4096, k: int = 32) -> str:
    """Errors of embeddings of subspaces; returns the table."""
    spaces = subspaces(d, k)
    sizes = 2 ** np.arange(6, 12)
    fine = np.geomspace(64, 2048, 200)
    axis.plot(fine, edge(k, fine, d), color="0.3", lw=1, label="random matrix, theory")
    header = "| | " + " | ".join(f"m = {m}" for m in sizes) + " |\n"
    lines = [header, "|---|" + "---|" * len(sizes) + "\n"]
    theory = " | ".join(f"{e:.2f}" for e in edge(k, sizes, d))
    lines.append(f"| *theory, random matrix* | {theory} |\n")
    makers = {
        "CountSketch": CountSketch,
        "OSNAP, s = 4": lambda m: OSNAP(m, 4),
        "OSNAP, s = 8": lambda m: OSNAP(m, 8),
        "SRHT": SRHT,
    }
    for label, make in makers.items():
        for kind, U in spaces.items():
            errors = [embedding_error(make(int(m)), U) for m in sizes]
            lines.append(f"| {label}, {kind} | {' | '.join(f'{e:.2f}' for e in errors)} |\n")
            if label == "OSNAP, s = 8" or (label != "SRHT" and kind == "random"):
                continue
            marker = {"CountSketch": "o", "OSNAP, s = 4": "s", "SRHT": "^"}[label]
            filled = COLOURS[label.split(",")[0]] if kind == "spiky" else "none"
            axis.plot(
                sizes,
                errors,
                marker,
                color=COLOURS[label.split(",")[0]],
                ms=6,
                mfc=filled,
                label=f"{label}, {kind}",
            )
    axis.set_title(f"Subspace of k = {k} dimensions, d = {d}")
    axis.set_ylim(0.1, 10)
    return "".join(lines)


# The sketches of the cost curves, all to 1024 components.
WIDTH = 1024
SKETCHES: dict[str, Callable[[], Any]] = {
    "CountSketch": lambda: CountSketch(WIDTH, random_state=0),
    "OSNAP": lambda: OSNAP(WIDTH, 4, random_state=0),
    "TensorSketch": lambda: TensorSketch(2, WIDTH, random_state=0),
    "PolySketch": lambda: PolySketch(3, WIDTH, random_state=0),
}
NAMES = {
    "OSNAP": "OSNAP, s = 4",
    "TensorSketch": "TensorSketch, q = 2",
    "PolySketch": "PolySketch, q = 3",
}


def sparse_rows(n: int, d: int, nnz: int) -> sp.csr_array:
    """Rows of nnz nonzeros each, in random columns (some twice: those are added up)."""
    rng = np.random.default_rng(0)
    columns = rng.integers(0, d, n * nnz).astype(np.int32)
    starts = np.arange(n + 1, dtype=np.int32) * nnz
    X = sp.csr_array((rng.standard_normal(n * nnz), columns, starts), shape=(n, d))
    X.sum_duplicates()
    return X


def microseconds(name: str, n: int, d: int, nnz: int) -> float:
    """Time of one thread per row: the median of some calls, in time of the process."""
    X = sparse_rows(n, d, nnz)
    sketch = SKETCHES[name]().fit(X)
    times = []
    for _ in range(3 + 2000 // n + 10):
        start = process_time()
        sketch.transform(X)
        times.append(process_time() - start)
    return statistics.median(times[3:]) / n * 1e6


def cost(batches: tuple[int, ...] = (64, 2048)) -> str:
    """Draw time against nonzeros and against features; returns the table."""
    nonzeros, features = (10, 30, 100, 300, 1000), (10**3, 10**4, 10**5, 10**6)
    curves = {
        (name, n): (
            [microseconds(name, n, 10**5, nnz) for nnz in nonzeros],
            [microseconds(name, n, d, 100) for d in features],
        )
        for name in SKETCHES
        for n in batches
    }
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained", sharey=True)
    for (name, n), times in curves.items():
        for axis, x, y in zip(axes, (nonzeros, features), times, strict=True):
            label = f"{NAMES.get(name, name)}: {n} rows"
            style = "o-" if n == max(batches) else "o:"
            axis.plot(x, y, style, color=COLOURS[name], ms=4, label=label)
    axes[0].set_xlabel("nonzeros of a row, d = 100 000")
    axes[1].set_xlabel("features d, 100 nonzeros of a row")
    axes[0].set_ylabel("microseconds a row, one thread")
    for axis in axes:
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.grid(alpha=0.25)
    axes[1].legend(frameon=False, fontsize=8, ncols=2, loc="upper left")
    axes[1].set_ylim(0.1, 60)
    figure.savefig(HERE / "sketching_cost.png", dpi=110)

    heads = [f"nnz = {k}" for k in nonzeros] + [
        f"d = {d:.0e}".replace("e+0", "e") for d in features
    ]
    lines = [f"| | rows | {' | '.join(heads)} |\n", "|---|---|" + "---|" * len(heads) + "\n"]
    for (name, n), times in curves.items():
        numbers = " | ".join(f"{t:.2g}" for part in times for t in part)
        lines.append(f"| {NAMES.get(name, name)} | {n} | {numbers} |\n")
    return "".join(lines)


def errors() -> str:
    """Draw the picture of errors; returns the table."""
    figure, axes = plt.subplots(1, 3, figsize=(14, 4.4), layout="constrained")
    inner_products(axes[0])
    polynomial(axes[1])
    table = embeddings(axes[2])
    for axis in axes:
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.set_xlabel("n_components m")
        axis.grid(alpha=0.25)
        axis.legend(frameon=False, fontsize=9, loc="lower left" if axis is axes[1] else "best")
    axes[0].set_ylabel(r"relative Frobenius error of $Z Z^T$")
    axes[1].set_ylabel(r"relative Frobenius error of $Z Z^T$")
    axes[2].set_ylabel(r"$\|(SU)^T SU - I\|_2$, 90th percentile")
    figure.savefig(HERE / "sketching.png", dpi=110)
    return table


def main() -> None:
    """Draw the pictures and fill in the tables."""
    plt.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    page = HERE / "sketching.md"
    for name, measure in (("errors", errors), ("cost", cost)):
        if name in (sys.argv[1:] or [name]):
            with nk.num_threads(1):
                table = measure()
            mark = rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)"
            text = page.read_text()
            page.write_text(re.sub(mark, lambda m, t=table: m[1] + t + m[2], text, flags=re.DOTALL))
            print(table)


if __name__ == "__main__":
    main()
