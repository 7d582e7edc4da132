"""Draws docs/convolutions.png from what bench/cifar.py prints.

NKFAST_DATA=FOLDER python bench/cifar.py | tee cifar.txt
python docs/make_convolutions.py cifar.txt
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import matplotlib.pyplot as plt

EXACT = re.compile(r"(.+): exact ([\d.]+), .* a pair, (\d+) s")
FEATURES = re.compile(r" *(\d+) features: ([\d.]+) \+- ([\d.]+), .* an image, (\d+) s")


def main(path: str) -> None:
    """Draw what the file at `path` tells."""
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    color = ""
    times: list[float] = []
    scores: list[float] = []
    spreads: list[float] = []

    def draw() -> None:
        if times:
            axes.errorbar(times, scores, spreads, marker="o", ms=4, capsize=2, color=color)

    widths: list[str] = []
    for line in Path(path).read_text().splitlines():
        if found := EXACT.match(line):
            draw()
            times, scores, spreads = [], [], []
            name, score, seconds = found.groups()
            color = f"C{len(axes.collections)}"
            axes.scatter(float(seconds), float(score), marker="*", s=160, color=color, label=name)
        elif found := FEATURES.match(line):
            width, score, spread, seconds = found.groups()
            widths = [*widths, width] if width not in widths else widths
            times.append(float(seconds))
            scores.append(float(score))
            spreads.append(float(spread))
    draw()
    axes.set_xscale("log")
    axes.set_xlabel("seconds for 500 + 500 images")
    axes.set_ylabel("test accuracy")
    axes.set_title(
        f"CIFAR-10, 500 training images, Myrtle-5\nstars: exact CNTK; dots: {', '.join(widths)} "
        "features",
        fontsize=10,
    )
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(Path(__file__).with_name("convolutions.png"), dpi=120)


if __name__ == "__main__":
    main(sys.argv[1])
