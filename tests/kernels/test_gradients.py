"""Derivatives of exact kernels in the core, against complex runs of the recursion in NumPy."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

import nkfast as nk
from activation_cases import CASES
from nkfast import _core
from nkfast.gp import NeuralKernel
from nkfast.kernels import RowPoints, _gradients, gradient
from nkfast.networks._tied import stepped


def jumping(x):
    return np.where(x > 0.5, 1.0, x)


# Their kinks away from zero are in no form of the core.
IN_NUMPY = {"own bent sine", "own shrunk tanh"}
STEEP = {"exp", "square", "cube", "polynomial", "hermite", "rectified_square", "rectified_cube"}
ACTIVATIONS = {
    name: case[0] for name, case in CASES.items() if name not in IN_NUMPY | {"own step cosine"}
}
ACTIVATIONS |= {
    "exp_normalized": nk.ExpNormalized(0.7, -0.8),
    "erf, b < 0": nk.Erf(0.7, -1.3),
    "cos": nk.Cos(0.8, 1.5, 0.4),
    "gaussian, a < 0": nk.Gaussian(-0.9, -0.4),
    "jumps": nk.Elementwise(jumping, (0.5,)),
}
BOTH = pytest.mark.parametrize("get", ["nngp", "ntk"])


def rows(n=20, d=6, seed=0):
    """Points of all kinds: equal ones, on a line through zero on both sides, zero, large, small."""
    X = np.random.default_rng(seed).standard_normal((n, d))
    if n >= 20:
        X[3] = X[7]
        X[4] = 3 * X[7]
        X[5] = -X[7]
        X[6] = 0
        X[1] *= 2
        X[2] *= 1e-3
    return X


def moved(net, get):
    """The network with a step in each of its hyperparameters."""
    return [stepped(net, group) for group in NeuralKernel(net, get)._free()]


def both(net, X, get):
    """The derivatives from the core, and from NumPy."""
    nets = moved(net, get)
    found = gradient(RowPoints(net, X), nets, get)
    return found, NeuralKernel(net, get)._gradient_in_numpy(X, nets)


def assert_alike(found, expected, net, X, get, tol=1e-10):
    scale = max(np.abs(expected).max(), np.abs(net.kernel(X, get=get)).max())
    assert_allclose(found, expected, 0, tol * scale)
    assert_array_equal(found, found.swapaxes(1, 2))


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("depth", [1, 3])
@BOTH
def test_every_activation(name, depth, get):
    activation, steep = ACTIVATIONS[name], name in STEEP
    X = rows() * (0.3 if steep else 1.0)
    for b_std in (0.0, 0.2):
        net = nk.mlp(depth, activation, 0.8 if steep else 1.2, b_std)
        assert_alike(*both(net, X, get), net, X, get)


@pytest.mark.parametrize("name", sorted(IN_NUMPY))
def test_what_the_core_has_no_form_of(name):
    net = nk.mlp(1, CASES[name][0])
    assert gradient(RowPoints(net, rows(3)), moved(net, "ntk"), "ntk") is None


def test_no_hyperparameters():
    net = nk.mlp(2, "gelu")
    assert gradient(RowPoints(net, rows(3)), [], "ntk").shape == (0, 3, 3)


NETS = {
    "linear": nk.mlp(0, w_std=1.2, b_std=0.3),
    "deep": nk.mlp(5, nk.LeakyReLU(0.1), 1.3, 0.1),
    "ends in an activation": nk.Sequential(nk.Dense(1.4, 0.2), nk.Erf(0.7, 1.2, 0.3)),
    "residual": nk.Sequential(
        nk.Dense(1.3, 0.1),
        nk.Residual(
            nk.Erf(1.2), nk.Dense(0.8, 0.3), nk.Residual(nk.ReLU(), nk.Dense(0.5)), nk.Dense(0.7)
        ),
        nk.ABReLU(-0.4, 1.1),
        nk.Dense(1.1),
        nk.Residual(nk.GELU(), nk.Dense(0.6)),
    ),
    "no weights": nk.Sequential(nk.Dense(0.0, 0.5), nk.ReLU(), nk.Dense(1.2, 0.1)),
}


@pytest.mark.parametrize("net", NETS.values(), ids=NETS)
@BOTH
def test_networks(net, get):
    X = rows()
    assert_alike(*both(net, X, get), net, X, get, 1e-13)


@pytest.mark.parametrize("n", [1, 2, 31, 64, 65, 200])
@BOTH
def test_sizes(n, get):
    X = rows(n)
    net = NETS["residual"]
    assert_alike(*both(net, X, get), net, X, get, 1e-13)


@pytest.mark.parametrize("activation", [nk.ELU(), nk.Tanh(), nk.HardTanh(), nk.GELU()], ids=repr)
@BOTH
def test_blocks_threads_and_sparse_rows(activation, get, monkeypatch):
    net, X = nk.mlp(2, activation, 1.2, 0.2), rows(150)
    nets = moved(net, get)
    with nk.num_threads(1):
        whole = gradient(RowPoints(net, X), nets, get)
    scale = np.abs(whole).max()
    with nk.num_threads(3):
        assert_array_equal(gradient(RowPoints(net, X), nets, get), whole)
    sparse = gradient(RowPoints(net, sp.csr_array(X)), nets, get)
    assert_allclose(sparse, whole, 0, 1e-12 * scale)
    monkeypatch.setattr(_gradients, "_TABLE_BYTES", 1)  # the least blocks that are made
    assert_allclose(gradient(RowPoints(net, X), nets, get), whole, 0, 1e-12 * scale)


@pytest.mark.parametrize("name", ["relu", "tanh", "elu", "silu", "hard_tanh", "gelu", "sin"])
@BOTH
def test_points_that_nearly_coincide(name, get):
    """Derivatives by the angle grow without bounds there; those of the kernel do not."""
    X = rows()
    X[8] = X[9] * (1 + 1e-12)
    net = nk.mlp(3, CASES[name][0], 1.2, 0.1)
    found = gradient(RowPoints(net, X), moved(net, get), get)
    middle = (found[:, 8, 8] + found[:, 9, 9]) / 2
    assert_allclose(found[:, 8, 9], middle, 0, 1e-11 * np.abs(found).max())


def layers():
    builder = _core.TangentBuilder(2)
    builder.affine(1.2, 0.1, [2.4, 0.0], [0.0, 0.2])
    return builder


def table(n, width):
    return np.ones((n, width))


def test_the_core_refuses_what_does_not_fit():
    kind = _core.DualKind
    with pytest.raises(ValueError, match="dw2: number of tangents: expected 2, got 1"):
        layers().affine(1.0, 0.0, [1.0], [1.0, 1.0])
    points = table(4, 2)
    for params, tangents, width, found in (
        ((0.2,) * 3, (0.0,) * 6, 2, None),
        ((0.2,) * 2, (0.0,) * 6, 2, "params: number of parameters"),
        ((0.2,) * 3, (0.0,) * 5, 2, "param_tangents: number of entries"),
        ((0.2,) * 3, (0.0,) * 6, 3, "left: number of columns"),
    ):
        args = kind.RECTIFIER, params, tangents, table(4, width), points, table(4, width), points
        if found is None:
            layers().activation(*args)
            continue
        with pytest.raises(ValueError, match=found):
            layers().activation(*args)
    with pytest.raises(ValueError, match="left_tangents: expected shape"):
        layers().activation(kind.SIGN, (), (), table(4, 2), table(4, 1), table(4, 2), points)
    with pytest.raises(ValueError, match="offset"):
        layers().activation(
            kind.SERIES, (2.0, 2.0, 1.0, 0.0), (), table(4, 3), points, table(4, 3), points
        )
    with pytest.raises(ValueError, match="add: expected a push"):
        layers().add()
    builder = layers()
    builder.push()
    with pytest.raises(ValueError, match="push: expected an add"):
        builder.finish()


def test_the_core_writes_within_its_array():
    program = layers().finish()
    X, ends = np.ones((3, 2)), np.zeros((2, 3))
    out = np.empty((2, 3, 3))
    program.run_points(X, X, 0.5, True, out, 0, 0, ends, 1)
    assert_allclose(out[0], 2.4 * (1 - np.eye(3)), 1e-15)
    for wrong in (np.empty((3, 3, 3)), np.empty((2, 3, 4)), np.empty((2, 2, 2)), np.empty((2, 9))):
        with pytest.raises(ValueError, match=r"out: expected shape|row, col: expected a block"):
            program.run_points(X, X, 0.5, True, wrong, 0, 0, ends, 1)
    for row, col in ((1, 0), (0, 1), (-1, 0)):
        with pytest.raises(ValueError, match="row, col: expected a block within out"):
            program.run_points(X, X, 0.5, True, out, row, col, None, 1)
    with pytest.raises(ValueError, match="diagonal: expected a block on the diagonal"):
        program.run_points(X[:1], X[:1], 0.5, True, out, 0, 1, ends[:, :1].copy(), 1)
    with pytest.raises(ValueError, match="diagonal: expected shape"):
        program.run_points(X, X, 0.5, True, out, 0, 0, np.zeros((2, 2)), 1)
    with pytest.raises(ValueError, match="one or more"):
        program.run_points(X[:, :0].copy(), X[:, :0].copy(), 0.5, True, out, 0, 0, ends, 1)
