"""How benchmarks here measure: every rival in turns with nkfast; a table of ratios at the end."""

from __future__ import annotations

import itertools
import platform
import statistics
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

import nkfast as nk
from in_turns import InTurns
from nkfast import _core

OURS = "nkfast"


def wht(x: NDArray[Any]) -> NDArray[Any]:
    """Orthonormal Walsh-Hadamard transform of the rows of x, in place."""
    y: NDArray[Any] = nk.fwht(x, norm="ortho", out=x)
    return y


@cache
def cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(
            line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def measure(
    benchmark: Any,
    rival: str,
    job: Callable[[], object],
    ours: dict[str, Callable[[], object]],
    *,
    group: str,
    threads: int,
    rounds: int,
    pause: float = 0.0,
    own: bool = False,
    **facts: Any,
) -> None:
    """Time `job`, before each round of it every one of `ours`, and note the medians.

    So both see the same machine, however busy. `ours` maps names of nkfast's variants to their
    jobs; where the job is nkfast's own it stays empty. BLAS gets as many threads as nkfast.
    `pause` seconds before them let a rival's threads, which may watch for more work, fall asleep;
    then ours run once unmeasured. The order of ours changes from round to round.

    Where two versions of nkfast are compared, its own jobs alone are made: `own` says that `job`
    is one of them, too.
    """
    times: dict[str, list[float]] = {name: [] for name in ours}
    turns = itertools.count()

    def turn() -> None:
        if pause > 0:
            sleep(pause)
            for run in ours.values():
                run()  # the rival, too, comes to a machine that is awake
        order = list(ours.items())
        for name, run in order if next(turns) % 2 else order[::-1]:
            start = perf_counter()
            run()
            times[name].append(perf_counter() - start)

    benchmark.group = group
    if isinstance(benchmark, InTurns):
        with threadpool_limits(threads), nk.num_threads(threads):
            for name, run in ({**ours, rival: job} if own or not ours else ours).items():
                benchmark.time(name, run)
        return
    benchmark.extra_info.update(
        rival=rival, cpu=cpu_model(), simd_level=_core.simd_level(), threads=threads, **facts
    )
    with threadpool_limits(threads), nk.num_threads(threads):
        benchmark.pedantic(job, setup=turn, rounds=rounds, warmup_rounds=2)
    if times:
        # the warm-up's turns come first
        benchmark.extra_info["ours_median"] = {
            name: statistics.median(taken[2:]) for name, taken in times.items()
        }


def ratio_table(benchmarks: Iterable[Any]) -> list[str]:
    """Return lines 'group  rival ratio' from the benchmarks of a session."""
    lines: dict[str, list[str]] = {}
    for bench in benchmarks:
        group = lines.setdefault(bench.group or "", [])
        medians = bench.extra_info.get("ours_median", {})
        if medians:
            ratios = " / ".join(f"{bench.stats.median / ours:.1f}x" for ours in medians.values())
            names = " / ".join(name for name in medians if name != OURS)
            group.append(f"{bench.extra_info['rival']} {ratios}" + (f" ({names})" if names else ""))
    return [f"  {group:<40} {',  '.join(found)}" for group, found in lines.items() if found]


def relative_error(approximate: NDArray[Any], exact: NDArray[Any]) -> float:
    """Return the relative error in the Frobenius norm."""
    return float(np.linalg.norm(approximate - exact) / np.linalg.norm(exact))
