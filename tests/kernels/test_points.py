"""Points that are prepared once, for several kernels."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

import nkfast as nk
from activation_cases import CASES
from nkfast.kernels import _image_points, _points, prepare

rng = np.random.default_rng(0)
ROWS = rng.standard_normal((40, 6)) * np.exp(rng.standard_normal((40, 1)))
IMAGES = rng.random((7, 6, 6, 2))
OWN = nk.Elementwise(np.arctan)
NETS = {
    "relu": (nk.mlp(2, b_std=0.1), ROWS),
    "tanh": (nk.mlp(2, "tanh"), ROWS),
    "own": (nk.mlp(1, OWN), ROWS),
    "residual": (nk.Sequential(nk.Dense(), nk.Residual(nk.GELU(), nk.Dense())), ROWS),
    "sparse": (nk.mlp(2, "erf"), sp.csr_array(ROWS * (ROWS > 0))),
    "conv": (nk.Sequential(nk.Conv(), nk.ReLU(), nk.Flatten(), nk.Dense()), IMAGES),
    "pooled": (nk.myrtle(5), np.kron(IMAGES, np.ones((1, 2, 2, 1)))),
}


@pytest.mark.parametrize("name", NETS)
def test_prepared_points_give_the_same_kernels(name):
    net, X = NETS[name]
    points, cut = prepare(net, X), slice(1, 5)
    for found, expected in (
        (net.kernel(points), net.kernel(X)),
        (net.kernel(points, points), net.kernel(X)),
        (net.kernel(points[cut], points), net.kernel(X[cut], X)),
        (net.kernel(X[cut], points), net.kernel(X[cut], X)),
        (net.kernel(points, X[cut]), net.kernel(X, X[cut])),
        (net.diag(points), net.diag(X)),
        (net.diag(points[cut]), net.diag(X[cut])),
    ):
        for one, other in zip(found, expected, strict=True):
            assert_allclose(one, other, rtol=1e-12, atol=1e-13 * np.abs(other).max())
    assert_array_equal(points[cut][1:3].X.shape, X[2:4].shape)


def test_of_two_dtypes_the_finer_one_counts():
    net, X = nk.mlp(2, "tanh"), ROWS.astype(np.float32)
    points = prepare(net, X)
    assert net.ntk(points).dtype == np.float32
    expected = net.ntk(X, X.astype(np.float64))
    assert_allclose(net.ntk(points, X.astype(np.float64)), expected, rtol=1e-12)
    images = IMAGES.astype(np.float32)
    conv = nk.Sequential(nk.Conv(), nk.Tanh(), nk.AvgPool((2, 2)), nk.Conv(), nk.GlobalAvgPool())
    found = conv.ntk(prepare(conv, images), images.astype(np.float64))
    assert_allclose(found, conv.ntk(images, images.astype(np.float64)), rtol=1e-12)


def test_points_of_another_network_are_refused():
    points = prepare(nk.mlp(2), ROWS)
    assert prepare(nk.mlp(2), points) is points
    with pytest.raises(ValueError, match="X: expected points prepared for this network"):
        nk.mlp(3).ntk(points)
    with pytest.raises(ValueError, match="Z: expected points prepared for this network"):
        nk.mlp(3).ntk(ROWS, points)
    with pytest.raises(ValueError, match="Z: expected 6 features as in X, got 5"):
        nk.mlp(2).ntk(points, ROWS[:, :5])


def count_calls(monkeypatch, kind, method):
    calls = []
    original = getattr(kind, method)

    def counted(self, *args, **options):
        calls.append(len(self.X) if hasattr(self, "X") else None)
        return original(self, *args, **options)

    monkeypatch.setattr(kind, method, counted)
    return calls


def test_landmarks_of_images_are_chosen_in_one_walk(monkeypatch):
    calls = count_calls(monkeypatch, _image_points.ImagePoints, "_walk")
    net = nk.Sequential(nk.Conv(), nk.ReLU(), nk.AvgPool((2, 2)), nk.Conv(), nk.GlobalAvgPool())
    phi = nk.Nystroem(net, 4, selection="kmeans++", random_state=0).fit(IMAGES)
    # All of them once, the landmarks, and those whose missing diagonal is measured, with features.
    assert calls == [7, 4, 7, 7]
    phi.transform(IMAGES)
    assert calls == [7, 4, 7, 7, 7]


def test_the_other_side_is_prepared_once(monkeypatch):
    model = nk.NTKRegressor(nk.mlp(1), method="exact", alpha=0.1, block_size=8)
    model.fit(ROWS, ROWS[:, 0])
    phi = nk.Nystroem(nk.mlp(1), 30, random_state=0).fit(ROWS)
    monkeypatch.setattr("nkfast.features._nystroem._BLOCK_ENTRIES", 8 * 30)
    calls = count_calls(monkeypatch, _points.RowPoints, "__init__")
    model.predict(ROWS)
    phi.transform(ROWS)
    assert len(calls) == 2 * 5  # the blocks, and nothing for what was fitted


def test_tables_are_kept_where_they_are_small(monkeypatch):
    net = nk.mlp(1, "tanh")
    points = prepare(net, ROWS)
    expected = net.ntk(points)
    kept = dict(points._tables)
    assert kept
    assert_array_equal(net.ntk(points), expected)
    assert points._tables.keys() == kept.keys()
    monkeypatch.setattr(_points, "TABLE_BYTES", 100)
    large = prepare(net, ROWS)
    assert_allclose(net.ntk(large), expected, rtol=1e-13)
    assert not large._tables


def test_tables_of_one_range_of_variances_are_kept_at_a_time():
    net, points = nk.mlp(1, "tanh"), prepare(nk.mlp(1, "tanh"), ROWS)
    for scale in (1.0, 2.0, 1.0):
        expected = net.ntk(scale * ROWS[:5], ROWS)
        assert_allclose(net.ntk(scale * ROWS[:5], points), expected, rtol=1e-12)
        assert set(points._tables) == {(0, "right")}


# That of a cosine behind a jump is refused where variances reach down to zero.
@pytest.mark.parametrize("activation", sorted(CASES.keys() - {"own step cosine"}))
def test_the_first_point_may_be_zero(activation):
    """Tables of a side are made beside one point of the other, whatever that is."""
    net = nk.Sequential(nk.Dense(), CASES[activation][0], nk.Dense(0.8))
    X = np.random.default_rng(0).standard_normal((6, 3))
    Z = np.concatenate([np.zeros((2, 3)), X])
    own = net.ntk(X.copy(), X.copy())
    close = {"rtol": 0, "atol": 1e-9 * np.abs(own).max()}
    assert_allclose(net.ntk(Z, X)[2:], own, **close)
    assert_allclose(net.ntk(X, Z)[:, 2:], own, **close)
    assert_allclose(net.ntk(Z[:1], X), net.ntk(Z, X)[:1], **close)
