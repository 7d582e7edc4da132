"""Columns with features of their own, where not all of the input's columns fit."""

import numpy as np
import pytest
import scipy.sparse as sp

import nkfast as nk
from feature_cases import mean_error
from nkfast.features.collapsed._allocation import allocate
from nkfast.features.collapsed._columns import Columns
from nkfast.features.collapsed._fit import Sample


def columns_of(X):
    norms = np.linalg.norm(X, axis=1)
    return Columns(X, norms, np.ones(len(X)))


def test_energies_of_columns():
    rng = np.random.default_rng(0)
    scales = np.array([0.1, 3.0, 1.0, 0.0])
    X = rng.standard_normal((4000, 4)) * scales
    found = columns_of(X)
    assert found.order.tolist() == [1, 2, 0, 3]
    shares = (X**2 / np.sum(X**2, axis=1, keepdims=True)).mean(axis=0)[found.order]
    assert np.allclose(found.tails, 1 - np.r_[0, np.cumsum(shares)], atol=1e-12)
    sparse = Columns(sp.csr_array(X), np.linalg.norm(X, axis=1), np.ones(len(X)))
    assert np.array_equal(sparse.order, found.order)
    assert np.allclose(sparse.tails, found.tails, rtol=0, atol=1e-14)


def test_columns_that_few_rows_show_count_as_others():
    """Each row has a column of its own: what the heaviest take says nothing of other rows."""
    found = columns_of(np.eye(60, 200))
    assert np.all(found.tails[:31] == 1)
    assert np.all(columns_of(np.zeros((3, 5))).tails == 1)


def test_heavy_columns_have_buckets_of_their_own():
    X = np.random.default_rng(0).standard_normal((100, 500)) / np.arange(1, 501)
    found = columns_of(X)
    hashes = found.hashes(np.random.RandomState(0), 20, 64)
    assert hashes[found.order[:20]].tolist() == list(range(20))
    light = np.bincount(hashes[found.order[20:]], minlength=64)
    assert not light[:20].any()
    assert set(light[20:]) == {480 // 44, 480 // 44 + 1}


def test_own_columns_lower_the_error_that_is_expected():
    degrees, ranks, energies = np.arange(4), np.zeros(4, int), np.array([0.3, 1.0, 0.5, 0.2])
    flat = allocate(degrees, ranks, energies, 5000, 1000)
    assert flat.columns == 0
    uneven = 1 / np.arange(1, 5001)
    tails = 1 - np.r_[0, np.cumsum(uneven) / uneven.sum()]
    plan = allocate(degrees, ranks, energies, 5000, 1000, tails)
    assert plan.widths.sum() == 1000
    assert 8 <= plan.columns < plan.widths[1]
    assert plan.tail == pytest.approx(tails[plan.columns], rel=1e-5)
    assert plan.noise < 0.8 * flat.noise
    even = 1 - np.arange(5001) / 5000
    assert allocate(degrees, ranks, energies, 5000, 1000, even).noise < flat.noise * 1.001


def text(n, d, seed):
    """Rows of words that are as rare as Zipf's law has it."""
    rng = np.random.default_rng(seed)
    words = rng.choice(d, size=(n, 60), p=1 / np.arange(1, d + 1) / np.sum(1 / np.arange(1, d + 1)))
    rows = np.repeat(np.arange(n), 60)
    X = sp.csr_array(sp.coo_array((np.ones(60 * n), (rows, words.ravel())), (n, d)))
    X.data = np.sqrt(X.data) * np.sqrt(d) / 8
    return X


@pytest.mark.parametrize("m", [500, 2000])
def test_features_of_text_are_nearer_with_own_columns(m, monkeypatch):
    """Beside columns hashed at random, on rows that the fit has not seen."""
    X, new = text(2000, 20000, 0), text(300, 20000, 1)
    net = nk.mlp(1, "relu", 1.4, 0.1)
    exact = net.ntk(new)
    errors, plain = [], []
    for seed in range(4):
        phi = nk.NTKFeatures(net, m, degree=8, random_state=seed).fit(X)
        assert phi.allocation_.columns > 20
        errors.append(off_diagonal(phi.transform(new), exact))
        with monkeypatch.context() as hashed:
            hashed.setattr(Sample, "hashes_columns", lambda *_: False)
            phi.fit(X)
        assert phi.allocation_.columns == 0
        plain.append(off_diagonal(phi.transform(new), exact))
    assert np.mean(errors) < 0.9 * np.mean(plain)


@pytest.mark.parametrize(("depth", "m"), [(1, 2000), (3, 500)])
def test_noise_of_own_columns_is_what_the_features_show(depth, m):
    X = text(2000, 20000, 0)
    net = nk.mlp(depth, "relu", 1.4, 0.1)
    maps = [nk.NTKFeatures(net, m, degree=8, random_state=s).fit(X) for s in range(4)]
    expected = Sample(net, X, "ntk", 8, np.random.RandomState(0)).fit(8, m).error
    assert mean_error(maps, net, X) == pytest.approx(expected, rel=0.15)


def off_diagonal(Z, exact):
    difference = Z @ Z.T - exact
    np.fill_diagonal(difference, 0)
    return np.linalg.norm(difference) / np.linalg.norm(exact)
