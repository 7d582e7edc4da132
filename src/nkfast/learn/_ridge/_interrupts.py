"""Steps that Ctrl-C must not cut in two."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def whole_steps() -> Iterator[None]:
    """Run the block to its end: an interrupt that comes meanwhile is delivered afterwards.

    Only the main thread receives interrupts, so others run as they are. Handlers that were not
    installed from Python cannot be put back, and stay.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or handler is None:
        yield
        return
    received: list[tuple[int, FrameType | None]] = []

    def remember(number: int, frame: FrameType | None) -> None:
        received.append((number, frame))

    signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if received and callable(handler):
            _deliver(handler, received[-1])


def _deliver(handler: Any, event: tuple[int, FrameType | None]) -> None:
    handler(*event)
