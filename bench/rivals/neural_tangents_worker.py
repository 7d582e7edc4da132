"""Runs in the environment of neural-tangents: computes kernels on request, one per line of input.

The first line describes the job as JSON (activation, depth, w_std, b_std, path of the rows, path
for the result); the answer to every further line is the number of seconds one kernel took, compiled
and warm. The first result is saved, so that the caller can compare.
"""

from __future__ import annotations

import json
import sys
from time import perf_counter

import jax
import jax.numpy as jnp
import neural_tangents as nt
import numpy as np
from neural_tangents import stax

ACTIVATIONS = {
    "relu": lambda: stax.Relu(),
    "erf": lambda: stax.Erf(),
    "gelu": lambda: stax.Gelu(),
    "tanh": lambda: stax.ElementwiseNumerical(jnp.tanh, deg=25),
}


def main() -> None:
    """Answer requests until the input ends."""
    job = json.loads(sys.stdin.readline())
    x = jnp.asarray(np.load(job["rows"]))
    dense = lambda: stax.Dense(1, W_std=job["w_std"], b_std=job["b_std"])  # noqa: E731
    layers = []
    for _ in range(job["depth"]):
        layers += [dense(), ACTIVATIONS[job["activation"]]()]
    _, _, kernel_fn = stax.serial(*layers, dense())
    kernel = jax.jit(lambda x: tuple(kernel_fn(x, None, ("nngp", "ntk"))))

    def run() -> tuple[jax.Array, ...]:
        kernels: tuple[jax.Array, ...] = jax.block_until_ready(kernel(x))
        return kernels

    np.savez(job["result"], *(np.asarray(k) for k in run()))
    run()
    print("ready", nt.__version__, jax.__version__, flush=True)
    for _ in sys.stdin:
        start = perf_counter()
        run()
        print(perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
