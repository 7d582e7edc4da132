"""Expansions of networks in rho, and how a width is shared among their terms."""

from math import comb, pi

import numpy as np
import pytest

import nkfast as nk
from feature_cases import mean_error
from nkfast.expansion import expand, radial_coefficients
from nkfast.features._monomials import monomials, n_monomials
from nkfast.features.collapsed._allocation import allocate, ladder, sketch_widths
from nkfast.features.collapsed._factors import Pairs, fit_factors
from nkfast.features.collapsed._fit import Sample
from nkfast.sketch._program import balanced_sample, injective_hash, next_power_of_two

NETS = {
    "one layer": nk.mlp(1),
    "three layers": nk.mlp(3),
    "biases": nk.mlp(3, "relu", 1.4, 0.3),
    "ten layers": nk.mlp(10, "relu", 1.4, 0.1),
    "ends in ReLU": nk.Sequential(nk.Dense(1.4, 0.1), nk.ReLU()),
    "linear": nk.mlp(0, b_std=0.5),
}


def arccosine_series(degree):
    """Maclaurin coefficients of kappa_1(rho) = (sqrt(1 - rho^2) + rho (pi - arccos rho)) / pi."""
    c = np.zeros(degree + 1)
    c[0], c[1] = 1 / pi, 0.5
    for n in range(1, degree // 2 + 1):
        # kappa_1'' = 1 / (pi sqrt(1 - rho^2)), the binomial series, integrated twice
        c[2 * n] = comb(2 * n - 2, n - 1) / 4 ** (n - 1) / ((2 * n - 1) * 2 * n) / pi
    return c


def test_one_relu_layer_has_the_known_series():
    """w_std = 1, no bias: NNGP = w^2 (a b / d) kappa_1(rho) / 2."""
    g = radial_coefficients(nk.mlp(1, w_std=1.0), np.array([3.0]), np.array([0.5]), 4, 20, "nngp")
    expected = 3.0 * 0.5 / 4 / 2 * arccosine_series(20)
    assert np.allclose(g[:, 0, 0], expected, 1e-12, 1e-15)


@pytest.mark.parametrize("kernel", ["nngp", "ntk"])
@pytest.mark.parametrize("name", NETS)
def test_the_series_sums_to_the_kernel_and_is_psd(name, kernel):
    net = NETS[name]
    rng = np.random.default_rng(0)
    d, q = 5, 48
    X = rng.standard_normal((30, d)) * np.exp(rng.standard_normal((30, 1)) / 2)
    a = np.linalg.norm(X, axis=1)
    rho = (X / a[:, None]) @ (X / a[:, None]).T
    g = radial_coefficients(net, a, a, d, q, kernel)
    total = sum(g[l] * rho**l for l in range(q + 1))
    exact = getattr(net, kernel)(X)
    far = np.abs(rho) < 0.6  # 0.6^49 is at rounding
    assert np.abs(total - exact)[far].max() < 1e-10 * np.abs(exact).max()
    for part in g:
        assert np.linalg.eigvalsh(part).min() > -1e-12 * exact.max()


@pytest.mark.parametrize("kernel", ["nngp", "ntk"])
@pytest.mark.parametrize("name", NETS)
def test_radial_weights_reproduce_the_coefficients(name, kernel):
    net = NETS[name]
    rng = np.random.default_rng(1)
    a = np.exp(rng.standard_normal(40) * 0.4)
    found = expand(net, a, 5, 6, kernel)
    g = radial_coefficients(net, a, a, 5, 6, kernel)
    u = found.weights(a)
    for l in range(7):
        part = u[:, found.degrees == l]
        assert np.abs(part @ part.T - g[l]).max() < 1e-3 * g.max()
    assert np.all(np.diff(found.degrees * 10 + found.ranks) > 0)
    if net._homogeneity() is not None:
        assert found.ranks.max(initial=0) == 0
        assert np.allclose(u[:, 0] ** 2, np.diagonal(g[0]), rtol=1e-12)


def test_norms_outside_the_range_and_zero():
    net = nk.mlp(2, "relu", 1.4, 0.1)
    found = expand(net, np.linspace(1, 3, 50), 5, 6, "ntk")
    inside = np.array([1.0, 2.0, 3.0])
    outside = np.array([0.0, 1e-12, 1e-2, 10.0, 1e6])
    u, v = found.weights(outside), found.weights(inside)
    g = radial_coefficients(net, outside, inside, 5, 6, "ntk")
    for l in range(7):
        c = found.degrees == l
        scale = np.abs(g).max(axis=(0, 2))[:, None]  # of each outside point
        assert np.all(np.abs(u[:, c] @ v[:, c].T - g[l]) < 2e-2 * scale)
    # A row's weights come from its own norm alone.
    assert np.array_equal(found.weights(outside[3:4])[0], u[3])
    assert np.array_equal(found.weights(np.concatenate([inside, outside]), 3)[-5:], u)


@pytest.mark.parametrize(("d", "l"), [(1, 5), (2, 4), (5, 2), (3, 5)])
def test_monomials_are_the_exact_feature_map(d, l):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((10, d))
    Z = X
    for parents, variables, factors in monomials(d, l):
        Z = Z[:, parents] * X[:, variables] * factors
    assert Z.shape[1] == n_monomials(d, l) == comb(d + l - 1, l)
    assert np.allclose(Z @ Z.T, (X @ X.T) ** l)


def test_samples_and_hashes():
    rng = np.random.RandomState(0)
    assert [next_power_of_two(n) for n in (0, 1, 2, 3, 4, 5, 1000)] == [1, 1, 2, 4, 4, 8, 1024]
    counts = np.bincount(balanced_sample(rng, 7, 100), minlength=7)
    assert set(counts) == {14, 15}
    assert len(set(injective_hash(rng, 60, 64))) == 60
    assert injective_hash(rng, 100, 8).max() == 7


def terms(e):
    return np.arange(len(e)), np.zeros(len(e), int), np.array(e, float)


def fitted(g, rho, kernel, n_rows, *args):
    """Fit to all pairs of a kernel, from coefficients (q + 1, s, s)."""
    i, j = np.triu_indices(len(rho), 1)
    near = np.einsum("lii->li", g)
    pairs = Pairs(g[:, i, j], rho[i, j], kernel[i, j], near, np.diagonal(kernel), n_rows, (i, j))
    return fit_factors(pairs, *args)


def constant(e, n):
    """Coefficients g_l that are the same for all pairs of rows."""
    return np.array(e)[:, None, None] * np.ones((len(e), n, n))


def test_allocation_fills_the_width():
    for m in (1, 2, 5, 50, 400, 5000):
        degrees, ranks, energies = terms([1.0, 0.8, 0.5, 0.3, 0.2, 0.1, 0.05])
        plan = allocate(degrees, ranks, energies, 10, m)
        reached = sum(comb(9 + l, l) for l in range(7))
        assert plan.widths.sum() == min(m, reached) or m == 2  # a sketch of one feature is no use
        assert np.all(plan.widths >= 0)
        assert np.all(plan.widths[plan.exact] == [comb(9 + l, l) for l in degrees[plan.exact]])
        assert np.all(plan.exact == (degrees <= plan.top))
        sketched = (plan.widths > 0) & ~plan.exact
        if sketched.sum() > 1 and m >= 400:  # in proportion to the energies
            ratio = plan.widths[sketched] / energies[sketched]
            assert ratio.max() < 1.3 * ratio.min()


def test_more_width_never_hurts():
    degrees, ranks, energies = terms([1.0, 0.8, 0.5, 0.3, 0.2, 0.1, 0.05])
    noise = [allocate(degrees, ranks, energies, 20, m).noise for m in (8, 32, 128, 512, 2048, 8192)]
    assert np.all(np.diff(noise) < 0)


def test_factors_stay_one_where_nothing_is_cut_or_sketched():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((50, 3))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    rho = X @ X.T
    e = [0.5, 0.3, 0.2]
    kernel = sum(c * rho**l for l, c in enumerate(e))
    factors, plan, error = fitted(constant(e, 50), rho, kernel, 50, *terms(e), 3, 100)
    assert plan.exact.all()
    assert error < 1e-7
    assert np.allclose(factors, 1, atol=1e-10)


def test_factors_keep_the_diagonal_of_what_was_cut():
    """Degrees 0..2 stand for a kernel that has more: the fit is better than the cut series."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((80, 3))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    rho = X @ X.T
    kernel = np.exp(2 * (rho - 1))
    e = np.exp(-2) * np.array([1.0, 2.0, 2.0])
    powers = np.stack([c * rho**l for l, c in enumerate(e)])
    factors, _, expected = fitted(constant(e, 80), rho, kernel, 80, *terms(e), 3, 100)
    error = np.linalg.norm(np.tensordot(factors, powers, 1) - kernel)
    assert expected == pytest.approx(error / np.linalg.norm(kernel), rel=1e-3)
    columns = powers.reshape(3, -1).T
    best = np.sqrt(np.linalg.lstsq(columns, kernel.ravel(), rcond=None)[1][0])
    assert error < 1.05 * best < 0.5 * np.linalg.norm(powers.sum(axis=0) - kernel)
    assert np.all(factors >= 0)


def test_factors_of_a_single_row_and_of_zero_rows():
    e = [0.5, 0.3, 0.2]
    one, rho = constant(e, 1), np.ones((1, 1))
    factors, _, error = fitted(one, rho, np.array([[2.0]]), 1, *terms(e), 3, 100)
    assert np.tensordot(factors, one, 1)[0, 0] == pytest.approx(1.7, abs=0.5)
    assert 0 <= error < 0.3
    zero = np.zeros((3, 4, 4))
    factors, _, error = fitted(
        zero, np.zeros((4, 4)), np.zeros((4, 4)), 4, *terms([0.0] * 3), 3, 100
    )
    assert np.all(factors == 0)
    assert error == 0


def test_a_ladder_takes_as_few_products_in_a_row_as_can_be():
    assert ladder(1, [5]) == {2: 1, 3: 2, 4: 3, 5: 4}
    assert ladder(1, [1]) == {}
    assert ladder(2, [4, 7]) == {4: 2, 6: 4, 7: 6}
    assert ladder(5, [3, 6, 10, 11, 23]) == {6: 5, 10: 5, 11: 10, 15: 10, 20: 15, 23: 20}
    assert ladder(3, [1, 2, 3]) == {}


def test_what_feeds_higher_degrees_is_wide_enough():
    degrees, widths = np.arange(9), np.array([0, 0, 0, 0, 3, 0, 0, 100, 20])
    found = sketch_widths(ladder(2, [4, 7, 8]), degrees, widths, 1024)
    assert found == {4: 128, 6: 128, 7: 128, 8: 32}
    found = sketch_widths(ladder(2, [4, 7, 8]), degrees, widths // 100, 16)
    assert found == {4: 32, 6: 32, 7: 32, 8: 32}


@pytest.mark.parametrize(("d", "top_degree"), [(4, 14), (30, 8)])
def test_noise_is_what_the_features_show(d, top_degree, monkeypatch):
    """The expected error of fit_factors beside that of drawn maps, on rows at all angles."""
    monkeypatch.setattr(Sample, "fit_harmonics", lambda *_: None)
    rng = np.random.default_rng(0)
    near = np.repeat(rng.standard_normal((20, d)), 6, axis=0)
    X = near + 0.5 * rng.standard_normal(near.shape)
    net = nk.mlp(3, "relu", 1.4, 0.1)
    maps = [nk.NTKFeatures(net, 300, degree=top_degree, random_state=s).fit(X) for s in range(12)]
    sample = Sample(net, X, "ntk", top_degree, np.random.RandomState(0))
    expected = sample.best([top_degree], 300, top_degree).error
    assert mean_error(maps, net, X) == pytest.approx(expected, rel=0.15)


def test_an_expansion_is_a_kernel():
    """Degree 60 leaves out rho^61 and above: nothing to speak of where |rho| < 0.9."""
    X = np.random.default_rng(0).standard_normal((30, 4))
    net = nk.mlp(2, "relu", 1.4, 0.2)
    norms = np.linalg.norm(X, axis=1)
    rho = X @ X.T / np.outer(norms, norms)
    found = expand(net, norms, 4, 60, "ntk")
    away = np.abs(rho) < 0.9
    exact = net.ntk(X)
    assert np.abs(found.kernel_of(norms, rho) - exact)[away].max() < 1e-4 * np.abs(exact).max()
    assert np.all(found.kernel_of(norms, rho, np.zeros(len(found.degrees), bool)) == 0)


@pytest.mark.filterwarnings("ignore:.*kernels of nearly equal points")
def test_layers_that_overflow_are_refused():
    """In between: what comes behind them is bounded again."""
    net = nk.Sequential(nk.Dense(1.0), nk.Exp(1.0, 0.4), nk.Dense(1.8), nk.RBF(0.01), nk.Dense(1.0))
    X = np.random.default_rng(0).standard_normal((50, 60)) * 5e3
    with pytest.raises(ValueError, match="can hold in all layers"):
        nk.NNGPFeatures(net, 100).fit(X)
