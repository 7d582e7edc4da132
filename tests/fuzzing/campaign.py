"""Many cases, in processes of which any may crash or hang."""

from __future__ import annotations

import faulthandler
import multiprocessing as mp
import time
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing.connection import wait
from typing import Any, NamedTuple

from .cases import command, run

HANG = 1800.0  # seconds after which a case counts as one that never ends


class Result(NamedTuple):
    """What a case called, what did not hold, and how many seconds of CPU it took."""

    case: int
    calls: Counter[str]
    wrong: str
    seconds: float


def work(seed: int, case: int) -> Result:
    before = time.process_time()
    calls, wrong = run(seed, case)
    return Result(case, Counter(calls), wrong, time.process_time() - before)


def campaign(
    seed: int,
    cases: int,
    jobs: int,
    calls: int | None = None,
    work: Callable[[int, int], Result] = work,
) -> Iterator[Result]:
    """Run cases 0 .. cases - 1, or until so many calls are made.

    Process j takes the cases j, j + jobs, ...; after a crash another one goes on behind the case.
    """
    workers = [_Worker(work, seed, range(start, cases, jobs)) for start in range(jobs)]
    made = 0
    try:
        while running := {worker.results: worker for worker in workers if worker.left}:
            for ready in wait(list(running), timeout=5):
                result = running[ready].take()
                made += sum(result.calls.values())
                yield result
            for worker in running.values():
                worker.end_if_it_hangs()
            if calls is not None and made >= calls:
                return
    finally:
        for worker in workers:
            worker.stop()


class _Worker:
    """A process that runs cases one after the other."""

    def __init__(self, work: Callable[[int, int], Result], seed: int, cases: range) -> None:
        self.work, self.seed = work, seed
        self.left = cases
        self._begin()

    def take(self) -> Result:
        """Return the result of the first case that is left."""
        case, self.left = self.left[0], self.left[1:]
        try:
            result: Result = self.results.recv()
        except EOFError:
            self.process.join()
            how = f"crash or no end, exit code {self.process.exitcode}"
            result = Result(case, Counter(), f"{how}\n  {command(self.seed, case)}", 0.0)
            self._begin()
        self.since = time.monotonic()
        return result

    def end_if_it_hangs(self) -> None:
        if time.monotonic() - self.since > HANG:
            self.process.kill()

    def stop(self) -> None:
        self.process.kill()
        self.process.join()

    def _begin(self) -> None:
        context = mp.get_context("spawn")
        self.results, theirs = context.Pipe(duplex=False)
        self.since = time.monotonic()
        self.process = context.Process(
            target=_all, args=(self.work, self.seed, self.left, theirs), daemon=True
        )
        self.process.start()
        theirs.close()


def _all(work: Callable[[int, int], Result], seed: int, cases: range, results: Any) -> None:
    faulthandler.enable()
    for case in cases:
        results.send(work(seed, case))
