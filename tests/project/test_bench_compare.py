"""tools/bench_compare.py: two environments do the same jobs in turns; slower ones are found."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import bench_compare

BENCH = """
import os, time

def work():
    stop = time.process_time() + 0.002 * float(os.environ.get("WORK", "1"))
    while time.process_time() < stop:
        pass

def bench_same(benchmark):
    benchmark(sum, range(1000))

def bench_slower(benchmark):
    benchmark.pedantic(work, rounds=3)
"""
ONLY_ONE = """
import os

if "WORK" in os.environ:
    def bench_new(benchmark):
        benchmark(len, [])
"""


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(bench_compare, "FOLDER", tmp_path / "build")
    folder = tmp_path / "bench"
    folder.mkdir()
    (folder / "bench_jobs.py").write_text(BENCH)
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\npython_files = bench_*.py\npython_functions = bench_*\n"
    )
    return folder


def python(folder: Path, name: str, **variables: str) -> str:
    """Return an interpreter that differs by what stands in its environment."""
    path = folder / name
    settings = " ".join(f"{key}={value}" for key, value in variables.items())
    path.write_text(f'#!/bin/sh\nexec env {settings} {sys.executable} "$@"\n')
    path.chmod(0o755)
    return str(path)


def test_a_slowdown_is_found(bench: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    pythons = (sys.executable, python(tmp_path, "slow", WORK="1.5"))
    jobs, slower, complete = bench_compare.run(pythons, bench, [], seconds=0.2, margin=0.2)
    assert complete
    assert set(jobs) == {"bench/bench_jobs.py::bench_same", "bench/bench_jobs.py::bench_slower"}
    assert [job.name for job in slower] == ["bench/bench_jobs.py::bench_slower"]
    assert len(slower[0].wall) == 3
    assert 1.3 < slower[0].ratio < 1.8
    assert "again, in new processes" in capfd.readouterr().out


def test_what_only_one_has_and_what_fails_is_named(
    bench: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    (bench / "bench_a.py").write_text(ONLY_ONE)
    with (bench / "bench_jobs.py").open("a") as file:
        file.write("\ndef bench_wrong(benchmark):\n    assert False\n")
    pythons = (sys.executable, python(tmp_path, "new", WORK="1"))
    jobs, slower, complete = bench_compare.run(pythons, bench, [], seconds=0.1, margin=1)
    assert len(jobs) == 2
    assert not slower
    assert not complete
    assert "bench_new: only in head" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("name", "node"),
    [
        ("bench/bench_a.py::bench_x", "bench/bench_a.py::bench_x"),
        ("bench/bench_a.py::bench_x into memory", "bench/bench_a.py::bench_x"),
        ("bench/a.py::bench_x[1-nkfast depth 1] depth 1", "bench/a.py::bench_x[1-nkfast depth 1]"),
    ],
)
def test_node(name: str, node: str):
    assert bench_compare.node(name) == node
