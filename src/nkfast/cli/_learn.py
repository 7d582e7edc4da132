"""The commands ``nkfast fit``, ``nkfast predict`` and ``nkfast features``."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nkfast._arrays.files import begin_npy, written_aside
from nkfast._arrays.memory import refuse_bytes
from nkfast._arrays.validation import Array
from nkfast._progress import Tell, counting
from nkfast.features import NNGPFeatures, NTKFeatures
from nkfast.kernels import NAMES
from nkfast.learn import NTKClassifier, NTKRegressor
from nkfast.learn._ridge._sizes import refuse_sums
from nkfast.networks import mlp, myrtle

from ._models import TRUST, add_format, is_pickle, load_model, remember, save_model
from ._table import Origin, Table
from ._tables import FORMATS, open_table
from ._targets import as_words_or_numbers, survey

_MOMENTS = 3  # numbers of a column that StandardScaler keeps
_MYRTLES = {f"myrtle-{depth}": depth for depth in (5, 7, 10)}
_DATA = f"rows: {', '.join(FORMATS)}; all are read in blocks; .npy and .npz may hold images"
_TARGET = (
    "name, or number (from 0; -1 is the last), of the target's column; of .npz the name of an "
    "array (y); of .npy and .npz also a .npy file; none for svmlight"
)


def add_commands(commands: Any, count: Callable[[str], int], seed: Callable[[str], int]) -> None:
    """Add the three commands; `count` and `seed` parse integers."""
    fit = _command(commands, "fit", "learn a regression or classification from a file of rows")
    fit.add_argument("data", type=Path, help=_DATA)
    fit.add_argument("--target", help=_TARGET)
    fit.add_argument(
        "--output", type=Path, required=True, metavar="MODEL", help="such as model.skops"
    )
    add_format(fit)
    fit.add_argument(
        "--task",
        choices=("regression", "classification"),
        help="by default classification if all targets are words, regression if all are numbers",
    )
    fit.add_argument("--standardize", action="store_true", help="scale columns to variance 1 first")
    fit.add_argument(
        "--alpha", type=_alpha, default="gcv", help='penalty, a number, "gcv" or "evidence" (gcv)'
    )
    fit.add_argument("--method", choices=("sketch", "nystroem"), default="sketch")
    fit.add_argument(
        "--resume",
        type=Path,
        metavar="SUMS",
        help="a file of what was added up: the same command goes on from it after a crash",
    )
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
    predict.add_argument(
        "--allow-pickle", action="store_true", help="open a joblib file, which runs its code"
    )
    _add_common(predict, count)
    predict.set_defaults(run=_predict)

    features = _command(commands, "features", "write features of a file of rows")
    features.add_argument("data", type=Path, help=_DATA)
    features.add_argument("--target", help="as of fit: is left out of the rows")
    features.add_argument("--output", type=Path, required=True, metavar="Z.npy")
    features.add_argument("--save-map", type=Path, metavar="MAP", help="the map, as nkfast fit")
    add_format(features)
    _add_network(features, count, seed)
    features.set_defaults(run=_features)


def _command(commands: Any, name: str, summary: str) -> argparse.ArgumentParser:
    description = f"{summary[0].upper()}{summary[1:]}. {TRUST if name != 'features' else ''}"
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=description.strip()
    )
    return parser


def _add_common(parser: argparse.ArgumentParser, count: Callable[[str], int]) -> None:
    parser.add_argument(
        "--block", type=count, default=8192, metavar="ROWS", help="rows held at a time (8192)"
    )
    parser.add_argument(
        "--header",
        choices=("yes", "no"),
        help="whether the first line of a CSV has names (where that is not clear)",
    )
    parser.add_argument("--quiet", action="store_true", help="show no progress and no notes")


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
    if table.image_shape not in (None, shape):
        raise ValueError(
            f"--image-shape: expected {table.image_shape} as {options.data} has, got {shape}"
        )
    return shape


# --- fit ---


def _fit(options: argparse.Namespace) -> int:
    _check_output(options.output, options.data)
    pickled = is_pickle(options, options.output)
    if options.resume is not None:
        _check_output(options.resume, options.data, options.output, name="--resume")
    table = _table(options)
    network, shape = _network(options), _image_shape(options, table)
    most = options.components
    if options.method == "nystroem":  # landmarks are rows of the first block
        most = min(most, options.block, table.n_rows)
    refuse_sums(most, "--components")
    if options.standardize:
        size = 8 * _MOMENTS * table.n_columns
        refuse_bytes(size, "--standardize", f"moments of {table.n_columns} columns")
    words, classes = survey(table, options.task, options.block)
    task = options.task or ("classification" if words else "regression")
    kind = NTKClassifier if task == "classification" else NTKRegressor
    model = kind(
        network,
        options.components,
        kernel=options.kernel,
        method=options.method,
        alpha=options.alpha,
        image_shape=shape,
        random_state=options.seed,
    )
    scaler = StandardScaler() if options.standardize else None
    if scaler is not None:
        for X, _ in table.blocks(options.block):
            scaler.set_params(with_mean=not hasattr(X, "indptr"))
            scaler.partial_fit(X)
    more = {"classes": classes} if task == "classification" else {}

    def blocks(tell: Tell) -> Iterator[tuple[Any, Array]]:
        for X, y in _blocks(table, options.block, words=words):
            if y is None:
                raise AssertionError("checked by survey")
            yield X if scaler is None else scaler.transform(X), y
            tell(len(y))

    with _progress(options, "fit", table) as tell:
        model.fit_blocks(blocks(tell), **more, resume=options.resume)
    fitted = model if scaler is None else make_pipeline(scaler, model)
    remember(fitted, table)
    save_model(fitted, options.output, pickled=pickled)
    print(f"{task} on {table.n_rows:,} rows, alpha = {model.alpha_:.4g}: {options.output}")
    return 0


# --- predict ---


def _predict(options: argparse.Namespace) -> int:
    if options.output is not None:
        _check_output(options.output, options.data, options.model)
        if options.output.suffix.lower() not in (".npy", ".csv"):
            raise ValueError(
                f"--output: expected a file name ending in .npy or .csv, got {options.output}"
            )
    model, origin = load_model(options.model, allow_pickle=options.allow_pickle)
    last: Any = model[-1] if hasattr(model, "steps") else model
    if options.std and not hasattr(last, "sample_y"):
        raise ValueError("--std: expected a model of a regression, got one of a classification")
    if options.proba and not hasattr(last, "predict_proba"):
        raise ValueError("--proba: expected a model of a classification, got one of a regression")
    table = _table(options, origin)
    words = hasattr(last, "predict_proba") and last.classes_.dtype.kind in "US"
    found: list[Array] = []
    truth: list[Array] = []
    with _progress(options, "predict", table) as tell:
        for X, y in _blocks(table, options.block, words=words):
            if options.std:
                columns = model.predict(X, return_std=True)
                found.append(np.column_stack(columns))
            else:
                found.append(model.predict_proba(X) if options.proba else model.predict(X))
            if y is not None:
                truth.append(y)
            tell(X.shape[0])
    predicted = np.concatenate(found)
    if options.output is None:
        _write_lines(predicted, sys.stdout)
    else:
        with written_aside(options.output) as path:
            if options.output.suffix.lower() == ".npy":
                with path.open("wb") as file:
                    begin_npy(file, predicted.dtype, predicted.shape)
                    file.write(np.ascontiguousarray(predicted).tobytes())
            else:
                with path.open("w", newline="", encoding="utf-8") as lines:
                    _write_lines(predicted, lines)
    if truth and not options.proba:
        print(_score(last, predicted, np.concatenate(truth)), file=sys.stderr)
    return 0


def _write_lines(predicted: Array, file: TextIO) -> None:
    if predicted.dtype.kind in "US":
        csv.writer(file, lineterminator="\n").writerows([label] for label in predicted.tolist())
    else:
        np.savetxt(file, predicted, "%.9g", delimiter=",")


def _score(learner: Any, predicted: Array, y: Array) -> str:
    if hasattr(learner, "predict_proba"):
        return f"accuracy {np.mean(predicted == y):.4f}"
    mean = predicted[:, : y[:1].size].reshape(y.shape) if predicted.ndim == 2 else predicted
    return f"R^2 {r2_score(y, mean):.4f}, RMSE {np.sqrt(np.mean((y - mean) ** 2)):.6g}"


# --- features ---


def _features(options: argparse.Namespace) -> int:
    _check_output(options.output, options.data)
    if options.output.suffix.lower() != ".npy":
        raise ValueError(f"--output: expected a file name ending in .npy, got {options.output}")
    if options.save_map is not None:
        _check_output(options.save_map, options.data)
        pickled = is_pickle(options, options.save_map)
    table = _table(options)
    kind = NTKFeatures if options.kernel == "ntk" else NNGPFeatures
    phi = kind(
        _network(options),
        options.components,
        image_shape=_image_shape(options, table),
        random_state=options.seed,
    )
    done = 0
    with (
        written_aside(options.output) as path,
        path.open("wb") as file,
        _progress(options, "features", table) as tell,
    ):
        for X, _ in table.blocks(options.block):
            Z = phi.transform(X) if done else phi.fit_transform(X)
            if not done:
                begin_npy(file, Z.dtype, (table.n_rows, Z.shape[1]))
            file.write(np.ascontiguousarray(Z).data)
            done += len(Z)
            tell(len(Z))
    if options.save_map is not None:
        if table.names is not None:
            phi.feature_names_in_ = np.array(table.names, dtype=object)
        save_model(phi, options.save_map, pickled=pickled)
    print(f"{done:,} x {options.components} features: {options.output}")
    return 0


# --- what they share ---


def _table(options: argparse.Namespace, origin: Origin | None = None) -> Table:
    header = None if options.header is None else options.header == "yes"
    table = open_table(options.data, options.target, origin, header=header)
    if table.n_rows == 0:
        raise ValueError(f"{options.data}: expected at least one row, got none")
    if not options.quiet:
        for note in table.notes:
            print(f"nkfast: {options.data}: {note}", file=sys.stderr)
    return table


def _blocks(table: Table, size: int, *, words: bool) -> Iterator[tuple[Any, Array | None]]:
    """Yield blocks whose targets are all words or all numbers."""
    start = 0
    for X, y in table.blocks(size):
        yield X, None if y is None else as_words_or_numbers(table, y, start, words=words)
        start += X.shape[0]


def _progress(
    options: argparse.Namespace, stage: str, table: Table
) -> AbstractContextManager[Tell]:
    return counting(not options.quiet, stage, table.n_rows)


def _check_output(path: Path, *inputs: Path, name: str = "--output") -> None:
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"{name}: no such folder: {path.absolute().parent}")
    if path.is_dir():
        raise IsADirectoryError(f"{name}: expected a file, got a folder: {path}")
    if path.exists() and any(other.exists() and path.samefile(other) for other in inputs):
        raise ValueError(f"{name}: expected a file of its own, got what is read: {path}")
