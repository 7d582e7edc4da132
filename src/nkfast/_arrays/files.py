"""Files that are written aside and renamed: there is the old one or the new one, never half of one.

The new file grows as ``NAME.xxxxxxxx.part`` beside the old one. What a killed process left of such
a name is removed by the next one that writes the same file: a lock tells it from what another
process is writing now.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import ZipFile

import numpy as np

_NOT_WRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # come without a file's name


@contextmanager
def written_aside(path: Any) -> Iterator[Path]:
    """Yield a path to write to, in the same folder; the file is renamed once it is whole.

    After an error, a full disk say, the old file is as it was. A link is followed; devices and
    pipes are written to as they are.

    Parameters
    ----------
    path : path-like
        Where the file is to be.

    Raises
    ------
    OSError
        With the path, where the system gives none.
    """
    final = Path(os.path.realpath(os.fspath(path)))
    with naming(path):
        mode = final.stat().st_mode if final.exists() else None
        if mode is not None and not os.access(final, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        if mode is not None and stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if mode is not None and not stat.S_ISREG(mode):
            yield final
            return
        _remove_leftovers(final)
        part, descriptor = _locked_part(final, path)
        try:
            if mode is not None:
                os.fchmod(descriptor, stat.S_IMODE(mode))
            yield part
            os.fsync(descriptor)
            part.replace(final)
        finally:
            part.unlink(missing_ok=True)
            os.close(descriptor)
        _sync(final.parent)


@contextmanager
def naming(path: Any) -> Iterator[None]:
    """Name the file in errors of writing to it, such as of a full disk, that name none."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno in _NOT_WRITTEN:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def begin_npy(file: BinaryIO, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Write what stands before the entries of an array; NumPy hides why a disk refuses these."""
    head = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, head)


def write_npz(file: BinaryIO, arrays: dict[str, Any]) -> None:
    """Write arrays as `numpy.savez` does, which leaves its archive open where the disk is full."""
    with ZipFile(file, "w") as archive:
        for name, values in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(values), allow_pickle=False)


def _remove_leftovers(final: Path) -> None:
    pattern = re.compile(re.escape(final.name) + r"\.[0-9a-f]{8}\.part")
    with suppress(OSError):  # of a folder that cannot be read
        for part in [p for p in final.parent.iterdir() if pattern.fullmatch(p.name)]:
            with suppress(OSError):  # another process is writing it, or was quicker
                descriptor = os.open(part, os.O_RDONLY)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    part.unlink()
                finally:
                    os.close(descriptor)


def _locked_part(final: Path, path: Any) -> tuple[Path, int]:
    while True:
        part = final.with_name(f"{final.name}.{secrets.token_hex(4)}.part")
        try:
            descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from None
        with suppress(OSError):  # a file system without locks: leftovers stay there
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if part.exists():
            return part, descriptor
        os.close(descriptor)  # taken for a leftover before it was locked


def _sync(folder: Path) -> None:
    """Bring a rename to the disk, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
