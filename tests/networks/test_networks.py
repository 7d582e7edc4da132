"""Networks of all activations and of residual branches: the core against NumPy, depth, shape."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

import nkfast as nk
import reference
from activation_cases import CASES
from nkfast import activations
from nkfast.kernels import _row_steps
from nkfast.layers import Diagonals, Moments

NAMES = sorted(activations._BY_NAME)
# Functions that grow so fast that a deep network overflows.
GROWING = {"exp"}


@pytest.fixture
def points():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((24, 6)) * np.linspace(0.3, 2, 24)[:, None]
    X[5], X[7], X[9] = X[3], -X[2], 2 * X[1]
    return X


def in_numpy(net, X):
    """(nngp, ntk) of all pairs by the layers' own recursion, the diagonal apart."""
    p = np.sum(X**2, axis=1) / X.shape[1]
    k = X @ X.T / X.shape[1]
    end = net._propagate(Moments(k, np.zeros_like(k), p[:, None], p[None, :]))
    ends = net._propagate_diagonal(Diagonals(p, np.zeros_like(p)))
    for kernel, diagonal in ((end.k, ends.k), (end.theta, ends.theta)):
        np.fill_diagonal(kernel, diagonal)
    return end.k, end.theta


@pytest.mark.parametrize("name", sorted(CASES))
def test_core_and_numpy_agree(name, points):
    net = nk.mlp(2, CASES[name][0], 1.2, 0.2)
    if name in ("own bent sine", "own shrunk tanh", "own step cosine"):
        points = points[:6]  # without a form in the core: integrals for each pair
    for found, expected in zip(net.kernel(points), in_numpy(net, points), strict=True):
        assert_allclose(found, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize("name", NAMES)
def test_depth_50(name, points):
    net = nk.mlp(50, name, 0.2 if name in GROWING else 1.1, 0.1)
    for kernel, diagonal in zip(net.kernel(points), net.diag(points), strict=True):
        assert np.all(np.isfinite(kernel))
        assert_array_equal(kernel, kernel.T)
        assert_array_equal(np.diag(kernel), diagonal)
        values = np.linalg.eigvalsh(kernel)
        assert values[0] > -1e-9 * values[-1]


@pytest.mark.parametrize("name", NAMES)
def test_float32_is_float64_rounded(name, points):
    net = nk.mlp(3, name, 0.2 if name in GROWING else 1.1, 0.1)
    single = points.astype(np.float32)
    for found, expected in zip(
        net.kernel(single), net.kernel(single.astype(np.float64)), strict=True
    ):
        assert found.dtype == np.float32
        assert_allclose(found, expected, rtol=0, atol=2e-6 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["tanh", "elu", "hard_tanh", "gelu"])
def test_blocks_are_seamless(name, points):
    net = nk.mlp(2, name, 1.3, 0.1)
    whole = net.ntk(points)
    size = np.abs(whole).max()
    assert_allclose(net.kernel(points, get="ntk", block=5), whole, rtol=0, atol=1e-12 * size)
    blocks = [block for _, block in net.kernel_blocks(points, rows=7)]
    assert_allclose(np.concatenate(blocks), whole, rtol=0, atol=1e-12 * size)
    assert_allclose(net.ntk(sp.csr_array(points)), whole, rtol=0, atol=1e-11 * size)


# --- residual branches ---


def test_residual_adds_the_kernels_of_its_branch(points):
    branch = (nk.GELU(), nk.Dense(0.7, 0.2))
    net = nk.Sequential(nk.Dense(1.3, 0.1), nk.Residual(*branch), nk.ReLU(), nk.Dense(1.1))
    first = nk.Sequential(nk.Dense(1.3, 0.1))
    k, theta = in_numpy(first, points)
    inner = in_numpy(nk.Sequential(*first.layers, *branch), points)
    k, theta = k + inner[0], theta + inner[1]
    p = np.diag(k)
    for i in range(len(points)):
        for j in range(i):
            value, slope = reference.relu_dual(p[i], p[j], k[i, j])
            assert_allclose(net.nngp(points)[i, j], 1.21 * value, rtol=1e-6, atol=1e-12)
            if abs(k[i, j]) < 0.999 * np.sqrt(p[i] * p[j]):
                expected = 1.21 * slope * theta[i, j] + 1.21 * value
                assert_allclose(net.ntk(points)[i, j], expected, rtol=1e-10)
        if i == 6:
            break
    assert_allclose(net.diag(points).nngp, 1.21 * p / 2, rtol=1e-13)


NESTED = nk.Sequential(
    nk.Residual(nk.Dense(0.8), nk.ReLU(), nk.Dense(0.9, 0.1)),
    nk.Dense(1.2),
    nk.Residual(
        nk.Tanh(), nk.Dense(1.0), nk.Residual(nk.ELU(), nk.Dense(0.5)), nk.Erf(), nk.Dense(0.6)
    ),
    nk.GELU(),
    nk.Dense(1.1, 0.2),
)


def test_nested_branches_in_the_core(points):
    for found, expected in zip(NESTED.kernel(points), in_numpy(NESTED, points), strict=True):
        assert_allclose(found, expected, rtol=0, atol=1e-11 * np.abs(expected).max())
    assert len(_row_steps.RowSteps(NESTED).steps) > len(NESTED.layers)
    values = np.linalg.eigvalsh(NESTED.ntk(points))
    assert values[0] > -1e-12 * values[-1]


def test_zero_branch_is_the_identity(points):
    plain = nk.Sequential(nk.Dense(1.3, 0.1), nk.ReLU(), nk.Dense(1.1))
    with_branch = nk.Sequential(
        nk.Dense(1.3, 0.1), nk.Residual(nk.GELU(), nk.Dense(0.0)), nk.ReLU(), nk.Dense(1.1)
    )
    for found, expected in zip(with_branch.kernel(points), plain.kernel(points), strict=True):
        assert_allclose(found, expected, rtol=1e-13, atol=1e-14)


def test_residual_as_an_object():
    assert eval(repr(NESTED), vars(nk)) == NESTED
    for other in (clone(NESTED), pickle.loads(pickle.dumps(NESTED))):
        assert other == NESTED
        assert other is not NESTED
    changed = clone(NESTED).set_params(**{"2__2__1__w_std": 0.4})
    assert changed != NESTED
    assert changed.layers[2].layers[2].layers[1].w_std == 0.4
    assert NESTED.layers[2].layers[2].layers[1].w_std == 0.5
    assert nk.Residual(nk.Dense()) != nk.Sequential(nk.Dense())
    assert nk.Sequential(nk.Residual(nk.Dense(), nk.ReLU(), nk.Dense()))._homogeneity() == 1.0
    assert NESTED._homogeneity() is None


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: nk.Residual(), ValueError, "layers: expected at least one layer, got none"),
        (
            lambda: nk.Residual(nk.Dense(), nk.ReLU()),
            ValueError,
            "layer 1, ReLU: expected the branch of a Residual to end in a Dense or Conv layer",
        ),
        (
            lambda: nk.Residual(nk.ReLU(), nk.ReLU(), nk.Dense()),
            ValueError,
            "layer 1, ReLU: an activation needs a Gaussian input",
        ),
        (
            lambda: nk.Sequential(nk.Residual(nk.ReLU(), nk.Dense())),
            ValueError,
            "layer 0, Residual: layer 0, ReLU: an activation needs a Gaussian input",
        ),
        (
            lambda: nk.Sequential(
                nk.Dense(), nk.ReLU(), nk.Residual(nk.Dense(), nk.ReLU(), nk.Dense()), nk.ReLU()
            ),
            ValueError,
            "layer 3, ReLU: an activation needs a Gaussian input",
        ),
        (lambda: nk.Residual(nk.Dense), TypeError, r"layer 0: .* \(an instance, not the class\)"),
        (lambda: nk.Residual("relu"), TypeError, "layer 0: expected a layer or an activation"),
    ],
)
def test_branches_that_do_not_fit_are_refused(build, error, message):
    with pytest.raises(error, match=message):
        build()


def test_features_of_all_kinds_of_networks(points):
    """The expansions take every activation; their error here is that of the width."""
    points = points[:12]
    nets = [nk.mlp(2, name, 1.0, 0.1) for name in ("gelu", "tanh", "elu", "hard_tanh", "sin")]
    for net in [*nets, NESTED]:
        phi = nk.NTKFeatures(net, 2048, random_state=0).fit(points)
        Z, K = phi.transform(points), net.ntk(points)
        assert np.linalg.norm(Z @ Z.T - K) < 0.1 * np.linalg.norm(K)
