"""Files of rows for the command line, read block by block."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.lib.format import open_memmap

from nkfast._arrays.blocks import row_blocks
from nkfast._arrays.images import ImageShape
from nkfast._arrays.validation import Array

from ._named import CsvTable, ParquetTable
from ._npz import ArchivedArray
from ._svmlight import SvmlightTable
from ._table import Origin, Table, TableError, reading, target_column

FORMATS = (".npy", ".npz", ".csv", ".svm", ".svmlight", ".libsvm", ".parquet")


def open_table(
    path: Path,
    target: str | None,
    origin: Origin | None = None,
    *,
    header: bool | None = None,
) -> Table:
    """Open a file of rows by the ending of its name.

    Parameters
    ----------
    path : Path
        .npy (mapped, not read), .npz (arrays "X" and, if there is one, "y"; or what
        `scipy.sparse.save_npz` writes, which is read at once), .csv, .parquet, .svm, .svmlight,
        .libsvm. Arrays of images, (n, height, width, channels) or (n, height, width), give flat
        rows.
    target : str, optional
        Where the target is: the name or the number of a column, counted from 0 or, below zero, from
        the end; for .npz the name of an array; for .npy and .npz also the name of a .npy file.
    origin : Origin, optional
        What the model was fitted on. Columns are found by its names, in any order; where either has
        no names there must be as many.
    header : bool, optional
        Whether the first line of a CSV has names; by default it has if it holds no number or the
        target's name.

    Raises
    ------
    FileNotFoundError, ValueError
        On what cannot be read, or may be read in more than one way.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    origin = origin or Origin()
    kind = path.suffix.lower()
    table: Table
    if kind == ".npy":
        table = _open_npy(path, target)
    elif kind == ".npz":
        table = _open_npz(path, target)
    elif kind == ".csv":
        table = CsvTable(path, target, origin, header)
    elif kind == ".parquet":
        table = ParquetTable(path, target, origin)
    elif kind in FORMATS:
        if target is not None:
            raise TableError(
                f"--target: expected none, since svmlight begins with it, got {target!r}"
            )
        table = SvmlightTable(path, origin)
    else:
        raise TableError(f"{path}: expected a file name ending in {', '.join(FORMATS)}")
    if isinstance(table, _ArrayTable):
        table.check(origin)
    if origin.width is not None and (table.names is None) != (origin.names is None):
        table.notes.append("columns are taken in their order, as the model or the file names none")
    return table


class _ArrayTable(Table):
    """Rows of an array, and their targets: another array, or one of the columns."""

    def __init__(self, path: Path, X: Any, y: Array | None, without: int | None = None) -> None:
        super().__init__(path)
        if X.dtype.kind not in "biuf":
            raise TableError(f"{path}: expected numbers, got dtype {X.dtype}")
        self._X, self._y, self._without = X, y, without
        self.image_shape = _image_shape(path, X.shape)
        self.n_rows = X.shape[0]

    def check(self, origin: Origin) -> None:
        """Refuse rows that cannot be the model's."""
        width = math.prod(self._X.shape[1:]) - (self._without is not None)
        self._set_width(width, origin)
        shape, known = self.image_shape, origin.image_shape
        if shape is not None and known is not None and shape != known:
            raise TableError(
                f"{self.path}: expected images of shape {known}, as the model was fitted on, "
                f"got {shape}"
            )

    def _read(self, size: int) -> Iterator[tuple[Any, Array | None]]:
        for rows, X in self._pieces(size):
            y = None if self._y is None else np.asarray(self._y[rows])
            if self._without is not None:
                X, y = np.delete(X, self._without, axis=1), np.asarray(X[:, self._without])
            yield X if sp.issparse(X) else np.asarray(X).reshape(len(X), -1), y

    def _pieces(self, size: int) -> Iterator[tuple[slice, Any]]:
        for rows in row_blocks(self.n_rows, size, self._X, self._y):
            yield rows, self._X[rows]


class _ArchiveTable(_ArrayTable):
    """Rows of an array in an archive, which is not read at once."""

    def _pieces(self, size: int) -> Iterator[tuple[slice, Any]]:
        start = 0
        for X in self._X.blocks(size):
            yield slice(start, start + len(X)), X
            start += len(X)


def _open_npy(path: Path, target: str | None) -> _ArrayTable:
    with reading(path):
        X = open_memmap(path, mode="r")
    table = _ArrayTable(path, X, None)
    if target is None:
        return table
    if target.endswith(".npy"):
        return _ArrayTable(path, X, _target_file(target, len(X)))
    if table.image_shape is not None:
        raise TableError(f"--target: expected a .npy file of targets of images, got {target!r}")
    return _ArrayTable(path, X, None, target_column(path, target, [], X.shape[1]))


def _open_npz(path: Path, target: str | None) -> _ArrayTable:
    X: Any
    with reading(path), path.open("rb") as file, np.load(file) as arrays:
        names = arrays.files
        kind: type[_ArrayTable] = _ArrayTable
        if "X" in names:
            kind, X = _ArchiveTable, ArchivedArray(path, "X")
        elif "format" in names and "shape" in names:
            X = sp.csr_array(sp.load_npz(path))
        else:
            raise TableError(f"{path}: expected an array 'X', got {names}")
        n = kind(path, X, None).n_rows
        name = target or ("y" if "y" in names else None)
        if name is None:
            y = None
        elif name in names:
            y = _target(f"{path}, {name}", arrays[name], n)
        elif name.endswith(".npy"):
            y = _target_file(name, n)
        else:
            raise TableError(f"--target: expected one of the arrays {names}, got {name!r}")
    return kind(path, X, y)


def _image_shape(path: Path, shape: tuple[int, ...]) -> ImageShape | None:
    """Return the shape of images; None for rows."""
    if len(shape) == 2:
        return None
    if len(shape) not in (3, 4) or math.prod(shape[1:]) == 0:
        raise TableError(
            f"{path}: expected rows of columns, or images, got an array of shape {shape}"
        )
    height, width, channels = (*shape[1:], 1)[:3]
    return height, width, channels


def _target_file(target: str, n: int) -> Array:
    with reading(Path(target)):
        return _target(target, open_memmap(target, mode="r"), n)


def _target(name: str, y: Array, n: int) -> Array:
    """Return targets; truth values as words."""
    if y.ndim not in (1, 2) or y.dtype.kind not in "biufUS":
        raise TableError(
            f"{name}: expected targets (n,) or (n, k), numbers or words, got {y.dtype} of shape "
            f"{y.shape}"
        )
    if len(y) != n:
        raise TableError(f"{name}: expected {n} targets as there are rows, got {len(y)}")
    return y.astype(str) if y.dtype.kind in "bS" else y
