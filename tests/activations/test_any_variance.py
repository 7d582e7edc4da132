"""Dual kernels at any variance, and functions of the user's own beside their named twins."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import quad

import nkfast as nk
from nkfast.activations import get_activation
from nkfast.activations._numerical import _range, _Ref, _represent


def rows(n, spread):
    X = np.random.default_rng(0).standard_normal((n, 5))
    return X * (np.geomspace(1, spread, n) / np.linalg.norm(X, axis=1))[:, None]


def twin(name):
    named = get_activation(name) if isinstance(name, str) else name
    return named, nk.Elementwise(named.__call__, named._kinks)


def assert_twins(named, own, X, depth=2):
    twins = [nk.mlp(depth, act) for act in (own, named)]
    size = [np.sqrt(d) for d in twins[1].diag(X)]
    kernels = zip(*(net.kernel(X) for net in twins), size, strict=True)
    for found, expected, scale in kernels:
        assert np.all(np.abs(found - expected) <= 1e-8 * np.outer(scale, scale))


@pytest.mark.parametrize("spread", [1, 1000])
@pytest.mark.parametrize(
    "name",
    ["relu", "leaky_relu", "abs", "sign", "hard_tanh", "hard_sigmoid", "hard_swish", "relu6"]
    + [nk.RectifiedMonomial(n) for n in (0, 2, 3)]
    + [nk.Polynomial([0.1, 0.5, 0.3]), nk.ABReLU(3e4, -2e-5)],
)
def test_piecewise_polynomials_of_the_users_own(name, spread):
    named, own = twin(name)
    assert own._terms is not None
    assert_twins(named, own, rows(40, spread))


@pytest.mark.parametrize("name", ["tanh", "elu"])
def test_smooth_functions_of_the_users_own(name):
    named, own = twin(name)
    assert own._terms is None
    assert_twins(named, own, rows(40, 1000), depth=1)


@pytest.mark.parametrize(
    "function",
    [np.tanh, np.sin, lambda x: x + 1e-7 * np.sin(x), lambda x: np.exp(50 * x), nk.GELU()],
)
def test_what_is_no_polynomial_is_not_taken_for_one(function):
    assert nk.Elementwise(function, (0,))._terms is None


def test_kinks_far_from_zero_and_next_to_each_other_are_found():
    act = nk.Elementwise(lambda x: np.clip(x, 100, 102) + np.maximum(x - 1e-3, 0), (1e-3, 100, 102))
    assert act._terms is not None
    x = np.array([-1e6, 0, 2e-3, 50, 101, 1e6])
    assert_allclose(sum(term(x) for term in act._terms), act(x), rtol=1e-13)


@pytest.mark.parametrize("s", [1e2, 1e6])
def test_tanh_where_it_is_nearly_sign(s):
    """In the layer near equal points, where sign has a kink."""
    angles = np.array([0.1, 1.0, 4.0]) / s

    def product(y):  # half the integral of sech^2(a) sech^2(a + y)
        y = abs(y)
        return 2 / 3 if y < 1e-3 else 2 * (y / np.tanh(y) - 1) / np.sinh(min(y, 300.0)) ** 2

    expected = [
        quad(lambda w, a=a: product(s * a * w) * np.exp(-w * w / 2), -9, 9, limit=300)[0] / np.pi
        for a in angles
    ]
    table = _represent(_Ref(nk.Tanh()), *_range(np.array([s]), np.array([s])), 1e-12)
    k, slope = table.pair(np.full(3, s), np.full(3, s), s * s * np.cos(angles))
    size = 2 / 3 * np.sqrt(2 / np.pi) / s  # of slope
    # Correlations count as 1 up to 32 eps, which moves (s angle)^2 by as much times s^2; the limit
    # is off by 1 / s^2.
    bound = 1e-8 + 7e-15 * s**2 + 2 / s**2
    assert_allclose(slope, np.array(expected) / s, rtol=0, atol=bound * size)
    assert_allclose(k, 1 - 2 / np.pi * angles, rtol=0, atol=2 / s)
    wide, slope = table.pair(*(np.array([v]) for v in (s, s, 0.3 * s * s)))
    assert_allclose(wide, 2 / np.pi * np.arcsin(0.3), rtol=0, atol=1e-8 + 1 / s**2)
    assert_allclose(slope, 2 / np.pi / s**2 / 0.91**0.5, rtol=0, atol=(1e-8 + 2 / s**2) * size)


@pytest.mark.parametrize("name", ["tanh", "elu", "mish", "softsign"])
def test_tables_are_the_integrals(name):
    act = get_activation(name)
    s = np.array([0.3, 3.0, 25.0])
    left, right = (v.ravel() for v in np.meshgrid(s, s))
    table = _represent(_Ref(act), *_range(s, 100 * s), 1e-12)
    size = [np.sqrt(v) for v in act._diagonal(s * s)]
    for rho in (-0.999, 0.5, 0.9999, 1.0):
        c = rho * left * right
        both = zip(table.pair(left, right, c), act._direct(left, right, c), size, strict=True)
        for found, expected, scale in both:
            assert np.all(np.abs(found - expected) <= 1e-8 * np.outer(scale, scale).ravel())


def test_all_variances_in_one_data_set():
    X = np.outer(np.geomspace(1e-6, 1e6, 13), [1.0, 1.0])
    X[:, 1] *= np.tile([1, -1, 0.5], 5)[:13]
    k, slope = nk.mlp(1, "softplus").kernel(X)
    relu, relu_slope = nk.mlp(1, "relu").kernel(X)
    assert np.all(np.isfinite(k))
    assert np.all(np.isfinite(slope))
    assert_allclose(k[-3:, -3:], relu[-3:, -3:], rtol=1e-3)
    assert_allclose(slope[-3:, -3:], relu_slope[-3:, -3:], rtol=1e-3)


@pytest.mark.parametrize("scale", [1e4, 5e7, 1e100, 1e150])
@pytest.mark.parametrize(("name", "limit"), [("gelu", "relu"), ("erf", "sign")])
def test_closed_forms_reach_as_far_as_float64(name, limit, scale):
    X = scale * np.random.default_rng(0).standard_normal((20, 5))
    nngp, expected = nk.mlp(1, name).nngp(X), nk.mlp(1, limit).nngp(X)
    assert_allclose(nngp, expected, rtol=0, atol=(10 / scale + 1e-14) * np.abs(expected).max())
    net = nk.mlp(2, name)
    for kernel, diagonal in zip(net.kernel(X), net.diag(X), strict=True):
        assert_allclose(np.diag(kernel), diagonal, rtol=1e-12)


@pytest.mark.parametrize("name", ["relu", "gelu", "sign", "tanh"])
def test_overflow_is_refused(name):
    X = 1e160 * np.ones((3, 2))
    with pytest.raises(ValueError, match=r"squared norms .* that float64 can hold"):
        nk.mlp(2, name).ntk(X)


def test_overflow_that_the_last_step_hides_is_refused():
    """Sign makes of an infinite variance a finite kernel; its NTK would be NaN."""
    steep = [nk.RectifiedMonomial(3), nk.Dense(), nk.RectifiedMonomial(3)]
    hidden = [nk.Dense(), nk.Sign(), nk.Dense()]
    X = 1e60 * np.random.default_rng(0).standard_normal((2, 4, 4, 1))
    rows = nk.Sequential(nk.Dense(), *steep, *hidden)
    for pool in (nk.GlobalAvgPool(), nk.Flatten()):
        pixels = [nk.Conv((1, 1)) if isinstance(layer, nk.Dense) else layer for layer in steep]
        images = nk.Sequential(nk.Conv(), *pixels, pool, *hidden)
        for net, points in ((rows, X.reshape(2, -1)), (images, X)):
            for call in (net.kernel, net.diag):
                with pytest.raises(ValueError, match="expected numbers that float64 can hold"):
                    call(points)


def test_overflow_behind_a_layer_is_refused():
    with pytest.raises(ValueError, match="kernels of X: expected numbers that float64 can hold"):
        nk.mlp(3, nk.RectifiedMonomial(3)).ntk(1e60 * np.ones((3, 2)))
    with pytest.raises(ValueError, match="kernels of X: expected numbers that float32 can hold"):
        nk.mlp(2, "relu").ntk(np.full((3, 2), 1e20, np.float32))
    with pytest.raises(ValueError, match=r"Tanh.* expected variances up to 1e\+14"):
        nk.mlp(2, "tanh").ntk(1e9 * np.eye(3))
