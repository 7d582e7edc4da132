"""The examples run, at a small size, and find what they claim to find."""

import runpy

import numpy as np
import pytest

from places import ROOT

EXAMPLES = ROOT / "examples"


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_least_squares(kind, capsys):
    example = runpy.run_path(str(EXAMPLES / "least_squares.py"))
    rng = np.random.default_rng(0)
    A = example[f"{kind}_problem"](4096, 24, rng)
    alone, *sketched = example["report"](A, 60, rng)
    assert alone["excess"] > 1e-3
    assert len(sketched) == 3
    for line in sketched:
        assert line["steps"] < 60  # about log(1e-14) / log(sqrt(1 / 4))
        assert line["excess"] < 1e-9
        assert line["error"] < 1e-6
    assert "stopped" in capsys.readouterr().out


def test_kernel_machines(capsys):
    example = runpy.run_path(str(EXAMPLES / "kernel_machines.py"))
    lines = example["digits"](500)
    assert all(line["score"] > 0.9 for line in lines)
    assert "best: kernel = mlp(" in capsys.readouterr().out
    lines = example["diabetes"]()
    assert all(line["score"] > 0.3 for line in lines)  # 0.36 is what a linear model gets
    assert "best: alpha = 10\n" in capsys.readouterr().out


def test_gaussian_process(capsys):
    example = runpy.run_path(str(EXAMPLES / "gaussian_process.py"))
    (task,) = example["tasks"](None)
    assert "concrete: left out" in capsys.readouterr().out
    lines = example["report"](task, 100)
    assert len(lines) == 5
    assert all(line["after"] > line["before"] for line in lines)
    for line in lines[:3]:  # of so few rows the other kernels learn little
        assert line["after"] > line["before"] + 10
        assert line["rmse"] < 0.85 * task[4].std()
        assert line["within"] > 0.85
    assert "NTK, ReLU: w_std = " in capsys.readouterr().out


def test_gaussian_process_takes_data_from_a_folder(tmp_path, capsys):
    example = runpy.run_path(str(EXAMPLES / "gaussian_process.py"))
    assert len(list(example["tasks"](str(tmp_path)))) == 1
    assert "there is no" in capsys.readouterr().out
    X = np.random.default_rng(0).standard_normal((50, 3))
    mask = np.arange(50)[:, None] < 5
    np.savez(tmp_path / "reg_concrete.npz", X=X, y=X[:, 0], test_mask=mask)
    _, (name, X_train, X_test, y_train, y_test) = example["tasks"](str(tmp_path))
    assert name == "concrete"
    assert X_train.shape == (45, 3)
    assert np.array_equal(X_test, X[:5])
    assert len(y_train) == 45
    assert np.array_equal(y_test, X[:5, 0])
    np.savez(tmp_path / "reg_concrete.npz", X=X, y=X[:, 0])
    assert 0 < len(list(example["tasks"](str(tmp_path)))[1][2]) < 25
