"""Factors that stand in the upper half of their matrix."""

import multiprocessing
import threading

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import nkfast as nk
from nkfast._linalg import factor, symmetric
from nkfast._linalg.factor import _InsideFactor, factorise


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    for name, value in {"_ORDER": 16, "_PANEL": 12, "_BLOCK": 7}.items():
        monkeypatch.setattr(symmetric, name, value)


def positive(n):
    A = np.random.default_rng(n).standard_normal((n, n + 3))
    return np.asfortranarray(A @ A.T)


@pytest.mark.parametrize("n", [1, 16, 17, 24, 61])
@pytest.mark.parametrize("inside", [False, True])
def test_what_it_gives(n, inside):
    A = positive(n)
    given = A.copy(order="F")
    given[np.triu_indices(n, 1)] = np.nan  # is not read
    before = np.tril(given)
    found = factorise(given, 0.1, inside=inside)
    assert isinstance(found, _InsideFactor) == (inside and n > 16)
    assert found.order == n
    L = np.linalg.cholesky(A + 0.1 * np.eye(n))
    assert_allclose(found.diagonal, np.diagonal(L), rtol=1e-10)
    B = np.random.default_rng(1).standard_normal((n, 2))
    given_B = B.copy()
    inverse = np.linalg.inv(A + 0.1 * np.eye(n))
    assert_allclose(found.solve(B), inverse @ B, rtol=1e-8, atol=1e-10)
    assert_array_equal(B, given_B)
    assert_allclose(found.inverse_trace(), np.trace(inverse), rtol=1e-9)
    assert_array_equal(np.tril(given), before)


@pytest.mark.parametrize("at", [0, 11, 12, 40, 60])
def test_not_positive_definite(at):
    A = positive(61)
    A[at, at] = -1
    assert factorise(A, 0.0, inside=True) is None


def test_only_of_matrices_in_fortran_order():
    A = np.ascontiguousarray(positive(30))
    before = A.copy()
    assert not isinstance(factorise(A, 0.1, inside=True), _InsideFactor)
    assert_array_equal(A, before)


def test_two_factors_of_one_matrix():
    """The one whose place was taken is made again."""
    A = positive(50)
    B = np.ones((50, 1))
    one, other = (factorise(A, alpha, inside=True) for alpha in (0.1, 3.0))
    for _ in range(2):
        for found, alpha in ((one, 0.1), (other, 3.0)):
            expected = np.linalg.solve(np.tril(A) + np.tril(A, -1).T + alpha * np.eye(50), B)
            assert_allclose(found.solve(B), expected, rtol=1e-8, atol=1e-12)


def test_many_threads():
    A = positive(90)
    full = np.tril(A) + np.tril(A, -1).T
    B = np.ones((90, 1))
    wrong = []

    def work(alpha):
        expected = np.linalg.solve(full + alpha * np.eye(90), B)
        for _ in range(20):
            found = factorise(A, alpha, inside=True)
            if not np.allclose(found.solve(B), expected, rtol=1e-7, atol=1e-12):
                wrong.append(alpha)

    threads = [threading.Thread(target=work, args=(a,)) for a in (0.1, 0.5, 2.0, 9.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_after_a_fork():
    """A lock that a thread of the parent holds is not the child's."""

    def child():
        found = factorise(positive(40), 0.1, inside=True)
        raise SystemExit(0 if np.isfinite(found.diagonal).all() else 1)

    with factor._lock:
        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        process.join(20)
    assert process.exitcode == 0


@pytest.mark.parametrize("alpha", ["evidence", "gcv", 0.1])
def test_learners(monkeypatch, alpha):
    """The same predictions, also of models that go on after they were asked."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 3))
    y = np.sin(X[:, 0]) + 0.1 * rng.standard_normal(300)

    def predictions():
        model = nk.NTKRegressor(nk.mlp(2), n_components=80, alpha=alpha, random_state=0)
        found = []
        for rows in (slice(0, 200), slice(200, 300)):
            model.partial_fit(X[rows], y[rows])
            found.append(model.predict(X))
            found.append(model.predict(X[:9], return_std=True)[1])
        return np.concatenate(found)

    inside = predictions()
    monkeypatch.setattr(symmetric, "_ORDER", 1000)
    assert_allclose(inside, predictions(), rtol=1e-6, atol=1e-8)
