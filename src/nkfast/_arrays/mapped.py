"""Rows in memory-mapped files: pages that were read are given back, so memory stays bounded."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np

_SHARED = ("r", "r+", "w+")  # of a private map ("c") changes would be lost
_BLOCK_BYTES = 1 << 24
_ROWS = 32


def file_map(A: Any) -> mmap.mmap | None:
    """Return the map of the file in which an array lies, if it is shared with that file."""
    shared = False
    while isinstance(A, np.ndarray):
        shared = shared or (isinstance(A, np.memmap) and A.mode in _SHARED)
        A = A.base
    return A if shared and isinstance(A, mmap.mmap) else None


def release(*arrays: Any) -> None:
    """Let the operating system take back what was read of files that the arrays map.

    Pages count as memory of the process until then. They are read again when they are needed,
    mostly from the system's cache.
    """
    if not hasattr(mmap, "MADV_DONTNEED"):
        return
    for A in arrays:
        if (pages := file_map(A)) is not None:
            pages.madvise(mmap.MADV_DONTNEED)


def pieces(A: Any) -> Iterator[Any]:
    """Yield an array whole or, if it maps much of a file, in parts, each of which is given back."""
    if A.nbytes <= _BLOCK_BYTES or A.ndim == 0 or file_map(A) is None:
        yield A
        return
    rows = max(1, _BLOCK_BYTES // max(1, A[:1].nbytes))
    for start in range(0, len(A), rows):
        yield A[start : start + rows]
        release(A)


def take(A: Any, rows: Any) -> Any:
    """Return A[rows]; of a mapped file little is held meanwhile.

    The system maps whole stretches around what is read, so that a few hundred rows here and there
    can bring in all of the file.
    """
    if file_map(A) is None:
        return A[rows]
    out = np.empty((len(rows), *A.shape[1:]), A.dtype)
    for start in range(0, len(rows), _ROWS):
        some = slice(start, start + _ROWS)
        out[some] = A[rows[some]]
        release(A)
    return out
