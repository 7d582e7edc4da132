"""Draw bench/results: docs/benchmarks.png and the table of docs/benchmarks.md.

python docs/make_benchmarks.py
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FixedLocator, FuncFormatter

HERE = Path(__file__).parent
RESULTS = HERE.parent / "bench" / "results"
# Panels, and what of a group's name and of a rival's belongs to them.
PANELS = {
    "Exact kernels over neural-tangents, two threads": (r"NNGP \+ NTK", "jit$|jit / into"),
    "Features, depth 3, over scikit-learn, two threads": ("^features.*=2", "[r)] / depth 3"),
    "Sketches over others, two threads": (
        "TensorSketch dense|SRHT of rows",
        "Polynomial|Gaussian|clarkson",
    ),
    "Walsh-Hadamard over NumPy, one thread": ("wht n=.* threads=1$", r"numpy \+ BLAS"),
}


def runs() -> list[dict[str, Any]]:
    """Return all that was kept, the oldest first."""
    return sorted(
        (json.loads(path.read_text()) for path in RESULTS.glob("*.json")), key=lambda r: r["date"]
    )


def ratios(run: dict[str, Any]) -> dict[str, float]:
    """Return the time of each rival over that of nkfast, by group, rival and variant."""
    found = {}
    for job in run["jobs"].values():
        for variant, ours in job.get("nkfast", {}).items():
            name = f"{job['group']}: {job['rival']}" + f" / {variant}" * (variant != "nkfast")
            found[name] = job["median"] / ours
    return found


def label(run: dict[str, Any]) -> str:
    """Return what stands below a run's points."""
    return f"{run['version']}\n{run['commit'][:7]}\n{run['date'][:10]}"


def draw(kept: list[dict[str, Any]], file: Path) -> None:
    """Draw the ratios of all runs, a panel for each kind of rival."""
    figure, axes = plt.subplots(4, 1, figsize=(8.5, 13), layout="constrained")
    for axis, (title, (group, rival)) in zip(axes.flat, PANELS.items(), strict=True):
        lines: dict[str, list[float]] = {}
        for run in kept:
            for name, ratio in ratios(run).items():
                of, _, against = name.partition(": ")
                if re.search(group, of) and re.search(rival, against):
                    lines.setdefault(name, [float("nan")] * len(kept))[kept.index(run)] = ratio
        for name, values in lines.items():
            axis.plot(range(len(kept)), values, marker="o", markersize=4, lw=1.2, label=short(name))
        axis.axhline(1, color="0.6", lw=0.8)
        axis.set(title=title, yscale="log", ylabel="times as fast")
        axis.set_xticks(range(len(kept)), map(label, kept))
        axis.set_xlim(-0.3, len(kept) - 0.7)
        axis.yaxis.set_major_locator(FixedLocator([1, 2, 5, 10, 20, 50, 100, 200, 500]))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}x"))
        axis.yaxis.set_minor_locator(FixedLocator([]))
        axis.legend(fontsize=7.5, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    figure.savefig(file, dpi=130)


def short(name: str) -> str:
    """Shorten the name of a job for a legend."""
    name = re.sub(r": neural-tangents [\d.]+, jit|threads=1: .*| threads=2| / depth 3", "", name)
    name = re.sub(r"NNGP \+ NTK, |wht |features | width=4096|, 65536 x 1024 to 4096", "", name)
    name = name.replace("PolynomialCountSketch", "PolynomialCS")
    return name.replace("dense ", "").replace(": PolynomialCS", "") if "TensorSk" in name else name


def table(kept: list[dict[str, Any]]) -> str:
    """Return the ratios of all runs as Markdown."""
    columns = [ratios(run) for run in kept]
    head = "| Job: rival | " + " | ".join(f"{r['version']} ({r['commit'][:7]})" for r in kept)
    lines = [head + " |", "|---|" + "--:|" * len(kept)]
    for name in columns[-1]:
        figures = (f"{c[name]:.1f}" if name in c else "" for c in columns)
        lines.append(f"| {name} | " + " | ".join(figures) + " |")
    return "\n".join(lines)


def main() -> None:
    """Draw the picture; write the table."""
    kept = runs()
    draw(kept, HERE / "benchmarks.png")
    page = HERE / "benchmarks.md"
    text = page.read_text()
    start, stop = "<!-- ratios -->\n", "<!-- end of ratios -->"
    before, _, rest = text.partition(start)
    page.write_text(f"{before}{start}\n{table(kept)}\n\n{stop}{rest.partition(stop)[2]}")


if __name__ == "__main__":
    main()
