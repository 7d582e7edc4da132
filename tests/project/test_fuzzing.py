"""A slice of `make fuzz`: random networks, rows, images and sketches, and what is to be refused."""

import os
import subprocess
import sys

import numpy as np
import pytest

import nkfast as nk
from fuzzing import cases
from fuzzing.draw import Draw
from nkfast import _core
from places import TESTS

SEED = 1
AT_A_TIME = 60


@pytest.mark.parametrize("first", range(0, 9 * AT_A_TIME, AT_A_TIME))
def test_random_calls(first):
    found = [cases.run(SEED, case) for case in range(first, first + AT_A_TIME)]
    wrong = [outcome.wrong for outcome in found if outcome.wrong]
    assert not wrong, "\n\n".join(wrong)
    made = sum(sum(outcome.calls.values()) for outcome in found)
    refused = sum(outcome.calls["refused"] for outcome in found)
    assert refused < 0.02 * made


def test_a_case_is_made_from_its_numbers_alone():
    for case in range(12):
        first, second = cases.run(SEED, case), cases.run(SEED, case)
        assert first.calls.notes == second.calls.notes
        assert dict(first.calls) == dict(second.calls)
        assert first.calls.bits.digest() == second.calls.bits.digest()
    assert not np.array_equal(Draw(1, 2).rng.random(3), Draw(2, 1).rng.random(3))


def test_what_does_not_hold_is_found_and_said(monkeypatch):
    """A kernel that is off by a few units of the ninth digit."""
    right = nk.Sequential.kernel

    def wrong(self, X, Z=None, *args, **options):
        found = right(self, X, Z, *args, **options)
        if Z is not None and isinstance(found, tuple):
            found.nngp[...] *= 1 + 5e-9
        return found

    monkeypatch.setattr(nk.Sequential, "kernel", wrong)
    found = [cases.run(SEED, case).wrong for case in range(40)]
    assert any("nngp" in line for line in found)
    line = next(line for line in found if line)
    assert f"cd tests && python -m fuzzing --seed {SEED} --case" in line


def test_sketches_have_the_same_bits_at_every_level():
    def digest(level):
        done = subprocess.run(
            [sys.executable, "-m", "fuzzing", "--seed", str(SEED), "--cases", "40", "--bits"],
            env={**os.environ, "NKFAST_SIMD": level},
            cwd=TESTS,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    assert len({digest(level) for level in _core.simd_levels()}) == 1


def test_a_crash_is_told_and_the_others_go_on(tmp_path):
    """A process that dies in a case is replaced."""
    program = (
        "from crash import work\n"
        "from fuzzing.campaign import campaign\n"
        "if __name__ == '__main__':\n"
        "    for result in campaign(1, 3, 1, work=work):\n"
        "        print(result.case, 'crash' in result.wrong)\n"
    )
    work = (
        "import os\n"
        "from fuzzing.campaign import Result\n"
        "def work(seed, case):\n"
        "    if case == 1: os.kill(os.getpid(), 11)\n"
        "    return Result(case, {}, '', 0.0)\n"
    )
    (tmp_path / "crash.py").write_text(work)
    (tmp_path / "main.py").write_text(program)
    path = os.pathsep.join([str(tmp_path), str(TESTS)])
    done = subprocess.run(
        [sys.executable, str(tmp_path / "main.py")],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    told = dict(line.split() for line in done.stdout.splitlines())
    assert told == {str(case): str(case == 1) for case in range(3)}
