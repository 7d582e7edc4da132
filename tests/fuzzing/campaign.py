"""Many cases, in processes of which any may crash or hang."""

from __future__ import annotations

import faulthandler
import multiprocessing as mp
import os
import queue
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from .cases import command, run

HANG = 900.0  # seconds after which a case counts as one that never ends


class Result(NamedTuple):
    """What a case called, what did not hold, and how many seconds of CPU it took."""

    case: int
    calls: Counter[str]
    wrong: str
    seconds: float


def campaign(seed: int, cases: int, jobs: int, calls: int | None = None) -> Iterator[Result]:
    """Run cases 0 .. cases - 1, or until so many calls are made; yield `Result`s.

    Process j takes the cases j, j + jobs, ...; after a crash another one goes on behind the case.
    """
    context = mp.get_context("spawn")
    results = context.Queue()
    workers = [_Worker(context, seed, start, cases, jobs, results) for start in range(jobs)]
    made = 0
    try:
        while any(worker.alive for worker in workers):
            try:
                start, result = results.get(timeout=5)
            except queue.Empty:
                for worker in workers:
                    if (wrong := worker.lost()) is not None:
                        yield Result(worker.case, Counter(), wrong, 0.0)
                        worker.go_on()
                continue
            workers[start].next(result.case)
            made += sum(result.calls.values())
            yield result
            if calls is not None and made >= calls:
                return
    finally:
        for worker in workers:
            worker.stop()


class _Worker:
    def __init__(
        self, context: Any, seed: int, start: int, cases: int, jobs: int, results: Any
    ) -> None:
        self.context, self.seed, self.start = context, seed, start
        self.cases, self.jobs, self.results = cases, jobs, results
        self.case = start  # that is being run
        self._begin()

    @property
    def alive(self) -> bool:
        return self.case < self.cases

    def next(self, case: int) -> None:
        self.case, self.since = case + self.jobs, time.monotonic()

    def lost(self) -> str | None:
        """Return what became of a process that crashed or hangs, None of any other."""
        if not self.alive:
            return None
        how = f"\n  {command(self.seed, self.case)}"
        if not self.process.is_alive():
            return f"crash, exit code {self.process.exitcode}{how}"
        if time.monotonic() - self.since > HANG:
            self.process.kill()
            return f"no end within {HANG:g} s{how}"
        return None

    def go_on(self) -> None:
        self.case += self.jobs
        if self.alive:
            self._begin()

    def stop(self) -> None:
        self.process.kill()
        self.process.join()

    def _begin(self) -> None:
        self.since = time.monotonic()
        arguments = (self.seed, self.case, self.cases, self.jobs, self.start, self.results)
        self.process = self.context.Process(target=_work, args=arguments, daemon=True)
        self.process.start()


def _work(seed: int, first: int, cases: int, jobs: int, start: int, results: Any) -> None:
    faulthandler.enable()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    for case in range(first, cases, jobs):
        before = time.process_time()
        calls, wrong = run(seed, case)
        results.put((start, Result(case, Counter(calls), wrong, time.process_time() - before)))
