"""The learners' kernels, methods, feature maps, images, penalties and blocks."""

import pickle

import joblib
import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, LeaveOneOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import nkfast as nk
from learners import regression

CNN = nk.Sequential(nk.Conv((3, 3), w_std=1.4), nk.ReLU(), nk.GlobalAvgPool(), nk.Dense())


def images(n=40, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 6, 6, 2))
    return X, np.abs(X).mean(axis=(1, 2, 3)) + 0.1 * X[:, 0, 0, 0]


# --- kernels and methods ---


def test_exact_nngp_is_kernel_ridge():
    X, y = regression(n=40)
    net = nk.mlp(2, b_std=0.2)
    model = nk.NTKRegressor(net, kernel="nngp", method="exact", alpha=0.1, fit_intercept=False)
    X_new = regression(n=9, seed=2)[0]
    expected = net.nngp(X_new, X) @ np.linalg.solve(net.nngp(X) + 0.1 * np.eye(40), y)
    assert_allclose(model.fit(X, y).predict(X_new), expected, rtol=1e-9)


@pytest.mark.parametrize("kernel", ["ntk", "nngp"])
@pytest.mark.parametrize("method", ["sketch", "nystroem"])
def test_features_are_those_of_the_kernel_and_method(kernel, method):
    X, y = regression()
    net = nk.mlp(2)
    model = nk.NTKRegressor(net, 64, kernel=kernel, method=method, alpha=0.1, random_state=0)
    model.fit(X, y)
    kinds = {"ntk": nk.NTKFeatures, "nngp": nk.NNGPFeatures}
    kind = nk.Nystroem if method == "nystroem" else kinds[kernel]
    assert type(model.features_) is kind
    Z = model.features_.transform(X)
    K = net.kernel(X, get=kernel)
    assert np.linalg.norm(Z @ Z.T - K) < 0.3 * np.linalg.norm(K)
    ridge = Ridge(alpha=0.1 + model.features_.tail_, solver="svd").fit(Z, y)
    assert_allclose(model.predict(X), ridge.predict(Z), rtol=1e-7)


def test_nystroem_with_all_rows_is_exact():
    X, y = regression(n=60)
    both = [
        nk.NTKRegressor(nk.mlp(2), method=m, alpha=0.1, random_state=0).fit(X, y).predict(X)
        for m in ("nystroem", "exact")
    ]
    assert_allclose(*both, rtol=1e-6)


def test_nystroem_streams_with_landmarks_of_the_first_block():
    X, y = regression(n=200)
    model = nk.NTKRegressor(None, 32, method="nystroem", alpha=0.1, random_state=0)
    model.partial_fit(X[:50], y[:50]).partial_fit(X[50:], y[50:])
    assert model.features_.components_.shape == (32, 5)
    landmarks = {row.tobytes() for row in model.features_.components_}
    assert landmarks <= {row.tobytes() for row in X[:50]}
    Z = model.features_.transform(X)
    assert_allclose(model.coef_, Ridge(alpha=model.alpha_, solver="svd").fit(Z, y).coef_, rtol=1e-6)
    few = nk.NTKRegressor(None, 32, method="nystroem", random_state=0)
    assert few.partial_fit(X[:10], y[:10]).features_.n_components_ == 10


def test_features_are_cloned_and_searched():
    X, y = regression()
    features = nk.NNGPFeatures(nk.mlp(2), 64, degree=4, sketch="tensorsketch", oversampling=2)
    model = nk.NTKRegressor(features=features, alpha=0.1, random_state=0).fit(X, y)
    assert not hasattr(features, "n_components_")
    assert model.features_ is not features
    assert model.features_.get_params()["sketch"] == "tensorsketch"
    assert model.features_.random_state == 0
    assert model.net_ == nk.mlp(2)
    assert model.coef_.shape == (64,)
    search = GridSearchCV(model, {"features__degree": [1, 4]}, cv=2, error_score="raise")
    scores = search.fit(X, y).cv_results_["mean_test_score"]
    assert scores[0] != scores[1]
    landmarks = nk.Nystroem(nk.mlp(2), 20, selection="kmeans++", random_state=3)
    model = nk.NTKRegressor(features=landmarks).fit(X, y)
    assert model.features_.random_state == 3
    assert model.partial_fit(X, y).coef_.shape == (20,)


# --- images ---


@pytest.mark.parametrize("method", ["sketch", "nystroem", "exact"])
def test_images_and_flat_rows_with_their_shape(method):
    X, y = images()
    flat = X.reshape(len(X), -1)
    parameters = {"n_components": 32, "method": method, "alpha": 0.01, "random_state": 0}
    model = nk.NTKRegressor(CNN, **parameters).fit(X[:30], y[:30])
    assert model.image_shape_ == (6, 6, 2)
    assert model.n_features_in_ == 72
    predicted = model.predict(X[30:])
    assert_allclose(model.predict(flat[30:]), predicted)
    rows = nk.NTKRegressor(CNN, image_shape=(6, 6, 2), **parameters)
    assert_allclose(rows.fit(flat[:30], y[:30]).predict(flat[30:]), predicted, rtol=1e-7)
    if method == "exact":
        centre = y[:30].mean()
        K = CNN.ntk(X)
        H = np.eye(30) - 1 / 30
        dual = np.linalg.solve(H @ K[:30, :30] @ H + 0.01 * np.eye(30), y[:30] - centre)
        expected = (K[30:, :30] - K[:30, :30].mean(0)) @ dual + centre
        assert_allclose(predicted, expected, rtol=1e-7)
    else:
        assert predicted.shape == model.partial_fit(X[30:], y[30:]).predict(X[30:]).shape
    _, std = model.predict(X, return_std=True)
    assert np.all(std > 0)
    with pytest.raises(ValueError, match=r"X: expected images of shape \(6, 6, 2\)"):
        model.predict(X[:, :5])
    with pytest.raises(ValueError, match="image_shape: expected None or"):
        nk.NTKRegressor(CNN, image_shape=(72,), method=method).fit(flat, y)


def test_a_pipeline_of_images():
    X, y = images()
    flat = X.reshape(len(X), -1)
    features = nk.NTKFeatures(CNN, 64, image_shape=(6, 6, 2))
    model = nk.NTKClassifier(features=features, random_state=0)
    pipeline = make_pipeline(StandardScaler(), model).fit(flat, y > np.median(y))
    assert pipeline.predict_proba(flat).shape == (40, 2)
    clone(pipeline).fit(flat, y > 1)


# --- alpha ---


@pytest.mark.parametrize("n_components", [16, 256])
@pytest.mark.parametrize("method", ["sketch", "exact"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_loo_is_leave_one_out(n_components, method, fit_intercept):
    X, y = regression(n=30)
    model = nk.NTKRegressor(
        None,
        n_components,
        method=method,
        alpha="loo",
        fit_intercept=fit_intercept,
        random_state=0,
        block_size=7,
    ).fit(X, y)
    assert model.alphas_.shape == model.loo_.shape == (45,)
    assert model.alpha_ == model.alphas_[model.loo_.argmin()]
    if method == "sketch":  # with the same feature map in all folds
        Z = model.features_.transform(X)
        given = Ridge(model.alpha_, fit_intercept=fit_intercept, solver="svd").fit(Z, y)
        assert_allclose(model.predict(X), given.predict(Z), rtol=1e-6)
        for i in (10, 25, 40):
            ridge = Ridge(model.alphas_[i], fit_intercept=fit_intercept, solver="svd")
            left_out = cross_val_predict(ridge, Z, y, cv=LeaveOneOut())
            assert_allclose(model.loo_[i], np.mean((y - left_out) ** 2), rtol=1e-7)
    else:
        given = clone(model).set_params(alpha=model.alpha_).fit(X, y)
        assert_allclose(model.predict(X), given.predict(X), rtol=1e-6)
        for i in (20, 40):
            one = clone(model).set_params(alpha=model.alphas_[i])
            left_out = cross_val_predict(one, X, y, cv=LeaveOneOut())
            assert_allclose(model.loo_[i], np.mean((y - left_out) ** 2), rtol=1e-7)


@pytest.mark.parametrize("n_components", [16, 256])
@pytest.mark.parametrize("weight", [[1.0, 2.0, 3.0], [1.0, 0.4, 1.0]])
def test_loo_leaves_out_rows_with_all_their_weight(n_components, weight):
    X, y = regression(n=39)
    weight = np.tile(weight, 13)
    model = nk.NTKRegressor(None, n_components, alpha="loo", random_state=0).fit(X, y, weight)
    Z = model.features_.transform(X)
    left_out = np.empty(39)
    for i in range(39):
        kept = np.arange(39) != i
        ridge = Ridge(model.alphas_[22]).fit(Z[kept], y[kept], weight[kept])
        left_out[i] = ridge.predict(Z[i : i + 1])[0]
    assert_allclose(model.loo_[22], np.average((y - left_out) ** 2, weights=weight), rtol=1e-6)


def test_streams_refuse_loo():
    X, y = regression()
    model = nk.NTKRegressor(None, 16, alpha="loo", random_state=0)
    for call in (lambda: model.partial_fit(X, y), lambda: model.fit_blocks([(X, y)])):
        with pytest.raises(AttributeError, match=r"alpha='loo' needs all rows .* 'gcv' or 'evid"):
            call()
    assert not vars(model).keys() & {"_fitted", "n_features_in_"}


# --- blocks ---


def blocks_of(X, y, size=37, weight=None):
    for i in range(0, len(y), size):
        rows = slice(i, i + size)
        yield (X[rows], y[rows]) if weight is None else (X[rows], y[rows], weight[rows])


@pytest.mark.parametrize("alpha", ["gcv", "evidence", 0.1])
def test_fit_blocks_is_partial_fit(alpha):
    X, y = regression(n=200)
    weight = np.random.default_rng(0).uniform(0.5, 2, 200)
    model = nk.NTKRegressor(None, 16, alpha=alpha, random_state=0).fit(X, -y)
    model.fit_blocks(blocks_of(X, y, weight=weight))
    other = nk.NTKRegressor(None, 16, alpha=alpha, random_state=0)
    for block in blocks_of(X, y, weight=weight):
        other.partial_fit(*block)
    assert_array_equal(model.coef_, other.coef_)
    assert model.alpha_ == other.alpha_


def test_fit_blocks_of_the_classifier():
    X, y = regression(n=200)
    labels = np.where(y > 0, "up", "down")
    model = nk.NTKClassifier(None, 32, random_state=0)
    model.fit_blocks(blocks_of(sp.csr_array(X), labels), classes=["up", "down"])
    assert model.score(X, labels) > 0.85
    assert_allclose(model.predict_proba(X).sum(axis=1), 1)


def test_memory_mapped_rows(tmp_path):
    X, y = regression(n=300)
    for name, array in (("X", X.astype(np.float32)), ("y", y)):
        np.save(tmp_path / f"{name}.npy", array)
    X_map, y_map = (np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in "Xy")
    model = nk.NTKRegressor(None, 16, random_state=0, block_size=50)
    assert_array_equal(
        model.fit(X_map, y_map).coef_, clone(model).fit(X.astype(np.float32), y).coef_
    )
    model.fit_blocks(blocks_of(X_map, y_map))
    pickle.loads(pickle.dumps(model)).partial_fit(X_map, y_map)


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([], "blocks: expected a row of weight above zero, got none"),
        ([np.ones((3, 2))], r"blocks: expected each to be \(X, y\) or .* got a ndarray"),
        ([(1, 2, 3, 4)], "got a tuple of length 4"),
    ],
)
def test_bad_blocks(blocks, message):
    X, y = regression()
    model = nk.NTKRegressor(None, 16, random_state=0).fit(X, y)
    before = model.predict(X)
    with pytest.raises(ValueError, match=message):
        model.fit_blocks(blocks)
    assert_array_equal(model.predict(X), before)


@pytest.mark.parametrize("fitted", [True, False])
def test_interrupted_blocks_leave_the_estimator_as_it_was(fitted):
    X, y = regression()
    model = nk.NTKRegressor(None, 16, random_state=0)
    if fitted:
        model.fit(X[:, :4], y)
    before = dict(vars(model))

    def interrupted():
        yield from blocks_of(X, y)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.fit_blocks(interrupted())
    assert vars(model) == before
    if fitted:
        model.predict(X[:, :4])


def test_an_interrupt_between_sums_comes_after_the_block(monkeypatch):
    """Ctrl-C while a block is added: the block is in, wholly, and the stream goes on from there."""
    import signal

    from nkfast._linalg import moments

    X, y = regression(n=300)
    model = nk.NTKRegressor(None, 16, alpha=0.1, random_state=0, block_size=100)
    model.partial_fit(X[:100], y[:100])
    add = moments.RunningMoments.add

    def interrupted(self, *arguments):
        signal.raise_signal(signal.SIGINT)
        add(self, *arguments)

    monkeypatch.setattr(moments.RunningMoments, "add", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.partial_fit(X[100:], y[100:])
    monkeypatch.undo()
    Z = model.features_.transform(X)
    found = Ridge(alpha=model.alpha_, solver="svd").fit(Z[:200], y[:200])
    assert_allclose(model.coef_, found.coef_, rtol=1e-6)
    model.partial_fit(X[200:], y[200:])
    assert_allclose(model.coef_, Ridge(alpha=model.alpha_, solver="svd").fit(Z, y).coef_, rtol=1e-6)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_joblib_and_processes(tmp_path):
    X, y = regression(n=150)
    for method in ("sketch", "nystroem", "exact"):
        model = nk.NTKRegressor(None, 16, method=method, random_state=0).fit(X, y)
        model.predict(X, return_std=True)  # the spectrum is not saved, but found again
        joblib.dump(model, tmp_path / "model.joblib")
        copy = joblib.load(tmp_path / "model.joblib")
        for one, other in zip(*(m.predict(X, return_std=True) for m in (copy, model)), strict=True):
            assert_allclose(one, other, rtol=1e-7)
        found = joblib.Parallel(2)(joblib.delayed(model.predict)(X) for _ in range(2))
        assert_allclose(found[0], model.predict(X), rtol=1e-12)


def test_first_partial_fit_that_fails_leaves_nothing(monkeypatch):
    X, y = regression()
    model = nk.NTKRegressor(None, 16, random_state=0, block_size=50)
    before = dict(vars(model))

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("nkfast._linalg.moments.RunningMoments.add", interrupt)
    for call in (model.partial_fit, model.fit):
        with pytest.raises(KeyboardInterrupt):
            call(X, y)
        assert vars(model) == before
    monkeypatch.undo()
    model.partial_fit(X, y).predict(X)


@pytest.mark.parametrize("tqdm", [True, False])
def test_verbose_shows_how_far_it_is(tqdm, capsys, monkeypatch):
    if tqdm:
        pytest.importorskip("tqdm")
    else:
        monkeypatch.setattr("nkfast._progress.find_spec", lambda name: None)
    X, y = regression()
    model = nk.NTKRegressor(None, 16, random_state=0, block_size=50, verbose=True)
    model.fit(X, y).partial_fit(X, y)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "fit" in printed.err
    assert ("120" in printed.err) == tqdm
    model.fit_blocks(blocks_of(X, y))
    assert "fit_blocks" in capsys.readouterr().err
    assert model.verbose is True
