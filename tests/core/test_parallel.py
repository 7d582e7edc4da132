"""csrc/parallel.hpp, through small C++ programs."""

import shutil
import subprocess

import pytest

from places import ROOT

COMPILER = shutil.which("c++")


@pytest.mark.skipif(COMPILER is None, reason="needs a C++ compiler")
@pytest.mark.parametrize("name", ["test_parallel", "test_races"])
def test_parallel_for(tmp_path, name):
    program = tmp_path / name
    source = ROOT / "tests" / "cpp" / f"{name}.cpp"
    flags = ["-std=c++20", "-O1", "-Wall", "-Wextra", "-pthread", "-ldl", f"-I{ROOT / 'csrc'}"]
    subprocess.run([COMPILER, *flags, str(source), "-o", str(program)], check=True)
    done = subprocess.run([str(program)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
