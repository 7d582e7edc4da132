"""Draws docs/convolutions.png from what bench/cifar.py prints.

NKFAST_DATA=FOLDER python bench/cifar.py | tee cifar.txt
python docs/make_convolutions.py cifar.txt
"""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path

import matplotlib.pyplot as plt

EXACT = re.compile(r"(.+): exact ([\d.]+), .* a pair, ([\d.]+) s")
FEATURES = re.compile(r" *(\d+) features: ([\d.]+) \+- .* an image, ([\d.]+) s")
ALL = re.compile(r".*; (\d+) images ([\d.]+), ([\d.]+) s")


def main(path: str) -> None:
    """Draw what the file at `path` tells."""
    figure, axes = plt.subplots(figsize=(7.5, 4.5), layout="constrained")
    colour = ""
    colours = iter(("#0072b2", "#009e73", "#d55e00"))
    for line in Path(path).read_text().splitlines():
        if found := EXACT.match(line):
            name, score, seconds = found.groups()
            colour = next(colours)
            axes.plot(float(seconds), float(score), "*", ms=14, color=colour, label=name)
        elif found := FEATURES.match(line):
            width, score, seconds = found.groups()
            size = 2 * math.log2(int(width) / 128)
            axes.plot(float(seconds), float(score), "o", ms=size, color=colour, alpha=0.6)
            if found := ALL.match(line):
                _, score, seconds = found.groups()
                axes.plot(float(seconds), float(score), "D", ms=size, color=colour, mfc="none")
    axes.set_xscale("log")
    axes.set_xlabel("seconds for kernel or features, two threads")
    axes.set_ylabel("test accuracy")
    axes.set_title(
        "CIFAR-10, Myrtle-5. Stars: exact CNTK, 500 training images\n"
        "dots: features of the same images (1024 to 16384, by size); diamonds: of all 5085 images",
        fontsize=10,
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="upper right")
    figure.savefig(Path(__file__).with_name("convolutions.png"), dpi=120)


if __name__ == "__main__":
    main(sys.argv[1])
