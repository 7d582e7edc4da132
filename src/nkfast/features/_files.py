"""Features of many rows in a file, block by block; a killed computation goes on where it was."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import numpy as np
import scipy.sparse as sp

from nkfast._arrays.blocks import row_blocks
from nkfast._arrays.files import begin_npy, naming, written_aside
from nkfast._arrays.validation import Array, check_count
from nkfast._core import __version__
from nkfast.kernels._journal import Journal, fingerprint, reporting

from ._base import FeatureMap, feature_array

_DTYPES = ("float16", "float32", "float64")
_ROWS = 4  # whose features tell whether a map is the same
_LOSS = 2.0**-10  # of a block's norm, by rounding: float16 holds it to 2^-11 unless it underflows


def write_features(
    path: Any,
    features: Any,
    X: Any,
    *,
    dtype: Any = None,
    block_size: int = 1024,
    resume: bool = False,
    progress: bool | Callable[[int, int], object] | None = None,
) -> np.memmap[Any, Any]:
    """Write the features of many rows or images to a .npy file, block by block.

    Parameters
    ----------
    path : path-like
        The file. It is written aside and renamed once it is whole.
    features : transformer
        A fitted feature map, `FlipAverage`, or a pipeline that ends in one: anything whose
        `transform` gives numbers for each row alone.
    X : array_like or CSR matrix of shape (n, ...)
        Rows or images; of a memory-mapped file only a block is held at a time.
    dtype : {"float16", "float32", "float64"}, optional
        Of the file; by default that of the features. Half of the size, float16 rounds features to
        2^-11 of themselves.
    block_size : int, default=1024
        Rows at a time. With resume=True blocks have to be the same.
    resume : bool, default=False
        Keep a journal, PATH.journal, and in PATH.part what was written, if the call is interrupted
        or killed; the same call then goes on from there, to the same bits.
    progress : bool or callable, optional
        True for a bar with the time that is left (by tqdm, the extra ``progress``), or a function
        of (rows done, rows in all).

    Returns
    -------
    numpy.memmap of shape (n, n_components)
        The file, opened for reading.

    Raises
    ------
    ValueError
        On a bad argument; with resume=True on a journal of another computation, and while another
        process writes the same file; on features that `dtype` cannot hold.
    OSError
        If the file cannot be written, before any work where the disk is too full for it.

    See Also
    --------
    NTKClassifier.fit_blocks : Learns from the file, with ``features="precomputed"``.

    Notes
    -----
    Needs, beside the transformer's own memory, one block of rows and one of features: 64 MB for
    1024 rows of 16,384 features in float32.

    Examples
    --------
    >>> import numpy as np, tempfile, nkfast as nk
    >>> X = np.random.default_rng(0).standard_normal((500, 8))
    >>> phi = nk.NTKFeatures(n_components=64, random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Z = nk.write_features(f"{folder}/features.npy", phi, X, dtype="float16", resume=True)
    ...     Z.shape, Z.dtype, bool(np.abs(Z - phi.transform(X)).max() < 1e-3)
    ((500, 64), dtype('float16'), True)
    """
    check_count(block_size, "block_size", low=1)
    if not isinstance(resume, (bool, np.bool_)):
        raise TypeError(f"resume: expected True or False, got {resume!r}")
    if not hasattr(X, "shape"):
        X = np.asarray(X)
    final, n = Path(os.fspath(path)), X.shape[0]
    probe = _features_of(features, X[:_ROWS])
    kind = _dtype(dtype, probe.dtype)
    file = _Rows((n, probe.shape[1]), kind)
    with (
        reporting(progress, n, "features", "rows") as step,
        _target(final, resume) as target,
        naming(path),
        target.open("r+b") as opened,
    ):
        journal = None
        if resume:
            facts = {
                "version of nkfast": __version__,
                "shape": [n, probe.shape[1]],
                "dtype": kind.name,
                "block_size": int(block_size),
                "X": fingerprint(X if sp.issparse(X) else np.asarray(X)),
                "features": fingerprint(probe),
            }
            out: Any = SimpleNamespace(out=file)
            journal = Journal(_beside(final, ".journal"), [out], facts)
        file.begin(opened)  # what belongs to another computation is not touched
        every = slice(0, probe.shape[1])
        try:
            for rows in row_blocks(n, int(block_size), X):
                if journal is None or not journal.has(rows, every, mirrored=False):
                    file.write(rows, _rounded(_features_of(features, X[rows]), kind))
                    if journal is not None:
                        journal.add(rows, every, mirrored=False)
                step(rows.stop, 0)
        finally:
            if journal is not None:
                journal.sync()
        file.flush()
    if resume:
        _beside(final, ".journal").unlink(missing_ok=True)
    return np.lib.format.open_memmap(final, mode="r")


class _Rows:
    """Rows of a .npy file, written and read back without a map: a full disk is an error then."""

    def __init__(self, shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
        self.shape, self.dtype = shape, dtype

    def begin(self, file: BinaryIO) -> None:
        """Write the header, and reserve the space where the system can."""
        self._file = file
        file.seek(0)
        begin_npy(file, self.dtype, self.shape)
        file.flush()
        self._start, self._pitch = file.tell(), self.shape[1] * self.dtype.itemsize
        size = self._start + self.shape[0] * self._pitch
        if hasattr(os, "posix_fallocate") and size > os.fstat(file.fileno()).st_size:
            os.posix_fallocate(file.fileno(), 0, size)
        file.truncate(size)

    def write(self, rows: slice, values: Array) -> None:
        self._file.seek(self._start + rows.start * self._pitch)
        self._file.write(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)

    def __getitem__(self, index: tuple[slice, slice]) -> Array:
        rows = index[0]
        self._file.flush()
        self._file.seek(self._start + rows.start * self._pitch)
        content = self._file.read((rows.stop - rows.start) * self._pitch)
        return np.frombuffer(content, self.dtype)

    def flush(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())


def _features_of(features: Any, X: Any) -> Array:
    if isinstance(features, FeatureMap):
        return feature_array(features, X)
    Z = features.transform(X)
    return np.asarray(Z.toarray() if hasattr(Z, "toarray") else Z)


def _dtype(dtype: Any, own: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype of the file."""
    try:
        kind = np.dtype(own if dtype is None else dtype)
    except TypeError:
        kind = np.dtype(object)
    if kind.name not in _DTYPES:
        raise ValueError(f"dtype: expected one of {_DTYPES} or None, got {dtype!r}")
    return kind


def _rounded(Z: Array, dtype: np.dtype[Any]) -> Array:
    """Return features in the dtype of the file, which must hold them."""
    if Z.dtype == dtype:
        return Z
    with np.errstate(over="ignore"):
        found = Z.astype(dtype)
    size = np.linalg.norm(Z.astype(np.float64, copy=False))
    if not np.linalg.norm(found.astype(np.float64) - Z) <= _LOSS * size:
        raise ValueError(
            f"dtype: expected one that holds the features, of sizes up to {np.abs(Z).max():.3g} "
            f"with root mean square {size / Z.size**0.5:.3g}, got {dtype.name}"
        )
    return found


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


@contextmanager
def _target(final: Path, resume: bool) -> Iterator[Path]:
    """Yield the file to write to; it is renamed in the end, and kept after an error to `resume`."""
    if not resume:
        with written_aside(final) as part:
            yield part
        return
    part = _beside(final, ".part")
    if final.is_dir():
        raise IsADirectoryError(f"path: expected a file, got the folder {final}")
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        with suppress(OSError):  # a file system without locks
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(f"resume: another process is writing {part}") from None
        yield part
        part.replace(final)
    finally:
        os.close(descriptor)
