"""The commands ``nkfast fit``, ``nkfast predict`` and ``nkfast features``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nkfast._arrays.validation import Array
from nkfast._progress import Tell, counting
from nkfast.features import NNGPFeatures, NTKFeatures
from nkfast.kernels import NAMES
from nkfast.learn import NTKClassifier, NTKRegressor
from nkfast.networks import mlp, myrtle

from ._tables import FORMATS, Table, open_table

_TRUST = "A model file is a pickle: loading one runs code that it holds. Open only files you trust."
_MYRTLES = {f"myrtle-{depth}": depth for depth in (5, 7, 10)}
_DATA = f"rows: {', '.join(FORMATS)}; all are read in blocks; .npy and .npz may hold images"
_TARGET = (
    "name or number (from 0; -1 is the last) of the target's column; of .npz the name of an array "
    "(y); of .npy and .npz also a .npy file; none for svmlight"
)


def add_commands(commands: Any, count: Callable[[str], int], seed: Callable[[str], int]) -> None:
    """Add the three commands; `count` and `seed` parse integers."""
    fit = _command(commands, "fit", "learn a regression or classification from a file of rows")
    fit.add_argument("data", type=Path, help=_DATA)
    fit.add_argument("--target", help=_TARGET)
    fit.add_argument("--output", type=Path, required=True, metavar="MODEL", help="a joblib file")
    fit.add_argument(
        "--task",
        choices=("regression", "classification"),
        help="by default classification if the targets are words",
    )
    fit.add_argument("--standardize", action="store_true", help="scale columns to variance 1 first")
    fit.add_argument(
        "--alpha", type=_alpha, default="gcv", help='penalty, a number, "gcv" or "evidence" (gcv)'
    )
    fit.add_argument("--method", choices=("sketch", "nystroem"), default="sketch")
    _add_network(fit, count, seed)
    fit.set_defaults(run=_fit)

    predict = _command(commands, "predict", "predict for a file of rows with a model of nkfast fit")
    predict.add_argument("model", type=Path, help="what nkfast fit wrote")
    predict.add_argument("data", type=Path, help=_DATA)
    predict.add_argument("--target", help="as of fit: is left out of the rows, and scored against")
    predict.add_argument("--output", type=Path, help=".npy or .csv; by default lines on stdout")
    which = predict.add_mutually_exclusive_group()
    which.add_argument("--std", action="store_true", help="a second column, standard deviations")
    which.add_argument("--proba", action="store_true", help="probabilities of the classes instead")
    _add_common(predict, count)
    predict.set_defaults(run=_predict)

    features = _command(commands, "features", "write features of a file of rows")
    features.add_argument("data", type=Path, help=_DATA)
    features.add_argument("--target", help="as of fit: is left out of the rows")
    features.add_argument("--output", type=Path, required=True, metavar="Z.npy")
    features.add_argument("--save-map", type=Path, metavar="MAP", help="the map, a joblib file")
    _add_network(features, count, seed)
    features.set_defaults(run=_features)


def _command(commands: Any, name: str, summary: str) -> argparse.ArgumentParser:
    description = f"{summary[0].upper()}{summary[1:]}. {_TRUST if name != 'features' else ''}"
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=description.strip()
    )
    return parser


def _add_common(parser: argparse.ArgumentParser, count: Callable[[str], int]) -> None:
    parser.add_argument(
        "--block", type=count, default=8192, metavar="ROWS", help="rows held at a time (8192)"
    )
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def _add_network(
    parser: argparse.ArgumentParser, count: Callable[[str], int], seed: Callable[[str], int]
) -> None:
    parser.add_argument(
        "--network",
        choices=("mlp", *_MYRTLES),
        default="mlp",
        help="of rows, or one of three convolutional networks of images (mlp)",
    )
    parser.add_argument(
        "--image-shape",
        type=count,
        nargs=3,
        metavar=("HEIGHT", "WIDTH", "CHANNELS"),
        help="of images that come as rows; files of images (n, height, width, channels) tell it",
    )
    parser.add_argument("--depth", type=count, default=2, help="hidden layers of an mlp (2)")
    parser.add_argument("--activation", default="relu", help='by name (relu), such as "gelu"')
    parser.add_argument("--w-std", type=float, default=2**0.5, help="of the weights (1.41)")
    parser.add_argument("--b-std", type=float, default=0.1, help="of the biases of an mlp (0.1)")
    parser.add_argument("--kernel", choices=NAMES[::-1], default="ntk")
    parser.add_argument("--components", type=count, default=2048, metavar="M", help="width (2048)")
    parser.add_argument("--seed", type=seed, default=0, help="of the features (0)")
    _add_common(parser, count)


def _alpha(text: str) -> Any:
    if text in ("gcv", "evidence"):
        return text
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected a number, 'gcv' or 'evidence', got {text!r}"
        ) from None


def _network(options: argparse.Namespace) -> Any:
    if options.network == "mlp":
        return mlp(options.depth, options.activation, options.w_std, options.b_std)
    return myrtle(_MYRTLES[options.network], options.activation, options.w_std)


def _image_shape(options: argparse.Namespace, table: Table) -> Any:
    """Return the shape of the rows as images, for a network that takes them."""
    if options.network == "mlp":
        return None
    shape = table.image_shape if options.image_shape is None else tuple(options.image_shape)
    if shape is None:
        raise ValueError(f"--image-shape: expected the shape of the rows for {options.network}")
    return shape


# --- fit ---


def _fit(options: argparse.Namespace) -> int:
    _check_folder(options.output)
    table = _table(options)
    kinds, classes = _targets(table, options)
    task = options.task or ("classification" if kinds == "U" else "regression")
    kind = NTKClassifier if task == "classification" else NTKRegressor
    if task == "regression" and kinds == "U":
        raise ValueError("--task: expected classification for targets that are words")
    model = kind(
        _network(options),
        options.components,
        kernel=options.kernel,
        method=options.method,
        alpha=options.alpha,
        image_shape=_image_shape(options, table),
        random_state=options.seed,
    )
    scaler = StandardScaler() if options.standardize else None
    if scaler is not None:
        for X, _ in table.blocks(options.block):
            scaler.set_params(with_mean=not hasattr(X, "indptr"))
            scaler.partial_fit(X)
    more = {"classes": classes} if task == "classification" else {}

    def blocks(tell: Tell) -> Iterator[tuple[Any, Array]]:
        for X, y in table.blocks(options.block):
            if y is None:
                raise AssertionError("checked by _targets")
            yield X if scaler is None else scaler.transform(X), y.astype(str) if kinds == "U" else y
            tell(len(y))

    with _progress(options, "fit", table) as tell:
        model.fit_blocks(blocks(tell), **more)
    fitted = model if scaler is None else make_pipeline(scaler, model)
    with _whole_file(options.output) as path:
        joblib.dump(fitted, path)
    print(f"{task} on {table.n_rows:,} rows, alpha = {model.alpha_:.4g}: {options.output}")
    return 0


def _targets(table: Table, options: argparse.Namespace) -> tuple[str, Array]:
    """Return "U" if targets are words, else "f", and the distinct ones where these are classes."""
    known: Array | None = None
    words = False
    for _, y in table.blocks(options.block):
        if y is None:
            raise ValueError("--target: expected where the targets are, got none")
        words = words or y.dtype.kind in "USO"
        if not words and options.task != "classification":
            continue
        found = np.unique(y)
        known = found if known is None else _union(known, found)
    return ("U" if words else "f"), np.array([]) if known is None else known


def _union(a: Array, b: Array) -> Array:
    if a.dtype.kind != b.dtype.kind:  # numbers in one block, words in another
        a, b = a.astype(str), b.astype(str)
    return np.union1d(a, b)


# --- predict ---


def _predict(options: argparse.Namespace) -> int:
    if options.output is not None:
        _check_folder(options.output)
        if options.output.suffix.lower() not in (".npy", ".csv"):
            raise ValueError(
                f"--output: expected a file name ending in .npy or .csv, got {options.output}"
            )
    model = _load(options.model)
    last: Any = model[-1] if hasattr(model, "steps") else model
    if options.std and not hasattr(last, "sample_y"):
        raise ValueError("--std: expected a model of a regression, got one of a classification")
    if options.proba and not hasattr(last, "predict_proba"):
        raise ValueError("--proba: expected a model of a classification, got one of a regression")
    table = _table(options)
    found: list[Array] = []
    truth: list[Array] = []
    with _progress(options, "predict", table) as tell:
        for X, y in table.blocks(options.block):
            if options.std:
                columns = model.predict(X, return_std=True)
                found.append(np.column_stack(columns))
            else:
                found.append(model.predict_proba(X) if options.proba else model.predict(X))
            if y is not None:
                truth.append(y)
            tell(X.shape[0])
    predicted = np.concatenate(found)
    if options.output is not None and options.output.suffix.lower() == ".npy":
        np.save(options.output, predicted)
    else:
        _write_lines(predicted, options.output)
    if truth and not options.proba:
        print(_score(last, predicted, np.concatenate(truth)), file=sys.stderr)
    return 0


def _write_lines(predicted: Array, output: Path | None) -> None:
    form = "%s" if predicted.dtype.kind in "US" else "%.9g"
    if output is None:
        np.savetxt(sys.stdout, predicted, form, delimiter=",")
    else:
        np.savetxt(output, predicted, form, delimiter=",", encoding="utf-8")


def _score(learner: Any, predicted: Array, y: Array) -> str:
    if hasattr(learner, "predict_proba"):
        if (predicted.dtype.kind in "US") != (y.dtype.kind in "US"):
            predicted, y = predicted.astype(str), y.astype(str)
        return f"accuracy {np.mean(predicted == y):.4f}"
    mean = predicted[:, : y[:1].size].reshape(y.shape) if predicted.ndim == 2 else predicted
    return f"R^2 {r2_score(y, mean):.4f}, RMSE {np.sqrt(np.mean((y - mean) ** 2)):.6g}"


def _load(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        model = joblib.load(path)
    except Exception as error:  # whatever pickles raise
        raise ValueError(f"{path}: expected a model of nkfast fit, got: {error!r}") from None
    last = model[-1] if hasattr(model, "steps") else model
    if not isinstance(last, (NTKClassifier, NTKRegressor)):
        raise ValueError(f"{path}: expected a model of nkfast fit, got a {type(model).__name__}")
    return model


# --- features ---


def _features(options: argparse.Namespace) -> int:
    _check_folder(options.output)
    if options.output.suffix.lower() != ".npy":
        raise ValueError(f"--output: expected a file name ending in .npy, got {options.output}")
    if options.save_map is not None:
        _check_folder(options.save_map)
    table = _table(options)
    kind = NTKFeatures if options.kernel == "ntk" else NNGPFeatures
    phi = kind(
        _network(options),
        options.components,
        image_shape=_image_shape(options, table),
        random_state=options.seed,
    )
    out, done = None, 0
    with _whole_file(options.output) as path, _progress(options, "features", table) as tell:
        for X, _ in table.blocks(options.block):
            Z = phi.fit_transform(X) if out is None else phi.transform(X)
            if out is None:
                shape = (table.n_rows, Z.shape[1])
                out = np.lib.format.open_memmap(path, "w+", dtype=Z.dtype, shape=shape)
            out[done : done + len(Z)] = Z
            done += len(Z)
            tell(len(Z))
        if out is not None:
            out.flush()
    if options.save_map is not None:
        joblib.dump(phi, options.save_map)
    print(f"{done:,} x {options.components} features: {options.output}")
    return 0


# --- what they share ---


def _table(options: argparse.Namespace) -> Table:
    table = open_table(options.data, options.target)
    if table.n_rows == 0:
        raise ValueError(f"{options.data}: expected at least one row, got none")
    return table


def _progress(
    options: argparse.Namespace, stage: str, table: Table
) -> AbstractContextManager[Tell]:
    return counting(not options.quiet, stage, table.n_rows)


@contextmanager
def _whole_file(output: Path) -> Iterator[Path]:
    """Yield a name to write to; the file gets its own only when it is whole."""
    part = output.with_name(f"{output.name}.part")
    try:
        yield part
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)


def _check_folder(path: Path) -> None:
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"--output: no such folder: {path.absolute().parent}")
    if path.is_dir():
        raise IsADirectoryError(f"--output: expected a file, got a folder: {path}")
