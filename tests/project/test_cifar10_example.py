"""examples/cifar10_cntk.py reads every form of CIFAR-10, and learns from images made here."""

import pickle
import runpy
import struct
import tarfile
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import nkfast as nk
from places import ROOT

EXAMPLE = runpy.run_path(str(ROOT / "examples" / "cifar10_cntk.py"))
main, load = EXAMPLE["main"], EXAMPLE["load"]
SMALL = ["--components", "64", "--block", "13"]


def bars(n, size=32, seed=0):
    """Noisy images with a bright bar, whose direction and colour are the class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 6, n)
    x = rng.integers(0, 60, (n, size, size, 3))
    for image, label in zip(x, labels, strict=True):
        at = rng.integers(1, size - 2)
        part = image[at : at + 2] if label % 2 else image[:, at : at + 2]
        part[..., label // 2] += 190
    return x.astype(np.uint8), labels.astype(np.uint8)


def rows(x):
    return x.transpose(0, 3, 1, 2).reshape(len(x), -1)


class Python2Pickler(pickle._Pickler):
    """Writes bytes as the str of Python 2, of which the distributed files are made."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_str_of_python2(self, value):
        self.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)
        self.memoize(value)

    dispatch[bytes] = save_str_of_python2


def write_pickles(folder, train, test, protocol):
    for i, (x, y) in enumerate(train, 1):
        write_pickle(folder / f"data_batch_{i}", x, y, protocol)
    write_pickle(folder / "test_batch", *test, protocol)


def write_pickle(path, x, y, protocol):
    content = {b"batch_label": b"testing", b"labels": y.tolist(), b"data": rows(x)}
    with path.open("wb") as file:
        if protocol is None:
            Python2Pickler(file, 2, fix_imports=True).dump(content)
        else:
            pickle.dump(content, file, protocol)


def write_binaries(folder, train, test):
    names = [f"data_batch_{i}.bin" for i in range(1, len(train) + 1)] + ["test_batch.bin"]
    for name, (x, y) in zip(names, [*train, test], strict=True):
        (folder / name).write_bytes(np.concatenate([y[:, None], rows(x)], axis=1).tobytes())


TRAIN = [bars(3, seed=i) for i in range(5)]
TEST = bars(4, seed=9)


def check_loaded(path, batches=5):
    (x, y), (x_test, y_test) = load(path)
    assert_array_equal(x, np.concatenate([x for x, _ in TRAIN[:batches]]))
    assert_array_equal(y, np.concatenate([y for _, y in TRAIN[:batches]]))
    assert_array_equal(x_test, TEST[0])
    assert_array_equal(y_test, TEST[1])
    assert x.dtype == np.uint8


@pytest.mark.parametrize("protocol", [None, 2, 4, 5])
def test_pickles(tmp_path, protocol):
    write_pickles(tmp_path, TRAIN, TEST, protocol)
    check_loaded(tmp_path)
    with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz") as archive:
        archive.add(tmp_path, "cifar-10-batches-py", filter=lambda m: m if m.size < 2e4 else None)
    check_loaded(tmp_path / "cifar-10-python.tar.gz")


def test_binary_files(tmp_path):
    write_binaries(tmp_path, TRAIN, TEST)
    check_loaded(tmp_path)
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz") as archive:
        for path in sorted(tmp_path.glob("*.bin")):
            archive.add(path, f"cifar-10-batches-bin/{path.name}")
    check_loaded(tmp_path / "cifar-10-binary.tar.gz")
    (tmp_path / "data_batch_5.bin").unlink()
    check_loaded(tmp_path, batches=4)


def test_npz(tmp_path):
    x, y = (np.concatenate(parts) for parts in zip(*TRAIN, strict=True))
    np.savez(tmp_path / "a.npz", x_train=x, y_train=y, x_test=TEST[0], y_test=TEST[1])
    check_loaded(tmp_path / "a.npz")
    columns = {"y_train": y[:, None], "y_test": TEST[1][:, None]}
    np.savez(tmp_path / "b.npz", X_train=x, X_test=TEST[0], **columns)
    check_loaded(tmp_path / "b.npz")


class Evil:
    def __reduce__(self):
        return print, ("this runs",)


@pytest.mark.parametrize("evil", [Evil(), np.array([Evil()]), np.random.default_rng(0), Path()])
def test_a_pickle_cannot_run_code(tmp_path, evil, capsys):
    write_pickles(tmp_path, TRAIN, TEST, 2)
    (tmp_path / "data_batch_2").write_bytes(pickle.dumps({"data": evil, "labels": [1]}))
    with pytest.raises(pickle.UnpicklingError, match="expected a pickle of arrays, got one of"):
        load(tmp_path)
    assert capsys.readouterr().out == ""


def test_it_says_which_data_it_takes(tmp_path):
    with pytest.raises(SystemExit, match=r"no PATH given[^$]*data_batch_1\.bin"):
        main([])
    with pytest.raises(SystemExit, match=r"there is no [^$]*nowhere[^$]*x_train"):
        main([str(tmp_path / "nowhere")])
    with pytest.raises(SystemExit, match=r"no data_batch_1 or no test_batch[^$]*data_batch_1"):
        main([str(tmp_path)])
    (tmp_path / "images.txt").write_text("no archive")
    with pytest.raises(SystemExit, match=r"neither a folder nor an archive[^$]*data_batch_1"):
        main([str(tmp_path / "images.txt")])
    np.savez(tmp_path / "images.npz", x=np.zeros(3))
    with pytest.raises(SystemExit, match=r"holds \['x'\][^$]*x_train"):
        main([str(tmp_path / "images.npz")])
    write_binaries(tmp_path, TRAIN, TEST)
    (tmp_path / "test_batch.bin").unlink()
    with pytest.raises(SystemExit, match="no data_batch_1 or no test_batch"):
        main([str(tmp_path)])


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """An archive of 8 x 8 images."""
    path = tmp_path_factory.mktemp("cifar") / "bars.npz"
    (x, y), (x_test, y_test) = bars(160, 8), bars(60, 8, seed=1)
    np.savez(path, x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    return str(path)


def test_report(small, capsys):
    options = ["--network", "myrtle5", "--kernel-subset", "50", "--n-train", "150"]
    found = main([small, *SMALL, *options])
    assert found["accuracy"] > 0.5  # 1 / 6 by chance
    assert found["exact kernel"] > 0.3
    pair, image = found["exact kernel, predict"] / 2500, found["features, predict"] / 50
    ratio = pair * (50_000 * 50_001 / 2 + 10_000 * 50_000) / (image * 60_000)
    assert found["ratio"] == pytest.approx(ratio)
    printed = capsys.readouterr().out
    assert "150 training and 60 test images of shape (8, 8, 3)" in printed
    assert f"test accuracy {found['accuracy']:.4f} +- {found['error']:.4f} (60 images)" in printed
    assert f"= {found['ratio']:.0f}\n" in printed
    assert found["peak"] > 0.05


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--flips", "double"],
        ["--flips", "average", "--learner", "kernel"],
        ["--flips", "average", "--dtype", "float32"],
        ["--network", "myrtle7", "--activation", "gelu", "--flips", "double", "--no-contrast"],
        ["--network", "myrtle10", "--activation", "normgauss", "--kernel", "nngp"],
    ],
)
def test_options(small, options, capsys):
    found = main([small, *SMALL, *options])
    assert found["accuracy"] > 0.4
    printed = capsys.readouterr().out
    assert ("mirror images" in printed) == ("double" in options)
    assert "exact kernel" not in printed


def test_resumed(small, tmp_path, monkeypatch):
    """Killed between blocks, it goes on to the same bits; finished features are not made again."""
    options = [small, *SMALL, "--flips", "double"]
    whole = main([*options, "--resume", str(tmp_path / "whole")])
    transform, calls = nk.images.RandomPatches.transform, []

    def failing(self, X):
        calls.append(len(X))
        if len(calls) == 9:
            raise KeyboardInterrupt
        return transform(self, X)

    monkeypatch.setattr(nk.images.RandomPatches, "transform", failing)
    with pytest.raises(KeyboardInterrupt):
        main([*options, "--resume", str(tmp_path / "half")])
    again = main([*options, "--resume", str(tmp_path / "half")])
    assert again["accuracy"] == whole["accuracy"]
    for name in ("train.npy", "mirrored.npy", "test.npy"):
        one, other = (np.load(tmp_path / which / name) for which in ("whole", "half"))
        assert_array_equal(one, other)
    before = len(calls)
    main([*options, "--resume", str(tmp_path / "half")])
    assert len(calls) == before
    with pytest.raises(SystemExit, match="holds features of other settings"):
        main([*options, "--seed", "1", "--resume", str(tmp_path / "half")])
    x, y = bars(160, 8, seed=5)
    np.savez(tmp_path / "others.npz", x_train=x, y_train=y, x_test=x[:60], y_test=y[:60])
    with pytest.raises(SystemExit, match="holds features of other settings or images"):
        main([str(tmp_path / "others.npz"), *options[1:], "--resume", str(tmp_path / "half")])
    with pytest.raises(SystemExit, match="--kernel-subset is for Myrtle networks"):
        main([small, "--kernel-subset", "20"])
