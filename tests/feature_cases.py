"""Networks, rows and errors that tests of feature maps share."""

import pickle

import numpy as np
import scipy.sparse as sp
from sklearn.datasets import load_digits

import nkfast as nk

NET = nk.mlp(2, "relu", 1.4, 0.1)
DEEP = nk.mlp(3, "relu", 1.4, 0.1)
DIGITS = load_digits().data / 16


def normal(n, d, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d)).astype(dtype)


def relative_error(Z, K):
    Z = Z.astype(np.float64)
    return np.linalg.norm(Z @ Z.T - K) / np.linalg.norm(K)


def mean_error(maps, net, X):
    """Return the root mean squared relative error of fitted maps to the network's NTK."""
    K = net.ntk(X)
    return np.sqrt(np.mean([relative_error(phi.transform(X), K) ** 2 for phi in maps]))


def assert_same_bits(phi, X):
    """Of a fitted map: for any number of threads, any chunks, and after pickling."""
    with nk.num_threads(1):
        whole = phi.transform(X)
    assert whole.dtype == X.dtype
    for threads in (2, 7):
        with nk.num_threads(threads):
            assert np.array_equal(phi.transform(X), whole)
    for size in (1, 17):
        parts = [phi.transform(X[i : i + size]) for i in range(0, 100, size)]
        assert np.array_equal(np.vstack(parts)[:100], whole[:100])
    again = pickle.loads(pickle.dumps(phi))
    assert np.array_equal(again.transform(X), whole)


def assert_close_for_other_rows(phi, sparse, X):
    """Of maps fitted to dense and to sparse float64 rows: CSR and float32 ones give the same."""
    Z = phi.transform(X)
    assert np.allclose(phi.transform(sp.csr_array(X)), Z, rtol=0, atol=1e-12 * np.abs(Z).max())
    assert np.allclose(sparse.transform(X), Z, rtol=0, atol=1e-9 * np.abs(Z).max())
    narrow = phi.transform(X.astype(np.float32))
    assert np.allclose(narrow, Z, rtol=0, atol=2e-5 * np.abs(Z).max())
