"""Features of images and weights of any size."""

import warnings

import numpy as np
import pytest

import nkfast as nk
from nkfast.features.pixels._hermite_table import HermiteTable

C = nk.Conv
HOMOGENEOUS = {
    "relu": nk.ReLU(),
    "leaky": nk.LeakyReLU(0.1),
    "abs": nk.Abs(),
    "identity": nk.Monomial(1),
    "square": nk.Monomial(2),
    "cube": nk.Monomial(3),
    "rectified square": nk.RectifiedMonomial(2),
    "normalised": nk.ExpNormalized(),
}
OTHERS = {
    "erf": nk.Erf(),
    "gelu": nk.GELU(),
    "cos": nk.Cos(),
    "gaussian": nk.Gaussian(),
    "sign": nk.Sign(),
    "polynomial": nk.Polynomial((0.3, 1.0, -0.4, 0.2)),
}
NUMERICAL = {
    "tanh": nk.Tanh(),
    "sigmoid": nk.Sigmoid(),
    "elu": nk.ELU(),
    "softplus": nk.Softplus(),
    "softsign": nk.Softsign(),
    "own": nk.Elementwise(np.arctan),
    "kinks": nk.Elementwise(lambda x: np.clip(x, -0.5, 2), breakpoints=(-0.5, 2)),
}
MAPS = {"nngp": nk.NNGPFeatures, "ntk": nk.NTKFeatures}


def images(dtype=np.float64, n=6, size=5):
    rng = np.random.RandomState(0)
    x = rng.standard_normal((n, size, size, 2))
    return (x + np.roll(x, 1, 1) + rng.standard_normal((n, 1, 1, 2))).astype(dtype)


def network(f, **affine):
    return nk.Sequential(C(**affine), f, C(**affine), f, nk.GlobalAvgPool(), nk.Dense(**affine))


def make(net, get, x, m=128):
    return MAPS[get](net, m, random_state=0).fit(x)


def mean_error(Z, net, x, get):
    """Of Z Z^T, relative to the norms that the kernel gives."""
    K = net.kernel(x, get=get)
    norms = np.sqrt(np.diagonal(K))
    return np.abs((Z @ Z.T - K) / np.outer(norms, norms)).mean()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("get", MAPS)
@pytest.mark.parametrize("name", HOMOGENEOUS)
def test_homogeneous_networks_scale_to_the_bit(name, get, dtype):
    """With images, new or fitted to, and with weights, in powers of two."""
    f, x = HOMOGENEOUS[name], images(dtype)
    h = int(f._homogeneity)
    fitted = make(network(f), get, x)
    Z = fitted.transform(x)
    most = 900 if dtype == np.float64 else 110
    for e in (-most, -most // 3, -40, -7, 1, 23, most // 3, most):
        if abs(e * h * h) <= most:
            y = np.ldexp(x, e)
            for phi in (fitted, make(network(f), get, y)):
                assert np.array_equal(phi.transform(y), np.ldexp(Z, e * h * h))
        if abs(e * (h * h + h + 1)) <= most:
            found = make(network(f, w_std=2.0**e), get, x).transform(x)
            assert np.array_equal(found, np.ldexp(Z, e * (h * h + h + 1)))


def test_an_image_does_not_depend_on_the_brightness_of_others():
    x = images()
    bright, dark = make(network(nk.ReLU()), "ntk", 1e100 * x), make(network(nk.ReLU()), "ntk", x)
    y = np.concatenate([x * 1e-100, x, x * 1e100, 0 * x])
    assert np.array_equal(bright.transform(y), dark.transform(y))
    np.testing.assert_allclose(dark.transform(y[:6]), 1e-100 * dark.transform(x), rtol=1e-4)


@pytest.mark.filterwarnings("ignore:.*nearly equal points:UserWarning")  # cos
@pytest.mark.parametrize("get", MAPS)
@pytest.mark.parametrize("name", OTHERS)
def test_other_networks_at_any_scale(name, get):
    """Fitted there, or new images there."""
    net, x = network(OTHERS[name]), images()
    fitted = make(net, get, x, 512)
    for scale in (1e-100, 1e-30, 1e-8, 1e-3, 0.1, 10, 1e3, 1e6):
        y = scale * x
        for phi in (fitted, make(net, get, y, 512)):
            assert mean_error(phi.transform(y), net, y, get) < 0.2, scale


@pytest.mark.parametrize("name", NUMERICAL)
def test_hermite_tables_of_numerical_activations(name):
    """At a deviation that integrals reach, and their limits far away."""
    f = NUMERICAL[name]
    for s in (0.02, 1.0):
        table = HermiteTable(f, s, 0)
        k, slope = f._diagonal(np.array(s * s))
        value, derivative, _ = table.weights(1.0)
        np.testing.assert_allclose(np.ldexp(value[1], 2 * table.exponent), k, rtol=1e-5)
        whole = np.ldexp(derivative[1], 2 * table.slope_exponent)
        np.testing.assert_allclose(whole, slope, rtol=1e-5)
        a = f.hermite_coefficients(s, 16)
        found = np.ldexp(table.typical[:17], table.exponent)
        np.testing.assert_allclose(found, a, atol=1e-6 * np.sqrt(k))
    for unit in (-300, -40, 40, 300):
        table, limit = HermiteTable(f, 1.0, unit), HermiteTable(f, 1.0, 18 if unit > 0 else -18)
        for a, b in zip(table.weights(0.5), limit.weights(0.5), strict=True):
            np.testing.assert_allclose(a / a[1], b / b[1], atol=0.01)


def test_sizes_beyond_float32_are_right_there_or_said():
    x = images(np.float32)
    for net in (network(nk.ReLU()), network(nk.GELU(), b_std=0.1), network(nk.Tanh(), w_std=1.5)):
        phi = make(net, "ntk", x)
        double = make(net, "ntk", x.astype(np.float64))
        for scale in (1e-30, 1e-19, 1e-6, 1e6, 1e19, 1e25, 1e30):
            y = (x * np.float32(scale)).astype(np.float32)
            want = double.transform(y.astype(np.float64))
            assert np.linalg.norm(phi.transform(y) - want) < 1e-3 * np.linalg.norm(want)
            here = make(net, "ntk", y).transform(y)
            assert here.dtype == np.float32
            assert np.all(np.isfinite(here))
    square = make(network(nk.Monomial(2)), "nngp", x)
    with pytest.raises(ValueError, match=r"features float32 can hold.*up to .*e\+2.*float64"):
        square.transform(np.concatenate([x[:3], x * np.float32(1e20)]))
    with pytest.raises(ValueError, match=r"Exp.*overflow"):
        make(network(nk.Exp()), "nngp", 1e3 * x)
    phi = make(nk.Sequential(C(), nk.Exp(), nk.GlobalAvgPool()), "nngp", x)
    with pytest.raises(ValueError, match="features float32 can hold"):
        phi.transform(1e3 * x)


@pytest.mark.parametrize(("w", "b"), [(1e-60, 0.3), (1e60, 0.3), (1e-30, 1e-30), (3.0, 1e-90)])
def test_weights_and_biases_of_any_size(w, b):
    x = images()
    for f, get in ((nk.ReLU(), "ntk"), (nk.ReLU(), "nngp"), (nk.Erf(), "nngp")):
        net = nk.Sequential(C(w_std=w, b_std=b), f, C(w_std=1 / w), f, nk.GlobalAvgPool())
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            Z = make(net, get, x, 512).transform(x)
        assert mean_error(Z, net, x, get) < 0.2


def test_weights_of_a_kernel_beyond_any_number_are_said():
    x, net = images(), network(nk.ReLU(), w_std=1e120)
    with pytest.raises(ValueError, match="features float64 can hold"):
        make(net, "nngp", x).transform(x)
