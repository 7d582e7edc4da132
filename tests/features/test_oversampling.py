"""Features that are sketched wider and kept in fewer directions."""

import pickle
import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import nkfast as nk
from feature_cases import DEEP, DIGITS, NET, normal, relative_error
from nkfast.features import _neural
from nkfast.features._compression import fit_to_kernel, principal_directions
from nkfast.features.collapsed._fit import Sample


def low_rank(n, dtype=np.float64, seed=0):
    """Rows near a plane in 40 dimensions, whose kernel's spectrum falls fast."""
    basis = normal(3, 40, seed=1)
    return (normal(n, 3, seed=seed) @ basis + 0.05 * normal(n, 40, seed=seed + 9)).astype(dtype)


@pytest.mark.parametrize("cls", [nk.NTKFeatures, nk.NNGPFeatures])
def test_oversampling_beats_plain_features(cls, monkeypatch):
    monkeypatch.setattr(Sample, "fit_harmonics", lambda *_: None)  # sketches are meant
    X, new = low_rank(1500), low_rank(300, seed=5)
    errors = []
    for k in (1, 2, 8):
        found = [
            cls(DEEP, 150, oversampling=k, random_state=s).fit(X).kernel_error(new)["frobenius"]
            for s in range(2)
        ]
        errors.append(np.mean(found))
    assert errors[0] > 1.3 * errors[1] > 1.3 * 1.1 * errors[2]
    assert errors[0] > 1.8 * errors[2]


def test_oversampling_projects_the_wide_features():
    """Z = W V C: V the directions with most of W^T W, C a symmetric fit to the kernel."""
    X, new = DIGITS[:500], DIGITS[500:600]
    phi = nk.NTKFeatures(NET, 100, oversampling=3, random_state=0).fit(X)
    wide = nk.NTKFeatures(NET, 300, random_state=0).fit(X)
    W = wide.transform(X)
    V = principal_directions(wide.transform, X, 300, 100)
    assert_allclose(np.sum((W @ V) ** 2, axis=0), np.linalg.eigvalsh(W.T @ W)[::-1][:100], 1e-8)
    C = V.T @ phi.compression_
    assert_allclose(V @ C, phi.compression_, atol=1e-9)
    assert_allclose(C, C.T, atol=1e-9)
    assert np.linalg.eigvalsh(C)[0] > -1e-9
    assert_allclose(phi.transform(new), wide.transform(new) @ V @ C, 1e-9, 1e-12)
    # The fit pays on rows that it has not seen.
    K = NET.ntk(new)
    projected = relative_error(wide.transform(new) @ V, K)
    assert relative_error(phi.transform(new), K) < 0.9 * projected


def fitted(Y, K, n_rows):
    return fit_to_kernel(Y, lambda rows: K[rows], np.diagonal(K), n_rows)


def test_features_are_fitted_to_a_kernel():
    Y = normal(200, 10) * 0.8 ** np.arange(10)
    M = np.eye(10) + 0.3 * (normal(10, 10, seed=1) + normal(10, 10, seed=1).T) * 0.5
    M = M @ M
    K = Y @ M @ Y.T
    C = fitted(Y, K, 200)
    assert_allclose(C, C.T, atol=1e-12)
    assert_allclose(Y @ C @ C @ Y.T, K, atol=2e-3 * np.abs(K).max())
    # Nothing to be learnt: the features stay as they are.
    assert_allclose(fitted(Y, Y @ Y.T, 200), np.eye(10), atol=1e-10)
    assert_array_equal(fitted(np.zeros((5, 3)), np.zeros((5, 5)), 5), np.eye(3))
    # A part of the diagonal that no features have is left alone where it is a small part of all.
    nugget = Y @ Y.T + 3 * np.eye(200)
    assert np.abs(fitted(Y, nugget, 200) - np.eye(10)).max() > 0.1
    assert np.abs(fitted(Y, nugget, 10**6) - np.eye(10)).max() < 1e-3


def test_a_fit_that_asks_for_negative_weights():
    Y = normal(50, 3)
    C = fitted(Y, Y @ np.diag([1.0, -2.0, 1.0]) @ Y.T, 50)
    assert np.all(np.isfinite(C))
    assert np.linalg.eigvalsh(C)[0] == pytest.approx(0, abs=1e-12)


def test_directions_of_many_features_carry_nearly_all_that_can_be():
    """Those of large matrices come from an iteration."""
    Z = normal(2000, 1600) * 0.995 ** np.arange(1600)
    V = principal_directions(lambda rows: rows, Z, 1600, 200)
    assert_allclose(V.T @ V, np.eye(200), atol=1e-10)
    best = np.linalg.svd(Z, compute_uv=False)
    kept = np.linalg.norm(Z @ V) ** 2
    assert kept > 0.99 * np.sum(best[:200] ** 2)
    assert np.all(np.diff(np.linalg.norm(Z @ V, axis=0)) < 0)


@pytest.mark.parametrize(("n", "width"), [(300, 200), (150, 400)])  # primal and dual
def test_directions_are_the_leading_eigenvectors(n, width):
    Z = normal(n, width) * 0.97 ** np.arange(width)
    V = principal_directions(lambda rows: rows, Z, width, 40)
    value, vector = np.linalg.eigh(Z.T @ Z)
    assert_allclose(V @ V.T, vector[:, -40:] @ vector[:, -40:].T, atol=1e-9)
    assert_allclose(np.diagonal(V.T @ Z.T @ Z @ V), value[::-1][:40], 1e-9)
    assert np.all(V[np.abs(V).argmax(axis=0), np.arange(40)] > 0)


@pytest.mark.parametrize("n", [1, 2, 17, 60])
@pytest.mark.parametrize("zero", [False, True])
def test_directions_of_few_rows(n, zero):
    """All of Z Z^T on these rows, and of other rows the more energy the better."""
    Z = normal(n, 120) * 0.95 ** np.arange(120) * (not zero)
    V = principal_directions(lambda rows: rows, Z, 120, 80)
    assert_allclose(V.T @ V, np.eye(80), atol=1e-12)
    assert_allclose(Z @ V @ V.T, Z, atol=1e-12)
    new = normal(200, 120, seed=1) * 0.95 ** np.arange(120)
    kept = np.linalg.norm(new @ V) ** 2 / np.linalg.norm(new) ** 2
    assert kept > 0.95


def test_nothing_is_lost_where_the_kept_directions_cover_everything():
    X = normal(400, 2)  # here all degrees are monomials, and they span few dimensions
    wide = nk.NTKFeatures(NET, 1600, random_state=0).fit(X)
    rank = int(np.sum(wide.allocation_.widths))
    assert rank < 800
    phi = nk.NTKFeatures(NET, 800, oversampling=2, random_state=0).fit(X)
    new = normal(100, 2, seed=1)
    K = NET.ntk(new)
    assert relative_error(phi.transform(new), K) < 1.001 * relative_error(wide.transform(new), K)
    # So few rows that they span fewer directions than are kept: no less exact on these rows.
    few = nk.NTKFeatures(DEEP, 100, oversampling=4, random_state=0).fit(DIGITS[:60])
    wide = nk.NTKFeatures(DEEP, 400, random_state=0).fit(DIGITS[:60])
    K = DEEP.ntk(DIGITS[:60])
    assert relative_error(few.transform(DIGITS[:60]), K) < 0.3 * relative_error(
        wide.transform(DIGITS[:60]), K
    )
    assert few.kernel_error(DIGITS[60:300])["frobenius"] < 0.2


@pytest.mark.parametrize("n", [1, 2, 17, 300])
@pytest.mark.parametrize("d", [1, 5, 300])
@pytest.mark.parametrize("m", [1, 2, 8, 100])
def test_any_shape(n, d, m):
    X = normal(n, d)
    for net in (NET, nk.mlp(1), nk.Sequential(nk.Dense()), nk.mlp(0, b_std=1.0)):
        phi = nk.NTKFeatures(net, m, oversampling=3, random_state=0).fit(X)
        Z = phi.transform(X)
        assert Z.shape == (n, m)
        assert np.isfinite(Z).all()
        assert phi.get_feature_names_out().shape == (m,)
        zeros = phi.fit(0 * X).transform(0 * X)
        assert np.isfinite(zeros).all()


@pytest.mark.parametrize("k", [2, 5])
def test_dtype_sparse_pickle_clone(k):
    X = sp.random(200, 500, density=0.02, random_state=np.random.default_rng(0), format="csr")
    phi = nk.NTKFeatures(NET, 80, oversampling=k, random_state=0).fit(X)
    Z = phi.transform(X)
    assert Z.dtype == np.float64
    assert_allclose(phi.transform(X.toarray()), Z, 1e-8, 1e-10)
    single = phi.transform(X.astype(np.float32))
    assert single.dtype == np.float32
    assert_allclose(single, Z, atol=2e-5 * np.abs(Z).max())
    again = pickle.loads(pickle.dumps(phi))
    assert_array_equal(again.transform(X), Z)
    assert_array_equal(again.transform(X.astype(np.float32)), single)
    assert_array_equal(clone(phi).fit(X).transform(X), Z)
    # Fitted anew, nothing of the earlier fit is left.
    phi.set_params(random_state=1).fit(X.astype(np.float32))
    assert not np.allclose(phi.transform(X.astype(np.float32)), single, atol=1e-2)
    assert phi.set_params(oversampling=1).fit(X).compression_ is None


def test_blocks_change_rounding_only(monkeypatch):
    X = normal(100, 20)
    phi = nk.NTKFeatures(NET, 50, oversampling=4, random_state=0).fit(X)
    Z = phi.transform(X)
    monkeypatch.setattr("nkfast._arrays.blocks._BLOCK_ENTRIES", 7 * 200)
    assert_allclose(phi.transform(X), Z, 1e-9, 1e-12)
    other = nk.NTKFeatures(NET, 50, oversampling=4, random_state=0).fit(X)
    assert_allclose(other.transform(X), Z, 1e-6, 1e-8)


def test_the_wide_features_of_all_rows_are_never_held():
    X = normal(20_000, 10, np.float32)
    phi = nk.NTKFeatures(NET, 64, oversampling=16, random_state=0).fit(X[:500])
    phi.transform(X[:10])
    tracemalloc.start()
    phi.transform(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000 * 64 * 16 * 4 / 3


def test_bad_arguments_are_refused():
    X = normal(10, 4)
    for arguments, error, match in [
        ({"oversampling": 0}, ValueError, "oversampling: expected an integer >= 1, got 0"),
        ({"oversampling": 1.5}, TypeError, "oversampling: expected an integer, got 1.5"),
        ({"n_components": "x"}, ValueError, "n_components: expected an integer or 'auto', got 'x'"),
        ({"target_error": 0}, ValueError, "target_error: expected a finite number in"),
        ({"target_error": "low"}, TypeError, "target_error: expected a real number, got 'low'"),
        ({"max_components": 0}, ValueError, "max_components: expected an integer >= 1, got 0"),
    ]:
        with pytest.raises(error, match=match):
            nk.NTKFeatures(**arguments).fit(X)


def test_directions_that_do_not_fit_into_memory_are_refused(little_memory):
    little_memory(40_000)
    nk.NTKFeatures(NET, 40).fit(normal(50, 4))
    with pytest.raises(ValueError, match="oversampling: expected what fits into memory"):
        nk.NTKFeatures(NET, 10, oversampling=4).fit(normal(50, 4))


def test_an_interrupted_fit_leaves_no_map(monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    X = normal(50, 4)
    phi = nk.NTKFeatures(NET, 10, oversampling=2).fit(X)
    monkeypatch.setattr(_neural, "principal_directions", interrupt)
    with pytest.raises(KeyboardInterrupt):
        phi.fit(X)
    with pytest.raises(NotFittedError):
        phi.transform(X)
