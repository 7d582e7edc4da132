"""Dual activations against 2-D quadrature, Hermite coefficients against 1-D quadrature."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.polynomial import hermite_e
from numpy.testing import assert_allclose

import nkfast as nk
import reference

ACTIVATIONS = [(nk.ReLU(), lambda x: np.heaviside(x, 0.5), (0.0,))]
VARIANCES = st.floats(1e-3, 1e3)
CORRELATIONS = st.floats(-1, 1)


@pytest.mark.parametrize(("activation", "derivative", "breakpoints"), ACTIVATIONS)
@pytest.mark.parametrize(
    ("p", "q", "rho"), [(1, 1, 0.3), (0.4, 2.5, -0.7), (3, 0.01, 0.95), (1, 2, 0.0), (1, 1, -0.99)]
)
def test_dual_is_the_expectation(activation, derivative, breakpoints, p, q, rho):
    c = rho * math.sqrt(p * q)
    scale = math.sqrt(p * q)
    k = reference.dual(activation, p, q, rho, breakpoints)
    assert_allclose(activation.dual(p, q, c), k, rtol=0, atol=1e-13 * scale)
    slope = reference.dual(derivative, p, q, rho, breakpoints)
    assert_allclose(activation.dual_derivative(p, q, c), slope, rtol=0, atol=1e-13)


@given(p=VARIANCES, q=VARIANCES, rho=CORRELATIONS)
def test_relu_dual_is_the_formula(p, q, rho):
    c = rho * math.sqrt(p * q)
    k, slope = reference.relu_dual(p, q, c)
    # arccos loses half of the digits at the ends, in the oracle too.
    assert_allclose(nk.ReLU().dual(p, q, c), k, rtol=1e-12, atol=1e-13 * math.sqrt(p * q))
    assert_allclose(nk.ReLU().dual_derivative(p, q, c), slope, rtol=0, atol=1e-7)


@given(p=VARIANCES, q=VARIANCES, rho=CORRELATIONS)
def test_dual_is_symmetric(p, q, rho):
    c = rho * math.sqrt(p * q)
    assert nk.ReLU().dual(p, q, c) == nk.ReLU().dual(q, p, c)
    assert nk.ReLU().dual_derivative(p, q, c) == nk.ReLU().dual_derivative(q, p, c)


@pytest.mark.parametrize(("activation", "derivative", "breakpoints"), ACTIVATIONS)
def test_derivative_is_the_slope_of_the_dual(activation, derivative, breakpoints):
    """Price's theorem."""
    p, q, h = 0.8, 1.7, 1e-5
    c = np.linspace(-0.9, 0.9, 7) * math.sqrt(p * q)
    slope = (activation.dual(p, q, c + h) - activation.dual(p, q, c - h)) / (2 * h)
    assert_allclose(activation.dual_derivative(p, q, c), slope, rtol=1e-8, atol=1e-9)


def test_ends_are_exact():
    relu = nk.ReLU()
    for p in (1.0, 0.1, 3.7, 1e-12, 1e12):
        assert_allclose([relu.dual(p, p, p), relu.dual(p, p, -p)], [p / 2, 0], rtol=1e-15)
        assert relu.dual_derivative(p, p, p) == 0.5
        assert relu.dual_derivative(p, p, -p) == 0.0
        # An ulp of the covariance must not become 1e-8 of angle.
        near = p * (1 - 2**-53)
        assert relu.dual_derivative(p, p, near) == 0.5
        assert relu.dual_derivative(p, p, -near) == 0.0


def test_zero_variance():
    relu = nk.ReLU()
    for p, q in ((0.0, 1.0), (1.0, 0.0), (0.0, 0.0)):
        assert relu.dual(p, q, 0.0) == 0.0
        assert np.isfinite(relu.dual_derivative(p, q, 0.0))


def test_broadcasting_and_lists():
    out = nk.ReLU().dual([[1.0], [2.0]], [1.0, 2.0, 3.0], 0.5)
    assert out.shape == (2, 3)
    assert out[1, 2] == nk.ReLU().dual(2.0, 3.0, 0.5)
    assert_allclose(nk.ReLU().dual(1, 1, 0), 1 / (2 * math.pi))  # integers


def test_negative_variance_is_refused():
    with pytest.raises(ValueError, match="p, q: expected variances >= 0, got"):
        nk.ReLU().dual(-1.0, 1.0, 0.0)


@pytest.mark.parametrize(("activation", "derivative", "breakpoints"), ACTIVATIONS)
@pytest.mark.parametrize("std", [1.0, 0.3, 4.0])
def test_hermite_coefficients(activation, derivative, breakpoints, std):
    degree = 20
    found = activation.hermite_coefficients(std, degree)
    assert found.shape == (degree + 1,)
    for l in range(degree + 1):
        basis = hermite_e.HermiteE.basis(l) / math.sqrt(math.factorial(l))

        def integrand(x, basis=basis):
            return activation(x) * basis(x / std)

        expected = reference.expectation(integrand, std, breakpoints)
        assert_allclose(found[l], expected, rtol=0, atol=1e-12 * std)


@pytest.mark.parametrize(("activation", "derivative", "breakpoints"), ACTIVATIONS)
def test_mehler_sum_is_the_dual(activation, derivative, breakpoints):
    p, q, rho = 0.7, 1.9, 0.6
    a = activation.hermite_coefficients(math.sqrt(p), 60)
    b = activation.hermite_coefficients(math.sqrt(q), 60)
    series = np.sum(a * b * rho ** np.arange(61))
    assert_allclose(activation.dual(p, q, rho * math.sqrt(p * q)), series, rtol=1e-12)


def test_few_hermite_coefficients():
    assert nk.ReLU().hermite_coefficients(0.0, 4).tolist() == [0.0] * 5
    assert len(nk.ReLU().hermite_coefficients(1.0, 0)) == 1
    with pytest.raises(ValueError, match="std: expected"):
        nk.ReLU().hermite_coefficients(-1.0, 3)
    with pytest.raises(ValueError, match="degree: expected"):
        nk.ReLU().hermite_coefficients(1.0, -1)
    with pytest.raises(TypeError, match="degree: expected an integer, got"):
        nk.ReLU().hermite_coefficients(1.0, 1.5)


def test_call():
    assert nk.ReLU()([-1.0, 0.0, 2.0]).tolist() == [0.0, 0.0, 2.0]
    assert nk.ReLU()(np.float32([-1, 2])).dtype == np.float32
    assert nk.ReLU() == nk.ReLU()
    assert repr(nk.ReLU()) == "ReLU()"
