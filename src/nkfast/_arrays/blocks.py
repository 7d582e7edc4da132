"""Rows, a block at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .mapped import release

_BLOCK_ENTRIES = 1 << 21  # wide features of a block of rows: 16 MB in float64


def slices(start: int, stop: int, step: int) -> Iterator[slice]:
    """Yield slices of at most `step` that cover start .. stop."""
    for i in range(start, stop, step):
        yield slice(i, min(i + step, stop))


def row_blocks(n: int, size: int, *arrays: Any) -> Iterator[slice]:
    """Yield slices of at most `size` rows that cover n.

    After each, what was read of `arrays` that map a file is given back.
    """
    for rows in slices(0, n, size):
        yield rows
        release(*arrays)


def blocks(n_rows: int, width: int) -> Iterator[slice]:
    """Yield slices of rows whose features, `width` for each row, take little memory."""
    return row_blocks(n_rows, max(1, _BLOCK_ENTRIES // width))
