"""The maps of piecewise polynomials in the core."""

import numpy as np
import pytest

from dual_maps import deviations, run
from nkfast._core import DualKind
from nkfast.activations._piecewise import Term, derivatives, truncated_pair
from nkfast.activations._piecewise_tables import piecewise_map

pytestmark = pytest.mark.simd
PIECEWISE = {  # power, side, b, coefficient
    "hard tanh": [(0, 0, 0, -1), (1, 1, -1, 1), (1, 1, 1, -1)],
    "other side": [(1, -1, 0.3, 0.7), (2, -1, -0.5, 1.0), (0, 1, 0.2, 1.0)],
    "cubic": [(3, 0, 0, 0.2), (1, 0, 0, 1), (3, 1, 0.5, -0.3), (2, 1, 0.5, 1), (0, -1, -2, 0.4)],
    "polynomial": [(2, 0, 0, 1), (3, 0, 0, 0.5), (0, 0, 0, 2)],
    "relu6": [(1, 1, 0, 1), (1, 1, 6, -1)],
}


def run_piecewise(terms, p, q, c, theta=None, tol=1e-14):
    dual = piecewise_map([Term(*term) for term in terms], p, q, tol, (0.0, 1.0))
    return run(dual.kind, dual.params, dual.left, dual.right, c, theta)


def piecewise_value(terms, x):
    total = 0 * x
    for power, side, b, c in terms:
        inside = np.where(side * (x - b) > 0, 1.0, np.where(x == b, 0.5, 0.0)) if side else 1.0
        total = total + c * inside * ((side * (x - b)) if side else x) ** power
    return total


def piecewise_slope(terms):
    return [
        (power - 1, side, b, c * power * (side or 1)) for power, side, b, c in terms if power > 0
    ]


def expectation(terms, s, s2, rho):
    """E f(s X) f(s2 Y) by Gauss-Legendre rules between the kinks, the inner one rotated."""
    nodes, weights = np.polynomial.legendre.leggauss(24)

    def rule(kinks):
        """Points and weights of the normal density; one rule for each row of kinks."""
        grid = np.broadcast_to(np.arange(-10.0, 10.5, 2), (*kinks.shape[:-1], 11))
        cuts = np.sort(np.clip(np.concatenate([grid, kinks], axis=-1), -10, 10), axis=-1)
        mid, half = (cuts[..., 1:] + cuts[..., :-1]) / 2, np.diff(cuts) / 2
        z = (mid[..., None] + half[..., None] * nodes).reshape(*kinks.shape[:-1], -1)
        w = (half[..., None] * weights).reshape(z.shape)
        return z, w * np.exp(-z * z / 2) / np.sqrt(2 * np.pi)

    kinks = np.array([b for _, side, b, _ in terms if side])
    tau = np.sqrt((1 - rho) * (1 + rho))
    at = [kinks / t for t in (s, s2 * rho) if t]  # where v's mean crosses a kink, it is steep
    x, wx = rule(np.concatenate([*at, [0]]))
    fx = piecewise_value(terms, s * x)
    if tau == 0 or s2 == 0:
        return np.sum(wx * fx * piecewise_value(terms, s2 * rho * x))
    y, wy = rule((kinks / s2 - rho * x[:, None]) / tau)
    inner = np.sum(wy * piecewise_value(terms, s2 * (rho * x[:, None] + tau * y)), axis=1)
    return np.sum(wx * fx * inner)


@pytest.mark.parametrize("name", PIECEWISE)
def test_piecewise(name):
    terms = PIECEWISE[name]
    s = np.array([0.0, 0.3, 1.0, 1.7])
    s2 = np.array([0.0, 0.8, 1.0])
    for rho in (-1.0, -0.96, -0.5, 0.0, 0.2, 0.6, 0.93, 1.0):
        c = rho * np.outer(s, s2)
        k, slope = run_piecewise(terms, s * s, s2 * s2, c, np.ones_like(c))
        for i, j in np.ndindex(c.shape):
            rho_ij = rho if s[i] * s2[j] else 0.0
            expected = expectation(terms, s[i], s2[j], rho_ij)
            assert abs(k[i, j] - expected) <= 2e-12, (s[i], s2[j], rho)
            expected = expectation(piecewise_slope(terms), s[i], s2[j], rho_ij)
            assert abs(slope[i, j] - expected) <= 2e-12, (s[i], s2[j], rho)


@pytest.mark.parametrize("scale", [1e-150, 1e-3, 1.0, 1e3, 1e100])
def test_piecewise_relu_is_the_rectifier(scale):
    """Also as the difference of its halves, whose kinks lie apart; for points of any size."""
    rng = np.random.default_rng(0)
    p, q = (rng.random(12) + 0.5) * scale, (rng.random(40) + 0.5) * scale
    rho = np.concatenate(
        [2 * rng.random((12, 36)) - 1, np.resize([1, -1, 0.925, -0.999], (12, 4))], 1
    )
    c = rho * np.sqrt(p)[:, None] * np.sqrt(q)
    left, right = deviations(p), deviations(q)
    theta = np.ones_like(c)
    k, slope = run(DualKind.RECTIFIER, (0.25, 1.0), left, right, c, theta)
    terms = [(1, 1, 0, 1.0), (1, -1, 0, -0.25)]
    found = run_piecewise(terms, p, q, c, theta)
    assert np.all(abs(found[0] - k) <= 1e-14 * np.sqrt(p)[:, None] * np.sqrt(q))
    assert np.all(abs(found[1] - slope) <= 1e-13)


def test_piecewise_small_points_meet_no_kink():
    """Hard tanh is the identity there, exactly."""
    terms = PIECEWISE["hard tanh"]
    p = np.array([1e-200, 1e-20, 1e-6])
    c = np.sqrt(np.outer(p, p)) * 0.3
    k, slope = run_piecewise(terms, p, p, c, np.ones((3, 3)))
    assert np.all(abs(k - c) <= 1e-14 * c)
    assert np.all(abs(slope - 1) <= 1e-14)


@pytest.mark.parametrize("name", PIECEWISE)
@pytest.mark.parametrize(("tol", "bound"), [(1e-14, 1e-11), (1e-8, 2e-8)])
def test_piecewise_for_points_of_all_sizes(name, tol, bound):
    """Against Owen's T by SciPy, up to what the rounding of rho near +-1 does to a jump."""
    terms = [Term(power, side, b, c) for power, side, b, c in PIECEWISE[name]]
    rng = np.random.default_rng(0)
    p, q = 10 ** rng.uniform(-3, 2, 24), 10 ** rng.uniform(-3, 2, 60)
    q[:20] = p[:20]
    near = 10 ** rng.uniform(-9, -1, (2, 24, 60))
    rho = np.choose(
        rng.integers(0, 3, (24, 60)), [2 * rng.random((24, 60)) - 1, 1 - near[0], near[1] - 1]
    )
    s, s2 = np.sqrt(p)[:, None], np.sqrt(q)
    c = rho * s * s2
    found = run_piecewise(PIECEWISE[name], p, q, c, np.ones_like(c), tol)
    for value, expected, own in zip(
        found, truncated_pair(terms, s, s2, c), (terms, derivatives(terms)), strict=True
    ):
        # The size of the terms, whose sum may be much smaller.
        a, b = (sum(abs(t.coef) * (v + abs(t.at)) ** t.power for t in own) for v in (s, s2))
        assert np.all(abs(value - expected) <= bound * a * b)


def test_piecewise_with_too_many_kinks_has_no_map():
    p = np.ones(1)
    terms = [Term(1, 1, float(b), 1.0) for b in range(9)]
    assert piecewise_map(terms[:8], p, p, 0.0, (1.0, 1.0)) is not None
    assert piecewise_map(terms, p, p, 0.0, (1.0, 1.0)) is None


# --- what is refused ---
