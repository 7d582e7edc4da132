"""Model files: the same predictions, no code, and clear words about files that cannot be opened."""

import inspect
import json
import pickle
import re
import subprocess
import sys
import warnings
import zipfile
from functools import cache

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.special
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor
from sklearn.gaussian_process.kernels import WhiteKernel
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import nkfast as nk
import saved
from activation_cases import CASES
from learners import regression
from nkfast.activations import _WITHOUT_PARAMETERS

X, y = regression(n=40)
IMAGES = np.random.default_rng(0).random((8, 4, 4, 2))
CONV = nk.Sequential(nk.Conv((3, 3), b_std=0.1), nk.ReLU(), nk.GlobalAvgPool(), nk.Dense())
SEEDED = {"random_state": 0}

LARGE = ("features", "oversampled", "stream")  # and of a kind that others are

with warnings.catch_warnings():
    warnings.simplefilter("ignore", InconsistentVersionWarning)
    FITTED = {name: case[:3] for name, case in saved.load().items() if name not in LARGE}


class Shifted(TransformerMixin, BaseEstimator):
    """A transformer that is not nkfast's."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X + 1


def bent(x):
    return np.arctan(x)


MORE = (
    "GP", "GP classes", "CSR", "CSR matrix", "class weights", "class stream", "pipeline",
    "given features", "flips", "patches", "CountSketch", "OSNAP", "TensorSketch", "TensorSRHT",
)  # fmt: skip


@cache
def more():
    """Return by name an estimator, rows or images, and a method."""
    gp = 2.0 * nk.gp.NeuralKernel(nk.mlp(1, "erf")) + WhiteKernel()
    net, classes = nk.mlp(1), X[:, 0] > 0
    few = {"method": "nystroem", "random_state": np.random.RandomState(0)}
    weighted = nk.NTKClassifier(net, 16, class_weight={False: 1.0, True: 3.0}, **few)
    learner = nk.NTKRegressor(net, 16, **few)
    stream = nk.NTKClassifier(net, 8, **few).partial_fit(X, classes, [False, True])
    own = nk.NNGPFeatures(nk.mlp(1, nk.Elementwise(np.arctan)), 8)
    given = nk.NTKRegressor(features=own, **SEEDED)
    flips = nk.images.FlipAverage(nk.NTKFeatures(CONV, 8, **SEEDED))
    patches = nk.images.RandomPatches(5, 3, n_patches=50, **SEEDED)
    return {
        "GP": (GaussianProcessRegressor(gp, optimizer=None).fit(X, y), X, "predict"),
        "GP classes": (
            GaussianProcessClassifier(gp, optimizer=None).fit(X, classes),
            X,
            "predict_proba",
        ),
        "CSR": (nk.NTKRegressor(net, method="exact").fit(sp.csr_array(X), y), X, "predict"),
        "CSR matrix": (nk.NTKRegressor(net, 80, **few).fit(sp.csr_matrix(X), y), X, "predict"),
        "class weights": (weighted.fit(X, classes), X, "predict_proba"),
        "class stream": (stream, X, "predict_proba"),
        "pipeline": (make_pipeline(StandardScaler(), learner).fit(X, y), X, "predict"),
        "given features": (given.fit(X, y), X, "predict"),
        "flips": (flips.fit(IMAGES), IMAGES, "transform"),
        "patches": (patches.fit(IMAGES), IMAGES, "transform"),
        "CountSketch": (nk.sketch.CountSketch(4, **SEEDED).fit(X), X, "transform"),
        "OSNAP": (nk.sketch.OSNAP(8, **SEEDED).fit(X), X, "transform"),
        "TensorSketch": (nk.sketch.TensorSketch(2, 8, **SEEDED).fit(X), X, "transform"),
        "TensorSRHT": (nk.sketch.TensorSRHT(8, **SEEDED).fit(X), X, "transform"),
    }


UNFITTED = {
    "layers": [nk.Residual(nk.ReLU(), nk.Dense(0.5)), nk.AvgPool((2, 2)), nk.Flatten(), CONV],
    "recipes": [nk.mlp(2, nk.Sin(2.0), b_std=0.3), nk.myrtle(5, "gelu")],
    "activations": [kind() for kind in _WITHOUT_PARAMETERS],
    "functions": [nk.Elementwise(f) for f in (np.sin, scipy.special.erf, scipy.special.expit)],
    "learners": [
        nk.NTKRegressor(nk.mlp(3), alpha=0.5), nk.NTKClassifier(method="exact"),
        nk.Nystroem(CONV), nk.NTKFeatures(nk.mlp(2), "auto"), nk.images.ZCA(), nk.sketch.SRHT(8),
    ],
    "tuning": nk.tune_network(X, y, grid={"depth": [1, 2]}),
}  # fmt: skip


@pytest.fixture
def file(tmp_path):
    return tmp_path / "model.skops"


@pytest.mark.parametrize("name", [*FITTED, *MORE])
def test_the_same_predictions(name, file):
    estimator, data, method = (more() if name in MORE else FITTED)[name]
    expected = getattr(estimator, method)(data)
    nk.save(estimator, file)
    bytes_ = file.read_bytes()
    copy = nk.load(file)
    assert_array_equal(getattr(copy, method)(data), expected)
    nk.save(copy, file)
    # SciPy 1.11 reads a csr_array back as a csr_matrix.
    if name != "CSR" or hasattr(sp, "diags_array"):
        assert file.read_bytes() == bytes_


@pytest.mark.parametrize("name", UNFITTED)
def test_descriptions(name, file):
    nk.save(UNFITTED[name], file)
    assert repr(nk.load(file)) == repr(UNFITTED[name])


@pytest.mark.parametrize("name", CASES)
def test_activations(name, file):
    act = CASES[name][0]
    nk.save(act, file)
    functions = [f"activation_cases.{act.fn.__name__}"] if hasattr(act, "fn") else []
    if functions and getattr(act.fn, "__module__", None) == "activation_cases":
        with pytest.raises(ValueError, match=f"got {functions[0]}; if you trust"):
            nk.load(file)
    copy = nk.load(file, trusted=functions)
    x = np.linspace(-2, 2, 9)
    assert copy == act
    assert_array_equal(copy(x), act(x))


def test_every_public_class_was_tried():
    seen = set()

    def walk(thing):
        if isinstance(thing, (list, tuple)):
            for item in thing:
                walk(item)
        elif isinstance(thing, dict):
            walk(list(thing.values()))
        elif type(thing).__module__.startswith(("nkfast", "sklearn")) and id(thing) not in seen:
            seen.update((id(thing), type(thing)))
            walk(getattr(thing, "__dict__", {}))

    walk([FITTED, more(), UNFITTED, [case[0] for case in CASES.values()]])
    for module in (nk, nk.sketch, nk.images, nk.gp):
        for name in module.__all__:
            if inspect.isclass(getattr(module, name)):
                assert getattr(module, name) in seen, name


WITHOUT_PICKLE = """
import pickle, _pickle, sys
class Refused:
    dispatch = {}
    def __init__(self, *args, **kwargs):
        raise RuntimeError("pickle")
    load = __init__
for module in (pickle, _pickle):
    for name in ("load", "loads", "Unpickler", "_load", "_loads", "_Unpickler"):
        if hasattr(module, name):
            setattr(module, name, Refused)
import numpy as np, nkfast as nk
np.save(sys.argv[2], nk.load(sys.argv[1]).predict(np.load(sys.argv[3])))
try:
    pickle.loads(b"")
except RuntimeError:
    print("refused")
"""


def test_a_process_that_refuses_pickle_opens_it(file, tmp_path):
    estimator, data, _ = more()["pipeline"]
    nk.save(estimator, file)
    np.save(tmp_path / "X.npy", data)
    arguments = [str(file), str(tmp_path / "found.npy"), str(tmp_path / "X.npy")]
    command = [sys.executable, "-c", WITHOUT_PICKLE, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90)
    assert done.stdout == "refused\n", done.stderr
    assert_array_equal(np.load(tmp_path / "found.npy"), estimator.predict(data))


@pytest.mark.parametrize("path", sorted(saved.MODELS.glob("*.skops")), ids=lambda path: path.stem)
def test_files_of_earlier_versions(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InconsistentVersionWarning)
        estimator = nk.load(path)
    with np.load(saved.MODELS / "data.npz") as data:
        (given,) = [key for key in data if key.startswith(f"{path.stem} ") and " found" not in key]
        found = getattr(estimator, given.split()[1])(data[given])
        expected = data[f"{path.stem} found"]
    rounding = 1e-6 if path.stem == "images" else 1e-9  # once in float64, now in float32
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=rounding * np.abs(expected).max())


# --- what is refused ---


def test_others_only_if_they_are_trusted(file):
    nk.save(make_pipeline(Shifted(), nk.NTKRegressor()), file)
    name = f"{__name__}.Shifted"
    with pytest.raises(ValueError, match=rf"got {name}; if you trust .* trusted=\['{name}'\]\)"):
        nk.load(file)
    for trusted in (name, Shifted, [name], (Shifted,)):
        assert isinstance(nk.load(file, trusted=trusted)[0], Shifted)


def test_a_function_by_its_name(file):
    nk.save(nk.mlp(1, nk.Elementwise(bent)), file)
    with pytest.raises(ValueError, match=f"got {__name__}.bent; if you trust"):
        nk.load(file)
    assert nk.load(file, trusted=[f"{__name__}.bent"]).layers[1].fn is bent


def test_what_has_no_name_cannot_be_saved(file):
    file.write_bytes(b"older")

    def bent(x):  # hides another one
        return np.arctan(x)

    class Local(Shifted):
        pass

    endless = nk.NTKRegressor()
    endless.features = [endless]
    for thing, what in (
        (endless, "no part that holds itself in the end, .* got NTKRegressor"),
        (nk.Elementwise(lambda x: np.arctan(x)), r"<lambda> in nkfast\.Elementwise"),
        (nk.mlp(1, nk.Elementwise(bent)), r"bent in nkfast\.Elementwise"),
        (make_pipeline(Local()), r"Local in sklearn\.pipeline\.Pipeline"),
        ({None: 1}, "no dict with a key None, got one in the model"),
        ({(1, 2): 3}, "got in dict: keys must be str"),
        (zipfile, "got in module: "),
    ):
        with pytest.raises(ValueError, match=rf"model: expected .*{what}"):
            nk.save(thing, file)
    assert file.read_bytes() == b"older"
    assert [file] == [*file.parent.iterdir()]


def changed(file, member, change):
    """Write a model file with one of its members changed."""
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members[member] = change(members[member])
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "nkfast.cli.main", "nkfast.save"])
def test_code_that_a_file_names_is_not_run(name, file):
    nk.save(nk.Elementwise(np.arctan), file)
    module, _, function = name.rpartition(".")
    plain = re.compile(rb'"__class__":"arctan","__module__":"[\w.]+"')
    evil = f'"__class__":"{function}","__module__":"{module}"'.encode()

    def change(schema):
        assert len(plain.findall(schema)) == 1
        return plain.sub(evil, schema)

    changed(file, "schema.json", change)
    with pytest.raises(ValueError, match=f"got {name}; if you trust the file, and these"):
        nk.load(file)


def test_a_newer_format(file):
    nk.save(nk.ReLU(), file)
    changed(file, "nkfast.json", lambda _: json.dumps({"format": 2, "nkfast": "9.0"}).encode())
    with pytest.raises(ValueError, match=r"format 1 or older, got format 2 of nkfast 9\.0"):
        nk.load(file)


def test_other_files(file):
    with pytest.raises(FileNotFoundError):
        nk.load(file)
    for content, what in (
        (b"", "got another"),
        (b"hello", "got another"),
        (pickle.dumps([1]), "got a pickle, which runs code"),
    ):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=rf"model\.skops: expected a model file .* {what}"):
            nk.load(file)
    np.savez(file.with_suffix(".npz"), a=1)
    with pytest.raises(ValueError, match="got another archive"):
        nk.load(file.with_suffix(".npz"))


def test_damaged_files(file):
    nk.save(FITTED["exact"][0], file)
    whole = file.read_bytes()
    expected = FITTED["exact"][0].predict(X)
    rng = np.random.default_rng(0)
    for trial in range(60):
        damaged = bytearray(whole)
        if trial % 2:
            damaged[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        else:
            del damaged[rng.integers(len(whole)) :]
        file.write_bytes(damaged)
        try:
            copy = nk.load(file)
        except ValueError:
            continue
        # Of what no checksum covers, such as a date, nothing is read.
        assert_array_equal(copy.predict(X), expected)


def test_without_skops(file, monkeypatch):
    nk.save(nk.ReLU(), file)
    monkeypatch.setitem(sys.modules, "skops", None)
    monkeypatch.setitem(sys.modules, "skops.io", None)
    for call in (lambda: nk.load(file), lambda: nk.save(nk.ReLU(), file)):
        with pytest.raises(ImportError, match=r'need skops: pip install "nkfast\[save\]"'):
            call()
