"""What Z Z^T lacks on the kernel's diagonal, and that it is noise of known size."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError

import nkfast as nk

X = load_digits().data[:400] / 16
NETS = {
    "relu": nk.mlp(3),
    "erf": nk.mlp(2, "erf", w_std=1.5, b_std=0.1),
    "sin": nk.mlp(2, "sin"),
}


def maps(net, m):
    return {
        "ntk": nk.NTKFeatures(net, m, random_state=0),
        "nngp": nk.NNGPFeatures(net, m, random_state=0),
        "oversampled": nk.NTKFeatures(net, m, oversampling=3, random_state=0),
        "layerwise": nk.NTKFeatures(net, m, construction="layerwise", random_state=0),
        "nystroem": nk.Nystroem(net, m, random_state=0),
    }


def kernel_of(name, net, X):
    return net.nngp(X) if name == "nngp" else net.ntk(X)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("name", maps(None, 1))
def test_the_missing_diagonal(name, net):
    phi = maps(NETS[net], 256)[name].fit(X[:300])
    new = X[300:]
    own = np.diagonal(kernel_of(name, NETS[net], new))
    expected = own - (phi.transform(new) ** 2).sum(axis=1)
    found = phi.missing_diagonal(new)
    assert found.shape == (100,)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * own.max())
    fitted = phi.missing_diagonal(X[:300]).mean()
    assert phi.tail_ == pytest.approx(max(fitted, 0), rel=0.2, abs=2e-3 * own.mean())


@pytest.mark.parametrize("net", NETS)
def test_with_it_features_are_nearer_to_the_kernel(net):
    phi = nk.NTKFeatures(NETS[net], 1024, random_state=0).fit(X[:300])
    Z, K = phi.transform(X[300:]), NETS[net].ntk(X[300:])
    plain = np.linalg.norm(Z @ Z.T - K)
    assert np.linalg.norm(Z @ Z.T + phi.tail_ * np.eye(100) - K) < plain


def test_it_scales_with_the_rows_and_nothing_is_missing_of_exact_maps():
    net = nk.mlp(2)
    phi = nk.NTKFeatures(net, 128, random_state=0).fit(X)
    large = nk.NTKFeatures(net, 128, random_state=0).fit(1e6 * X)
    assert large.tail_ == pytest.approx(1e12 * phi.tail_, rel=1e-9)
    linear = nk.NTKFeatures(nk.Sequential(nk.Dense(1.3, 0.2)), 65, random_state=0).fit(X)
    assert linear.tail_ < 1e-12 * X.var()
    assert np.all(np.abs(nk.Nystroem(net, 400).fit(X).missing_diagonal(X)) < 1e-9)


def test_sparse_single_and_unfitted():
    phi = nk.NTKFeatures(nk.mlp(2), 128, random_state=0).fit(sp.csr_array(X))
    plain = nk.NTKFeatures(nk.mlp(2), 128, random_state=0).fit(X)
    assert phi.tail_ == pytest.approx(plain.tail_, rel=1e-9)
    np.testing.assert_allclose(
        phi.missing_diagonal(X[:5].astype(np.float32)), phi.missing_diagonal(X[:5]), rtol=1e-3
    )
    with pytest.raises(NotFittedError):
        nk.NTKFeatures().missing_diagonal(X)


def test_images_lack_nothing():
    net = nk.Sequential(nk.Conv((3, 3)), nk.ReLU(), nk.GlobalAvgPool(), nk.Dense())
    images = X[:20].reshape(20, 8, 8, 1)
    phi = nk.NTKFeatures(net, 512, random_state=0).fit(images)
    assert phi.tail_ == 0
    assert abs(phi.missing_diagonal(images).mean()) < 0.05 * net.diag(images).ntk.mean()
