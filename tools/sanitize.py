"""Run tests of the core in builds with sanitizers; fail on any report.

Usage: ``python tools/sanitize.py ADDRESS_PYTHON THREAD_PYTHON [--quick]``: the interpreters of two
environments that have nkfast built with ``-Db_sanitize=address,undefined`` and ``=thread``
(``make sanitize`` makes them). Needs GCC, by which these were built, as ``c++`` or CXX.

Programs of tests/cpp are compiled with each sanitizer and run. Python's tests run with the
sanitizer's library loaded before all else: those of the core, of sketches, arrays and kernels, and
random calls, for addresses and undefined behaviour, at each SIMD level; those that call from
several threads for races. What a sanitizer reports goes into files, which are counted.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CORE = ROOT / "csrc"
FLAGS = ["-std=c++20", "-O1", "-g", "-Wall", "-Wextra", "-Wno-tsan", "-pthread", f"-I{CORE}"]
PROGRAMS = {
    "test_parallel": [],
    "test_races": [],
    "test_programs": [CORE / "sketch" / "builder.cpp", CORE / "sketch" / "program.cpp"],
}
REPORT = re.compile(r"runtime error:|==\d+==ERROR|WARNING: ThreadSanitizer|FATAL: ")
PASSED = re.compile(r"(\d+) passed")
# What measures memory, looks at object files or crashes on purpose means nothing here. What
# compiles or starts all tests again at each SIMD level is done by this file.
LEFT_OUT = " and ".join(
    f"not {name}"
    for name in (
        *("memory", "does_not_hold_the_file", "baseline", "crash"),
        *("every_other_level", "parallel_for", "other_cpus"),
    )
)


@dataclass
class Sanitizer:
    """A kind of build, and what runs in it."""

    name: str
    flag: str
    libraries: list[str]
    options: dict[str, str]
    tests: list[str]
    levels: list[str] = field(default_factory=lambda: ["base"])
    arguments: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


ADDRESS = Sanitizer(
    "address",
    "address,undefined",
    ["libasan.so", "libubsan.so"],
    # Python itself keeps memory until its end, which is no leak of ours; programs are looked at.
    {"ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "print_stacktrace=1"},
    [
        *("tests/core", "tests/sketch", "tests/arrays", "tests/project/test_fuzzing.py"),
        *(f"tests/kernels/test_{name}.py" for name in ("symmetry", "points", "conv", "exact")),
    ],
    ["avx512", "avx2", "base"],
    ["--numprocesses=auto", "--maxprocesses=8", "--dist=worksteal"],
)
THREAD = Sanitizer(
    "thread",
    "thread",
    ["libtsan.so"],
    {"TSAN_OPTIONS": "die_after_fork=0"},
    ["tests/core/test_races.py::test_calls_from_many_threads", "tests/core/test_builders.py"],
)


def compiler() -> list[str]:
    """Return the compiler's command."""
    return shlex.split(os.environ.get("CXX", "c++"))


def library(name: str) -> str:
    """Return where a library of the compiler is."""
    found = _output([*compiler(), f"-print-file-name={name}"]).strip()
    if not Path(found).is_absolute():
        raise SystemExit(f"sanitize: {' '.join(compiler())} has no {name}; GCC has, set CXX to it")
    return found


def run_programs(sanitizer: Sanitizer, folder: Path) -> list[str]:
    """Compile and run the C++ programs; return what is wrong."""
    wrong = []
    for name, sources in PROGRAMS.items():
        program = folder / f"{name}-{sanitizer.name}"
        files = [str(ROOT / "tests" / "cpp" / f"{name}.cpp"), *map(str, sources)]
        flags = [*FLAGS, f"-fsanitize={sanitizer.flag}"]
        subprocess.run([*compiler(), *flags, *files, "-ldl", "-o", str(program)], check=True)
        env = logged(sanitizer, folder / program.name)
        env = {key: value.replace("leaks=0", "leaks=1") for key, value in env.items()}
        done = subprocess.run([str(program)], env={**os.environ, **env}, check=False)
        reports = count_reports(folder, program.name)
        print(
            f"{name}, {sanitizer.flag}: exit code {done.returncode}, {reports} reports", flush=True
        )
        sanitizer.counts.update(programs=1, reports=reports)
        if done.returncode != 0 or reports:
            wrong.append(f"{name}, {sanitizer.flag}")
    return wrong


def logged(sanitizer: Sanitizer, path: Path) -> dict[str, str]:
    """Return a sanitizer's options, its reports going into files that begin with `path`."""
    return {key: f"{value}:log_path={path}" for key, value in sanitizer.options.items()}


def run_tests(sanitizer: Sanitizer, python: str, level: str, quick: bool, folder: Path) -> bool:
    """Run Python's tests at a SIMD level; return whether all is well."""
    log = folder / f"python-{sanitizer.name}-{level}"
    env = logged(sanitizer, log)
    libraries = [library(name) for name in [*sanitizer.libraries, "libstdc++.so.6"]]
    env |= {"LD_PRELOAD": " ".join(libraries), "NKFAST_SIMD": level, "OPENBLAS_NUM_THREADS": "1"}
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", LEFT_OUT]
    command += sanitizer.arguments
    if quick or level != sanitizer.levels[0]:
        command += ["-m", "simd"]
    done = subprocess.run(
        [*command, *sanitizer.tests],
        env={**os.environ, **env},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    reports = count_reports(folder, log.name)
    closing = done.stdout.strip().splitlines()[-1:] or ["nothing was printed"]
    passed = PASSED.search(closing[0])
    sanitizer.counts.update(tests=int(passed[1]) if passed else 0, reports=reports)
    print(f"Python's tests, {sanitizer.flag}, {level}: {closing[0]}, {reports} reports", flush=True)
    if done.returncode != 0:
        print(done.stdout[-4000:])
    return done.returncode == 0 and reports == 0


def count_reports(folder: Path, prefix: str) -> int:
    """Return how many reports there are in a run's files, and print them."""
    total = 0
    for path in sorted(folder.glob(f"{prefix}*.[0-9]*")):
        text = path.read_text(errors="replace")
        found = len(REPORT.findall(text))
        total += found
        if found:
            print(text[:4000])
    return total


def runnable(python: str, levels: list[str]) -> list[str]:
    """Return those levels that a build has and this machine can run."""
    code = "from nkfast import _core; print(*_core.simd_levels())"
    preload = library("libasan.so")
    env = {**os.environ, "LD_PRELOAD": preload, "ASAN_OPTIONS": "detect_leaks=0"}
    there = subprocess.run(
        [python, "-c", code], env=env, capture_output=True, text=True, check=True
    ).stdout.split()
    return [level for level in levels if level in there]


def _output(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main() -> int:
    """Run everything; return the exit status."""
    parser = argparse.ArgumentParser(description="Run tests of the core with sanitizers")
    parser.add_argument("address", help="interpreter of the build for addresses")
    parser.add_argument("thread", help="interpreter of the build for races")
    parser.add_argument("--quick", action="store_true", help="tests of the loops only")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="nkfast-sanitize-"))
    wrong: list[str] = []
    try:
        for sanitizer in (ADDRESS, THREAD):
            wrong += run_programs(sanitizer, folder)
        for level in runnable(options.address, ADDRESS.levels):
            if not run_tests(ADDRESS, options.address, level, options.quick, folder):
                wrong.append(f"Python's tests, {ADDRESS.flag}, {level}")
        if not run_tests(THREAD, options.thread, "base", False, folder):
            wrong.append(f"Python's tests, {THREAD.flag}")
    finally:
        shutil.rmtree(folder)
    for sanitizer in (ADDRESS, THREAD):
        n = sanitizer.counts
        print(
            f"sanitize: {sanitizer.flag}: {n['programs']} programs, "
            f"{n['tests']} of Python's tests passed, {n['reports']} reports"
        )
    print("sanitize: " + ("; ".join(wrong) + " failed" if wrong else "no reports"))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
