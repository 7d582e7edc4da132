"""The choice of the SIMD level at run time."""

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nkfast import _core
from places import ROOT

LEVELS = ("base", "avx2", "avx512")
RUNNABLE = _core.simd_levels()


def run_python(*arguments, level=None, cwd=None, timeout=600):
    env = {name: value for name, value in os.environ.items() if name != "NKFAST_SIMD"}
    if level is not None:
        env["NKFAST_SIMD"] = level
    return subprocess.run(
        [sys.executable, *arguments],
        env=env,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def test_levels_are_known_and_in_order():
    assert RUNNABLE[0] == "base"
    assert [level for level in LEVELS if level in RUNNABLE] == RUNNABLE


def test_levels_agree_with_the_kernel():
    """The operating system's own list of CPU features says the same."""
    cpuinfo = Path("/proc/cpuinfo")
    if sys.platform != "linux" or os.uname().machine != "x86_64" or not cpuinfo.exists():
        pytest.skip("needs Linux on x86-64")
    line = next(line for line in cpuinfo.read_text().splitlines() if line.startswith("flags"))
    flags = set(line.split(":")[1].split())
    v3 = {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "sse4_2", "popcnt"} <= flags
    v4 = v3 and {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"} <= flags
    # A build may leave a level out, but must not offer one that cannot run.
    assert set(RUNNABLE) <= {"base"} | ({"avx2"} if v3 else set()) | ({"avx512"} if v4 else set())


@pytest.mark.simd
def test_strongest_level_or_the_named_one_is_in_use():
    assert _core.simd_level() == (os.environ.get("NKFAST_SIMD") or RUNNABLE[-1])


@pytest.mark.parametrize("level", ["", None])
def test_without_a_name_the_strongest_level_is_in_use(level):
    done = run_python("-c", "from nkfast import _core; print(_core.simd_level())", level=level)
    assert done.stdout.strip() == RUNNABLE[-1], done.stderr


@pytest.mark.parametrize("level", ["AVX2", "avx1024", " base", "scalar"])
def test_unknown_level_is_refused(level):
    done = run_python("-c", "import nkfast", level=level)
    assert done.returncode == 1
    assert "ImportError: environment variable NKFAST_SIMD: expected one of" in done.stderr
    assert f"({', '.join(RUNNABLE)}), got '{level}'" in done.stderr


def test_levels_that_cannot_run_here_are_refused():
    for level in set(LEVELS) - set(RUNNABLE):  # none on a CPU with AVX-512; see the next test
        done = run_python("-c", "import nkfast", level=level)
        assert done.returncode == 1
        assert "ImportError: environment variable NKFAST_SIMD: expected one of" in done.stderr
        assert f"got '{level}', which this" in done.stderr


def test_one_file_holds_what_differs_per_instruction_set():
    for path in [
        *(ROOT / "csrc/simd").glob("*.inl.hpp"),
        ROOT / "csrc/simd/kernels.cpp",
        ROOT / "csrc/simd/pixels.cpp",
    ]:
        assert not re.search(r"^\s*#\s*(if|el)|\b_mm|\bv\w+q_f\d", path.read_text(), re.M), path


@pytest.fixture(scope="module")
def fake_cpu(tmp_path_factory):
    """Return a program that runs csrc/simd/dispatch.cpp on a CPU of the given features."""
    compiler = shutil.which("c++")
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    program = tmp_path_factory.mktemp("dispatch") / "dispatch"
    sources = [ROOT / "csrc/simd/dispatch.cpp", ROOT / "tests/cpp/test_dispatch.cpp"]
    flags = ["-std=c++20", f"-I{ROOT / 'csrc'}", "-DNKFAST_HAVE_AVX2=1", "-DNKFAST_HAVE_AVX512=1"]
    subprocess.run([compiler, *flags, *map(str, sources), "-o", str(program)], check=True)

    def run(features, level):
        env = {} if level is None else {"NKFAST_SIMD": level}
        return subprocess.run(
            [str(program), *features], env=env, capture_output=True, text=True, timeout=10
        )

    return run


CPUS = [((), ["base"]), (("v3",), ["base", "avx2"]), (("v3", "v4"), ["base", "avx2", "avx512"])]


@pytest.mark.parametrize(("features", "runnable"), CPUS)
def test_choice_on_other_cpus(fake_cpu, features, runnable):
    assert fake_cpu(features, None).stdout.split() == [runnable[-1], *runnable]
    for level in LEVELS:
        done = fake_cpu(features, level)
        if level in runnable:
            assert done.stdout.split() == [level, *runnable]
        else:
            assert done.returncode == 1
            assert done.stderr == (
                "environment variable NKFAST_SIMD: expected one of the levels that can run here "
                f"({', '.join(runnable)}), got '{level}', which this CPU or operating system "
                "cannot run\n"
            )


def test_loops_at_every_other_level():
    """Every test marked simd passes at every level; this process runs them at the one it uses."""
    # Only files that hold some: to collect all the others takes longer than to run these.
    every = (ROOT / "tests").rglob("test_*.py")
    files = [path for path in every if "mark.simd" in path.read_text()]
    assert len(files) > 10
    arguments = ("-m", "pytest", "-q", "-m", "simd", "-p", "no:cacheprovider", *map(str, files))
    others = [level for level in RUNNABLE if level != _core.simd_level()]
    with ThreadPoolExecutor(max_workers=len(LEVELS)) as pool:
        runs = pool.map(
            lambda level: run_python(*arguments, level=level, cwd=ROOT, timeout=900), others
        )
    for level, done in zip(others, runs, strict=True):
        assert done.returncode == 0, f"{level}: {done.stdout}{done.stderr}"
