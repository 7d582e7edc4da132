"""Products A A^T and Cholesky factors in pieces, which large orders need."""

import os
import subprocess
import sys

import numpy as np
import pytest

from nkfast import NTKRegressor, mlp
from nkfast._linalg import symmetric
from nkfast._linalg.eigen import symmetric_eigen
from nkfast._linalg.symmetric import cholesky, gram_matrix, rank_update

# With two threads OpenBLAS's own symmetric product ends the process at this order.
LARGE = """
import numpy as np
from nkfast._linalg.symmetric import rank_update
p = 16000
Z = np.random.default_rng(0).standard_normal((800, p))
C = rank_update(np.zeros((p, p), order="F"), Z)
for row in (0, 7999, 8000, 15999):
    assert np.abs(C[row, : row + 1] - Z.T[row] @ Z[:, : row + 1]).max() < 1e-10
"""


@pytest.fixture
def small_pieces(monkeypatch):
    for name, value in {"_ORDER": 16, "_DEPTH": 5, "_PANEL": 12}.items():
        monkeypatch.setattr(symmetric, name, value)


def positive(n):
    A = np.random.default_rng(n).standard_normal((n, n + 3))
    return np.asfortranarray(A @ A.T)


@pytest.mark.parametrize("p", [1, 16, 17, 24, 61])
def test_rank_update(small_pieces, p):
    Z = np.random.default_rng(0).standard_normal((33, p))
    C = positive(p)
    expected = C + Z.T @ Z
    found = rank_update(C, Z)
    assert np.shares_memory(found, C)
    np.testing.assert_allclose(np.tril(found), np.tril(expected), rtol=1e-13, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [0, 1, 16, 17, 24, 61])
def test_gram_matrix(small_pieces, n, dtype):
    Z = np.random.default_rng(0).standard_normal((n, 9)).astype(dtype)
    K = gram_matrix(Z)
    assert K.dtype == dtype
    np.testing.assert_array_equal(K, K.T)
    np.testing.assert_allclose(K, Z @ Z.T, rtol=1e-5 if dtype == np.float32 else 1e-13, atol=1e-6)
    np.testing.assert_allclose(gram_matrix(np.asfortranarray(Z)), K, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n", [1, 16, 17, 24, 61])
def test_cholesky(small_pieces, n):
    A = positive(n)
    given = A.copy(order="F")
    given[np.triu_indices(n, 1)] = np.nan  # is not read
    L, failed = cholesky(given)
    assert failed == 0
    assert np.shares_memory(L, given)
    np.testing.assert_allclose(np.tril(L), np.linalg.cholesky(A), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("at", [0, 11, 12, 40, 60])
def test_not_positive_definite(small_pieces, at):
    A = positive(61)
    A[at, at] = -1
    assert cholesky(A)[1] == at + 1


def test_learner_in_pieces(monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 3))
    y = np.sin(X[:, 0]) + 0.1 * rng.standard_normal(200)

    def fit(rows, alpha):
        model = NTKRegressor(mlp(2), n_components=80, alpha=alpha, random_state=0)
        return model.fit(X[:rows], y[:rows]).predict(X, return_std=True)

    cases = [(200, "evidence"), (200, 0.1), (60, "gcv"), (60, 0.1)]
    whole = [fit(*case) for case in cases]
    monkeypatch.setattr(symmetric, "_ORDER", 16)
    monkeypatch.setattr(symmetric, "_PANEL", 12)
    for case, expected in zip(cases, whole, strict=True):
        np.testing.assert_allclose(fit(*case), expected, rtol=1e-6)


def test_order_at_which_openblas_crashes():
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if memory < 8 << 30:
        pytest.skip("takes 3 GB")
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "2"}
    subprocess.run([sys.executable, "-c", LARGE], check=True, env=environment, timeout=300)


@pytest.mark.parametrize("driver", [None, "evr", "evd"])
@pytest.mark.parametrize("n", [0, 1, 2, 9])
def test_eigenvectors_of_any_order(n, driver):
    A = np.full((n, n), 2.0) + 3 * np.eye(n)
    values, vectors = symmetric_eigen(A.copy(), driver=driver, overwrite_a=True)
    assert values.shape == (n,)
    assert np.all(np.diff(values) >= 0)
    np.testing.assert_allclose(vectors * values @ vectors.T, A, atol=1e-14)
