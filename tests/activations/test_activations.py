"""Dual activations against 2-D quadrature, Hermite coefficients against 1-D quadrature."""

import copy
import inspect
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.polynomial import hermite_e
from numpy.testing import assert_allclose
from sklearn.base import clone

import kept
import nkfast as nk
import reference
from activation_cases import CASES, JUMPS, NAMED, SMOOTH
from nkfast import activations

ALL = sorted(CASES)
RHOS = kept.RHOS
VARIANCES = st.floats(1e-3, 1e3)
CORRELATIONS = st.floats(-1, 1)


def limit(name):
    """Error that is allowed, relative to sqrt(k(p, p, p) k(q, q, q))."""
    return 1e-8 if name in SMOOTH else 1e-6


def scale(f, kinks, p, q):
    one, other = (reference.adapted_dual(f, v, v, 1.0, kinks) for v in (p, q))
    # A function that is zero near zero has kernels below all rounding errors there.
    return max(math.sqrt(one * other), 1e-30)


@pytest.mark.parametrize("name", ALL)
def test_dual_is_the_expectation(name):
    act, derivative, kinks = CASES[name]
    exact = kept.duals(name, "grid").reshape(2, len(kept.VARIANCES), len(RHOS))
    for i, (p, q) in enumerate(kept.VARIANCES):
        both = act._pair(p, q, np.array(RHOS) * math.sqrt(p * q))
        for f, found, expected in zip((act, derivative), both, exact[:, i], strict=True):
            error = np.abs(found - expected) / scale(f, kinks, p, q)
            oscillates = name in ("sin", "cos", "rbf") and q == 100
            assert error.max() <= (1e-6 if oscillates else limit(name)), (p, q, error.argmax())


@pytest.mark.parametrize("name", ALL)
def test_many_entries_are_as_accurate_as_few(name):
    """Tables and series, that many entries share, against single integrals."""
    act, derivative, kinks = CASES[name]
    p, q, rho, chosen = kept.P, kept.Q, kept.RHO, kept.CHOSEN
    if name in ("own bent sine", "own shrunk tanh"):  # only thousands share anything: see below
        p, q, rho, chosen = p[chosen], q[chosen], rho[chosen], range(10)
    k, slope = act._pair(p, q, rho * np.sqrt(p * q))
    assert k.shape == slope.shape == p.shape
    for i, *exact in zip(chosen, *kept.duals(name, "any"), strict=True):
        for f, found, expected in zip((act, derivative), (k[i], slope[i]), exact, strict=True):
            assert abs(found - expected) <= limit(name) * scale(f, kinks, p[i], q[i])


@pytest.mark.parametrize("name", ALL)
def test_dual_is_symmetric_and_within_cauchy_schwarz(name):
    act = CASES[name][0]
    p, q = np.meshgrid([0.4, 1.5], [0.4, 1.5])
    c = np.array(RHOS)[:, None, None] * np.sqrt(p * q)
    for pair in (act.dual, act.dual_derivative):
        one = pair(p, q, c)
        size = np.sqrt(pair(p, p, p) * pair(q, q, q))
        assert_allclose(one, pair(q, p, c), rtol=0, atol=1e-10 * max(size.max(), 1e-300))
        assert np.all(np.abs(one) <= size * (1 + 1e-9) + 1e-12 * size.max())


@pytest.mark.parametrize("name", sorted(set(ALL) - JUMPS))
def test_derivative_is_the_slope_of_the_dual(name):
    """Price's theorem."""
    act = CASES[name][0]
    p, q, h = 0.8, 1.7, 1e-4
    c = np.linspace(-0.9, 0.9, 5) * math.sqrt(p * q)
    at = np.concatenate([c + h, c - h, c + 2 * h, c - 2 * h]).reshape(4, 5)
    k = act.dual(p, q, at)
    slope = (8 * (k[0] - k[1]) - (k[2] - k[3])) / (12 * h)
    assert_allclose(act.dual_derivative(p, q, c), slope, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("name", ALL)
def test_diagonal_is_the_dual_at_equal_points(name):
    act, derivative, kinks = CASES[name]
    p = np.array([0.0, 1e-3, 0.3, 1.0, 20.0])
    k, slope = act._diagonal(p)
    assert np.all(np.isfinite(k))
    assert np.all(np.isfinite(slope))
    if name == "own step cosine":
        p, k, slope = p[1:], k[1:], slope[1:]  # at zero it has two values
    assert_allclose(k, act.dual(p, p, p), rtol=1e-10, atol=1e-14)
    assert_allclose(slope[1:], act.dual_derivative(p, p, p)[1:], rtol=1e-10, atol=1e-14)
    for f, found in ((act, k), (derivative, slope)):
        expected = [reference.adapted_dual(f, v, v, 1.0, kinks) for v in p[p > 0]]
        assert_allclose(found[p > 0], expected, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("name", ALL)
def test_zero_variance(name):
    """u = 0 surely: the dual is f(0) E f(v)."""
    act, _, kinks = CASES[name]
    at_zero = float(np.mean(act(np.array([-1e-200, 1e-200]))))
    for q in (0.0, 1.0, 9.0):
        mean = reference.expectation(act, math.sqrt(q), kinks) if q else at_zero
        if name in ("step", "sign", "relu"):
            mean = 0.0  # there the angle decides
        if q == 0 and name == "own step cosine":
            continue  # there it has two values
        for p, r in ((0.0, q), (q, 0.0)):
            found = act.dual(p, r, 0.0)
            assert_allclose(found, at_zero * mean, rtol=1e-9, atol=1e-13)
            if at_zero == 0 and name != "own step cosine":
                assert found == 0
            assert np.isfinite(act.dual_derivative(p, r, 0.0))


@pytest.mark.parametrize("name", ALL)
def test_tiny_variances_are_not_zero(name):
    """Nor are they those of a stand-in: near zero f is homogeneous, and so is its dual."""
    act = CASES[name][0]
    p = np.array([1e-20, 1e-60, 1e-100, 1e-140])
    pairs = np.array([(act.dual(v, 4 * v, v), act.dual_derivative(v, 4 * v, v)) for v in p]).T
    several = 2 if float(act(0.0)) == 0 else 1  # slopes beside a constant are at its rounding
    for k, own in list(zip(pairs, act._diagonal(p), strict=True))[:several]:
        if k[0] == 0:  # f is zero near zero, or constant
            assert not k.any()
            assert not own.any()
            continue
        order = float(np.round(np.log10(k[0] / k[1]) / 40))
        size = p**order
        held = size > 1e-300
        for found in (k, own):
            assert_allclose(found[held], (found[0] / size[0] * size)[held], rtol=1e-6)


def test_slopes_at_tiny_variances():
    """Those of x^2 and x^4 go to zero with the variances, and so do NTKs of such layers."""
    p = np.array([1e-8, 1e-20, 1e-40])
    for act, slope in (
        (nk.Monomial(2), 4 * p),
        (nk.Monomial(4), 240 * p**3),
        (nk.Polynomial([1.0, 0.0, 2.0]), 16 * p),
        (nk.Elementwise(lambda x: 2 * np.sin(x / 2) ** 2), p),
        (nk.Elementwise(lambda x: x * np.tanh(x)), 4 * p),
    ):
        assert_allclose(act.dual_derivative(p, p, p), slope, rtol=1e-7, err_msg=repr(act))
    layers = [nk.Dense(1.6, 0.1)] + [nk.Monomial(4), nk.Dense(0.5)] * 3
    X = np.array([[0.0, 0.0], [0.1, 0.2], [3.0, 1.0]])
    p = 0.1**2 + 1.6**2 * np.mean(X**2, axis=1)
    theta = p
    for _ in range(3):
        theta, p = 0.25 * 240 * p**3 * theta, 0.25 * 105 * p**4
        theta = theta + p
    assert_allclose(nk.Sequential(*layers).diag(X).ntk, theta, rtol=1e-12)


@pytest.mark.parametrize("act", [nk.ReLU(), nk.LeakyReLU(0.1), nk.Abs(), nk.RectifiedMonomial(1)])
def test_other_points_are_at_a_right_angle_to_zero(act):
    mean = (act(1.0) - act(-1.0)) / 2  # E f'(v)
    for p, q in ((0.0, 2.0), (2.0, 0.0)):
        assert_allclose(act.dual_derivative(p, q, 0.0), mean**2, rtol=1e-14)


def test_angles_of_tiny_variances():
    """The product of two of them may be zero in float64."""
    for v in (1.0, 1e-170, 1e-200, 1e-300):
        assert_allclose(nk.Sign().dual(v, 4 * v, v), 1 / 3, rtol=1e-13)
        assert_allclose(nk.RectifiedMonomial(0).dual(v, 4 * v, v), 1 / 3, rtol=1e-13)
        assert_allclose(nk.RectifiedMonomial(1).dual_derivative(v, 4 * v, v), 1 / 3, rtol=1e-13)


@pytest.mark.parametrize("name", sorted(SMOOTH))
def test_slope_at_zero_variance(name):
    """And near it, where a quotient by the deviation would be one of rounding errors."""
    act, derivative, kinks = CASES[name]
    at_zero = float(derivative(np.zeros(1))[0])
    for q in (0.0, 1.0, 9.0):
        mean = reference.expectation(derivative, math.sqrt(q), kinks) if q else at_zero
        for p in (0.0, 1e-40, 1e-30, 1e-16):
            found = [act.dual_derivative(p, q, 0.0), act.dual_derivative(q, p, 0.0)]
            assert_allclose(found, at_zero * mean, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("std", [1.0, 0.3, 4.0])
def test_hermite_coefficients(name, std):
    act, _, kinks = CASES[name]
    degree = 12
    found = act.hermite_coefficients(std, degree)
    assert found.shape == (degree + 1,)
    size = math.sqrt(reference.expectation(lambda x: act(x) ** 2, std, kinks))
    for l in range(degree + 1):
        basis = hermite_e.HermiteE.basis(l) / math.sqrt(math.factorial(l))

        def integrand(x, basis=basis):
            return act(x) * basis(x / std)

        expected = reference.expectation(integrand, std, kinks)
        assert_allclose(found[l], expected, rtol=0, atol=1e-10 * size)


@pytest.mark.parametrize("name", [*ALL, "exp_normalized"])
def test_mehler_sum_is_the_dual(name):
    act = nk.ExpNormalized(0.8, 0.3) if name == "exp_normalized" else CASES[name][0]
    p, q, rho = 0.7, 1.9, 0.6
    a = act.hermite_coefficients(math.sqrt(p), 60)
    b = act.hermite_coefficients(math.sqrt(q), 60)
    series = np.sum(a * b * rho ** np.arange(61))
    assert_allclose(act.dual(p, q, rho * math.sqrt(p * q)), series, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_complex_arguments_continue_the_dual(name):
    """As `expansion` needs it: complex c; and as `gp` does: tiny imaginary parts anywhere."""
    act = CASES[name][0]
    p, q, c = np.array([1.3, 0.8]), np.array([0.9, 1.1]), np.array([0.5, -0.3])
    k, slope = act._pair(p, q, c.astype(complex))
    assert_allclose(k, act.dual(p, q, c), rtol=1e-9, atol=1e-10)
    assert_allclose(slope, act.dual_derivative(p, q, c), rtol=1e-9, atol=1e-10)
    h = 1e-25
    if name not in JUMPS:
        steep = act._pair(p, q, c + h * 1j)[0].imag / h
        assert_allclose(steep, slope.real, rtol=1e-8, atol=1e-9)
    eps = 1e-5
    for which in range(2):
        arguments = [p, q]
        arguments[which] = arguments[which] + h * 1j
        found = [part.imag / h for part in act._pair(*arguments, c)]
        ends = []
        for sign in (1, -1):
            arguments = [p, q]
            arguments[which] = arguments[which] + sign * eps
            ends.append((act.dual(*arguments, c), act.dual_derivative(*arguments, c)))
        for value, high, low in zip(found, *ends, strict=True):
            assert_allclose(value, (high - low) / (2 * eps), rtol=1e-5, atol=1e-6)


@given(p=VARIANCES, q=VARIANCES, rho=CORRELATIONS)
def test_relu_dual_is_the_formula(p, q, rho):
    c = rho * math.sqrt(p * q)
    k, slope = reference.relu_dual(p, q, c)
    # arccos loses half of the digits at the ends, in the oracle too.
    assert_allclose(nk.ReLU().dual(p, q, c), k, rtol=1e-12, atol=1e-13 * math.sqrt(p * q))
    assert_allclose(nk.ReLU().dual_derivative(p, q, c), slope, rtol=0, atol=1e-7)


@given(p=VARIANCES, q=VARIANCES, rho=CORRELATIONS)
def test_relu_dual_is_symmetric(p, q, rho):
    c = rho * math.sqrt(p * q)
    assert nk.ReLU().dual(p, q, c) == nk.ReLU().dual(q, p, c)
    assert nk.ReLU().dual_derivative(p, q, c) == nk.ReLU().dual_derivative(q, p, c)


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


def test_broadcasting_and_lists():
    out = nk.ReLU().dual([[1.0], [2.0]], [1.0, 2.0, 3.0], 0.5)
    assert out.shape == (2, 3)
    assert out[1, 2] == nk.ReLU().dual(2.0, 3.0, 0.5)
    assert_allclose(nk.ReLU().dual(1, 1, 0), 1 / (2 * math.pi))  # integers
    for name in ALL:
        out = CASES[name][0].dual([[1.0], [2.0]], [1.0, 2.0, 3.0], 0.5)
        assert out.shape == (2, 3)
        assert out.dtype == np.float64


def test_negative_variance_is_refused():
    with pytest.raises(ValueError, match="p, q: expected variances >= 0, got"):
        nk.ReLU().dual(-1.0, 1.0, 0.0)


def test_few_hermite_coefficients():
    assert nk.ReLU().hermite_coefficients(0.0, 4).tolist() == [0.0] * 5
    for act in (nk.Sin(c=0.3), nk.Cos(), nk.RBF(), nk.Exp(), nk.Gaussian(), nk.GELU(), nk.Tanh()):
        found = act.hermite_coefficients(0.0, 3)
        np.testing.assert_allclose(found, [float(act(0.0)), 0, 0, 0], atol=1e-15)
    assert len(nk.ReLU().hermite_coefficients(1.0, 0)) == 1
    with pytest.raises(ValueError, match="std: expected"):
        nk.ReLU().hermite_coefficients(-1.0, 3)
    with pytest.raises(ValueError, match="degree: expected"):
        nk.ReLU().hermite_coefficients(1.0, -1)
    with pytest.raises(TypeError, match="degree: expected an integer, got"):
        nk.ReLU().hermite_coefficients(1.0, 1.5)


# --- as objects ---


@pytest.mark.parametrize("name", ALL)
def test_functions(name):
    act, derivative, kinks = CASES[name]
    x = np.linspace(-5, 7, 97) + 0.01
    value = act(x)
    assert value.shape == x.shape
    assert value.dtype == np.float64
    assert act(x.astype(np.float32)).dtype == np.float32
    assert_allclose(act(x.astype(np.float32)), value, rtol=1e-4, atol=1e-4)
    assert_allclose(act(x.tolist()), value)
    away = np.min(np.abs(x[:, None] - np.array([*kinks, 1e9])), axis=1) > 1e-3
    h = 1e-5
    slope = (act(x + h) - act(x - h)) / (2 * h)
    assert_allclose(slope[away], derivative(x)[away], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", sorted(NAMED))
def test_parameters_show_and_build_it_again(name):
    act = CASES[name][0]
    names = {name: getattr(nk, name) for name in nk.__all__}
    again = eval(repr(act), names)
    for other in (again, clone(act), copy.deepcopy(act), pickle.loads(pickle.dumps(act))):
        assert other == act
        assert repr(other) == repr(act)
    for parameter in inspect.signature(type(act).__init__).parameters:
        if parameter != "self" and type(act).__init__ is not object.__init__:
            assert f"{parameter}=" in repr(act)


def test_names():
    for name, kind in activations._BY_NAME.items():
        assert nk.mlp(1, name).layers[1] == kind()
    expected = {
        "relu", "leaky_relu", "abs", "sign", "erf", "sigmoid_like", "gelu", "sin", "cos", "rbf",
        "exp", "gaussian", "exp_normalized", "gabor", "tanh", "sigmoid", "softplus", "silu", "mish",
        "elu", "selu", "celu", "softsign", "hard_tanh", "hard_sigmoid", "hard_swish", "relu6",
    }  # fmt: skip
    assert set(activations._BY_NAME) == expected
    with pytest.raises(ValueError, match=r"RectifiedMonomial needs its parameters, so .*object"):
        nk.mlp(1, "rectified_monomial")
    with pytest.raises(ValueError, match="activation: expected one of"):
        nk.mlp(1, "relo")


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: nk.LeakyReLU(np.nan), ValueError, "alpha: expected a finite number"),
        (lambda: nk.LeakyReLU("0.1"), TypeError, "alpha: expected a real number, got '0.1'"),
        (lambda: nk.Gaussian(1, 0.5), ValueError, "b: expected a number below 0, got 0.5"),
        (lambda: nk.RBF(0), ValueError, "gamma: expected"),
        (lambda: nk.Softplus(-1), ValueError, "beta: expected"),
        (lambda: nk.CELU(0), ValueError, "alpha: expected"),
        (lambda: nk.Monomial(1.5), TypeError, "degree: expected an integer, got 1.5"),
        (lambda: nk.Hermite(-1), ValueError, "degree: expected"),
        (lambda: nk.RectifiedMonomial(51), ValueError, "degree: expected"),
        (lambda: nk.Polynomial([]), ValueError, "coef: expected between 1 and 51 numbers, got 0"),
        (lambda: nk.Polynomial("12"), TypeError, "coef: expected a sequence"),
        (lambda: nk.Polynomial([1, np.inf]), ValueError, "coef: expected a finite number"),
        (lambda: nk.Elementwise("tanh"), TypeError, "fn: expected a function"),
        (lambda: nk.Elementwise(np.sum), ValueError, "fn: expected real numbers of the shape"),
        (lambda: nk.Elementwise(np.log), ValueError, "fn: expected finite numbers"),
        (lambda: nk.Elementwise(np.tanh, [np.nan]), ValueError, "breakpoints: expected"),
        (lambda: nk.Elementwise(np.tanh, 1.0), TypeError, "breakpoints: expected a sequence"),
        (lambda: nk.Elementwise(np.tanh, (), 3), TypeError, "name: expected a string"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
def test_bad_parameters_are_refused(build, error, message):
    with pytest.raises(error, match=message):
        build()


# --- Elementwise ---
