"""Files of rows for the command line, read block by block."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from nkfast._arrays.blocks import row_blocks
from nkfast._arrays.images import ImageShape
from nkfast._arrays.validation import Array

from ._npz import ArchivedArray
from ._svmlight import SvmlightFile

FORMATS = (".npy", ".npz", ".csv", ".svm", ".svmlight", ".libsvm", ".parquet")


class Table:
    """Rows X and, if there is one, their target y, in blocks.

    Attributes
    ----------
    n_rows : int
    image_shape : (int, int, int) or None
        Height, width and channels of the rows, if the file says so.
    """

    n_rows: int
    image_shape: ImageShape | None = None

    def blocks(self, size: int) -> Iterator[tuple[Any, Array | None]]:
        """Yield (X, y) of at most `size` rows at a time; y is None without a target."""
        raise NotImplementedError


def open_table(path: Path, target: str | None) -> Table:
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

    Raises
    ------
    FileNotFoundError, ValueError
        On what cannot be read.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    kind = path.suffix.lower()
    if kind == ".npy":
        return _open_npy(path, target)
    if kind == ".npz":
        return _open_npz(path, target)
    if kind == ".csv":
        return _Csv(path, target)
    if kind == ".parquet":
        return _open_parquet(path, target)
    if kind in FORMATS:
        return _Svmlight(path, target)
    raise ValueError(f"{path}: expected a file name ending in {', '.join(FORMATS)}")


@dataclass
class _Arrays(Table):
    X: Any
    y: Array | None
    without: int | None = None  # a column of X that is the target

    def __post_init__(self) -> None:
        self.n_rows = self.X.shape[0]

    def blocks(self, size: int) -> Iterator[tuple[Any, Array | None]]:
        for rows in row_blocks(self.n_rows, size, self.X, self.y):
            X = self.X[rows]
            if self.without is not None:
                yield np.delete(X, self.without, axis=1), np.asarray(X[:, self.without])
            else:
                X = X if sp.issparse(X) else np.asarray(X)
                yield X, None if self.y is None else np.asarray(self.y[rows])


def _open_npy(path: Path, target: str | None) -> Table:
    X = np.load(path, mmap_mode="r")
    image_shape = _image_shape(path, X.shape)
    if image_shape is not None:
        X = X.reshape(len(X), -1)
    if target is None or target.endswith(".npy"):
        table = _Arrays(X, None if target is None else _target_file(target, len(X)))
    else:
        table = _Arrays(X, None, _column(path, target, [], X.shape[1]))
    table.image_shape = image_shape
    return table


class _Npz(Table):
    def __init__(self, path: Path, y: Array | None) -> None:
        self._X, self._y = ArchivedArray(path, "X"), y
        self.n_rows = self._X.shape[0]
        self.image_shape = _image_shape(path, self._X.shape)

    def blocks(self, size: int) -> Iterator[tuple[Any, Array | None]]:
        start = 0
        for X in self._X.blocks(size):
            rows = slice(start, start + len(X))
            yield X.reshape(len(X), -1), None if self._y is None else np.asarray(self._y[rows])
            start += len(X)


def _open_npz(path: Path, target: str | None) -> Table:
    with np.load(path) as arrays:
        names = arrays.files
        sparse = "X" not in names and "indptr" in names
        if sparse:
            n = int(arrays["shape"][0])
        elif "X" not in names:
            raise ValueError(f"{path}: expected an array 'X', got {names}")
        else:
            n = ArchivedArray(path, "X").shape[0]
        name = target or ("y" if "y" in names else None)
        if name is None:
            y = None
        elif name in names:
            y = arrays[name]
            _check_lengths(f"{path}, {name}", len(y), n)
        elif name.endswith(".npy"):
            y = _target_file(name, n)
        else:
            raise ValueError(f"--target: expected one of the arrays {names}, got {name!r}")
    if sparse:
        return _Arrays(sp.csr_array(sp.load_npz(path)), y)
    return _Npz(path, y)


class _Svmlight(Table):
    def __init__(self, path: Path, target: str | None) -> None:
        if target is not None:
            raise ValueError(
                f"--target: expected none, since svmlight begins with it, got {target!r}"
            )
        self._file = SvmlightFile(path)
        self.n_rows = self._file.shape[0]

    def blocks(self, size: int) -> Iterator[tuple[Any, Array | None]]:
        yield from self._file.blocks(size)


def _image_shape(path: Path, shape: tuple[int, ...]) -> ImageShape | None:
    """Return the shape of images; None for rows."""
    if len(shape) == 2:
        return None
    if len(shape) not in (3, 4) or math.prod(shape[1:]) == 0:
        raise ValueError(
            f"{path}: expected rows of columns, or images, got an array of shape {shape}"
        )
    height, width, channels = (*shape[1:], 1)[:3]
    return height, width, channels


def _target_file(target: str, n: int) -> Array:
    y = np.load(target, mmap_mode="r")
    _check_lengths(target, len(y), n)
    return np.asarray(y)


def _check_lengths(name: str, length: int, expected: int) -> None:
    if length != expected:
        raise ValueError(f"{name}: expected {expected} targets as there are rows, got {length}")


def _column(path: Path, target: str, names: list[str], width: int) -> int:
    """Return the number of the target's column."""
    if target in names:
        return names.index(target)
    try:
        number = int(target)
    except ValueError:
        known = f"one of the columns {', '.join(names)}" if names else "the number of a column"
        raise ValueError(f"--target: expected {known} of {path}, got {target!r}") from None
    if not -width <= number < width:
        raise ValueError(f"--target: expected a column from 0 to {width - 1}, got {number}")
    return number % width


class _Csv(Table):
    """Comma-separated values; the first line has names if it holds no number.

    Targets are words if any of them is no number. All that is known of CSV is in this class, so
    that another reader, such as pyarrow's, is another `Table` with the same constructor, chosen in
    `open_table`.
    """

    def __init__(self, path: Path, target: str | None) -> None:
        self._path = path
        with path.open(newline="", encoding="utf-8-sig") as file:
            first = next(csv.reader(file), None)
        if not first:
            raise ValueError(f"{path}: expected rows of numbers, got an empty file")
        self._width = len(first)
        self._named = not any(_is_number(entry) for entry in first)
        names = [name.strip() for name in first] if self._named else []
        self._target = None if target is None else _column(path, target, names, len(first))
        self._words = False
        self.n_rows = 0
        for row, _ in self._rows():
            self.n_rows += 1
            self._words = self._words or not (self._target is None or _is_number(row[self._target]))

    def _rows(self) -> Iterator[tuple[list[str], int]]:
        """Yield the rows and their lines."""
        with self._path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            if self._named:
                next(reader)
            for row in reader:
                if not row:
                    continue
                if len(row) != self._width:
                    raise ValueError(
                        f"{self._path}, line {reader.line_num}: expected {self._width} values, "
                        f"got {len(row)}"
                    )
                yield row, reader.line_num

    def blocks(self, size: int) -> Iterator[tuple[Any, Array | None]]:
        rows: list[list[str]] = []
        line = 0
        for row, line in self._rows():
            rows.append(row)
            if len(rows) == size:
                yield self._parsed(rows, line)
                rows = []
        if rows:
            yield self._parsed(rows, line)

    def _parsed(self, rows: list[list[str]], last_line: int) -> tuple[Array, Array | None]:
        y = None
        if self._target is not None:
            y = np.array([row.pop(self._target).strip() for row in rows])
            y = y if self._words else y.astype(np.float64)
        try:
            return np.array(rows, dtype=np.float64), y
        except ValueError:
            bad = next(entry for row in rows for entry in row if not _is_number(entry))
            raise ValueError(
                f"{self._path}, line {last_line} or up to {len(rows) - 1} lines before: expected "
                f"numbers, got {bad!r}"
            ) from None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _open_parquet(path: Path, target: str | None) -> Table:
    if find_spec("pyarrow") is None:
        raise ValueError(
            f"{path}: Parquet needs pyarrow, which is not installed: pip install pyarrow"
        )
    return _Parquet(path, target)


class _Parquet(Table):
    def __init__(self, path: Path, target: str | None) -> None:
        from pyarrow import parquet

        self._path = path
        self._file = parquet.ParquetFile(path)
        self.n_rows = self._file.metadata.num_rows
        names = self._file.schema_arrow.names
        self._target = None if target is None else _column(path, target, names, len(names))

    def blocks(self, size: int) -> Iterator[tuple[Any, Array | None]]:
        for batch in self._file.iter_batches(size):
            columns = [np.asarray(column) for column in batch.columns]
            y = None if self._target is None else columns.pop(self._target)
            if y is not None and y.dtype == object:
                y = y.astype(str)
            try:
                X = np.column_stack(columns)
                X = X if X.dtype in (np.float32, np.float64) else X.astype(np.float64)
            except ValueError as error:
                raise ValueError(
                    f"{self._path}: expected columns of numbers, got {error}"
                ) from None
            yield X, y
