"""Long work of BLAS and LAPACK, which cannot be stopped, and a wait for it that can."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
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
    if operations < _LONG or threading.current_thread() is not threading.main_thread():
        return work()
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    try:
        threading.Thread(target=copy_context().run, args=(run,), daemon=True).start()
    except RuntimeError:  # the system refuses more threads
        run()
    return done.result()
