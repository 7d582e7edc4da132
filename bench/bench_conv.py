"""Convolutional networks: exact kernels beside neural-tangents, and features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nkfast as nk
from harness import OURS, measure, relative_error
from rivals.tangents import PYTHON, NeuralTangents

N, M, W_STD = 4, 8, 2**0.5
ACTIVATIONS = {"relu": nk.ReLU(), "gelu": nk.GELU(), "exp_normalized": nk.ExpNormalized(1, -1)}


def images(n: int, size: int = 32, channels: int = 3) -> Any:
    """Return smooth images, as photographs are."""
    noise = np.random.default_rng(n).standard_normal((n, size, size, channels)).cumsum(1).cumsum(2)
    noise -= noise.mean(axis=(1, 2, 3), keepdims=True)
    return (noise / noise.std(axis=(1, 2, 3), keepdims=True)).astype(np.float32)


@pytest.mark.skipif(not PYTHON.exists(), reason=f"neural-tangents is not installed in {PYTHON}")
@pytest.mark.parametrize("activation", ACTIVATIONS)
def bench_myrtle(benchmark: Any, activation: str, tmp_path: Path) -> None:
    """Myrtle-5 of N x M pairs of 32 x 32 x 3 images, all of it compiled by jax.jit, warm."""
    x, z = images(N), images(N + M)[:M]
    net = nk.myrtle(5, ACTIVATIONS[activation], W_STD)
    with NeuralTangents(x, activation, 0, W_STD, 0.0, tmp_path, threads=2, z=z) as rival:
        ours = net.kernel(x, z)
        # Its float32 arithmetic bounds the agreement.
        assert relative_error(rival.nngp, ours.nngp) < 1e-4
        assert relative_error(rival.ntk, ours.ntk) < 1e-4
        measure(
            benchmark,
            f"neural-tangents {rival.version.split()[1]}, jit",
            lambda: rival.run("jit"),
            {OURS: lambda: net.kernel(x, z)},
            group=f"NNGP + NTK, Myrtle-5, {activation}, {N} x {M} images 32x32x3 threads=2",
            threads=2,
            rounds=4,
            pause=1.0,
            pairs=N * M,
        )


@pytest.mark.parametrize("activation", ["gelu", "sin", "tanh", "silu", "elu", "hard_tanh"])
def bench_activations(benchmark: Any, activation: str) -> None:
    """Time of other activations' kernels over that of ReLU's."""
    x, z = images(6), images(8)
    net, relu = (nk.myrtle(5, name, W_STD) for name in (activation, "relu"))
    measure(
        benchmark,
        activation,
        lambda: net.ntk(x, z),
        {"relu": lambda: relu.ntk(x, z)},
        group="NTK, Myrtle-5, 6 x 8 images 32x32x3 threads=2, over ReLU",
        own=True,
        threads=2,
        rounds=3,
    )


def bench_without_pools(benchmark: Any) -> None:
    """Where pixels meet at the same position only, pairs of pixels are not made."""
    x = images(200)
    layers: list[Any] = [nk.Conv(w_std=W_STD), nk.ReLU()] * 4
    flat = nk.Sequential(*layers, nk.Flatten(), nk.Dense())
    pooled = nk.Sequential(*layers, nk.GlobalAvgPool(), nk.Dense())
    measure(
        benchmark,
        "with a global pool, 8 x 8 pairs",
        lambda: pooled.ntk(x[:8], x[8:16]),
        {"Flatten, 200 images": lambda: flat.ntk(x)},
        group="NTK, 4 convolutions, 32x32x3 threads=2",
        own=True,
        threads=2,
        rounds=3,
    )


LAYERS: list[Any] = [nk.Conv(w_std=W_STD), nk.ReLU()]
SMALL: list[Any] = [*LAYERS * 2, nk.AvgPool((2, 2)), *LAYERS, nk.GlobalAvgPool(), nk.Dense()]
MAPPED = {  # network, number of images, size, channels
    "Myrtle-5": (nk.myrtle(5), 4, 32, 3),
    "Myrtle-7": (nk.myrtle(7), 4, 32, 3),
    "3 convolutions, Flatten": (nk.Sequential(*LAYERS * 3, nk.Flatten(), nk.Dense()), 4, 32, 3),
    "digits of 8x8": (nk.Sequential(*SMALL), 64, 8, 1),
    "digits of 28x28": (nk.Sequential(*SMALL), 8, 28, 1),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("width", [512, 1024, 2048])
@pytest.mark.parametrize("name", MAPPED)
def bench_features(benchmark: Any, name: str, width: int, dtype: str) -> None:
    """Features of images; the kernel's error and a thread's memory beside the time."""
    net, n, size, channels = MAPPED[name]
    x = images(n, size, channels).astype(dtype)
    phi = nk.NTKFeatures(net, 4096, pixel_components=width, random_state=0).fit(x)
    Z = phi.transform(x).astype(np.float64)
    measure(
        benchmark,
        OURS,
        lambda: phi.transform(x),
        {},
        group=f"4096 features, {name}, {n} images, {width} a pixel, {dtype} threads=1",
        threads=1,
        rounds=5,
        images=n,
        error=relative_error(Z @ Z.T, net.ntk(x.astype(np.float64))),
        megabytes=getattr(phi._construction, "bytes_per_thread") / 1e6,  # noqa: B009
    )
