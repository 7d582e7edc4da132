"""Tables whose columns have names: CSV and Parquet."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from nkfast._arrays.validation import Array

from ._table import Origin, Table, TableError, named_columns, reading, target_column

Entries = list[list[str]]


class CsvTable(Table):
    """Comma-separated values in UTF-8, with or without a line of names.

    All that is known of CSV is in this class, so that another reader, such as pyarrow's, is another
    `Table` with the same constructor, chosen in `open_table`. Targets are yielded as texts.
    """

    typed = False

    def __init__(self, path: Path, target: str | None, origin: Origin, header: bool | None) -> None:
        super().__init__(path)
        self._header = 0  # rows of names
        with reading(path):
            first, line = next(self._rows(), (None, 0))
            if first is None:
                raise TableError(f"{path}: expected rows of numbers, got an empty file")
            self._width = len(first)
            texts = [text.strip() for text in first]
            if header is None:
                header = _is_header(f"{path}, line {line}", texts, target, origin)
            names = texts if header else []
            self._header = int(header)
            self._target = target_column(path, target, names, len(first))
            if self._target is not None:
                self.target = repr(names[self._target]) if header else str(self._target)
            if header:
                self._columns, self.notes = named_columns(path, names, self._target, origin)
                self.names = [names[i] for i in self._columns]
            else:
                self._columns = [i for i in range(len(first)) if i != self._target]
            self._set_width(len(self._columns), origin)
            self.n_rows = sum(1 for _ in self._rows())

    def place(self, row: int) -> str:
        """Return the file and the line on which a row ends."""
        line = next(line for i, (_, line) in enumerate(self._rows()) if i == row)
        return f"{self.path}, line {line}"

    def targets(self, size: int) -> Iterator[Array | None]:
        """Yield the targets alone, without a look at the other columns."""
        with reading(self.path):
            for rows in self._batches(size):
                yield self._texts(rows)

    def _rows(self) -> Iterator[tuple[list[str], int]]:
        """Yield the rows and their lines."""
        with self.path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            skip, width = self._header, None
            try:
                for row in reader:
                    if not row:
                        continue
                    width = len(row) if width is None else width
                    if len(row) != width:
                        raise TableError(
                            f"{self.path}, line {reader.line_num}: expected {width} values, "
                            f"got {len(row)}"
                        )
                    if skip:
                        skip -= 1
                        continue
                    yield row, reader.line_num
            except csv.Error as error:
                raise TableError(f"{self.path}, line {reader.line_num}: {error}") from None

    def _batches(self, size: int) -> Iterator[Entries]:
        rows: Entries = []
        for row, _ in self._rows():
            rows.append(row)
            if len(rows) == size:
                yield rows
                rows = []
        if rows:
            yield rows

    def _texts(self, rows: Entries) -> Array | None:
        return (
            None if self._target is None else np.array([row[self._target].strip() for row in rows])
        )

    def _read(self, size: int) -> Iterator[tuple[Any, Array | None]]:
        start = 0
        for rows in self._batches(size):
            entries = [[row[i] for i in self._columns] for row in rows]
            try:
                X = np.array(entries, dtype=np.float64)
            except ValueError:
                self._refuse_words(entries, start)
                raise
            yield X, self._texts(rows)
            start += len(rows)

    def _refuse_words(self, entries: Entries, start: int) -> None:
        for i, row in enumerate(entries):
            for j, text in enumerate(row):
                if not is_number(text):
                    title = self._title(j) if self.names else f"{self._columns[j]} (from 0)"
                    raise TableError(
                        f"{self.place(start + i)}, column {title}: expected numbers, got {text!r}; "
                        "drop the row, or turn the column into numbers or leave it out"
                    )


def _is_header(place: str, first: list[str], target: str | None, origin: Origin) -> bool:
    """Tell whether the first line has names; refuse to guess.

    Numbers that count up from column to column, such as 0,1,2,3, may be names; so may a mixture.
    """
    numbers = [text for text in first if is_number(text)]
    if origin.names is not None and set(origin.names) <= set(first):
        return True
    if not numbers or (target in first and target not in numbers):
        return True
    number = target_column(Path(), target, [], len(first)) if _is_integer(target or "") else None
    words = [i for i, text in enumerate(first) if not is_number(text) and i != number]
    if not words and not _counts(numbers):
        if origin.names is None:
            return False
        raise TableError(
            f"{place}: expected the names of the columns that the model was fitted on, got "
            f"{first[0]!r}...; add them, or say --header no if the columns are in that order"
        )
    raise TableError(
        f"{place}: these may be names of columns or numbers of a first row; say --header yes or "
        "--header no"
    )


def _counts(numbers: list[str]) -> bool:
    """Tell whether they are integers that count up by one, from 0 or 1 if there are but two."""
    if not all(map(_is_integer, numbers)):
        return False
    values = [int(text) for text in numbers]
    first = values[0]
    return values == list(range(first, first + len(values))) and (
        len(values) > 2 or first in (0, 1)
    )


def _is_integer(text: str) -> bool:
    return text.isascii() and text.removeprefix("-").isdigit()


def is_number(text: str) -> bool:
    """Tell whether a text is one number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


class ParquetTable(Table):
    """Columns by their names; what pandas stored as an index is no feature."""

    def __init__(self, path: Path, target: str | None, origin: Origin) -> None:
        super().__init__(path)
        if find_spec("pyarrow") is None:
            raise TableError(
                f"{path}: Parquet needs pyarrow, which is not installed: pip install pyarrow"
            )
        from pyarrow import parquet, types

        with reading(path):
            self._file = parquet.ParquetFile(path)
            self.n_rows = self._file.metadata.num_rows
            schema = self._file.schema_arrow
            names = list(schema.names)
            self._target = target_column(path, target, names, len(names))
            stored = (schema.pandas_metadata or {}).get("index_columns", [])
            index = [names.index(name) for name in stored if name in names]
            self._columns, self.notes = named_columns(path, names, self._target, origin, index)
            self.names = [names[i] for i in self._columns]
            self._set_width(len(self.names), origin)
            for i in self._columns:
                if not _is_numeric(types, schema.types[i]) and not types.is_boolean(
                    schema.types[i]
                ):
                    raise TableError(
                        f"{path}, column {names[i]!r}: expected numbers, got {schema.types[i]}; "
                        "leave the column out or turn it into numbers"
                    )
            self._single = all(types.is_float32(schema.types[i]) for i in self._columns)
            if self._target is not None:
                self.target = repr(names[self._target])
                self._numeric = _is_numeric(types, schema.types[self._target])
                if not self._numeric and not _is_text(types, schema.types[self._target]):
                    raise TableError(
                        f"{path}, column {names[self._target]!r}: expected targets that are "
                        f"numbers or words, got {schema.types[self._target]}"
                    )

    def _read(self, size: int) -> Iterator[tuple[Any, Array | None]]:
        dtype = np.float32 if self._single else np.float64
        for batch in self._file.iter_batches(size):
            X = np.empty((batch.num_rows, len(self._columns)), dtype)
            for j, i in enumerate(self._columns):
                X[:, j] = _numbers(batch.column(i))
            yield X, None if self._target is None else self._targets(batch.column(self._target))

    def _targets(self, column: Any) -> Array:
        if self._numeric:
            return _numbers(column)
        return np.array(["" if entry is None else str(entry) for entry in column.to_pylist()])


def _is_numeric(types: Any, kind: Any) -> bool:
    return any(is_kind(kind) for is_kind in (types.is_integer, types.is_floating, types.is_decimal))


def _is_text(types: Any, kind: Any) -> bool:
    if types.is_dictionary(kind):
        return _is_text(types, kind.value_type)
    return any(
        is_kind(kind) for is_kind in (types.is_string, types.is_large_string, types.is_boolean)
    )


def _numbers(column: Any) -> Array:
    """Return float64, NaN where there is none."""
    import pyarrow as pa

    return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
