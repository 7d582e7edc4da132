"""Measure the features of networks: writes the picture of docs/features.md.

python docs/make_features.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

mpl.use("Agg")
import matplotlib.pyplot as plt

import nkfast as nk

Array = NDArray[np.float64]

HERE = Path(__file__).parent
SEEDS = 2
SIZES = 2 ** np.arange(6, 15)
ROWS = 1000
COLOURS = {"relu": "#0072b2", "gelu": "#009e73", "erf": "#d55e00"}
ALPHAS = {10.0: "#e69f00", 1.0: "#cc79a7", 0.1: "#0072b2", 0.01: "#009e73"}


def digits() -> Array:
    """Return digits, pixels of unit variance."""
    x = load_digits().data[:ROWS]
    std = x.std(axis=0)
    return np.asarray((x - x.mean(axis=0)) / np.where(std > 0, std, 1))


def expansion_error(phi: Any, x: Array, exact: Array) -> float:
    """Return the relative error of the expansion that a map was fitted to, without a sketch."""
    norms = np.linalg.norm(x, axis=1)
    rho = (x @ x.T) / np.outer(norms, norms)
    kernel = phi.expansion_.kernel_of(norms, rho, phi.allocation_.widths > 0)
    return float(np.linalg.norm(kernel - exact) / np.linalg.norm(exact))


def errors_by_width(axis: Any) -> None:
    """Draw errors of Z Z^T against the number of features."""
    x = digits()
    for activation, colour in COLOURS.items():
        net = nk.mlp(3, activation, 1.4, 0.1)
        exact = net.ntk(x)
        means = []
        for m in SIZES:
            maps = [nk.NTKFeatures(net, int(m), degree=16, random_state=s) for s in range(SEEDS)]
            errors = [phi.fit(x).kernel_error(x)["frobenius"] for phi in maps]
            means.append(np.sqrt(np.mean(np.square(errors))))
        axis.loglog(SIZES, means, "o-", ms=5, color=colour, label=activation)
        axis.axhline(expansion_error(maps[0], x, exact), color=colour, lw=1, ls=":")
    guide = 1.2 * means[0] * np.sqrt(SIZES[0] / SIZES)
    axis.loglog(SIZES, guide, color="0.4", lw=1, ls="--", label=r"slope of $m^{-1/2}$")
    axis.plot([], [], color="0.4", lw=1, ls=":", label="expansion of degree 16 alone")
    axis.set_title("NTK of three layers, digits: error of $Z Z^T$")
    axis.set_xlabel("features m")
    axis.set_ylabel(r"$\|Z Z^T - K\| \, / \, \|K\|$, Frobenius norm")


def embedding_by_dimension(axis: Any) -> None:
    """Draw eps of the subspace embedding against m over the statistical dimension."""
    x = digits()
    net = nk.mlp(1, "relu")
    for alpha, colour in ALPHAS.items():
        ratios, means = [], []
        for m in SIZES:
            found = []
            for seed in range(SEEDS):
                phi = nk.NTKFeatures(net, int(m), degree=32, random_state=seed).fit(x)
                found.append(phi.kernel_error(x, alpha=alpha))
            dimension = found[0]["statistical_dimension"]
            ratios.append(m / dimension)
            means.append(np.mean([e["spectral"] for e in found]))
        label = rf"$\lambda$ = {alpha:g} tr K / n, $s_\lambda$ = {dimension:.0f}"
        axis.loglog(ratios, means, "o-", ms=5, color=colour, label=label)
    line = np.geomspace(0.5, 1000, 50)
    axis.loglog(
        line, 1 / np.sqrt(line), color="0.4", lw=1, ls="--", label=r"$(m/s_\lambda)^{-1/2}$"
    )
    axis.set_title("NTK of one layer, digits: subspace embedding")
    axis.set_xlabel(r"$m / s_\lambda$")
    axis.set_ylabel(r"$\epsilon = \|(K+\lambda)^{-1/2} (Z Z^T - K) (K+\lambda)^{-1/2}\|_2$")


def main() -> None:
    """Write the picture."""
    figure, axes = plt.subplots(1, 2, figsize=(12, 4.8), layout="constrained")
    errors_by_width(axes[0])
    embedding_by_dimension(axes[1])
    for axis in axes:
        axis.legend(frameon=False, fontsize=9)
        axis.grid(True, which="major", color="0.92")
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(HERE / "features.png", dpi=130)


if __name__ == "__main__":
    main()
