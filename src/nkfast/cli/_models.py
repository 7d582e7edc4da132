"""Model files of ``nkfast fit`` and of ``nkfast features``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from nkfast._arrays.files import written_aside
from nkfast._saving import is_model_file, load, refuse_without_skops, save
from nkfast.learn import NTKClassifier, NTKRegressor

from ._table import Origin, Table

TRUST = (
    "A model file runs no code when it is opened; a joblib file does, so open only those you trust."
)
_PICKLES = (".joblib", ".pkl", ".pickle")


def add_format(parser: argparse.ArgumentParser) -> None:
    """Add the choice of a format."""
    parser.add_argument(
        "--format",
        choices=("skops", "joblib"),
        help="of the model file (joblib for the ending .joblib or .pkl, else skops)",
    )


def is_pickle(options: argparse.Namespace, path: Path) -> bool:
    """Return whether a model shall be a joblib file; refuse at once what could not be written."""
    if options.format == "joblib" or (options.format is None and path.suffix.lower() in _PICKLES):
        return True
    _need_skops(path, "; or take --format joblib")
    return False


def _need_skops(path: Path, otherwise: str = "") -> None:
    try:
        refuse_without_skops()
    except ImportError as error:
        raise ValueError(f"{path}: {error}{otherwise}") from None


def save_model(model: Any, path: Path, *, pickled: bool) -> None:
    """Write a model, as a joblib file if it shall be `pickled`."""
    if pickled:
        with written_aside(path) as part:
            joblib.dump(model, part)
    else:
        save(model, path)


def remember(model: Any, table: Table) -> None:
    """Keep what is known of the rows: column names as scikit-learn does, and what it does not."""
    if table.names is not None:
        _first_step(model).feature_names_in_ = np.array(table.names, dtype=object)
    model.rows_ = {"image_shape": table.image_shape, "first": table.first}


def load_model(path: Path, *, allow_pickle: bool) -> tuple[Any, Origin]:
    """Return a model, and what it knows of its rows."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if is_model_file(path):
        _need_skops(path)
        model = load(path)
    elif not allow_pickle:
        raise ValueError(
            f"{path}: expected a model of nkfast fit, got another file; --allow-pickle opens "
            "joblib files, which run code: only those you trust"
        )
    else:
        try:
            model = joblib.load(path)
        except Exception as error:  # whatever pickles raise
            raise ValueError(f"{path}: expected a model of nkfast fit, got: {error!r}") from None
    last = model[-1] if hasattr(model, "steps") else model
    if not isinstance(last, (NTKClassifier, NTKRegressor)):
        raise ValueError(f"{path}: expected a model of nkfast fit, got a {type(model).__name__}")
    first = _first_step(model)
    names = vars(first).pop("feature_names_in_", None)  # blocks come in their order, without names
    origin = Origin(
        width=first.n_features_in_,
        names=None if names is None else tuple(names.tolist()),
        **getattr(model, "rows_", {}),
    )
    return model, origin


def _first_step(model: Any) -> Any:
    return model[0] if hasattr(model, "steps") else model
