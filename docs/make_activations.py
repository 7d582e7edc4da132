"""Draw the activations: writes docs/activations.png and docs/hermite.png.

python docs/make_activations.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from sklearn.datasets import load_digits

mpl.use("Agg")
import matplotlib.pyplot as plt

import nkfast as nk

HERE = Path(__file__).parent
COLOURS = ("#56B4E9", "#0072B2", "#D55E00")
VARIANCES = (0.25, 1.0, 4.0)
SHOWN = [
    nk.ReLU(), nk.LeakyReLU(0.2), nk.ABReLU(-0.3, 1.2), nk.Abs(), nk.Sign(),
    nk.RectifiedMonomial(2),
    nk.GELU(), nk.SiLU(), nk.Mish(), nk.Softplus(), nk.ELU(), nk.SELU(),
    nk.CELU(2.0), nk.ReLU6(), nk.HardSwish(), nk.HardTanh(), nk.HardSigmoid(), nk.Softsign(),
    nk.Tanh(), nk.Erf(), nk.Sigmoid(), nk.SigmoidLike(), nk.Sin(), nk.Cos(),
    nk.RBF(), nk.Gaussian(), nk.Gabor(), nk.Exp(1.0, 0.5), nk.ExpNormalized(), nk.Hermite(3),
    nk.Monomial(3), nk.Polynomial([0.1, 0.5, 0.3]),
    nk.Elementwise(lambda x: np.abs(np.abs(x) - 1), (-1, 0, 1), name="||x| - 1|"),
]  # fmt: skip
TRUNCATED = {
    "GELU": nk.GELU(),
    "ReLU": nk.ReLU(),
    "sin": nk.Sin(),
    "erf": nk.Erf(),
    "Gaussian": nk.Gaussian(),
    "abs": nk.Abs(),
}
DEGREES = 30
SEEDS = 20


def draw_function(axis: Any, act: Any) -> None:
    """Draw f itself."""
    x = np.linspace(-4, 4, 401)
    axis.plot(x, act(x), color="0.15", lw=1.4)
    low, high = np.percentile(act(x), [2, 98])
    margin = 0.15 * (high - low) + 0.05
    axis.set_ylim(low - margin, high + margin)
    axis.axhline(0, color="0.8", lw=0.6)


def draw_dual(axis: Any, act: Any) -> None:
    """Draw the dual on rho in [-1, 1]."""
    rho = np.concatenate([np.linspace(-1, 1, 81)])
    for p, colour in zip(VARIANCES, COLOURS, strict=True):
        k = act.dual(p, p, p * rho)
        axis.plot(rho, k / act.dual(p, p, p), color=colour, lw=1.4, label=f"variance {p:g}")
    axis.axhline(0, color="0.8", lw=0.6)
    axis.set_ylim(-1.08, 1.08)


def draw_spectrum(axis: Any, act: Any) -> None:
    """Draw the share of each degree in the variance."""
    for p, colour in zip(VARIANCES, COLOURS, strict=True):
        a = act.hermite_coefficients(p**0.5, DEGREES)
        share = a**2 / act.dual(p, p, p)
        l = np.flatnonzero(share > 1e-12)
        axis.plot(l, share[l], "o-", color=colour, ms=2.2, lw=0.6)
    axis.set_yscale("log")
    axis.set_ylim(1e-8, 2)
    axis.set_xlim(-1, DEGREES + 1)


def draw_all() -> None:
    """Draw every activation: the function, its dual, its Hermite spectrum."""
    across = 3
    rows = -(-len(SHOWN) // across)
    figure, axes = plt.subplots(rows, 3 * across, figsize=(17, 1.75 * rows), layout="constrained")
    for axis in axes.ravel():
        axis.axis("off")
    for i, act in enumerate(SHOWN):
        row, column = i % rows, 3 * (i // rows)
        trio = axes[row, column : column + 3]
        for axis, draw in zip(trio, (draw_function, draw_dual, draw_spectrum), strict=True):
            axis.axis("on")
            axis.tick_params(labelsize=6.5, length=2)
            draw(axis, act)
        name = act.name if isinstance(act, nk.Elementwise) else repr(act)
        trio[0].set_title(name, fontsize=8.5, loc="left", fontweight="bold")
        if row == 0:
            trio[1].set_title(r"dual / dual at $\rho = 1$", fontsize=8)
            trio[2].set_title(r"$a_\ell^2$ / total", fontsize=8)
            trio[1].legend(fontsize=6, frameon=False, loc="upper left")
        if row == rows - 1:
            for axis, label in zip(trio, ("x", r"$\rho$", r"degree $\ell$"), strict=True):
                axis.set_xlabel(label, fontsize=8)
    figure.savefig(HERE / "activations.png", dpi=100)


def draw_truncation() -> None:
    """Draw the error of truncated expansions beside Monte Carlo of as many products per entry."""
    X = load_digits().data[:300]
    X = X - X.mean(axis=0)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    rho = X @ X.T
    figure, axes = plt.subplots(2, 3, figsize=(12, 6.6), sharex=True, sharey=True)
    degrees = np.arange(1, 33)
    rng = np.random.default_rng(0)
    print(f"{'':<10}" + "".join(f"{q:>10}" for q in (4, 8, 16, 32)) + "   Monte Carlo at 32")
    for axis, (name, act) in zip(axes.ravel(), TRUNCATED.items(), strict=True):
        one = np.ones_like(rho)
        exact = act.dual(one, one, np.clip(rho, -1, 1))
        a = act.hermite_coefficients(1.0, 32)
        series = np.cumsum([a[l] ** 2 * rho**l for l in range(33)], axis=0)
        errors = [np.linalg.norm(series[q] - exact) / np.linalg.norm(exact) for q in degrees]
        chance = np.zeros((SEEDS, len(degrees)))
        for seed in range(SEEDS):
            features = act(X @ rng.standard_normal((X.shape[1], 32)))
            for i, m in enumerate(degrees):
                Z = features[:, :m] / m**0.5
                chance[seed, i] = np.linalg.norm(Z @ Z.T - exact) / np.linalg.norm(exact)
        axis.plot(
            degrees, errors, "o-", color=COLOURS[1], ms=3, label="Hermite expansion of degree q"
        )
        axis.plot(degrees, chance.mean(axis=0), color=COLOURS[2], label="Monte Carlo, q samples")
        spread = np.quantile(chance, [0.1, 0.9], axis=0)
        axis.fill_between(degrees, *spread, color=COLOURS[2], alpha=0.2, lw=0)
        axis.set_title(name)
        axis.set_yscale("log")
        axis.set_ylim(1e-9, 3)
        axis.grid(alpha=0.25)
        shown = "".join(f"{errors[q - 1]:>10.1e}" for q in (4, 8, 16, 32))
        print(f"{name:<10}{shown}{chance[:, -1].mean():>20.1e}")
    axes[0, 0].legend(frameon=False, fontsize=8.5)
    for axis in axes[1]:
        axis.set_xlabel("products per entry of the kernel, q")
    for axis in axes[:, 0]:
        axis.set_ylabel("relative Frobenius error")
    figure.tight_layout()
    figure.savefig(HERE / "hermite.png", dpi=110)


def main() -> None:
    """Draw both pictures."""
    plt.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    draw_all()
    draw_truncation()


if __name__ == "__main__":
    main()
