"""Neural kernels in Gaussian processes: hyperparameters, gradients, scikit-learn's protocol."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, WhiteKernel
from sklearn.model_selection import GridSearchCV

import nkfast as nk
from activation_cases import unit_clip
from nkfast.gp import NeuralKernel
from nkfast.networks._tied import stepped


def rows(n=12, d=4, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d))


def sequential():
    """Layers that differ, one without a bias, and two kinds of activation."""
    return nk.Sequential(
        nk.Dense(1.3, 0.4), nk.Erf(1.5, 0.7, 0.2), nk.Dense(0.9), nk.ReLU(), nk.Dense(1.1, 0.2)
    )


NETS = {
    "linear": nk.mlp(0, "relu", 1.2, 0.3),
    "relu 1": nk.mlp(1, "relu", 1.4),
    "relu 1, bias": nk.mlp(1, "relu", 1.4, 0.1),
    "relu 2": nk.mlp(2, "relu", 1.4),
    "relu 3, bias": nk.mlp(3, "relu", 1.4, 0.3),
    "erf 1": nk.mlp(1, nk.Erf(), 1.2),
    "erf 2, bias": nk.mlp(2, nk.Erf(0.8, 1.3, 0.4), 1.2, 0.2),
    "erf 3, bias": nk.mlp(3, nk.Erf(1.5), 1.2, 0.2),
    "exp, b < 0": nk.mlp(1, nk.Exp(0.7, -0.4), 1.0, 0.5),
    "layers that differ": sequential(),
    "leaky relu 2": nk.mlp(2, nk.LeakyReLU(0.2), 1.4, 0.2),
    "hard tanh 2, bias": nk.mlp(2, nk.HardTanh(), 1.3, 0.2),
    "hard tanh 3": nk.mlp(3, nk.HardTanh(), 1.3),
    "relu 6 2": nk.mlp(2, nk.ReLU6(), 2.5),
    "residual": nk.Sequential(
        nk.Dense(1.3, 0.1),
        nk.Residual(
            nk.Erf(1.2), nk.Dense(0.8, 0.3), nk.Residual(nk.ReLU(), nk.Dense(0.5)), nk.Dense(0.7)
        ),
        nk.ReLU(),
        nk.Dense(1.1),
    ),
    "ends in an activation": nk.Sequential(nk.Dense(1.4, 0.2), nk.ReLU()),
}
EACH = pytest.mark.parametrize("net", NETS.values(), ids=NETS)
BOTH = pytest.mark.parametrize("get", ["nngp", "ntk"])


def differences(kernel, X, step=1e-5):
    """Central differences of the kernel in theta."""
    theta = kernel.theta
    slopes = []
    for unit in np.eye(len(theta)):
        above, below = (kernel.clone_with_theta(theta + s * unit)(X) for s in (step, -step))
        slopes.append((above - below) / (2 * step))
    return np.stack(slopes, axis=-1)


# --- the kernel ---


@EACH
@BOTH
def test_it_is_the_kernel_of_the_network(net, get):
    kernel, X, Z = NeuralKernel(net, get), rows(), rows(5, seed=1)
    assert_array_equal(kernel(X), net.kernel(X, get=get))
    assert_array_equal(kernel(X, Z), net.kernel(X, Z, get=get))
    assert_array_equal(kernel.diag(X), np.diag(kernel(X)))
    assert_array_equal(kernel(X, eval_gradient=True)[0], kernel(X))
    assert not kernel.is_stationary()
    assert kernel.requires_vector_input


def test_float64_for_input_of_any_kind():
    kernel, X = NeuralKernel(NETS["relu 2"]), rows().astype(np.float32)
    K, gradient = kernel(X, eval_gradient=True)
    assert K.dtype == gradient.dtype == kernel.diag(X).dtype == kernel(X, X).dtype == np.float64
    assert_array_equal(K, kernel(X.astype(np.float64)))
    sparse, slopes = kernel(sp.csr_array(X), eval_gradient=True)
    assert_allclose(sparse, K, 1e-12)
    assert_allclose(slopes, gradient, 1e-9, 1e-12)
    assert_array_equal(kernel(X.tolist()), K)


# --- gradients ---


@EACH
@BOTH
def test_gradient_against_differences(net, get):
    kernel, X = NeuralKernel(net, get), rows()
    gradient = kernel(X, eval_gradient=True)[1]
    assert gradient.shape == (12, 12, kernel.n_dims)
    # step^2 of truncation and eps / step of rounding: 1e-10 each
    assert_allclose(gradient, differences(kernel, X), 1e-7, 1e-8 * np.abs(gradient).max())
    assert_array_equal(gradient, np.swapaxes(gradient, 0, 1))


@BOTH
def test_gradient_of_a_homogeneous_network_is_known(get):
    """K is proportional to w^8 at depth 3, so dK / d log w = 8 K, to the last digits."""
    kernel, X = NeuralKernel(nk.mlp(3, "relu", 1.1), get), rows(30, 6)
    X[3] = X[7]  # a row twice
    X[4] = 2 * X[7]  # the same direction
    X[5] = -X[7]  # the opposite one
    X[6] = 0
    K, gradient = kernel(X, eval_gradient=True)
    assert_allclose(gradient[..., 0], 8 * K, 1e-12)


ACTIVATIONS = [
    nk.ABReLU(-0.3, 0.8), nk.Abs(), nk.Sign(), nk.RectifiedMonomial(2), nk.Erf(0.7, 1.3, 0.4),
    nk.SigmoidLike(), nk.GELU(), nk.Sin(0.8, 1.2, 0.3), nk.Cos(0.8, 1.2, 0.3), nk.RBF(0.6),
    nk.Exp(0.7, -0.4), nk.Gaussian(0.9, -0.7), nk.ExpNormalized(0.5, -0.8), nk.Gabor(),
    nk.Monomial(3), nk.Polynomial((0.3, 0.5, 0.2)), nk.Hermite(3),
]  # fmt: skip


INTERPOLATED = [nk.Tanh(), nk.SiLU(), nk.Softsign(), nk.ELU(), nk.Elementwise(np.tanh)]
IN_PIECES = [
    nk.HardTanh(), nk.HardSigmoid(), nk.HardSwish(), nk.ReLU6(),
    nk.Elementwise(unit_clip, (0, 1)),
]  # fmt: skip
EVERY = ACTIVATIONS + INTERPOLATED + IN_PIECES


@pytest.mark.parametrize("activation", EVERY, ids=lambda a: type(a).__name__)
@BOTH
def test_gradient_of_every_activation(activation, get):
    X = rows(8, 5)
    X[3] = X[4]
    kernel = NeuralKernel(nk.mlp(2, activation, 0.9, 0.2), get)
    gradient = kernel(X, eval_gradient=True)[1]
    assert kernel.n_dims == 2 + len(activation._smooth_parameters)
    # Kernels that are interpolated are right to 1e-12; the step turns that into 1e-8.
    assert_allclose(gradient, differences(kernel, X, 1e-4), 1e-5, 1e-6 * np.abs(gradient).max())
    assert_allclose(gradient[3, 4], gradient[4, 4], 1e-9, 1e-9 * np.abs(gradient).max())


@pytest.mark.parametrize(
    "net",
    ["relu 1, bias", "relu 3, bias", "layers that differ", "hard tanh 2, bias", "hard tanh 3",
     "relu 6 2"],
)  # fmt: skip
@BOTH
def test_gradient_where_points_coincide(net, get):
    """The angle's derivative is infinite at 0 and pi; that of the kernel is not."""
    kernel, X = NeuralKernel(NETS[net], get), rows(20, 7)
    X[3] = X[7]
    X[4] = 3 * X[7]
    X[5] = -X[7]
    X[6] = 0
    K, gradient = kernel(X, eval_gradient=True)
    assert_allclose(gradient, differences(kernel, X), 1e-6, 1e-7 * np.abs(gradient).max())
    assert_allclose(K[3, 7], K[7, 7], 1e-14)
    assert_allclose(gradient[3, 7], gradient[7, 7], 1e-12)


# (p, q, c), their logarithmic derivatives, and the derivatives of k and kdot by mpmath: central
# differences of fourth order of one-dimensional integrals in 34 digits.
ONE, TWO = (0.7, -0.4, 0.9), (0.5, -0.25, 0.125)
CLIPPED = [
    (nk.HardTanh(), (1.0, 2.25, 0.45), ONE, (0.12894273818918436, -0.0094635440275059364)),
    (nk.HardTanh(), (0.5625, 0.25, -0.3), ONE, (-0.18284519083878739, -0.09069598069159895)),
    (nk.HardTanh(), (900.0, 400.0, 300.0), ONE, (0.27542979281626835, 0.00012186808389162353)),
    (nk.HardTanh(), (9.0, 6.25, 7.425), TWO, (0.003962627814967673, -0.031311833161465635)),
    (nk.HardTanh(), (1.0, 1.0, 0.999999), TWO, (0.024843450331633288, -0.030263405238024427)),
    (nk.ReLU6(), (1.0, 2.25, -0.45), ONE, (-0.047447270138589858, -0.037522070730604039)),
    (nk.ReLU6(), (0.0625, 4.0, 0.25), ONE, (0.085710092373694629, 0.071293690297654745)),
    (nk.ReLU6(), (9.0, 6.25, 7.425), TWO, (0.2846357636780642, -0.02693040052613159)),
    (nk.ReLU6(), (1.0, 1.0, 0.999999), TWO, (0.062499932838523403, -2.2861689345565843e-9)),
]


@pytest.mark.parametrize(("activation", "at", "slopes", "expected"), CLIPPED)
def test_steps_of_piecewise_polynomials_are_exact(activation, at, slopes, expected):
    stepped = [np.array(v * (1 + 1e-25j * slope)) for v, slope in zip(at, slopes, strict=True)]
    found = [v.imag / 1e-25 for v in activation._pair(*stepped)]
    assert_allclose(found, expected, 1e-12, 1e-13)


def test_gradient_of_large_and_small_rows():
    X = rows() * np.logspace(-8, 2, 12)[:, None]
    kernel = NeuralKernel(nk.mlp(2, nk.HardTanh(), 1.3, 0.2))
    gradient = kernel(X, eval_gradient=True)[1]
    assert_allclose(gradient, differences(kernel, X, 1e-4), 1e-6, 1e-7 * np.abs(gradient).max())


def jumping(x):
    return np.where(x > 0.3, np.cos(x), -x)


@BOTH
def test_gradient_of_a_function_that_is_integrated(get):
    X = rows(3)
    X[1] = X[2]
    kernel = NeuralKernel(nk.mlp(1, nk.Elementwise(jumping, (0.3,)), 0.9, 0.2), get)
    gradient = kernel(X, eval_gradient=True)[1]
    assert_allclose(gradient, differences(kernel, X), 1e-7, 1e-8 * np.abs(gradient).max())
    assert_allclose(gradient[1, 2], gradient[2, 2], 1e-10)


def test_blocks_do_not_matter(monkeypatch):
    """Those of the path through NumPy, for what has no form in the core."""
    kernel, X = NeuralKernel(NETS["erf 2, bias"]), rows(23)
    nets = [stepped(kernel.net, group) for group in kernel._free()]
    whole = kernel._gradient_in_numpy(X, nets)
    monkeypatch.setattr(nk.gp, "_BLOCK_ENTRIES", 100)
    assert_allclose(kernel._gradient_in_numpy(X, nets), whole, 1e-12)
    a = rows(23, 23)
    expected = np.triu(a) + np.triu(a, 1).T
    nk.gp._mirror(a, height=5)
    assert_array_equal(a, expected)


@EACH
@BOTH
def test_gradient_of_the_marginal_likelihood(net, get):
    X = rows(25)
    y = np.sin(X[:, 0]) + 0.1 * rows(25, 1, seed=2)[:, 0]
    kernel = ConstantKernel(0.5) * NeuralKernel(net, get) + WhiteKernel(0.1)
    gp = GaussianProcessRegressor(kernel, optimizer=None).fit(X, y)
    theta = kernel.theta
    gradient = gp.log_marginal_likelihood(theta, eval_gradient=True)[1]
    for i, unit in enumerate(np.eye(len(theta))):
        above, below = (gp.log_marginal_likelihood(theta + s * unit) for s in (1e-5, -1e-5))
        assert_allclose(gradient[i], (above - below) / 2e-5, 1e-5, 1e-5)


def test_no_hyperparameter_no_gradient():
    kernel = NeuralKernel(nk.mlp(1, b_std=0.1), w_std_bounds="fixed", b_std_bounds="fixed")
    assert kernel.theta.shape == (0,)
    assert kernel.bounds.shape == (0,)
    assert kernel(rows(), eval_gradient=True)[1].shape == (12, 12, 0)
    GaussianProcessRegressor(kernel, alpha=0.1).fit(rows(), rows()[:, 0])


# --- hyperparameters ---


def test_hyperparameters_of_mlp():
    kernel = NeuralKernel(nk.mlp(2, nk.Erf(1.5, -0.5), 1.4, 0.1), w_std_bounds=(0.2, 20))
    names = [h.name for h in kernel.hyperparameters]
    assert names == ["w_std", "b_std", "Erf.a", "Erf.b", "Erf.c"]
    assert [h.fixed for h in kernel.hyperparameters] == [False] * 4 + [True]  # c = 0
    assert_allclose(np.exp(kernel.theta), [1.4, 0.1, 1.5, 0.5], 1e-15)
    assert_allclose(np.exp(kernel.bounds), [(0.2, 20), (0.01, 100), (0.1, 10), (0.1, 10)])
    tuned = kernel.clone_with_theta(np.log([2.0, 0.5, 1.0, 0.25]))
    assert_allclose(np.exp(tuned.theta), [2.0, 0.5, 1.0, 0.25], 1e-15)
    assert tuned.net.depth == 2
    assert [tuned.net.w_std, tuned.net.b_std] == [layer_value(tuned, n) for n in ("w_std", "b_std")]
    assert_allclose([tuned.net.activation.a, tuned.net.activation.b], [1.0, -0.25], 1e-15)
    assert tuned.net == nk.Sequential(*tuned.net.layers)
    assert kernel.net.w_std == 1.4


def layer_value(kernel, name):
    (value,) = {getattr(layer, name) for layer in kernel.net.layers if hasattr(layer, name)}
    return value


def test_no_bias_is_never_tuned():
    kernel = NeuralKernel(nk.mlp(2))
    assert [(h.name, h.fixed) for h in kernel.hyperparameters] == [
        ("w_std", False),
        ("b_std", True),
    ]
    assert kernel.n_dims == 1
    assert kernel.clone_with_theta([0.0]).net == nk.mlp(2, w_std=1.0)


def test_layers_that_differ_keep_their_ratios():
    kernel = NeuralKernel(sequential())
    names = ["w_std", "b_std", "Erf.a", "Erf.b", "Erf.c"]
    assert [h.name for h in kernel.hyperparameters] == names
    assert_allclose(np.exp(kernel.theta), [1.3, 0.4, 1.5, 0.7, 0.2])
    layers = kernel.clone_with_theta(np.log([2.6, 0.8, 1.5, 0.7, 0.2])).net.layers
    assert_allclose([layers[i].w_std for i in (0, 2, 4)], [2.6, 1.8, 2.2], 1e-14)
    assert_allclose([layers[i].b_std for i in (0, 2, 4)], [0.8, 0.0, 0.4], 1e-14)
    # The ratios stay the same however often theta is set.
    for _ in range(100):
        kernel = kernel.clone_with_theta(kernel.theta)
    assert_allclose([kernel.net.layers[i].w_std for i in (0, 2, 4)], [1.3, 0.9, 1.1], 1e-12)


def test_a_network_may_hold_what_cannot_be_pickled():
    class Local(nk.Erf):
        def __init__(self, a=1.0, fn=None):
            super().__init__(a)
            self.fn = fn

    with pytest.warns(UserWarning, match="layer 1, Local: pickle and joblib.dump will refuse it"):
        kernel = NeuralKernel(nk.mlp(1, Local(1.2, lambda x: x)))
    assert kernel(rows(), eval_gradient=True)[1].shape == (12, 12, kernel.n_dims)


# --- scikit-learn's protocol ---


@EACH
def test_clone_pickle_equality_and_repr(net):
    kernel = NeuralKernel(net, "nngp", b_std_bounds="fixed")
    for same in (clone(kernel), kernel.clone_with_theta(kernel.theta)):
        assert type(same) is NeuralKernel
        assert same.net is not net
        K = kernel(rows())
        assert_allclose(same(rows()), K, rtol=0, atol=1e-14 * K.max())  # exp(log(w_std))
    assert clone(kernel) == kernel == pickle.loads(pickle.dumps(kernel))
    assert kernel != NeuralKernel(net, "ntk", b_std_bounds="fixed")
    assert kernel != NeuralKernel(net, "nngp")
    assert kernel != ConstantKernel()
    names = {name: getattr(nk, name) for name in nk.__all__}
    names["NeuralKernel"] = NeuralKernel
    assert eval(repr(kernel), names) == kernel
    assert repr(kernel).endswith("get='nngp', b_std_bounds='fixed')")
    assert repr(NeuralKernel(net, w_std_bounds=[0.1, 10])) == f"NeuralKernel({net!r}, get='ntk')"


def test_set_params_leaves_the_callers_network_alone():
    net = nk.mlp(2, "relu", 1.4, 0.1)
    one, two = NeuralKernel(net), NeuralKernel(net)
    assert one.set_params(net__w_std=2.0, get="nngp") is one
    assert one.net.w_std == one.get_params()["net__w_std"] == 2.0
    assert net.w_std == two.net.w_std == 1.4
    one.theta = [0.0, 0.0]
    assert one.net == nk.mlp(2, "relu", 1.0, 1.0)
    assert "net__w_std" not in one.get_params(deep=False)
    for bad in ({"depth": 2}, {"net__width": 1}, {"get": "rbf"}, {"w_std_bounds": -1}):
        with pytest.raises(ValueError, match=next(iter(bad)).split("__")[-1]):
            one.set_params(**{"get": "ntk", **bad})
        assert one.get == "nngp"  # nothing was changed


def test_sums_products_and_powers():
    X = rows()
    one, two = NeuralKernel(nk.mlp(1, "relu", 1.4, 0.1)), NeuralKernel(nk.mlp(2, nk.Erf()), "nngp")
    whole = 2.0 * one * two**2 + WhiteKernel(0.1)
    assert_allclose(whole(X), 2 * one(X) * two(X) ** 2 + 0.1 * np.eye(12), 1e-12)
    gradient = whole(X, eval_gradient=True)[1]
    assert gradient.shape == (12, 12, whole.n_dims) == (12, 12, 7)
    assert_allclose(gradient, differences(whole, X), 1e-6, 1e-7 * np.abs(gradient).max())
    names = [h.name for h in whole.hyperparameters]
    assert len(set(names)) == len(names) == 9
    assert clone(whole) == whole == pickle.loads(pickle.dumps(whole))


def test_regressor_tunes_and_predicts():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((150, 3))
    y = 1 + np.abs(X[:, 0] + 1) + X[:, 1] + 0.2 * rng.standard_normal(150)
    start = NeuralKernel(nk.mlp(2, "relu", 0.5, 1.0), "nngp") + WhiteKernel(1.0)
    before = GaussianProcessRegressor(start, optimizer=None).fit(X, y)
    gp = GaussianProcessRegressor(start, n_restarts_optimizer=1, random_state=0).fit(X, y)
    assert gp.log_marginal_likelihood_value_ > before.log_marginal_likelihood_value_ + 20
    slope = gp.log_marginal_likelihood(gp.kernel_.theta, eval_gradient=True)[1]
    low, high = (np.isclose(gp.kernel_.theta, b) for b in gp.kernel_.bounds.T)
    assert np.all((np.abs(slope) < 0.05) | low | high)
    assert gp.kernel_.k1.net != start.k1.net == nk.mlp(2, "relu", 0.5, 1.0)
    Z = rng.standard_normal((200, 3))
    mean, std = gp.predict(Z, return_std=True)
    error = 1 + np.abs(Z[:, 0] + 1) + Z[:, 1] - mean
    assert np.sqrt(np.mean(error**2)) < 0.2
    assert np.mean(np.abs(error) < 3 * std) > 0.9
    assert_array_equal(pickle.loads(pickle.dumps(gp)).predict(Z), mean)


def test_classifier_with_three_classes():
    X, y = load_iris(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    kernel = NeuralKernel(nk.mlp(1, "relu", 1.4, 1.0), b_std_bounds="fixed")
    gp = GaussianProcessClassifier(kernel, max_iter_predict=20).fit(X[::2], y[::2])
    assert gp.score(X[1::2], y[1::2]) > 0.9
    assert gp.kernel_.kernels[0] != kernel


def test_search_over_the_network():
    X, y = rows(40), rows(40)[:, 0]
    gp = GaussianProcessRegressor(NeuralKernel(nk.mlp(1, b_std=0.1)), alpha=0.1, optimizer=None)
    search = GridSearchCV(gp, {"kernel__net__depth": [1, 3], "kernel__get": ["nngp", "ntk"]}, cv=2)
    assert search.fit(X, y).best_params_.keys() == {"kernel__net__depth", "kernel__get"}


# --- what is refused ---


def test_bad_arguments_are_refused():
    net = nk.mlp()
    for arguments, error, match in [
        ({"net": nk.myrtle()}, ValueError, "net: expected a network of rows"),
        ({"net": "relu"}, TypeError, "net: expected a network .* got 'relu'"),
        ({"get": "rbf"}, ValueError, r"get: expected one of \('nngp', 'ntk'\), got 'rbf'"),
        ({"get": ("nngp", "ntk")}, ValueError, "get: expected one of"),
        ({"w_std_bounds": "free"}, ValueError, "w_std_bounds: expected 'fixed' or a pair"),
        ({"b_std_bounds": (2, 1)}, ValueError, "b_std_bounds: expected .* low <= high"),
        ({"b_std_bounds": (-1, 1)}, ValueError, "b_std_bounds: expected .* 0 <= low"),
        ({"activation_bounds": (1, 2, 3)}, ValueError, "activation_bounds: expected"),
        ({"activation_bounds": None}, ValueError, "activation_bounds: expected"),
    ]:
        with pytest.raises(error, match=match):
            NeuralKernel(**{"net": net, **arguments})
    kernel = NeuralKernel(net)
    with pytest.raises(ValueError, match=r"theta: expected 1 numbers, \['w_std'\], got .* \(2,\)"):
        kernel.theta = [1.0, 2.0]
    with pytest.raises(ValueError, match="eval_gradient: expected no Y"):
        kernel(rows(), rows(), eval_gradient=True)
    with pytest.raises(ValueError, match="X contains NaN"):
        kernel(rows() * np.nan, eval_gradient=True)
    with pytest.raises(ValueError, match="Y: expected 4 features as in X, got 3"):
        kernel(rows(), rows(d=3))
