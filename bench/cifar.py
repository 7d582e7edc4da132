"""CIFAR-10: exact CNTK beside its features. `NKFAST_DATA=FOLDER python bench/cifar.py`.

FOLDER holds cifar10_lossless.npz (X_train, y_train, X_test, y_test). Images are whitened
(regularised ZCA, each image with mean 0 and norm 1), the kernel is that of Myrtle-5, and ridge
regression on signs of the classes, as in NTKClassifier, takes its penalty by GCV. First the exact
kernel on 500 training and 500 test images (files in the folder CNTK, if that is set, keep it),
beside features of the same images, and features trained on all images. Accuracies of features on
the few images are means of `SEEDS` draws. Times are those of this machine, on all threads; that of
the exact kernel is the number of pairs times that of a pair, measured in the same run. The whole of
CIFAR-10 has n = 50000 training and m = 10000 test images: n (n + 1) / 2 + n m pairs. Names of
activations may follow on the command line.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import nkfast as nk
from nkfast.learn._ridge._state import Batch

N = 500
SEEDS = 3
WIDTHS = (1024, 2048, 4096, 8192, 16384)
ACTIVATIONS = {
    "ReLU": nk.ReLU(),
    "ExpNormalized(1, -1)": nk.ExpNormalized(1, -1),
    "GELU": nk.GELU(),
}


def load() -> tuple[Any, Any, Any, Any]:
    with np.load(Path(os.environ["NKFAST_DATA"]) / "cifar10_lossless.npz") as file:
        return tuple(file[k] for k in ("X_train", "y_train", "X_test", "y_test"))


def accuracy(K: Any, y: Any, C: Any, y_new: Any) -> float:
    """Ridge regression of one-hot labels: K among training images, C test beside them."""
    labels = np.unique(y)
    targets = np.where(y[:, None] == labels, 1.0, -1.0)
    K = K.astype(np.float64)
    ridge = Batch.solved(K, y, targets, None, "gcv", centred=True, kernel=True).ridge
    scores = C.astype(np.float64) @ ridge.coef + ridge.intercept
    return float(np.mean(labels[scores.argmax(axis=1)] == y_new))


def exact(name: str, net: nk.Sequential, X: Any, X_new: Any) -> tuple[Any, Any]:
    """Return both kernels, from the folder CNTK if they are there."""
    folder = os.environ.get("CNTK")
    path = Path(folder or ".") / f"cntk-{name}.npz"
    if folder and path.exists():
        with np.load(path) as file:
            return file["K"], file["C"]
    K, C = net.ntk(X, progress=True), net.ntk(X_new, X, progress=True)
    if folder:
        np.savez(path, K=K, C=C)
    return K, C


def pair_seconds(net: nk.Sequential, X: Any) -> float:
    """Return the time of a pair, median of three blocks of 16 x 16."""
    net.ntk(X[:2], X[2:4])
    times = []
    for _ in range(3):
        start = time.perf_counter()
        net.ntk(X[:16], X[16:32])
        times.append(time.perf_counter() - start)
    return float(np.median(times)) / 256


def features(net: nk.Sequential, m: int, seed: int, X: Any, X_new: Any) -> tuple[Any, Any, float]:
    """Return features of both sets of images and the seconds, those of fit included."""
    start = time.perf_counter()
    phi = nk.NTKFeatures(net, m, random_state=seed).fit(X)
    Z, Z_new = phi.transform(X), phi.transform(X_new)
    return Z, Z_new, time.perf_counter() - start


def main() -> None:
    X, y, X_new, y_new = load()
    start = time.perf_counter()
    zca = nk.images.ZCA(normalize_contrast=True).fit(X)
    X, X_new = (zca.transform(x.astype(np.float32)) for x in (X, X_new))
    whitening = time.perf_counter() - start
    print(
        f"{nk.get_num_threads()} threads; ZCA of {len(X)} + {len(X_new)} images: {whitening:.1f} s"
    )
    n_train, n_test = 50000, 10000
    for name in sys.argv[1:] or ACTIVATIONS:
        net = nk.myrtle(5, ACTIVATIONS[name])
        few, few_new = X[:N], X_new[:N]
        K, C = exact(name, net, few, few_new)
        found = accuracy(K, y[:N], C, y_new[:N])
        pair = pair_seconds(net, X)
        pairs = N * (N + 1) / 2 + N * N
        print(f"{name}: exact {found:.3f}, {1e3 * pair:.2f} ms a pair, {pair * pairs:.0f} s")
        whole = pair * (n_train * (n_train + 1) / 2 + n_train * n_test)
        for m in WIDTHS:
            draws = [features(net, m, s, few, few_new) for s in range(SEEDS)]
            small = [accuracy(Z @ Z.T, y[:N], Z_new @ Z.T, y_new[:N]) for Z, Z_new, _ in draws]
            seconds = float(np.median([t for _, _, t in draws]))
            each = seconds / (2 * N)
            line = (
                f"  {m:6d} features: {np.mean(small):.3f} +- {np.std(small):.3f}, "
                f"{1e3 * each:.1f} ms an image, {seconds:.0f} s, {pair * pairs / seconds:.0f}x; "
                f"60000 images {60000 * each / 60:.0f} min, exact {whole / 86400:.0f} days, "
                f"{whole / (60000 * each):.0f}x"
            )
            Z, Z_new, seconds = features(net, m, 0, X, X_new)
            large = accuracy(Z @ Z.T, y, Z_new @ Z.T, y_new)
            line += f"; {len(X)} images {large:.3f}, {seconds:.0f} s"
            print(line, flush=True)


if __name__ == "__main__":
    main()
