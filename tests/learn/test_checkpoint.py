"""`fit_blocks` that goes on from the sums of an interrupted one."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_array_equal

import nkfast as nk
from learners import BOTH, data_for
from nkfast.learn import _checkpoint

N_BLOCKS = 6


class StopError(Exception):
    pass


@pytest.fixture(autouse=True)
def after_each_block(monkeypatch):
    monkeypatch.setattr(_checkpoint, "_SAVE_SECONDS", 0.0)
    monkeypatch.setattr(_checkpoint, "_SHARE", 0.0)


FORMS = {
    "dense": np.asarray,
    "float32": lambda X: X.astype(np.float32),
    "CSR": sp.csr_array,
    "CSR matrix": sp.csr_matrix,
    "table": lambda X: pd.DataFrame(X, columns=[f"x{i}" for i in range(X.shape[1])]),
    "lists": lambda X: X.tolist(),
}


def new(learner, **more):
    return learner(nk.mlp(1), 16, **{"method": "nystroem", "random_state": 0, **more})


def fit(model, X, y, *, stop=None, seen=None, weight=None, **options):
    if isinstance(model, nk.NTKClassifier):
        options.setdefault("classes", np.unique(y))

    def blocks():
        for i, rows in enumerate(np.array_split(np.arange(len(y)), N_BLOCKS)):
            if i == stop:
                raise StopError
            if seen is not None:
                seen.append(i)
            block = (X.iloc[rows] if hasattr(X, "iloc") else part(X, rows)), y[rows]
            yield block if weight is None else (*block, weight[rows])

    return model.fit_blocks(blocks(), **options)


def part(X, rows):
    return [X[i] for i in rows] if isinstance(X, list) else X[rows]


def answer(model, X):
    return (getattr(model, "predict_proba", None) or model.predict)(X)


@BOTH
@pytest.mark.parametrize("form", FORMS)
def test_the_same_bits(learner, form, tmp_path):
    X, y = data_for(learner)
    X, path = FORMS[form](X), tmp_path / "sums"
    whole = answer(fit(new(learner), X, y), X)
    for stop in (0, 2, 5):
        with pytest.raises(StopError):
            fit(new(learner), X, y, stop=stop, resume=path)
        assert path.exists() == (stop > 0)
    for _ in range(2):  # the second time all is there
        assert_array_equal(answer(fit(new(learner), X, y, resume=path), X), whole)
    assert [path] == [*tmp_path.iterdir()]


@BOTH
def test_blocks_in_the_file_are_not_added_again(learner, tmp_path, monkeypatch):
    X, y = data_for(learner)
    path, added = tmp_path / "sums", []
    plain = learner.partial_fit
    monkeypatch.setattr(
        learner,
        "partial_fit",
        lambda self, X, *args, **more: (added.append(X[0, 0]), plain(self, X, *args, **more))[1],
    )
    with pytest.raises(StopError):
        fit(new(learner), X, y, stop=4, resume=path)
    added.clear()
    fit(new(learner), X, y, resume=path)
    assert added == [X[0, 0], X[80, 0], X[100, 0]]  # the first gives the feature map


def test_weights_and_blocks_without(tmp_path):
    X, y = data_for(nk.NTKRegressor)
    weight = np.repeat([0.0, 0.0, 1.0, 2.0, 0.0, 0.5], 20)
    whole = fit(new(nk.NTKRegressor), X, y, weight=weight).predict(X)
    for stop in (1, 2, 3, 5, None):
        model = new(nk.NTKRegressor)
        if stop is not None:
            with pytest.raises(StopError):
                fit(model, X, y, stop=stop, weight=weight, resume=tmp_path / "sums")
        else:
            fit(model, X, y, weight=weight, resume=tmp_path / "sums")
            assert_array_equal(model.predict(X), whole)


def test_not_after_each_block(tmp_path, monkeypatch):
    monkeypatch.setattr(_checkpoint, "_SAVE_SECONDS", 1e9)
    X, y = data_for(nk.NTKRegressor)
    with pytest.raises(StopError):
        fit(new(nk.NTKRegressor), X, y, stop=5, resume=tmp_path / "sums")
    assert not [*tmp_path.iterdir()]
    fit(new(nk.NTKRegressor), X, y, resume=tmp_path / "sums")
    assert [*tmp_path.iterdir()] == [tmp_path / "sums"]


def test_of_another_computation(tmp_path):
    X, y = data_for(nk.NTKClassifier)
    path = tmp_path / "sums"
    model = fit(new(nk.NTKClassifier), X, y, resume=path)
    before, expected = path.read_bytes(), model.predict_proba(X)
    own = nk.NTKFeatures(nk.mlp(1), 16, random_state=0)
    others = {
        "alpha": new(nk.NTKClassifier, alpha=1.0),
        "net": new(nk.NTKClassifier).set_params(net=nk.mlp(2)),
        "n_components, random_state": new(nk.NTKClassifier, random_state=1).set_params(
            n_components=8
        ),
        "class_weight": new(nk.NTKClassifier, class_weight={0: 2.0}),
        "features, net": new(nk.NTKClassifier, features=own).set_params(net=None),
        "class, ": new(nk.NTKRegressor),
    }
    for names, other in others.items():
        with pytest.raises(ValueError, match=f"belongs to another computation: .* same {names}"):
            fit(other, X, y, resume=path)
    again = new(nk.NTKClassifier).set_params(verbose=0)
    assert_array_equal(fit(again, X, y, resume=path).predict_proba(X), expected)
    for changes, words in (
        ({"classes": [0, 1, 2, 3]}, "same classes"),
        ({"X": X[::-1]}, "same blocks, but block 0 differs"),
        ({"y": np.r_[y[:50], 1 - y[50:51] % 2, y[51:]]}, "same blocks, but block 2 differs"),
        ({"weight": np.ones(len(y))}, "same blocks, but block 0 differs"),
        ({"X": X[:100], "y": y[:100]}, "block 0 differs"),
    ):
        with pytest.raises(ValueError, match=f"resume: .*{words}"):
            fit(model, **{"X": X, "y": y, "classes": [0, 1, 2], **changes}, resume=path)
        assert_array_equal(model.predict_proba(X), expected)
    with pytest.raises(ValueError, match=r"blocks: expected at least the 6 that .* got 1"):
        model.fit_blocks([(X[:20], y[:20])], [0, 1, 2], resume=path)
    assert path.read_bytes() == before


def test_of_another_feature_map(tmp_path, monkeypatch):
    X, y = data_for(nk.NTKRegressor)
    with pytest.raises(StopError):
        fit(new(nk.NTKRegressor), X, y, stop=3, resume=tmp_path / "sums")
    plain = nk.Nystroem.fit

    def other(self, X, y=None):
        self.random_state = 1  # stands for another machine
        return plain(self, X, y)

    monkeypatch.setattr(nk.Nystroem, "fit", other)
    with pytest.raises(ValueError, match="belongs to another feature map"):
        fit(new(nk.NTKRegressor), X, y, resume=tmp_path / "sums")


def test_files_that_are_none(tmp_path):
    X, y = data_for(nk.NTKRegressor)
    path = tmp_path / "sums"
    for content in (b"something else", np.arange(3.0).tobytes()):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"expected a file of fit_blocks of nkfast in .*sums"):
            fit(new(nk.NTKRegressor), X, y, resume=path)
    np.savez(tmp_path / "other.npz", a=1)
    with pytest.raises(ValueError, match="expected a file of fit_blocks"):
        fit(new(nk.NTKRegressor), X, y, resume=tmp_path / "other.npz")
    with pytest.raises(FileNotFoundError, match="resume: no such folder"):
        fit(new(nk.NTKRegressor), X, y, resume=tmp_path / "no" / "sums")
    path.write_bytes(b"")  # as a shell's touch makes
    fit(new(nk.NTKRegressor), X, y, resume=path)
    fit(new(nk.NTKRegressor), X, y, resume=path)


def test_an_unseeded_map_cannot_be_made_again(tmp_path):
    X, y = data_for(nk.NTKRegressor)
    with pytest.raises(ValueError, match="resume: expected a random_state"):
        fit(nk.NTKRegressor(nk.mlp(1), 16), X, y, resume=tmp_path / "sums")
    for seed in (np.random.RandomState(3), np.random.RandomState(3)):
        model = nk.NTKRegressor(nk.mlp(1), 16, random_state=seed)
        found = fit(model, X, y, resume=tmp_path / "sums").predict(X)
    reference = nk.NTKRegressor(nk.mlp(1), 16, random_state=np.random.RandomState(3))
    assert_array_equal(fit(reference, X, y).predict(X), found)
