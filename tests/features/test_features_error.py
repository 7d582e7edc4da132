"""Errors of feature maps as they measure them, the automatic width, and oversampling."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

import nkfast as nk
from estimator_checks import parametrize_with_checks
from feature_cases import DEEP, DIGITS, NET, normal, relative_error


@pytest.mark.filterwarnings("ignore:n_components='auto'")
@parametrize_with_checks(
    [
        nk.NTKFeatures(n_components=20, oversampling=2),
        nk.NNGPFeatures(n_components=33, oversampling=3),
        nk.NTKFeatures(n_components="auto", max_components=128),
    ]
)
def test_scikit_learn(estimator, check):
    check(estimator)


# --- kernel_error ---


def maps():
    return {
        "ntk": nk.NTKFeatures(NET, 60, random_state=0),
        "nngp": nk.NNGPFeatures(NET, 60, random_state=0),
        "oversampled": nk.NTKFeatures(NET, 30, oversampling=3, random_state=0),
        "nystroem": nk.Nystroem(NET, 30, random_state=0),
        "nystroem nngp": nk.Nystroem(NET, 30, get="nngp", random_state=0),
    }


def inverse_root(A):
    value, vector = np.linalg.eigh(A)
    return vector / np.sqrt(value) @ vector.T


@pytest.mark.parametrize("kind", maps())
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("alpha", [1e-5, 1e-3, 1.0])
def test_kernel_error_is_what_it_says(kind, dtype, alpha):
    X, n = normal(80, 7, dtype), 50
    phi = maps()[kind].fit(X)
    new = X[:n]
    found = phi.kernel_error(new, alpha=alpha)

    K = NET.kernel(new.astype(np.float64), get="nngp" if "nngp" in kind else "ntk")
    Z = phi.transform(new).astype(np.float64)
    D = Z @ Z.T - K
    H = np.eye(n) - 1 / n
    ridge = alpha * np.trace(K) / n
    root = inverse_root(K + ridge * np.eye(n))
    expected = {
        "frobenius": np.linalg.norm(D) / np.linalg.norm(K),
        "centred": np.linalg.norm(H @ D @ H) / np.linalg.norm(H @ K @ H),
        "spectral": np.linalg.norm(root @ D @ root, 2),
        "statistical_dimension": np.trace(K @ np.linalg.inv(K + ridge * np.eye(n))),
        "ridge": ridge,
    }
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert type(found[name]) is float
        # The features of a batch are those of another up to BLAS's rounding.
        rtol = 1e-3 if dtype == np.float32 else 1e-7
        assert_allclose(found[name], value, rtol, err_msg=name)


def test_kernel_error_bounds_ridge_regression():
    """The meaning of "spectral": the whitened features' inner products lie in 1 -+ eps."""
    X = DIGITS[:200]
    phi = nk.NTKFeatures(NET, 2000, random_state=0).fit(X)
    error = phi.kernel_error(X, alpha=1e-2)
    Z, root = phi.transform(X), inverse_root(NET.ntk(X) + error["ridge"] * np.eye(200))
    values = np.linalg.eigvalsh(root @ (Z @ Z.T + error["ridge"] * np.eye(200)) @ root)
    assert_allclose(max(1 - values[0], values[-1] - 1), error["spectral"], 1e-8)
    assert error["spectral"] < 1
    assert 1 < error["statistical_dimension"] < 200


def test_kernel_error_of_csr_is_that_of_dense_rows():
    X = sp.random(60, 300, density=0.05, random_state=np.random.default_rng(0), format="csr")
    for phi in maps().values():
        sparse, dense = phi.fit(X).kernel_error(X), phi.kernel_error(X.toarray())
        for name in sparse:
            assert_allclose(sparse[name], dense[name], 1e-5, 1e-9)


def test_kernel_error_without_an_error():
    """Landmarks everywhere: K itself, up to rounding."""
    X = normal(40, 5)
    error = nk.Nystroem(NET, 40, random_state=0).fit(X).kernel_error(X)
    assert max(error[k] for k in ("frobenius", "centred", "spectral")) < 1e-9


def test_kernel_error_of_kernels_that_vanish():
    X = normal(20, 5)
    phi = nk.NTKFeatures(nk.mlp(1), 50, random_state=0).fit(X)  # no bias: zero at zero
    assert set(phi.kernel_error(0 * X).values()) == {0.0}
    one = phi.kernel_error(X[:1])
    assert one["centred"] == 0
    assert 0 < one["statistical_dimension"] < 1
    assert one["frobenius"] < 0.1
    same = phi.kernel_error(np.repeat(X[:1], 9, axis=0))
    assert same["centred"] == 0


def test_kernel_error_refuses(little_memory):
    X = normal(20, 5)
    phi = nk.NTKFeatures(NET, 50, random_state=0)
    with pytest.raises(NotFittedError):
        phi.kernel_error(X)
    phi.fit(X)
    for alpha in (0, -1.0, np.nan, np.inf, 1e-11):
        with pytest.raises(ValueError, match="alpha: expected a finite number in"):
            phi.kernel_error(X, alpha=alpha)
    with pytest.raises(TypeError, match="alpha: expected a real number, got 'gcv'"):
        phi.kernel_error(X, alpha="gcv")
    with pytest.raises(ValueError, match="X contains NaN"):
        phi.kernel_error(np.full((3, 5), np.nan))
    with pytest.raises(ValueError, match="expecting 5 features"):
        phi.kernel_error(X[:, :4])
    little_memory(10_000)
    with pytest.raises(ValueError, match="X: expected what fits into memory, got kernels of 20"):
        phi.kernel_error(X)


def test_kernel_error_of_frames():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(normal(30, 3), columns=["a", "b", "c"])
    for phi in maps().values():
        phi.set_output(transform="pandas").fit(frame)
        assert phi.kernel_error(frame)["frobenius"] < 0.2


# --- n_components="auto" ---


@pytest.mark.parametrize("cls", [nk.NTKFeatures, nk.NNGPFeatures])
@pytest.mark.parametrize("target", [0.1, 0.03, 0.015])
def test_auto_meets_its_target_on_held_out_rows(cls, target):
    widths = []
    for seed in range(3):
        phi = cls(DEEP, "auto", target_error=target, random_state=seed).fit(DIGITS[:1200])
        assert phi.error_ <= target
        assert phi.kernel_error(DIGITS[1200:])["frobenius"] < 1.1 * target
        assert phi.n_components == "auto"
        assert phi.transform(DIGITS[:3]).shape == (3, phi.n_components_)
        assert phi.get_feature_names_out().shape == (phi.n_components_,)
        widths.append(phi.n_components_)
    assert max(widths) <= 2 * min(widths)
    # Not wider than needed: half of it is not good enough by much.
    half = cls(DEEP, min(widths) // 2, random_state=0).fit(DIGITS[:1200])
    assert min(widths) == 64 or half.kernel_error(DIGITS[1200:])["frobenius"] > 0.8 * target


def test_auto_needs_no_more_than_the_first_width_for_an_easy_target():
    phi = nk.NTKFeatures(DEEP, "auto", target_error=0.5, random_state=0).fit(DIGITS)
    assert phi.n_components_ == 64
    assert nk.NTKFeatures(DEEP, 64).fit(DIGITS).n_components_ == 64


def test_auto_says_how_far_it_came():
    phi = nk.NTKFeatures(NET, "auto", target_error=1e-6, max_components=100, random_state=0)
    message = r"n_components='auto': expected .* at most 1e-06, got 0.0\d+ at max_components=100"
    with pytest.warns(ConvergenceWarning, match=message):
        phi.fit(DIGITS)
    assert phi.n_components_ == 100
    assert phi.error_ > 1e-6
    phi.set_params(n_components=10).fit(DIGITS)
    assert not hasattr(phi, "error_")


@pytest.mark.parametrize("n", [1, 2, 3, 19, 20, 21, 40])
@pytest.mark.parametrize("sparse", [False, True])
def test_auto_with_few_rows(n, sparse):
    X = normal(n, 4)
    X = sp.csr_array(X) if sparse else X
    phi = nk.NTKFeatures(NET, "auto", target_error=0.1, random_state=0).fit(X)
    assert phi.error_ <= 0.1
    assert relative_error(phi.transform(X), NET.ntk(X)) < 0.15


def test_auto_with_oversampling():
    phi = nk.NTKFeatures(DEEP, "auto", target_error=0.02, oversampling=4, random_state=0)
    phi.fit(DIGITS[:1200])
    plain = nk.NTKFeatures(DEEP, "auto", target_error=0.02, random_state=0).fit(DIGITS[:1200])
    assert phi.kernel_error(DIGITS[1200:])["frobenius"] < 1.1 * 0.02
    assert phi.n_components_ <= plain.n_components_ / 2


def test_auto_survives_clone_search_and_pickle():
    X, y = DIGITS[:300], load_digits().target[:300]
    phi = nk.NTKFeatures(NET, "auto", target_error=0.05, random_state=0).fit(X)
    other = clone(phi)
    assert other.get_params()["n_components"] == "auto"
    assert not hasattr(other, "n_components_")
    assert_array_equal(other.fit(X).transform(X), phi.transform(X))
    assert_array_equal(pickle.loads(pickle.dumps(phi)).transform(X), phi.transform(X))
    pipe = make_pipeline(nk.NTKFeatures(NET, random_state=0), Ridge(1.0))
    search = GridSearchCV(pipe, {"ntkfeatures__n_components": ["auto", 16]}, cv=3).fit(X, y)
    assert search.best_params_ == {"ntkfeatures__n_components": "auto"}
    assert search.best_estimator_[0].n_components == "auto"


@pytest.mark.parametrize("n", [60, 900])  # the dual and the primal problem
def test_learners_take_auto(n):
    X, y = DIGITS[:n], load_digits().target[:n]
    new, truth = DIGITS[900:], load_digits().target[900:]
    model = nk.NTKClassifier(NET, "auto", random_state=0).fit(X, y)
    m = model.features_.n_components_
    assert (n <= m) == (n == 60)
    assert model.coef_.shape == (10, m)
    fixed = nk.NTKClassifier(NET, m, random_state=0).fit(X, y)
    assert model.score(new, truth) > fixed.score(new, truth) - 0.05
    regressor = nk.NTKRegressor(NET, "auto", random_state=0).fit(X, y)
    before = regressor.predict(new)
    regressor.partial_fit(X, y)
    assert regressor.predict(new).shape == before.shape
    first = nk.NTKRegressor(NET, "auto", random_state=0).partial_fit(X, y)
    assert first.coef_.shape == (first.features_.n_components_,)
    with pytest.raises(ValueError, match="n_components: expected an integer or 'auto', got 'all'"):
        nk.NTKRegressor(NET, "all").fit(X, y)


# --- oversampling ---
