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

_CHUNK_BYTES = 1 << 24


class SvmlightFile:
    """Rows "target column:value ..." of a file; a first pass counts them and their columns.

    Columns count from 0 if one of them is 0, else from 1, as in scikit-learn.

    Attributes
    ----------
    shape : tuple of int
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        rows, least, most = 0, 1, -1
        for X, _ in self._chunks(None):
            rows += X.shape[0]
            if X.nnz:
                least, most = min(least, int(X.indices.min())), max(most, int(X.indices.max()))
        self._first = least
        self.shape = (rows, most + 1 - least)

    def blocks(self, size: int) -> Iterator[tuple[Any, Array]]:
        """Yield CSR rows and targets, `size` at a time."""
        X, y = sp.csr_array((0, self.shape[1])), np.empty(0)
        for more, targets in self._chunks(self.shape[1] + self._first):
            X = sp.csr_array(sp.vstack([X, more[:, self._first :]], "csr"))
            y = np.concatenate([y, targets])
            whole = len(y) // size * size
            for start in range(0, whole, size):
                yield X[start : start + size], y[start : start + size]
            X, y = X[whole:], y[whole:]
        if len(y):
            yield X, y

    def _chunks(self, n_features: int | None) -> Iterator[tuple[Any, Array]]:
        """Yield the rows of some megabytes at a time, columns from 0."""
        with self._path.open("rb") as file:
            while lines := file.readlines(_CHUNK_BYTES):
                try:
                    yield load_svmlight_file(
                        io.BytesIO(b"".join(lines)), n_features=n_features, zero_based=True
                    )
                except ValueError as error:
                    raise ValueError(
                        f"{self._path}: expected rows 'target column:value ...', got: {error}"
                    ) from None
