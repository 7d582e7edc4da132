"""Functions with kinks away from zero that are no piecewise polynomials."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import nkfast as nk
from nkfast.activations._piecewise_wide import piecewise_pair
from nkfast.activations._rays import Rays

RNG = np.random.default_rng(0)


def elu(x):
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def moved_elu(x):
    return elu(x - 0.7)


def scales(act, s, t):
    sides = zip(act._diagonal(s * s), act._diagonal(t * t), strict=True)
    return [np.sqrt(a * b) for a, b in sides]


@pytest.mark.parametrize("act", [nk.HardTanh(), nk.ReLU6()])
def test_closed_forms_of_piecewise_polynomials(act):
    terms = act._terms()
    rays = Rays(act._both, act._kinks, 40.0)
    s, t = np.exp(RNG.uniform(np.log(0.05), np.log(40), (2, 40)))
    t[::2] = s[::2] * (1 + np.geomspace(1e-6, 0.3, 20))
    t = np.minimum(t, 40)
    angle = np.concatenate([[0, np.pi], np.geomspace(1e-6, 3, 38)])
    found = rays.pair(s, t, angle)
    expected = piecewise_pair(terms, s, t, s * t * np.cos(angle))
    for value, exact, scale in zip(found, expected, scales(act, s, t), strict=True):
        # A rounding of the cosine moves an angle.
        assert np.all(np.abs(value - exact) <= (2e-9 + 1e-15 / np.maximum(angle, 1e-8)) * scale)


def test_rows_of_all_norms():
    act = nk.Elementwise(moved_elu, (0.7,))
    X = RNG.standard_normal((30, 5))
    X *= (np.geomspace(1, 1000, 30) / np.linalg.norm(X, axis=1) * np.sqrt(5))[:, None]
    X[-1] = X[-2] * (1 + 1e-4)
    net = nk.mlp(1, act)
    for K, diagonal in zip(net.kernel(X), net.diag(X), strict=True):
        assert_allclose(np.diag(K), diagonal, rtol=1e-8)
        assert_allclose(K, K.T, rtol=1e-12)
        size = np.sqrt(diagonal)
        assert np.linalg.eigvalsh(K / np.outer(size, size)).min() > -1e-8
    s, t, angle = np.array([[3.0, 0.5, 100.0], [2.0, 3.0, 101.0], [1e-3, 2, 0.05]])
    c = s * t * np.cos(angle)
    many = [np.resize(v, 40) for v in (s * s, t * t, c)]
    pairs = zip(act._pair(*many), act._direct(s, t, c), scales(act, s, t), strict=True)
    for found, expected, scale in pairs:
        assert_allclose(found[:3] / scale, expected / scale, rtol=0, atol=1e-8)


def test_few_entries_at_large_variances():
    act = nk.Elementwise(moved_elu, (0.7,))
    relu = nk.ReLU().dual(6e4, 2e4, 1e4)
    assert_allclose(act.dual(6e4, 2e4, 1e4), relu, rtol=2e-2)


def test_what_oscillates_is_refused_where_it_cannot_be_integrated():
    act = nk.Elementwise(lambda x: np.where(x > 1, np.cos(x), -1.0), (1,))
    with pytest.raises(ValueError, match="are known for variances up to"):
        act.dual(5e4, 5e4, 0.0)
