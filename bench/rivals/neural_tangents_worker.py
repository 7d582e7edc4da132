"""Runs in the environment of neural-tangents: computes kernels on request, one per line of input.

The first line describes the job as JSON (activation, depth, w_std, b_std, path of the rows, path
for the result); the answer to every further line, "plain" or "jit", is the number of seconds one
kernel took, warm: by a call of kernel_fn as the documentation shows it, or by the same function
compiled as a whole by jax.jit. The first result is saved, so that the caller can compare.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from time import perf_counter

import jax
import jax.numpy as jnp
import neural_tangents as nt
import numpy as np
from neural_tangents import stax

ACTIVATIONS = {
    "relu": stax.Relu,
    "erf": stax.Erf,
    "gelu": stax.Gelu,
}


def main() -> None:
    """Answer requests until the input ends."""
    job = json.loads(sys.stdin.readline())
    x = jnp.asarray(np.load(job["rows"]))
    dense = partial(stax.Dense, 1, W_std=job["w_std"], b_std=job["b_std"])
    layers = []
    for _ in range(job["depth"]):
        layers += [dense(), ACTIVATIONS[job["activation"]]()]
    _, _, kernel_fn = stax.serial(*layers, dense())
    get = ("nngp", "ntk")
    kinds = {"plain": lambda x: kernel_fn(x, None, get)}
    kinds["jit"] = jax.jit(lambda x: tuple(kernel_fn(x, None, get)))

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
