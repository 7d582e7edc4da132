"""Responses of random whitened patches against plain NumPy formulas."""

import pickle
from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import nkfast as nk
from nkfast import _core
from nkfast.images import RandomPatches

SHAPE = (9, 11, 3)


def images(n=40, shape=SHAPE, seed=0):
    """Smooth random images."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, *shape))
    return 10 + x + np.roll(x, 1, 1) + np.roll(x, 1, 2)


def every_patch(x, size, stride=1):
    """Return all patches of images, (n, rows, cols, size, size, channels)."""
    found = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))
    return np.moveaxis(found[:, ::stride, ::stride], 3, -1)


def pooled(x, grid):
    """Return means over a grid of rectangles."""
    edges = [[round(n * i / grid) for i in range(grid + 1)] for n in x.shape[1:3]]
    rows, cols = (list(pairwise(e)) for e in edges)
    cells = [[x[:, a:b, c:d].mean(axis=(1, 2)) for c, d in cols] for a, b in rows]
    return np.moveaxis(np.array(cells), 2, 0)


def reference(phi, x):
    """Return what `phi` makes of images, from its fitted attributes, by the formula."""
    p = every_patch(x.astype(float), phi.patch_size, phi.stride)
    p = p.reshape(*p.shape[:3], -1)
    p = p - p.mean(axis=-1, keepdims=True)
    q = p / np.sqrt(p.var(axis=-1, keepdims=True) + phi.contrast_)
    r = (q - phi.mean_) @ phi.components_.T
    both = [np.maximum(sign * r - phi.threshold, 0) for sign in (1, -1)]
    return np.concatenate([pooled(part, phi.grid) for part in both], axis=-1)


@pytest.mark.simd
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("n_filters", "size", "grid", "stride"),
    [(1, 1, 1, 1), (7, 3, 2, 1), (32, 4, 3, 1), (33, 2, 2, 3), (100, 9, 1, 1)],
)
def test_formula(n_filters, size, grid, stride, dtype):
    x, new = images(), images(5, seed=1)
    if size == 1:  # a cell of more patches than are taken at once
        x, new = images(20, (20, 20, 3)), images(3, (20, 20, 3), seed=1)
    phi = RandomPatches(n_filters, size, grid=grid, stride=stride, random_state=0, n_patches=2000)
    Z = phi.fit(x).transform(new.astype(dtype))
    expected = reference(phi, new.astype(dtype))
    assert Z.shape == expected.shape == (len(new), grid, grid, 2 * n_filters)
    assert Z.dtype == dtype
    assert_allclose(Z, expected, atol=(1e-12 if dtype == "float64" else 1e-5) * expected.max())


def test_filters_are_whitened_patches():
    """With all patches of equal chance, mean and covariance are those of all."""
    x = images(60)
    phi = RandomPatches(50, 3, n_patches=200_000, contrast=0.01, random_state=0).fit(x)
    p = every_patch(x, 3).reshape(-1, 27)
    assert_allclose(phi.contrast_, 0.01 * p.var(axis=1).mean(), rtol=0.02)
    p = p - p.mean(axis=1, keepdims=True)
    q = p / np.sqrt(p.var(axis=1, keepdims=True) + phi.contrast_)
    assert_allclose(phi.mean_, q.mean(axis=0), atol=0.02)
    values, V = np.linalg.eigh(np.cov(q.T, ddof=0))
    whitening = (V / np.sqrt(np.maximum(values, 0) + 0.1 * values.mean())) @ V.T
    z = (q - q.mean(axis=0)) @ whitening
    # Undo the whitening: filters have norm 1 and point where some patch does.
    filters = phi.components_ @ np.linalg.pinv(whitening)
    assert_allclose(np.linalg.norm(filters, axis=1), 1, atol=0.02)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    assert np.all((filters @ z.T).max(axis=1) > 0.99)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_images_of_any_scale(dtype):
    x, new = images().astype(dtype), images(4, seed=1).astype(dtype)
    phi = RandomPatches(20, 3, random_state=0, n_patches=1000)
    expected = phi.fit(x).transform(new)
    for power in (-100, -30, 60) if dtype == "float32" else (-490, -30, 300):
        by = np.ldexp(np.ones(1, dtype), power)
        other = clone(phi).fit(x * by)
        assert_array_equal(other.transform(new * by), expected)
    # Brighter than those of `fit`: contrast is normalised; far darker: nothing is left of it.
    bright = phi.transform(new * dtype_of(1e12, dtype))
    plain = clone(phi).set_params(contrast=0.0).fit(x)
    assert bright.max() < 3 * expected.max()
    assert np.isfinite(plain.transform(new * dtype_of(1e12, dtype))).all()
    assert_array_equal(plain.transform(np.full((1, *SHAPE), 0.1, dtype)), blank(plain, dtype))
    with pytest.raises(ValueError, match="X: expected images with entries up to a size in"):
        phi.transform(new.astype(float) * 1e160)


def dtype_of(value, dtype):
    return np.dtype(dtype).type(value)


def blank(phi, dtype):
    """Return what images without contrast become: responses to -mean alone."""
    r = -(phi.components_ @ phi.mean_).astype(dtype)
    both = np.concatenate([np.maximum(s * r - dtype_of(phi.threshold, dtype), 0) for s in (1, -1)])
    return np.broadcast_to(both, (1, phi.grid, phi.grid, len(both)))


def test_threads_batches_and_forms_give_the_same_bits():
    x = images()
    phi = RandomPatches(40, 3, random_state=0, n_patches=1000).fit(x)
    expected = phi.transform(x)
    for n in (1, 3, 5):
        with nk.num_threads(n):
            assert_array_equal(phi.transform(x), expected)
    assert_array_equal(phi.transform(x[7:9]), expected[7:9])
    flat = clone(phi).set_params(image_shape=SHAPE).fit(x.reshape(40, -1))
    assert_array_equal(flat.transform(x.reshape(40, -1)), expected)
    assert_array_equal(phi.transform(np.asfortranarray(x)), expected)
    assert_array_equal(phi.transform(x.tolist()), expected)
    assert_array_equal(clone(phi).fit(x).transform(x), expected)
    assert_array_equal(pickle.loads(pickle.dumps(phi)).transform(x), expected)
    assert phi.transform(x[:0]).shape == (0, 2, 2, 80)
    assert phi.transform(x.astype(np.uint8)).dtype == np.float64


def test_many_images_are_sampled(tmp_path):
    """Of an array, mapped from a file, too, only the images that patches come from are read."""
    path = tmp_path / "images.npy"
    rng = np.random.default_rng(0)
    np.save(path, rng.integers(0, 256, (6000, 4, 4, 1), np.uint8))
    x = np.load(path, mmap_mode="r")
    phi = RandomPatches(10, 3, grid=1, random_state=0).fit(x)
    assert_array_equal(phi.transform(x[:5]), clone(phi).fit(np.load(path)).transform(x[:5]))


def test_errors():
    x = images()
    for name, value in [
        ("n_filters", 0),
        ("n_filters", 100_000),  # more than n_patches
        ("patch_size", 10),  # than the images
        ("patch_size", 0),
        ("grid", 8),
        ("stride", 0),
        ("threshold", -1.0),
        ("contrast", -1.0),
        ("regularization", np.nan),
    ]:
        at_fault = "n_patches" if value == 100_000 else name
        with pytest.raises(ValueError, match=f"{at_fault}: expected"):
            RandomPatches(random_state=0).set_params(**{name: value}).fit(x)
    with pytest.raises(TypeError, match="threshold: expected a real number, got 'a'"):
        RandomPatches(threshold="a").fit(x)
    with pytest.raises(TypeError, match="X: expected a dense array of images, got a sparse"):
        RandomPatches().fit(sp.csr_array(np.ones((4, 60))))
    with pytest.raises(ValueError, match="X contains NaN"):
        RandomPatches().fit(np.where(x > 12, np.nan, x))
    with pytest.raises(ValueError, match="whose patches are not constant, got 0 such patches"):
        RandomPatches(5, 3).fit(np.full((4, *SHAPE), 0.1))
    with pytest.raises(ValueError, match="image_shape"):
        RandomPatches(5, 3).fit(x.reshape(40, -1))
    phi = RandomPatches(5, 3, n_patches=100, random_state=0)
    with pytest.raises(NotFittedError):
        phi.transform(x)
    with pytest.raises(ValueError, match=r"X: expected images of shape \(9, 11, 3\), got"):
        phi.fit(x).transform(x[:, 1:])


def test_the_core_checks():
    """What could read beyond the images is refused by the core itself."""
    x, filters = np.zeros((2, 4, 5, 1)), np.zeros((4, 3))
    good = {
        "patch": (2, 2),
        "stride": 1,
        "row_edges": [0, 3],
        "col_edges": [0, 2, 4],
        "unit": 1.0,
        "ridge": 1.0,
        "threshold": 0.0,
        "n_threads": 1,
    }
    out = np.zeros((2, 1, 2, 6))
    _core.rectified_patches(x, filters, np.zeros(3), out, **good)
    for name, value, message in [
        ("patch", (5, 2), "patch"),
        ("patch", (0, 2), "patch"),
        ("stride", 0, "patch"),
        ("stride", 2, "edges"),
        ("row_edges", [0, 4], "edges"),
        ("row_edges", [], "edges"),
        ("col_edges", [0, 2, 2, 4], "edges"),
        ("col_edges", [1, 4], "edges"),
    ]:
        with pytest.raises(ValueError, match=f"{message}: expected"):
            _core.rectified_patches(x, filters, np.zeros(3), out, **(good | {name: value}))
    with pytest.raises(ValueError, match="out: expected shape"):
        _core.rectified_patches(x, filters, np.zeros(3), out[..., 1:].copy(), **good)
    with pytest.raises(ValueError, match="shift: expected shape"):
        _core.rectified_patches(x, filters, np.zeros(4), out, **good)
    with pytest.raises(ValueError, match="filters: expected shape"):
        _core.rectified_patches(x, filters[1:], np.zeros(3), out, **good)


def test_better_than_pixels():
    """On digits, a linear model of the responses beats one of the pixels."""
    X, y = load_digits(return_X_y=True)
    train, test = slice(0, 1000), slice(1000, None)
    flat = FunctionTransformer(lambda z: z.reshape(len(z), -1))
    plain = make_pipeline(StandardScaler(), RidgeClassifier(10.0))
    patches = RandomPatches(200, 4, image_shape=(8, 8, 1), random_state=0)
    model = make_pipeline(patches, flat, StandardScaler(), RidgeClassifier(10.0))
    scores = [m.fit(X[train], y[train]).score(X[test], y[test]) for m in (plain, model)]
    assert scores[1] > scores[0] + 0.03


def test_before_a_network():
    """The result is images: for channels' standardisation, kernels and features."""
    X, y = load_digits(return_X_y=True)
    net = nk.Sequential(nk.Flatten(), nk.Dense(), nk.ReLU(), nk.Dense())
    patches = RandomPatches(64, 4, image_shape=(8, 8, 1), random_state=0)
    learner = nk.NTKClassifier(net, 512, random_state=0)
    model = make_pipeline(patches, nk.images.ChannelStandardizer(), learner)
    assert model.fit(X[:1000], y[:1000]).score(X[1000:], y[1000:]) > 0.95


def test_what_was_fitted_stays():
    """Neither parameters that are set later nor a fit that fails change it."""
    x = images()
    phi = RandomPatches(20, 3, n_patches=500, random_state=0).fit(x)
    expected = phi.transform(x)
    phi.set_params(patch_size=2, grid=3, stride=2, threshold=1.0)
    assert_array_equal(phi.transform(x), expected)
    with pytest.raises(ValueError, match="whose patches are not constant"):
        phi.fit(np.full_like(x, 0.1))
    assert_array_equal(phi.transform(x), expected)
