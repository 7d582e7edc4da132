"""Bayesian regression on the features against the n x n formulas, and gradient flow."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.linalg import expm
from scipy.optimize import minimize_scalar
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct
from sklearn.linear_model import LinearRegression

import nkfast as nk
from learners import regression
from nkfast.learn._ridge._posterior import CholeskyPosterior, SpectralPosterior

WIDTHS = pytest.mark.parametrize("form", [16, 256, "exact"])
FLAT_PRIOR = 1e7  # variance of the constant that stands for a flat prior in the formulas


def learner(form, **parameters):
    net = nk.mlp(2, b_std=0.3)
    if form == "exact":
        return nk.NTKRegressor(net, method="exact", **parameters)
    return nk.NTKRegressor(net, form, random_state=0, block_size=11, **parameters)


def gram(model, X, Z):
    """The kernel that the learner works with."""
    if model.method == "exact":
        return model.net_.ntk(X, Z)
    return model.features_.transform(X) @ model.features_.transform(Z).T


def posterior(model, X, y, X_new, weight=None):
    """Mean and covariance of z^T w + b at new rows, by the n x n formulas of kriging."""
    n = len(X)
    weight = np.ones(n) if weight is None else weight
    noise = model.noise_variance_ * np.diag(weight.mean() / weight)
    prior = model.noise_variance_ * weight.mean() / model.alpha_
    C = np.linalg.inv(prior * gram(model, X, X) + noise)
    k = prior * gram(model, X_new, X)
    mean = k @ C @ y
    covariance = prior * gram(model, X_new, X_new) - k @ C @ k.T
    if model.fit_intercept:  # generalised least squares of the constant
        one = np.ones(n)
        precision = one @ C @ one
        b = (one @ C @ y) / precision
        left = 1 - k @ C @ one
        mean += left * b
        covariance += np.outer(left, left) / precision
    return mean, covariance


@WIDTHS
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("alpha", [0.3, "gcv", "evidence"])
def test_prediction_is_that_of_the_gaussian_process(form, fit_intercept, weighted, alpha):
    X, y = regression(n=40)
    X_new = regression(n=15, seed=1)[0]
    weight = np.random.default_rng(1).uniform(0.5, 2, 40) if weighted else None
    model = learner(form, alpha=alpha, fit_intercept=fit_intercept).fit(X, y, weight)
    expected, covariance = posterior(model, X, y, X_new, weight)
    size = np.abs(covariance).max()
    mean, cov = model.predict(X_new, return_cov=True, include_noise=False)
    assert_allclose(mean, expected, rtol=1e-8, atol=1e-8)
    assert_allclose(cov, covariance, atol=1e-8 * size)
    mean, std = model.predict(X_new, return_std=True, include_noise=False)
    assert_array_equal(mean, model.predict(X_new))
    assert_allclose(std**2, np.diag(covariance), atol=1e-8 * size)
    _, std = model.predict(X_new, return_std=True)
    assert_allclose(std**2, np.diag(covariance) + model.noise_variance_, atol=1e-8 * size)
    _, cov = model.predict(X_new, return_cov=True)
    assert_allclose(cov, covariance + model.noise_variance_ * np.eye(15), atol=1e-8 * size)


@WIDTHS
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_both_factorisations_give_the_same_posterior(form, fit_intercept, weighted):
    X, y = regression(n=40)
    X_new = regression(n=15, seed=1)[0]
    weight = np.random.default_rng(1).uniform(0.5, 2, 40) if weighted else None
    model = learner(form, alpha=0.3, fit_intercept=fit_intercept).fit(X, y, weight)
    _, cov = model.predict(X_new, return_cov=True)
    _, std = model.predict(X_new, return_std=True)
    noise, evidence = model.noise_variance_, model.log_marginal_likelihood()
    assert isinstance(model._posterior(), CholeskyPosterior)
    other = clone(model).fit(X, y, weight)
    other._spectrum()
    assert isinstance(other._posterior(), SpectralPosterior)
    assert_allclose(other.predict(X_new, return_cov=True)[1], cov, rtol=1e-9, atol=1e-11)
    assert_allclose(other.predict(X_new, return_std=True)[1], std, rtol=1e-9)
    assert_allclose(other.noise_variance_, noise, rtol=1e-10)
    assert_allclose(other.log_marginal_likelihood(), evidence, rtol=1e-10)
    if form != "exact":
        for one in (model, other):
            draws = one.sample_y(X_new, 20_000, random_state=2)
            assert_allclose(np.cov(draws), cov, atol=0.05 * np.abs(cov).max())


def test_a_penalty_below_rounding_falls_back_to_the_spectrum():
    X, y = regression(n=60)
    X[30:] = X[:30]
    model = learner("exact", alpha=1e-18).fit(X, y)
    assert isinstance(model._posterior(), SpectralPosterior)
    assert np.all(np.isfinite(model.predict(X, return_std=True)[1]))


@WIDTHS
def test_prediction_is_that_of_scikit_learn(form):
    X, y = regression(n=50)
    model = learner(form, alpha=0.5, fit_intercept=False).fit(X, y)
    prior = model.noise_variance_ / model.alpha_
    if form == "exact":
        inner, rows = nk.gp.NeuralKernel(model.net_), [X, X[:7] + 0.1]
    else:
        inner = DotProduct(sigma_0=0.0, sigma_0_bounds="fixed")
        rows = [model.features_.transform(A) for A in (X, X[:7] + 0.1)]
    kernel = ConstantKernel(prior) * inner
    process = GaussianProcessRegressor(kernel, alpha=model.noise_variance_, optimizer=None)
    process.fit(rows[0], y)
    mean, std = process.predict(rows[1], return_std=True)
    found, found_std = model.predict(X[:7] + 0.1, return_std=True, include_noise=False)
    assert_allclose(found, mean, rtol=1e-8)
    assert_allclose(found_std, std, rtol=1e-8)
    value = process.log_marginal_likelihood_value_
    assert_allclose(model.log_marginal_likelihood(), value, rtol=1e-9)


def log_likelihood(model, X, y, alpha, noise, weight=None):
    """The density of y, or with a flat constant that of its contrasts, written out."""
    n = len(y)
    weight = np.ones(n) if weight is None else weight
    C = noise * weight.mean() * (gram(model, X, X) / alpha + np.diag(1 / weight))
    if not model.fit_intercept:
        return multivariate_normal(cov=C).logpdf(y)
    one = np.ones(n)
    solved = np.linalg.solve(C, np.column_stack([one, y]))
    precision, b = one @ solved[:, 0], (one @ solved[:, 1]) / (one @ solved[:, 0])
    # Integrating exp(-(y - b)^T C^-1 (y - b) / 2) over b.
    density = multivariate_normal(cov=C).logpdf(y - b)
    return density + 0.5 * np.log(2 * np.pi / precision)


@WIDTHS
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_likelihood_is_its_definition(form, fit_intercept, weighted):
    X, y = regression(n=40)
    weight = np.random.default_rng(1).uniform(0.5, 2, 40) if weighted else None
    model = learner(form, alpha=0.3, fit_intercept=fit_intercept).fit(X, y, weight)
    for alpha in (0.01, 0.3, 10.0):
        for noise in (0.02, 1.5):
            expected = log_likelihood(model, X, y, alpha, noise, weight)
            found = model.log_marginal_likelihood(alpha, noise)
            assert_allclose(found, expected, rtol=1e-8)
    best = minimize_scalar(
        lambda x: -log_likelihood(model, X, y, model.alpha_, np.exp(x), weight), bracket=(-3, 1)
    )
    assert_allclose(model.noise_variance_, np.exp(best.x), rtol=1e-5)
    assert_allclose(model.log_marginal_likelihood(), -best.fun, rtol=1e-9)


@WIDTHS
@pytest.mark.parametrize("k", [None, 2])
def test_evidence_chooses_the_largest_likelihood(form, k):
    X, y = regression(n=60, k=k)
    model = learner(form, alpha="evidence").fit(X, y)
    best = minimize_scalar(
        lambda x: -model.log_marginal_likelihood(np.exp(x)),
        bounds=np.log(model.alphas_[[0, -1]]),
        method="bounded",
        options={"xatol": 1e-10},
    )
    assert_allclose(np.log(model.alpha_), best.x, atol=1e-6)
    found = [model.log_marginal_likelihood(alpha) for alpha in model.alphas_]
    assert_allclose(np.diff(model.evidence_), np.diff(found), rtol=1e-5, atol=1e-5)
    assert model.log_marginal_likelihood() >= max(found)


def test_streams_need_the_sums_only():
    X, y = regression(n=200)
    model = nk.NTKRegressor(None, 16, alpha="evidence", random_state=0)
    weight = np.random.default_rng(1).uniform(0.5, 2, 200)
    model.partial_fit(X[:150], y[:150], weight[:150]).partial_fit(X[150:], y[150:], weight[150:])
    mean, covariance = posterior(model, X, y, X[:9], weight)
    found = model.predict(X[:9], return_cov=True, include_noise=False)
    assert_allclose(found[0], mean, rtol=1e-7)
    assert_allclose(found[1], covariance, atol=1e-8 * covariance.max())
    expected = log_likelihood(model, X, y, model.alpha_, model.noise_variance_, weight)
    assert_allclose(model.log_marginal_likelihood(), expected, rtol=1e-8)


@pytest.mark.parametrize("form", [16, 256, "exact"])
def test_whole_weights_are_repetitions(form):
    X, y = regression(n=30)
    count = np.arange(30) % 3 + 1
    one = learner(form, alpha=0.2).fit(X, y, count)
    other = learner(form, alpha=0.2).fit(np.repeat(X, count, 0), np.repeat(y, count))
    assert_allclose(one.noise_variance_, other.noise_variance_, rtol=1e-9)
    assert_allclose(one.log_marginal_likelihood(), other.log_marginal_likelihood(), rtol=1e-9)
    stds = [m.predict(X, return_std=True)[1] for m in (one, other)]
    assert_allclose(*stds, rtol=1e-8)


@WIDTHS
def test_several_targets(form):
    X, Y = regression(n=50, k=3)
    model = learner(form, alpha=0.2).fit(X, Y)
    mean, std = model.predict(X[:8], return_std=True)
    _, cov = model.predict(X[:8], return_cov=True)
    assert mean.shape == std.shape == (8, 3)
    assert cov.shape == (8, 8, 3)
    assert_allclose(np.diagonal(cov).T, std**2, rtol=1e-8)
    assert model.sample_y(X[:8], 5).shape == (8, 3, 5)
    total = 0.0
    for j in range(3):
        one = learner(form, alpha=0.2).fit(X, Y[:, j])
        assert_allclose(one.predict(X[:8], return_std=True)[1], std[:, j], rtol=1e-8)
        assert_allclose(one.noise_variance_, model.noise_variance_[j], rtol=1e-9)
        total += one.log_marginal_likelihood()
    assert_allclose(model.log_marginal_likelihood(), total, rtol=1e-9)


@WIDTHS
@pytest.mark.parametrize("include_noise", [True, False])
def test_samples_have_the_mean_and_covariance(form, include_noise):
    X, y = regression(n=40)
    X_new = np.vstack([X[:3], 3 * X[3:5]])
    model = learner(form, alpha=0.5).fit(X, y)
    mean, cov = model.predict(X_new, return_cov=True, include_noise=include_noise)
    drawn = model.sample_y(X_new, 40_000, random_state=1, include_noise=include_noise)
    assert drawn.shape == (5, 40_000)
    std = np.sqrt(np.diag(cov))
    assert_allclose((drawn.mean(axis=1) - mean) / std, 0, atol=5 / 200)
    # The variance of an entry of the sample covariance is (c_ii c_jj + c_ij^2) / n.
    assert_allclose(np.cov(drawn) / np.outer(std, std), cov / np.outer(std, std), atol=5 / 140)
    again = model.sample_y(X_new, 2, random_state=3)
    assert_array_equal(again, model.sample_y(X_new, 2, random_state=3))


def test_float32_and_pickles():
    X, y = regression(n=300)
    model = learner(16, alpha=0.1).fit(X, y)
    mean, std = model.predict(X.astype(np.float32), return_std=True)
    assert mean.dtype == std.dtype == np.float32
    assert_allclose(std, model.predict(X, return_std=True)[1], rtol=1e-4)
    for form in (16, 512, "exact"):
        model = learner(form, alpha=0.1).fit(X, y)
        before = model.predict(X, return_std=True)[1]
        copy = pickle.loads(pickle.dumps(model))
        assert copy._fitted._spectrum is None
        assert_allclose(copy.predict(X, return_std=True)[1], before, rtol=1e-10)


def test_what_bayes_refuses():
    X, y = regression(n=30)
    model = learner("exact", alpha=0).fit(X, y)
    for call in (
        lambda: model.predict(X, return_std=True),
        lambda: model.predict(X, return_cov=True),
        lambda: model.sample_y(X),
        lambda: model.noise_variance_,
        model.log_marginal_likelihood,
    ):
        with pytest.raises(ValueError, match="alpha: expected a"):
            call()
    model = learner(16, alpha=1).fit(X, y)
    with pytest.raises(ValueError, match="return_cov: expected False with return_std"):
        model.predict(X, return_std=True, return_cov=True)
    with pytest.raises(ValueError, match="n_samples: expected an integer >= 1"):
        model.sample_y(X, 0)
    with pytest.raises(ValueError, match="noise_variance: expected a number above zero"):
        model.log_marginal_likelihood(noise_variance=-1)
    with pytest.raises(ValueError, match="alpha: expected a finite number in"):
        model.log_marginal_likelihood(alpha=0)
    with pytest.raises(ValueError, match="X: expected at least 2 observations"):
        learner(16, alpha=1).fit(X[:1], y[:1]).predict(X[:1], return_std=True)


@WIDTHS
@pytest.mark.parametrize("alpha", ["evidence", "gcv", "loo", 0, 1e-12])
@pytest.mark.parametrize("poor", ["constant y", "zero X", "duplicate columns", "duplicate rows"])
def test_poor_problems_stay_finite(form, alpha, poor):
    X, y = regression(n=20)
    if poor == "constant y":
        y = np.full(20, 3.0)
    elif poor == "zero X":
        X = np.zeros((20, 5))
    elif poor == "duplicate columns":
        X = np.hstack([X, X])
    else:
        X, y = np.vstack([X, X]), np.append(y, y)
    model = learner(form, alpha=alpha).fit(X, y)
    assert np.isfinite(model.predict(X)).all()
    assert np.isfinite(model.predict_flow(X, t=[0, 1, np.inf])).all()
    if alpha != 0:
        assert np.isfinite(model.predict(X, return_std=True)[1]).all()
        assert np.isfinite(model.sample_y(X, 3)).all()
        assert not np.isnan(model.log_marginal_likelihood())


# --- gradient flow ---


@WIDTHS
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("k", [None, 2])
@pytest.mark.parametrize("t", [0.0, 0.7, 30.0])
def test_flow_is_its_formula(form, fit_intercept, k, t):
    X, y = regression(n=30, k=k)
    X_new = regression(n=9, seed=1)[0]
    model = learner(form, alpha="gcv", fit_intercept=fit_intercept).fit(X, y)
    H = np.eye(30) - (1 / 30 if fit_intercept else 0)
    b = y.mean(axis=0) if fit_intercept else 0.0
    K, k_new = gram(model, X, X), gram(model, X_new, X)
    k_new = (k_new - (K.mean(axis=0) if fit_intercept else 0)) @ H
    K = H @ K @ H
    eta = 0.4
    inverse = np.linalg.pinv(K, rcond=1e-11, hermitian=True)
    expected = k_new @ inverse @ (np.eye(30) - expm(-eta * t / 30 * K)) @ (y - b) + b
    found = model.predict_flow(X_new, t, learning_rate=eta)
    assert found.shape == expected.shape
    assert_allclose(found, expected, rtol=1e-7, atol=1e-8)


@WIDTHS
def test_flow_is_what_gradient_descent_does(form):
    """Small steps on the weighted loss follow it."""
    X, y = regression(n=25)
    weight = np.random.default_rng(0).uniform(0.5, 2, 25)
    model = learner(form, fit_intercept=False).fit(X, y, weight)
    K, f = gram(model, X, X), np.zeros(25)
    steps, time = 4000, 2.0
    for _ in range(steps):
        f -= time / steps * K @ (weight * (f - y)) / weight.sum()
    assert_allclose(model.predict_flow(X, time), f, atol=2e-3 * np.abs(y).max())


@WIDTHS
def test_flow_ends_at_the_ridgeless_solution(form):
    X, y = regression(n=40)
    X_new = regression(n=9, seed=1)[0]
    model = learner(form, alpha=0).fit(X, y)
    end = model.predict_flow(X_new)
    if form == "exact":
        expected = model.predict(X_new)
    else:
        Z = model.features_.transform(np.concatenate([X, X_new]))
        expected = LinearRegression().fit(Z[:40], y).predict(Z[40:])
    assert_allclose(end, expected, rtol=1e-6, atol=1e-7)
    times = model.predict_flow(X_new, [0, 1.0, np.inf])
    assert times.shape == (3, 9)
    assert_allclose(times[2], end, rtol=1e-12)
    assert_allclose(times[0], y.mean())
    assert_allclose(model.predict_flow(X_new, 1e12), end, rtol=1e-6, atol=1e-6)
    assert model.predict_flow(X_new.astype(np.float32), 1.0).dtype == np.float32


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"t": -1.0}, ValueError, "t: expected times >= 0"),
        ({"t": [[1.0]]}, ValueError, "t: expected times >= 0"),
        ({"t": np.nan}, ValueError, "t: expected times >= 0"),
        ({"learning_rate": 0.0}, ValueError, "learning_rate: expected a finite number in"),
        ({"learning_rate": "fast"}, TypeError, "learning_rate: expected a real number"),
    ],
)
def test_bad_times(arguments, error, message):
    X, y = regression(n=20)
    with pytest.raises(error, match=message):
        clone(learner(16)).fit(X, y).predict_flow(X, **arguments)
