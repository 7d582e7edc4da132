"""The README's example and the guides' code run as they are printed."""

import re

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_sample_images

from places import ROOT

GUIDES = ROOT / "docs"
README = ROOT / "README.md"


def test_first_python_block_runs(capsys):
    block = re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    lines = block[1].splitlines()
    assert len(lines) <= 12
    exec(compile(block[1], str(README), "exec"), {"__name__": "__readme__"})
    # What a comment behind print() promises is what is printed.
    promised = [line.split("# ")[1] for line in lines if line.startswith("print(")]
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == len(promised) > 0
    for value, words in zip(printed, promised, strict=True):
        low = re.match(r"above ([\d.]+)", words)
        high = re.match(r"below ([\d.]+)", words)
        assert low or high, words
        assert float(value) > float(low[1]) if low else float(value) < float(high[1])


def houses(return_X_y):
    """Rows in place of scikit-learn's, which come from the network."""
    assert return_X_y
    X = np.random.default_rng(0).lognormal(size=(1500, 8))
    return X, np.log(X[:, 0]) + X[:, 1] / (1 + X[:, 2])


def posts(subset, remove, normalize, return_X_y):
    assert remove
    assert not normalize
    assert return_X_y
    rng = np.random.default_rng(subset == "train")
    y = np.arange(200 if subset == "train" else 40) % 20
    words = rng.poisson(0.02 + 0.3 * (np.arange(400) % 20 == y[:, None]))
    return sp.csr_matrix(words), y


def photographs(folder):
    """Write pieces of the two pictures that scikit-learn has, of any size, some of them grey."""
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    for picture, name in zip(load_sample_images().images, ("temple", "flower"), strict=True):
        (folder / name).mkdir(parents=True)
        for i in range(30):
            side = int(rng.integers(80, 200))
            top, left = (int(rng.integers(0, n - side)) for n in picture.shape[:2])
            piece = image.fromarray(picture[top : top + side, left : left + side + i % 7])
            piece = piece.convert("L") if i % 5 == 0 else piece
            piece.save(folder / name / f"{i}.{'png' if i % 2 else 'jpg'}")


@pytest.mark.parametrize("guide", sorted(p.name for p in GUIDES.glob("*.md")))
def test_code_of_the_guides_runs(guide, tmp_path, monkeypatch):
    """In one namespace, as a reader who follows along has it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sklearn.datasets.fetch_california_housing", houses)
    monkeypatch.setattr("sklearn.datasets.fetch_20newsgroups_vectorized", posts)
    if guide == "photographs.md":
        photographs(tmp_path / "photographs")
    text = (GUIDES / guide).read_text(encoding="utf-8")
    namespace = {"__name__": "__guide__"}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(block, guide, "exec"), namespace)
