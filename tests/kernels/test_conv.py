"""Exact kernels of networks of images: against plain maps of all pairs of pixels; properties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import nkfast as nk
import reference
from nkfast._core import DualKind, ImageBuilder, LaneKind, Pairing, Readout
from nkfast.activations import ReLU


class NumPyReLU(ReLU):
    """A ReLU that the core does not know."""

    def _dual_map(self, p, q, tol, span):
        return None


def images(n=3, height=6, width=5, channels=2, seed=0):
    return np.random.default_rng(seed).standard_normal((n, height, width, channels))


def assert_close(found, expected, rtol=1e-11):
    scale = np.max(np.abs(expected), initial=1e-300)
    assert_allclose(found, expected, rtol=0, atol=rtol * scale)


def block(padding="SAME"):
    return nk.Residual(nk.ReLU(), nk.Conv((3, 3), padding=padding, w_std=1.1, b_std=0.1))


NETS = {
    "flatten": (
        nk.Conv(),
        nk.ReLU(),
        nk.Conv((3, 2), b_std=0.3),
        nk.GELU(),
        nk.Flatten(),
        nk.Dense(),
    ),
    "mean": (
        nk.Conv(b_std=0.1),
        nk.ReLU(),
        nk.Conv(),
        nk.ReLU(),
        nk.GlobalAvgPool(),
        nk.Dense(1.3),
    ),
    "pools": (
        *(nk.Conv((1, 3)), nk.Erf(), nk.AvgPool((2, 2)), nk.Conv(), nk.ReLU(), nk.AvgPool((2, 1))),
        *(nk.Conv((2, 2), b_std=0.5), nk.Tanh(), nk.GlobalAvgPool(), nk.Dense(), nk.ReLU()),
        *(nk.Dense(1.2, 0.1), nk.Residual(nk.ReLU(), nk.Dense())),
    ),
    "pools overlap": (nk.Conv(), nk.ReLU(), nk.AvgPool((3, 2), (2, 1)), nk.Flatten(), nk.Dense()),
    "pools leave gaps": (nk.Conv(), nk.ReLU(), nk.AvgPool((1, 2), (2, 3)), nk.GlobalAvgPool()),
    "pool of a Gaussian": (
        nk.Conv(),
        nk.AvgPool((2, 2), (1, 1)),
        nk.ReLU(),
        nk.Conv(),
        nk.Flatten(),
    ),
    "strides": (
        nk.Conv((3, 3), (2, 2)),
        nk.ReLU(),
        nk.Conv((2, 3), (1, 2)),
        nk.ReLU(),
        nk.Flatten(),
    ),
    "strides, pool": (
        *(nk.Conv((3, 3), (2, 1)), nk.ReLU(), nk.AvgPool((2, 2)), nk.Conv(), nk.ReLU()),
        nk.GlobalAvgPool(),
    ),
    "valid": (nk.Conv((2, 3), padding="VALID"), nk.ReLU(), nk.Conv((3, 1), (2, 1), "VALID")),
    "valid, mean": (nk.Conv((5, 4), padding="VALID", b_std=1), nk.ReLU(), nk.GlobalAvgPool()),
    "circular": (
        *(nk.Conv((3, 4), padding="CIRCULAR"), nk.ReLU(), nk.Conv((2, 3), (2, 2), "CIRCULAR")),
        *(nk.ReLU(), nk.GlobalAvgPool(), nk.Dense()),
    ),
    "circular, flatten": (nk.Conv((5, 3), padding="CIRCULAR"), nk.ReLU(), nk.Flatten()),
    "circular, filter larger than the image": (
        *(nk.Conv((15, 13), padding="CIRCULAR"), nk.ReLU(), nk.GlobalAvgPool()),
    ),
    "filter larger than the image": (nk.Conv((15, 9), b_std=0.2), nk.ReLU(), nk.GlobalAvgPool()),
    "residual": (
        nk.Conv(),
        block(),
        block("CIRCULAR"),
        nk.ReLU(),
        nk.AvgPool((2, 2)),
        nk.Flatten(),
    ),
    "residual, mean": (
        *(nk.Conv(), block(), nk.Residual(block(), nk.ReLU(), nk.Conv((1, 1)), nk.AvgPool((1, 1)))),
        *(nk.ReLU(), nk.GlobalAvgPool(), nk.Dense()),
    ),
    "residual first": (nk.Residual(nk.Conv(b_std=0.2)), nk.AvgPool((2, 2)), nk.GlobalAvgPool()),
    "no layer of weights": (nk.AvgPool((2, 2)), nk.GlobalAvgPool()),
    "flatten first": (nk.Flatten(), nk.Dense(1.2, 0.1), nk.ReLU(), nk.Dense()),
    "ends in images": (nk.Conv(), nk.ReLU(), nk.AvgPool((2, 2))),
    "numpy": (
        *(
            nk.Conv(),
            NumPyReLU(),
            nk.AvgPool((2, 2)),
            nk.Conv((2, 3), (2, 1), "CIRCULAR", b_std=0.1),
        ),
        *(block(), NumPyReLU(), nk.GlobalAvgPool(), nk.Flatten(), nk.Dense()),
    ),
    "numpy, flatten": (nk.Conv(), NumPyReLU(), nk.Conv((3, 3), (2, 2)), nk.Flatten()),
}
NETS = {name: nk.Sequential(*layers) for name, layers in NETS.items()}


@pytest.mark.simd
@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("size", [(6, 5), (7, 33), (9, 12)])
def test_plain_maps(name, size):
    """All pairs of pixels in one array, layer by layer."""
    net = NETS[name]
    X, Z = images(3, *size), images(2, *size, seed=1)
    if size == (7, 33):
        X, Z = X[:, :, :, :1], Z[:1, :, :, :1]
    for found, expected in zip(net.kernel(X, Z), reference.image_kernels(net, X, Z), strict=True):
        assert_close(found, expected)
    plain = reference.image_kernels(net, X)
    for found, expected, own in zip(net.kernel(X), plain, net.diag(X), strict=True):
        assert_close(found, expected)
        assert_close(own, np.diag(expected))
        assert_array_equal(found, found.T)


ACTIVATIONS = [
    *(nk.LeakyReLU(0.1), nk.Abs(), nk.Sign(), nk.RectifiedMonomial(2), nk.SigmoidLike(), nk.Cos()),
    *(nk.RBF(0.5), nk.Exp(0.5, 0.5), nk.Gaussian(), nk.ExpNormalized(1, -1), nk.Gabor()),
    *(nk.Hermite(3), nk.Polynomial((0.2, 1, 0.1)), nk.Tanh(), nk.Sigmoid(), nk.SiLU(), nk.ELU()),
    *(nk.Softplus(), nk.Mish(), nk.Softsign(), nk.HardTanh(), nk.HardSwish(), nk.ReLU6()),
    nk.Elementwise(np.arctan),
]


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
def test_every_kind_of_activation(activation):
    X, Z = images(2, 4, 5), images(2, 4, 5, seed=1)
    for end in (nk.GlobalAvgPool(), nk.Flatten()):
        net = nk.Sequential(nk.Conv(b_std=0.1), activation, nk.Conv((2, 2)), activation, end)
        for found, expected in zip(
            net.kernel(X, Z), reference.image_kernels(net, X, Z), strict=True
        ):
            assert_close(found, expected, 1e-9)
        for found, expected in zip(net.diag(X), reference.image_kernels(net, X), strict=True):
            assert_close(found, np.diag(expected), 1e-9)


def sides(most):
    return st.tuples(st.integers(1, most), st.integers(1, most))


CONVS = st.builds(
    nk.Conv,
    sides(4),
    sides(2),
    st.sampled_from(["SAME", "CIRCULAR"]),
    st.floats(0.5, 2),
    st.sampled_from([0.0, 0.4]),
)
POOLS = st.one_of(
    st.builds(nk.AvgPool, sides(2), sides(2)), st.just(nk.AvgPool((2, 2))), st.just(block())
)


@settings(max_examples=60)
@given(
    parts=st.lists(st.tuples(CONVS, st.booleans(), st.none() | POOLS), min_size=1, max_size=3),
    size=st.tuples(st.integers(4, 9), st.integers(4, 9)),
    n=st.integers(1, 5),
    end=st.sampled_from([nk.GlobalAvgPool(), nk.Flatten()]),
)
def test_any_network(parts, size, n, end):
    layers = []
    for conv, active, other in parts:
        layers += [conv, *([other] if other else []), *([nk.ReLU()] if active else [])]
    net = nk.Sequential(*layers, end, nk.Dense(1.2))
    X, Z = images(2, *size, seed=n), images(n, *size)
    try:
        found = net.kernel(X, Z)
    except ValueError:  # shrunk to nothing
        with pytest.raises(ValueError, match="expected images of at least"):
            net.diag(X)
        return
    for value, expected in zip(found, reference.image_kernels(net, X, Z), strict=True):
        assert_close(value, expected)


def test_convolutions_of_one_pixel_are_dense():
    X, Z = images(7, 1, 1, 5), images(4, 1, 1, 5, seed=1)
    dense = nk.mlp(3, "gelu", 1.4, 0.2)
    layers = [
        nk.Conv((1, 1), w_std=1.4, b_std=0.2) if isinstance(x, nk.Dense) else x
        for x in dense.layers
    ]
    net = nk.Sequential(*layers, nk.Flatten())
    for found, expected in zip(
        net.kernel(X, Z), dense.kernel(X.reshape(7, 5), Z.reshape(4, 5)), strict=True
    ):
        assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("depth", [5, 7, 10])
def test_myrtle(depth):
    """At 32 x 32 the three last pools of 2 x 2 average all pixels."""
    repeats = {5: (2, 1, 1), 7: (2, 2, 2), 10: (3, 3, 3)}[depth]
    layers = []
    for repeat in repeats:
        layers += [nk.Conv((3, 3), w_std=1.3), nk.ReLU()] * repeat + [nk.AvgPool((2, 2))]
    pools = [nk.AvgPool((2, 2))] * 2
    net = nk.Sequential(*layers, *pools, nk.Flatten(), nk.Dense(1.3))
    X = images(2, 32, 32, 3)
    for found, expected in zip(
        nk.myrtle(depth, "relu", 1.3).kernel(X[:1], X[1:]), net.kernel(X[:1], X[1:]), strict=True
    ):
        assert_close(found, expected, 1e-13)
    assert sum(isinstance(layer, nk.Conv) for layer in net.layers) == depth - 1


# --- properties ---


@pytest.mark.parametrize("name", NETS)
def test_symmetric_is_rectangular(name):
    X = images(6)
    X[4] = X[1]
    net = NETS[name]
    for found, other, own in zip(net.kernel(X), net.kernel(X, X.copy()), net.diag(X), strict=True):
        assert_close(found, other, 1e-13)
        assert_close(np.diag(found), own, 1e-13)
        assert np.linalg.eigvalsh(found)[0] >= -1e-12 * np.trace(found)


def test_black_images():
    X = images(3)
    X[1] = 0
    X[2, :3] = 0
    for net in (NETS["pools"], NETS["mean"], nk.myrtle()):
        for found, expected in zip(net.kernel(X), reference.image_kernels(net, X), strict=True):
            assert_close(found, expected, 1e-9)


@pytest.mark.parametrize("name", ["flatten", "pools", "mean", "residual", "numpy"])
def test_float32(name):
    X, Z = images(4).astype(np.float32), images(3, seed=1).astype(np.float32)
    exact = NETS[name].kernel(X.astype(float), Z.astype(float))
    for found, expected in zip(NETS[name].kernel(X, Z), exact, strict=True):
        assert found.dtype == np.float32
        assert_close(found, expected, 1e-6)
    assert NETS[name].diag(X).ntk.dtype == np.float32


@pytest.mark.parametrize("name", ["flatten", "pools", "circular"])
def test_threads_give_the_same_bits(name):
    X, Z = images(6), images(5, seed=1)
    with nk.num_threads(1):
        whole = [*NETS[name].kernel(X), *NETS[name].kernel(X, Z), *NETS[name].diag(X)]
    for n_threads in (2, 5):
        with nk.num_threads(n_threads):
            again = [*NETS[name].kernel(X), *NETS[name].kernel(X, Z), *NETS[name].diag(X)]
        for found, expected in zip(again, whole, strict=True):
            assert_array_equal(found, expected)


@pytest.mark.parametrize("name", ["flatten", "pools", "numpy"])
@pytest.mark.parametrize("n", [1, 5, 40])
def test_blocks(name, n):
    net, X, Z = NETS[name], images(7), images(n, seed=1)
    for right in (None, Z):
        whole = net.kernel(X, right)
        for size in (1, 3, 100):
            out = tuple(np.zeros(whole.ntk.shape, order="F") for _ in range(2))
            net.kernel(X, right, out=out, block=size)
            for found, expected in zip(out, whole, strict=True):
                assert_close(found, expected, 1e-13)
        for which, part in net.kernel_blocks(X, right, rows=3):
            assert_close(part, whole.ntk[which], 1e-13)
    assert_array_equal(net.ntk(X, Z), net.kernel(X, Z).ntk)
    assert_close(net.nngp(X, Z), net.kernel(X, Z).nngp, 1e-14)


def test_no_images():
    X, none = images(2), images(0)
    for net in (NETS["flatten"], NETS["pools"]):
        assert net.ntk(none).shape == (0, 0)
        assert net.ntk(X, none).shape == (2, 0)
        assert net.ntk(none, X).shape == (0, 2)
        assert net.diag(none).ntk.shape == (0,)


def test_memmap(tmp_path):
    X = images(9).astype(np.float32)
    out = np.lib.format.open_memmap(tmp_path / "k.npy", "w+", np.float32, (9, 9))
    assert NETS["pools"].ntk(X, out=out, block=4) is out
    out.flush()
    assert_close(np.load(tmp_path / "k.npy"), NETS["pools"].ntk(X), 1e-6)


# --- what is refused ---


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: nk.Sequential(nk.Conv(), nk.Dense()),
            r"layer 1, Dense: .*a Flatten or GlobalAvgPool",
        ),
        (
            lambda: nk.Sequential(nk.Dense(), nk.Conv()),
            "layer 1, Conv: expected images, got flat rows",
        ),
        (
            lambda: nk.Sequential(nk.Flatten(), nk.AvgPool((2, 2))),
            "layer 1, AvgPool: expected images",
        ),
        (lambda: nk.Sequential(nk.Dense(), nk.GlobalAvgPool()), "layer 1, GlobalAvgPool: expected"),
        (
            lambda: nk.Sequential(nk.Conv(), nk.ReLU(), nk.AvgPool((2, 2)), nk.ReLU()),
            "layer 3, ReLU: .* Gaussian input.* follows a pool",
        ),
        (lambda: nk.Sequential(nk.AvgPool((2, 2)), nk.ReLU()), "layer 1, ReLU: .* follows a pool"),
        (
            lambda: nk.Sequential(
                nk.Conv(), nk.ReLU(), nk.GlobalAvgPool(), nk.Flatten(), nk.ReLU()
            ),
            "layer 4, ReLU: .* Gaussian input",
        ),
        (
            lambda: nk.Sequential(nk.Conv(), nk.Residual(nk.ReLU(), nk.Dense())),
            "layer 1, Residual: layer 1, Dense: expected flat rows",
        ),
        (
            lambda: nk.Sequential(nk.Dense(), nk.Residual(nk.ReLU(), nk.Conv())),
            "layer 1, Residual: layer 1, Conv: expected images",
        ),
        (
            lambda: nk.Sequential(nk.Conv(), nk.Residual(nk.Conv(), nk.Flatten())),
            "layer 1, Residual: expected a branch that turns images into images",
        ),
        (
            lambda: nk.Residual(nk.Conv(), nk.ReLU(), nk.AvgPool((1, 1))),
            "layer 1, ReLU: expected the branch of a Residual to end in a Dense or Conv",
        ),
        (lambda: nk.Conv((0, 3)), "filter_shape: expected an integer >= 1, got 0"),
        (lambda: nk.Conv(strides=(1, -1)), "strides: expected an integer >= 1, got -1"),
        (lambda: nk.Conv(padding="same"), "padding: expected one of"),
        (lambda: nk.Conv(w_std=-1.0), "w_std: expected a finite number"),
        (lambda: nk.AvgPool((2, 0)), "window: expected an integer >= 1, got 0"),
        (lambda: nk.AvgPool((2, 2), (0, 1)), "strides: expected an integer >= 1, got 0"),
        (lambda: nk.myrtle(6), r"depth: expected one of \(5, 7, 10\), got 6"),
        (lambda: nk.myrtle(5, "rleu"), "activation: expected one of"),
    ],
)
def test_networks_that_do_not_fit(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize("value", [3, "33", (3,), (3, 3, 3), None])
def test_shapes_are_pairs(value):
    with pytest.raises(TypeError, match="filter_shape: expected two integers"):
        nk.Conv(value)
    with pytest.raises(TypeError, match="window: expected two integers"):
        nk.AvgPool(value)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            (nk.Conv(), nk.ReLU(), nk.Conv((7, 2), padding="VALID"), nk.Flatten()),
            r"layer 2, Conv: expected images of at least \(7, 2\) pixels.*, got \(6, 5\)",
        ),
        (
            (nk.AvgPool((2, 2)), nk.AvgPool((4, 1)), nk.Flatten()),
            r"layer 1, AvgPool: expected images of at least \(4, 1\) pixels, got \(3, 2\)",
        ),
        (
            (nk.Conv(), nk.Residual(nk.ReLU(), nk.Conv(strides=(2, 2))), nk.Flatten()),
            r"layer 1, Residual: .* keeps the shape of images, got \(3, 3\) from \(6, 5\)",
        ),
    ],
)
def test_images_that_do_not_fit(layers, message):
    net = nk.Sequential(*layers)
    for call in (net.ntk, net.diag, net.kernel_blocks):
        with pytest.raises(ValueError, match=message):
            call(images())


@pytest.mark.parametrize("X", [np.ones((3, 4)), np.ones((3, 4, 4)), np.ones((2, 3, 4, 4, 1)), 1.0])
def test_what_is_no_array_of_images_is_refused(X):
    for call in (nk.myrtle().ntk, nk.myrtle().diag):
        with pytest.raises(ValueError, match=r"X: expected images of shape \(n, height"):
            call(X)


def test_bad_images_are_refused():
    X = images()
    bad = X.copy()
    bad[1, 0, 0, 0] = np.nan
    net = NETS["mean"]
    with pytest.raises(ValueError, match="Input Z contains NaN"):
        net.ntk(X, bad)
    with pytest.raises(ValueError, match=r"Z: expected images of shape \(6, 5, 2\) as in X, got"):
        net.ntk(X, images(2, 6, 6))
    with pytest.raises(ValueError, match=r"X: expected rows .* If these are images"):
        nk.mlp().ntk(X)
    with pytest.raises(ValueError, match="X: expected images"):
        net.ntk(X[:, :0])


def image_builder():
    return ImageBuilder(height=4, width=4, channels=1, lanes=LaneKind.COLUMNS, images=1)


def test_programs_that_do_not_fit_are_refused():
    X, panels, k = np.ones((1, 4, 4, 1)), np.ones((1, 4, 1, 1, 32)), np.zeros((1, 1))
    builder = image_builder()
    with pytest.raises(ValueError, match="add: expected a push before it"):
        builder.add()
    builder.push()
    with pytest.raises(ValueError, match="pool: expected no open push"):
        builder.pool(taps=(2, 2), strides=(2, 2))
    with pytest.raises(ValueError, match="finish: expected no open push"):
        builder.finish(Readout.MEAN)
    builder.conv(
        taps=(3, 3), strides=(1, 1), before=(0, 0), out=(2, 2), circular=False, w2=1.0, b2=0.0
    )
    with pytest.raises(ValueError, match="add: expected a branch that keeps the shape"):
        builder.add()
    builder = image_builder()
    builder.activation(DualKind.SIGN, (), np.ones((16, 2)), np.ones((16, 2)), False)
    program = builder.finish(Readout.MEAN)
    with pytest.raises(ValueError, match="activation: expected tables of 16 and 128 points"):
        program.run(X, panels, Pairing.ALL, k, None, 1)
    with pytest.raises(ValueError, match=r"panels: expected shape \(1, 4, 1, 1, 32\)"):
        program.run(X, panels[:, :3], Pairing.ALL, k, None, 1)
    with pytest.raises(ValueError, match=r"k: expected shape \(1, 1\)"):
        program.run(X, panels, Pairing.ALL, np.zeros((2, 1)), None, 1)
    with pytest.raises(TypeError):
        program.run(X, panels, "all", k, None, 1)
    with pytest.raises(TypeError):
        image_builder().finish("mean")


@pytest.mark.parametrize("last", [nk.GlobalAvgPool(), nk.Flatten()])
@pytest.mark.parametrize("activation", [nk.ReLU(), nk.Erf(), nk.GELU(), nk.Monomial(2)])
def test_images_that_overflow_are_refused(activation, last):
    net = nk.Sequential(nk.Conv((3, 3)), activation, nk.AvgPool((2, 2)), last, nk.Dense())
    X = np.random.default_rng(0).standard_normal((2, 4, 4, 1))
    for size in (1e155, 1e200, 1e300):
        for call in (net.ntk, net.diag, lambda X: net.ntk(X, X[:1])):
            with pytest.raises(ValueError, match="expected numbers that float64 can hold"):
                call(size * X)
    if activation.__class__ is not nk.Erf:
        with pytest.raises(ValueError, match="expected numbers that float32 can hold"):
            net.nngp((1e25 * X).astype(np.float32))
