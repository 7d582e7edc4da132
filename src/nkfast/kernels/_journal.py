"""A long kernel computation, block by block: what is finished, and how far it has come."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp

from nkfast._arrays.files import naming, written_aside
from nkfast._progress import counting
from nkfast.activations import Activation

from ._outputs import Result

Report: TypeAlias = Callable[[int, int], object]
_FORMAT = "nkfast kernel journal 1"
_SYNC_SECONDS = 5.0  # between two times that results are brought to their file


def fingerprint(*things: Any) -> str:
    """Return a digest of arrays, CSR matrices, networks and whatever has a lasting repr."""
    digest = hashlib.blake2b(digest_size=16)
    for thing in things:
        if sp.issparse(thing):
            parts = [thing.indptr, thing.indices, thing.data]
        elif isinstance(thing, np.ndarray):
            parts = [thing]
        else:
            # The address of a function is another one in every process: its values are not.
            digest.update(re.sub(r" at 0x[0-9a-f]+", "", repr(thing)).encode())
            parts = [act(np.linspace(-3, 3, 41)).round(9) for act in _activations(thing)]
        for part in parts:
            digest.update(f"{part.shape} {part.dtype}".encode())
            digest.update(_bytes(part))
    return digest.hexdigest()


def _activations(thing: Any) -> Iterator[Activation]:
    for layer in getattr(thing, "layers", ()):
        if isinstance(layer, Activation):
            yield layer
        yield from _activations(layer)


class Journal:
    """Finished blocks of a kernel, in a file beside it.

    The first line says of which computation; each further line is a finished block and the checksum
    of its values. A line is written once the block is safely in the results' file, so whatever
    interrupts the work, what the journal names is there, or else the checksum tells.

    Parameters
    ----------
    path : path-like
        Begun if there is none.
    results : sequence of Result
    facts : dict
        Of the computation; those of an old journal must agree. Plain enough for JSON.
    """

    def __init__(self, path: Any, results: Sequence[Result], facts: dict[str, Any]) -> None:
        for result in results:
            if not hasattr(result.out, "__getitem__"):
                raise TypeError(
                    "resume: expected an out that can be read as well, "
                    f"got {type(result.out).__name__}"
                )
        self.path = Path(os.fspath(path))
        self._results = results
        self._finished: dict[tuple[int, ...], int] = {}
        self._pending: list[str] = []
        self._synced = time.monotonic()
        head = {"format": _FORMAT, **facts}
        if self.path.exists() and self.path.stat().st_size:
            self._read(head)
        else:
            with written_aside(self.path) as part:
                part.write_text(json.dumps(head) + "\n")

    def _read(self, head: dict[str, Any]) -> None:
        first, *lines = self.path.read_text().split("\n")
        try:
            found = json.loads(first)
            if found["format"] != _FORMAT:
                raise ValueError
        except (ValueError, TypeError, KeyError):
            raise ValueError(f"resume: expected a journal of nkfast in {self.path}") from None
        unlike = [name for name in head if found.get(name) != head[name]]
        if unlike:
            raise ValueError(
                f"resume: {self.path} is the journal of another computation: expected the same "
                f"{', '.join(unlike)}; delete it to begin anew"
            )
        for line in lines:
            try:
                *block, checksum = map(int, line.split())
            except ValueError:  # torn by a crash: not finished
                continue
            if len(block) == 4:
                self._finished[tuple(block)] = checksum
        if lines and lines[-1]:
            self._pending.append("")  # end the torn line

    def has(self, rows: slice, cols: slice, mirrored: bool) -> bool:
        """Return whether the block is finished, and still there."""
        checksum = self._finished.get(_key(rows, cols))
        return checksum is not None and checksum == self._checksum(rows, cols, mirrored)

    def add(self, rows: slice, cols: slice, mirrored: bool) -> None:
        """Say that a block is finished."""
        words = (*_key(rows, cols), self._checksum(rows, cols, mirrored))
        self._pending.append(" ".join(map(str, words)))
        if time.monotonic() - self._synced > _SYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        """Bring the results to their files, and the finished blocks to the journal."""
        for result in self._results:
            if hasattr(result.out, "flush"):
                result.out.flush()
        with naming(self.path), self.path.open("a") as file:
            file.write("".join(line + "\n" for line in self._pending))
            file.flush()
            os.fsync(file.fileno())
        self._pending.clear()
        self._synced = time.monotonic()

    def _checksum(self, rows: slice, cols: slice, mirrored: bool) -> int:
        checksum = 0
        for result in self._results:
            for index in ((rows, cols), (cols, rows)) if mirrored else ((rows, cols),):
                checksum = zlib.crc32(_bytes(result.out[index]), checksum)
        return checksum


def _bytes(values: Any) -> memoryview:
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8).data


def _key(rows: slice, cols: slice) -> tuple[int, ...]:
    return rows.start, rows.stop, cols.start, cols.stop


@contextmanager
def reporting(
    progress: bool | Report | None, total: int, stage: str = "exact kernel", unit: str = "pairs"
) -> Iterator[Callable[[int, int], None]]:
    """Yield step(pairs, next_pairs): so many are done, and a block of so many begins.

    `progress` True shows a bar on stderr; a function gets (pairs done, pairs in all).
    """
    if progress is True:
        with counting(True, stage, total, unit) as tell_more:
            before = 0

            def count(done: int, begun: int) -> None:  # noqa: ARG001
                nonlocal before
                tell_more(done - before)
                before = done

            yield count
    elif callable(progress):
        report = progress

        def tell(done: int, begun: int) -> None:  # noqa: ARG001
            report(done, total)

        yield tell
    elif progress is None or progress is False:
        yield lambda *_: None
    else:
        raise TypeError(
            f"progress: expected True, False or a function of (done, total), got {progress!r}"
        )
