"""Runs in the environment of neural-tangents: computes kernels on request, one per line of input.

The first line describes the job as JSON (activation, depth, w_std, b_std, path of the rows, path of
other rows or null, path for the result; depth 0 stands for Myrtle-5 of images); the answer to every
further line, "plain" or "jit", is the number of seconds one kernel took, warm: by a call of
kernel_fn as the documentation shows it, or by the same function compiled as a whole by jax.jit. The
first result is saved, so that the caller can compare.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from time import perf_counter
from typing import Any

import jax
import jax.numpy as jnp
import neural_tangents as nt
import numpy as np
from neural_tangents import stax

ACTIVATIONS = {
    "relu": stax.Relu,
    "erf": stax.Erf,
    "gelu": stax.Gelu,
    "exp_normalized": partial(stax.ExpNormalized, 1, -1),
}


def network(job: dict[str, Any]) -> Any:
    """Return kernel_fn of the job's network."""
    dense = partial(stax.Dense, 1, W_std=job["w_std"], b_std=job["b_std"])
    act = ACTIVATIONS[job["activation"]]
    layers: list[Any] = []
    if job["depth"] == 0:
        conv = partial(stax.Conv, 1, (3, 3), W_std=job["w_std"], b_std=None, padding="SAME")
        pool = partial(stax.AvgPool, (2, 2), (2, 2))
        for repeats in (2, 1, 1):
            for _ in range(repeats):
                layers += [conv(), act()]
            layers.append(pool())
        layers += [pool(), pool(), stax.Flatten()]
    for _ in range(job["depth"]):
        layers += [dense(), act()]
    return stax.serial(*layers, dense())[2]


def main() -> None:
    """Answer requests until the input ends."""
    job = json.loads(sys.stdin.readline())
    x = jnp.asarray(np.load(job["rows"]))
    z = None if job["others"] is None else jnp.asarray(np.load(job["others"]))
    kernel_fn = network(job)
    get = ("nngp", "ntk")
    kinds = {"plain": lambda x: kernel_fn(x, z, get)}
    kinds["jit"] = jax.jit(lambda x: tuple(kernel_fn(x, z, get)))

    def run(kind: str) -> tuple[jax.Array, ...]:
        kernels: tuple[jax.Array, ...] = jax.block_until_ready(tuple(kinds[kind](x)))
        return kernels

    np.savez(job["result"], *(np.asarray(k) for k in run("plain")))
    run("jit")
    print("ready", nt.__version__, jax.__version__, flush=True)
    for line in sys.stdin:
        start = perf_counter()
        run(line.strip())
        print(perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
