"""Derivatives of functions that are known by their values."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import erf

import nkfast as nk
from nkfast._core import smooth_values
from nkfast.activations._interpolant import Interpolant

pytestmark = pytest.mark.simd


def bell(x):
    return 2 / np.sqrt(np.pi) * np.exp(-x * x)


def root(x):
    return np.sqrt(1 + x * x)


def bent(x):
    return np.where(x < 0.7, np.sin(x), np.log1p(x * x))


CASES = {  # the function, its kinks, f' and f''
    "erf": (erf, (), bell, lambda x: -2 * x * bell(x)),
    "tanh": (np.tanh, (), lambda x: 1 - np.tanh(x) ** 2, None),
    "root": (root, (), lambda x: x / root(x), lambda x: root(x) ** -3.0),
    "bent": (
        bent,
        (0.7,),
        lambda x: np.where(x < 0.7, np.cos(x), 2 * x / (1 + x * x)),
        lambda x: np.where(x < 0.7, -np.sin(x), 2 * (1 - x * x) / (1 + x * x) ** 2),
    ),
}


SMOOTH = [(name, reach) for name in ("erf", "tanh", "root") for reach in (16.0, 256.0, 65536.0)]


@pytest.mark.parametrize(("name", "reach"), [*SMOOTH, ("bent", 16.0), ("bent", 256.0)])
def test_derivatives(name, reach):
    f, kinks, *exact = CASES[name]
    inner = Interpolant(f, kinks, reach)
    rng = np.random.default_rng(0)
    size = np.exp(rng.uniform(np.log(1e-6), np.log(reach), 5001))
    x = np.concatenate([size * rng.choice([-1, 1], len(size)), [0.0, reach, -reach]])
    x = x[~np.isin(x, kinks)]
    for order, (derivative, tol) in enumerate(zip(exact, (1e-12, 1e-9), strict=True), 1):
        if derivative is not None:
            assert_allclose(inner.derivative(x, order), derivative(x), rtol=0, atol=tol)
    # Of one value alone, or of any shape or layout, the same bits.
    found = inner.derivative(x, 1)
    for at in (slice(0, 1), slice(3, 20), slice(None, None, 7), slice(None, None, -1)):
        assert_array_equal(inner.derivative(x[at], 1), found[at])
    square = inner.derivative(x[:600].reshape(20, 30).T, 1)
    assert_array_equal(square, found[:600].reshape(20, 30).T)


@pytest.mark.parametrize("slope", [0.0, -1.0, 1e-3, 300.0])
@pytest.mark.parametrize("kink", [0.3, -2.5, 5.0])
def test_pieces_that_are_straight(kink, slope):
    """Higher derivatives are rounding there, which is no roughness."""

    def f(x):
        return np.where(x > kink, np.cos(x), slope * x + 0.1)

    x = np.random.default_rng(0).uniform(-16, 16, 2000)
    bent = x > kink
    inner = Interpolant(f, (kink,), 16.0)
    exact = (
        np.where(bent, -np.sin(x), slope),
        np.where(bent, -np.cos(x), 0),
        np.where(bent, np.sin(x), 0),
    )
    scale = max(1.0, 16 * abs(slope))
    for order, (expected, tol) in enumerate(zip(exact, (1e-12, 1e-9, 1e-6), strict=True), 1):
        assert_allclose(inner.derivative(x, order), expected, rtol=0, atol=tol * scale)


FLAT = {  # at 0: the function, its kinks, f'
    "tanh": (lambda x: x * np.tanh(x), (), lambda x: np.tanh(x) + x / np.cosh(x) ** 2),
    "cos": (lambda x: np.cos(x) - 1, (), lambda x: -np.sin(x)),
    "bent": (lambda x: np.where(x > 0, x**2, np.sinh(x) * x), (0,), None),
    "steep": (
        lambda x: x * np.tanh(25 * x),
        (),
        lambda x: np.tanh(25 * x) + 25 * x / np.cosh(25 * x) ** 2,
    ),
    "beside": (lambda x: np.where(x > 2e-4, 1, x**2), (2e-4,), None),
}


@pytest.mark.parametrize("name", FLAT)
def test_slopes_near_zero(name):
    """Rows of tiny norm see nothing else: they have to be right relative to themselves."""
    f, kinks, slope = FLAT[name]
    inner = Interpolant(f, kinks, 16.0)
    x = np.geomspace(1e-150, 9e-5, 3000)
    for at in (x, -x):
        expected = 2 * at if slope is None else slope(at)
        if name == "bent":
            expected = np.where(at > 0, 2 * at, np.sinh(at) + at * np.cosh(at))
        tol = 1e-8 if name == "steep" else 1e-9
        assert_allclose(inner.derivative(at, 1), expected, rtol=tol)
    assert inner.derivative(np.zeros(1), 1) == 0


@pytest.mark.parametrize("scale", [1e-4, 1e-6, 1e-9])
def test_networks_of_functions_that_are_flat_at_zero(scale):
    X = scale * np.random.default_rng(0).standard_normal((6, 4))
    own = nk.Elementwise(lambda x: x * np.tanh(x))
    found, expected = (nk.mlp(1, act).ntk(X) for act in (own, nk.Monomial(2)))
    size = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    assert np.abs(found - expected).max() <= max(1e-8, 20 * scale**2) * size.max()
    assert_allclose(np.diag(found), np.diag(expected), rtol=max(1e-8, 20 * scale**2))


def test_tables_are_small():
    inner = Interpolant(erf, (), 65536.0)
    inner.derivative(np.zeros(1), 1)
    (table,) = inner.tables[1]
    assert table[0].nbytes < 4e6


def test_what_is_no_number():
    cells = np.random.default_rng(0).standard_normal((5, 8))
    x = np.array([np.nan, 0.1, np.inf, -np.inf, 0.1])
    found = smooth_values(cells, 2.0, -1.0, 3.0, x)
    assert_array_equal(np.isnan(found), [True, False, True, True, False])
    t = (np.arcsinh(0.05) + 1) * 3
    expected = np.polynomial.polynomial.polyval(t - 3, cells[3])
    assert_allclose(found[[1, 4]], expected, rtol=1e-14)
    assert smooth_values(cells, 2.0, -1.0, 3.0, x[:0]).shape == (0,)
    for wrong in (cells[:0], cells[:, :7].copy(), cells[0]):
        with pytest.raises(ValueError, match="cells: expected"):
            smooth_values(wrong, 2.0, -1.0, 3.0, x)
