"""Spherical harmonics of rows in few dimensions."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.special import eval_chebyt, eval_gegenbauer

import nkfast as nk
from feature_cases import assert_close_for_other_rows, assert_same_bits, mean_error
from nkfast.expansion import (
    _coefficients,
    expand,
    harmonic_coefficients,
    n_harmonics,
    radial_coefficients,
    zonal,
)
from nkfast.features.collapsed._fit import Sample
from nkfast.features.collapsed._harmonics import Harmonics, harmonic_basis, harmonic_steps

NET = nk.mlp(3, "relu", 1.4, 0.1)


def rows(n, d, seed=0, dtype=np.float64):
    """Rows that vary more in some directions than in others, of different norms."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, d)) * np.geomspace(1.5, 0.5, d)).astype(dtype)


def unit_rows(n, d, seed=0):
    X = rows(n, d, seed)
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def rotation(d):
    return np.linalg.qr(np.random.default_rng(7).standard_normal((d, d)))[0]


def run(harmonics, X, weights=None, m=None):
    m = len(harmonics.terms) if m is None else m
    Z = np.empty((len(X), m))
    weights = np.ones((len(X), int(harmonics.terms.max()) + 1)) if weights is None else weights
    harmonic_steps(harmonics, m).compile(X.shape[1]).run(X, None, weights, Z, 1)
    return Z


def all_harmonics(d, degree):
    """Return all of them; the term is the degree."""
    basis = harmonic_basis(np.ones(d), np.ones(degree + 1), 10**7, degree)
    return Harmonics(rotation(d), basis, basis.degrees, np.arange(basis.size))


@pytest.mark.parametrize("d", [2, 3, 4, 7, 30])
def test_zonal_harmonics_are_gegenbauers_polynomials(d):
    rho = np.linspace(-1, 1, 41)
    found = zonal(rho, d, 12)
    for l in range(13):
        if d == 2:
            expected = eval_chebyt(l, rho)
        else:
            index = (d - 2) / 2
            expected = eval_gegenbauer(l, index, rho) / eval_gegenbauer(l, index, 1.0)
        assert np.allclose(found[l], expected, rtol=0, atol=1e-12)
    assert zonal(rho[:, None] * rho, d, 3).shape == (4, 41, 41)


@pytest.mark.parametrize(
    ("d", "degree"), [(2, 40), (3, 20), (5, 9), (9, 5), (30, 2), (4, 0), (3, 1)]
)
def test_inner_products_of_harmonics_are_zonal(d, degree):
    """The addition theorem, and how many harmonics there are."""
    X = unit_rows(60, d)
    harmonics = all_harmonics(d, degree)
    Z = run(harmonics, X)
    expected = zonal(X @ X.T, d, degree)
    for l in range(degree + 1):
        part = Z[:, harmonics.terms == l]
        assert part.shape[1] == n_harmonics(d, l)
        assert np.allclose(part @ part.T, expected[l], rtol=0, atol=1e-12)


def test_harmonics_are_orthogonal():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200000, 4))
    Z = run(all_harmonics(4, 4), X / np.linalg.norm(X, axis=1, keepdims=True))
    moment = Z.T @ Z / len(Z)
    size = np.sqrt(np.diagonal(moment))
    assert np.abs(moment / np.outer(size, size) - np.eye(len(size))).max() < 0.02


def test_some_harmonics_are_columns_of_all():
    d, degree = 6, 5
    X = unit_rows(50, d)
    every = all_harmonics(d, degree)
    Z = run(every, X)
    chosen = np.sort(np.random.default_rng(0).permutation(len(every.terms))[:100])
    # Of two terms of degree 3 each has its own.
    again = np.flatnonzero(every.terms == 3)[::3]
    terms = np.concatenate([every.terms[chosen], np.full(len(again), degree + 1)])
    columns = np.concatenate([every.columns[chosen], again])
    some = Harmonics(every.axes, every.basis, terms, columns)
    weights = np.arange(1.0, degree + 3) * np.ones((50, 1))
    found = run(some, X, weights, len(terms) + 5)
    assert np.all(found[:, len(terms) :] == 0)
    order = np.lexsort((some.columns, terms, every.basis.degrees[some.columns]))
    expected = Z[:, some.columns[order]] * weights[0, terms[order]]
    assert np.allclose(found[:, : len(terms)], expected, rtol=1e-14, atol=0)


def test_one_row_and_zeros():
    harmonics = all_harmonics(5, 3)
    Z = run(harmonics, np.zeros((1, 5)))
    assert np.array_equal(Z, (harmonics.terms == 0)[None].astype(float))


def test_candidates_are_those_with_most_energy():
    """As it is told beforehand: the bound on the cost is what all others exceed."""
    d, q, limit = 5, 12, 500
    shares = np.array([0.02, 0.05, 0.1, 0.3, 0.53])
    energies = 0.5 ** np.arange(q + 1)
    basis = harmonic_basis(shares, energies, limit, 2)
    assert 0.8 * limit < basis.size <= 1.2 * limit
    every = harmonic_basis(shares, energies, 10**7, 2)
    assert every.size == sum(n_harmonics(d, l) for l in range(q + 1))
    start = [np.log(n_harmonics(d, l)) - np.log(e) for l, e in enumerate(energies)]
    steps = np.log(np.arange(1, 6) / 5) - np.log(np.cumsum(shares))

    def costs(basis):
        """From the degree in each coordinate."""
        table = [(p, n) for p in range(q + 1) for n in range(q + 1 - p)]
        below = np.array([0.0, steps[0]])
        degrees = np.array([0, 1])
        for parents, entries, step in zip(basis.parents, basis.entries, steps[1:], strict=True):
            n = np.array([table[e][1] for e in entries])
            assert np.array_equal(degrees[parents], [table[e][0] for e in entries])
            degrees, below = degrees[parents] + n, below[parents] + n * step
        assert np.array_equal(degrees, basis.degrees)
        return below + np.array(start)[degrees]

    found = costs(basis)
    assert np.all(np.bincount(basis.degrees)[:3] == [1, 5, 14])
    high = basis.degrees > 2
    assert found[high].max() <= np.sort(costs(every))[basis.size - 1] + 0.5
    assert len(np.unique(np.round(found, 9))) > 50


def test_rows_in_all_directions_get_whole_degrees():
    basis = harmonic_basis(np.ones(8), 0.5 ** np.arange(20), 3000, 2)
    counts = np.bincount(basis.degrees)
    assert len(counts) in (7, 8)
    assert np.array_equal(counts, [n_harmonics(8, l) for l in range(len(counts))])


@pytest.mark.parametrize("kernel", ["nngp", "ntk"])
@pytest.mark.parametrize("d", [2, 3, 4, 8])
@pytest.mark.parametrize("name", ["relu", "gelu", "erf", "tanh"])
def test_coefficients_sum_to_the_kernel(name, d, kernel):
    net = nk.mlp(2, name, 1.4, 0.1)
    a = np.array([0.5, 1.0, 2.5])
    rho = np.linspace(-0.8, 0.8, 9)
    G = harmonic_coefficients(net, a, a, d, 40, kernel)
    assert G.shape == (41, 3, 3)
    assert np.allclose(G, G.transpose(0, 2, 1), rtol=0, atol=1e-10 * G.max())
    scale = G[0].max()
    for part in G:
        assert np.linalg.eigvalsh((part + part.T) / 2)[0] > -2e-6 * scale
    # The power series ends at degree 200, which is nothing for these cosines.
    g = radial_coefficients(net, a, a, d, 200, kernel)
    exact = np.tensordot(rho[:, None] ** np.arange(201), g, 1)
    found = np.tensordot(zonal(rho, d, 40).T, G, 1)
    smooth = name in ("gelu", "erf", "tanh")
    assert np.abs(found - exact).max() < (1e-4 if smooth else 0.05) * exact.max()


@pytest.mark.parametrize("name", ["relu", "elu"])
def test_power_series_and_quadrature_agree(name, monkeypatch):
    net = nk.mlp(2, name, 1.4, 0.1)
    a = np.array([0.5, 1.0, 2.5])
    series = harmonic_coefficients(net, a, a, 7, 10, "ntk")
    monkeypatch.setattr(_coefficients, "_SERIES", 100)
    direct = harmonic_coefficients(net, a, a, 7, 10, "ntk")
    assert np.abs(series - direct).max() < 1e-4 * series.max()
    assert np.abs(series[:3] - direct[:3]).max() < 1e-6 * series.max()


def test_an_expansion_in_harmonics_is_the_kernel():
    X = np.random.default_rng(0).standard_normal((30, 3))
    net = nk.mlp(2, "gelu", 1.4, 0.2)
    norms = np.linalg.norm(X, axis=1)
    rho = X @ X.T / np.outer(norms, norms)
    found = expand(net, norms, 3, 40, "ntk", harmonic=True)
    exact = net.ntk(X)
    assert np.abs(found.kernel_of(norms, rho) - exact).max() < 1e-3 * exact.max()
    far = np.array([20.0, 0.01, 0.0])  # outside the range
    beyond = found.kernel_of(far, np.eye(3))[np.arange(3), np.arange(3)]
    expected = net.diag(np.diag(far)).ntk
    assert np.allclose(beyond, expected, rtol=0.1)
    assert np.allclose(beyond[1:], expected[1:], rtol=1e-4)


@pytest.mark.parametrize("m", [200, 1000, 4000])
@pytest.mark.parametrize("cls", [nk.NTKFeatures, nk.NNGPFeatures])
@pytest.mark.parametrize("d", [3, 8])
def test_harmonics_have_less_error_than_powers(cls, d, m, monkeypatch):
    X, new = rows(6000, d), rows(1000, d, seed=1)
    phi = cls(NET, m, random_state=0).fit(X)
    assert phi.harmonics_ is not None
    assert phi.split_ is None
    assert phi.transform(new).shape == (1000, m)
    ours = phi.kernel_error(new)
    monkeypatch.setattr(Sample, "fit_harmonics", lambda *_: None)
    powers = cls(NET, m, random_state=0).fit(X)
    assert powers.harmonics_ is None
    theirs = powers.kernel_error(new)
    assert ours["frobenius"] < 0.9 * theirs["frobenius"]
    assert ours["spectral"] < 1.1 * theirs["spectral"]


@pytest.mark.parametrize(
    ("activation", "d"), [("relu", 2), ("relu", 9), ("erf", 4), ("tanh", 5), ("sin", 9)]
)
def test_expected_error_is_what_the_features_show(activation, d):
    X = rows(2000, d)
    net = nk.mlp(2, activation, 1.4, 0.1)
    found = mean_error([nk.NTKFeatures(net, 500, random_state=0).fit(X)], net, X)
    sample = Sample(net, X, "ntk", 32, np.random.RandomState(0))
    fit = sample.best([8, 16, 32], 500, 48)
    assert found == pytest.approx(fit.error, rel=0.25)


def test_nothing_is_left_out_where_all_harmonics_fit():
    X = rows(2000, 3)
    phi = nk.NTKFeatures(nk.mlp(2, "sin", 1.0, 0.5), 2000, random_state=0).fit(X)
    assert phi.kernel_error(rows(500, 3, seed=1))["frobenius"] < 2e-3


def test_low_degrees_are_whole_whatever_the_rows():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2000, 3)) @ rng.standard_normal((3, 12))
    X += 0.01 * rng.standard_normal((2000, 12))
    phi = nk.NTKFeatures(NET, 500, random_state=0).fit(X)
    assert phi.harmonics_ is not None
    used = phi.expansion_.degrees[
        phi.harmonics_.terms[phi.expansion_.ranks[phi.harmonics_.terms] == 0]
    ]
    assert np.array_equal(np.bincount(used)[:3], [n_harmonics(12, l) for l in range(3)])
    new = rng.standard_normal((200, 12)) * 1.5  # in directions that fitted rows hardly have
    Z, K = phi.transform(new), NET.ntk(new)
    assert np.linalg.norm(Z @ Z.T - K) < 0.2 * np.linalg.norm(K)


def test_degree_is_a_bound():
    X = rows(2000, 6)
    for degree in (3, 5):
        phi = nk.NTKFeatures(NET, 3000, degree=degree, random_state=0).fit(X)
        assert phi.degree_ <= degree
        if phi.harmonics_ is not None:
            assert phi.harmonics_.basis.degree <= degree


@pytest.mark.parametrize(
    "net",
    [
        nk.mlp(2, "relu", 1.4, 0.0),  # homogeneous
        nk.mlp(2, "erf", 1.4, 0.0),  # odd
        nk.mlp(1, "cos", 1.0, 0.0),  # even: no degree 1
        nk.mlp(0, "relu", 1.4, 0.3),  # linear
        nk.Sequential(nk.Dense(), nk.ReLU(), nk.Residual(nk.Dense(), nk.Tanh(), nk.Dense())),
    ],
)
def test_any_network_and_width(net):
    for d, m in ((1, 33), (2, 1), (2, 8), (2, 700), (5, 8), (5, 700)):
        X = rows(400, d)
        phi = nk.NTKFeatures(net, m, random_state=0).fit(X)
        Z = phi.transform(X)
        assert Z.shape == (400, m)
        assert np.all(np.isfinite(Z))
        if m == 700:
            assert phi.kernel_error(X)["frobenius"] < 0.05


def test_many_dimensions_few_of_which_matter():
    rng = np.random.default_rng(0)
    basis = rng.standard_normal((3, 60))

    def near_a_plane(n):
        return rng.standard_normal((n, 3)) @ basis + 0.05 * rng.standard_normal((n, 60))

    X, new = near_a_plane(3000), near_a_plane(800)
    sample = Sample(NET, X, "ntk", 32, np.random.RandomState(0))
    fit = sample.fit_harmonics(48, 2500)
    assert fit.expansion.degrees.max() > 8
    assert fit.error < 0.75 * min(sample.fit(degree, 2500).error for degree in (8, 16, 32))
    # Powers that are split have still less, and are taken.
    phi = nk.NTKFeatures(NET, 2500, random_state=0).fit(X)
    assert phi.split_ is not None
    assert phi.kernel_error(new)["frobenius"] < 0.75 * fit.error


@pytest.mark.simd
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sparse", [False, True])
def test_same_bits_for_any_threads_and_chunks(dtype, sparse):
    X = rows(500, 6, dtype=dtype)
    X[::7] = 0
    X = sp.csr_array(X) if sparse else X
    phi = nk.NTKFeatures(NET, 300, random_state=0).fit(X)
    assert phi.harmonics_ is not None
    assert_same_bits(phi, X)


def test_csr_rows_are_the_same_and_so_is_float32():
    X = rows(800, 6)
    phi = nk.NTKFeatures(NET, 400, random_state=0).fit(X)
    sparse = nk.NTKFeatures(NET, 400, random_state=0).fit(sp.csr_array(X))
    assert phi.harmonics_ is not None
    assert_close_for_other_rows(phi, sparse, X)


def test_float32_at_high_degrees():
    """Recurrences do not lose what sums of monomials would."""
    X = rows(2000, 2)
    phi = nk.NTKFeatures(nk.mlp(3, "erf", 2.0, 0.1), 200, random_state=0).fit(X)
    assert phi.degree_ > 30
    Z = phi.transform(X)
    narrow = phi.transform(X.astype(np.float32))
    assert np.abs(narrow - Z).max() < 5e-5 * np.abs(Z).max()


def test_points_of_any_norm():
    X = rows(1000, 5) * np.exp(np.random.default_rng(3).standard_normal((1000, 1)))
    X[5] = 0
    phi = nk.NTKFeatures(NET, 1000, random_state=0).fit(X)
    assert phi.harmonics_ is not None
    K, Z = NET.ntk(X), phi.transform(X)
    assert np.linalg.norm(Z @ Z.T - K) < 0.02 * np.linalg.norm(K)
    assert np.abs(Z @ Z.T - K)[5].max() < 1e-3 * K.max()
    far = np.vstack([20 * X[:20], 1e-3 * X[:20]])
    K, Z = NET.ntk(far), phi.transform(far)
    assert np.linalg.norm(Z @ Z.T - K) < 0.1 * np.linalg.norm(K)


def test_oversampled_harmonics():
    X, new = rows(5000, 7), rows(1000, 7, seed=1)
    errors = [
        nk.NTKFeatures(NET, 400, oversampling=k, random_state=0).fit(X).kernel_error(new)
        for k in (1, 4)
    ]
    assert errors[1]["spectral"] < 1.01 * errors[0]["spectral"]
    assert errors[1]["frobenius"] < 1.02 * errors[0]["frobenius"]
