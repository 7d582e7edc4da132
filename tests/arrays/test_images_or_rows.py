"""Images where rows are wanted, rows where images are wanted, and channels that come first."""

import itertools

import numpy as np
import pytest

import nkfast as nk
from nkfast._arrays.validation import check_images
from nkfast.images import ZCA, ChannelStandardizer, FlipAverage, augment_flips, flip_left_right

CNN = nk.Sequential(nk.Conv(), nk.ReLU(), nk.Flatten(), nk.Dense())
RNG = np.random.default_rng(0)

KERNELS = {
    "kernel": lambda net, X: net.ntk(X),
    "second": lambda net, X: net.ntk(np.ones((2, 60)) if net is not CNN else X, X),
    "diag": lambda net, X: net.diag(X),
    "blocks": lambda net, X: list(net.kernel_blocks(X)),
}
ESTIMATORS = {
    "features": lambda net, X: nk.NTKFeatures(net, 8).fit(X),
    "nystroem": lambda net, X: nk.Nystroem(net, 4).fit(X),
    "regressor": lambda net, X: nk.NTKRegressor(net, 8).fit(X, np.arange(len(X))),
    "stream": lambda net, X: nk.NTKRegressor(net, 8).partial_fit(X, np.arange(len(X))),
    "classifier": lambda net, X: nk.NTKClassifier(net, method="exact").fit(X, np.arange(len(X))),
    "tuning": lambda net, X: nk.tune_network(X, np.arange(len(X)), net),
}
TRANSFORMERS = {
    "zca": lambda X: ZCA().fit(X),
    "channels": lambda X: ChannelStandardizer().fit(X),
    "average": lambda X: FlipAverage(nk.NTKFeatures(CNN, 8)).fit(X),
    "flip": flip_left_right,
    "augment": lambda X: augment_flips(X, np.arange(len(X))),
}


@pytest.mark.parametrize("name", KERNELS | ESTIMATORS)
@pytest.mark.parametrize("form", [np.asarray, np.ndarray.tolist])
def test_a_dense_network_on_images_says_so(name, form):
    X = RNG.standard_normal((6, 5, 4, 3))
    call = (KERNELS | ESTIMATORS)[name]
    with pytest.raises(ValueError, match=r"expected rows .* \(6, 5, 4, 3\)\. If .* such as Conv"):
        call(nk.mlp(), form(X))


@pytest.mark.parametrize("name", ESTIMATORS | TRANSFORMERS)
@pytest.mark.parametrize(
    ("size", "hint"),
    [
        (60, "$"),
        (64, r", maybe \(8, 8, 1\)$"),
        (192, r", maybe \(8, 8, 3\)$"),
    ],
)
def test_flat_rows_hear_of_image_shape(name, size, hint):
    if name == "zca":
        return  # takes rows as they are
    X = RNG.standard_normal((6, size))
    call = TRANSFORMERS.get(name) or (lambda X: ESTIMATORS[name](CNN, X))
    message = rf"X: expected images .* \(6, {size}\); image_shape=\(.*\) says which .* are{hint}"
    with pytest.raises(ValueError, match=message):
        call(X)


@pytest.mark.parametrize("name", [name for name in KERNELS if name != "second"])
def test_flat_rows_in_kernels_hear_of_reshape(name):
    with pytest.raises(ValueError, match=r"\(6, 12\); X.reshape\(len\(X\), height, width, chan"):
        KERNELS[name](CNN, np.ones((6, 12)))


def test_three_axes():
    for X in (np.ones((6, 5, 5)), np.ones((5, 5, 3))):
        with pytest.raises(ValueError, match=r"X\[..., None\] makes .*, and X\[None\] one image"):
            CNN.ntk(X)


@pytest.mark.parametrize("name", KERNELS | ESTIMATORS | TRANSFORMERS)
@pytest.mark.parametrize("shape", [(3, 8, 8), (3, 10, 6), (1, 7, 7)])
def test_channels_first_are_refused_at_every_door(name, shape):
    X = RNG.standard_normal((6, *shape))
    call = TRANSFORMERS.get(name) or (lambda X: (KERNELS | ESTIMATORS)[name](CNN, X))
    a, b, c = shape
    message = rf"looks like {a} channels of {b} x {c} pixels; images.transpose\(0, 2, 3, 1\)"
    with pytest.raises(ValueError, match=message):
        call(X)
    call(X.transpose(0, 2, 3, 1))
    if name in ESTIMATORS and name != "tuning":
        with pytest.raises(ValueError, match=f"image_shape: .*{message}"):
            nk.NTKFeatures(CNN, 8, image_shape=shape).fit(X.reshape(6, -1))


def test_which_shapes_have_their_channels_first():
    """Only those that are as good as never images with their channels last."""
    refused = set()
    for shape in itertools.product((1, 2, 3, 4, 5, 8, 16, 28, 32, 96, 224), repeat=3):
        try:
            check_images(np.zeros((0, *shape)))
        except ValueError:
            refused.add(shape)
    for side in (28, 32, 96, 224):
        assert {(1, side, side), (3, side, side), (4, side, side)} <= refused
    assert {(3, 96, 224 // 2 - 16), (3, 28, 32)} <= refused
    for a, b, c in refused:
        assert a in (1, 3, 4)
        assert c > 4  # up to four channels are channels
        assert b > 4
    for channels in (1, 3, 4):
        assert not any((h, w, channels) in refused for h in (1, 3, 28) for w in (1, 3, 32))
    for shape in ((1, 1, 512), (3, 3, 224), (4, 4, 96), (1, 96, 8), (8, 8, 8), (4, 8, 8)):
        assert shape not in refused
