"""Functions with kinks away from zero that are no piecewise polynomials."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import nkfast as nk
from nkfast._core import BlurTables
from nkfast.activations._blurs import Blurs
from nkfast.activations._piecewise import Term, correlation, derivatives, evaluate
from nkfast.activations._piecewise_wide import piecewise_pair
from nkfast.activations._quadrature import NotResolved, direct_products


def elu(x):
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def moved_elu(x):
    return elu(x - 0.7)


def bent(x):
    return np.where(x > 0.5, np.log1p(np.abs(x)), np.tanh(x))


def thrice_bent(x):
    middle = np.where(x < -1, np.exp(np.minimum(x, 0)), np.sin(x))
    return np.where(x > 2, np.log1p(np.abs(x)), np.where(x > 0.5, np.tanh(x), middle))


def wave(x):
    return np.where(x > 1, np.cos(x), -1.0)


def some_pairs(n, low, high, kinks, seed=0):
    """Deviations and angles, many of them near where kinks of both sides meet."""
    rng = np.random.default_rng(seed)
    s, t = np.exp(rng.uniform(np.log(low), np.log(high), (2, n)))
    ratio = np.abs(rng.choice([k for k in kinks if k], (2, n)))
    close = s * ratio[0] / ratio[1] * (1 + 10 ** rng.uniform(-9, -0.5, n))
    t = np.where(rng.random(n) < 0.6, np.clip(close, low, high), t)
    small = 10 ** rng.uniform(-9, 0, n)
    angle = np.choose(rng.integers(3, size=n), [small, np.pi - small, rng.uniform(0, np.pi, n)])
    angle[:2] = 0, np.pi
    return s, t, angle


PIECES = {
    "clip": [Term(1, 0, 0, 1.0), Term(1, 1, 1, -1.0), Term(1, -1, -1, 1.0)],
    "far apart": [Term(1, 0, 0, 0.5), Term(1, 1, 0.02, 1.0), Term(1, -1, -30.0, 2.0)],
    "one at zero": [Term(1, 1, 0, 1.0), Term(1, -1, 0, -0.3), Term(1, 1, 0.4, 1.5)],
    "jumps": [Term(1, 0, 0, 1.0), Term(0, 1, 0.6, 0.8), Term(0, -1, -2.0, 3.0)],
    "cubic": [Term(1, 0, 0, 1.0), Term(3, 1, 1.5, 0.2)],
}


@pytest.mark.parametrize("terms", PIECES.values(), ids=PIECES.keys())
@pytest.mark.parametrize(("low", "high"), [(0.05, 3), (0.0, 500)])
def test_closed_forms_of_piecewise_polynomials(terms, low, high):
    kinks = sorted({term.at for term in terms if term.side})
    slopes = derivatives(terms)
    blurs = Blurs(lambda x: (evaluate(terms, x), evaluate(slopes, x)), kinks, low, high)
    s, t, angle = some_pairs(300, max(low, 1e-5), high, kinks)
    c = s * t * np.cos(angle)
    found = blurs.pair(s, t, correlation(s, t, c))
    expected = piecewise_pair(terms, s, t, c)
    sides = [piecewise_pair(terms, v, v, v * v) for v in (s, t)]
    for value, exact, left, right in zip(found, expected, *sides, strict=True):
        # Relative to the scale, but where no kink is met: there kdot of a clip is next to none.
        scale = np.sqrt(np.abs(left * right))
        assert np.all(np.abs(value - exact) <= 1e-9 * np.maximum(scale, 1e-4 * scale.max()))
    for value, exact in zip(blurs.squares(s), sides[0], strict=True):
        assert np.all(np.abs(value - exact) <= 1e-9 * np.maximum(exact, 1e-8 * exact.max()))


def moved_elu_slope(x):
    return np.where(x > 0.7, 1.0, np.exp(np.minimum(x - 0.7, 0)))


def bent_slope(x):
    return np.where(x > 0.5, 1 / (1 + np.abs(x)), 1 / np.cosh(np.minimum(x, 0.5)) ** 2)


def thrice_bent_slope(x):
    return np.where(
        x > 2, 1 / (1 + np.abs(x)), np.where(x > 0.5, 1 / np.cosh(np.clip(x, 0, 2)) ** 2, 0)
    ) + (np.where(x < -1, np.exp(np.minimum(x, 0)), np.where(x < 0.5, np.cos(x), 0)))


def wave_slope(x):
    return np.where(x > 1, -np.sin(x), 0.0)


@pytest.mark.parametrize(
    ("function", "slope", "kinks", "high"),
    [
        (moved_elu, moved_elu_slope, (0.7,), 20),
        (bent, bent_slope, (0.5,), 20),
        (thrice_bent, thrice_bent_slope, (-1, 0.5, 2), 9),
        (wave, wave_slope, (1,), 5),
    ],
)
def test_two_dimensional_integrals(function, slope, kinks, high):
    act = nk.Elementwise(function, kinks)
    s, t = np.array([[0.6, high], [0.6001, 1.2]])
    rho = np.cos([1e-3, 2.0])
    found = act._pair(s * s, t * t, s * t * rho)
    sides = [act._diagonal(v * v) for v in (s, t)]
    for i in range(2):
        exact = direct_products(lambda x: (function(x), slope(x)), kinks, s[i], t[i], rho[i])
        for value, expected, left, right in zip(found, exact, *sides, strict=True):
            assert abs(value[i] - expected) <= 1e-9 * np.sqrt(left[i] * right[i])


@pytest.mark.parametrize(("function", "kinks"), [(moved_elu, (0.7,)), (wave, (1,))])
def test_tiny_and_zero_deviations(function, kinks):
    act = nk.Elementwise(function, kinks)
    p = np.array([0.0, 1e-200, 1e-18, 1e-8, 1.0])
    for found, expected in zip(
        act._pair(p, p[::-1], 0 * p), act._direct(np.sqrt(p), np.sqrt(p[::-1]), 0 * p), strict=True
    ):
        assert_allclose(found, expected, rtol=1e-8, atol=1e-12)


def test_rows_of_all_norms():
    act = nk.Elementwise(moved_elu, (0.7,))
    X = np.random.default_rng(0).standard_normal((50, 5))
    X *= (np.geomspace(1, 1000, 50) / np.linalg.norm(X, axis=1) * np.sqrt(5))[:, None]
    X[-1] = X[-2] * (1 + 1e-4)
    net = nk.mlp(2, act)
    for K, diagonal in zip(net.kernel(X), net.diag(X), strict=True):
        assert_allclose(np.diag(K), diagonal, rtol=1e-9)
        assert_array_equal(K, K.T)
        size = np.sqrt(diagonal)
        assert np.linalg.eigvalsh(K / np.outer(size, size)).min() > -1e-9
    with nk.num_threads(2):
        again = net.ntk(X)
    assert_array_equal(again, net.ntk(X))


def test_few_entries_at_large_variances():
    act = nk.Elementwise(moved_elu, (0.7,))
    relu = nk.ReLU().dual(6e4, 2e4, 1e4)
    assert_allclose(act.dual(6e4, 2e4, 1e4), relu, rtol=2e-2)


def test_what_oscillates_is_refused_where_it_cannot_be_integrated():
    act = nk.Elementwise(wave, (1,))
    with pytest.raises(ValueError, match="are known for variances up to"):
        act.dual(5e4, 5e4, 0.0)


def test_growth_that_tables_would_cut_off():
    """Of exp(x) most of E f(u)^2 comes from u around 2 s^2."""

    def function(x):
        return np.exp(np.clip(x, 0.5, 300))

    act = nk.Elementwise(function, (0.5,))
    with pytest.raises(NotResolved):
        Blurs(lambda x: (function(x), function(x) * (x > 0.5)), (0.5,), 0.1, 2.0)
    found, expected = act._pair(*np.array([4.0, 4, 3])), act._direct(*np.array([2.0, 2, 3]))
    assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"counts": [1, 1, 2]}, "counts: expected cells"),
        ({"starts": [0, 1, 2, 3, 3]}, "starts, edges"),
        ({"counts": [1, 1]}, "counts: expected a list, or one more"),
        ({"counts": [0, 1, 2]}, "counts: expected cells"),
        ({"edges": [0.0, 1, 1, 0, 0, 1]}, "edges: expected rising"),
        ({"edges": [0.0, 1, 0, 1, 0]}, "counts: expected cells"),
        ({"starts": [0, 2, 1, 3]}, "starts: expected places"),
        ({"starts": [0, 1, 2, 4]}, "starts: expected places"),
        ({"values": np.zeros((3, 23))}, "values: expected shape"),
        ({"taus": [1.0, np.inf]}, "deviations, taus: expected rising"),
        ({"deviations": [1.0]}, "counts: expected a list, or one more"),
    ],
)
def test_tables_that_do_not_fit(change, message):
    fits = {
        "counts": [1, 1, 1],
        "edges": [0.0, 1, 0, 1, 0, 1],
        "starts": [0, 1, 2, 3],
        "values": np.zeros((3, 24)),
        "deviations": [1.0, 2.0],
        "taus": [1.0, 2.0],
    }
    assert_array_equal(BlurTables(**fits).pairs(*np.ones((3, 2)), 1), np.zeros((2, 2)))
    with pytest.raises(ValueError, match=message):
        BlurTables(**(fits | change))
