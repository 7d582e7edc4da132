"""CIFAR-10 by features of convolutional neural kernels, from its usual files to a classifier.

    python examples/cifar10_cntk.py PATH --network patches --components 16384 --resume FOLDER

The network's features of all images, block by block, go to files in half precision; ridge
regression learns from them, its penalty chosen by generalised cross-validation. Said at the end:
the accuracy on test images with its standard error, the time of each stage and the most memory that
was used.

--network patches is one convolutional layer with a linear readout: responses of whitened random
patches, rectified and averaged over four quarters (`RandomPatches`), an eighth as many filters as
features. Their square roots are standardised, channel by channel. myrtle5, myrtle7 and myrtle10 are
those networks' convolutional neural tangent kernels (CNTK) of ZCA-whitened images, sketched.
--flips average uses the mean of the features of an image and of its mirror image, --flips double
learns from both. --kernel-subset N also computes the exact kernel of the first N training and test
images (Myrtle networks), for its accuracy beside that of features of the same images, and
extrapolates the times of both to all of CIFAR-10.

--learner kernel puts a network with one hidden layer on top: kernel ridge regression with its exact
neural tangent kernel of the features. It is the more accurate one, and takes 4 n^2 bytes for n
training images (8.1 GB for 45,000): use --flips average with it.

With --resume FOLDER features are kept there; killed or interrupted, the same command goes on where
it was, to the same bits.

{formats}"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import pickle
import re
import resource
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

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
FITTED = 5_000  # images that whitening and feature maps are fitted to
# What features depend on.
SETTINGS = (
    *("network", "components", "kernel", "activation", "flips", "regularization", "contrast"),
    *("dtype", "block", "seed", "n_train", "n_test"),
)
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


# --- features ---


def single(images: np.ndarray) -> np.ndarray:
    return images.astype(np.float32)


def myrtle(options: argparse.Namespace) -> nk.Sequential:
    depth = int(options.network.removeprefix("myrtle"))
    return nk.myrtle(depth, ACTIVATIONS[options.activation])


def flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1)


def feature_map(options: argparse.Namespace) -> Any:
    """Return what makes features of images, not fitted yet."""
    seed, m = options.seed, options.components
    if options.network == "patches":
        steps = [
            nk.images.RandomPatches(m // 8, 6, random_state=seed),
            FunctionTransformer(np.sqrt),
            nk.images.ChannelStandardizer(),
            FunctionTransformer(flat),
        ]
    else:
        kind = nk.NTKFeatures if options.kernel == "ntk" else nk.NNGPFeatures
        steps = [
            nk.images.ZCA(options.regularization, normalize_contrast=options.contrast),
            kind(myrtle(options), m, random_state=seed),
        ]
    phi = make_pipeline(FunctionTransformer(single), *steps)
    return nk.images.FlipAverage(phi) if options.flips == "average" else phi


class Stages:
    """Prints what each stage took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        clock = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - clock
        print(f"  {name:28}{self.seconds[name]:10.1f} s", flush=True)


class Features:
    """Features of images in files of a folder; those that are there are not made again."""

    def __init__(self, folder: Path, options: argparse.Namespace, images: np.ndarray) -> None:
        self.folder, self.options, self.images = folder, options, images
        chosen = {k: v for k, v in sorted(vars(options).items()) if k in SETTINGS}
        chosen["images"] = hashlib.sha256(np.ascontiguousarray(images)).hexdigest()
        settings, path = json.dumps(chosen, indent=1), folder / "settings.json"
        if path.exists() and path.read_text() != settings:
            raise SystemExit(
                f"{folder} holds features of other settings or images: {path.read_text()}"
            )
        path.write_text(settings)

    @cached_property
    def map(self) -> Any:
        """The feature map, fitted to the first images: a random_state makes it the same again."""
        return feature_map(self.options).fit(self.images[:FITTED])

    def complete(self) -> bool:
        names = ("train", "test", *(["mirrored"] if self.options.flips == "double" else []))
        return all((self.folder / f"{name}.npy").exists() for name in names)

    def of(self, name: str, images: np.ndarray) -> np.ndarray:
        path = self.folder / f"{name}.npy"
        if path.exists():
            return np.load(path, mmap_mode="r")
        block, kind = self.options.block, self.options.dtype
        return nk.write_features(
            path, self.map, images, dtype=kind, block_size=block, resume=True, progress=True
        )


def blocks(parts: list[tuple[np.ndarray, np.ndarray]], size: int) -> Iterator[Any]:
    """Yield features and labels in single precision, from all parts in turn."""
    for Z, y in parts:
        for i in range(0, len(Z), size):
            yield single(Z[i : i + size]), y[i : i + size]


def learn(train: Images, test: Images, options: argparse.Namespace) -> dict[str, Any]:
    """Make features, learn from them, and print accuracy, times and memory."""
    (X, y), (X_test, y_test), stage = train, test, Stages()
    with folder_of(options) as folder:
        features = Features(folder, options, X)
        if not features.complete():
            with stage("fit the feature map"):
                _ = features.map
        with stage(f"features of {len(X)} images"):
            parts = [(features.of("train", X), y)]
        if options.flips == "double":
            with stage("of their mirror images"):
                parts.append((features.of("mirrored", X[:, :, ::-1]), y))
        if options.learner == "kernel":
            net = nk.mlp(1, "relu", w_std=2**0.5, b_std=0.1)
            classifier = nk.NTKClassifier(net, method="exact", verbose=True)
            with stage("kernel ridge regression"):
                Z = np.concatenate([single(Z) for Z, _ in blocks(parts, 4096)])
                Z.flags.writeable = False  # no copy is taken then
                classifier.fit(Z, np.concatenate([labels for _, labels in parts]))
                del Z
        else:
            classifier = nk.NTKClassifier(features="precomputed", verbose=True)
            with stage("ridge regression"):
                classifier.fit_blocks(blocks(parts, 4096), classes=np.unique(y))
        with stage(f"features of {len(X_test)} images"):
            Z_test = features.of("test", X_test)
        with stage("predictions"):
            guess = [classifier.predict(Z) for Z, _ in blocks([(Z_test, y_test)], 4096)]
    accuracy = float(np.mean(np.concatenate(guess) == y_test))
    error = (accuracy * (1 - accuracy) / len(y_test)) ** 0.5
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # kilobytes, on Linux
    print(
        f"\ntest accuracy {accuracy:.4f} +- {error:.4f} ({len(y_test)} images), "
        f"alpha = {classifier.alpha_:.2g}, {sum(stage.seconds.values()):.0f} s in all, "
        f"at most {peak:.1f} GB of memory"
    )
    return {"accuracy": accuracy, "error": error, "seconds": stage.seconds, "peak": peak}


@contextmanager
def folder_of(options: argparse.Namespace) -> Iterator[Path]:
    """Yield the folder for features, which is removed unless it is to stay."""
    if options.resume is not None:
        options.resume.mkdir(parents=True, exist_ok=True)
        yield options.resume
    else:
        with tempfile.TemporaryDirectory(prefix="cifar10-") as name:
            yield Path(name)


# --- beside the exact kernel ---


def compare(train: Images, test: Images, options: argparse.Namespace) -> dict[str, float]:
    """Learn from few images by the exact kernel and by features; print accuracies and times."""
    few = options.kernel_subset
    (X, y), (X_test, y_test) = (tuple(a[:few] for a in images) for images in (train, test))
    zca = nk.images.ZCA(options.regularization, normalize_contrast=options.contrast)
    X, X_test = (
        zca.fit(single(train[0][:FITTED])).transform(single(X)),
        zca.transform(single(X_test)),
    )
    net, found = myrtle(options), {}
    ways = {
        "exact kernel": nk.NTKClassifier(net, method="exact", verbose=True),
        "features": nk.NTKClassifier(net, options.components, random_state=options.seed),
    }
    print(f"\n{len(X)} training and {len(X_test)} test images:")
    for name, classifier in ways.items():
        clock = time.perf_counter()
        classifier.fit(X, y)
        fitted = time.perf_counter()
        found[name] = classifier.score(X_test, y_test)
        found[f"{name}, seconds"] = time.perf_counter() - clock
        found[f"{name}, predict"] = time.perf_counter() - fitted
        print(f"  {name:14} accuracy {found[name]:.4f}, {found[f'{name}, seconds']:.1f} s")
    n, m = len(X), len(X_test)
    pair, image = found["exact kernel, predict"] / (n * m), found["features, predict"] / m
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
    return found | {"ratio": kernel / mapped}


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("path", type=Path, nargs="?", help="a folder, archive or .npz file with CIFAR-10")
    add("--network", choices=("patches", "myrtle5", "myrtle7", "myrtle10"), default="patches")
    add("--components", type=int, default=8192, help="features of an image (8 at least)")
    add("--flips", choices=("none", "average", "double"), default="none")
    add("--learner", choices=("ridge", "kernel"), default="ridge", help="on the features")
    add("--resume", type=Path, metavar="FOLDER", help="where features are kept, and found again")
    add("--kernel", choices=("ntk", "nngp"), default="ntk", help="of Myrtle networks")
    add("--activation", choices=ACTIVATIONS, default="relu", help="of Myrtle networks")
    add("--regularization", type=float, default=0.1, help="of ZCA, for Myrtle networks")
    yes_or_no = argparse.BooleanOptionalAction
    add("--contrast", action=yes_or_no, default=True, help="normalised before ZCA, image by image")
    add("--dtype", choices=("float16", "float32"), default="float16", help="of features in files")
    add("--block", type=int, default=500, help="images whose features are in memory at a time")
    add("--n-train", type=int, default=TRAIN, help="the first training images are used")
    add("--n-test", type=int, default=TEST, help="the first test images are used")
    add("--kernel-subset", type=int, default=0, help="images for the exact kernel; 0 for none")
    add("--seed", type=int, default=0)
    return parser


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    options = parser().parse_args(arguments)
    if options.path is None or not options.path.exists():
        got = "no PATH given" if options.path is None else f"there is no {options.path}"
        raise SystemExit(f"{got}\n\n{FORMATS}")
    if options.kernel_subset and options.network == "patches":
        raise SystemExit("--kernel-subset is for Myrtle networks: add --network myrtle5, say")
    train, test = load(options.path)
    train = tuple(a[: options.n_train] for a in train)
    test = tuple(a[: options.n_test] for a in test)
    print(f"{len(train[0])} training and {len(test[0])} test images of shape {train[0].shape[1:]}")
    print(f"{options.components} features, network {options.network}, flips: {options.flips}")
    found = learn(train, test, options)
    return found | (compare(train, test, options) if options.kernel_subset else {})


if __name__ == "__main__":
    main()
