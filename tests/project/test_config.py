"""Threads and show_config."""

import os
import threading

import numpy as np
import pytest

import nkfast as nk


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    monkeypatch.delenv("NKFAST_NUM_THREADS", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    yield
    nk.set_num_threads(None)


def test_default_is_the_affinity_mask():
    if hasattr(os, "sched_getaffinity"):
        assert nk.get_num_threads() == len(os.sched_getaffinity(0))
    else:
        assert nk.get_num_threads() == os.cpu_count()


def test_each_source_beats_the_next(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4,2")
    assert nk.get_num_threads() == 4
    monkeypatch.setenv("NKFAST_NUM_THREADS", "5")
    assert nk.get_num_threads() == 5
    nk.set_num_threads(6)
    assert nk.get_num_threads() == 6
    with nk.num_threads(7):
        assert nk.get_num_threads() == 7
    assert nk.get_num_threads() == 6
    nk.set_num_threads(None)
    assert nk.get_num_threads() == 5


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "4,2", "\u0664"])
def test_bad_own_variable_is_refused(monkeypatch, value):
    monkeypatch.setenv("NKFAST_NUM_THREADS", value)
    with pytest.raises(ValueError, match="NKFAST_NUM_THREADS: expected a positive integer, got"):
        nk.get_num_threads()


@pytest.mark.parametrize("value", ["", " ", "0", "many", ",3"])
def test_bad_foreign_variable_is_passed_over(monkeypatch, value):
    default = nk.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert nk.get_num_threads() == default


@pytest.mark.parametrize("function", [nk.set_num_threads, nk.num_threads])
@pytest.mark.parametrize(
    ("value", "error"),
    [(0, ValueError), (-3, ValueError), (2.0, TypeError), ("2", TypeError), (True, TypeError)],
)
def test_bad_argument_is_refused_at_once(function, value, error):
    with pytest.raises(error, match="n: expected"):
        function(value)


def test_numpy_integers_are_integers():
    nk.set_num_threads(np.int64(3))
    assert nk.get_num_threads() == 3


def test_context_nests_and_ends_by_an_exception():
    nk.set_num_threads(2)

    def fail():
        with nk.num_threads(4):
            assert nk.get_num_threads() == 4
            raise KeyError

    with nk.num_threads(3):
        with pytest.raises(KeyError):
            fail()
        assert nk.get_num_threads() == 3
    assert nk.get_num_threads() == 2


def test_context_holds_for_its_own_thread_only():
    nk.set_num_threads(2)
    seen = []
    with nk.num_threads(3):
        other = threading.Thread(target=lambda: seen.append(nk.get_num_threads()))
        other.start()
        other.join()
    # From Python 3.14 on, free-threaded builds start threads with a copy of the caller's context.
    assert seen in ([2], [3])
    barrier = threading.Barrier(2, timeout=10)

    def work(n):
        with nk.num_threads(n):
            barrier.wait()
            seen.append(nk.get_num_threads() == n)
            barrier.wait()

    threads = [threading.Thread(target=work, args=(n,)) for n in (4, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen[1:] == [True, True]


def test_show_config(capsys):
    facts = nk.show_config("dict")
    assert facts["nkfast"] == nk.__version__
    assert facts["numpy"] == np.__version__
    assert facts["simd_level"] in facts["simd_levels"]
    assert facts["num_threads"] == nk.get_num_threads()
    assert nk.show_config() is None
    printed = capsys.readouterr().out
    assert all(name in printed for name in facts)
    with pytest.raises(ValueError, match="mode: expected 'stdout' or 'dict', got 'xml'"):
        nk.show_config("xml")
