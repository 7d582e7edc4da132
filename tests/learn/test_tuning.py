"""Choice of a network by its marginal likelihood."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose

import nkfast as nk
from learners import regression

GRID = {"depth": [1, 3], "w_std": [0.7, 1.4], "b_std": [0.0, 0.4]}


def test_choice_is_the_best_of_all_combinations():
    X, y = regression(n=60)
    found = nk.tune_network(X, y, grid=GRID)
    values = {}
    for depth in (1, 3):
        for w_std in (0.7, 1.4):
            for b_std in (0.0, 0.4):
                net = nk.mlp(depth, w_std=w_std, b_std=b_std)
                model = nk.NTKRegressor(net, method="exact", alpha="evidence").fit(X, y)
                values[depth, w_std, b_std] = model.log_marginal_likelihood()
    best = max(values, key=values.get)
    assert_allclose(found.log_marginal_likelihood, values[best], rtol=1e-10)
    p = found.params
    assert_allclose(values[p["depth"], p["w_std"], p["b_std"]], values[best])
    assert found.net == nk.mlp(**p)
    assert found.n_rows == 60
    assert_allclose([v for _, v in found.candidates], sorted(values.values())[::-1], rtol=1e-9)
    assert f"depth={p['depth']}" in str(found)
    assert "best of 8" in str(found)


def test_it_finds_the_network_that_made_the_data():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 3))
    K = nk.mlp(1, "erf", 2.0, 0.5).nngp(X)
    y = np.linalg.cholesky(K + 1e-8 * np.eye(300)) @ rng.standard_normal(300)
    y += 0.1 * rng.standard_normal(300)
    grid = {"depth": [1, 4], "activation": ["erf", "relu"], "w_std": [0.5, 2.0], "b_std": [0.5]}
    found = nk.tune_network(X, y, grid=grid, kernel="nngp")
    assert found.params == {"depth": 1, "activation": "erf", "w_std": 2.0, "b_std": 0.5}
    assert 0.005 < found.noise_variance < 0.02
    assert 0.003 < found.alpha < 0.03


@pytest.mark.parametrize("method", ["sketch", "nystroem"])
def test_features_and_a_sample_of_rows(method):
    X, y = regression(n=300, k=2)
    grid = {"depth": [1, 2]}
    tune = lambda: nk.tune_network(  # noqa: E731
        X, y, None, grid, method=method, n_components=32, n_rows=100, random_state=0
    )
    one, other = tune(), tune()
    assert one.candidates == other.candidates
    assert one.n_rows == 100
    assert one.noise_variance.shape == (2,)


def test_other_networks_and_images(capsys):
    net = nk.Sequential(nk.Dense(1.0, 0.2), nk.ReLU(), nk.Dense(2.0, 0.1))
    X, y = regression(n=40)
    found = nk.tune_network(X, y, net, {"w_std": [0.5, 1.0]}, verbose=True)
    w = found.params["w_std"]
    assert [layer.w_std for layer in found.net.layers[::2]] == [w, 2 * w]
    assert capsys.readouterr().err.count("log marginal likelihood") == 3
    assert len(nk.tune_network(X, y, net).candidates) == 9
    cnn = nk.Sequential(nk.Conv((3, 3), w_std=1.4), nk.ReLU(), nk.GlobalAvgPool(), nk.Dense())
    images = np.random.default_rng(0).standard_normal((20, 4, 4, 1))
    assert len(nk.tune_network(images, images[:, 0, 0, 0], cnn).candidates) == 3


@pytest.mark.parametrize("form", ["coo", "bsr", "dia", "csc", "lil", "dok", "csr"])
@pytest.mark.parametrize("kind", [sp.csr_array, sp.csr_matrix])
def test_rows_of_any_sparse_format(form, kind):
    X, y = regression(n=30)
    X[X < 0] = 0
    tune = lambda rows: nk.tune_network(  # noqa: E731
        rows, y, grid={"depth": [1]}, n_rows=20, random_state=0
    )
    found = tune(kind(X).asformat(form)).log_marginal_likelihood
    assert_allclose(found, tune(X).log_marginal_likelihood, rtol=1e-9)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_rows_of_a_table(library):
    X, y = regression(n=30)
    frames = pytest.importorskip(library)
    tune = lambda rows, y: nk.tune_network(  # noqa: E731
        rows, y, grid={"depth": [1]}, n_rows=20, random_state=0
    )
    found = tune(frames.DataFrame(X), frames.Series(y)).log_marginal_likelihood
    assert_allclose(found, tune(X, y).log_marginal_likelihood, rtol=1e-9)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"grid": {"width": [1]}}, ValueError, "grid: expected names among .* got 'width'"),
        ({"grid": {"depth": []}}, ValueError, "grid: expected at least one value of depth"),
        ({"grid": {"depth": 2}}, TypeError, "grid: expected a list of values of depth, got 2"),
        ({"grid": [1]}, TypeError, "grid: expected a dict"),
        ({"n_rows": 1}, ValueError, "n_rows: expected an integer >= 2, got 1"),
        ({"net": "relu"}, TypeError, "net: expected a network"),
        ({"kernel": "rbf"}, ValueError, "kernel: expected one of"),
    ],
)
def test_bad_arguments(arguments, error, message):
    X, y = regression(n=20)
    with pytest.raises(error, match=message):
        nk.tune_network(X, y, **arguments)
    with pytest.raises(ValueError, match="y: inconsistent numbers of samples, expected 20"):
        nk.tune_network(X, y[:-1])
