"""nkfast fit, predict and features on files of all kinds."""

import subprocess
import sys

import joblib
import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import dump_svmlight_file, load_digits

import nkfast as nk
from learners import regression
from nkfast import cli
from nkfast.cli._tables import open_table
from nkfast.learn import _checkpoint

SMALL = ["--components", "32", "--block", "70", "--quiet"]


def write_table(folder, kind, X, y):
    """Write rows as a file of that kind; return its arguments."""
    path = folder / f"rows.{kind}"
    names = [f"x{i}" for i in range(X.shape[1])]
    if kind == "npy":
        np.save(path, X)
        np.save(folder / "y.npy", y)
        return [str(path), "--target", str(folder / "y.npy")]
    if kind == "npz":
        np.savez(path, X=X, y=y)
        return [str(path)]
    if kind == "svmlight":
        dump_svmlight_file(X, y, str(path), zero_based=False)
        return [str(path)]
    if kind == "csv":
        lines = [",".join([*names, "y"])]
        lines += [",".join([*map(repr, x.tolist()), str(t)]) for x, t in zip(X, y, strict=True)]
        path.write_text("\n".join(lines) + "\n")
    else:
        pytest.importorskip("pyarrow")
        pandas = pytest.importorskip("pandas")
        pandas.DataFrame(X, columns=names).assign(y=y).to_parquet(path)
    return [str(path), "--target", "y"]


def named(kind, X):
    """Return rows as `write_table` named their columns."""
    if kind not in ("csv", "parquet"):
        return X
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(X, columns=[f"x{i}" for i in range(X.shape[1])])


@pytest.mark.parametrize("kind", ["npy", "npz", "csv", "svmlight", "parquet"])
def test_regression_from_any_file(kind, tmp_path, capsys):
    X, y = regression(n=200)
    data = write_table(tmp_path, kind, X, y)
    model_file, out = str(tmp_path / "model.skops"), str(tmp_path / "out.npy")
    assert cli.main(["fit", *data, "--output", model_file, *SMALL]) == 0
    assert "regression on 200 rows, alpha = " in capsys.readouterr().out
    net = nk.mlp(2, b_std=0.1)
    model = nk.NTKRegressor(net, 32, random_state=0)
    model.fit_blocks((X[i : i + 70], y[i : i + 70]) for i in range(0, 200, 70))
    assert_allclose(nk.load(model_file).coef_, model.coef_, rtol=1e-6, atol=1e-8)
    arguments = ["predict", model_file, *data, "--output", out, "--block", "70", "--quiet"]
    assert cli.main(arguments) == 0
    assert capsys.readouterr().err.startswith("R^2 0.")
    assert_allclose(np.load(out), model.predict(X), rtol=1e-6, atol=1e-8)
    assert cli.main([*arguments, "--std"]) == 0
    mean, std = model.predict(X, return_std=True)
    assert_allclose(np.load(out), np.column_stack([mean, std]), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("kind", ["npy", "npz", "csv", "parquet"])
@pytest.mark.parametrize("standardize", [True, False])
def test_classification_of_words(kind, standardize, tmp_path, capsys):
    X, y = regression(n=200)
    labels = np.where(y > 0, "up", "down")
    data = write_table(tmp_path, kind, X, labels)
    model_file, out = str(tmp_path / "model.skops"), str(tmp_path / "out.csv")
    scaled = ["--standardize"] if standardize else []
    options = ["--method", "nystroem", "--kernel", "nngp", "--alpha", "0.1", *scaled]
    assert cli.main(["fit", *data, "--output", model_file, *SMALL, *options]) == 0
    assert "classification on 200 rows, alpha = 0.1" in capsys.readouterr().out
    model = nk.load(model_file)
    assert cli.main(["predict", model_file, *data, "--output", out, "--quiet"]) == 0
    X = named(kind, X)
    assert_array_equal((tmp_path / "out.csv").read_text().split(), model.predict(X))
    assert capsys.readouterr().err.startswith("accuracy 0.")
    assert cli.main(["predict", model_file, *data, "--output", out, "--proba", "--quiet"]) == 0
    assert_allclose(np.loadtxt(out, delimiter=","), model.predict_proba(X), rtol=1e-8)


def test_numbers_may_be_classes(tmp_path, capsys):
    X, y = regression(n=150)
    codes = np.digitize(y, [-1, 2]).astype(float)
    np.save(tmp_path / "all.npy", np.column_stack([codes, X]))
    data = [str(tmp_path / "all.npy"), "--target", "0"]
    model_file = str(tmp_path / "model.skops")
    options = ["--task", "classification", *SMALL]
    assert cli.main(["fit", *data, "--output", model_file, *options]) == 0
    assert_array_equal(nk.load(model_file).classes_, [0, 1, 2])
    assert cli.main(["predict", model_file, *data, "--quiet"]) == 0
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 151
    assert "accuracy" in printed.err


@pytest.mark.parametrize("kind", ["npy", "csv", "svmlight"])
def test_features(kind, tmp_path, capsys):
    X, y = regression(n=200)
    data = write_table(tmp_path, kind, X, y)
    out, map_file = tmp_path / "Z.npy", tmp_path / "map.skops"
    arguments = ["features", *data, "--output", str(out), "--save-map", str(map_file), *SMALL]
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out.startswith("200 x 32 features: ")
    phi = nk.NTKFeatures(nk.mlp(2, b_std=0.1), 32, random_state=0).fit(X[:70])
    assert_allclose(np.load(out), phi.transform(X), rtol=1e-6, atol=1e-9)
    assert_allclose(nk.load(map_file).transform(named(kind, X)), np.load(out), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("chunk", [64, 1 << 24])
@pytest.mark.parametrize("zero_based", [True, False])
def test_svmlight_in_parts(chunk, zero_based, tmp_path, monkeypatch):
    monkeypatch.setattr("nkfast.cli._svmlight._CHUNK_BYTES", chunk)
    X, y = regression(n=201)
    X[X < 0] = 0
    dump_svmlight_file(X, y, str(tmp_path / "rows.svm"), zero_based=zero_based, comment="rows")
    table = open_table(tmp_path / "rows.svm", None)
    blocks = list(table.blocks(70))
    assert [len(t) for _, t in blocks] == [70, 70, 61]
    assert_allclose(np.vstack([x.toarray() for x, _ in blocks]), X, rtol=1e-14)
    assert_allclose(np.concatenate([t for _, t in blocks]), y, rtol=1e-14)
    (tmp_path / "rows.svm").write_text("1 1:2\n2 x:3\n")
    with pytest.raises(ValueError, match=r"expected rows 'target column:value ...', got: "):
        open_table(tmp_path / "rows.svm", None)


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("order", ["C", "F"])
def test_archives_in_parts(compressed, order, tmp_path):
    X, y = regression(n=201)
    save = np.savez_compressed if compressed else np.savez
    save(tmp_path / "rows.npz", X=np.asarray(X, order=order), t=y)
    np.save(tmp_path / "y.npy", y)
    for target in ("t", str(tmp_path / "y.npy")):
        blocks = list(open_table(tmp_path / "rows.npz", target).blocks(70))
        assert_array_equal(np.vstack([x for x, _ in blocks]), X)
        assert_array_equal(np.concatenate([t for _, t in blocks]), y)
    assert [t for _, t in open_table(tmp_path / "rows.npz", None).blocks(500)] == [None]


def test_sparse_archives(tmp_path):
    X, y = regression(n=90)
    X[X < 0] = 0
    sp.save_npz(tmp_path / "rows.npz", sp.csr_array(X))
    np.save(tmp_path / "y.npy", y)
    ((rows, targets),) = open_table(tmp_path / "rows.npz", str(tmp_path / "y.npy")).blocks(100)
    assert_array_equal(rows.toarray(), X)
    assert_array_equal(targets, y)


@pytest.mark.parametrize("kind", ["npy", "npz", "flat"])
def test_images(kind, tmp_path, capsys):
    digits = load_digits()
    X, y = digits.images[:120, :, :, None].astype(np.float32), digits.target[:120]
    np.save(tmp_path / "y.npy", y)
    data, shape = str(tmp_path / f"x.{kind}"), []
    if kind == "flat":
        data, shape = str(tmp_path / "x.npy"), ["--image-shape", "8", "8", "1"]
    if kind == "npz":
        np.savez_compressed(data, X=X[..., 0])
    else:
        np.save(data, X.reshape(120, -1) if kind == "flat" else X)
    network = ["--network", "myrtle-5", "--activation", "gelu", *shape]
    rows = [data, "--target", str(tmp_path / "y.npy")]
    model_file, out = str(tmp_path / "model.skops"), str(tmp_path / "out.npy")
    fit = ["fit", *rows, *network, "--task", "classification", "--output", model_file]
    assert cli.main([*fit, *SMALL]) == 0
    assert cli.main(["predict", model_file, *rows, "--output", out, "--quiet"]) == 0
    net = nk.myrtle(5, "gelu", 2**0.5)
    model = nk.NTKClassifier(net, 32, random_state=0)
    model.fit_blocks([(X[:70], y[:70]), (X[70:], y[70:])], classes=range(10))
    assert_array_equal(np.load(out), model.predict(X))
    assert cli.main(["features", data, *network, "--output", out, *SMALL]) == 0
    assert np.load(out).shape == (120, 32)
    capsys.readouterr()
    if kind == "flat":
        del fit[fit.index("--image-shape") : fit.index("--image-shape") + 4]
        assert cli.main([*fit, *SMALL]) == cli.FAILED
        assert "--image-shape: expected the shape of the rows" in capsys.readouterr().err


def test_float32_is_kept_and_progress_is_shown(tmp_path, capsys):
    X, y = regression(n=200)
    data = write_table(tmp_path, "npy", X.astype(np.float32), y)
    out = tmp_path / "Z.npy"
    assert cli.main(["features", *data, "--output", str(out), *SMALL[:-1]]) == 0
    assert np.load(out, mmap_mode="r").dtype == np.float32
    assert "features" in capsys.readouterr().err


def test_a_csv_without_names(tmp_path):
    path = tmp_path / "iris.csv"
    path.write_text("1.5,2,setosa\n\n3,4,other\n5,-6e1,setosa\n")
    table = open_table(path, "-1")
    assert table.n_rows == 3
    blocks = list(table.blocks(2))
    assert_array_equal(np.vstack([X for X, _ in blocks]), [[1.5, 2], [3, 4], [5, -60]])
    assert [*blocks[0][1], *blocks[1][1]] == ["setosa", "other", "setosa"]
    path.write_text("1,2.5\n3,4\n")
    ((X, y),) = open_table(path, None).blocks(10)
    assert_array_equal(X, [[1, 2.5], [3, 4]])
    assert y is None


@pytest.mark.parametrize(
    ("text", "arguments", "words"),
    [
        ("a,y\n1,2\n", [], "--target: expected where the targets are, got none"),
        ("a,y\n1,2\n", ["--target", "z"], "--target: expected one of the columns a, y of"),
        ("1,2\n3,4\n", ["--target", "2"], "--target: expected a column from 0 to 1, got 2"),
        ("a,y\n1,2\n3\n", ["--target", "y"], "line 3: expected 2 values, got 1"),
        ("a,y\n1,2\nten,4\n", ["--target", "y"], "expected numbers, got 'ten'"),
        ("", ["--target", "y"], "expected rows of numbers, got an empty file"),
        ("a,y\n", ["--target", "y"], "expected at least one row, got none"),
        ("a,y\n1,w\n2,v\n", ["--target", "y", "--task", "regression"], "--task: expected class"),
        ("a,y\n1,nan\n2,3\n", ["--target", "y"], "line 2, column 'y': expected a target"),
        ("a,y\n1,2\n2,3\n", ["--target", "y", "--activation", "rel"], "rel"),
    ],
)
def test_bad_files(text, arguments, words, tmp_path, capsys):
    path = tmp_path / "rows.csv"
    path.write_text(text)
    output = tmp_path / "model.skops"
    arguments = ["fit", str(path), "--output", str(output), *arguments, *SMALL]
    assert cli.main(arguments) == cli.FAILED
    error = capsys.readouterr().err
    assert error.startswith("nkfast: error: ")
    assert words in error
    assert not output.exists()


def test_other_mistakes(tmp_path, capsys):
    X, y = regression(n=60)
    data = write_table(tmp_path, "npz", X, y)
    model_file = str(tmp_path / "model.skops")
    assert cli.main(["fit", *data, "--output", model_file, *SMALL]) == 0
    joblib.dump([1, 2], tmp_path / "list.joblib")
    (tmp_path / "text.joblib").write_text("no pickle")
    np.save(tmp_path / "narrow.npy", X[:, :3])
    np.save(tmp_path / "short.npy", y[:3])
    np.save(tmp_path / "rows.npy", X)
    (tmp_path / "rows.doc").write_text("")
    rows = str(tmp_path / "rows.npy")
    narrow, list_file = str(tmp_path / "narrow.npy"), str(tmp_path / "list.joblib")
    allowed, text_file = ["predict", "--allow-pickle"], str(tmp_path / "text.joblib")
    for arguments, words in [
        (["predict", list_file, *data], "--allow-pickle opens joblib files, which run code"),
        ([*allowed, list_file, *data], "expected a model of nkfast fit, got a list"),
        ([*allowed, text_file, *data], "expected a model of nkfast fit, got: "),
        (["predict", str(tmp_path / "none.joblib"), *data], "no such file"),
        (["predict", model_file, narrow], "expected 5 columns"),
        (["predict", model_file, *data, "--proba"], "--proba: expected a model of a class"),
        (["predict", model_file, *data, "--output", "p.txt"], "--output: expected a file name"),
        (["predict", model_file, str(tmp_path / "rows.doc")], "expected a file name ending in"),
        (["predict", model_file, *data, "--target", "z"], "expected one of the arrays"),
        (["features", narrow, "--output", "no/Z.npy"], "--output: no such folder"),
        (["features", narrow, "--output", str(tmp_path)], "--output: expected a file, got a fol"),
        (["features", narrow, "--output", str(tmp_path / "Z.csv")], "ending in .npy"),
        (
            ["fit", rows, "--output", model_file, "--target", str(tmp_path / "short.npy")],
            "expected 60 targets as there are rows, got 3",
        ),
    ]:
        capsys.readouterr()
        assert cli.main(arguments) == cli.FAILED, arguments
        assert words in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["fit", *data, "--output", model_file, "--alpha", "loo"])
    assert "expected a number, 'gcv' or 'evidence', got 'loo'" in capsys.readouterr().err


def test_words_in_any_block_make_all_targets_words(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("1,1\n2,1\n3,b\n4,1\n")
    table = open_table(path, "1")
    labels = [label for _, y in table.blocks(2) for label in y]
    assert labels == ["1", "1", "b", "1"]


def test_several_targets(tmp_path, capsys):
    X, Y = regression(n=100, k=2)
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "Y.npy", Y)
    data = [str(tmp_path / "X.npy"), "--target", str(tmp_path / "Y.npy")]
    model_file, out = str(tmp_path / "m.skops"), str(tmp_path / "out.npy")
    assert cli.main(["fit", *data, "--output", model_file, *SMALL]) == 0
    predict = ["predict", model_file, *data, "--output", out, "--quiet"]
    assert cli.main(predict) == 0
    score = capsys.readouterr().err
    assert np.load(out).shape == (100, 2)
    assert cli.main([*predict, "--std"]) == 0
    assert capsys.readouterr().err == score
    assert np.load(out).shape == (100, 4)


def test_an_interrupted_command_leaves_no_file(tmp_path, monkeypatch, capsys):
    X, y = regression(n=200)
    data = write_table(tmp_path, "npy", X, y)
    before = {path.name for path in tmp_path.iterdir()}

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(nk.NTKFeatures, "_map", interrupt)
    for command in ("features", "fit"):
        arguments = [command, *data, "--output", str(tmp_path / "new.npy"), *SMALL]
        assert cli.main(arguments) == cli.INTERRUPTED
        assert capsys.readouterr().err == "nkfast: interrupted\n"
        assert {path.name for path in tmp_path.iterdir()} == before


def test_help_says_whom_to_trust(capsys):
    for command in ("fit", "predict", "features"):
        with pytest.raises(SystemExit):
            cli.main([command, "--help"])
        printed = " ".join(capsys.readouterr().out.split())
        assert "usage: nkfast" in printed
        assert ("open only those you trust." in printed) == (command != "features")


def test_from_a_shell(tmp_path):
    X, y = regression(n=100)
    data = write_table(tmp_path, "csv", X, y)
    run = [sys.executable, "-m", "nkfast"]
    model_file = str(tmp_path / "m.skops")
    fit = [*run, "fit", *data, "--output", model_file, *SMALL]
    assert subprocess.run(fit, capture_output=True, timeout=120, check=True).stderr == b""
    done = subprocess.run(
        [*run, "predict", model_file, *data, "--std", "--quiet"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert np.loadtxt(done.stdout.splitlines(), delimiter=",").shape == (100, 2)


# --- model files ---

QUICK = [*SMALL, "--method", "nystroem"]


@pytest.fixture
def rows(tmp_path):
    X, y = regression(n=150)
    return write_table(tmp_path, "npz", X, y)


def test_formats_of_model_files(rows, tmp_path, capsys):
    answers = []
    for name, more, pickled in (
        ("m.skops", [], False),
        ("m", [], False),
        ("m.joblib", [], True),
        ("m.pkl", [], True),
        ("n.joblib", ["--format", "skops"], False),
        ("n.model", ["--format", "joblib"], True),
    ):
        file = str(tmp_path / name)
        assert cli.main(["fit", *rows, "--output", file, *more, *QUICK]) == 0
        capsys.readouterr()
        code = cli.main(["predict", file, *rows, "--quiet"])
        out, err = capsys.readouterr()
        assert code == (cli.FAILED if pickled else 0)
        if pickled:
            assert "--allow-pickle opens joblib files, which run code" in err
            assert isinstance(joblib.load(file), nk.NTKRegressor)
            assert cli.main(["predict", file, *rows, "--quiet", "--allow-pickle"]) == 0
            out, _ = capsys.readouterr()
        answers.append(out)
    assert len(set(answers)) == 1


def test_without_skops_there_are_joblib_files(rows, tmp_path, capsys, monkeypatch):
    file = str(tmp_path / "m.skops")
    assert cli.main(["fit", *rows, "--output", file, *QUICK]) == 0
    monkeypatch.setitem(sys.modules, "skops", None)
    monkeypatch.setitem(sys.modules, "skops.io", None)
    for arguments, words in (
        (["fit", *rows, "--output", file], 'pip install "nkfast[save]"; or take --format joblib'),
        (["predict", file, *rows], 'model files need skops: pip install "nkfast[save]"'),
    ):
        capsys.readouterr()
        assert cli.main(arguments) == cli.FAILED
        assert words in capsys.readouterr().err
    assert cli.main(["fit", *rows, "--output", str(tmp_path / "m.joblib"), *QUICK]) == 0


def test_a_fit_goes_on(rows, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(_checkpoint, "_SAVE_SECONDS", 0.0)
    monkeypatch.setattr(_checkpoint, "_SHARE", 0.0)
    fit = ["fit", *rows, "--standardize", *QUICK]
    resumed = [*fit, "--output", str(tmp_path / "m.skops"), "--resume", str(tmp_path / "sums")]
    assert cli.main([*fit, "--output", str(tmp_path / "whole.skops")]) == 0
    plain, calls = nk.NTKRegressor.partial_fit, []

    def stopping(self, *args, **more):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return plain(self, *args, **more)

    monkeypatch.setattr(nk.NTKRegressor, "partial_fit", stopping)
    assert cli.main(resumed) == cli.INTERRUPTED
    assert not (tmp_path / "m.skops").exists()
    assert cli.main(resumed) == 0
    whole = (tmp_path / "whole.skops").read_bytes()
    assert (tmp_path / "m.skops").read_bytes() == whole
    capsys.readouterr()
    assert cli.main([*resumed, "--alpha", "1"]) == cli.FAILED
    assert "expected the same alpha; delete it to begin anew" in capsys.readouterr().err
    assert (
        cli.main([*fit, "--output", str(tmp_path / "s"), "--resume", str(tmp_path)]) == cli.FAILED
    )
    assert "--resume: expected a file, got a folder" in capsys.readouterr().err
