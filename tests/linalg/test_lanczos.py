"""Quadratures and solutions from products with a matrix, and what a Cholesky factor gives."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from nkfast._linalg import symmetric
from nkfast._linalg.lanczos import conjugate_gradients, quadratures
from nkfast._linalg.symmetric import (
    cholesky_solve,
    inverse_trace,
    shifted_cholesky,
    symmetric_product,
)


def positive(n, seed=0):
    A = np.random.default_rng(seed).standard_normal((n, n + 2))
    return A @ A.T / n


def test_quadratures_are_exact_for_polynomials():
    A, V = positive(50), np.random.default_rng(1).standard_normal((50, 3))
    nodes, weights = quadratures(lambda X: A @ X, V, 4)
    power = np.eye(50)
    for degree in range(8):
        expected = np.einsum("ij,ik,kj->j", V, power, V)
        assert_allclose(np.sum(weights * nodes**degree, axis=1), expected, rtol=1e-11)
        power = power @ A


def test_quadratures_converge_and_end():
    """More steps than there are dimensions, a vector of a single eigenvector, and none at all."""
    values = np.array([1.0, 2.0, 5.0])
    V = np.array([[1.0, 0.0, 0.0], [1.0, 3.0, 0.0], [1.0, 0.0, 0.0]])
    nodes, weights = quadratures(lambda X: values[:, None] * X, V, 6)
    found = np.sum(weights / (nodes + 0.5), axis=1)
    assert_allclose(found, np.sum(V**2 / (values[:, None] + 0.5), axis=0), rtol=1e-12)


def test_conjugate_gradients():
    A, B = positive(40) + np.eye(40), np.random.default_rng(1).standard_normal((40, 3))
    B[:, 2] = 0
    before = B.copy()
    assert_allclose(conjugate_gradients(lambda X: A @ X, B, 60), np.linalg.solve(A, B), atol=1e-12)
    assert np.array_equal(B, before)


@pytest.mark.parametrize("n", [1, 16, 17, 61])
@pytest.mark.parametrize("order", ["C", "F"])
def test_what_a_factor_gives(monkeypatch, n, order):
    for name, value in {"_ORDER": 16, "_PANEL": 12, "_BLOCK": 7}.items():
        monkeypatch.setattr(symmetric, name, value)
    A = positive(n)
    given = np.array(A, order=order)
    given[np.triu_indices(n, 1)] = np.nan  # is not read
    B = np.random.default_rng(1).standard_normal((n, 2))
    assert_allclose(symmetric_product(given, B), A @ B, rtol=1e-12, atol=1e-13)
    L, failed = shifted_cholesky(given, 0.1)
    assert failed == 0
    inverse = np.linalg.inv(A + 0.1 * np.eye(n))
    assert_allclose(cholesky_solve(L, B), inverse @ B, rtol=1e-9, atol=1e-12)
    assert_allclose(inverse_trace(L), np.trace(inverse), rtol=1e-10)
    assert_allclose(np.tril(given), np.tril(A))
