"""Exact NNGP and NTK kernels of dense networks, beside neural-tangents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nkfast as nk
from harness import OURS, measure, relative_error
from rivals.tangents import PYTHON, NeuralTangents

N_ROWS, D, DEPTH, W_STD, B_STD = 4000, 64, 3, 1.4, 0.1


def rows() -> Any:
    return np.random.default_rng(0).standard_normal((N_ROWS, D)).astype(np.float32)


@pytest.mark.skipif(not PYTHON.exists(), reason=f"neural-tangents is not installed in {PYTHON}")
@pytest.mark.parametrize("kind", ["plain", "jit"])
@pytest.mark.parametrize("activation", ["relu", "erf", "gelu"])
def bench_dense_kernel(benchmark: Any, activation: str, kind: str, tmp_path: Path) -> None:
    """plain: kernel_fn(x, None, get), as its documentation calls it; jit: all of it compiled.

    Its numerical activations cannot run beside: at this size they ask for 160 GB.
    """
    x = rows()
    net = nk.mlp(DEPTH, activation, W_STD, B_STD)
    with NeuralTangents(x, activation, DEPTH, W_STD, B_STD, tmp_path, threads=2) as rival:
        ours = net.kernel(x)
        assert ours.nngp.dtype == ours.ntk.dtype == np.float32
        # Its float32 arithmetic bounds the agreement.
        assert relative_error(rival.nngp, ours.nngp) < 1e-4
        assert relative_error(rival.ntk, ours.ntk) < 1e-3
        measure(
            benchmark,
            f"neural-tangents {rival.version.split()[1]}, {kind}",
            lambda: rival.run(kind),
            {OURS: lambda: net.kernel(x), "into given arrays": lambda: net.kernel(x, out=ours)},
            group=f"NNGP + NTK, {activation}, depth {DEPTH}, n={N_ROWS} d={D} float32 threads=2",
            threads=2,
            rounds=10,
            pause=0.3,
            n_rows=N_ROWS,
            d=D,
        )


ACTIVATIONS = ["erf", "gelu", "sin", "tanh", "silu", "elu", "hard_tanh"]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def bench_activations(benchmark: Any, activation: str) -> None:
    """Time of other activations' kernels over that of ReLU's."""
    x = rows()
    net, relu = (nk.mlp(DEPTH, name, W_STD, B_STD) for name in (activation, "relu"))
    measure(
        benchmark,
        activation,
        lambda: net.kernel(x),
        {"relu": lambda: relu.kernel(x)},
        group=f"NNGP + NTK, depth {DEPTH}, n={N_ROWS} d={D} float32 threads=2, over ReLU",
        own=True,
        threads=2,
        rounds=7,
        n_rows=N_ROWS,
        d=D,
    )


def bench_working_memory(benchmark: Any, tmp_path: Path) -> None:
    """Into a memmap, block by block: as fast as the disk's pages are dirtied."""
    x = rows()
    net = nk.mlp(DEPTH, "relu", W_STD, B_STD)
    out = np.lib.format.open_memmap(
        tmp_path / "k.npy", mode="w+", dtype=np.float32, shape=(N_ROWS, N_ROWS)
    )
    measure(
        benchmark,
        "into a memmap",
        lambda: net.kernel(x, get="ntk", out=out),
        {"into memory": lambda: net.kernel(x, get="ntk")},
        group=f"NTK, relu, depth {DEPTH}, n={N_ROWS} d={D} float32 threads=2",
        own=True,
        threads=2,
        rounds=5,
        n_rows=N_ROWS,
    )
    assert np.array_equal(out, net.ntk(x))
