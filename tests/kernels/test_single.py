"""Exact kernels of float32 rows in float32, with float64 where |rho| is near 1."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import nkfast as nk
from nkfast._core import Destination, DualKind, KernelBuilder
from nkfast.kernels import _rows

pytestmark = pytest.mark.simd

N = 400  # N^2 pairs are enough for float32
ACTIVATIONS = ["relu", "leaky_relu", "abs", "erf", "gelu"]
NETS = {
    **{f"{name} {n}": nk.mlp(n, name, 1.4, 0.1) for name in ACTIVATIONS for n in (1, 3)},
    "relu 5": nk.mlp(5, "relu", 1.4),
    "erf 5": nk.mlp(5, "erf", 1.4),
    "gelu 5": nk.mlp(5, "gelu", 1.4),
    "erf with constants": nk.mlp(2, nk.Erf(0.7, 1.3, 0.4), 1.2, 0.3),
    "mixed": nk.Sequential(
        nk.Dense(1.1), nk.ReLU(), nk.Dense(1.2, 0.3), nk.Dense(0.8), nk.GELU(), nk.Dense(), nk.Erf()
    ),
    "residual": nk.Sequential(
        nk.Dense(1.2, 0.1),
        nk.Residual(nk.ReLU(), nk.Dense(), nk.Residual(nk.GELU(), nk.Dense(0.5)), nk.Dense(0.9)),
        nk.Erf(),
        nk.Residual(nk.Dense(0.7)),
    ),
}


def rows(seed, d, n=N):
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def near_ones(seed=0, d=20):
    """Rows, and near and far from each a second one, equal ones and opposite ones among them."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((N // 2, d))
    away = 10.0 ** rng.uniform(-8, 0.5, (N // 2, 1))
    away[:5] = 0
    Z = rng.choice([-1, 1, 1, 2], (N // 2, 1)) * (X + away * rng.standard_normal(X.shape))
    return np.vstack([X, Z]).astype(np.float32)


@pytest.fixture
def doubly(monkeypatch):
    """Compute kernels in float64 throughout."""

    def kernel(net, *args, **options):
        with monkeypatch.context() as patch:
            patch.setattr(_rows, "_SINGLE_PAIRS", 1 << 60)
            return net.kernel(*args, **options)

    return kernel


def error(found, exact_one, scales):
    size = np.max(np.sqrt(np.outer(*scales)))
    return np.max(np.abs(found - exact_one.astype(np.float64))) / size


def scales(net, X, Z, name):
    return [getattr(net.diag(A.astype(np.float64)), name) for A in (X, Z)]


POINTS = {
    "d=8": rows(0, 8),
    "d=64": rows(1, 64),
    "d=700": rows(2, 700),
    "positive, d=300": np.random.default_rng(3).random((N, 300)).astype(np.float32),
    "near ones": near_ones(),
    "plane": rows(4, 2),
    "of any norm": rows(5, 30) * (10.0 ** np.random.default_rng(6).uniform(-3, 1, (N, 1))),
    "zeros among them": rows(7, 10) * (np.arange(N) % 3 > 0)[:, None],
}
POINTS = {name: X.astype(np.float32) for name, X in POINTS.items()}


@pytest.mark.parametrize("points", POINTS)
@pytest.mark.parametrize("net", NETS)
def test_good_to_a_millionth_of_the_scale(net, points):
    net, X = NETS[net], POINTS[points]
    Z = X[::-1] + np.float32(0.3)
    for right in (None, Z):
        end = X if right is None else Z
        whole = net.kernel(X.astype(np.float64), None if right is None else Z.astype(np.float64))
        for name, expected in whole._asdict().items():
            found = getattr(net.kernel(X, right), name)
            assert found.dtype == np.float32
            assert error(found, expected, scales(net, X, end, name)) <= 1e-6


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_float32_where_it_is_enough_and_float64_elsewhere(name, doubly):
    """Entry by entry: at depth 1 rho is known. Variances are so large that x is not small."""
    net, X = nk.mlp(1, name, 1.8), near_ones()
    in_double = doubly(net, X)
    U = X / np.linalg.norm(X.astype(np.float64), axis=1, keepdims=True)
    near = np.abs(U @ U.T) > 0.951
    for found, expected in zip(net.kernel(X), in_double, strict=True):
        assert_array_equal(found[near], expected[near])
        assert not np.array_equal(found, expected)


@pytest.mark.parametrize("net", NETS)
def test_symmetric_with_the_exact_diagonal(net):
    net, X = NETS[net], near_ones()
    for found, diagonal in zip(net.kernel(X), net.diag(X), strict=True):
        assert_array_equal(found, found.T)
        assert_array_equal(np.diag(found), diagonal)


@pytest.mark.parametrize("net", ["relu 3", "erf 3", "gelu 3", "residual"])
@pytest.mark.parametrize("points", ["d=64", "near ones", "plane"])
def test_bits_do_not_depend_on_blocks_and_threads(net, points):
    net, X = NETS[net], POINTS[points]
    Z = np.vstack([X[::-1], X[:37]])
    whole = [net.kernel(X), net.kernel(X, Z)]
    for threads in (1, 2, 5):
        for block in (None, 70, 97):
            with nk.num_threads(threads):
                parts = [net.kernel(X, block=block), net.kernel(X, Z, block=block)]
            for found, expected in zip(parts, whole, strict=True):
                assert_array_equal(found.nngp, expected.nngp)
                assert_array_equal(found.ntk, expected.ntk)
    for at, block in net.kernel_blocks(X, Z, get="ntk", rows=61):
        assert_array_equal(block, whole[1].ntk[at])


@pytest.mark.parametrize("get", ["nngp", "ntk"])
def test_one_kernel_alone(get):
    for net in NETS.values():
        X = POINTS["near ones"]
        assert_array_equal(net.kernel(X, get=get), getattr(net.kernel(X), get))


def test_into_given_arrays(tmp_path):
    net, X = NETS["relu 3"], POINTS["near ones"]
    expected = net.ntk(X)
    out = np.lib.format.open_memmap(tmp_path / "k.npy", "w+", np.float32, (N, N))
    assert_array_equal(net.ntk(X, out=out), expected)
    wide = np.zeros((N + 2, N + 3), np.float32)
    net.ntk(X, out=wide[1:-1, 2:-1])
    assert_array_equal(wide[1:-1, 2:-1], expected)
    wide[1:-1, 2:-1] = 0
    assert not wide.any()


def test_float64_results_of_float32_rows(doubly):
    net, X = NETS["relu 3"], rows(0, 9)
    expected = doubly(net, X, get="ntk", out=np.zeros((N, N)))
    assert_array_equal(net.ntk(X, out=np.zeros((N, N))), expected)
    assert_array_equal(net.ntk(X, X.astype(np.float64)), net.ntk(X.astype(np.float64), X))


DEEP = nk.mlp(9, "relu", 1.4, 0.1)
OTHERS = {
    "few": (NETS["relu 3"], rows(0, 9, 300)),
    "deep": (DEEP, rows(0, 9)),
    "large": (NETS["relu 3"], rows(0, 9) * np.float32(1e15)),
    "small": (nk.mlp(2, "relu", 1.4), rows(0, 9) * np.float32(1e-12)),
    "one large": (NETS["erf 3"], rows(0, 9) * np.where(np.arange(N) == 7, 1e8, 1)[:, None]),
    "steep": (nk.mlp(2, nk.Erf(1e9, 1e-9)), rows(0, 9)),
    "tanh": (nk.mlp(2, "tanh"), rows(0, 9)),
    "tanh among them": (nk.Sequential(nk.Dense(), nk.ReLU(), nk.Dense(), nk.Tanh()), rows(0, 9)),
    "a line": (NETS["relu 3"], rows(0, 1)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_float64_throughout(name, doubly):
    net, X = OTHERS[name]
    X = X.astype(np.float32)
    for found, expected in zip(net.kernel(X), doubly(net, X), strict=True):
        assert np.all(np.isfinite(found))
        assert_array_equal(found, expected)


def test_products_that_overflow_are_computed_again(doubly):
    """Of the core alone, which Python would not ask for this."""
    X = rows(0, 9)
    X[5:8] *= np.float32(1e25)
    scale = X.astype(np.float64) @ X.T / 9
    p = np.diag(scale)
    table = np.column_stack([np.sqrt(p), 1 / np.sqrt(p)])
    found = np.zeros((2, N, N), np.float32)
    for out, single in zip(found, (True, False), strict=True):
        builder = KernelBuilder()
        builder.affine(1e-30, 0.0)
        scaled = table * [1e-15, 1e15]
        builder.activation(DualKind.RECTIFIER, (0.0, 1.0), scaled, scaled)
        if single:
            assert builder.be_single()
        to = Destination(nngp=out, ntk=None)
        again = builder.finish().run_points(X, X, 1 / 9, to, 2)
        assert (again > 0) is single
    both = np.isfinite(found).all(axis=0)
    assert_array_equal(np.isfinite(found[0]), np.isfinite(found[1]))
    assert error(found[0][both], found[1][both], [np.sqrt(p[:1]) * 1e10] * 2) <= 1e-6


def test_diagonal_of_one_kernel_alone():
    X = rows(0, 9)
    p = (X.astype(np.float64) ** 2).mean(axis=1)
    table = np.column_stack([np.sqrt(p), 1 / np.sqrt(p)])
    builder = KernelBuilder()
    builder.activation(DualKind.RECTIFIER, (0.0, 1.0), table, table)
    assert builder.be_single()
    nngp, ntk = np.zeros((2, N, N), np.float32)
    to = Destination(nngp=nngp, ntk=ntk, ntk_diagonal=np.full(N, 7.0), symmetric=True)
    builder.finish().run_points(X, X, 1 / 9, to, 1)
    np.testing.assert_allclose(np.diag(nngp), p / 2, rtol=1e-6)
    assert_array_equal(np.diag(ntk), 7)


def test_maps_without_a_form_in_float32():
    builder = KernelBuilder()
    builder.activation(DualKind.SIGN, (), np.ones((1, 2)), np.ones((1, 2)))
    assert not builder.be_single()


def test_a_map_without_a_form_in_float32_that_comes_later():
    """The kernels are those of float64, as without be_single."""
    X = rows(0, 9)
    p = (X.astype(np.float64) ** 2).mean(axis=1)
    table = np.column_stack([np.sqrt(p), 1 / np.sqrt(p)])
    found = np.zeros((2, N, N), np.float32)
    for out, single in zip(found, (True, False), strict=True):
        builder = KernelBuilder()
        if single:
            assert builder.be_single()
        builder.activation(DualKind.SIGN, (), table, table)
        builder.finish().run_points(X, X, 1 / 9, Destination(nngp=out, ntk=None), 1)
    assert_array_equal(*found)


@pytest.mark.parametrize("scale", [1e-4, 1e-2, 1.0])
@pytest.mark.parametrize("behind", [nk.ReLU(), nk.Sign(), nk.ABReLU(-0.3, 1.4), nk.Erf()])
@pytest.mark.parametrize("table", [nk.SELU(), nk.Tanh(), nk.Softplus(), nk.ReLU6(), nk.Gabor()])
def test_errors_of_tables_are_not_magnified_behind_them(table, behind, scale):
    """Rows that a bias makes nearly equal: angles are roots of what a table may miss."""
    X = (scale * np.random.default_rng(0).standard_normal((30, 3))).astype(np.float32)
    layers = (nk.Dense(1.2, 0.5), table, nk.Dense(1.5, 0.4), behind, nk.Dense())
    net = nk.Sequential(*layers)
    exact, found = net.kernel(X.astype(np.float64)), net.kernel(X)
    for name, d in net.diag(X.astype(np.float64))._asdict().items():
        scales = np.sqrt(np.outer(d, d))
        error = np.abs(getattr(found, name) - getattr(exact, name))
        assert np.all(error <= 3e-7 * scales), name
