"""Features of networks of images against their exact kernels."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline

import nkfast as nk

C = nk.Conv


def images(n=12, shape=(8, 8, 3), seed=0):
    """Smooth random images, so that neighbouring pixels are alike."""
    rng = np.random.RandomState(seed)
    x = rng.standard_normal((n, *shape))
    for axis in (1, 2):
        x = x + np.roll(x, 1, axis)
    return x + rng.standard_normal((n, 1, 1, shape[2]))


def grams(net, kernel, x, draws, m=1024, **options):
    """The exact kernel K, and Z Z^T of several draws."""
    make = nk.NTKFeatures if kernel == "ntk" else nk.NNGPFeatures
    maps = (make(net, m, random_state=k, **options).fit_transform(x) for k in range(draws))
    return net.kernel(x, get=kernel), np.array([Z @ Z.T for Z in maps])


def error(K, *found):
    """The mean of ||Z Z^T - K|| / ||K||."""
    return np.mean([np.linalg.norm(gram - K) for gram in found]) / np.linalg.norm(K)


NETS = {
    "myrtle": nk.myrtle(5, "relu"),
    "myrtle gelu": nk.myrtle(5, "gelu"),
    "myrtle erf": nk.myrtle(5, "erf"),
    "bias": nk.Sequential(
        C(w_std=1.3, b_std=0.4), nk.ReLU(), C(w_std=1.3, b_std=0.3), nk.GELU(), nk.Flatten(),
        nk.Dense(1.2, 0.2)
    ),
    "valid": nk.Sequential(
        C((3, 2), padding="VALID"), nk.ReLU(), C(padding="VALID"), nk.ReLU(), nk.GlobalAvgPool(),
        nk.Dense()
    ),
    "circular": nk.Sequential(
        C(padding="CIRCULAR", b_std=0.1), nk.ReLU(), C((5, 5), padding="CIRCULAR"), nk.ReLU(),
        nk.Flatten(), nk.Dense()
    ),
    "strides": nk.Sequential(
        C(strides=(2, 2)), nk.ReLU(), C((2, 2), strides=(2, 1)), nk.Tanh(), nk.GlobalAvgPool(),
        nk.Dense(1.0, 0.5)
    ),
    "overlapping pools": nk.Sequential(
        C(), nk.ReLU(), nk.AvgPool((3, 3), (2, 2)), C(), nk.ReLU(), nk.AvgPool((2, 1)),
        nk.Flatten(), nk.Dense()
    ),
    "linear": nk.Sequential(C(), C(b_std=0.2), nk.Flatten(), nk.Dense()),
    "two convolutions": nk.Sequential(C(), C((1, 1)), nk.ReLU(), nk.GlobalAvgPool(), nk.Dense()),
    "pool before activation": nk.Sequential(
        C(), nk.AvgPool((2, 2)), nk.ReLU(), nk.GlobalAvgPool(), nk.Dense()
    ),
    "residual": nk.Sequential(
        C(), nk.Residual(nk.ReLU(), C(w_std=0.8)), nk.ReLU(),
        nk.Residual(C((1, 1)), nk.ReLU(), C(w_std=0.5)), nk.GlobalAvgPool(), nk.Dense()
    ),
    "residual at first": nk.Sequential(nk.Residual(C()), C(), nk.ReLU(), nk.Flatten(), nk.Dense()),
    "dense behind": nk.Sequential(
        C(), nk.ReLU(), nk.GlobalAvgPool(), nk.Dense(1.4, 0.1), nk.ReLU(), nk.Dense(1.2)
    ),
    "images at the end": nk.Sequential(C(), nk.ReLU(), C((1, 1))),
    "activation at the end": nk.Sequential(C(), nk.ReLU(), nk.Flatten()),
    "no convolution": nk.Sequential(nk.Flatten(), nk.Dense(), nk.ReLU(), nk.Dense()),
    "sign": nk.Sequential(C(), nk.Sign(), C(), nk.ReLU(), nk.GlobalAvgPool(), nk.Dense()),
    "polynomial": nk.Sequential(
        C(), nk.Polynomial((0.3, 1.0, -0.4, 0.2)), nk.GlobalAvgPool(), nk.Dense()
    ),
    "sin": nk.Sequential(C(), nk.Sin(), C(), nk.Cos(), nk.GlobalAvgPool(), nk.Dense()),
}  # fmt: skip


@pytest.mark.parametrize("kernel", ["nngp", "ntk"])
@pytest.mark.parametrize("name", NETS)
def test_features_of_many_networks(name, kernel):
    # Noise shrinks in the mean of ten draws by 3.2; a wrong weight or a lost part does not.
    K, found = grams(NETS[name], kernel, images(), 10, pixel_components=128)
    assert error(K, found.mean(axis=0)) < 0.02 + 0.4 * error(K, *found)
    assert error(K, *found) < 0.25


def test_networks_of_one_layer_are_exact():
    x = images(shape=(4, 4, 3))
    for net in (nk.Sequential(nk.GlobalAvgPool()), nk.Sequential(nk.Flatten())):
        K = net.nngp(x)
        Z = nk.NNGPFeatures(net, 256, random_state=0).fit_transform(x)
        np.testing.assert_allclose(Z @ Z.T, K, rtol=1e-12, atol=1e-12 * K.max())


def test_a_zero_tangent_kernel_has_zero_features():
    Z = nk.NTKFeatures(nk.Sequential(nk.GlobalAvgPool()), 20).fit_transform(images())
    assert Z.shape == (12, 20)
    assert not Z.any()


def test_one_pixel_is_a_dense_network():
    x = images(30, (1, 1, 10))
    one = C((1, 1), w_std=1.4, b_std=0.2)
    net = nk.Sequential(one, nk.ReLU(), one, nk.ReLU(), nk.Flatten(), nk.Dense(1.4, 0.2))
    K = nk.mlp(2, "relu", 1.4, 0.2).ntk(x.reshape(30, -1))
    _, found = grams(net, "ntk", x, 5, 2048, pixel_components=2048, degree=8)
    assert error(K, *found) < 0.08
    assert error(K, found.mean(axis=0)) < 0.04


@pytest.mark.parametrize("activation", [nk.GELU(), nk.ReLU()])
def test_no_bias_where_contrasts_differ(activation):
    """Pixels of unlike variance, whose kernels of degree 0 no single factor each can give.

    The mean of 8 draws without bias has 0.35 times the error of one.
    """
    x = images(16) * np.geomspace(0.3, 2, 16)[:, None, None, None]
    layers = [C(w_std=1.4, b_std=0.3), activation] * 2
    net = nk.Sequential(*layers, nk.GlobalAvgPool(), nk.Dense())
    for kernel in ("nngp", "ntk"):
        K, found = grams(net, kernel, x, 8, 2048, pixel_components=512, degree=8)
        assert error(K, found.mean(axis=0)) < 0.5 * error(K, *found)


@pytest.mark.simd
def test_error_falls_with_the_width():
    x = images(20, (12, 12, 3))
    net = nk.myrtle(5)
    narrow, wide = (
        error(*_flat(grams(net, "ntk", x, 3, m, pixel_components=w)))
        for m, w in ((64, 16), (1024, 512))
    )
    assert wide < 0.4 * narrow


def _flat(pair):
    return pair[0], *pair[1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bits_depend_on_the_image_alone(dtype):
    x = images(9).astype(dtype)
    phi = nk.NTKFeatures(nk.myrtle(5), 128, random_state=0).fit(x)
    with nk.num_threads(1):
        Z = phi.transform(x)
    assert Z.dtype == dtype
    with nk.num_threads(3):
        assert np.array_equal(phi.transform(x), Z)
    assert np.array_equal(phi.transform(x[4:5]), Z[4:5])
    assert np.array_equal(phi.transform(x[::-1]), Z[::-1])


def test_float32_is_near_float64():
    x = images(6)
    phi = nk.NTKFeatures(nk.myrtle(5, "gelu"), 256, random_state=0).fit(x)
    Z = phi.transform(x)
    near = phi.transform(x.astype(np.float32))
    assert np.linalg.norm(Z - near) < 1e-4 * np.linalg.norm(Z)


def test_zero_images():
    x = images(5)
    x[2] = 0
    x[3, :, :5] = 0
    for net in (NETS["myrtle"], NETS["bias"], nk.myrtle(5, "sigmoid")):
        K, found = grams(net, "ntk", x, 4)
        assert np.all(np.isfinite(found))
        assert error(K, *found) < 0.08


def test_images_of_other_scales_than_those_of_fit():
    x = images(8)
    phi = nk.NTKFeatures(nk.myrtle(5, "gelu"), 512, random_state=0).fit(x)
    for scale in (1e-3, 0.1, 10, 1e3):
        K = nk.myrtle(5, "gelu").ntk(scale * x)
        Z = phi.transform(scale * x)
        there = nk.NTKFeatures(nk.myrtle(5, "gelu"), 512, random_state=0).fit_transform(scale * x)
        assert error(K, Z @ Z.T) < 0.05 + 1.2 * error(K, there @ there.T)


@pytest.mark.parametrize("m", [1, 2, 15, 16, 17, 333, 5000])
def test_exactly_as_many_features_as_asked_for(m):
    x = images(3, (4, 4, 1))
    Z = nk.NTKFeatures(NETS["bias"], m, random_state=0).fit_transform(x)
    assert Z.shape == (3, m)
    norms = np.einsum("ij,ij->i", Z, Z)  # known without error up to here
    np.testing.assert_allclose(norms, NETS["bias"].diag(x).ntk, rtol=0.05)


@pytest.mark.simd
def test_norms_are_exact_without_pools():
    x = images(10)
    net = nk.Sequential(C(b_std=0.2), nk.ReLU(), C(), nk.GELU(), nk.Flatten(), nk.Dense(1.3, 0.1))
    for make, own in ((nk.NTKFeatures, net.diag(x).ntk), (nk.NNGPFeatures, net.diag(x).nngp)):
        Z = make(net, 300, random_state=0).fit_transform(x)
        np.testing.assert_allclose(np.einsum("ij,ij->i", Z, Z), own, rtol=1e-5)


def test_scikit_learn_behaviour():
    x = images(6)
    phi = nk.NTKFeatures(nk.myrtle(5), 64, random_state=3)
    Z = phi.fit_transform(x)
    assert phi.n_features_in_ == 192
    assert phi.image_shape_ == (8, 8, 3)
    assert len(phi.get_feature_names_out()) == 64
    assert np.array_equal(clone(phi).fit_transform(x), Z)
    assert np.array_equal(pickle.loads(pickle.dumps(phi)).transform(x), Z)
    assert not np.array_equal(clone(phi).set_params(random_state=4).fit_transform(x), Z)
    phi.set_params(net__activation="gelu", pixel_components=64, degree=3)
    assert not np.array_equal(phi.fit_transform(x), Z)
    assert (phi.pixel_components_, phi.degree_) == (64, 3)
    assert phi.set_params(net=nk.mlp()).fit(x.reshape(6, -1)).transform(x.reshape(6, -1)).any()


def test_kernel_error_and_automatic_width():
    x = images(40)
    phi = nk.NTKFeatures(nk.myrtle(5), "auto", target_error=0.1, random_state=0).fit(x)
    assert phi.error_ <= 0.1
    found = phi.kernel_error(x)
    assert found["frobenius"] < 0.1
    assert found["centred"] < 0.5


def test_oversampling_keeps_principal_directions():
    x = images(30)
    K = nk.myrtle(5).ntk(x)
    phi = nk.NTKFeatures(nk.myrtle(5), 32, oversampling=16, random_state=0).fit(x)
    Z = phi.transform(x)
    assert Z.shape == (30, 32)
    plain = nk.NTKFeatures(nk.myrtle(5), 32, random_state=0).fit_transform(x)
    assert np.linalg.norm(Z @ Z.T - K) < np.linalg.norm(plain @ plain.T - K)


def test_flat_rows_in_a_pipeline():
    X, y = load_digits(return_X_y=True)
    X = X / 16 - 0.3
    net = nk.Sequential(
        C(w_std=2**0.5), nk.ReLU(), nk.AvgPool((2, 2)), C(w_std=2**0.5), nk.ReLU(), nk.Flatten(),
        nk.Dense()
    )  # fmt: skip
    phi = nk.NTKFeatures(net, 1024, image_shape=(8, 8, 1), random_state=0)
    model = make_pipeline(phi, RidgeClassifier(1e-3)).fit(X[:600], y[:600])
    assert model.score(X[600:1200], y[600:1200]) > 0.93
    stacked = X.reshape(-1, 8, 8, 1)
    assert np.array_equal(phi.transform(stacked[:5]), phi.transform(X[:5]))


def test_errors_say_what_is_wrong():
    x = images(4)
    net = nk.myrtle(5)
    cases = [
        ({}, x.reshape(4, -1), "X: expected images of shape"),
        ({"image_shape": (8, 8)}, x, "image_shape: expected None or"),
        ({"image_shape": (8, 8, 0)}, x, "image_shape: expected an integer >= 1"),
        ({"image_shape": (4, 8, 3)}, x, r"X: expected images of shape \(4, 8, 3\)"),
        ({"image_shape": (4, 8, 3)}, x.reshape(4, -1), "X: expected 96 features"),
        ({"pixel_components": 7}, x, "pixel_components: expected an integer >= 8"),
        ({"pixel_components": "some"}, x, "pixel_components: expected one of"),
        ({"degree": 0}, x, r"degree: expected an integer in \[1, 16\]"),
        ({"sketch": "tensorsketch"}, x, "sketch: expected 'tensorsrht' for a network of images"),
        ({}, x[:0], "X: expected at least one image"),
        ({}, np.full_like(x, np.nan), "NaN"),
        ({}, x[:, :2, :2], "layer"),
    ]
    for options, X, message in cases:
        with pytest.raises(ValueError, match=message):
            nk.NTKFeatures(net, 32, **options).fit(X)
    phi = nk.NTKFeatures(net, 32).fit(x)
    with pytest.raises(ValueError, match="X: expected images of shape"):
        phi.transform(x[:, :4])
