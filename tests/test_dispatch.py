"""The choice of the SIMD level at run time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nkfast import _core

LEVELS = ("base", "avx2", "avx512")
RUNNABLE = _core.simd_levels()
TESTS = Path(__file__).parent


def run_python(*arguments, level=None, cwd=None):
    env = {name: value for name, value in os.environ.items() if name != "NKFAST_SIMD"}
    if level is not None:
        env["NKFAST_SIMD"] = level
    return subprocess.run(
        [sys.executable, *arguments], env=env, cwd=cwd, capture_output=True, text=True, timeout=600
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


@pytest.mark.parametrize("level", LEVELS)
def test_level_that_cannot_run_is_refused(level):
    if level in RUNNABLE:
        pytest.skip("this CPU can run it")
    done = run_python("-c", "import nkfast", level=level)
    assert done.returncode == 1
    assert "ImportError: environment variable NKFAST_SIMD: expected one of" in done.stderr
    assert f"got '{level}', which this" in done.stderr


@pytest.mark.parametrize("level", RUNNABLE)
def test_loops_at_every_runnable_level(level):
    """Every test marked simd passes at every level, whatever level this process is using."""
    done = run_python(
        *("-m", "pytest", "-q", "-m", "simd", "-p", "no:cacheprovider", str(TESTS)),
        level=level,
        cwd=TESTS.parent,
    )
    assert done.returncode == 0, done.stdout + done.stderr
