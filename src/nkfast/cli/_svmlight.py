"""Files of svmlight's format, read block by block."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.datasets import load_svmlight_file

from nkfast._arrays.validation import Array

from ._table import Origin, Table, TableError, reading

_CHUNK_BYTES = 1 << 24


class SvmlightTable(Table):
    """Rows "target column:value ..." of a file; a first pass counts them and their columns.

    Columns count from 0 if one of them is 0, else from 1, as in scikit-learn; for a model that was
    fitted on such a file they count as they did there. Rows may have fewer columns than the model.
    """

    def __init__(self, path: Path, origin: Origin) -> None:
        super().__init__(path)
        rows, least, most = 0, -1, -1
        with reading(path):
            for X, _ in self._chunks(None):
                rows += X.shape[0]
                if X.nnz:
                    low, high = int(X.indices.min()), int(X.indices.max())
                    least, most = low if least < 0 else min(least, low), max(most, high)
        self.n_rows = rows
        self.first = _first(path, least, most, origin)
        width = max(0, most + 1 - self.first)
        if origin.width is not None and width <= origin.width:
            width = origin.width
        if rows:
            self._set_width(width, origin)

    def _read(self, size: int) -> Iterator[tuple[Any, Array]]:
        """Yield CSR rows and targets, `size` at a time."""
        first = self.first or 0
        X, y = sp.csr_array((0, self.n_columns)), np.empty(0)
        for more, targets in self._chunks(self.n_columns + first):
            X = sp.csr_array(sp.vstack([X, more[:, first:]], "csr"))
            y = np.concatenate([y, targets])
            whole = len(y) // size * size
            for start in range(0, whole, size):
                yield X[start : start + size], y[start : start + size]
            X, y = X[whole:], y[whole:]
        if len(y):
            yield X, y

    def _chunks(self, n_features: int | None) -> Iterator[tuple[Any, Array]]:
        """Yield the rows of some megabytes at a time, columns from 0."""
        done = 0
        with self.path.open("rb") as file:
            while lines := file.readlines(_CHUNK_BYTES):
                try:
                    yield _parsed(lines, n_features)
                except (ValueError, OverflowError):
                    self._refuse_line(lines, done)
                    raise
                done += len(lines)

    def _refuse_line(self, lines: list[bytes], done: int) -> None:
        for number, line in enumerate(lines, done + 1):
            try:
                _parsed([line], None)
            except (ValueError, OverflowError) as error:
                raise TableError(
                    f"{self.path}, line {number}: expected rows 'target column:value ...', "
                    f"got: {error}"
                ) from None


def _parsed(lines: list[bytes], n_features: int | None) -> Any:
    return load_svmlight_file(io.BytesIO(b"".join(lines)), n_features=n_features, zero_based=True)


def _first(path: Path, least: int, most: int, origin: Origin) -> int:
    """Return the number of the first column, 0 or 1."""
    if origin.first is not None:
        if 0 <= least < origin.first:
            raise TableError(
                f"{path}: expected columns that count from {origin.first}, as the model was fitted "
                f"on, got a column {least}"
            )
        return origin.first
    if origin.width is not None and least > 0 and most < origin.width:
        raise TableError(
            f"{path}: its columns, {least} to {most}, may count from 0 or from 1, and the model "
            "was fitted on another kind of file; store the rows as .npz (scipy.sparse.save_npz)"
        )
    return 0 if least == 0 else 1
