"""Powers split between the leading directions of the rows and the others."""

from math import comb

import numpy as np
import pytest
import scipy.sparse as sp

import nkfast as nk
from feature_cases import assert_close_for_other_rows, assert_same_bits, mean_error
from nkfast.features.collapsed._fit import Sample
from nkfast.features.collapsed._split import Directions, Split
from nkfast.features.collapsed._split_steps import split_steps

NET = nk.mlp(3, "relu", 1.4, 0.1)


@pytest.fixture(autouse=True)
def _powers(monkeypatch):
    monkeypatch.setattr(Sample, "fit_harmonics", lambda *_: None)


def near_a_plane(n, d=20, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    basis = np.random.default_rng(100).standard_normal((3, d))
    X = rng.standard_normal((n, 3)) @ basis + 0.1 * rng.standard_normal((n, d))
    return X.astype(dtype)


def unit_rows(n, d, seed=0):
    X = near_a_plane(n, d, seed)
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def powers_of_blocks(X, axes, k, i, j):
    a, b = X @ axes[:k].T, X @ axes[k:].T
    return comb(i + j, j) * (a @ a.T) ** i * (b @ b.T) ** j


def run(split, X, rng, sketch="tensorsrht", m=None):
    m = int(split.widths.sum()) if m is None else m
    steps = split_steps(split, m, rng, sketch)
    Z = np.empty((len(X), m))
    n_terms = int(split.terms.max()) + 1
    steps.compile(X.shape[1]).run(X, None, np.ones((len(X), n_terms)), Z, 1)
    return Z


@pytest.mark.parametrize("k", [1, 3, 5])
def test_exact_parts_are_the_power(k):
    X = unit_rows(300, 6)
    degrees = np.arange(5)
    found = Directions(X, np.ones((300, 5)), degrees, 300)
    assert np.allclose(found.axes @ found.axes.T, np.eye(6), atol=1e-12)
    split = found.split(k, 3000, np.ones(5), np.ones(5))
    assert split.exact.all()
    assert np.all(split.noise == 0)
    Z = run(split, X, np.random.RandomState(0), m=int(split.widths.sum()) + 7)
    assert np.allclose(Z @ Z.T, sum((X @ X.T) ** l for l in degrees), atol=1e-12)
    assert np.all(Z[:, -7:] == 0)


@pytest.mark.parametrize("sketch", ["tensorsrht", "tensorsketch"])
@pytest.mark.parametrize(("i", "j", "top"), [(0, 3, 1), (3, 0, 1), (2, 1, 1), (1, 4, 2), (2, 2, 2)])
def test_sketched_parts_are_right_on_average(sketch, i, j, top):
    """With exact parts beside them, whose monomials they use, or without."""
    X = unit_rows(6, 7)
    axes = np.linalg.qr(np.random.default_rng(2).standard_normal((7, 7)))[0]
    k, m = 3, 48
    exact = [(top, 0, comb(k + top - 1, top)), (0, top, comb(4 + top - 1, top))] if top > 1 else []
    parts = [(0, i, j, m, False)] + [(1, *part, True) for part in exact]
    columns = [np.array(c) for c in zip(*parts, strict=True)]
    split = Split(axes, k, *columns, np.zeros(9))
    rng = np.random.RandomState(0)
    expected = powers_of_blocks(X, axes, k, i, j)
    values = []
    for _ in range(200):
        Z = run(split, X, rng, sketch)
        start = 0 if not exact else next(s for s in starts(split, rng, sketch) if s is not None)
        values.append(Z[:, start : start + m] @ Z[:, start : start + m].T)
    mean, spread = np.mean(values, axis=0), np.std(values, axis=0) / np.sqrt(200)
    assert np.allclose(np.diagonal(mean), np.diagonal(expected), atol=1e-12)  # norms are known
    size = np.sqrt(np.outer(np.diagonal(expected), np.diagonal(expected)))
    bias = 3 / m * size * (expected / size) ** 2
    assert np.all(np.abs(mean - expected) < 5 * spread + bias + 1e-12)
    assert np.all(np.std(values, axis=0) < 2.5 / np.sqrt(m) * size + 1e-12)


def starts(split, rng, sketch):
    """Yield at which column sketched parts begin."""
    column = 0
    for step in split_steps(split, int(split.widths.sum()), rng, sketch):
        if step.method == "emit_part":
            yield column
        if step.method.startswith("emit"):
            column += step.arguments[1]


@pytest.mark.parametrize("m", [100, 500, 2000])
@pytest.mark.parametrize("cls", [nk.NTKFeatures, nk.NNGPFeatures])
def test_rows_near_a_plane_have_a_fraction_of_the_error(cls, m, monkeypatch):
    X, new = near_a_plane(1500), near_a_plane(300, seed=1)
    errors = {}
    for name in ("split", "whole"):
        if name == "whole":
            monkeypatch.setattr(Sample, "fit_split", lambda *_: None)
        maps = [cls(NET, m, random_state=s).fit(X) for s in range(3)]
        assert all((phi.split_ is None) == (name == "whole") for phi in maps)
        assert all(phi.transform(new).shape == (300, m) for phi in maps)
        errors[name] = np.mean([phi.kernel_error(new)["frobenius"] for phi in maps])
    assert errors["split"] < 0.5 * errors["whole"]


@pytest.mark.parametrize("m", [300, 1500])
@pytest.mark.parametrize("activation", ["relu", "erf"])
def test_expected_error_is_what_the_features_show(activation, m):
    X = near_a_plane(2000)
    net = nk.mlp(2, activation, 1.4, 0.1)
    maps = [nk.NTKFeatures(net, m, random_state=s).fit(X) for s in range(6)]
    assert maps[0].split_ is not None
    sample = Sample(net, X, "ntk", 32, np.random.RandomState(0))
    expected = sample.best([8, 16, 32], m, 0).error
    assert mean_error(maps, net, X) == pytest.approx(expected, rel=0.2)


def test_rows_in_all_directions_lose_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    X, new = rng.standard_normal((2000, 10)), rng.standard_normal((300, 10))
    errors = mean_error(
        [nk.NTKFeatures(NET, 600, random_state=s).fit(X) for s in range(4)], NET, new
    )
    monkeypatch.setattr(Sample, "fit_split", lambda *_: None)
    whole = [nk.NTKFeatures(NET, 600, random_state=s).fit(X) for s in range(4)]
    assert errors < 1.02 * mean_error(whole, NET, new)


def test_rows_unlike_the_fitted_are_not_lost():
    """In directions that fitted rows hardly have, errors are larger, but the kernel is there."""
    rng = np.random.default_rng(0)
    phi = nk.NTKFeatures(NET, 1000, random_state=0).fit(near_a_plane(2000))
    new = rng.standard_normal((200, 20)) * 1.8
    Z, K = phi.transform(new), NET.ntk(new)
    assert np.linalg.norm(Z @ Z.T - K) < 0.15 * np.linalg.norm(K)
    assert np.all(np.sum(Z**2, axis=1) > 0.4 * np.diagonal(K))


@pytest.mark.simd
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("sketch", ["tensorsrht", "tensorsketch"])
def test_same_bits_for_any_threads_and_chunks(dtype, sparse, sketch):
    X = near_a_plane(500, dtype=dtype)
    X[::7] = 0
    X = sp.csr_array(X) if sparse else X
    phi = nk.NTKFeatures(NET, 300, sketch=sketch, random_state=0).fit(X)
    assert phi.split_ is not None
    assert_same_bits(phi, X)


def test_csr_rows_are_the_same_and_so_is_float32():
    X = near_a_plane(800)
    phi = nk.NTKFeatures(NET, 400, random_state=0).fit(X)
    sparse = nk.NTKFeatures(NET, 400, random_state=0).fit(sp.csr_array(X))
    assert_close_for_other_rows(phi, sparse, X)


def test_points_of_any_norm():
    X = near_a_plane(1000) * np.exp(np.random.default_rng(3).standard_normal((1000, 1)))
    X[5] = 0
    phi = nk.NTKFeatures(NET, 1000, random_state=0).fit(X)
    assert phi.split_ is not None
    K, Z = NET.ntk(X), phi.transform(X)
    assert np.linalg.norm(Z @ Z.T - K) < 0.02 * np.linalg.norm(K)
    assert np.abs(Z @ Z.T - K)[5].max() < 1e-3 * K.max()
    for scale in (1e-3, 0.1, 10, 1e3):  # outside the fitted range
        cross = NET.ntk(X * scale, X)
        error = np.linalg.norm(phi.transform(X * scale) @ Z.T - cross)
        assert error < 0.03 * np.linalg.norm(cross)


@pytest.mark.parametrize("m", [1, 2, 8, 9, 17, 40])
def test_few_features(m):
    X = near_a_plane(400)
    phi = nk.NTKFeatures(NET, m, random_state=0).fit(X)
    Z = phi.transform(X)
    assert Z.shape == (400, m)
    assert np.all(np.isfinite(Z))
    if m >= 8:
        assert phi.kernel_error(X)["frobenius"] < 0.4


@pytest.mark.parametrize("m", [200, 3000])
def test_the_highest_degree(m):
    phi = nk.NTKFeatures(NET, m, degree=64, random_state=0).fit(near_a_plane(600, d=6))
    assert phi.kernel_error(near_a_plane(200, d=6, seed=1))["frobenius"] < 0.05
