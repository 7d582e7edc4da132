"""Piecewise polynomials at variances where their truncated powers cancel."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import ndtr

import nkfast as nk
from nkfast.activations._piecewise import (
    derivatives,
    evaluate,
    largest_deviation,
    truncated_pair,
)
from nkfast.activations._piecewise_wide import _wide_pair
from nkfast.activations._quadrature import panels

HARD = [nk.HardTanh(), nk.HardSigmoid(), nk.HardSwish(), nk.ReLU6()]
STEPS = nk.Elementwise(lambda x: np.where(x > 2, 3.0, np.where(x > -1, x, -0.5)), (-1, 2))


def terms_of(activation):
    return activation._terms if isinstance(activation, nk.Elementwise) else activation._terms()


def mean(terms, m, std):
    """E f(v) for v ~ N(m, std^2)."""
    out = 0
    for term in terms:
        sign = term.side or 1
        a = sign * (m - term.at)
        density = std * np.exp(-((a / std) ** 2) / 2) / np.sqrt(2 * np.pi)
        below = ndtr(a / std) if term.side else 1.0
        density = density if term.side else 0.0
        moments = [below, a * below + density]
        moments.append(a * moments[1] + std**2 * below)
        out += term.coef * moments[term.power]
    return out


def reference(terms, s, t, rho):
    """E f(u) f(v) by an integral over u of the mean of f(v) given u."""
    root = np.sqrt((1 - rho) * (1 + rho))
    ends = [0.0]
    for term in terms:
        ends += [term.at / s, term.at / (t * rho)]
    away = 24 * 2.0 ** -np.arange(0, 46)
    edges = np.add.outer(np.array(ends), np.concatenate([-away, [0.0], away])).ravel()
    z, w = panels(np.unique(np.clip(edges, -12, 12)), 20)
    w = w * np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    return [w @ (evaluate(f, s * z) * mean(f, t * rho * z, t * root)) for f in parts(terms)]


def parts(terms):
    return terms, derivatives(terms)


@pytest.mark.parametrize("activation", [*HARD, STEPS])
def test_is_the_truncated_form_where_that_has_digits(activation):
    terms = terms_of(activation)
    s = np.geomspace(1e-6, 50, 12)
    size = [np.sqrt(v) for v in truncated_pair(terms, s, s, s * s)]
    for rho in (1.0, -1.0, 0.0, 0.3, -0.7, 1 - 1e-5, 1e-9 - 1):
        args = (terms, s[:, None], s, rho * np.outer(s, s))
        for found, exact, scale in zip(_wide_pair(*args), truncated_pair(*args), size, strict=True):
            assert np.all(np.abs(found - exact) <= 1e-11 * np.outer(scale, scale))


@pytest.mark.parametrize("activation", [*HARD, STEPS])
@pytest.mark.parametrize("s", [3e3, 1e6])
def test_is_the_integral_at_large_variances(activation, s):
    terms = terms_of(activation)
    for t in (s, 2 * s / 3, 30.0, 0.4):
        size = [
            np.sqrt(a * b)
            for a, b in zip(*(activation._diagonal(np.array(v * v)) for v in (s, t)), strict=True)
        ]
        for rho in (0.4, -0.9, 1 - 1e-6, 1 - 3 / s**2, 3e-9 - 1):
            found = activation._pair(*(np.array(v) for v in (s * s, t * t, rho * s * t)))
            for value, exact, scale in zip(found, reference(terms, s, t, rho), size, strict=True):
                # A rounding of c moves 1 - rho by as much.
                bound = 1e-8 + 4e-16 / (1 - abs(rho))
                assert_allclose(value, exact, rtol=0, atol=bound * scale)


@pytest.mark.parametrize("activation", HARD)
def test_all_variances_up_to_1e12_in_one_network(activation):
    X = np.random.default_rng(0).standard_normal((24, 4))
    X *= (np.geomspace(1e-6, 1e6, 24) / np.linalg.norm(X, axis=1) * 2)[:, None]
    X[-1], X[-2] = X[-3], -X[-3]
    net = nk.mlp(2, activation)
    for K, diagonal in zip(net.kernel(X), net.diag(X), strict=True):
        assert np.array_equal(K, K.T)
        assert_allclose(np.diag(K), diagonal, rtol=1e-12)
        assert_allclose(K[-1, -3], diagonal[-1], rtol=1e-12)
        scale = np.sqrt(np.where(diagonal > 0, diagonal, 1))
        assert np.linalg.eigvalsh(K / np.outer(scale, scale)).min() > -1e-8


@pytest.mark.parametrize("activation", HARD)
def test_complex_steps_are_derivatives(activation):
    terms, step = terms_of(activation), 1e-30
    s, t, c = 40.0, 70.0, 1500.0
    for which in range(3):
        args = [np.array(v, complex) for v in (s, t, c)]
        args[which] += 1j * step * args[which].real
        for found, exact in zip(
            _wide_pair(terms, *args), truncated_pair(terms, *args), strict=True
        ):
            assert_allclose(found.imag / step, exact.imag / step, rtol=1e-8, atol=1e-9)


def test_where_both_forms_lose_digits_variances_are_refused():
    clip = nk.HardTanh()
    near, wide = (largest_deviation(tuple(clip._terms()), form) for form in (False, True))
    assert near < 1e4 < 1e6 < wide
    with pytest.raises(ValueError, match="known for variances up to"):
        clip.dual(2 * wide**2, 1.0, 0.0)


@pytest.mark.parametrize("activation", HARD)
def test_no_points(activation):
    net = nk.mlp(2, activation)
    X = 1e5 * np.ones((3, 2))
    assert net.kernel(X, X[:0]).ntk.shape == (3, 0)
    assert net.kernel(X[:0]).ntk.shape == (0, 0)
    terms = terms_of(activation)
    k, slope = _wide_pair(terms, *np.full((3, 0), 1e5))
    assert k.shape == slope.shape == (0,)
