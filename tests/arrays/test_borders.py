"""Arrays as they come, unaligned, of foreign byte order or odd strides, are taken or refused."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.lib.stride_tricks import as_strided

import nkfast as nk
from nkfast import _core

rng = np.random.default_rng(0)
X = rng.standard_normal((6, 8))
IMAGES = rng.standard_normal((4, 5, 5, 2))
Y = rng.standard_normal(6)


def unaligned(x):
    """The same numbers, a byte off."""
    x = np.ascontiguousarray(x)
    out = np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(x.shape)
    assert not out.flags.aligned
    return out


def swapped(x):
    return x.astype(x.dtype.newbyteorder())


def wide(x):
    """Every second entry of each axis of a larger array, backwards."""
    out = np.full([2 * n for n in x.shape], np.nan, x.dtype)
    view = out[tuple(slice(None, None, -2) for _ in x.shape)]
    view[...] = x
    return view


def single(x):
    """The first row, with a stride that leads nowhere."""
    return as_strided(x[:1], (1, *x.shape[1:]), (2**62, *x.strides[1:]))


def sparse(change):
    def make(x):
        S = sp.csr_array(x)
        S.data, S.indices, S.indptr = (change(v) for v in (S.data, S.indices, S.indptr))
        return S

    return make


FORMS = {"unaligned": unaligned, "swapped": swapped, "wide": wide, "single": single}
NET = nk.mlp(2, "gelu")
CONV = nk.Sequential(nk.Conv((3, 3)), nk.ReLU(), nk.GlobalAvgPool(), nk.Dense())
CALLS = {
    "nngp": lambda x: NET.nngp(x),
    "ntk": lambda x: NET.ntk(x, X.astype(x.dtype)),
    "features": lambda x: nk.NTKFeatures(NET, 64, random_state=0).fit(x).transform(x),
    "layerwise": lambda x: nk.NTKFeatures(
        NET, 64, construction="layerwise", random_state=0
    ).fit_transform(x),
    "nystroem": lambda x: nk.Nystroem(NET, 1, random_state=0).fit_transform(x),
    "sketch": lambda x: nk.sketch.CountSketch(16, random_state=0).fit_transform(x),
    "srht": lambda x: nk.sketch.SRHT(16, random_state=0).fit_transform(x),
    "tensor": lambda x: nk.sketch.TensorSketch(2, 16, random_state=0).fit_transform(x),
    "learner": lambda x: (
        nk.NTKRegressor(NET, method="exact", alpha=1.0).fit(x, Y[: x.shape[0]]).predict(x)
    ),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("call", CALLS)
def test_rows_in_any_form(call, form, dtype):
    x = FORMS[form](X.astype(dtype))
    np.testing.assert_array_equal(CALLS[call](x), CALLS[call](np.array(x, dtype, order="C")))


@pytest.mark.parametrize("form", ["unaligned", "swapped"])
@pytest.mark.parametrize("call", ["ntk", "features", "sketch", "srht"])
def test_sparse_rows_in_any_form(call, form):
    S = sparse(FORMS[form])(X * (X > 0))
    np.testing.assert_array_equal(CALLS[call](S), CALLS[call](sp.csr_array(X * (X > 0))))


@pytest.mark.parametrize("form", FORMS)
def test_images_in_any_form(form):
    x = FORMS[form](IMAGES)
    plain = np.array(x, np.float64, order="C")
    phi = nk.NTKFeatures(CONV, 32, random_state=0).fit(plain)
    np.testing.assert_array_equal(CONV.ntk(x), CONV.ntk(plain))
    np.testing.assert_array_equal(phi.transform(x), phi.transform(plain))


def test_an_output_in_any_form():
    expected = NET.ntk(X)
    for out in (wide(np.zeros((6, 6))), np.zeros(6 * 6 * 8 + 1, np.uint8)[1:].view(float)):
        out = out.reshape(6, 6)
        NET.ntk(X, out=out)
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("form", ["unaligned", "wide", "swapped"])
def test_a_transform_in_place_takes_plain_arrays_only(form):
    with pytest.raises(ValueError, match="out: expected"):
        nk.sketch.fwht(X[0], out=FORMS[form](X[0]))


def test_a_single_row_of_a_kernel_may_have_any_stride():
    memory = np.zeros(6)
    out = as_strided(memory, (1, 6), (2**62, 8))
    NET.ntk(X[:1], X, out=out)
    np.testing.assert_array_equal(memory, NET.ntk(X[:1], X)[0])


def test_the_core_takes_no_unaligned_array():
    with pytest.raises(TypeError):
        _core.fwht(unaligned(np.ones((1, 8, 1))), 1.0, 1)
    with pytest.raises(TypeError):
        _core.all_finite(unaligned(np.ones(8)), 1)


def test_the_core_refuses_points_without_columns():
    program = _core.KernelBuilder().finish()
    out = np.full((2, 2), 7.0)
    with pytest.raises(ValueError, match="one or more"):
        program.run_points(
            np.empty((2, 0)), np.empty((2, 0)), 1.0, _core.Destination(nngp=out, ntk=None), 1
        )


def corrupt(S, change):
    """The matrix with a part changed behind SciPy's back."""
    S = S.copy()
    change(S)
    return S


def cut(part):
    def change(S):
        setattr(S, part, getattr(S, part)[:-1])

    return change


def put(part, at, value):
    def change(S):
        getattr(S, part)[at] = value

    return change


LONG = 2**31 - 1
CORRUPT = {
    "a column too large": put("indices", 2, 8),
    "a column far too large": put("indices", 2, LONG),
    "a negative column": put("indices", 0, -1),
    "a first start above 0": put("indptr", 0, 1),
    "a start beyond the entries": put("indptr", 3, LONG),
    "a negative start": put("indptr", 3, -5),
    "descending starts": put("indptr", 3, 1),
    "an end beyond the entries": put("indptr", -1, LONG),
    "too few starts": cut("indptr"),
    "too few columns": cut("indices"),
    "too few values": cut("data"),
}


@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize("make", [sp.csr_array, sp.csr_matrix, sp.csc_array, sp.bsr_array])
@pytest.mark.parametrize("how", CORRUPT)
def test_corrupt_sparse_rows_are_refused(how, make, index):
    S = make(np.round(X, 1) + 1)
    S.indices, S.indptr = S.indices.astype(index), S.indptr.astype(index)
    S = corrupt(S, CORRUPT[how])
    for call in ("nngp", "ntk", "features", "sketch", "srht", "tensor"):
        with pytest.raises(ValueError, match="expected"):
            CALLS[call](S)
    with pytest.raises(ValueError, match="expected"):
        nk.sketch.CountSketch(4, random_state=0).fit_rows(X).sketch_rows(S)


@pytest.mark.parametrize("part", ["row", "col"])
@pytest.mark.parametrize("value", [-1, 8, LONG])
def test_corrupt_coordinates_are_refused(part, value):
    S = sp.coo_array(X)
    getattr(S, part)[3] = value
    with pytest.raises(ValueError, match="X: expected indices within shape"):
        NET.ntk(S)


def test_other_sparse_formats_are_taken():
    for make in (sp.dok_array, sp.lil_array, sp.dia_array, sp.bsr_array, sp.coo_array):
        np.testing.assert_allclose(NET.ntk(make(X)), NET.ntk(X), 1e-12)
    S = sp.lil_array(X)
    S.rows[0][0] = 99
    with pytest.raises(ValueError, match="indices in"):
        NET.ntk(S)
