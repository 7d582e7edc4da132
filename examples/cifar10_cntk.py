"""CIFAR-10 by features of the convolutional neural tangent kernel (CNTK), and by the exact kernel.

    python examples/cifar10_cntk.py PATH

ZCA whitening, then `nkfast.NTKClassifier`: features of a Myrtle network block by block, and ridge
regression from their moments, whose penalty generalised cross-validation chooses; the test
accuracy. Then the same with the exact kernel on the first images of both sets, --kernel-subset of
each, which is all that its cost allows; the features of the same images are compared with it, and
the times of both are extrapolated to all of CIFAR-10.

{formats}"""

from __future__ import annotations

import argparse
import io
import pickle
import re
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import nkfast as nk

FORMATS = """PATH is CIFAR-10 (Krizhevsky, "Learning multiple layers of features from tiny images", 2009) in one
of its usual forms; this program does not download it:

  - a folder with the Python version's pickles data_batch_1 to data_batch_5 and test_batch,
  - a folder with the binary version's data_batch_1.bin to data_batch_5.bin and test_batch.bin,
  - the .tar.gz of either, as it is distributed (cifar-10-python.tar.gz, cifar-10-binary.tar.gz),
  - an .npz file with x_train (n, 32, 32, 3), y_train, x_test and y_test (or X_train ...), uint8.

Training batches may be missing: it learns from those that are there.
"""  # noqa: E501
__doc__ = __doc__.format(formats=FORMATS)

TRAIN, TEST = 50_000, 10_000  # images of the whole set
ACTIVATIONS = {"relu": "relu", "gelu": "gelu", "normgauss": nk.ExpNormalized(1, -1)}

Images = tuple[np.ndarray, np.ndarray]  # (n, height, width, channels) in uint8, labels (n,)


# --- reading ---


class ArrayUnpickler(pickle.Unpickler):
    """Reads NumPy arrays and Python's own types, and nothing that could run code."""

    ALLOWED = re.compile(
        r"numpy\.(ndarray|dtype)|numpy\._?core\.(multiarray\._reconstruct|numeric\._frombuffer)"
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):  # bytes, in pickles of protocol 2
            return lambda text, _encoding: text.encode("latin1")
        if not self.ALLOWED.fullmatch(f"{module}.{name}"):
            raise pickle.UnpicklingError(f"expected a pickle of arrays, got one of {module}.{name}")
        return super().find_class(module, name)


def read_pickle(content: bytes) -> Images:
    batch = ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
    batch = {k.decode() if isinstance(k, bytes) else k: v for k, v in batch.items()}
    return planes_last(np.asarray(batch["data"])), np.asarray(batch["labels"])


def read_binary(content: bytes) -> Images:
    rows = np.frombuffer(content, np.uint8).reshape(-1, 1 + 3072)
    return planes_last(rows[:, 1:]), rows[:, 0]


def planes_last(rows: np.ndarray) -> np.ndarray:
    """Turn rows of three colour planes into images."""
    return rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


def files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the batches in a folder or archive, (name, content)."""
    wanted = re.compile(r"(data_batch_[1-5]|test_batch)(\.bin)?")
    if path.is_dir():
        for file in sorted(path.iterdir()):
            if wanted.fullmatch(file.name):
                yield file.name, file.read_bytes()
    else:
        with tarfile.open(path) as archive:
            for member in archive:
                if member.isfile() and wanted.fullmatch(Path(member.name).name):
                    yield Path(member.name).name, archive.extractfile(member).read()


def load(path: Path) -> tuple[Images, Images]:
    """Return training and test images."""
    if path.suffix == ".npz":
        with np.load(path) as data:
            arrays = {key.lower(): data[key] for key in data.files}
        if not {"x_train", "y_train", "x_test", "y_test"} <= arrays.keys():
            raise SystemExit(f"{path}: holds {sorted(arrays)}\n\n{FORMATS}")
        sets = [(arrays[f"x_{part}"], arrays[f"y_{part}"].ravel()) for part in ("train", "test")]
    elif path.is_file() and not tarfile.is_tarfile(path):
        raise SystemExit(f"{path}: neither a folder nor an archive\n\n{FORMATS}")
    else:
        batches = dict(sorted(files(path)))
        ending = "" if "test_batch" in batches else ".bin"
        read = read_binary if ending else read_pickle
        names = [name for name in batches if re.fullmatch(rf"data_batch_\d{ending}", name)]
        if not names or f"test_batch{ending}" not in batches:
            raise SystemExit(f"{path}: no data_batch_1 or no test_batch\n\n{FORMATS}")
        parts = [read(batches[name]) for name in names]
        train = np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])
        sets = [train, read(batches[f"test_batch{ending}"])]
    return sets[0], sets[1]


# --- learning ---


class Learner:
    """A classifier of images, its accuracy, and the seconds that it took."""

    def __init__(self, classifier: nk.NTKClassifier, train: Images, test: Images) -> None:
        clock = time.perf_counter()
        self.classifier = classifier.fit(*train)
        fitted = time.perf_counter()
        X, y = test
        self.accuracy = classifier.score(X, y)
        self.fit_seconds = fitted - clock
        self.predict_seconds = time.perf_counter() - fitted


# --- reporting ---


def line(step: str, seconds: float, note: str = "") -> None:
    print(f"  {step:32}{seconds:10.2f} s   {note}".rstrip(), flush=True)


def whitened(train: Images, test: Images, options: argparse.Namespace) -> tuple[Images, Images]:
    """Return both sets after ZCA that was fitted to the training images."""
    (X, y), (X_test, y_test) = train, test
    zca = nk.images.ZCA(options.regularization, normalize_contrast=options.contrast)
    clock = time.perf_counter()
    zca.fit(X.astype(np.float32))
    line("ZCA, fit", time.perf_counter() - clock, f"{zca.n_features_in_} entries an image")
    clock = time.perf_counter()
    X, X_test = (zca.transform(a.astype(np.float32)) for a in (X, X_test))
    line("ZCA, transform", time.perf_counter() - clock)
    return (X, y), (X_test, y_test)


def run(classifier: nk.NTKClassifier, train: Images, test: Images) -> Learner:
    """Fit, predict and report."""
    learner = Learner(classifier, train, test)
    line("fit", learner.fit_seconds, f"{len(train[0])} images, alpha = {classifier.alpha_:.2g}")
    line("predict", learner.predict_seconds, f"{len(test[0])} images")
    print(f"  test accuracy {learner.accuracy:.4f}\n")
    return learner


def compare(features: Learner, exact: Learner, train: Images, test: Images) -> dict[str, float]:
    """Print the ratio of the times of both on these images with its arithmetic, and return it."""
    n, m = len(train[0]), len(test[0])
    pair = exact.predict_seconds / (n * m)
    image = features.predict_seconds / m
    pairs = TRAIN * (TRAIN + 1) // 2 + TEST * TRAIN
    kernel, mapped = pair * pairs, image * (TRAIN + TEST)
    print(f"Extrapolated to {TRAIN} training and {TEST} test images, from the times of predict:")
    print(
        f"  exact kernel: {1e3 * pair:.3g} ms a pair x ({TRAIN} x {TRAIN + 1} / 2 + {TEST} x "
        f"{TRAIN}) pairs = {kernel:.3g} s = {kernel / 86400:.3g} days\n"
        f"  features: {1e3 * image:.3g} ms an image x {TRAIN + TEST} images = {mapped:.3g} s"
        f" = {mapped / 60:.3g} minutes\n"
        f"  ratio: {kernel:.3g} s / {mapped:.3g} s = {kernel / mapped:.0f}"
    )
    here = (exact.fit_seconds + exact.predict_seconds) / (
        features.fit_seconds + features.predict_seconds
    )
    print(f"Measured on the subset, ridge regression included: {here:.3g} times")
    return {"ratio": kernel / mapped, "ratio_here": here}


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("path", type=Path, nargs="?", help="a folder, archive or .npz file with CIFAR-10")
    add("--n-components", type=int, default=4096, help="features of an image")
    add("--activation", choices=ACTIVATIONS, default="relu")
    add("--depth", type=int, choices=(5, 7, 10), default=5, help="which Myrtle network")
    add("--n-train", type=int, default=TRAIN, help="the first training images are used")
    add("--n-test", type=int, default=TEST, help="the first test images are used")
    add("--kernel-subset", type=int, default=500, help="images for the exact kernel; 0 for none")
    add("--regularization", type=float, default=0.1, help="of ZCA")
    yes_or_no = argparse.BooleanOptionalAction
    add("--contrast", action=yes_or_no, default=True, help="normalised before ZCA, image by image")
    add("--flips", action="store_true", help="learn from the mirror images as well")
    add("--block", type=int, default=1000, help="images whose features are in memory at a time")
    add("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.path is None or not options.path.exists():
        got = "no PATH given" if options.path is None else f"there is no {options.path}"
        raise SystemExit(f"{got}\n\n{FORMATS}")

    clock = time.perf_counter()
    train, test = load(options.path)
    train = tuple(a[: options.n_train] for a in train)
    test = tuple(a[: options.n_test] for a in test)
    print(f"{len(train[0])} training and {len(test[0])} test images of shape {train[0].shape[1:]}")
    line("reading", time.perf_counter() - clock)
    train, test = whitened(train, test, options)

    net = nk.myrtle(options.depth, ACTIVATIONS[options.activation])
    few = options.kernel_subset
    few_train, few_test = (tuple(a[:few] for a in images) for images in (train, test))
    if options.flips:
        train, few_train = nk.images.augment_flips(*train), nk.images.augment_flips(*few_train)

    def by_features() -> nk.NTKClassifier:
        seed, block = options.seed, options.block
        return nk.NTKClassifier(net, options.n_components, random_state=seed, block_size=block)

    print(f"\n{options.n_components} CNTK features of {net!r}")
    found = {"features": run(by_features(), train, test)}
    if few:
        print(f"exact kernel, the first {few} training and test images")
        found["exact"] = run(
            nk.NTKClassifier(net, method="exact", verbose=True), few_train, few_test
        )
        print("features of the same images")
        found["subset"] = run(by_features(), few_train, few_test)
        found |= compare(found["subset"], found["exact"], few_train, few_test)
    return found


if __name__ == "__main__":
    main()
