"""Rows in memory-mapped files: memory that does not grow with the file."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from nkfast._arrays.mapped import file_map, pieces, release, take


@pytest.fixture
def path(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(4_000_000.0).reshape(-1, 40))
    return tmp_path / "x.npy"


def test_which_arrays_map_a_file(path):
    X = np.load(path, mmap_mode="r")
    assert file_map(X) is file_map(X[5:]) is file_map(np.asarray(X)[:, 3]) is not None
    assert file_map(np.load(path, mmap_mode="r+")) is not None
    assert file_map(np.load(path, mmap_mode="c")) is None  # what is changed is nowhere else
    assert file_map(np.array(X)) is file_map(X + 1) is file_map(None) is None


def test_what_is_given_back_can_be_read_again_and_keeps_changes(path):
    X = np.load(path, mmap_mode="r+")
    before = X.copy()
    X[7] = -1.0
    release(X, None, np.ones(3))
    before[7] = -1.0
    assert_array_equal(X, before)


def test_rows_of_a_map(path):
    X = np.load(path, mmap_mode="r")
    rows = np.random.default_rng(0).permutation(len(X))[:100]
    taken = take(X, rows)
    assert_array_equal(taken, np.array(X)[rows])
    assert file_map(taken) is None
    assert_array_equal(take(np.array(X), rows), taken)


def test_pieces_are_the_array(path, monkeypatch):
    monkeypatch.setattr("nkfast._arrays.mapped._BLOCK_BYTES", 1 << 20)
    X = np.load(path, mmap_mode="r")
    parts = list(pieces(X))
    assert len(parts) > 20
    assert_array_equal(np.concatenate(parts), X)
    assert len(list(pieces(np.array(X)))) == 1


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_a_learner_does_not_hold_the_file_it_reads(tmp_path):
    """640 MB of rows, mostly a hole on the disk: the process grows by less than half of them."""
    X = np.lib.format.open_memmap(
        tmp_path / "x.npy", mode="w+", dtype=np.float32, shape=(800_000, 200)
    )
    X[::10_000] = 1.0
    X.flush()
    program = """
import numpy as np, sys
import nkfast as nk
def peak():
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1024
X = np.load(sys.argv[1], mmap_mode="r")
y = np.arange(len(X)) % 7.0
model = nk.NTKRegressor(nk.mlp(1), 32, random_state=0, block_size=1 << 14)
model.fit(X[:50000], y[:50000])
before = peak()
model.fit(X, y).predict(X)
print(peak() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "x.npy")],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
    )
    assert float(done.stdout) < 300
