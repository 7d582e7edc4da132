"""Standardised channels, ZCA whitening and flips against plain NumPy formulas."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import nkfast as nk
from estimator_checks import parametrize_with_checks
from nkfast.images import ZCA, ChannelStandardizer, FlipAverage, augment_flips, flip_left_right

SHAPE = (4, 5, 3)
NET = nk.Sequential(nk.Conv(), nk.ReLU(), nk.AvgPool((2, 2)), nk.Conv(), nk.ReLU(), nk.Flatten())


def images(n=30, shape=SHAPE, seed=0):
    """Smooth random images whose channels differ in mean and scale."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, *shape))
    for axis in (1, 2):
        x = x + 0.8 * np.roll(x, 1, axis)
    scale = 1 + np.arange(shape[2])
    return (x + rng.standard_normal((n, 1, 1, shape[2]))) * scale + 10 * scale


def whitened(x, new, regularization, contrast=False):
    """ZCA by its formula, with a full eigen-decomposition."""
    x, new = (a.reshape(len(a), -1) for a in (x, new))
    if contrast:
        x, new = (a - a.mean(axis=1, keepdims=True) for a in (x, new))
        x, new = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (x, new))
    mean = x.mean(axis=0)
    values, V = np.linalg.eigh(np.cov(x.T, ddof=0))
    values = np.maximum(values, 0)
    scale = 1 / np.sqrt(values + regularization * values.mean())
    return (new - mean) @ (V * scale) @ V.T


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 7 images."""
    monkeypatch.setattr("nkfast._arrays.blocks._BLOCK_ENTRIES", 7 * int(np.prod(SHAPE)))


@parametrize_with_checks([ZCA(), ZCA(0.0), ZCA(1e-3, normalize_contrast=True)])
def test_scikit_learn(estimator, check):
    check(estimator)


def make(name):
    return {
        "standardizer": ChannelStandardizer(image_shape=SHAPE),
        "zca": ZCA(),
        "zca contrast": ZCA(0.01, normalize_contrast=True),
        "flips": FlipAverage(FunctionTransformer(np.tanh), image_shape=SHAPE),
    }[name]


ALL = pytest.mark.parametrize("name", ["standardizer", "zca", "zca contrast", "flips"])
STREAMING = pytest.mark.parametrize("name", ["standardizer", "zca", "zca contrast"])


class TestCommon:
    @ALL
    @pytest.mark.parametrize("n", [20, 200])
    def test_flat_rows_and_images_alike(self, name, n):
        x, new = images(n), images(9, seed=1)
        estimator = make(name).fit(x)
        expected = estimator.transform(new)
        assert expected.shape == new.shape
        assert estimator.image_shape_ == SHAPE
        assert estimator.n_features_in_ == 60
        assert_array_equal(estimator.transform(new.reshape(9, -1)), expected.reshape(9, -1))
        flat = make(name).fit(x.reshape(n, -1))
        assert_array_equal(flat.transform(new), expected)

    @ALL
    def test_dtype(self, name):
        x = np.clip(images(80) * 3, 0, 255).astype(np.uint8)
        estimator = make(name).fit(x)
        exact = estimator.transform(x)
        assert exact.dtype == np.float64
        assert_array_equal(make(name).fit(x.astype(float)).transform(x.astype(float)), exact)
        single = estimator.transform(x.astype(np.float32))
        assert single.dtype == np.float32
        assert_allclose(single, exact, rtol=1e-5, atol=1e-5 * np.abs(exact).max())
        assert make(name).fit(x.astype(np.float16)).transform(x.astype(np.float16)).dtype == "f4"

    @ALL
    def test_input_is_left_alone_and_order_does_not_matter(self, name):
        x = images(80)
        before = x.copy()
        expected = make(name).fit_transform(x)
        assert_array_equal(x, before)
        x.flags.writeable = False
        assert_array_equal(make(name).fit_transform(np.asfortranarray(x)), expected)
        assert_array_equal(make(name).fit_transform(x.astype(">f8")), expected)
        assert_array_equal(make(name).fit_transform(x.tolist()), expected)

    @ALL
    def test_clone_and_pickle(self, name):
        x = images(80)
        estimator = make(name).fit(x)
        expected = estimator.transform(x)
        again = pickle.loads(pickle.dumps(estimator))
        assert_array_equal(again.transform(x), expected)
        copy = clone(estimator)
        with pytest.raises(NotFittedError):
            copy.transform(x)
        assert_array_equal(copy.fit(x).transform(x), expected)
        if name != "flips":
            assert copy.get_params() == make(name).get_params()

    @ALL
    def test_errors(self, name):
        x = images()
        estimator = make(name)
        with pytest.raises(NotFittedError):
            estimator.transform(x)
        bad = x.copy()
        bad[2, 1, 0, 1] = np.nan
        with pytest.raises(ValueError, match="X contains NaN"):
            estimator.fit(bad)
        with pytest.raises(TypeError, match="X: expected a dense array of images, got a sparse"):
            estimator.fit(sp.csr_array(np.ones((4, 60))))
        with pytest.raises(ValueError, match=r"X: expected images of shape .*got .*\(30, 4, 15\)"):
            estimator.fit(x.reshape(30, 4, 15))
        with pytest.raises(ValueError, match="X: expected at least one image, got none"):
            estimator.fit(x[:0])
        estimator.fit(x)
        with pytest.raises(ValueError, match=r"X: expected images of shape \(4, 5, 3\), got"):
            estimator.transform(x[:, :3])
        with pytest.raises(ValueError, match="X has 59 features"):
            estimator.transform(x.reshape(30, -1)[:, 1:])
        bad[2, 1, 0, 1] = np.inf
        with pytest.raises(ValueError, match="X contains infinity"):
            estimator.transform(bad)
        assert estimator.transform(x[:0]).shape == (0, *SHAPE)

    @STREAMING
    @pytest.mark.parametrize("cuts", [[40], [3, 90], [1, 2, 61]])
    def test_streaming_equals_fit(self, name, cuts, small_blocks):
        x = images(120)
        whole = make(name).fit(x)
        stream = make(name)
        for part in np.split(x, cuts):
            stream.partial_fit(part)
        assert stream.n_samples_seen_ == whole.n_samples_seen_ == 120
        assert_allclose(stream.mean_, whole.mean_, rtol=1e-13)
        assert_allclose(stream.transform(x), whole.transform(x), rtol=1e-9, atol=1e-10)
        more = make(name).fit(x[: cuts[0]]).partial_fit(x[cuts[0] :])  # from the n x n route, too
        assert_allclose(more.transform(x), whole.transform(x), rtol=1e-8, atol=1e-9)
        assert_array_equal(more.fit(x).transform(x), whole.transform(x))  # which forgets

    @STREAMING
    def test_asking_between_parts_changes_nothing(self, name):
        x = images(120)
        stream, asked = make(name), make(name)
        for part in np.split(x, 3):
            stream.partial_fit(part)
            asked.partial_fit(part).transform(part)
            asked = pickle.loads(pickle.dumps(asked))
        assert_array_equal(asked.transform(x), stream.transform(x))
        with pytest.raises(ValueError, match=r"X: expected images of shape \(4, 5, 3\), got"):
            stream.partial_fit(x[:, :2])

    @ALL
    def test_in_a_pipeline_of_flat_rows(self, name):
        x = images(40).reshape(40, -1)
        features = nk.NTKFeatures(NET, 64, image_shape=SHAPE, random_state=0)
        Z = make_pipeline(make(name), features).fit_transform(x)
        shaped = make_pipeline(make(name), nk.NTKFeatures(NET, 64, random_state=0))
        assert_array_equal(Z, shaped.fit_transform(x.reshape(40, *SHAPE)))

    @ALL
    def test_set_output(self, name):
        pd = pytest.importorskip("pandas")
        frame = pd.DataFrame(images(80).reshape(80, -1), columns=[f"p{i}" for i in range(60)])
        estimator = make(name)
        if name == "flips":
            identity = FunctionTransformer(feature_names_out="one-to-one")
            estimator = FlipAverage(identity, image_shape=SHAPE)
        table = estimator.set_output(transform="pandas").fit_transform(frame)
        assert list(table.columns) == list(frame.columns)
        assert_array_equal(table, estimator.set_output(transform="default").transform(frame))


class TestChannelStandardizer:
    def test_formula(self, small_blocks):
        x, new = images(), images(9, seed=1)
        scaler = ChannelStandardizer().fit(x)
        mean, std = x.mean(axis=(0, 1, 2)), x.std(axis=(0, 1, 2))
        assert_allclose(scaler.mean_, mean, rtol=1e-14)
        assert_allclose(scaler.var_, std**2, rtol=1e-13)
        assert_allclose(scaler.scale_, std, rtol=1e-13)
        assert_allclose(scaler.transform(new), (new - mean) / std, rtol=1e-12, atol=1e-12)
        assert_allclose(scaler.inverse_transform(scaler.transform(new)), new, rtol=1e-13)
        assert scaler.inverse_transform(new.astype("f4")).dtype == "f4"

    @settings(max_examples=30)
    @given(
        mean=st.floats(-1e6, 1e6),
        scale=st.floats(1e-3, 1e3),
        cut=st.integers(1, 19),
        seed=st.integers(0, 99),
    )
    def test_a_large_mean_costs_no_digits(self, mean, scale, cut, seed):
        noise = np.random.default_rng(seed).standard_normal((20, 2, 2, 2))
        x = mean + scale * noise
        exact = (x - mean).std(axis=(0, 1, 2))  # of what rounding left of the noise
        scaler = ChannelStandardizer(eps=0).partial_fit(x[:cut]).partial_fit(x[cut:])
        # Of the mean's rounding, not of its square's as by E x^2 - (E x)^2.
        assert_allclose(scaler.scale_, exact, rtol=1e-13 + 1e-15 * abs(mean) / scale)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("value", [0.0, 0.1, 1e5])
    def test_constant_channel(self, dtype, value):
        x = images().astype(dtype)
        x[..., 1] = value
        scaler = ChannelStandardizer().fit(x)
        assert scaler.scale_[1] == 1
        assert_allclose(scaler.transform(x)[..., 1], 0, atol=1e-15 * (1 + value))
        assert_allclose(scaler.transform(x).std(axis=(0, 1, 2))[[0, 2]], 1, rtol=1e-5)
        assert_allclose(scaler.inverse_transform(scaler.transform(x)), x, rtol=1e-6)

    def test_eps_is_relative(self):
        x = 1e-20 * images()
        assert_allclose(ChannelStandardizer().fit_transform(x).std(axis=(0, 1, 2)), 1)
        x = 1 + 1e-9 * images()
        assert_array_equal(ChannelStandardizer().fit(x).scale_, np.ones(3))
        assert np.all(ChannelStandardizer(eps=1e-12).fit(x).scale_ < 1e-7)

    def test_errors(self):
        with pytest.raises(ValueError, match="eps: expected a finite number in"):
            ChannelStandardizer(eps=-1).fit(images())
        with pytest.raises(TypeError, match="eps: expected a real number, got 'a'"):
            ChannelStandardizer(eps="a").fit(images())
        with pytest.raises(ValueError, match=r"image_shape: expected None or \(height"):
            ChannelStandardizer(image_shape=(4, 5)).fit(images())
        with pytest.raises(ValueError, match=r"X: expected images of shape \(n, height.*\(30, 60"):
            ChannelStandardizer().fit(images().reshape(30, -1))
        with pytest.raises(ValueError, match="X: expected 60 features, those of images of shape"):
            ChannelStandardizer(image_shape=SHAPE).fit(np.ones((30, 61)))


class TestZCA:
    @pytest.mark.parametrize("n", [2, 20, 45, 60, 61, 300])  # d = 60; both routes of each
    @pytest.mark.parametrize("regularization", [1e-3, 0.1, 10.0])
    @pytest.mark.parametrize("contrast", [False, True])
    def test_formula(self, n, regularization, contrast, small_blocks):
        x, new = images(n), images(15, seed=1)
        zca = ZCA(regularization, normalize_contrast=contrast).fit(x)
        expected = whitened(x, new, regularization, contrast)
        scale = np.abs(expected).max()
        assert_allclose(zca.transform(new).reshape(15, -1), expected, atol=1e-11 * scale)

    @pytest.mark.parametrize("n", [20, 45, 300])
    def test_spectrum(self, n):
        x = images(n)
        zca = ZCA().fit(x)
        rank = min(n - 1, 60)
        assert zca.components_.shape == (rank, 60)
        assert np.all(np.diff(zca.explained_variance_) <= 0)
        assert_allclose(zca.components_ @ zca.components_.T, np.eye(rank), atol=1e-10)
        C = zca.components_.T @ np.diag(zca.explained_variance_) @ zca.components_
        assert_allclose(C, np.cov(x.reshape(n, -1).T, ddof=0), atol=1e-12 * np.abs(C).max())

    @pytest.mark.parametrize("n", [20, 45, 300])
    def test_without_regularization_the_covariance_is_a_projection(self, n):
        x = images(n)
        white = ZCA(0.0).fit_transform(x).reshape(n, -1)
        C = np.cov(white.T, ddof=0)
        assert_allclose(C @ C, C, atol=1e-9)
        assert_allclose(np.trace(C), min(n - 1, 60))

    @pytest.mark.parametrize("n", [20, 45, 300])
    def test_inverse(self, n):
        x, new = images(n), images(15, seed=1)
        zca = ZCA().fit(x)
        assert_allclose(zca.inverse_transform(zca.transform(new)), new, rtol=1e-11)
        assert zca.inverse_transform(new.astype("f4")).dtype == "f4"
        plain = ZCA(0.0).fit(x)  # what the fitted images span comes back
        assert_allclose(plain.inverse_transform(plain.transform(x)), x, rtol=1e-9)
        contrast = ZCA(normalize_contrast=True).fit(x)
        back = contrast.inverse_transform(contrast.transform(new)).reshape(15, -1)
        assert_allclose(np.linalg.norm(back, axis=1), 1)
        assert_allclose(back.mean(axis=1), 0, atol=1e-12)

    @pytest.mark.parametrize("value", [0.0, 0.1, 255.0])
    def test_constant_images_have_no_contrast(self, value):
        zca = ZCA(normalize_contrast=True).fit(images())
        blank = zca.transform(np.full((2, *SHAPE), value))
        assert_allclose(zca.inverse_transform(blank), 0, atol=1e-12)

    @pytest.mark.parametrize("regularization", [0.0, 0.1])
    @pytest.mark.parametrize("n", [1, 5, 100])
    def test_equal_images(self, regularization, n):
        """Nothing varies: all become zero."""
        x = np.repeat(images(1), n, axis=0)
        zca = ZCA(regularization).fit(x)
        assert zca.explained_variance_.shape == (0,)
        assert_array_equal(zca.transform(images(3)), np.zeros((3, *SHAPE)))

    def test_a_pixel_that_never_varies(self):
        x = images(300)
        x[:, 0, 0, :] = 7
        zca = ZCA().fit(x)
        assert len(zca.explained_variance_) == 57
        expected = whitened(x, images(9), 0.1)
        assert_allclose(zca.transform(images(9)).reshape(9, -1), expected, atol=1e-10)

    @settings(max_examples=25)
    @given(n=st.integers(2, 40), cut=st.integers(1, 39), seed=st.integers(0, 999))
    def test_both_routes_agree(self, n, cut, seed):
        """`fit` of few images, n x n, and `partial_fit`, d x d."""
        x = images(n, (2, 3, 4), seed)
        thin = ZCA().fit(x).transform(x)
        stream = ZCA().partial_fit(x[: min(cut, n - 1)]).partial_fit(x[min(cut, n - 1) :])
        assert_allclose(stream.transform(x), thin, atol=1e-9)

    def test_errors(self):
        with pytest.raises(ValueError, match="regularization: expected a finite number in"):
            ZCA(-0.1).fit(images())
        with pytest.raises(TypeError, match="regularization: expected a real number, got None"):
            ZCA(None).partial_fit(images())
        with pytest.raises(TypeError, match="normalize_contrast: expected True or False, got 1"):
            ZCA(normalize_contrast=1).fit(images())
        with pytest.raises(ValueError, match="X: expected images of 60 entries as in fit, got"):
            ZCA().fit(images().reshape(30, -1)).transform(np.ones((2, 4, 4, 3)))
        with pytest.raises(ValueError, match="X: expected what fits into memory, got the cov"):
            ZCA().partial_fit(np.zeros((1, 1000, 1000, 3), np.float32))
        with pytest.raises(NotFittedError):
            ZCA().mean_  # noqa: B018


class TestFlips:
    def test_flip_left_right(self):
        x = images()
        assert_array_equal(flip_left_right(x), x[:, :, ::-1])
        assert flip_left_right(x).flags.c_contiguous
        assert_array_equal(flip_left_right(flip_left_right(x)), x)
        flat = flip_left_right(x.reshape(30, -1), image_shape=SHAPE)
        assert_array_equal(flat, x[:, :, ::-1].reshape(30, -1))
        assert flip_left_right(x.astype("f4")).dtype == "f4"

    @pytest.mark.parametrize("y", [np.arange(30), list("abcde" * 6), np.ones((30, 2), bool)])
    def test_augment_flips(self, y):
        x = images().astype("f4")
        both, labels = augment_flips(x, y)
        assert_array_equal(both, np.concatenate([x, x[:, :, ::-1]]))
        assert both.dtype == "f4"
        assert_array_equal(labels, np.concatenate([y, y]))
        assert labels.dtype == np.asarray(y).dtype
        flat, _ = augment_flips(x.reshape(30, -1), y, image_shape=SHAPE)
        assert_array_equal(flat, both.reshape(60, -1))

    def test_augment_flips_refuses(self):
        for y in (np.arange(29), None, 3):
            with pytest.raises(ValueError, match="y: expected 30 labels, one for each image, got"):
                augment_flips(images(), y)
        with pytest.raises(ValueError, match="X contains NaN"):
            augment_flips(np.full((1, *SHAPE), np.nan), [1])
        with pytest.raises(ValueError, match="X: expected images of shape"):
            augment_flips(np.ones((30, 60)), np.arange(30))
        with pytest.raises(ValueError, match="X: expected images of shape"):
            flip_left_right(images(), image_shape=(5, 4, 3))

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_average_has_the_averaged_kernel(self, dtype):
        x = images(8).astype(dtype)
        inner = nk.NTKFeatures(NET, 128, random_state=0)
        Z = FlipAverage(inner).fit_transform(x)
        assert Z.dtype == dtype
        fitted = clone(inner).fit(x)
        Y = np.concatenate([fitted.transform(x), fitted.transform(flip_left_right(x))])
        K = (Y @ Y.T).reshape(2, 8, 2, 8).mean(axis=(0, 2))
        assert_allclose(Z @ Z.T, K, rtol=1e-4 if dtype == np.float32 else 1e-12)
        assert_allclose(FlipAverage(inner).fit(x).transform(flip_left_right(x)), Z, rtol=1e-6)

    def test_ridge_on_averages_is_ridge_on_the_doubled_set(self):
        """Of features with k(F x, F y) = k(x, y), here the pixels; with twice the penalty."""
        x, new = images(40), images(10, seed=1)
        y = np.random.default_rng(0).standard_normal(40)
        both, labels = augment_flips(x, y)
        inner = FunctionTransformer(lambda a: a.reshape(len(a), -1))
        phi = FlipAverage(inner).fit(x)
        Z, Z_new = phi.transform(x), phi.transform(new)
        doubled = inner.transform(both)
        alpha = 0.3
        w = np.linalg.solve(Z.T @ Z + alpha * np.eye(60), Z.T @ y)
        v = np.linalg.solve(doubled.T @ doubled + 2 * alpha * np.eye(60), doubled.T @ labels)
        assert_allclose(w, v, atol=1e-12)
        assert_allclose(Z_new @ w, inner.transform(new) @ v, atol=1e-10)

    @pytest.mark.parametrize("own", [None, SHAPE])
    @pytest.mark.parametrize("inner", [None, SHAPE])
    @pytest.mark.parametrize("piped", [False, True])
    def test_either_may_know_the_shape(self, own, inner, piped):
        x = images(12)
        features = nk.NTKFeatures(NET, 16, image_shape=inner, random_state=0)
        if piped:
            features = make_pipeline(ZCA(), features)
        phi = FlipAverage(features, image_shape=own)
        expected = clone(phi).fit_transform(x)
        if own is inner is None:
            with pytest.raises(ValueError, match=r"X: expected images .*; image_shape="):
                phi.fit(x.reshape(12, -1))
            return
        assert_allclose(phi.fit_transform(x.reshape(12, -1)), expected, rtol=1e-9)
        assert phi.image_shape_ == SHAPE
        assert phi.image_shape == own
        assert phi.get_params()["transformer"] is features

    def test_shapes_that_differ(self):
        phi = FlipAverage(nk.NTKFeatures(NET, 16, image_shape=(5, 4, 3)), image_shape=SHAPE)
        with pytest.raises(ValueError, match="image_shape: expected one shape"):
            phi.fit(images(12).reshape(12, -1))
        with pytest.raises(ValueError, match="X: expected images of shape"):
            phi.fit(images(12))

    def test_steps_may_make_smaller_images(self):
        x = images(12)
        half = FunctionTransformer(lambda a: a.reshape(-1, *SHAPE)[:, ::2].reshape(len(a), -1))
        features = nk.NTKFeatures(NET, 16, image_shape=(2, 5, 3), random_state=0)
        phi = FlipAverage(make_pipeline(half, features), image_shape=SHAPE)
        Z = phi.fit_transform(x.reshape(12, -1))
        assert_allclose(phi.transform(flip_left_right(x)), Z, rtol=1e-9)
        assert_allclose(FlipAverage(features).fit_transform(x[:, ::2]), Z, rtol=1e-9)

    def test_parameters_of_the_inner_map(self):
        phi = FlipAverage(nk.NTKFeatures(NET, 64))
        phi.set_params(transformer__n_components=32)
        assert phi.get_params()["transformer__n_components"] == 32
        assert phi.fit_transform(images(5)).shape == (5, 32)
        assert len(phi.get_feature_names_out()) == 32
        assert not hasattr(phi.transformer, "n_components_")
        with pytest.raises(TypeError, match="transformer: expected an estimator with fit and tr"):
            FlipAverage(RidgeClassifier()).fit(images())
        assert not hasattr(FlipAverage(nk.mlp()), "get_feature_names_out")


def test_digits():
    """Flat rows all the way, from pixels to labels."""
    X, y = load_digits(return_X_y=True)
    X = X.astype(np.float32)
    shape = (8, 8, 1)
    net = nk.Sequential(
        nk.Conv(b_std=0.1),
        nk.ReLU(),
        nk.AvgPool((2, 2)),
        nk.Conv(),
        nk.ReLU(),
        nk.Flatten(),
        nk.Dense(),
    )
    features = nk.NTKFeatures(net, 512, image_shape=shape, random_state=0)
    model = make_pipeline(
        ChannelStandardizer(image_shape=shape), ZCA(0.1), features, RidgeClassifier(0.1)
    )
    assert model.fit(X[:1200], y[:1200]).score(X[1200:], y[1200:]) > 0.9


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    "make",
    [
        nk.images.ChannelStandardizer,
        nk.images.ZCA,
        lambda: nk.images.ZCA(normalize_contrast=True),
    ],
)
def test_pixels_of_any_size(make, dtype):
    """Scaling all images changes nothing, or is refused."""
    rng = np.random.RandomState(0)
    X = (rng.standard_normal((12, 4, 4, 3)) + rng.standard_normal((12, 1, 1, 3))).astype(dtype)
    whole = make().fit_transform(X)
    most = (-1040, -800, -490, -60, 60, 490, 800, 1010) if dtype == np.float64 else (-120, 110)
    contrast = getattr(make(), "normalize_contrast", False)
    for e in most:
        Y = np.ldexp(X, e)
        if abs(e) > 490 and not contrast and dtype == np.float64:
            with pytest.raises(ValueError, match=r"X: .*whose squares float64 can hold"):
                make().fit(Y)
            with pytest.raises(ValueError, match=r"X: .*whose squares float64 can hold"):
                make().fit(X).partial_fit(Y)
        else:
            tolerance = 1e-3 if e == -1040 else 1e-5 if dtype == np.float32 else 1e-9
            Z = make().fit_transform(Y)
            np.testing.assert_allclose(Z, whole, atol=tolerance * np.abs(whole).max())
