"""A progress bar in a terminal; a few plain lines elsewhere."""

from __future__ import annotations

import math
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import TracebackType
from typing import Self, TextIO

_REDRAWN_SECONDS = 0.1
_CLEAR = "\r\x1b[K"


class Progress:
    """Show how far a sequence of steps of known rough cost has come.

    In a terminal one line is redrawn, also while a step runs, and is gone in the end. Elsewhere,
    in a log, each stage (a group of steps) is one line.

    Parameters
    ----------
    stream : TextIO
        Where to write, usually ``sys.stderr``.
    total : float
        Sum of the costs of all steps, in any unit.

    Notes
    -----
    The terminal is redrawn by a thread of its own, since a step can take long. The time left is
    guessed from the cost of the steps that are done.
    """

    def __init__(self, stream: TextIO, total: float) -> None:
        self._stream = stream
        self._total = total
        self._done = 0.0
        self._cost = 0.0
        self._label = ""
        self._stage = ""
        self._begin = self._step_begin = time.monotonic()
        self._terminal = stream.isatty()
        self._stop = threading.Event()
        self._painter = threading.Thread(target=self._paint, daemon=True)
        self._full, self._empty = _bar_characters(stream)

    def __enter__(self) -> Self:
        self._begin = self._step_begin = time.monotonic()
        if self._terminal:
            self._painter.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._terminal:
            self._stop.set()
            self._painter.join()
            self._write(_CLEAR)

    def step(self, stage: str, label: str, cost: float) -> None:
        """Say that the step before is done and that this one, of `stage`, begins."""
        self._done += self._cost
        self._label, self._cost = label, cost
        self._step_begin = time.monotonic()
        if not self._terminal and stage != self._stage:
            self._write(f"{stage} ...\n")
        self._stage = stage

    def done(self, cost: float) -> None:
        """Say how much of the total is done by now."""
        self._done = cost

    def line(self, columns: int) -> str:
        """Return the bar as it is now, at most `columns` wide."""
        now = time.monotonic()
        finished = self._step_begin - self._begin
        pace = finished / self._done if self._done else 1.0  # seconds for a unit of cost
        running = min((now - self._step_begin) / pace, 0.95 * self._cost) if pace > 0 else 0.0
        share = min((self._done + running) / self._total, 1.0)
        known = self._done and math.isfinite(self._total)
        left = f"about {_clock((1 - share) * self._total * pace)} left" if known else ""
        width = max(10, min(30, columns - 66))
        full = round(share * width)
        bar = self._full * full + self._empty * (width - full)
        line = f"{bar} {share:4.0%}  {self._label}"
        whole = f"{line}  {left}".rstrip()
        return whole if len(whole) < columns else line[: columns - 1]

    def _paint(self) -> None:
        while not self._stop.wait(_REDRAWN_SECONDS):
            self._write(_CLEAR + self.line(shutil.get_terminal_size().columns))

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:  # the terminal is gone; the work need not be
            self._stop.set()


@contextmanager
def counting_rows(verbose: bool, stage: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Yield a function that is told of rows that are done, and shows them if `verbose`.

    By tqdm if it is installed, which also knows notebooks, else by `Progress`. `total` None: as
    many as will come.
    """
    if not verbose:
        yield lambda _: None
    elif find_spec("tqdm") is not None:
        from tqdm.auto import tqdm

        with tqdm(total=total, desc=stage, unit="rows", unit_scale=True, file=sys.stderr) as bar:
            yield lambda rows: bar.update(rows)
    else:
        done = 0
        with Progress(sys.stderr, math.inf if total is None else total) as progress:
            progress.step(stage, stage, total or 1.0)

            def tell(rows: int) -> None:
                nonlocal done
                done += rows
                progress.step(stage, f"{done:,} rows", 0.0)
                progress.done(done)

            yield tell


def _bar_characters(stream: TextIO) -> tuple[str, str]:
    try:
        "█░".encode(stream.encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return "#", "."
    return "█", "░"


def _clock(seconds: float) -> str:
    whole = max(1, round(seconds))
    return f"{whole} s" if whole < 100 else f"{whole // 60} min {whole % 60} s"
