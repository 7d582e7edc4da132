"""Where kernels are written: new arrays, or the caller's, in whatever memory they lie."""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from nkfast._arrays.files import begin_npy, written_aside
from nkfast._arrays.memory import refuse_bytes
from nkfast._arrays.validation import FLOATS, Array

Kernel: TypeAlias = Literal["nngp", "ntk"]
NAMES = ("nngp", "ntk")

_LINE = 64  # bytes of a line of the caches
_LARGE = 1 << 20  # bytes of results for which lines count
_PAGES_BYTES = 64 << 20  # written to a mapped file before its pages are let go


class Result:
    """One kernel's array, written block by block.

    Arrays whose rows are contiguous are written in place by the core. Others, and things that
    only take slices (HDF5 data sets), get each block from a buffer.
    """

    def __init__(self, out: Any, dtype: np.dtype[Any]) -> None:
        self.out = out
        self._dtype = dtype
        self._in_place = _is_plain(out, dtype)
        shared = isinstance(out, np.memmap) and out.mode in ("r+", "w+")
        # A private mapping (mode "c") must keep its pages: they are in no file.
        self._map: mmap.mmap | None = out._mmap if shared else None
        self._written = 0
        self._buffers: list[tuple[tuple[slice, slice], Array, bool]] = []

    @property
    def bounded(self) -> bool:
        """Whether blocks should be small: they are buffered, or their pages are to be let go."""
        return self._map is not None or not self._in_place

    def block(self, rows: slice, cols: slice) -> Array:
        """Return an array to write the block into; `done` brings it to where it belongs."""
        self._written += self._size(rows, cols)
        if self._in_place:
            return np.asarray(self.out)[rows, cols]
        block = np.empty((rows.stop - rows.start, cols.stop - cols.start), self._dtype)
        self._buffers.append(((rows, cols), block, False))
        return block

    def _size(self, rows: slice, cols: slice) -> int:
        n_entries: int = (rows.stop - rows.start) * (cols.stop - cols.start)
        return n_entries * self._dtype.itemsize

    def mirror(self, rows: slice, cols: slice) -> Array | None:
        """Return the block (cols, rows), for the transpose; None if `done` sees to it."""
        self._written += self._size(rows, cols)
        if self._in_place:
            return np.asarray(self.out)[cols, rows]
        index, block, _ = self._buffers.pop()
        self._buffers.append((index, block, True))
        return None

    def done(self) -> None:
        """Finish the blocks that were asked for."""
        for (rows, cols), block, mirrored in self._buffers:
            self.out[rows, cols] = block
            if mirrored:
                self.out[cols, rows] = block.T
        self._buffers.clear()
        # The file's cache keeps what is written; only this process lets go of the pages, or its
        # memory would grow by the size of the file.
        if self._map is not None and self._written >= _PAGES_BYTES:
            self._map.madvise(mmap.MADV_DONTNEED)
            self._written = 0


Blocks: TypeAlias = dict[str, tuple[Array, Array | None]]


def open_blocks(results: dict[str, Result], rows: slice, cols: slice, mirrored: bool) -> Blocks:
    """Return, by name, arrays for the block (rows, cols) and, if `mirrored`, its transpose."""
    return {
        name: (result.block(rows, cols), result.mirror(rows, cols) if mirrored else None)
        for name, result in results.items()
    }


def write(blocks: Blocks, values: dict[str, Array], diagonals: dict[str, Array] | None) -> None:
    """Write values into blocks; with exact diagonals they are their upper triangle's, mirrored."""
    for name, (block, mirror) in blocks.items():
        value = values[name]
        if diagonals is not None:
            value = np.triu(value, 1)
            value += value.T
            np.fill_diagonal(value, diagonals[name])
        block[...] = value
        if mirror is not None:
            mirror[...] = value.T


def _is_plain(out: Any, dtype: np.dtype[Any]) -> bool:
    return (
        isinstance(out, np.ndarray)
        and out.dtype == dtype
        and out.dtype.isnative
        and out.flags.aligned
        and (out.shape[1] <= 1 or out.strides[1] == dtype.itemsize)
        and out.strides[0] % dtype.itemsize == 0
    )


def new_results(names: tuple[str, ...], shape: tuple[int, int], dtype: Any) -> list[Result]:
    """Allocate one array per name, or refuse if they do not fit into memory together."""
    dtype = np.dtype(dtype)
    what = f"{len(names)} kernel{'s' if len(names) > 1 else ''} of shape {shape}"
    refuse_bytes(len(names) * math.prod(shape) * dtype.itemsize, "X", what)
    return [Result(aligned(shape, dtype), dtype) for _ in names]


def aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return an array that begins with a line of the caches, which the core writes as a whole."""
    n = math.prod(shape)
    if n * dtype.itemsize < _LARGE:
        return np.empty(shape, dtype)
    more = _LINE // dtype.itemsize
    whole = np.empty(n + more, dtype)
    start = -whole.ctypes.data % _LINE // dtype.itemsize
    return whole[start : start + n].reshape(shape)


@contextmanager
def opened(
    out: Any,
    get: Any,
    names: tuple[str, ...],
    shape: tuple[int, int],
    dtype: np.dtype[Any],
    *,
    resumed: bool,
) -> Iterator[list[Any]]:
    """Yield the caller's arrays, one per name, and files that he named as memory maps.

    A new file is there when it is whole; one that is `resumed` grows where it is.
    """
    things: list[Any]
    if isinstance(get, str):
        things = [out]
    elif set(getattr(out, "_fields", ())) == set(names):
        things = [getattr(out, name) for name in names]
    elif isinstance(out, (tuple, list)) and len(out) == len(names):
        things = list(out)
    else:
        raise ValueError(f"out: expected an array for each of {names}, got {type(out).__name__}")
    paths = [os.path.realpath(path) for path in things if isinstance(path, str | os.PathLike)]
    if len(set(paths)) < len(paths):
        raise ValueError(f"out: expected a file for each of {names}, got {things[0]} twice")
    with ExitStack() as stack:
        for i, thing in enumerate(things):
            if not isinstance(thing, str | os.PathLike):
                continue
            path = Path(thing)
            if not resumed:
                part = stack.enter_context(written_aside(path))
                _reserve(part, shape, dtype)
                things[i] = np.lib.format.open_memmap(part, "r+")
                stack.callback(things[i].flush)
                continue
            if not path.exists():
                with written_aside(path) as part:
                    _reserve(part, shape, dtype)
            try:
                things[i] = np.lib.format.open_memmap(path, "r+")
            except ValueError as error:
                raise ValueError(
                    f"out: expected a .npy file in {path}, got one of: {error}"
                ) from None
        yield things


def _reserve(path: Path, shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
    """Begin a .npy file whose entries have their place: a full disk is noticed here."""
    with path.open("wb") as file:
        begin_npy(file, dtype, shape)
        file.flush()
        size = math.prod(shape) * dtype.itemsize
        if size and hasattr(os, "posix_fallocate"):  # a hole that cannot be filled ends the process
            os.posix_fallocate(file.fileno(), file.tell(), size)
        else:
            file.truncate(file.tell() + size)


def given_results(arrays: list[Any], shape: tuple[int, int], inputs: Sequence[Any]) -> list[Result]:
    """Check the caller's arrays."""
    for array in arrays:
        _check(array, shape)
    plain = [a for a in arrays if isinstance(a, np.ndarray)]
    for i, array in enumerate(plain):
        others = [*plain[:i], *(x for x in inputs if isinstance(x, np.ndarray))]
        if any(np.may_share_memory(array, other) for other in others):
            raise ValueError("out: expected memory of its own, got some that overlaps X, Z or out")
    dtype = np.result_type(*(array.dtype for array in arrays)).newbyteorder("=")
    return [Result(array, dtype) for array in arrays]


def _check(out: Any, shape: tuple[int, int]) -> None:
    if not hasattr(out, "shape") or not hasattr(out, "dtype") or not hasattr(out, "__setitem__"):
        raise TypeError(f"out: expected an array, got {type(out).__name__}")
    if tuple(out.shape) != shape:
        raise ValueError(f"out: expected shape {shape}, got {tuple(out.shape)}")
    if out.dtype not in FLOATS and out.dtype.newbyteorder("=") not in FLOATS:
        raise TypeError(f"out: expected dtype float32 or float64, got {out.dtype}")
    if isinstance(out, np.ndarray) and not out.flags.writeable:
        raise ValueError("out: expected a writable array, got a read-only one")
