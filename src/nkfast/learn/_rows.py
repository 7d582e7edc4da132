"""Rows of a fit: those that count, repeated ones as one, distinct ones; the scales of columns."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from nkfast._arrays.blocks import row_blocks
from nkfast._arrays.mapped import take
from nkfast._arrays.rows import of_columns
from nkfast._arrays.validation import Array, Rows

_BLOCK_ENTRIES = 1 << 20  # that are hashed or compared at a time
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: spreads bits
_HALF = np.uint64(32)
_MANY_COLUMNS = 1 << 24  # of sparse rows, for each of which no number is drawn

_SAMPLE = 2048  # rows that tell the scales of columns
_UNLIKE = 1e3  # ratio of scales


def weighty(X: Rows, Y: Array, weight: Array | None) -> tuple[Rows, Array, Array | None]:
    """Leave out rows of weight zero: they are as good as absent, also for the feature map."""
    if weight is None or np.all(weight > 0):
        return X, Y, weight
    kept = np.flatnonzero(weight)
    return X[kept], Y[kept], weight[kept]


def count(X: Any) -> int:
    """Return the number of rows of what need not be an array."""
    return int(X.shape[0]) if getattr(X, "shape", ()) else len(X)


def merged(X: Rows, Y: Array, weight: Array | None, *, labels: bool) -> tuple[Array, Array | None]:
    """Return targets and weights with which the first of repeated rows stands for all of them.

    It has the sum of their weights and the weighted mean of their targets, the others weight zero.
    Rows are repeated if they are the same whatever their targets, if these are `labels` or, as
    whole numbers may, take few values: then their mean says all. Of other targets the scatter
    among such rows says how large the noise is, so that the targets have to be the same, too.
    """
    n, k = Y.shape
    of_rows, of_targets = _hashes(X), _hashes(Y)
    first = _first_alike(of_rows, X)
    if first is None:
        return Y, weight
    if not labels:
        of_both = of_rows * _FACTOR + of_targets
        if 2 * len(np.unique(of_targets)) > len(np.unique(of_both)):
            first = _first_alike(of_both, X, Y)
            if first is None:
                return Y, weight
    each = np.ones(n) if weight is None else weight
    total = np.bincount(first, each, n)
    sums = np.stack([np.bincount(first, each * Y[:, j], n) for j in range(k)], axis=1)
    alone = total == each  # nothing to divide, and to round
    means = np.divide(sums, total[:, None], out=np.zeros_like(sums), where=total[:, None] > 0)
    return np.where(alone[:, None], Y, means), total


def distinct(X: Rows) -> Rows:
    """Return the distinct rows in an order of their own, which rounding hardly changes.

    The feature map adapts to the rows that it is fitted on. So a row of weight 2 gives the same
    map, and the same predictions, as that row twice. In large sets that makes no difference.
    """
    first = _first_alike(_hashes(X), X)
    if first is not None:
        X = X[np.flatnonzero(first == np.arange(len(first)))]
    flat = X if sp.issparse(X) else X.reshape(len(X), -1)
    if flat.shape[1] > _MANY_COLUMNS and sp.issparse(flat):
        flat = of_columns(flat, np.unique(flat.indices))
    places = flat @ np.random.RandomState(0).standard_normal(flat.shape[1])
    return X[np.argsort(places, kind="stable")]


def _first_alike(keys: NDArray[np.uint64], *parts: Rows) -> NDArray[np.intp] | None:
    """Return for each row the place of the first one like it, (n,); None if all are distinct.

    `keys` are hashes of the rows, which consist of `parts`.
    """
    order = np.argsort(keys, kind="stable")
    starts = np.r_[True, np.diff(keys[order]) != 0]
    if starts.all():
        return None
    first = np.empty(len(keys), np.intp)
    first[order] = order[starts][np.cumsum(starts) - 1]
    later = np.flatnonzero(first != np.arange(len(keys)))
    for rows in _blocks(parts[0], len(later)):
        here, there = later[rows], first[later[rows]]
        same = np.all([_alike(take(A, here), take(A, there)) for A in parts], axis=0)
        first[here[~same]] = here[~same]
    return first


def _blocks(X: Rows, n: int) -> Any:
    width = int(np.prod(X.shape[1:], dtype=np.float64)) if not sp.issparse(X) else 64
    return row_blocks(n, max(1, _BLOCK_ENTRIES // max(1, width)), X)


def _alike(A: Rows, B: Rows) -> NDArray[np.bool_]:
    """Return which rows of `A` equal those of `B`, (n,)."""
    if sp.issparse(A):
        return np.asarray(np.diff(sp.csr_array(A != B).indptr) == 0)
    return np.asarray(np.all((A == B).reshape(len(A), -1), axis=1))


def _hashes(X: Rows) -> NDArray[np.uint64]:
    """Return a number for each row, (n,); those of equal rows are equal, of others seldom."""
    out = np.zeros(X.shape[0], np.uint64)
    for rows in _blocks(X, X.shape[0]):
        block = X[rows]
        if sp.issparse(block):
            terms = _mixed(block.data) * _spread(block.indices.astype(np.uint64) + np.uint64(1))
            sums = np.r_[np.uint64(0), np.cumsum(terms, dtype=np.uint64)]
            out[rows] = sums[block.indptr[1:]] - sums[block.indptr[:-1]]
        else:
            flat = block.reshape(len(block), -1)
            places = _spread(np.arange(1, flat.shape[1] + 1, dtype=np.uint64))
            out[rows] = _mixed(flat) @ places
    return out


def _mixed(values: Array) -> NDArray[np.uint64]:
    """Return the bits of numbers, spread over the whole word; zero for either zero."""
    kind = np.uint64 if values.dtype.itemsize == 8 else np.uint32
    return _spread((values + values.dtype.type(0)).view(kind).astype(np.uint64))


def _spread(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    for _ in range(2):
        bits = (bits ^ (bits >> _HALF)) * _FACTOR
    return bits ^ (bits >> _HALF)


def warn_of_scales(X: Rows) -> None:
    """Warn of columns that vary a thousand times less than others are large.

    What varies is a column's standard deviation; how large it is, its root mean square, for a
    constant drowns others, too. Among so few rows no indicator, however rare, varies too little
    beside standardised numbers. Images and sparse rows, mostly words, are not looked at.
    """
    if sp.issparse(X) or X.ndim != 2:
        return
    n, d = X.shape
    most = min(_SAMPLE, max(_SAMPLE // 8, _BLOCK_ENTRIES // d))
    some = take(X, np.unique(np.linspace(0, n - 1, most).astype(np.intp)))
    peak = np.abs(some).max(axis=0).astype(np.float64)
    ratios = np.divide(some, peak, out=np.zeros(some.shape), where=peak > 0)  # squares are safe
    sizes = peak * np.sqrt(np.mean(ratios**2, axis=0))
    spreads = np.where(np.any(some != some[0], axis=0), peak * ratios.std(axis=0), np.inf)
    large, small = int(np.argmax(sizes)), int(np.argmin(spreads))
    if sizes[large] >= _UNLIKE * spreads[small]:
        warnings.warn(
            f"X: expected columns of like scale, got values near {sizes[large]:.3g} in column "
            f"{large}, and column {small}, which varies by {spreads[small]:.3g} only and hardly "
            "counts beside it; put sklearn.preprocessing.StandardScaler before the learner",
            stacklevel=2,
        )
