"""Compiled dual kernels against their formulas in extended precision, at every SIMD level."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.polynomial import chebyshev
from numpy.testing import assert_array_equal

import nkfast
from nkfast import _core
from nkfast.activations._corners import piecewise_map
from nkfast.activations._piecewise import Term, derivatives, piecewise_pair

pytestmark = pytest.mark.simd

Real = np.longdouble
PI = 4 * np.arctan(Real(1))
EPS = np.finfo(float).eps
RHOS = [-1.0, -1 + 1e-6, -0.95, -0.7072, -0.7071, -0.3, -1e-9, 0.0, 1e-3, 0.5, 0.70710678, 0.7072]
RHOS += [0.99, 1 - 1e-6, 1.0]


def run(kind, params, left, right, k, theta=None):
    k = np.array(k, float, order="C")
    theta = None if theta is None else np.array(theta, float, order="C")
    _core.dual_map(
        kind, params, np.ascontiguousarray(left), np.ascontiguousarray(right), k, theta, 2
    )
    return k if theta is None else (k, theta)


def deviations(p):
    s = np.sqrt(p)
    return np.stack([s, np.divide(1, s, out=np.zeros_like(s), where=s > 0)], axis=1)


def angle(p, q, c):
    """Return rho, sin, pi - angle and angle; rho = 0 where p or q is 0."""
    s = np.sqrt(p) * np.sqrt(q)
    rho = np.divide(c, s, out=np.zeros_like(s), where=s > 0)
    rho = np.where(1 - abs(rho) <= 32 * EPS, np.sign(rho), rho)
    return rho, np.sqrt((1 - rho) * (1 + rho)), np.arccos(-rho), np.arccos(rho)


def rectifier(a, b):
    def pair(p, q, c):
        rho, sin, rest, theta = angle(p, q, c)
        slope = ((a * a + b * b) * rest + 2 * a * b * theta) / (2 * PI)
        s = np.sqrt(p) * np.sqrt(q)
        return s * ((a - b) ** 2 * sin / (2 * PI) + rho * slope), slope

    return pair


def sign(p, q, c):
    return 2 / PI * np.arcsin(angle(p, q, c)[0]), 0 * c


def rectified_square(p, q, c):
    rho, sin, rest, _ = angle(p, q, c)
    s = np.sqrt(p) * np.sqrt(q)
    k = s * s * (rest * (1 + 2 * rho**2) + 3 * rho * sin) / (2 * PI)
    return k, 4 * s * (rest * rho + sin) / (2 * PI)


def step(p, q, c):
    positive = (p > 0) & (q > 0)
    return np.where(positive, angle(p, q, c)[2] / (2 * PI), 0), 0 * c


def product_complement(P, Q, C):
    """Return (1 + P)(1 + Q) - C^2, P Q - C^2 being 0 where it is so up to rounding."""
    D = P * Q - C * C
    return 1 + P + Q + np.where(D <= 64 * EPS * P * Q, 0, D)


def erf(a, b, c0):
    a, b = Real(a), Real(b)

    def pair(p, q, c):
        t = 2 * b * b
        E = product_complement(t * p, t * q, t * c)
        k = 2 * a * a / PI * np.arctan2(t * c, np.sqrt(E)) + Real(c0) ** 2
        return k, 4 * a * a * b * b / PI / np.sqrt(E)

    return pair


def gelu(p, q, c):
    E = product_complement(p, q, c)
    A = (1 + p) * (1 + q)
    root, arc = np.sqrt(E), np.arctan2(c, np.sqrt(E))
    k = c / 4 + ((c * c + p * q * E) / (A * root) + c * arc) / (2 * PI)
    bracket = 1 / E + 1 / A - p * q / A + 1
    return k, Real(0.25) + arc / (2 * PI) + c / (2 * PI * root) * bracket


def exponential(a, b):
    def pair(p, q, c):
        k = Real(a) ** 2 * np.exp(Real(b) ** 2 * ((p + q) / 2 + c))
        return k, Real(b) ** 2 * k

    return pair


def sine(a, b2, cosine):
    def pair(p, q, c):
        even = Real(a) * np.exp(Real(b2) * (c - (p + q) / 2))
        odd = Real(cosine) * Real(a) * np.exp(-Real(b2) * (c + (p + q) / 2))
        return even - odd, b2 * (even + odd)

    return pair


def gaussian(a2, b):
    def pair(p, q, c):
        E = product_complement(-2 * Real(b) * p, -2 * Real(b) * q, 2 * Real(b) * c)
        return Real(a2) / np.sqrt(E), 4 * Real(b) ** 2 * c * Real(a2) / E**1.5

    return pair


def normalised_exponential(g, shift):
    def pair(p, q, c):
        e = np.exp(Real(g) * (angle(p, q, c)[0] + Real(shift)))
        return np.sqrt(p) * np.sqrt(q) * e, Real(g) * e

    return pair


def gabor(p, q, c):
    D = p * q - c * c
    D = np.where(abs(D) <= 64 * EPS * p * q, 0, D)
    G = 4 * D + 2 * (p + q) + 1
    Y = (p + q + 4 * D) / (2 * G)
    s = 1 + 2 * (p + q) + 4 * (c * c + p * q)
    t = 4 * c * (4 * D + 3 * (p + q) + 2)
    odd, even = np.exp(-Y) * np.sinh(c / G), np.exp(-Y) * np.cosh(c / G)
    return odd / np.sqrt(G), (s * even + t * odd) / G**2.5


@dataclass
class Case:
    kind: str
    params: tuple[float, ...]
    columns: Any  # of variances
    pair: Any
    variances: tuple[float, ...] = (0.0, 1e-300, 1e-20, 1e-3, 0.7, 1.0, 1.3, 40.0, 1e5, 1e100)

    def tables(self, p):
        return np.array(self.columns(p), float).T.copy()


def scaled(b2):
    return lambda p: [1 / np.sqrt(1 + 2 * b2 * p)]


MODEST = (0.0, 1e-20, 0.2, 1.0, 1.7, 6.0)
CASES = {
    "relu": Case("rectifier", (0.0, 1.0), lambda p: deviations(p).T, rectifier(0, 1)),
    "abs": Case("rectifier", (-1.0, 1.0), lambda p: deviations(p).T, rectifier(-1, 1)),
    "leaky": Case("rectifier", (0.25, 1.0), lambda p: deviations(p).T, rectifier(0.25, 1)),
    "sign": Case("sign", (), lambda p: deviations(p).T, sign),
    "square": Case(
        "rectified_power",
        (2, 3, 1, 0, 2, 2, 0, 3, 2, 0, 1, 1, 1),
        lambda p: [p, np.sqrt(p), deviations(p)[:, 1]],
        rectified_square,
    ),
    "step": Case(
        "rectified_power",
        (0, 1, 1, 0, 0, 0),
        lambda p: [p > 0, deviations(p)[:, 1], deviations(p)[:, 1]],
        step,
    ),
    "erf": Case(
        "asin",
        (2 * 1.3**2 / np.pi, 2 * 0.7**2, 0.04, 4 * 1.3**2 * 0.7**2 / np.pi),
        scaled(0.7**2),
        erf(1.3, 0.7, 0.2),
    ),
    "gelu": Case("gelu", (), lambda p: [1 / np.sqrt(1 + p), p], gelu),
    "exp": Case("exp", (1.21, 0.36), lambda p: [0.18 * p], exponential(1.1, 0.6), (*MODEST, 300.0)),
    "sin": Case("sin", (0.9, 0.7, -0.3), lambda p: [0.35 * p], sine(0.9, 0.7, -0.3), MODEST),
    "rbf": Case("sin", (1.0, 1.5, 0.0), lambda p: [0.75 * p], sine(1.0, 1.5, 0), (*MODEST, 300.0)),
    "gaussian": Case("gaussian", (1.5, -0.8), scaled(0.8), gaussian(1.5, -0.8)),
    "exp_normalized": Case(
        "exp_normalized",
        (1.2, -1.0),
        lambda p: deviations(p).T,
        normalised_exponential(1.2, -1.0),
    ),
    "gabor": Case("gabor", (), lambda p: [p], gabor, (*MODEST, 1e3)),
}
KINKED = ("relu", "leaky", "abs", "square", "gelu")  # k cancels near rho = -1


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("rho", RHOS)
def test_formula(name, rho):
    case = CASES[name]
    p = np.array(case.variances)
    q = np.concatenate([p[::-1], p * 1.1])
    c = rho * np.sqrt(p)[:, None] * np.sqrt(q)
    theta = np.linspace(0.5, 2, c.size).reshape(c.shape)
    left, right = case.tables(p), case.tables(q)
    k, slope = run(case.kind, case.params, left, right, c, theta)
    exact_k, exact_slope = case.pair(Real(p)[:, None], Real(q), Real(c))
    # Rounding of rho moves an angle by eps / sin, of what is left of it by eps / sin^2.
    bend = 4 * EPS / (1 - rho * rho) if abs(rho) < 1 else 0
    size = np.sqrt(p)[:, None] * np.sqrt(q)
    scale = {"square": size**2}.get(name, size if name in KINKED else abs(exact_k))
    assert np.all(abs(k - exact_k) <= (2e-13 + (0 if name in KINKED else bend)) * scale + 1e-305)
    scale = abs(exact_slope) + {"square": size}.get(name, 1e-2 if name in KINKED else 0)
    assert np.all(abs(slope - exact_slope * theta) <= (2e-13 + 2 * bend) * scale + 1e-305)
    assert_array_equal(run(case.kind, case.params, left, right, c), k)


@pytest.mark.parametrize("name", CASES)
def test_rows_of_any_length_and_any_column(name):
    """A pair's value does not depend on where it stands."""
    case = CASES[name]
    rng = np.random.default_rng(0)
    p, q = rng.random(3) + 0.5, rng.random(131) + 0.5
    c = (2 * rng.random((3, 131)) - 1) * np.sqrt(p)[:, None] * np.sqrt(q)
    left, right = case.tables(p), case.tables(q)
    k, slope = run(case.kind, case.params, left, right, c, np.ones_like(c))
    for n in (0, 1, 7, 32, 33, 100):
        found = run(
            case.kind, case.params, left, right[131 - n :], c[:, 131 - n :], np.ones((3, n))
        )
        assert_array_equal(found[0], k[:, 131 - n :])
        assert_array_equal(found[1], slope[:, 131 - n :])


@pytest.mark.parametrize(("offset", "stride"), [(0, 1), (1, 1), (0, 2), (1, 2), (3, 2), (4, 1)])
@pytest.mark.parametrize("n_terms", [1, 2, 17, 60, 300])
@pytest.mark.parametrize("largest", [1.0, 0.9, 0.3, 0.0])
def test_series(offset, stride, n_terms, largest):
    """Small rho need few terms, which is to cost no accuracy."""
    rng = np.random.default_rng(n_terms)
    p, q = np.array([0.0, 0.5, 1.0, 2.0]), rng.random(70) + 0.5
    decay = 1 / (1 + np.arange(n_terms)) ** 1.5
    A, B = rng.standard_normal((4, n_terms)) * decay, rng.standard_normal((70, n_terms)) * decay
    rho = largest * np.resize(RHOS, (4, 70)).astype(Real)
    c = (rho * np.sqrt(p)[:, None] * np.sqrt(q)).astype(float)
    left = np.column_stack([deviations(p)[:, 1], A])
    right = np.column_stack([deviations(q)[:, 1], B])
    k, slope = run("series", (offset, stride, n_terms, 0), left, right, c, np.full((4, 70), 2.0))
    rho[0] = 0
    power = offset + stride * np.arange(n_terms)
    terms = A[:, None].astype(Real) * B
    powers = rho[..., None] ** power
    dpowers = np.where(power > 0, power * rho[..., None] ** np.maximum(power - 1, 0), 0)
    size = np.sum(abs(terms) * (abs(powers) + abs(dpowers)), axis=-1).astype(float)
    assert np.all(abs(k - np.sum(terms * powers, axis=-1)) <= 1e-14 * n_terms * size)
    by_rho = np.outer(left[:, 0], right[:, 0]) * 2
    expected = by_rho * np.sum(terms * dpowers, axis=-1)
    assert np.all(abs(slope - expected) <= 3e-14 * n_terms * (size * by_rho + 1e-300))
    assert_array_equal(run("series", (offset, stride, n_terms, 0), left, right, c), k)


@pytest.mark.parametrize(("rank", "n", "n_slope"), [(1, 1, 2), (5, 9, 14), (48, 256, 200)])
def test_table(rank, n, n_slope):
    rng = np.random.default_rng(rank)
    p, q = np.array([0.0, 0.5, 3.0]), rng.random(40) + 0.5
    B, B1 = rng.standard_normal((3, rank, n)), rng.standard_normal((3, rank, n_slope))
    R = rng.standard_normal((40, rank))
    rho = np.resize(RHOS, (3, 40))
    c = rho * np.sqrt(p)[:, None] * np.sqrt(q)
    left = np.column_stack([deviations(p)[:, 1], B.reshape(3, -1), B1.reshape(3, -1)])
    right = np.column_stack([deviations(q)[:, 1], R])
    k, slope = run("table", (rank, n, n_slope), left, right, c, np.full((3, 40), 2.0))
    x = 2 * angle(p[:, None] + 0 * q, q + 0 * p[:, None], c)[3].astype(float) / np.pi - 1
    for i in range(3):
        for found, table, factor in ((k, B[i], 1), (slope, B1[i], 2)):
            expected = factor * chebyshev.chebval(x[i], (table.T @ R.T), tensor=False)
            bound = np.sum(abs(table).T @ abs(R).T, axis=0)
            # rho moves the angle by eps / sin, and T_m moves m^2 times as much at the ends
            assert np.all(abs(found[i] - expected) <= 1e-11 * bound)


@pytest.mark.parametrize(("tol", "bound"), [(1e-14, 1e-11), (1e-8, 1e-7)])
@pytest.mark.parametrize("decades", [0.3, 4.0])
def test_table_of_few_functions(tol, bound, decades):
    """As many functions of the columns as the tolerance needs, for points of all sizes."""
    activation = nkfast.ELU()
    rng = np.random.default_rng(0)
    p, q = 10 ** (decades * (rng.random(10) - 0.7)), 10 ** (decades * (rng.random(40) - 0.7))
    c = np.resize(RHOS, (10, 40)) * np.sqrt(p)[:, None] * np.sqrt(q)
    dual = activation._dual_map(p, q, tol, (min(p.min(), q.min()), max(p.max(), q.max())))
    assert dual.kind == "table"
    found = run(dual.kind, dual.params, dual.left, dual.right, c, np.ones_like(c))
    ends = zip(activation._diagonal(p), activation._diagonal(q), strict=True)
    for value, expected, (a, b) in zip(
        found, activation._pair(p[:, None], q, c), ends, strict=True
    ):
        assert np.all(abs(value - expected) <= bound * np.sqrt(np.outer(a, b)))


# --- piecewise polynomials: (power, side, b, coefficient) ---

PIECEWISE = {
    "hard tanh": [(0, 0, 0, -1), (1, 1, -1, 1), (1, 1, 1, -1)],
    "other side": [(1, -1, 0.3, 0.7), (2, -1, -0.5, 1.0), (0, 1, 0.2, 1.0)],
    "cubic": [(3, 0, 0, 0.2), (1, 0, 0, 1), (3, 1, 0.5, -0.3), (2, 1, 0.5, 1), (0, -1, -2, 0.4)],
    "polynomial": [(2, 0, 0, 1), (3, 0, 0, 0.5), (0, 0, 0, 2)],
    "relu6": [(1, 1, 0, 1), (1, 1, 6, -1)],
}


def run_piecewise(terms, p, q, c, theta=None, tol=1e-14):
    dual = piecewise_map([Term(*term) for term in terms], p, q, tol)
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
    k, slope = run("rectifier", (0.25, 1.0), left, right, c, theta)
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
        found, piecewise_pair(terms, s, s2, c), (terms, derivatives(terms)), strict=True
    ):
        # The size of the terms, whose sum may be much smaller.
        a, b = (sum(abs(t.coef) * (v + abs(t.at)) ** t.power for t in own) for v in (s, s2))
        assert np.all(abs(value - expected) <= bound * a * b)


def test_piecewise_with_too_many_kinks_has_no_map():
    p = np.ones(1)
    terms = [Term(1, 1, float(b), 1.0) for b in range(9)]
    assert piecewise_map(terms[:8], p, p, 0.0) is not None
    assert piecewise_map(terms, p, p, 0.0) is None


# --- what is refused ---


@pytest.mark.parametrize(
    ("kind", "params", "widths", "message"),
    [
        ("relu", (), (2, 2), "kind: expected the name of a dual map, got 'relu'"),
        ("rectifier", (1.0,), (2, 2), "params: number of parameters: expected 2, got 1"),
        ("rectifier", (0.0, 1.0), (1, 2), "left: number of columns: expected 2, got 1"),
        ("rectifier", (0.0, 1.0), (2, 3), "right: number of columns: expected 2, got 3"),
        ("series", (0, 1, 5, 0), (6, 5), "right: number of columns: expected 6, got 5"),
        ("series", (0, 3, 5, 0), (6, 6), "params: expected a count at index 1"),
        ("series", (0, 1, -5, 0), (6, 6), "params: expected a count at index 2"),
        ("series", (0, 1, np.nan, 0), (6, 6), "params: expected a count at index 2"),
        ("table", (2, 3, 2.5), (13, 3), "params: expected a count at index 2"),
        ("rectified_power", (2, 5, 1), (3, 3), "params: expected a count at index 7"),
        ("piecewise", (4, 1), (2, 2), "params: expected a count at index 0"),
        ("piecewise", (1, 1, 1, 8, 7, 1, 0, 9), (2, 2), "params: expected a count at index 7"),
        (
            "piecewise",
            (1, 1, 1, 8, 7, 1, 0, 1, 0, 2, 1, 1, 1, 1),
            (3, 3),
            "params: expected signs of another part at index 12",
        ),
        (
            "piecewise",
            (1, 1, 1, 8, 7, 1, 0, 1, 0, 2, 1, 1, 0, 1),
            (3, 3),
            "params: expected signs of another part at index 12",
        ),
        ("piecewise", (0, 1, 1, 8, 7, 1, 0, 0), (3, 3), "params: expected counts of at least 1"),
        ("piecewise", (1, 1, 1, 8, 7, 1, 0, 0), (2, 3), "left: number of columns: expected 3"),
    ],
)
def test_maps_that_do_not_fit_are_refused(kind, params, widths, message):
    left, right = np.ones((3, widths[0])), np.ones((4, widths[1]))
    with pytest.raises(ValueError, match=message):
        run(kind, params, left, right, np.zeros((3, 4)))


def test_shapes_that_do_not_fit_are_refused():
    table = np.ones((3, 2))
    with pytest.raises(ValueError, match=r"k: expected shape \(3, 3\), got \(3, 4\)"):
        run("sign", (), table, table, np.zeros((3, 4)))
    with pytest.raises(ValueError, match=r"theta: expected shape \(3, 3\), got \(4, 3\)"):
        run("sign", (), table, table, np.zeros((3, 3)), np.zeros((4, 3)))
