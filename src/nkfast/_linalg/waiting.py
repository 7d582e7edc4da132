"""Long work of BLAS and LAPACK, which cannot be stopped, and a wait for it that can."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")

_LONG = 2e8  # operations, some milliseconds: a thread costs a tenth of one


def interruptible(operations: float, work: Callable[[], T]) -> T:
    """Return work(), which Ctrl-C does not have to wait for.

    What has begun runs to its end on a thread of its own, and its result is dropped. So `work` may
    change nothing but arrays that are of no use once it is interrupted.

    Parameters
    ----------
    operations : float
        Floating-point operations that it takes; few are done at once.
    work : callable
    """
    return begin(operations, work).result()


def begin(operations: float, work: Callable[[], T]) -> Future[T]:
    """Begin what `interruptible` does; the wait for its end is the caller's."""
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    if operations >= _LONG and threading.current_thread() is threading.main_thread():
        with suppress(RuntimeError):  # the system refuses more threads
            threading.Thread(target=copy_context().run, args=(run,), daemon=True).start()
            return done
    run()
    return done
