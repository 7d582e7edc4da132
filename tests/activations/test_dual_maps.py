"""Compiled dual kernels against their formulas in extended precision, at every SIMD level."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.polynomial import chebyshev
from numpy.testing import assert_allclose, assert_array_equal

import nkfast as nk
from dual_maps import deviations, run
from nkfast._core import DualKind

pytestmark = pytest.mark.simd

Real = np.longdouble
PI = 4 * np.arctan(Real(1))
EPS = np.finfo(float).eps
RHOS = [-1.0, -1 + 1e-6, -0.95, -0.7072, -0.7071, -0.3, -1e-9, 0.0, 1e-3, 0.5, 0.70710678, 0.7072]
RHOS += [0.99, 1 - 1e-6, 1.0]


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
    kind: DualKind
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
    "relu": Case(DualKind.RECTIFIER, (0.0, 1.0), lambda p: deviations(p).T, rectifier(0, 1)),
    "abs": Case(DualKind.RECTIFIER, (-1.0, 1.0), lambda p: deviations(p).T, rectifier(-1, 1)),
    "leaky": Case(DualKind.RECTIFIER, (0.25, 1.0), lambda p: deviations(p).T, rectifier(0.25, 1)),
    "sign": Case(DualKind.SIGN, (), lambda p: deviations(p).T, sign),
    "square": Case(
        DualKind.RECTIFIED_POWER,
        (2, 3, 1, 0, 2, 2, 0, 3, 2, 0, 1, 1, 1),
        lambda p: [p, np.sqrt(p), deviations(p)[:, 1]],
        rectified_square,
    ),
    "step": Case(
        DualKind.RECTIFIED_POWER,
        (0, 1, 1, 0, 0, 0),
        lambda p: [p > 0, deviations(p)[:, 1], deviations(p)[:, 1]],
        step,
    ),
    "erf": Case(
        DualKind.ASIN,
        (2 * 1.3**2 / np.pi, 2 * 0.7**2, 0.04, 4 * 1.3**2 * 0.7**2 / np.pi),
        scaled(0.7**2),
        erf(1.3, 0.7, 0.2),
    ),
    "gelu": Case(DualKind.GELU, (), lambda p: [1 / np.sqrt(1 + p), p], gelu),
    "exp": Case(
        DualKind.EXP, (1.21, 0.36), lambda p: [0.18 * p], exponential(1.1, 0.6), (*MODEST, 300.0)
    ),
    "sin": Case(
        DualKind.SIN,
        (0.9, 0.7, 1.3, 0.7),
        lambda p: [np.sqrt(0.7 * p)],
        sine(0.9, 0.7, -0.3),
        MODEST,
    ),
    "rbf": Case(
        DualKind.SIN,
        (1.0, 1.5, 1.0, 1.0),
        lambda p: [np.sqrt(1.5 * p)],
        sine(1.0, 1.5, 0),
        (*MODEST, 300.0),
    ),
    "gaussian": Case(DualKind.GAUSSIAN, (1.5, -0.8), scaled(0.8), gaussian(1.5, -0.8)),
    "exp_normalized": Case(
        DualKind.EXP_NORMALIZED,
        (1.2, -1.0),
        lambda p: deviations(p).T,
        normalised_exponential(1.2, -1.0),
    ),
    "gabor": Case(DualKind.GABOR, (), lambda p: [p], gabor, (*MODEST, 1e3)),
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
    k, slope = run(
        DualKind.SERIES, (offset, stride, n_terms, 0), left, right, c, np.full((4, 70), 2.0)
    )
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
    assert_array_equal(run(DualKind.SERIES, (offset, stride, n_terms, 0), left, right, c), k)


@pytest.mark.parametrize("stretch", [0.0, 9.0, 1e6])
@pytest.mark.parametrize(("rank", "n", "n_slope"), [(1, 1, 2), (5, 9, 14), (48, 256, 200)])
def test_table(rank, n, n_slope, stretch):
    rng = np.random.default_rng(rank)
    p, q = np.array([0.0, 0.5, 3.0]), rng.random(40) + 0.5
    B, B1 = rng.standard_normal((3, rank, n)), rng.standard_normal((3, rank, n_slope))
    R = rng.standard_normal((40, rank))
    rho = np.resize(RHOS, (3, 40))
    c = rho * np.sqrt(p)[:, None] * np.sqrt(q)
    right = np.column_stack([deviations(q)[:, 1], R])
    # The last degrees need fewer functions.
    ranks = np.maximum(rank - np.arange(-(-n // 4)), 1)
    first = rank // 3
    slope_ranks = np.maximum(rank - first - np.arange(-(-n_slope // 4)), 0)
    for table, start, counts in ((B, 0, ranks), (B1, first, slope_ranks)):
        table[:, :start] = 0
        for m in range(table.shape[2]):
            table[:, start + counts[m // 4] :, m] = 0
    left = np.column_stack([deviations(p)[:, 1], B.reshape(3, -1), B1.reshape(3, -1)])
    params = (rank, n, n_slope, stretch, first, *ranks, *slope_ranks)
    k, slope = run(DualKind.TABLE, params, left, right, c, np.full((3, 40), 2.0))
    theta = angle(p[:, None] + 0 * q, q + 0 * p[:, None], c)[3]
    x = 2 * theta / np.pi - 1
    gain = 1.0
    if stretch:
        # at the smallest angle that is not 0, here 1.4e-3
        gain += np.pi / 2 * min(stretch, 700) / np.arcsinh(stretch * np.pi)
        rest = np.pi - theta
        x = np.arcsinh(stretch * theta) - np.arcsinh(stretch * rest)
        x = x / np.arcsinh(stretch * np.pi)
    x = x.astype(float)
    for i in range(3):
        for found, table, factor in ((k, B[i], 1), (slope, B1[i], 2)):
            expected = factor * chebyshev.chebval(x[i], (table.T @ R.T), tensor=False)
            bound = np.sum(abs(table).T @ abs(R).T, axis=0)
            # rho moves the angle by eps / sin, and T_m moves m^2 times as much at the ends
            assert np.all(abs(found[i] - expected) <= 1e-11 * gain * bound)


@pytest.mark.parametrize(("tol", "bound"), [(1e-14, 1e-11), (1e-8, 1e-7)])
@pytest.mark.parametrize("decades", [0.3, 4.0])
def test_table_of_few_functions(tol, bound, decades):
    """As many functions of the columns as the tolerance needs, for points of all sizes."""
    activation = nk.ELU()
    rng = np.random.default_rng(0)
    p, q = 10 ** (decades * (rng.random(10) - 0.7)), 10 ** (decades * (rng.random(40) - 0.7))
    c = np.resize(RHOS, (10, 40)) * np.sqrt(p)[:, None] * np.sqrt(q)
    dual = activation._dual_map(p, q, tol, (min(p.min(), q.min()), max(p.max(), q.max())))
    assert dual.kind is DualKind.TABLE
    found = run(dual.kind, dual.params, dual.left, dual.right, c, np.ones_like(c))
    ends = zip(activation._diagonal(p), activation._diagonal(q), strict=True)
    for value, expected, (a, b) in zip(
        found, activation._pair(p[:, None], q, c), ends, strict=True
    ):
        assert np.all(abs(value - expected) <= bound * np.sqrt(np.outer(a, b)))


@pytest.mark.parametrize(
    ("kind", "params", "widths", "message"),
    [
        (DualKind.RECTIFIER, (1.0,), (2, 2), "params: number of parameters: expected 2, got 1"),
        (DualKind.RECTIFIER, (0.0, 1.0), (1, 2), "left: number of columns: expected 2, got 1"),
        (DualKind.RECTIFIER, (0.0, 1.0), (2, 3), "right: number of columns: expected 2, got 3"),
        (DualKind.SERIES, (0, 1, 5, 0), (6, 5), "right: number of columns: expected 6, got 5"),
        (DualKind.SERIES, (0, 3, 5, 0), (6, 6), "params: expected a count at index 1"),
        (DualKind.SERIES, (0, 1, -5, 0), (6, 6), "params: expected a count at index 2"),
        (DualKind.SERIES, (0, 1, np.nan, 0), (6, 6), "params: expected a count at index 2"),
        (DualKind.TABLE, (2, 3, 2.5), (13, 3), "params: expected a count at index 2"),
        (DualKind.TABLE, (2, 3, 2, 0, 3, 1, 1), (11, 3), "params: expected a count at index 4"),
        (DualKind.TABLE, (2, 3, 2, 0, 1, 2, 2), (11, 3), "params: expected a count at index 6"),
        (DualKind.RECTIFIED_POWER, (2, 5, 1), (3, 3), "params: expected a count at index 7"),
        (DualKind.PIECEWISE, (4, 1), (2, 2), "params: expected a count at index 0"),
        (
            DualKind.PIECEWISE,
            (1, 1, 1, 8, 7, 1, 0, 9),
            (2, 2),
            "params: expected a count at index 7",
        ),
        (
            DualKind.PIECEWISE,
            (1, 1, 1, 8, 7, 1, 0, 1, 0, 2, 1, 1, 1, 1),
            (3, 3),
            "params: expected signs of another part at index 12",
        ),
        (
            DualKind.PIECEWISE,
            (1, 1, 1, 8, 7, 1, 0, 1, 0, 2, 1, 1, 0, 1),
            (3, 3),
            "params: expected signs of another part at index 12",
        ),
        (
            DualKind.PIECEWISE,
            (0, 1, 1, 8, 7, 1, 0, 0),
            (3, 3),
            "params: expected counts of at least 1",
        ),
        (
            DualKind.PIECEWISE,
            (1, 1, 1, 8, 7, 1, 0, 0),
            (2, 3),
            "left: number of columns: expected 3",
        ),
    ],
)
def test_maps_that_do_not_fit_are_refused(kind, params, widths, message):
    left, right = np.ones((3, widths[0])), np.ones((4, widths[1]))
    with pytest.raises(ValueError, match=message):
        run(kind, params, left, right, np.zeros((3, 4)))


def test_a_map_is_not_known_by_a_word():
    table = np.ones((3, 2))
    with pytest.raises(TypeError, match="incompatible function arguments"):
        run("sign", (), table, table, np.zeros((3, 3)))


def test_shapes_that_do_not_fit_are_refused():
    table = np.ones((3, 2))
    with pytest.raises(ValueError, match=r"k: expected shape \(3, 3\), got \(3, 4\)"):
        run(DualKind.SIGN, (), table, table, np.zeros((3, 4)))
    with pytest.raises(ValueError, match=r"theta: expected shape \(3, 3\), got \(4, 3\)"):
        run(DualKind.SIGN, (), table, table, np.zeros((3, 3)), np.zeros((4, 3)))


@pytest.mark.parametrize("act", [nk.ELU(0.7), nk.Softsign()])
@pytest.mark.parametrize("tol", [1e-12, 1e-7])
def test_tables_where_the_norms_of_function_and_slope_part(act, tol):
    """Their ratio, about 1 / s, takes more nodes than each of them."""
    for low, high in ((0.01, 0.1), (0.032, 0.342), (0.3, 2.0)):
        s = np.linspace(low, high, 41)
        q = s[::8] ** 2
        (k, slope), (k2, slope2) = act._diagonal(q), act._diagonal(s**2)
        dual_map = act._dual_map(q, s**2, tol, (low**2, high**2))
        for rho in (0.99, -0.4):
            c = rho * np.sqrt(q)[:, None] * s
            exact = act.dual(q[:, None], s**2, c), act.dual_derivative(q[:, None], s**2, c)
            left, right = dual_map.left, dual_map.right
            found = run(dual_map.kind, dual_map.params, left, right, c, np.ones_like(c))
            for value, other, d, e in zip(found, exact, (k, slope), (k2, slope2), strict=True):
                assert np.all(np.abs(value - other) <= tol * np.sqrt(np.outer(d, e)))


def test_equal_points_of_a_wide_table():
    """Tables of wide Gaussians hold nine digits, their diagonal more."""
    p = np.linspace(80.0, 900.0, 150)
    k, slope = nk.Mish()._diagonal(p)
    assert_allclose(nk.Mish().dual(p, p, p), k, rtol=1e-13)
    assert_allclose(nk.Mish().dual_derivative(p, p, p), slope, rtol=1e-13)


def test_slopes_of_a_series_beside_a_large_constant():
    """How small a term is for the slope does not follow from the constant."""
    act = nk.Polynomial([-0.8, 0.2, -0.3])
    p = 1e-16 * np.array([1.0, 2.0, 9.0])
    dual_map = act._dual_map(p, p, 1e-14, (1e-16, 1e-15))
    for rho in (0.9, -1e-3, 1e-4):
        c = rho * np.sqrt(np.outer(p, p))
        _, slope = run(
            dual_map.kind, dual_map.params, dual_map.left, dual_map.right, c, np.ones_like(c)
        )
        assert_allclose(slope, 0.04, rtol=1e-12)
