"""Arrays in .npz files, read block by block, compressed or not."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from nkfast._arrays.validation import Array


class ArchivedArray:
    """An array in a .npz file that is not read yet.

    Parameters
    ----------
    path : Path
        The file.
    name : str
        Of the array in it.

    Attributes
    ----------
    shape : tuple of int
    dtype : dtype
    """

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path, name
        with self._open() as file:
            self.shape, self._fortran, self.dtype = _header(file)

    def blocks(self, size: int) -> Iterator[Array]:
        """Yield at most `size` rows at a time."""
        n, *rest = self.shape
        if self._fortran or self.dtype.hasobject:  # rows lie nowhere together
            with np.load(self._path) as arrays:
                whole = arrays[self._name]
            for start in range(0, n, size):
                yield whole[start : start + size]
            return
        with self._open() as file:
            _header(file)
            for start in range(0, n, size):
                shape = (min(size, n - start), *rest)
                block = np.empty(shape, self.dtype)
                view = memoryview(block.reshape(-1).view(np.uint8).data)
                if _read(file, view) < len(view):
                    raise ValueError(f"{self._path}: the array {self._name!r} ends too soon")
                yield block

    def _open(self) -> IO[bytes]:
        # Closing the member closes nothing else: the archive is read only.
        return zipfile.ZipFile(self._path).open(f"{self._name}.npy")


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read(file)
    return shape, fortran and len(shape) > 1, dtype


def _read(file: IO[bytes], view: memoryview) -> int:
    """Fill the view; return how many bytes there were."""
    done = 0
    while done < len(view):
        some = file.read(min(len(view) - done, 1 << 24))
        if not some:
            break
        view[done : done + len(some)] = some
        done += len(some)
    return done
