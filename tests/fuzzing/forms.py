"""The same numbers in other arrays: dtype, byte order, strides, alignment, CSR of any kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from .draw import Draw


def wide(x: Any) -> Any:
    """Every second entry of each axis of a larger array, backwards."""
    out = np.full([2 * n for n in x.shape], np.nan, x.dtype)
    view = out[tuple(slice(None, None, -2) for _ in x.shape)]
    view[...] = x
    return view


def unaligned(x: Any) -> Any:
    x = np.ascontiguousarray(x)
    return np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(x.shape)


def swapped(x: Any) -> Any:
    return x.astype(x.dtype.newbyteorder())


def read_only(x: Any) -> Any:
    x = x.copy()
    x.flags.writeable = False
    return x


def columns_of_more(x: Any) -> Any:
    out = np.full((*x.shape[:-1], x.shape[-1] + 3), np.nan, x.dtype)
    out[..., 1:-2] = x
    return out[..., 1:-2]


DENSE = {
    "wide": wide,
    "unaligned": unaligned,
    "swapped": swapped,
    "read-only": read_only,
    "Fortran": np.asfortranarray,
    "columns of more": columns_of_more,
    "list": lambda x: x.tolist() if x.dtype == np.float64 and len(x) else x,
    "object": lambda x: x.astype(object) if x.dtype == np.float64 else x,
    "transposed": lambda x: np.ascontiguousarray(x.T).T,
}


def dense(draw: Draw, x: Any) -> tuple[str, Any]:
    """Return the name of a form, and the array in it."""
    name = draw.pick(tuple(DENSE))
    return name, DENSE[name](x)


# --- CSR ---


def unsorted(draw: Draw, S: Any) -> Any:
    """The entries of each row in any order."""
    S = S.copy()
    for start, end in zip(S.indptr[:-1], S.indptr[1:], strict=True):
        order = start + draw.rng.permutation(end - start)
        S.indices[start:end], S.data[start:end] = S.indices[order], S.data[order]
    return _fresh(S)


def duplicates(draw: Draw, S: Any) -> Any:
    """Every entry twice, as halves, which add up without rounding."""
    return sp.csr_array((np.repeat(S.data / 2, 2), np.repeat(S.indices, 2), 2 * S.indptr), S.shape)


def long_indices(draw: Draw, S: Any) -> Any:
    return sp.csr_array((S.data, S.indices.astype(np.int64), S.indptr.astype(np.int64)), S.shape)


def explicit_zeros(draw: Draw, S: Any) -> Any:
    """Zeros among the entries."""
    dense = S.toarray()
    n, d = dense.shape
    return sp.csr_array((dense.ravel(), np.tile(np.arange(d), n), d * np.arange(n + 1)), (n, d))


def of_parts(change: Any) -> Any:
    def make(draw: Draw, S: Any) -> Any:
        S = S.copy()
        S.data, S.indices, S.indptr = (change(v) for v in (S.data, S.indices, S.indptr))
        return S

    return make


def _fresh(S: Any) -> Any:
    """A matrix whose flags on order and repeats are not known yet."""
    return sp.csr_array((S.data, S.indices, S.indptr), S.shape)


SPARSE = {
    "plain": lambda draw, S: S,
    "matrix": lambda draw, S: sp.csr_matrix(S),
    "unsorted": unsorted,
    "duplicates": duplicates,
    "unsorted duplicates": lambda draw, S: unsorted(draw, duplicates(draw, S)),
    "int64": long_indices,
    "zeros": explicit_zeros,
    "csc": lambda draw, S: S.tocsc(),
    "coo": lambda draw, S: S.tocoo(),
    "unaligned": of_parts(unaligned),
    "read-only": of_parts(read_only),
}


def sparse(draw: Draw, x: Any) -> tuple[str, Any]:
    """Return the name of a kind of sparse matrix, and the rows as one."""
    name = draw.pick(tuple(SPARSE))
    return f"sparse, {name}", SPARSE[name](draw, sp.csr_array(x))
