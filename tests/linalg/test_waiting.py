"""Long work of LAPACK on a thread of its own."""

import threading
from contextvars import ContextVar

import pytest

import nkfast as nk
from nkfast._linalg.waiting import interruptible

ASKED = ContextVar("asked", default=0)
MAIN = threading.main_thread


def where():
    return threading.current_thread() is MAIN()


def test_only_long_work_of_the_main_thread_goes_elsewhere():
    assert interruptible(1e3, where)
    assert not interruptible(1e12, where)
    found = []
    worker = threading.Thread(
        target=lambda: found.append(interruptible(1e12, threading.current_thread))
    )
    worker.start()
    worker.join()
    assert found == [worker]


def test_what_holds_here_holds_there():
    with nk.num_threads(3):
        assert interruptible(1e12, nk.get_num_threads) == 3
    ASKED.set(5)
    assert interruptible(1e12, ASKED.get) == 5


def test_errors_and_refused_threads(monkeypatch):
    with pytest.raises(ZeroDivisionError):
        interruptible(1e12, lambda: 1 // 0)

    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert interruptible(1e12, where)
