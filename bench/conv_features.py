"""Features of convolutional networks: errors and times. `python bench/conv_features.py`.

Centred errors ||H (Z Z^T - K) H|| / ||H K H||, H = I - 11^T / n, of NTK features against the exact
CNTK of 20 images of 32 x 32 x 3, as they are and with Z Z^T scaled by the best number; means over
`SEEDS` draws. Milliseconds per image on one and on two threads, float32. Then the same error
against the width for Myrtle-5, 7 and 10. NKFAST_CNTK_ORACLE=FILE names an npz whose `x` are the
images; else they are cut from scikit-learn's two photographs.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import numpy as np
from sklearn.datasets import load_sample_images

import nkfast as nk

SEEDS = 5
ACTIVATIONS = {
    "ReLU": nk.ReLU(),
    "ExpNormalized(1, -1)": nk.ExpNormalized(1, -1),
    "GELU": nk.GELU(),
    "Erf": nk.Erf(),
}
MAPS = ((1024, "auto"), (4096, "auto"), (4096, 2048), (16384, "auto"))
WIDTHS = (256, 512, 1024, 2048, 4096, 8192, 16384)


def images() -> Any:
    """Return 20 images, float32."""
    path = os.environ.get("NKFAST_CNTK_ORACLE")
    if path:
        with np.load(path) as file:
            return file["x"]
    photographs = [x / 255.0 - 0.5 for x in load_sample_images().images]
    rng = np.random.default_rng(0)
    cut = []
    for _ in range(10):
        for x in photographs:
            i, j = rng.integers(0, x.shape[0] - 96), rng.integers(0, x.shape[1] - 96)
            cut.append(x[i : i + 96 : 3, j : j + 96 : 3])
    return np.array(cut, np.float32)


def centred_errors(Z: Any, K: Any) -> tuple[float, float]:
    """Return the error with the best scalar, and as it is."""

    def centre(A: Any) -> Any:
        A = A - A.mean(axis=0)
        return A - A.mean(axis=1, keepdims=True)

    Z = Z.astype(np.float64)
    found, exact = centre(Z @ Z.T), centre(K)
    scalar = np.vdot(found, exact) / np.vdot(found, found)
    whole = np.linalg.norm(exact)
    return (
        float(np.linalg.norm(scalar * found - exact) / whole),
        float(np.linalg.norm(found - exact) / whole),
    )


def errors(phi: Any, x: Any, K: Any) -> Any:
    """Return the mean errors over the draws."""
    draws = (phi.set_params(random_state=s).fit_transform(x) for s in range(SEEDS))
    return np.mean([centred_errors(Z, K) for Z in draws], axis=0)


def milliseconds(phi: Any, x: Any, threads: int) -> float:
    """Return the median time per image."""
    with nk.num_threads(threads):
        phi.transform(x)
        times = []
        for _ in range(7):
            start = time.perf_counter()
            phi.transform(x)
            times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times)) / len(x)


def main() -> None:
    x = images()
    print(f"{'Myrtle-5':22s} {'m':>6s} {'pixel':>6s} {'scaled':>8s} {'as it is':>9s}", end=" ")
    print(f"{'1 thread, ms':>13s} {'2 threads':>10s}")
    for name, activation in ACTIVATIONS.items():
        net = nk.myrtle(5, activation)
        K = net.ntk(x.astype(np.float64))
        for m, width in MAPS:
            phi = nk.NTKFeatures(net, m, pixel_components=width)
            scaled, plain = errors(phi, x, K)
            one, two = milliseconds(phi, x, 1), milliseconds(phi, x, 2)
            print(
                f"{name:22s} {m:6d} {phi.pixel_components_:6d} {scaled:8.4f} {plain:9.4f} "
                f"{one:13.2f} {two:10.2f}"
            )
            sys.stdout.flush()
    print(f"\n{'ReLU, as it is':16s}", *(f"{m:>8d}" for m in WIDTHS))
    for depth in (5, 7, 10):
        net = nk.myrtle(depth)
        K = net.ntk(x.astype(np.float64))
        found = [errors(nk.NTKFeatures(net, m), x, K)[1] for m in WIDTHS]
        print(f"Myrtle-{depth:<9d}", *(f"{e:8.4f}" for e in found))


if __name__ == "__main__":
    main()
