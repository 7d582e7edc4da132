"""Where exact kernels are written: the caller's arrays, files, blocks of rows."""

import subprocess
import sys
from collections import namedtuple

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

import nkfast as nk
from nkfast._core import Destination, DualKind, KernelBuilder
from nkfast.activations import ReLU
from nkfast.kernels import _rows

NET = nk.mlp(depth=2, w_std=1.3, b_std=0.2)


class NumPyReLU(ReLU):
    """A ReLU that the core does not know."""

    def _dual_map(self, p, q, tol, span):
        return None


NETS = {"core": NET, "numpy": nk.mlp(2, NumPyReLU(), 1.3, 0.2)}


@pytest.fixture
def points():
    rng = np.random.default_rng(0)
    return rng.standard_normal((301, 7)), rng.standard_normal((130, 7))


def strided(shape, dtype):
    return np.zeros((2 * shape[0], 3 * shape[1]), dtype)[::2, ::3]


def reversed_rows(shape, dtype):
    return np.zeros(shape, dtype)[::-1]


def inner(shape, dtype):
    return np.zeros((shape[0] + 2, shape[1] + 3), dtype)[1:-1, 2:-1]


def fortran(shape, dtype):
    return np.zeros(shape, dtype, order="F")


def unaligned(shape, dtype):
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.zeros(size + 1, np.uint8)[1:].view(dtype).reshape(shape)


def swapped(shape, dtype):
    return np.zeros(shape, np.dtype(dtype).newbyteorder())


class SlicesOnly:
    """What an HDF5 data set can do."""

    def __init__(self, shape, dtype):
        self.shape, self.dtype = shape, np.dtype(dtype)
        self._values = np.zeros(shape, dtype)

    def __setitem__(self, index, value):
        assert all(isinstance(part, slice) for part in index)
        self._values[index] = value

    def __array__(self, dtype=None, copy=None):
        return self._values


MAKERS = [np.zeros, inner, reversed_rows, strided, fortran, unaligned, swapped, SlicesOnly]


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("block", [None, 64, 97])
def test_any_array(net, make, dtype, block, points):
    X, Z = points
    net = NETS[net]
    for right, expected in ((None, NET.kernel(X)), (Z, NET.kernel(X, Z))):
        out = make(expected.ntk.shape, dtype)
        assert net.ntk(X, right, out=out, block=block) is out
        rtol = 1e-12 if dtype == np.float64 else 1e-7
        assert_allclose(np.asarray(out), expected.ntk, rtol=rtol)
        if right is None:
            assert_array_equal(np.asarray(out), np.asarray(out).T)
            assert_array_equal(np.diag(np.asarray(out)), net.diag(X).ntk.astype(dtype))


def test_nothing_around_the_array_is_touched(points):
    X, Z = points
    whole = np.full((305, 140), 7.0)
    NET.ntk(X, Z, out=whole[2:-2, 3:133])
    assert_array_equal(whole[2:-2, 3:133], NET.ntk(X, Z))
    whole[2:-2, 3:133] = 7
    assert np.all(whole == 7)


def test_two_arrays(points):
    X, Z = points
    shape, Kernels = (301, 130), namedtuple("Kernels", ["ntk", "nngp"])
    expected = NET.kernel(X, Z)
    pair = [np.zeros(shape), np.zeros(shape, np.float32)]  # of unlike dtypes
    found = NET.kernel(X, Z, out=pair)
    assert found.nngp is pair[0]
    assert found.ntk is pair[1]
    assert_array_equal(found.nngp, expected.nngp)
    assert_array_equal(found.ntk, expected.ntk.astype(np.float32))
    named = Kernels(np.zeros(shape), np.zeros(shape))
    found = NET.kernel(X, Z, out=named)
    assert found.ntk is named.ntk
    assert_array_equal(named.ntk, expected.ntk)
    one = (np.zeros(shape),)
    assert NET.kernel(X, Z, get=("ntk",), out=one).ntk is one[0]


@pytest.mark.parametrize(
    ("out", "error", "message"),
    [
        (np.zeros((3, 2)), ValueError, r"out: expected shape \(3, 3\), got \(3, 2\)"),
        (np.zeros((3, 3), int), TypeError, "out: expected dtype float32 or float64, got int64"),
        (np.zeros((3, 3), np.float16), TypeError, "out: expected dtype float32 or float64"),
        (np.broadcast_to(0.0, (3, 3)), ValueError, "out: expected a writable array, got a read"),
        ([[0.0] * 3] * 3, TypeError, "out: expected an array, got list"),
    ],
)
def test_bad_out_is_refused(out, error, message):
    with pytest.raises(error, match=message):
        NET.ntk(np.eye(3), out=out)


def test_bad_pairs_are_refused():
    X, one = np.eye(3), np.zeros((3, 3))
    with pytest.raises(ValueError, match=r"out: expected an array for each of .*, got ndarray"):
        NET.kernel(X, out=one)
    with pytest.raises(ValueError, match=r"out: expected an array for each of .*, got tuple"):
        NET.kernel(X, out=(one,))
    with pytest.raises(ValueError, match="out: expected memory of its own"):
        NET.kernel(X, out=(one, one))
    with pytest.raises(ValueError, match="out: expected memory of its own"):
        NET.ntk(X, out=X)
    for block in (0, -1):
        with pytest.raises(ValueError, match="block: expected an integer >= 1"):
            NET.ntk(X, block=block)


def test_what_cannot_fit_into_memory_is_refused(little_memory):
    little_memory(8192)
    X = np.ones((30, 2))
    message = r"X: expected what fits into memory, got 2 kernels of shape \(30, 30\)"
    with pytest.raises(ValueError, match=message):
        NET.kernel(X)
    assert NET.kernel(X, get="ntk").shape == (30, 30)


# --- files ---


@pytest.mark.parametrize("mode", ["w+", "r+"])
@pytest.mark.parametrize("net", NETS)
def test_memmap(tmp_path, monkeypatch, points, mode, net):
    X, _ = points
    monkeypatch.setattr(
        "nkfast.kernels._outputs._PAGES_BYTES", 5000
    )  # let pages go after each block
    path = tmp_path / "kernel"
    np.full((301, 301), np.nan).tofile(path)
    out = np.memmap(path, np.float64, mode, shape=(301, 301))
    NETS[net].ntk(X, out=out, block=50)
    expected = NETS[net].ntk(X, block=50)
    assert_array_equal(out, expected)
    del out
    assert_array_equal(np.fromfile(path).reshape(301, 301), expected)


def test_private_memmap_keeps_its_pages(tmp_path, monkeypatch, points):
    monkeypatch.setattr("nkfast.kernels._outputs._PAGES_BYTES", 5000)
    path = tmp_path / "kernel"
    np.zeros((301, 301)).tofile(path)
    out = np.memmap(path, np.float64, "c", shape=(301, 301))
    NET.ntk(points[0], out=out, block=50)
    assert_array_equal(out, NET.ntk(points[0], block=50))
    assert not np.fromfile(path).any()


PEAK = """
import resource, sys, numpy as np, nkfast as nk
n = 9000
X = np.random.default_rng(0).standard_normal((n, 20)).astype(np.float32)
net = nk.mlp(depth=1)
net.ntk(X[:500])
out = np.memmap(sys.argv[1], np.float32, "w+", shape=(n, n))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
net.ntk(X, out=out)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, out[3, -1] == out[-1, 3])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux")
def test_kernel_in_a_file_takes_little_memory(tmp_path):
    """A 309 MiB kernel goes through some 100 MiB."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path / "kernel")],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    peak, symmetric = done.stdout.split()
    assert symmetric == "True"
    assert int(peak) <= 200 * 1024


# --- blocks of rows ---


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("rows", [1, 100, 300, 301, 5000])
def test_blocks_of_rows(net, rows, points):
    X, Z = points
    net = NETS[net]
    for right, whole in ((None, net.kernel(X)), (Z, net.kernel(X, Z))):
        at = 0
        for which, block in net.kernel_blocks(X, right, get=("ntk", "nngp"), rows=rows):
            assert (which.start, which.stop) == (at, min(at + rows, 301))
            at = which.stop
            assert block._fields == ("ntk", "nngp")
            assert_allclose(block.ntk, whole.ntk[which], rtol=1e-12)
            assert_allclose(block.nngp, whole.nngp[which], rtol=1e-12)
        assert at == 301
    which, block = next(net.kernel_blocks(X.astype(np.float32), get="nngp"))
    assert which == slice(0, 301)
    assert block.dtype == np.float32
    assert_array_equal(np.diag(block), net.diag(X.astype(np.float32)).nngp)


def test_blocks_of_nothing():
    assert list(NET.kernel_blocks(np.empty((0, 3)))) == []
    (_, block), *more = NET.kernel_blocks(np.eye(3), np.empty((0, 3)))
    assert block.shape == (3, 0)
    assert not more


def test_bad_blocks_are_refused_at_once():
    with pytest.raises(ValueError, match="rows: expected an integer >= 1, got 0"):
        NET.kernel_blocks(np.eye(3), rows=0)
    with pytest.raises(ValueError, match="Z: expected 3 features"):
        NET.kernel_blocks(np.eye(3), np.eye(2))
    with pytest.raises(ValueError, match="get: expected"):
        NET.kernel_blocks(np.eye(3), get="NTK")


# --- ways through ---


@pytest.mark.simd
@pytest.mark.parametrize("n", [1, 31, 64, 65, 257, 300])
@pytest.mark.parametrize("d", [1, 3, 300])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_all_ways_agree(n, d, dtype):
    """Tiles of the core, given products (sparse rows, many features) and NumPy."""
    X = np.random.default_rng(n).standard_normal((n, d)).astype(dtype)
    X[np.abs(X) < 0.5] = 0
    Z = X[::-1][:200] + 1
    for right in (None, Z):
        whole = NETS["numpy"].kernel(X, right)
        sparse = NET.kernel(sp.csr_array(X), None if right is None else sp.csr_array(right))
        mixed = NET.kernel(sp.csr_array(X), X if right is None else right)
        for found in (NET.kernel(X, right), NET.kernel(X, right, block=70), sparse, mixed):
            for a, b in zip(found, whole, strict=True):
                assert a.dtype == dtype
                assert_allclose(a, b, rtol=1e-11 if dtype == np.float64 else 2e-7)


def test_many_features(points, monkeypatch):
    X, Z = points
    whole = [*NET.kernel(X), *NET.kernel(X, Z)]
    monkeypatch.setattr(_rows, "_TILED_FEATURES", 5)
    for found, expected in zip([*NET.kernel(X), *NET.kernel(X, Z)], whole, strict=True):
        assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_threads_give_the_same_bits(n_threads, points):
    X, Z = points
    with nk.num_threads(1):
        whole = [*NET.kernel(X), *NET.kernel(X, Z)]
    with nk.num_threads(n_threads):
        for found, expected in zip([*NET.kernel(X), *NET.kernel(X, Z)], whole, strict=True):
            assert_array_equal(found, expected)


# --- the core's programs ---


def deviations(p):
    return np.stack([np.sqrt(p), 1 / np.sqrt(p)], axis=1)


@pytest.mark.simd
def test_residual_connection():
    """K + K_branch(K), Theta + Theta_branch(K, Theta), nested."""
    X = np.random.default_rng(0).standard_normal((100, 5))
    p0 = np.einsum("ij,ij->i", X, X) / 5

    def dense(w2, b2, k, theta):
        return w2 * k + b2, w2 * theta + w2 * k + b2

    def relu(p, k, theta):
        value, slope = nk.ReLU()._pair(p[:, None], p[None, :], k)
        return value, theta * slope

    k, theta = dense(1.5, 0.1, X @ X.T / 5, 0)
    p = 1.5 * p0 + 0.1
    k1, theta1 = dense(0.7, 0.2, *relu(p, k, theta))
    k2, theta2 = dense(2.0, 0.3, k1, theta1)
    k, theta = k + k1 + k2, theta + theta1 + theta2

    builder = KernelBuilder()
    builder.affine(1.5, 0.1)
    builder.push()
    builder.activation(DualKind.RECTIFIER, (0.0, 1.0), deviations(p), deviations(p))
    builder.affine(0.7, 0.2)
    builder.push()
    builder.affine(2.0, 0.3)
    builder.add()
    builder.add()
    found = np.zeros((100, 100)), np.zeros((100, 100))
    to = Destination(nngp=found[0], ntk=found[1], symmetric=True)
    builder.finish().run_points(X, X, 0.2, to, 2)
    assert_allclose(found[0], k, rtol=1e-7)
    assert_allclose(found[1], theta, rtol=1e-7)
    off = ~np.eye(100, dtype=bool)
    assert_allclose(found[1][off], theta[off], rtol=1e-12, atol=1e-14)


def test_program_starts_with_a_residual_connection():
    X = np.eye(3)
    builder = KernelBuilder()
    builder.push()
    builder.affine(2.0, 0.0)
    builder.add()
    found = np.zeros((3, 3)), np.zeros((3, 3))
    builder.finish().run_points(X, X, 1.0, Destination(nngp=found[0], ntk=found[1]), 1)
    assert_array_equal(found[0], 3 * X)
    assert_array_equal(found[1], 2 * X)


def test_programs_that_do_not_fit_are_refused():
    X, out = np.eye(3), np.zeros((3, 3))
    builder = KernelBuilder()
    with pytest.raises(ValueError, match="add: expected a push before it"):
        builder.add()
    builder.push()
    with pytest.raises(ValueError, match="push: expected an add after it"):
        builder.finish()
    builder.add()
    program = builder.finish()
    for to, match in [
        (Destination(nngp=out[:2], ntk=None), r"out: expected shape \(3, 3\), got \(2, 3\)"),
        (Destination(nngp=out.T, ntk=None), "out: expected aligned rows"),
        (Destination(nngp=out, ntk=out.astype(np.float32)), "out: expected aligned rows"),
    ]:
        with pytest.raises(ValueError, match=match):
            program.run_points(X, X, 1.0, to, 1)
    with pytest.raises(ValueError, match="symmetric: expected as many rows as columns"):
        program.run_points(X, X[:2], 1.0, Destination(nngp=out, ntk=None, symmetric=True), 1)
    builder = KernelBuilder()
    builder.activation(DualKind.SIGN, (), np.ones((2, 2)), np.ones((2, 2)))
    with pytest.raises(ValueError, match="activation: expected tables of 3 and 3 points, got 2"):
        builder.finish().run_points(X, X, 1.0, Destination(nngp=out, ntk=None), 1)


@pytest.mark.simd
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_results_begin_with_a_line_of_the_caches(dtype):
    """There the mirror image goes past the caches; elsewhere it has the same values."""
    n = 544  # whole lines in every row
    X = np.random.default_rng(0).standard_normal((n, 5)).astype(dtype)
    found = NET.kernel(X)
    for K in found:
        assert K.ctypes.data % 64 == 0
        assert np.array_equal(K, K.T)
    apart = [np.empty(n * n + 1, dtype)[1:].reshape(n, n) for _ in found]
    NET.kernel(X, out=apart)
    for K, other in zip(found, apart, strict=True):
        assert np.array_equal(K, other)
