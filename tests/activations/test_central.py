"""The series in rho before tables and closed forms, for pairs whose correlations are small."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import nkfast as nk
from dual_maps import run
from nkfast._core import DualKind
from nkfast.activations._central import lengths

RHOS = [-1.0, 1e-8 - 1, -0.97, -0.8, -0.5, -0.2, 0.0, 1e-9, 0.1, 0.3, 0.45, 0.6, 0.75, 0.9, 1.0]


def points(low, high):
    """Return deviations of few left and more right points, and all the correlations."""
    rng = np.random.default_rng(0)
    s, t = (np.exp(rng.uniform(np.log(low), np.log(high), n)) for n in (5, 90))
    rho = rng.permuted(np.resize(RHOS, (5, 90)), axis=1)
    return s * s, t * t, rho * s[:, None] * t


ACTIVATIONS = [
    nk.Tanh(), nk.SiLU(), nk.Softplus(), nk.Mish(), nk.ELU(), nk.Softsign(), nk.HardTanh(),
    nk.HardSwish(), nk.HardSigmoid(), nk.ReLU6(),
]  # fmt: skip


@pytest.mark.parametrize("act", ACTIVATIONS, ids=lambda act: type(act).__name__)
@pytest.mark.parametrize(("low", "high", "bound"), [(0.9, 1.1, 2e-12), (0.05, 6.0, 2e-9)])
def test_values(act, low, high, bound):
    p, q, c = points(low, high)
    ends = zip(act._diagonal(p), act._diagonal(q), strict=True)
    scales = [np.sqrt(np.outer(a, b)) for a, b in ends]
    k, slope = act._pair(p[:, None], q, c)
    for tol in (1e-14, 1e-7):
        dual = act._core_map(p, q, tol, (min(p.min(), q.min()), max(p.max(), q.max())))
        assert dual.kind is DualKind.CENTRAL
        found = run(dual.kind, dual.params, dual.left, dual.right, c, np.full(c.shape, 2.0))
        for value, expected, scale in zip(found, (k, 2 * slope), scales, strict=True):
            assert np.all(np.abs(value - expected) <= (bound + 3 * tol) * scale)


@pytest.mark.parametrize("act", [nk.Tanh(), nk.ELU(), nk.HardSwish()])
def test_values_depend_on_the_pair_alone(act):
    """Whatever stands beside it in a vector, and with or without slopes."""
    p, q, c = points(0.5, 2.0)
    span = (float(p.min()), 2 * float(q.max()))
    dual = act._core_map(p, q, 1e-14, span)
    k, slope = run(dual.kind, dual.params, dual.left, dual.right, c, np.ones_like(c))
    assert_array_equal(run(dual.kind, dual.params, dual.left, dual.right, c), k)
    order = np.argsort(np.abs(c[0] / np.sqrt(q)))
    for which in (order, order[::-1], order[:1], order[-1:], np.arange(37, 90)):
        found = run(
            dual.kind, dual.params, dual.left, dual.right[which], c[:, which], c[:, which] ** 0
        )
        assert_array_equal(found[0], k[:, which])
        assert_array_equal(found[1], slope[:, which])


@pytest.mark.parametrize(("offset", "stride"), [(0, 1), (1, 2), (0, 2)])
def test_lengths(offset, stride):
    """What they leave out is below the tolerance, and no shorter length would do."""
    power = np.arange(200)
    used = (power % stride == offset) | (stride == 1)
    sizes = used / (1.0 + power) ** 2.5
    sizes /= np.sum(sizes)
    slopes = power * sizes
    slopes /= slopes.sum()
    found = lengths(sizes, slopes, 1e-10, 60, whole=False)
    assert (found.offset, found.stride) == (offset, stride)
    assert found.terms[-1] <= 60
    assert np.all(np.diff(found.terms) > 0)
    assert np.all(np.diff(found.limits) > 0)
    for terms, limit in zip(found.terms, found.limits, strict=True):
        rest = power >= offset + stride * terms
        assert np.sum(sizes[rest] * limit ** power[rest]) <= 1e-10
        assert np.sum(slopes[rest] * limit ** (power[rest] - 1.0)) <= 1e-10
    whole = lengths(sizes, slopes, 1e-10, 200, whole=True)
    assert whole.limits[-1] > 1
    assert whole.degrees.stop >= 200


def test_equal_points_of_a_network():
    """Those are left to the map beyond, which knows their kernels exactly."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 30))
    X[7], X[9] = X[3], -X[3]
    for act in ("hard_tanh", "elu", "tanh"):
        net = nk.mlp(3, act)
        K, diagonal = net.ntk(X), net.diag(X).ntk
        assert_array_equal(K, K.T)
        assert_allclose(K[3, 7], diagonal[3], rtol=1e-12)
        assert_allclose(net.ntk(X[:5], X)[3, 3], diagonal[3], rtol=1e-11)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ((0, 0, 2, 1, 2, 2.0), "counts of at least 1"),
        ((0, 1, 2, 0, 2, 2.0), "counts of at least 1"),
        ((0, 1, 2, 1, 3, 2.0), "count at index 4"),
        ((0, 1, 2, 2, 1, 0.5, 1, 2.0), "more terms and a larger limit at index 6"),
        ((0, 1, 2, 2, 1, 0.5, 2, 0.5), "more terms and a larger limit at index 6"),
        ((0, 1, 2, 1, 2, 0.5, 1), "a table or a piecewise polynomial at index 6"),
        ((0, 1, 2, 1, 2, 0.5), "count at index 6"),
        ((0, 1, 3, 1, 2, 2.0), "left: number of columns: expected 4, got 3"),
    ],
)
def test_maps_that_do_not_fit_are_refused(params, message):
    with pytest.raises(ValueError, match=message):
        run(DualKind.CENTRAL, params, np.ones((2, 3)), np.ones((4, 3)), np.zeros((2, 4)))
