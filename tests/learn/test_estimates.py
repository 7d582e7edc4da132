"""The penalty of large systems, chosen by estimates, is that of the exact criteria."""

import gc
import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_allclose

import nkfast as nk
from nkfast._linalg import symmetric
from nkfast._linalg.moments import RunningMoments
from nkfast.learn._ridge import _estimates
from nkfast.learn._ridge._penalty import choose
from nkfast.learn._ridge._scores import Scores
from nkfast.learn._ridge._solve import _search
from nkfast.learn._ridge._system import system_of_kernel, system_of_moments, system_of_rows

DRAWS = 12


@pytest.fixture
def early(monkeypatch):
    """Let systems of a hundred columns be large."""
    monkeypatch.setattr(_estimates, "_LEAST", 50)
    monkeypatch.setattr(_estimates, "_COLUMNS", 1)


def system(form, seed, *, scale=1.0):
    """A system of any spectrum, number of targets, noise and weights."""
    rng = np.random.default_rng(seed)
    m, k = int(rng.integers(80, 160)), int(rng.integers(1, 4))
    n, p = (m + int(rng.integers(2, 600)), m) if form == "primal" else (m, 2 * m)
    Z = (
        rng.standard_normal((n, p)) * np.geomspace(1, 10 ** -rng.uniform(0, 4), p)
        + 2 * rng.random()
    )
    Y = Z @ rng.standard_normal((p, k))
    Y = Y / Y.std(axis=0) + 10 ** rng.uniform(-3, 1) * rng.standard_normal((n, k))
    weight = scale * rng.uniform(0.1, 3, n) if rng.random() < 0.5 else np.full(n, scale)
    centred = bool(rng.random() < 0.7)
    if form == "primal":
        sums = RunningMoments(p, k, centred=centred)
        sums.add(Z, Y, weight)
        return system_of_moments(sums)
    if form == "dual":
        return system_of_rows(Z, Y, weight, centred=centred)
    return system_of_kernel(Z @ Z.T, Y, weight, centred=centred)


@pytest.mark.parametrize("criterion", ["gcv", "evidence"])
@pytest.mark.parametrize("form", ["primal", "dual", "kernel"])
def test_it_is_that_of_the_exact_criteria(early, form, criterion):
    """Neighbours of the path whose scores are the same but for a thousandth may be confused."""
    other = 0
    for seed in range(DRAWS):
        problem = system(form, seed)
        assert _estimates.estimable(problem)
        exact = Scores(problem)
        expected, (coef, found) = choose(exact, criterion), _search(problem, criterion)
        assert found.judge == expected.judge
        assert_allclose(found.alphas, expected.alphas, rtol=0.03)
        assert_allclose(coef, exact.solution(found.alpha), rtol=1e-6, atol=1e-8 * abs(coef).max())
        if found.judge is not None and form != "primal":
            continue  # leave-one-out is asked in their place
        if abs(np.log(found.alpha / expected.alpha)) > 0.1:
            other += 1
            score = exact.gcv if expected.chosen_by == "gcv" else exact.evidence
            least, now = score(expected.alpha)[0], score(found.alpha)[0]
            assert now < least + (0.005 * least if expected.chosen_by == "gcv" else 0.05)
    assert other <= 0.1 * DRAWS


def test_scores_near_the_choice(early):
    for seed in range(3):
        problem = system("primal", seed)
        exact, (_, found) = Scores(problem), _search(problem, "gcv")
        near = np.abs(np.log(found.alphas / found.alpha)) < 1
        expected = [exact.gcv(alpha)[0] for alpha in found.alphas[near]]
        assert_allclose(found.scores[near], expected, rtol=0.03)


@pytest.mark.parametrize("form", ["primal", "dual", "kernel"])
@pytest.mark.parametrize("scale", [1e-100, 1e100])
def test_units_of_weights(early, form, scale):
    for criterion in ("gcv", "evidence"):
        coef, found = _search(system(form, 1), criterion)
        other, scaled = _search(system(form, 1, scale=scale), criterion)
        assert_allclose(scaled.alpha / scale, found.alpha, rtol=1e-6)
        unit = 1.0 if form == "primal" else np.sqrt(scale)
        assert_allclose(other * unit, coef, rtol=1e-5, atol=1e-7 * abs(coef).max())


def test_what_is_not_estimated(early):
    """Few rows, nothing at all, more targets than pay, few columns."""
    rng = np.random.default_rng(0)

    def sums(n, p, k=1, size=1.0):
        found = RunningMoments(p, k)
        found.add(size * rng.standard_normal((n, p)), rng.standard_normal((n, k)))
        return system_of_moments(found)

    assert _estimates.estimable(sums(200, 100))
    assert not _estimates.estimable(sums(80, 100))
    assert not _estimates.estimable(sums(200, 100, size=0.0))
    assert not _estimates.estimable(sums(200, 100, k=99))
    assert not _estimates.estimable(sums(200, 40))


@pytest.mark.parametrize("alpha", ["gcv", "evidence", "loo"])
@pytest.mark.parametrize("options", [{"n_components": 128}, {"method": "exact"}])
def test_learners(monkeypatch, alpha, options):
    """As a whole: the same predictions, their uncertainty, and what the stream of sums gives."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 4))
    y = np.abs(X[:, 0]) + X[:, 1] + 0.2 * rng.standard_normal(300)

    def fit():
        model = nk.NTKRegressor(nk.mlp(2), alpha=alpha, random_state=0, **options).fit(X, y)
        return model.alpha_, *model.predict(X[:50], return_std=True)

    exact = fit()
    monkeypatch.setattr(_estimates, "_LEAST", 50)
    monkeypatch.setattr(_estimates, "_COLUMNS", 1)
    alpha_, mean, std = fit()
    assert_allclose(alpha_, exact[0], rtol=0.1)
    assert_allclose(mean, exact[1], atol=0.02)
    assert_allclose(std, exact[2], rtol=0.02)


@pytest.mark.parametrize("least", [50, 10_000])
def test_the_search_leaves_no_matrix_behind(monkeypatch, least):
    """Nor are there ever more than the system and one more."""
    monkeypatch.setattr(_estimates, "_LEAST", least)
    monkeypatch.setattr(_estimates, "_COLUMNS", 1)
    monkeypatch.setattr(symmetric, "_BLOCK", 16)
    rng = np.random.default_rng(0)
    sums = RunningMoments(400, 1)
    Z = rng.standard_normal((900, 400))
    sums.add(Z, Z[:, :1] + rng.standard_normal((900, 1)))
    problem = system_of_moments(sums)
    gc.disable()  # would hide a circle of references
    tracemalloc.start()
    try:
        _search(problem, "evidence")
        left, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
    size = problem.A.nbytes
    assert left < 0.5 * size
    assert most < 1.5 * size
