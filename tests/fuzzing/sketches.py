"""Sketches against dense definitions: matrices, linearity, products of rows; dense as CSR."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.linalg import hadamard

import nkfast as nk
from nkfast.sketch import OSNAP, SRHT, CountSketch, PolySketch, TensorSketch, TensorSRHT

from . import data, forms
from .draw import Draw, Library, expect, near, same

EPS = float(np.finfo(np.float64).eps)


def check(draw: Draw, nkfast: Library) -> None:
    d = draw.count(1, 70)
    n = draw.count(0, 70)
    dtype = draw.pick((np.float64, np.float32))
    X = data.matrix(draw, n, d, draw.power(-8, 8)).astype(dtype)
    kind = draw.pick((_transform, _linear, _linear, _linear, _tensor, _srht_pair, _powers))
    nkfast.note(X.shape, X.dtype)
    kind(draw, nkfast, X)


def _eps(X: Any) -> float:
    return float(np.finfo(X.dtype).eps)


def _fitted(draw: Draw, nkfast: Library, sketch: Any, X: Any) -> Any:
    nkfast.note(sketch)
    first = X if len(X) else np.ones((1, X.shape[1]), X.dtype)
    return nkfast("sketch fit", sketch.set_params(random_state=draw.seed).fit, first)


def _name(sketch: Any) -> str:
    return "srht" if isinstance(sketch, SRHT) else "sketch"


def _forms(draw: Draw, nkfast: Library, transform: Any, X: Any, bound: Any) -> Any:
    """Return what becomes of X, having compared it in other forms, batches and threads."""
    name = _name(transform.__self__)
    Z = nkfast(name, transform, X)
    expect(Z.dtype == X.dtype, f"dtype {Z.dtype}")
    for _ in range(4):
        form, other = forms.dense(draw, X)
        same(nkfast(name, transform, other), Z, form)
    sparse = nkfast(name, transform, forms.SPARSE["plain"](draw, forms.sp.csr_array(X)))
    near(sparse, Z, bound, "CSR and dense")
    for _ in range(3):
        form, other = forms.sparse(draw, X)
        found = nkfast(name, transform, other)
        if "zeros" in form:
            near(found, Z, bound, form)
        else:
            same(found, sparse, form)
    for threads in draw.rng.integers(2, 9, 2):
        with nk.num_threads(int(threads)):
            same(nkfast(name, transform, X), Z, f"{threads} threads")
    start = 0
    while start < len(X):  # batches
        stop = start + draw.count(1, max(1, len(X)))
        same(nkfast(name, transform, X[start:stop]), Z[start:stop], "a batch")
        start = stop
    return Z


def _transform(draw: Draw, nkfast: Library, X: Any) -> None:
    """Walsh-Hadamard transforms: the matrix, along any axis, in place, twice."""
    norm = draw.pick((None, "ortho"))
    nkfast.note("fwht", norm)
    axis = draw.count(0, 1)
    if X.shape[axis] == 0:
        return
    n = 1 << (X.shape[axis] - 1).bit_length()
    pads = [(0, 0), (0, 0)]
    pads[axis] = (0, n - X.shape[axis])
    wide = np.pad(X, pads)
    H = hadamard(n) / (1 if norm is None else math.sqrt(n))
    exact = np.moveaxis(np.tensordot(H, wide.astype(np.longdouble), (1, axis)), 0, axis)
    size = np.abs(wide).sum(axis=axis, keepdims=True) / (1 if norm is None else math.sqrt(n))
    bound = (math.log2(n) + 3) * _eps(X) * size

    def transform(x: Any, **options: Any) -> Any:
        return nkfast("fwht", nk.fwht, x, axis, norm, **options)

    Z = transform(X, pad=True)
    near(Z, exact, bound, "fwht")
    same(transform(wide), Z, "padded by hand")
    for _ in range(6):
        form, other = forms.dense(draw, wide)
        if form != "object":
            same(transform(other), Z, form)
    with nk.num_threads(draw.count(2, 9)):
        same(transform(wide), Z, "threads")
    other = nkfast("fwht", nk.fwht, wide.T, 1 - axis, norm).T
    near(other, Z, 2 * bound, "the other axis")
    for i in draw.rng.permutation(wide.shape[1 - axis])[:4]:
        row = np.take(wide, i, 1 - axis)
        found = nkfast("fwht", nk.fwht, row, norm=norm)
        near(found, np.take(Z, i, 1 - axis), 2 * np.take(bound, i, 1 - axis), "one row")
    scale = draw.pick((2.0, -0.5))
    same(transform(wide * wide.dtype.type(scale)), Z * wide.dtype.type(scale), "twice the rows")
    place = wide.copy()
    expect(transform(place, out=place) is place, "out")
    same(place, Z, "in place")
    transform(place, out=place)
    again = wide * (n if norm is None else 1)
    factor = 1 if norm is not None else math.sqrt(n)
    near(place, again, 2 * math.sqrt(n) * factor * (bound + 1e-300), "twice")


def _linear(draw: Draw, nkfast: Library, X: Any) -> None:
    """CountSketch, OSNAP and SRHT are matrices: that of the identity."""
    m = draw.count(1, 100)
    sketch = draw.pick((CountSketch(m), OSNAP(m, draw.count(1, 10)), SRHT(m), SRHT(m)))
    sketch = _fitted(draw, nkfast, sketch, X)
    name = _name(sketch)
    n, d = X.shape
    S = nkfast(name, sketch.transform, np.eye(d))  # its transpose
    _check_matrix(sketch, S)
    long = X.astype(np.longdouble)
    rounding = (d + 8) * _eps(X)
    tiny = float(np.finfo(X.dtype).tiny)
    bound = rounding * (np.abs(long) @ np.abs(S)) + tiny
    if isinstance(sketch, SRHT):  # which adds what cancels
        bound = bound + rounding * np.abs(long).sum(axis=1, keepdims=True) / math.sqrt(m)
    Z = _forms(draw, nkfast, sketch.transform, X, 2 * bound)
    near(Z, long @ S, bound, "the matrix")
    if n:
        a = X.dtype.type(draw.uniform(-2, 2))
        mixed = nkfast(name, sketch.transform, a * X + X[::-1])
        most = bound + bound[::-1]
        near(mixed, a * Z + Z[::-1], 4 * most, "linearity")
    left = nkfast(name, sketch.adjoint, Z)
    size = (m + d + 8) * _eps(X) * (np.abs(Z.astype(float)) @ np.abs(S.T).astype(float))
    if isinstance(sketch, SRHT):
        size = size + (m + 8) * _eps(X) * np.abs(Z).sum(axis=1, keepdims=True) / math.sqrt(m)
    near(left, Z.astype(np.longdouble) @ S.T, size + tiny, "adjoint")
    _columns(draw, nkfast, sketch, X, Z, 2 * bound)


def _check_matrix(sketch: Any, S: Any) -> None:
    if isinstance(sketch, SRHT):
        m, d = S.shape[1], S.shape[0]
        near(np.abs(S), np.full((d, m), 1 / math.sqrt(m)), 4 * EPS, "entries of an SRHT")
        return
    exact = np.zeros_like(S)
    for j, (h, v) in enumerate(zip(sketch.hashes_, sketch.values_, strict=True)):
        exact[j, h] = v
    same(S, exact, "the matrix of hashes_ and values_")


def _columns(draw: Draw, nkfast: Library, sketch: Any, X: Any, Z: Any, bound: Any) -> None:
    """S A of columns: C, Fortran order, CSR and CSC."""
    name = _name(sketch)
    A = np.ascontiguousarray(X.T)
    near(nkfast(name, sketch.sketch_rows, A), Z.T, bound.T, "columns")
    form, other = forms.dense(draw, A)
    near(nkfast(name, sketch.sketch_rows, other), Z.T, bound.T, f"columns, {form}")
    form, other = forms.sparse(draw, A)
    near(nkfast(name, sketch.sketch_rows, other), Z.T, bound.T, f"columns, {form}")
    if len(X):
        near(nkfast(name, sketch.sketch_rows, A[:, 0]), Z[0], bound[0], "one column")


def _tensor(draw: Draw, nkfast: Library, X: Any) -> None:
    """TensorSketch: cyclic convolutions of the CountSketches that it drew."""
    degree, m = draw.count(1, 4), draw.count(1, 70)
    gamma, coef0 = draw.pick((1.0, 0.5)), float(draw.pick((0.0, 0.0, 2.0)))
    sketch = _fitted(draw, nkfast, TensorSketch(degree, m, gamma=gamma, coef0=coef0), X)
    long = np.hstack([math.sqrt(gamma) * X.astype(float), np.full((len(X), 1), math.sqrt(coef0))])
    parts = []
    widths = [1 << b for b in reversed(range(m.bit_length())) if m >> b & 1]
    for width, hashes, signs in zip(widths, sketch.hashes_, sketch.signs_, strict=True):
        product = np.ones((len(X), width // 2 + 1), complex)
        for h, s in zip(hashes, signs, strict=True):
            C = np.zeros((long.shape[1], width))
            np.add.at(C, (np.arange(len(h)), h), s)
            product = product * np.fft.rfft(long @ C, axis=1)
        parts.append(np.fft.irfft(product, width, axis=1) * math.sqrt(width / m))
    exact = np.hstack(parts)
    size = np.abs(long).sum(axis=1, keepdims=True) ** degree
    bound = 40 * degree * _eps(X) * size * math.sqrt(m) + float(np.finfo(X.dtype).tiny)
    if size.max(initial=0) > 0.01 * np.finfo(X.dtype).max / m:
        return  # beyond float32
    Z = _forms(draw, nkfast, sketch.transform, X, 2 * bound)
    near(Z, exact, bound, "convolutions")


def _srht_pair(draw: Draw, nkfast: Library, X: Any) -> None:
    """TensorSRHT: bilinear, so that products of unit rows say all."""
    X = X[:, :12]
    m, e = draw.count(1, 60), draw.count(1, 12)
    Y = data.matrix(draw, len(X), e, draw.power(-4, 4)).astype(X.dtype)
    nkfast.note("TensorSRHT", m, e)
    d = X.shape[1]
    first = (np.ones((1, d)), np.ones((1, e)))
    sketch = nkfast("sketch fit", TensorSRHT(m, random_state=draw.seed).fit, *first)
    i, j = (v.ravel() for v in np.indices((d, e)))
    T = nkfast("sketch", sketch.transform_pair, np.eye(d)[i], np.eye(e)[j]).reshape(d, e, m)
    near(np.abs(T), np.full(T.shape, 1 / math.sqrt(m)), 8 * EPS, "entries of a TensorSRHT")
    exact = np.einsum("ni,nj,ijm->nm", X.astype(float), Y.astype(float), T)
    size = np.abs(X).sum(axis=1, keepdims=True).astype(float)
    size = size * np.abs(Y).sum(axis=1, keepdims=True) / math.sqrt(m)
    bound = 40 * _eps(X) * size + float(np.finfo(X.dtype).tiny)
    Z = nkfast("sketch", sketch.transform_pair, X, Y)
    near(Z, exact, bound, "a bilinear map")
    for _ in range(4):
        (form, left), (other, right) = forms.dense(draw, X), forms.dense(draw, Y)
        same(nkfast("sketch", sketch.transform_pair, left, right), Z, f"{form}, {other}")
    for _ in range(3):
        (form, left), (other, right) = forms.sparse(draw, X), forms.sparse(draw, Y)
        found = nkfast("sketch", sketch.transform_pair, left, right)
        near(found, Z, 2 * bound, f"{form}, {other}")
    if d == e:
        same(
            nkfast("sketch", sketch.transform, X),
            nkfast("sketch", sketch.transform_pair, X, X),
            "a row with itself",
        )


def _powers_bound(X: Any, degree: int) -> Any:
    size = np.abs(X).sum(axis=1, keepdims=True).astype(float) ** degree
    return 40 * degree * _eps(X) * size + float(np.finfo(X.dtype).tiny)


def _powers(draw: Draw, nkfast: Library, X: Any) -> None:
    """PolySketch: each power is homogeneous, the first linear, the last what transform gives."""
    degree, m = draw.count(1, 5), draw.count(1, 60)
    sketch = _fitted(draw, nkfast, PolySketch(degree, m), X)
    if np.abs(X).sum(axis=1).max(initial=0) ** degree > 1e-3 * np.finfo(X.dtype).max:
        return
    bound = _powers_bound(X, degree)
    Z = _forms(draw, nkfast, sketch.transform, X, bound)
    powers = nkfast("sketch", sketch.transform_powers, X)
    same(powers[-1], Z, "the last power")
    doubled = nkfast("sketch", sketch.transform_powers, X * X.dtype.type(-2))
    for l, (power, other) in enumerate(zip(powers, doubled, strict=True), 1):
        least = float(np.finfo(X.dtype).tiny) * 2.0**l
        near(other, (-2.0) ** l * power.astype(float), least, f"power {l} of -2 X")
    S = nkfast("sketch", sketch.transform_powers, np.eye(X.shape[1]))[0]
    near(powers[0], X.astype(float) @ S, _powers_bound(X, 1), "the first power")
