"""Compare the speed of two revisions: `python tools/bench_compare.py BASE [HEAD] [options]`.

Both are built and installed into environments of their own (build/compare/COMMIT, kept). Then one
process of each runs the same benchmarks, those of this folder's bench/, and makes every job in
turns with the other, call by call, so that whatever else the machine does meets both. A job that
looks slower is repeated in new pairs of processes (where memory lies, and with it some speed, is
decided when a process starts), and counts as slower only if it is slower by more than the margin in
every pair. Exit status 1 if there is such a job.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "compare"
# Of glibc: memory that is freed stays with the process. What it got back from the system it would
# have to clear, and whether it does so for each call hangs on how much was freed before.
KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "MALLOC_TOP_PAD_": str(1 << 28),
}
SHORTEST = 0.01  # seconds; quicker calls are timed several at once
FEWEST, MOST = 5, 41  # rounds


@dataclass
class Job:
    """What was measured of one job."""

    name: str
    base: list[float] = field(default_factory=list)  # seconds a call, of every round
    wall: list[list[float]] = field(default_factory=list)  # head over base, a list for each pair
    cpu: list[list[float]] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """The median over pairs of processes of their median rounds."""
        return statistics.median(map(statistics.median, self.wall))

    @property
    def least(self) -> float:
        """The median round of the pair of processes that speaks best for head."""
        return min(map(statistics.median, self.wall))

    @property
    def spread(self) -> tuple[float, float]:
        """The quartiles of all rounds."""
        low, _, high = statistics.quantiles([r for pair in self.wall for r in pair], n=4)
        return low, high


class Worker:
    """A process of one environment that runs the benchmarks, job by job, as it is told."""

    def __init__(self, python: str, bench: Path, chosen: list[str], name: str) -> None:
        self.name = name
        read, answers = os.pipe()
        orders, write = os.pipe()
        path = os.pathsep.join([str(ROOT / "bench"), str(bench)])
        self._log = FOLDER / f"{name}.log"
        self._log.parent.mkdir(parents=True, exist_ok=True)
        command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [*command, "-p", "in_turns", *(chosen or [str(bench)])],
                cwd=bench.parent,
                env={
                    **os.environ,
                    **KEEP_MEMORY,
                    "NKFAST_BENCH_IN_TURNS": f"{orders},{answers}",
                    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
                    "PYTHONPATH": path,
                    "PYTHONDONTWRITEBYTECODE": "1",
                },
                pass_fds=(orders, answers),
                stdout=log,
                stderr=log,
            )
        os.close(orders)
        os.close(answers)
        self._answers, self._orders = os.fdopen(read), os.fdopen(write, "w")

    def nodes(self) -> list[str]:
        """Return the node ids of its benchmarks, in order: the first that it says."""
        line = self._answers.readline()
        nodes: list[str] = json.loads(line) if line else []
        return nodes

    def job(self) -> dict[str, Any] | None:
        """Return the job that it has come to; None at the end."""
        line = self._answers.readline()
        return json.loads(line) if line else None

    def time(self, calls: int) -> list[float]:
        """Return wall and CPU seconds a call."""
        self._orders.write(f"{calls}\n")
        self._orders.flush()
        line = self._answers.readline()
        if not line:
            raise RuntimeError(f"{self.name} failed in a job, see {self._log}")
        return [taken / calls for taken in json.loads(line)]

    def go_on(self) -> None:
        """Leave the job."""
        self._orders.write("0\n")
        self._orders.flush()

    def close(self) -> int:
        """Wait for its end; return pytest's exit status."""
        self._orders.close()
        self._answers.close()
        return self._process.wait()


def environment(revision: str) -> tuple[str, str]:
    """Return the commit and the interpreter of an environment with that revision of nkfast."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short=12", f"{revision}^{{commit}}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    folder = FOLDER / commit
    python = str(folder / "venv" / "bin" / "python")
    if (folder / "done").exists():
        return commit, python
    print(f"building {revision} ({commit}) in {folder.relative_to(ROOT)}", flush=True)
    source = folder / "source"
    source.mkdir(parents=True, exist_ok=True)
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True)
    subprocess.run(["tar", "-x", "-C", source], input=archive.stdout, check=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder / "venv"], check=True)
    pip: list[str] = [python, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    subprocess.run([*pip, f"{source}[bench]"], check=True)
    (folder / "done").touch()
    return commit, python


def meetings(base: Worker, head: Worker) -> Iterator[tuple[str, Worker | None]]:
    """Yield every job that both have come to, and (with the one that has it) what only one has."""
    ours, theirs = base.nodes(), head.nodes()
    both = [node for node in ours if node in set(theirs)]
    jobs = {base: base.job(), head: head.job()}
    while left := {worker: job for worker, job in jobs.items() if job}:
        if len(left) == 2 and len({job["name"] for job in left.values()}) == 1:
            moved = [base, head]
            yield left[base]["name"], None
        else:  # unknown to the other one, or that has failed in it and is behind it
            where = {w: both.index(j["node"]) if j["node"] in both else -1 for w, j in left.items()}
            moved = [min(where, key=lambda worker: where[worker])]
            yield left[moved[0]]["name"], moved[0]
        for worker in moved:
            worker.go_on()
        for worker in moved:
            jobs[worker] = worker.job()


def take_turns(base: Worker, head: Worker, seconds: float, job: Job) -> None:
    """Time the job that both have come to, for `seconds` in all but in `FEWEST` rounds at least."""
    once = [worker.time(1)[0] for worker in (base, head)]
    once = [min(old, worker.time(1)[0]) for old, worker in zip(once, (base, head), strict=True)]
    calls = max(1, math.ceil(SHORTEST / max(min(once), 1e-9)))
    rounds = min(MOST, max(FEWEST, math.ceil(seconds / (sum(once) * calls))))
    wall, cpu = [], []
    for turn in range(rounds):
        order = (base, head) if turn % 2 else (head, base)
        times = {worker: worker.time(calls) for worker in order}
        job.base.append(times[base][0])
        wall.append(times[head][0] / times[base][0])
        cpu.append(times[head][1] / max(times[base][1], 1e-9))
    job.wall.append(wall)
    job.cpu.append(cpu)


def compare(
    pythons: tuple[str, str], bench: Path, chosen: list[str], seconds: float, jobs: dict[str, Job]
) -> bool:
    """Run one pair of processes; add what it measured to `jobs`. True if all benchmarks ran."""
    base, head = (
        Worker(python, bench, chosen, name)
        for python, name in zip(pythons, ("base", "head"), strict=True)
    )
    try:
        for name, only in meetings(base, head):
            if only:
                print(f"{name}: only in {only.name}", flush=True)
                continue
            job = jobs.setdefault(name, Job(name))
            take_turns(base, head, seconds, job)
            print(line(job), flush=True)
    finally:
        statuses = [base.close(), head.close()]
    return statuses == [0, 0]


def line(job: Job) -> str:
    """Return a job's line of the table."""
    low, high = job.spread
    cpu = statistics.median(map(statistics.median, job.cpu))
    return (
        f"{job.ratio:6.3f}  {low:5.2f} to {high:5.2f}  cpu {cpu:5.2f}"
        f"  {statistics.median(job.base) * 1e3:10.3f} ms  {job.name}"
    )


def run(
    pythons: tuple[str, str], bench: Path, chosen: list[str], *, seconds: float, margin: float
) -> tuple[dict[str, Job], list[Job], bool]:
    """Return all jobs, those that are slower beyond the margin, and whether all benchmarks ran."""
    print("head / base, its quartiles, ratio of CPU time, time of base, job")
    jobs: dict[str, Job] = {}
    complete = compare(pythons, bench, chosen, seconds, jobs)
    slower = [job for job in jobs.values() if job.least > 1 + margin]
    for _ in range(2):
        if not slower:
            break
        print(f"again, in new processes: {len(slower)}", flush=True)
        # variants of a benchmark are named behind its node id
        again = list(dict.fromkeys(node(job.name) for job in slower))
        compare(pythons, bench, again, 2 * seconds, jobs)
        slower = [job for job in slower if job.least > 1 + margin]
    return jobs, slower, complete


def node(name: str) -> str:
    """Return the node id of a job's benchmark, without the name of its variant."""
    test, bracket, rest = name.partition("[")
    return f"{test}[{rest[: rest.rindex(']') + 1]}" if bracket else test.partition(" ")[0]


def main() -> int:
    """Build, compare, and print a table; return the exit status."""
    parser = argparse.ArgumentParser(description="Compare the speed of two revisions of nkfast.")
    parser.add_argument("base", help="a revision of git")
    parser.add_argument("head", nargs="?", default="HEAD", help="another one (HEAD)")
    parser.add_argument("-k", dest="expression", help="choose benchmarks, as pytest does")
    parser.add_argument("--margin", type=float, default=0.1, help="slower by more fails (0.1)")
    parser.add_argument("--seconds", type=float, default=1.5, help="for each job (1.5)")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    args = parser.parse_args()
    revisions = [environment(args.base), environment(args.head)]
    bench = ROOT / "bench"
    chosen = [str(bench), "-k", args.expression] if args.expression else []
    pythons = (revisions[0][1], revisions[1][1])
    jobs, slower, complete = run(pythons, bench, chosen, seconds=args.seconds, margin=args.margin)
    if args.json:
        content = {
            "base": revisions[0][0],
            "head": revisions[1][0],
            "jobs": {
                job.name: {"ratio": job.ratio, "quartiles": job.spread, "pairs": len(job.wall)}
                for job in jobs.values()
            },
        }
        args.json.write_text(json.dumps(content, indent=1) + "\n")
    print(f"\n{len(jobs)} jobs, median of the ratios {middle(jobs):.3f}")
    for job in slower:
        print(f"SLOWER by more than {args.margin:.0%} in {len(job.wall)} pairs: {line(job)}")
    if not complete:
        print(f"some benchmarks failed: {FOLDER}/base.log, head.log")
    return int(bool(slower) or not complete or not jobs)


def middle(jobs: dict[str, Job]) -> float:
    """Return the median ratio of all jobs."""
    return statistics.median(job.ratio for job in jobs.values()) if jobs else math.nan


if __name__ == "__main__":
    sys.exit(main())
