"""Networks, rows and errors that tests of feature maps share."""

import numpy as np
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
