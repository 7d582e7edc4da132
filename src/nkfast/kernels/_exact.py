"""Exact NNGP and NTK kernels, block by block.

What is known of each point alone (the tables of `DualMap`) stays small in a block. The blocks of
dense networks are in `_rows`, those of networks of images in `_images`.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from nkfast._arrays.blocks import slices
from nkfast._arrays.validation import FloatArray, check_count
from nkfast.layers import Row, takes_images

from ._image_points import ImagePoints
from ._images import ImagePairs
from ._journal import Journal, Report, fingerprint, reporting
from ._outputs import NAMES, Result, given_results, new_results, opened
from ._points import Diagonal, RowPoints
from ._rows import RowPairs

Points: TypeAlias = RowPoints | ImagePoints


class Kernels(NamedTuple):
    """Kernels by name, (n, m) each; with fewer or in another order if `get` says so."""

    nngp: FloatArray
    ntk: FloatArray


def prepare(net: Row, X: Any, name: str = "X") -> Points:
    """Return points prepared for the kernels of a network, as they are if they are so already.

    Parameters
    ----------
    net : Row
    X : array_like or CSR matrix of shape (n, d), array_like of shape (n, h, w, c), or Points
    name : str, default="X"
        What error messages call them.
    """
    if isinstance(X, RowPoints | ImagePoints):
        if X.net is not net and X.net != net:
            raise ValueError(f"{name}: expected points prepared for this network, got others")
        return X
    return ImagePoints(net, X, name) if takes_images(net) else RowPoints(net, X, name)


def diag(net: Row, X: Any) -> Diagonal:
    """Return the diagonals of the kernels of `X` with itself; see `Sequential.diag`."""
    return prepare(net, X).diagonal()


def kernel(
    net: Row,
    X: Any,
    Z: Any,
    get: str | Iterable[str],
    out: Any = None,
    block: int | None = None,
    progress: bool | Report | None = None,
    resume: Any = None,
) -> Kernels | FloatArray:
    """Return exact kernels; see `Sequential.kernel`."""
    get = get if isinstance(get, str) else tuple(get)
    names = _names(get)
    pairs = _pairs_of(net, X, Z)
    if block is not None:
        block = check_count(block, "block", low=1)
    if out is None:
        if resume is not None:
            raise ValueError("resume: expected out, where the finished blocks are, got None")
        results = new_results(names, pairs.shape, pairs.dtype)
        return _computed(net, pairs, get, names, results, block, progress, None)
    dtype = np.dtype(pairs.dtype)
    with opened(out, get, names, pairs.shape, dtype, resumed=resume is not None) as arrays:
        results = given_results(arrays, pairs.shape, (pairs.X, pairs.Z))
        return _computed(net, pairs, get, names, results, block, progress, resume)


def _computed(
    net: Row,
    pairs: RowPairs | ImagePairs,
    get: str | tuple[str, ...],
    names: tuple[str, ...],
    results: list[Result],
    block: int | None,
    progress: bool | Report | None,
    resume: Any,
) -> Kernels | FloatArray:
    bounded = any(r.bounded for r in results) or bool(progress) or resume is not None
    shape = (block, block) if block else pairs.block_shape(bounded)
    journal = None
    if resume is not None:
        journal = Journal(resume, results, _facts(net, pairs, names, results, shape))
    _fill(pairs, dict(zip(names, results, strict=True)), shape, progress, journal)
    return _named(get, names, [result.out for result in results])


def _fill(
    pairs: RowPairs | ImagePairs,
    whole: dict[str, Result],
    shape: tuple[int, int],
    progress: bool | Report | None,
    journal: Journal | None,
) -> None:
    jobs = list(_jobs(pairs, *shape))
    done = 0
    with reporting(progress, sum(_size(job) for job in jobs)) as report:
        try:
            for job in jobs:
                rows, cols, how = job
                report(done, _size(job))
                mirrored = how == "mirrored"
                if journal is None or not journal.has(rows, cols, mirrored):
                    pairs.fill(whole, rows, cols, how)
                    if journal is not None:
                        journal.add(rows, cols, mirrored)
                done += _size(job)
            report(done, 0)
        finally:
            if journal is not None:
                journal.sync()


def _jobs(
    pairs: RowPairs | ImagePairs, height: int, width: int
) -> Iterator[tuple[slice, slice, str]]:
    """Yield the blocks of a kernel: rows, columns, and how `fill` takes them."""
    for rows in slices(0, pairs.shape[0], height):
        if pairs.symmetric:
            yield rows, rows, "symmetric"
        how = "mirrored" if pairs.symmetric else "plain"
        for cols in slices(rows.stop if pairs.symmetric else 0, pairs.shape[1], width):
            yield rows, cols, how


def _size(job: tuple[slice, slice, str]) -> int:
    """Return the number of pairs that a block computes."""
    rows, cols, how = job
    n: int = rows.stop - rows.start
    m: int = cols.stop - cols.start
    return n * (n + 1) // 2 if how == "symmetric" else n * m


def _facts(
    net: Row,
    pairs: RowPairs | ImagePairs,
    names: tuple[str, ...],
    results: list[Result],
    shape: tuple[int, int],
) -> dict[str, Any]:
    """Return what a journal must agree in."""
    return {
        "network": fingerprint(net),
        "X": fingerprint(pairs.X),
        "Z": None if pairs.symmetric else fingerprint(pairs.Z),
        "get": list(names),
        "dtypes": [str(np.dtype(result.out.dtype)) for result in results],
        "block": list(shape),
    }


def kernel_blocks(
    net: Row, X: Any, Z: Any, get: str | Iterable[str], rows: int
) -> Iterator[tuple[slice, Any]]:
    """Yield blocks of rows; see `Sequential.kernel_blocks`."""
    get = get if isinstance(get, str) else tuple(get)
    names = _names(get)
    height = check_count(rows, "rows", low=1)
    return _blocks(_pairs_of(net, X, Z), get, names, height)


def _blocks(
    pairs: RowPairs | ImagePairs, get: str | tuple[str, ...], names: tuple[str, ...], height: int
) -> Iterator[tuple[slice, Any]]:
    n, m = pairs.shape
    tall, width = pairs.block_shape(False)
    for rows in slices(0, n, height):
        results = new_results(names, (rows.stop - rows.start, m), pairs.dtype)
        whole = dict(zip(names, results, strict=True))
        for part in slices(rows.start, rows.stop, tall):
            for cols in slices(0, m, width):
                pairs.fill(whole, part, cols, "plain", rows.start)
        if pairs.symmetric and pairs.ends:
            at = np.arange(rows.start, rows.stop)
            for name, result in whole.items():
                result.out[at - rows.start, at] = pairs.ends[name][at]
        yield rows, _named(get, names, [result.out for result in results])


def _pairs_of(net: Row, X: Any, Z: Any) -> RowPairs | ImagePairs:
    left = prepare(net, X, "X")
    right = left if Z is None or Z is X else prepare(net, Z, "Z")
    if isinstance(left, RowPoints) and isinstance(right, RowPoints):
        return RowPairs(left, right)
    assert isinstance(left, ImagePoints)
    assert isinstance(right, ImagePoints)
    return ImagePairs(left, right)


def _names(get: str | tuple[str, ...]) -> tuple[str, ...]:
    names = (get,) if isinstance(get, str) else get
    if not names or any(name not in NAMES for name in names) or len(set(names)) < len(names):
        raise ValueError(f"get: expected one or both of {NAMES}, got {get!r}")
    return names


def _named(
    get: str | tuple[str, ...], names: tuple[str, ...], arrays: list[Any]
) -> Kernels | FloatArray:
    if isinstance(get, str):
        array: FloatArray = arrays[0]
        return array
    kernels: Kernels = _named_tuple(names)(*arrays)
    return kernels


@cache
def _named_tuple(names: tuple[str, ...]) -> Any:
    return Kernels if names == NAMES else namedtuple("Kernels", names)
