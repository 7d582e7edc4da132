"""Features in files: the same numbers, however they are interrupted, and clear errors."""

import errno
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import nkfast as nk

RNG = np.random.default_rng(0)
X = RNG.standard_normal((300, 6))
PHI = nk.NTKFeatures(nk.mlp(2), 40, random_state=0).fit(X)


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", None])
def test_features_are_those_of_transform(tmp_path, dtype, resume):
    path = tmp_path / "Z.npy"
    path.write_text("an old file")
    Z = nk.write_features(path, PHI, X, dtype=dtype, block_size=70, resume=resume)
    assert isinstance(Z, np.memmap)
    assert Z.dtype == (dtype or "float64")
    assert_array_equal(Z, PHI.transform(X).astype(dtype or float))
    assert_array_equal(np.load(path), Z)
    assert [file.name for file in tmp_path.iterdir()] == ["Z.npy"]


def test_csr_float32_pipelines_images_and_no_rows(tmp_path):
    path = tmp_path / "Z.npy"
    S = sp.random(50, 100, density=0.1, format="csr", random_state=0, dtype=np.float32)
    phi = nk.NTKFeatures(n_components=16, random_state=0).fit(S)
    Z = nk.write_features(path, phi, S, block_size=7)
    assert Z.dtype == np.float32
    assert_array_equal(Z, phi.transform(S))
    pipeline = make_pipeline(StandardScaler(), nk.NTKFeatures(n_components=16, random_state=0))
    pipeline.set_output(transform="pandas").fit(X)
    assert_array_equal(nk.write_features(path, pipeline, X, block_size=99), pipeline.transform(X))
    images = RNG.standard_normal((9, 8, 8, 3)).astype(np.float32)
    phi = nk.NTKFeatures(nk.Sequential(nk.Conv(), nk.ReLU(), nk.GlobalAvgPool()), 32)
    phi = nk.images.FlipAverage(phi).fit(images)
    assert_array_equal(nk.write_features(path, phi, images, block_size=4), phi.transform(images))
    assert nk.write_features(path, PHI, X[:0], resume=True).shape == (0, 40)


class StopHereError(Exception):
    """Comes after some rows."""


def test_an_interrupted_call_goes_on(tmp_path):
    path, seen = tmp_path / "Z.npy", []

    class Counting:
        def transform(self, rows):
            seen.append(len(rows))
            return PHI.transform(rows)

    def stop(done, total):
        assert total == 300
        if done >= 150:
            raise StopHereError

    arguments = {"block_size": 50, "resume": True}
    with pytest.raises(StopHereError):
        nk.write_features(path, Counting(), X, progress=stop, **arguments)
    assert seen == [4, 50, 50, 50]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["Z.npy.journal", "Z.npy.part"]
    with (tmp_path / "Z.npy.part").open("r+b") as file:  # of the second block: written anew
        file.seek(128 + 60 * 40 * 8)
        file.write(b"damaged")
    for change in ({"block_size": 60}, {"dtype": "float16"}):
        with pytest.raises(ValueError, match="journal of another computation: expected the same"):
            nk.write_features(path, Counting(), X, **arguments | change)
    with pytest.raises(ValueError, match="expected the same X"):
        nk.write_features(path, Counting(), X + 0.1, **arguments)
    other = nk.NTKFeatures(nk.mlp(2), 40, random_state=1).fit(X)
    with pytest.raises(ValueError, match="expected the same features"):
        nk.write_features(path, other, X, **arguments)
    seen.clear()
    Z = nk.write_features(path, Counting(), X, **arguments)
    assert seen == [4, 50, 50, 50, 50]
    assert_array_equal(Z, PHI.transform(X))
    assert [file.name for file in tmp_path.iterdir()] == ["Z.npy"]


KILLED = """
import os, signal, sys
import numpy as np, nkfast as nk
X = np.random.default_rng(0).standard_normal((400, 6))
phi = nk.NTKFeatures(nk.mlp(2), 40, random_state=0).fit(X)
kill = int(sys.argv[2])
def report(done, total):
    if done >= kill:
        os.kill(os.getpid(), signal.SIGKILL)
nk.write_features(sys.argv[1], phi, X, block_size=16, resume=True, progress=report)
"""


def test_a_killed_process_leaves_what_the_next_goes_on_from(tmp_path):
    for kill in (40, 200, 390, 401):
        command = [sys.executable, "-c", KILLED, str(tmp_path / "Z.npy"), str(kill)]
        done = subprocess.run(command, check=False)
        assert done.returncode == (0 if kill > 400 else -signal.SIGKILL)
    rows = np.random.default_rng(0).standard_normal((400, 6))
    phi = nk.NTKFeatures(nk.mlp(2), 40, random_state=0).fit(rows)
    assert_array_equal(np.load(tmp_path / "Z.npy"), phi.transform(rows))


def test_what_cannot_be(tmp_path, monkeypatch):
    path = tmp_path / "Z.npy"
    with pytest.raises(ValueError, match=r"dtype: expected one of .*, got 'int8'"):
        nk.write_features(path, PHI, X, dtype="int8")
    with pytest.raises(ValueError, match="dtype: expected one that holds the features"):
        nk.write_features(path, PHI, 1e6 * X, dtype="float16")
    with pytest.raises(ValueError, match="dtype: expected one that holds the features"):
        nk.write_features(path, PHI, 1e-8 * X, dtype="float16")
    with pytest.raises(TypeError, match="resume: expected True or False, got 'yes'"):
        nk.write_features(path, PHI, X, resume="yes")
    with pytest.raises(ValueError, match="block_size: expected an integer >= 1, got 0"):
        nk.write_features(path, PHI, X, block_size=0)
    with pytest.raises(IsADirectoryError):
        nk.write_features(tmp_path, PHI, X, resume=True)
    with pytest.raises(FileNotFoundError):
        nk.write_features(tmp_path / "none" / "Z.npy", PHI, X, resume=True)
    assert list(tmp_path.iterdir()) == []

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*Z\.npy'"):
        nk.write_features(path, PHI, X)
    assert list(tmp_path.iterdir()) == []


# --- learners that read them ---


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_learners_of_features_that_are_given(tmp_path, dtype):
    y = X[:, 0] * X[:, 1]
    Z = nk.write_features(tmp_path / "Z.npy", PHI, X, dtype=dtype)
    wide = np.asarray(Z, float)
    model = nk.NTKRegressor(features="precomputed", alpha=0.1).fit(Z, y)
    ridge = Ridge(alpha=0.1).fit(wide, y)
    assert_allclose(model.predict(Z), ridge.predict(wide), rtol=1e-3, atol=1e-4)
    assert_allclose(model.coef_, ridge.coef_, rtol=1e-4, atol=1e-5)
    parts = [(Z[i : i + 64], y[i : i + 64]) for i in range(0, 300, 64)]
    learner = nk.NTKRegressor(features="precomputed", random_state=0)
    for resume in (None, tmp_path / "sums.npz"):
        stream = learner.fit_blocks(iter(parts), resume=resume)
        assert_allclose(stream.coef_, learner.fit(wide, y).coef_, rtol=1e-3, atol=1e-4)
    classes = y > 0
    classifier = nk.NTKClassifier(features="precomputed").fit(Z, classes)
    assert classifier.score(Z, classes) > 0.8
    nk.save(classifier, tmp_path / "model.skops")
    again = nk.load(tmp_path / "model.skops")
    assert_array_equal(again.predict_proba(Z), classifier.predict_proba(Z))
    with pytest.raises(ValueError, match="X has 39 features, but NTKClassifier is expecting 40"):
        classifier.predict(Z[:, :39])


@pytest.mark.filterwarnings("error")
def test_given_features_may_differ_in_scale():
    """As those of a feature map do; of rows, columns that hardly count are warned of."""
    wide = X * np.logspace(0, 6, X.shape[1])
    y = X[:, 0]
    nk.NTKRegressor(features="precomputed").fit(wide, y)
    nk.NTKRegressor(features="precomputed").partial_fit(wide, y)
    with pytest.raises(UserWarning, match="X: expected columns of like scale"):
        nk.NTKRegressor(n_components=32, random_state=0).fit(wide, y)


def test_only_that_word():
    with pytest.raises(ValueError, match=r"features: expected one of \('precomputed',\)"):
        nk.NTKRegressor(features="precompute").fit(X, X[:, 0])
    with pytest.raises(ValueError, match="net: expected None beside features"):
        nk.NTKRegressor(nk.mlp(), features="precomputed").fit(X, X[:, 0])
