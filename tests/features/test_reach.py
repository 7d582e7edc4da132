"""Rows whose norms are far from those of the fit."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp

import nkfast as nk
from feature_cases import normal, relative_error

SCALES = (1e-6, 0.01, 0.3, 1.0, 3.0, 10.0, 1e3)


CASES = [
    (make, activation, b, construction)
    for make, activation, b in (
        (nk.NTKFeatures, "erf", 0.0),
        (nk.NTKFeatures, "gelu", 0.3),
        (nk.NNGPFeatures, "gelu", 0.0),
        (nk.NNGPFeatures, "sin", 0.3),
    )
    for construction in ("collapsed", "layerwise")
]


@pytest.mark.parametrize(("make", "activation", "b", "construction"), CASES)
def test_features_are_right_or_there_is_a_warning(make, activation, b, construction):
    X, net = normal(100, 8), nk.mlp(2, activation, b_std=b)
    phi = make(net, 512, construction=construction, degree=8, random_state=0).fit(X)
    at_home = relative_error(phi.transform(X), net.kernel(X, get=phi._kernel))
    for scale in SCALES:
        Y = scale * X[:12]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            Z = phi.transform(Y)
        assert scale != 1 or not caught
        if not caught:
            assert relative_error(Z, net.kernel(Y, get=phi._kernel)) < at_home + 0.25, scale


def test_the_warning_tells_norms_and_error():
    X = normal(100, 8)
    phi = nk.NTKFeatures(nk.mlp(2, "erf"), 512, degree=8, random_state=0).fit(X)
    Y = np.concatenate([X[:3], 10 * X[:2], 0 * X[:1]])
    for rows in (Y, sp.csr_array(Y), Y.astype(np.float32)):
        with pytest.warns(
            UserWarning, match=r"X: 2 rows with norms from .* fit on rows like these"
        ):
            phi.transform(rows)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        phi.transform(X)
        nk.NTKFeatures(nk.mlp(2), 512, random_state=0).fit(X).transform(1e100 * X)  # homogeneous


@pytest.mark.parametrize("kind", [nk.NTKFeatures, nk.NNGPFeatures])
def test_rows_that_features_are_too_few_for(kind):
    """Small rows, whose kernel is a bias, beside large ones, to which few features are fitted."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 12)) * np.repeat([1e-3, 1e4], 30)[:, None]
    net = nk.Sequential(nk.Dense(0.6), nk.Dense(0.4, b_std=0.5))
    with pytest.warns(UserWarning, match="times the kernel's diagonal: they are too few"):
        kind(net, 3, random_state=0).fit(X)
    kind(net, 64, random_state=0).fit(X)  # linear and constant fit into 13


def test_a_kernel_that_is_zero():
    """The NTK of a network that ends in a step."""
    X = np.random.default_rng(0).standard_normal((20, 6))
    net = nk.Sequential(nk.Dense(1.0, 0.1), nk.Sign())
    assert not net.ntk(X).any()
    for m in (1, 30):
        phi = nk.NTKFeatures(net, m, random_state=0).fit(X)
        assert phi.tail_ == 0
        assert not phi.transform(X).any()
