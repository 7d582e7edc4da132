"""The side of `tools/bench_compare.py` that runs inside each of the two compared environments.

A pytest plugin (`-p in_turns`): its fixture `benchmark` does not time a job on its own. It names
the job to the process that started it, then makes as many calls as that asks for and says how long
they took, until it is told to go on. So two processes with two versions of nkfast do the same job
in turns, call by call.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from time import perf_counter, process_time
from typing import Any, TextIO

import pytest

VARIABLE = "NKFAST_BENCH_IN_TURNS"  # the descriptors to read from and to write to


class InTurns:
    """Stands in for the `benchmark` fixture of pytest-benchmark."""

    stats = None  # as under --benchmark-disable
    _done: set[tuple[str, str]] = set()  # noqa: RUF012  one for the process

    def __init__(self, node: str) -> None:
        self.node = node
        self.group = ""
        self.extra_info: dict[str, Any] = {}

    def __call__(self, run: Callable[..., object], *args: Any, **options: Any) -> None:
        self.time("", lambda: run(*args, **options))

    def pedantic(self, run: Callable[[], object], **_: Any) -> None:
        self.time("", run)

    def time(self, variant: str, run: Callable[[], object]) -> None:
        """Make calls as long as the other side asks for some."""
        if self.group and (self.group, variant) in self._done:
            return  # the same job stands beside each of its rivals
        self._done.add((self.group, variant))
        source, target = _channel()
        name = self.node + (f" {variant}" if variant else "")
        print(json.dumps({"node": self.node, "name": name}), file=target, flush=True)
        while calls := int(source.readline() or 0):
            cpu, start = process_time(), perf_counter()
            for _ in range(calls):
                run()
            times = [perf_counter() - start, process_time() - cpu]
            print(json.dumps(times), file=target, flush=True)


_open: list[TextIO] = []


def _channel() -> tuple[TextIO, TextIO]:
    if not _open:
        source, target = map(int, os.environ[VARIABLE].split(","))
        _open.extend((os.fdopen(source), os.fdopen(target, "w")))
    return _open[0], _open[1]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Say first what there is to come."""
    print(json.dumps([item.nodeid for item in session.items]), file=_channel()[1], flush=True)


@pytest.fixture
def benchmark(request: pytest.FixtureRequest) -> InTurns:
    """The job of one test, made in turns with that of another process."""
    return InTurns(request.node.nodeid)
