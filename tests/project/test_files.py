"""Files are written aside and renamed: whatever goes wrong, there is the old one or the new one."""

import errno
import os
import resource
import signal
import stat
import subprocess
import sys

import numpy as np
import pytest

import nkfast as nk
from learners import regression
from nkfast import cli
from nkfast._arrays.files import written_aside
from places import TESTS


def test_the_file_is_there_when_it_is_whole(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o640)
    with written_aside(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
        assert part.parent == tmp_path
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [path] == [*tmp_path.iterdir()]


def test_after_an_error_the_old_one_is_as_it_was(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def fail(error):
        with written_aside(path) as part:
            part.write_text("half")
            raise error

    for error in (ValueError, KeyboardInterrupt, OSError):
        with pytest.raises(error):
            fail(error)
    assert path.read_text() == "old"
    assert [path] == [*tmp_path.iterdir()]


def test_a_link_stays_one(tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    link.symlink_to(real)
    with written_aside(link) as part:
        part.write_text("new")
    assert link.is_symlink()
    assert real.read_text() == "new"


def test_devices_are_written_to():
    with written_aside("/dev/null") as part:
        part.write_text("gone")
    with pytest.raises(OSError, match="/dev/full") as info, written_aside("/dev/full") as part:
        part.write_text("no space")
    assert info.value.errno == errno.ENOSPC


def test_paths_that_cannot_be_written(tmp_path):
    for path in (tmp_path, tmp_path / "no" / "file"):
        with pytest.raises(OSError, match=str(path)), written_aside(path):
            pass
    if os.geteuid():
        path = tmp_path / "file"
        path.write_text("old")
        path.chmod(0o400)
        with pytest.raises(PermissionError, match=str(path)), written_aside(path):
            pass
        tmp_path.chmod(0o500)
        path.chmod(0o600)
        with pytest.raises(PermissionError, match=str(path)), written_aside(path):
            pass
        tmp_path.chmod(0o700)
    assert not [*tmp_path.glob("*.part")]


def test_leftovers_are_removed_but_not_what_others_write(tmp_path):
    path = tmp_path / "file"
    left, other = tmp_path / "file.0123abcd.part", tmp_path / "file.part"
    left.write_text("half")
    other.write_text("somebody's")
    with written_aside(path) as outer:
        assert not left.exists()
        outer.write_text("first")
        with written_aside(path) as inner:
            assert outer.exists()
            inner.write_text("second")
        assert path.read_text() == "second"
    assert path.read_text() == "first"
    assert {path, other} == {*tmp_path.iterdir()}


# --- whatever writes a file, on a full disk ---

X, y = regression(n=60)
BIG = 1 << 16
WRITERS = (
    "kernel", "resumed", "save", "fit_blocks", "nkfast fit", "nkfast fit, joblib",
    "nkfast features",
)  # fmt: skip


def full(folder):
    """Return by name what writes a file `old` of more than 64 kB, and that file."""
    rows = folder / "rows.npz"
    np.savez(rows, X=np.tile(X, (20, 1)), y=np.tile(y, 20))
    old = folder / "old"
    many = ["--components", "128", "--quiet", "--block", "400"]
    model = nk.NTKRegressor(n_components=128, random_state=0)
    blocks = [(X, y), (X, y)]
    save = ["fit", str(rows), *many]
    features = ["features", str(rows), "--output", str(folder / "Z.npy"), *many]
    return {
        "kernel": lambda: nk.mlp(1).ntk(np.tile(X, (3, 1)), out=old),
        "resumed": lambda: nk.mlp(1).ntk(np.tile(X, (3, 1)), out=folder / "k", resume=folder / "j"),
        "save": lambda: nk.save(np.zeros(10_000), old),
        "fit_blocks": lambda: model.fit_blocks(blocks, resume=folder / "sums"),
        "nkfast fit": lambda: cli.main([*save, "--output", str(old)]),
        "nkfast fit, joblib": lambda: cli.main([*save, "--output", str(old), "--format", "joblib"]),
        "nkfast features": lambda: cli.main(features),
    }


@pytest.fixture
def little_space():
    """Let no file grow beyond 64 kB: what is said then is like what a full disk says."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (BIG, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, ignored)


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk(name, tmp_path, little_space, capsys):
    old = tmp_path / "old"
    old.write_text("old")
    work = full(tmp_path)[name]
    before = {*tmp_path.iterdir()}
    little_space()
    if name.startswith("nkfast"):
        assert work() == cli.FAILED
        said = capsys.readouterr().err
    else:
        with pytest.raises(OSError, match="too large") as info:
            work()
        said = str(info.value)
    assert "File too large" in said
    assert str(tmp_path) in said
    assert ".part" not in said
    assert old.read_text() == "old"
    assert {*tmp_path.iterdir()} == before


def test_kills():
    """A few of the many of ``python tests/kills.py``."""
    command = [sys.executable, str(TESTS / "kills.py"), "--kills", "2", "--fixed", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("2 of 2 | 3 of 3") == 4
