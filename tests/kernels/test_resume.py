"""Long kernel computations: progress, and going on where an interrupted one stopped."""

import io
import json
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

import nkfast as nk
from nkfast.kernels import _exact

RNG = np.random.default_rng(0)
CONV = nk.Sequential(nk.Conv(), nk.ReLU(), nk.AvgPool((2, 2)), nk.Conv(), nk.ReLU(), nk.Flatten())
CASES = {
    "rows": (nk.mlp(2), RNG.standard_normal((40, 5)), RNG.standard_normal((30, 5))),
    "CSR": (nk.mlp(2), sp.random(40, 30, density=0.2, random_state=RNG, format="csr"), None),
    "images": (CONV, RNG.standard_normal((40, 6, 6, 2)), RNG.standard_normal((30, 6, 6, 2))),
}
CASES["symmetric rows"] = (*CASES["rows"][:2], None)
CASES["symmetric images"] = (*CASES["images"][:2], None)


class StopError(Exception):
    pass


PLAIN = {cls: cls.fill for cls in (_exact.RowPairs, _exact.ImagePairs)}


class Counter:
    """Counts blocks, and stops the work before one."""

    def __init__(self, most):
        self.most, self.n = most, 0

    def counted(self, plain):
        def fill(*arguments):
            if self.n == self.most:
                raise StopError
            self.n += 1
            return plain(*arguments)

        return fill


@pytest.fixture
def stopper(monkeypatch):
    def make(most=10**9):
        counter = Counter(most)
        for cls, plain in PLAIN.items():
            monkeypatch.setattr(cls, "fill", counter.counted(plain))
        return counter

    return make


@pytest.mark.parametrize("case", CASES)
def test_goes_on_where_it_stopped(case, stopper, tmp_path):
    net, X, Z = CASES[case]
    whole = net.kernel(X, Z)
    n, m = whole.ntk.shape
    path = tmp_path / "journal"
    out = [np.memmap(tmp_path / name, np.float64, "w+", shape=(n, m)) for name in ("a", "b")]
    run = partial(net.kernel, X, Z, out=out, block=10, resume=path)
    n_blocks = 4 + 6 if Z is None else 4 * 3
    stopper(3)
    with pytest.raises(StopError):
        run()
    assert len(path.read_text().splitlines()) == 1 + 3
    # In another process the file is opened again.
    out[:] = [np.memmap(tmp_path / name, np.float64, "r+", shape=(n, m)) for name in ("a", "b")]
    stopper(2)
    with pytest.raises(StopError):
        run()
    left = stopper()
    found = run()
    assert left.n == n_blocks - 5
    for a, b in zip(found, whole, strict=True):
        assert_allclose(a, b, rtol=1e-12)
    finished = stopper(0)
    run()
    assert finished.n == 0


def test_changed_blocks_are_computed_anew(stopper, tmp_path):
    net, X, Z = CASES["rows"]
    out = np.zeros((40, 30))
    run = partial(net.ntk, X, Z, out=out, block=10, resume=tmp_path / "journal")
    run()
    whole = out.copy()
    out[25, 11] += 1e-9
    counter = stopper()
    run()
    assert counter.n == 1
    assert_array_equal(out, whole)
    out[:] = 0
    run()
    assert counter.n == 1 + 12
    assert_array_equal(out, whole)


def test_mirrored_blocks_are_checked_too(stopper, tmp_path):
    net, X, _ = CASES["rows"]
    out = np.zeros((40, 40))
    run = partial(net.ntk, X, out=out, block=10, resume=tmp_path / "journal")
    run()
    out[35, 1] += 1e-9
    counter = stopper()
    run()
    assert counter.n == 1
    assert_array_equal(out, out.T)


def test_torn_line(stopper, tmp_path):
    net, X, Z = CASES["rows"]
    out, path = np.zeros((40, 30)), tmp_path / "journal"
    run = partial(net.ntk, X, Z, out=out, block=10, resume=path)
    run()
    path.write_text(path.read_text()[:-5])
    counter = stopper()
    run()
    assert counter.n == 1
    run()
    assert counter.n == 1


def shifted(x):
    return np.tanh(x) + 1


def steep(x):
    return np.tanh(x) + 2


shifted.__name__ = steep.__name__ = "function"


class WriteOnly:
    shape, dtype = (40, 30), np.dtype(float)

    def __setitem__(self, index, value):
        pass


def test_journal_of_another_computation_is_refused(tmp_path):
    net, X, Z = CASES["rows"]
    out, path = np.zeros((40, 30)), tmp_path / "journal"
    run = partial(net.ntk, X, Z, out=out, block=10, resume=path)
    run()
    for changes, what in (
        ({"X": X + 1}, "X"),
        ({"Z": Z[::-1]}, "Z"),
        ({"block": 5}, "block"),
        ({"out": out.astype(np.float32)}, "dtypes"),
    ):
        arguments = {"X": X, "Z": Z, "out": out, "block": 10, **changes}
        with pytest.raises(ValueError, match=f"resume: .* another computation: .* same {what};"):
            net.ntk(**arguments, resume=path)
    with pytest.raises(ValueError, match="expected the same network"):
        nk.mlp(2, b_std=0.1).ntk(X, Z, out=out, block=10, resume=path)
    with pytest.raises(ValueError, match="expected the same get"):
        net.nngp(X, Z, out=out, block=10, resume=path)
    with pytest.raises(ValueError, match=r"resume: expected out, .* got None"):
        net.ntk(X, Z, resume=path)
    with pytest.raises(TypeError, match="resume: expected an out that can be read as well, got Wr"):
        net.ntk(X, Z, out=WriteOnly(), resume=path)
    path.write_text("something else\n")
    with pytest.raises(ValueError, match=r"resume: expected a journal of nkfast in .*journal"):
        run()


def test_functions_are_told_apart_by_their_values(tmp_path):
    X, out, path = np.eye(3), np.zeros((3, 3)), tmp_path / "journal"
    nk.mlp(1, nk.Elementwise(shifted)).ntk(X, out=out, resume=path)
    assert " at 0x" not in path.read_text()
    nk.mlp(1, nk.Elementwise(shifted)).ntk(X, out=out, resume=path)
    with pytest.raises(ValueError, match="expected the same network"):
        nk.mlp(1, nk.Elementwise(steep)).ntk(X, out=out, resume=path)


KILLED = """
import os, sys, numpy as np, nkfast as nk
from nkfast.kernels import _journal
_journal._SYNC_SECONDS = 0.0
folder = sys.argv[1]
X = np.random.default_rng(0).standard_normal((30, 8, 8, 3)).astype(np.float32)
out = np.lib.format.open_memmap(folder + "/k.npy", "r+")
def progress(done, total):
    if sys.argv[2] == "kill" and done > total / 2:
        os._exit(3)
    if sys.argv[2] == "go on" and done == 0:
        print("begin", flush=True)
nk.myrtle(5).ntk(X, out=out, block=8, resume=folder + "/journal", progress=progress)
"""


def test_killed_process(tmp_path, stopper):
    np.save(tmp_path / "k.npy", np.zeros((30, 30), np.float32))
    for how, code in (("kill", 3), ("go on", 0)):
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(tmp_path), how],
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == code, done.stderr
        lines = (tmp_path / "journal").read_text().splitlines()
        assert (len(lines) == 1 + 10) == (how == "go on")
        assert len(lines) > 4
        assert json.loads(lines[0])["get"] == ["ntk"]
    X = np.random.default_rng(0).standard_normal((30, 8, 8, 3)).astype(np.float32)
    assert_allclose(np.load(tmp_path / "k.npy"), nk.myrtle(5).ntk(X), rtol=1e-6)


# --- files by their names ---


@pytest.mark.parametrize("case", CASES)
def test_into_files(case, stopper, tmp_path):
    net, X, Z = CASES[case]
    whole = net.kernel(X, Z, block=10)
    paths = [tmp_path / "nngp.npy", str(tmp_path / "ntk.npy")]
    for _ in range(2):  # a file that is there is replaced
        found = net.kernel(X, Z, out=paths, block=10)
        for a, b, path in zip(found, whole, paths, strict=True):
            assert isinstance(a, np.memmap)
            assert_array_equal(a, b)
            assert_array_equal(np.load(path), b)
    path, journal = tmp_path / "resumed", tmp_path / "journal"
    for n_blocks in (2, 2, 100):
        stopper(n_blocks)
        try:
            net.ntk(X, Z, out=path, block=10, resume=journal)
        except StopError:
            assert n_blocks == 2
    assert_array_equal(np.load(path), whole.ntk)
    assert {p.name for p in tmp_path.iterdir()} == {"nngp.npy", "ntk.npy", "resumed", "journal"}


def test_a_file_appears_when_it_is_whole(stopper, tmp_path):
    net, X, Z = CASES["rows"]
    path = tmp_path / "ntk.npy"
    path.write_text("older")
    stopper(2)
    with pytest.raises(StopError):
        net.ntk(X, Z, out=path, block=10)
    assert path.read_text() == "older"
    assert [path] == [*tmp_path.iterdir()]
    with pytest.raises(ValueError, match=r"out: expected a \.npy file in .*ntk\.npy"):
        net.ntk(X, Z, out=path, block=10, resume=tmp_path / "journal")
    np.save(path, np.zeros((3, 3)))
    with pytest.raises(ValueError, match=r"out: expected shape \(40, 30\), got \(3, 3\)"):
        net.ntk(X, Z, out=path, block=10, resume=tmp_path / "journal")
    with pytest.raises(ValueError, match=r"out: expected a file for each of .* twice"):
        net.kernel(X, Z, out=(path, str(path)))
    with pytest.raises(FileNotFoundError, match=str(tmp_path / "no" / "ntk")):
        net.ntk(X, Z, out=tmp_path / "no" / "ntk")
    stopper()
    single = X.astype(np.float32)
    assert net.ntk(single, out=path).dtype == np.load(path).dtype == np.float32


def test_no_rows_into_a_file(tmp_path):
    found = nk.mlp(1).ntk(np.zeros((0, 3)), np.zeros((2, 3)), out=tmp_path / "k")
    assert found.shape == np.load(tmp_path / "k").shape == (0, 2)


# --- progress ---


@pytest.mark.parametrize("case", CASES)
def test_progress_function(case):
    net, X, Z = CASES[case]
    calls = []
    net.ntk(X, Z, block=16, progress=lambda *args: calls.append(args))
    total = 40 * 41 // 2 if Z is None else 40 * 30
    assert calls[0] == (0, total)
    assert calls[-1] == (total, total)
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})
    assert len(calls) == 1 + (6 if Z is None else 3 * 2)


@pytest.mark.parametrize("tqdm", [True, False])
def test_progress_bar(tqdm, monkeypatch):
    if tqdm:
        pytest.importorskip("tqdm")
    else:
        monkeypatch.setattr("nkfast._progress.find_spec", lambda name: None)
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    net, X, Z = CASES["rows"]
    assert_array_equal(net.ntk(X, Z, block=16, progress=True), net.ntk(X, Z, block=16))
    written = stream.getvalue()
    if tqdm:
        assert written.startswith("\rexact kernel:   0%")
        assert written.rpartition("\r")[2].startswith("exact kernel: 100%")
    else:
        assert written == "exact kernel ...\n"
    net.ntk(X, Z, progress=False)
    assert stream.getvalue() == written
    with pytest.raises(TypeError, match="progress: expected True, False or a function"):
        net.ntk(X, Z, progress="yes")


def test_interrupted_progress_function():
    net, X, Z = CASES["rows"]

    def interrupt(done, total):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        net.ntk(X, Z, block=16, progress=interrupt)
