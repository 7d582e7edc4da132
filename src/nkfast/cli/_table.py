"""What all files of rows share: blocks, where their rows stand, and which columns are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nkfast._arrays.images import ImageShape
from nkfast._arrays.validation import Array


@dataclass(frozen=True)
class Origin:
    """What a model knows of the rows it was fitted on; None is unknown.

    Attributes
    ----------
    width : int or None
        Number of columns beside the target.
    names : tuple of str or None
        Their names.
    image_shape : (int, int, int) or None
        Of rows that came as images.
    first : int or None
        The number, 0 or 1, of svmlight's first column.
    """

    width: int | None = None
    names: tuple[str, ...] | None = None
    image_shape: ImageShape | None = None
    first: int | None = None


class Table:
    """Rows X and, if there is one, their target y, in blocks.

    Attributes
    ----------
    path : Path
    n_rows, n_columns : int
        Of X.
    names : list of str or None
        Of the columns of X.
    image_shape : (int, int, int) or None
        Height, width and channels of the rows, if the file says so.
    first : int or None
        The number of the first column, if the file has numbers.
    target : str
        What messages call the target's column.
    typed : bool
        Whether the file tells numbers from words.
    notes : list of str
        What was done with the file that its reader might not expect.
    """

    path: Path
    n_rows: int
    n_columns: int
    names: list[str] | None = None
    image_shape: ImageShape | None = None
    first: int | None = None
    target = "target"
    typed = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[str] = []

    def blocks(self, size: int) -> Iterator[tuple[Any, Array | None]]:
        """Yield (X, y) of at most `size` rows at a time; y is None without a target.

        Targets are as they stand in the file: numbers, or words.
        """
        start = 0
        with reading(self.path):
            for X, y in self._read(size):
                self._refuse_nonfinite(X, start)
                yield X, y
                start += X.shape[0]

    def targets(self, size: int) -> Iterator[Array | None]:
        """Yield the targets alone."""
        with reading(self.path):
            for _, y in self._read(size):
                yield y

    def place(self, row: int) -> str:
        """Return words that say where a row stands."""
        return f"{self.path}, row {row} (from 0)"

    def _set_width(self, width: int, origin: Origin) -> None:
        """Refuse rows without columns, and other rows than the model's."""
        self.n_columns = width
        if width == 0:
            raise TableError(f"{self.path}: expected columns beside the target, got none")
        if origin.width not in (None, width):
            raise TableError(
                f"{self.path}: expected {origin.width} columns beside the target, as the model was "
                f"fitted on, got {width}"
            )

    def _read(self, size: int) -> Iterator[tuple[Any, Array | None]]:
        raise NotImplementedError

    def _refuse_nonfinite(self, X: Any, start: int) -> None:
        values = X.data if hasattr(X, "indptr") else X
        if np.isfinite(values).all():
            return
        coo = X.tocoo() if hasattr(X, "indptr") else None
        i = int(np.flatnonzero(~np.isfinite(values))[0])
        row, column = divmod(i, X.shape[1]) if coo is None else (coo.row[i], coo.col[i])
        raise TableError(
            f"{self.place(start + int(row))}, column {self._title(int(column))}: expected a finite "
            f"number, got {values.ravel()[i]}; drop the row or fill the gap"
        )

    def _title(self, column: int) -> str:
        return str(column + (self.first or 0)) if self.names is None else repr(self.names[column])


class TableError(ValueError):
    """A refusal that already says which file, where, and what to do."""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Give whatever a library says of a broken file the file's name."""
    try:
        yield
    except (TableError, MemoryError):
        raise
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise TableError(
            f"{path}: expected text in UTF-8, got the byte 0x{byte:02x}; save the file as UTF-8"
        ) from None
    except Exception as error:  # whatever zip, zlib, Arrow and NumPy raise
        raise TableError(f"{path}: {str(error) or type(error).__name__}") from None


def target_column(path: Path, target: str | None, names: list[str], width: int) -> int | None:
    """Return the number of the target's column, which is found by its name first."""
    if target is None:
        return None
    if target in names:
        return names.index(target)
    try:
        number = int(target)
    except ValueError:
        known = f"one of the columns {', '.join(names)}" if names else "the number of a column"
        raise TableError(f"--target: expected {known} of {path}, got {target!r}") from None
    if not -width <= number < width:
        raise TableError(f"--target: expected a column from 0 to {width - 1}, got {number}")
    return number % width


def named_columns(
    path: Path, names: Sequence[str], target: int | None, origin: Origin, index: Sequence[int] = ()
) -> tuple[list[int], list[str]]:
    """Return the numbers of the columns to read, as the model knows them, and notes.

    `index` are columns that are no features, unless the model or the target names them.
    """
    notes = []
    if origin.names is None:
        columns = [i for i in range(len(names)) if i != target and i not in index]
        if left := [names[i] for i in index if i != target]:
            notes.append(f"index left out: {', '.join(left)}")
    else:
        if missing := [name for name in origin.names if name not in names]:
            raise TableError(
                f"{path}: expected the columns that the model was fitted on, but "
                f"{_listed(missing)} {'is' if len(missing) == 1 else 'are'} missing"
            )
        columns = [names.index(name) for name in origin.names]
        if target in columns:
            raise TableError(
                f"--target: expected a column that is no feature of the model, "
                f"got {names[columns[columns.index(target)]]!r}"
            )
        known = {*columns, target}
        if others := [name for i, name in enumerate(names) if i not in known]:
            notes.append(f"columns that the model does not know: {_listed(others)}")
    for i in columns if target is None else [*columns, target]:
        if not names[i] or names[i].startswith("Unnamed: "):
            raise TableError(
                f"{path}: column {i} (from 0) has no name, as an index that pandas wrote; leave it "
                "out (index=False) or give it a name"
            )
        if names.count(names[i]) > 1:
            where = ", ".join(str(k) for k, name in enumerate(names) if name == names[i])
            raise TableError(
                f"{path}: expected columns of different names, got {names[i]!r} at {where} (from "
                "0); rename or drop all but one"
            )
    return columns, notes


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:5]))
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
