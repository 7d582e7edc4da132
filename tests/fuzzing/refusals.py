"""What is to be refused with an error: corrupt CSR, NaN, other shapes, dtypes and layouts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp

import nkfast as nk

from . import data
from .draw import Draw, Library, expect
from .networks import Network

SENSIBLE = (ValueError, TypeError, IndexError, OverflowError)


def check(draw: Draw, nkfast: Library) -> None:
    n, d = draw.count(2, 30), draw.count(1, 30)
    X = data.matrix(draw, n, d, draw.power(-3, 3))
    X[0, 0] = 1.0
    calls = _calls(draw, nkfast, X)
    for _ in range(4):
        what = draw.pick((_corrupt, _corrupt, _not_finite, _other_shape, _other_dtype, _other_kind))
        name, bad = what(draw, X)
        for call in calls:
            _refused(nkfast, call, name, bad)


def _calls(draw: Draw, nkfast: Library, X: Any) -> list[tuple[str, Callable[[Any], Any]]]:
    net = Network(draw, cheap=True).net
    m = draw.count(1, 40)
    sketch = draw.pick(
        (
            nk.sketch.CountSketch(m),
            nk.sketch.OSNAP(m),
            nk.sketch.SRHT(m),
            nk.sketch.TensorSketch(2, m),
            nk.sketch.TensorSRHT(m),
            nk.sketch.PolySketch(2, m),
        )
    ).set_params(random_state=draw.seed)
    fitted = nkfast("sketch fit", sketch.fit, X)
    nkfast.note(net, sketch, X.shape)
    return [
        ("kernel", lambda bad: net.kernel(bad, X)),
        ("kernel", lambda bad: net.ntk(X, bad)),
        ("kernel", lambda bad: net.nngp(bad)),
        ("diag", net.diag),
        ("sketch", fitted.transform),
        ("sketch fit", lambda bad: type(sketch)().fit(bad).transform(bad)),
    ]


def _refused(nkfast: Library, call: Any, name: str, bad: Any) -> None:
    kind, function = call
    nkfast.note(f"{kind} of {name}")
    try:
        nkfast(kind, function, bad)
    except SENSIBLE as error:
        expect(str(error), f"{name}: an error that says nothing")
    else:
        raise AssertionError(f"{name} was taken")
    nkfast.notes.pop()


def _csr(draw: Draw, X: Any) -> Any:
    kept = draw.rng.random(X.shape) < 0.6
    kept[0, 0] = True
    S = sp.csr_array(np.where(kept, X, 0))
    return sp.csr_array((S.data, S.indices, S.indptr), S.shape)


def _corrupt(draw: Draw, X: Any) -> tuple[str, Any]:
    """CSR whose parts contradict each other, made behind SciPy's back."""
    S = _csr(draw, X)
    if draw.chance(0.5):
        S.indices, S.indptr = S.indices.astype(np.int64), S.indptr.astype(np.int64)
    if draw.chance(0.3):
        S.has_canonical_format  # SciPy remembers, whatever comes later  # noqa: B018
    n, d = X.shape
    kind = draw.pick(tuple(CORRUPT))
    CORRUPT[kind](draw, S, n, d)
    return f"corrupt CSR, {kind}", S


def _large(draw: Draw) -> int:
    return int(draw.pick((1, 7, 1000, 2**31 - 1)))


def _index_above(draw: Draw, S: Any, n: int, d: int) -> None:
    S.indices[draw.rng.integers(S.nnz)] = min(d - 1 + _large(draw), 2**31 - 1)


def _index_below(draw: Draw, S: Any, n: int, d: int) -> None:
    S.indices[draw.rng.integers(S.nnz)] = -_large(draw)


def _end_beyond(draw: Draw, S: Any, n: int, d: int) -> None:
    S.indptr[-1] = min(S.indptr[-1] + _large(draw), 2**31 - 1)


def _start_beyond(draw: Draw, S: Any, n: int, d: int) -> None:
    S.indptr[draw.rng.integers(n)] = 2**31 - 1


def _start_below(draw: Draw, S: Any, n: int, d: int) -> None:
    S.indptr[draw.rng.integers(n + 1)] = -_large(draw)


def _first_above(draw: Draw, S: Any, n: int, d: int) -> None:
    S.indptr[0] = 1


def _descending(draw: Draw, S: Any, n: int, d: int) -> None:
    at = int(draw.rng.integers(1, n))
    S.indptr[at] = S.nnz
    S.indptr[at + 1 :] = S.nnz
    S.indptr[at + 1] = S.nnz - 1
    if at + 1 == n:
        S.indptr[n - 1 :] = S.nnz + 1, S.nnz


def _short_starts(draw: Draw, S: Any, n: int, d: int) -> None:
    S.indptr = S.indptr[: draw.count(0, n - 1)]


def _short_indices(draw: Draw, S: Any, n: int, d: int) -> None:
    S.indices = S.indices[: len(S.indices) - 1]


def _short_values(draw: Draw, S: Any, n: int, d: int) -> None:
    S.data = S.data[: len(S.data) - 1]


CORRUPT = {
    "a column too large": _index_above,
    "a negative column": _index_below,
    "an end beyond the entries": _end_beyond,
    "a start beyond the entries": _start_beyond,
    "a negative start": _start_below,
    "a first start above 0": _first_above,
    "descending starts": _descending,
    "too few starts": _short_starts,
    "too few columns": _short_indices,
    "too few values": _short_values,
}


def _not_finite(draw: Draw, X: Any) -> tuple[str, Any]:
    bad = X.astype(draw.pick((np.float64, np.float32)))
    bad.flat[draw.rng.integers(bad.size)] = value = draw.pick((np.nan, np.inf, -np.inf))
    kind = draw.pick(("dense", "Fortran", "CSR", "list"))
    if kind == "CSR":
        return f"{value} in CSR", sp.csr_array(bad)
    if kind == "list":
        return f"{value} in lists", bad.tolist()
    return f"{value}, {kind}", np.asfortranarray(bad) if kind == "Fortran" else bad


def _other_shape(draw: Draw, X: Any) -> tuple[str, Any]:
    choices = {
        "one axis": X[0],
        "three axes": X[None],
        "a number": 1.0,
        "no columns": X[:, :0],
        "sparse without columns": sp.csr_array((len(X), 0)),
        "ragged lists": [[1.0], [1.0, 2.0]],
    }
    name = draw.pick(tuple(choices))
    return name, choices[name]


def _other_dtype(draw: Draw, X: Any) -> tuple[str, Any]:
    choices = {
        "complex": X + 1j,
        "words": np.full(X.shape, "word"),
        "objects": np.full(X.shape, {}, object),
        "complex CSR": sp.csr_array(X + 1j),
        "beyond float64": np.full(X.shape, np.longdouble("1e4000")),
    }
    name = draw.pick(tuple(choices))
    return name, choices[name]


def _other_kind(draw: Draw, X: Any) -> tuple[str, Any]:
    choices = {
        "a dictionary": {"a": 1},
        "a word": "rows",
        "a function": len,
        "bytes": b"rows",
        "a generator": (row for row in X),
    }
    name = draw.pick(tuple(choices))
    return name, choices[name]
