"""Kernels whose exponent is a difference of large numbers: sin, cos, RBF and their kind."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import nkfast as nk

KIND = [nk.Sin(), nk.Cos(), nk.Sin(2.0, 0.3, 0.7), nk.RBF(0.5), nk.Gaussian(), nk.Gabor()]
KIND += [nk.ExpNormalized(3.0), nk.Erf(), nk.GELU()]
LOST = "ignore:.*nearly equal points:UserWarning"


def rows(scale):
    X = scale * np.random.default_rng(0).standard_normal((9, 5))
    X[1], X[2], X[3] = X[0], -X[0], X[4] * (1 + 1e-9)
    return X


@pytest.mark.filterwarnings(LOST)
@pytest.mark.simd
@pytest.mark.parametrize("scale", [1e-5, 1.0, 1e3, 1e5, 1e8, 1e20, 1e70, 1e140])
@pytest.mark.parametrize("activation", KIND)
def test_kernels_stay_within_their_diagonal_at_any_scale(activation, scale):
    X = rows(scale)
    net = nk.Sequential(nk.Dense(1.0), activation)
    diagonals = net.diag(X)
    for points in ((X,), (X, X.copy())):
        for K, diagonal in zip(net.kernel(*points), diagonals, strict=True):
            assert np.all(np.isfinite(K))
            roots = np.sqrt(diagonal)
            assert np.all(np.abs(K) <= np.outer(roots, roots) * (1 + 1e-12))
            assert_allclose([K[0, 0], K[0, 1], K[1, 0]], diagonal[0], rtol=1e-12)
            assert_allclose(K[0, 2], K[1, 2], rtol=1e-12, atol=1e-12 * diagonal[0])
    p = (X * X).sum(axis=1) / X.shape[1]
    size, root = np.sqrt(p)[:, None] * np.sqrt(p), np.sqrt(activation.dual(p, p, p))
    c = np.clip(X @ X.T / X.shape[1], -size, size)
    error = np.abs(activation.dual(p[:, None], p, c) - net.nngp(X)) / np.outer(root, root)
    gap = 1 - np.abs(c / size)  # what lies between has the digits of c
    assert error[(gap > 1e-9) | (gap < 1e-14)].max() <= 1e-9


@pytest.mark.filterwarnings(LOST)
@pytest.mark.parametrize("scale", [1e4, 1e10, 1e100])
@pytest.mark.parametrize("activation", [nk.Sin(), nk.RBF(), nk.Gabor()])
def test_bright_pixels(activation, scale):
    images = scale * np.random.default_rng(0).standard_normal((3, 4, 4, 2))
    images[1] = images[0]
    net = nk.Sequential(nk.Conv((3, 3)), activation, nk.GlobalAvgPool(), nk.Dense())
    K, diagonal = net.ntk(images), net.diag(images).ntk
    assert np.all(np.isfinite(K))
    assert_allclose(K[0, 1], diagonal[0], rtol=1e-12)


@pytest.mark.parametrize("activation", [nk.Sin(), nk.RBF()])
def test_points_that_are_near_have_the_kernel_of_their_distance(activation):
    """As long as the covariance holds it: its roundings are as much as they cost."""
    size, apart = 1e3, np.array([0.0, 1e-2, 0.3, 1.0, 4.0])
    p, q = size**2, (size + apart) ** 2
    c = size * (size + apart)  # on one line
    exact = activation.dual(0.0, apart**2, 0.0) if isinstance(activation, nk.RBF) else None
    found = activation.dual(p, q, c)
    expected = np.exp(-(apart**2) / 2) / 2 if exact is None else exact
    assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("activation", "scale"), [(nk.Sin(), 1e5), (nk.RBF(10.0), 1e4), (nk.Cos(1.0, 1e-3), 1e8)]
)
def test_lost_digits_are_told(activation, scale):
    X = rows(scale)
    net = nk.mlp(1, activation)
    with pytest.warns(UserWarning, match="nearly equal points .* StandardScaler"):
        net.nngp(X)
    with pytest.warns(UserWarning, match="nearly equal points"):
        activation.dual(scale**2, scale**2, 0.0)
    net.diag(X)
    net.nngp(X / scale)


@pytest.mark.parametrize("activation", [nk.Sin(), nk.Cos(), nk.RBF(), nk.Exp(1.0, 1e-3)])
def test_hermite_coefficients_do_not_overflow(activation):
    for std in (1.0, 100.0, 1e4):
        a = activation.hermite_coefficients(std, 3000)
        assert np.all(np.isfinite(a))
    assert_allclose(np.sum(nk.Sin().hermite_coefficients(40.0, 3000) ** 2), 0.5, rtol=1e-9)


@pytest.mark.parametrize("activation", [nk.Sin(2.0, 0.3, 0.7), nk.Cos(), nk.RBF(0.5)])
def test_complex_arguments(activation):
    """Steps give derivatives, and covariances may be anywhere in the disc."""
    p, q, c, step = 1.3, 0.6, np.array([0.5, -0.4, 0.0]), 1e-30
    pair = activation._pair
    slope = pair(p, q, c + 1j * step)[0].imag / step
    assert_allclose(slope, activation.dual_derivative(p, q, c), rtol=1e-12, atol=1e-15)
    by_p = pair(p + 1j * step, np.array(q), c)[0].imag / step
    difference = (pair(p + 1e-5, np.array(q), c)[0] - pair(p - 1e-5, np.array(q), c)[0]) / 2e-5
    assert_allclose(by_p, difference, rtol=1e-8, atol=1e-10)
    z = np.array([0.3 + 0.4j, -0.2 + 0.5j])
    a = activation._hermite(np.sqrt(p), 60) * activation._hermite(np.sqrt(q), 60)
    expected = [np.polyval(a[::-1], v / np.sqrt(p * q)) for v in z]
    assert_allclose(pair(np.array(p), np.array(q), z)[0], expected, rtol=1e-12)
