"""Walsh-Hadamard transforms along an axis of any array."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from nkfast._arrays.memory import refuse_excess
from nkfast._arrays.validation import Array, check_count
from nkfast._config import get_num_threads
from nkfast._core import fwht as _fwht

from ._program import next_power_of_two


def fwht(
    x: ArrayLike,
    axis: int = -1,
    norm: str | None = None,
    *,
    pad: bool = False,
    out: Array | None = None,
) -> Array:
    """Walsh-Hadamard transform along one axis, in natural (Hadamard) order.

    Parameters
    ----------
    x : array_like
        Real numbers of any shape; float32 stays float32, other types become float64.
    axis : int, default=-1
        The axis to transform. Its length n must be a power of two.
    norm : None or "ortho", default=None
        None: the matrix has entries +-1, and transforming twice multiplies by n. "ortho": scaled by
        1 / sqrt(n), which makes the transform orthogonal and its own inverse.
    pad : bool, default=False
        Append zeros up to the next power of two instead of refusing another length.
    out : ndarray, optional
        Where to write the result: of the result's shape and dtype, C-contiguous. It may be `x`
        itself.

    Returns
    -------
    ndarray
        `out` if it is given.

    Raises
    ------
    ValueError
        If the length is no power of two, if `axis`, `norm` or `out` do not fit, or if a row holds
        NaN or infinity or its transform overflows; `out` has then been written to.
    TypeError
        If `x` is not real or `axis` is no integer.

    Notes
    -----
    n log2(n) additions. An entry's rounding error is at most log2(n) eps / 2 times the sum of
    absolute values of the row, to first order; "ortho" adds eps for its scale. Ctrl-C waits for
    the end, so that no array is left half transformed.

    Examples
    --------
    >>> import nkfast as nk
    >>> nk.fwht([1.0, 2.0, 3.0, 4.0]).tolist()
    [10.0, -2.0, -4.0, 0.0]
    """
    x = np.asarray(x)
    if x.dtype.kind not in "biuf":
        raise TypeError(f"x: expected real numbers, got dtype {x.dtype}")
    single = x.dtype.kind == "f" and x.dtype.itemsize <= 4
    dtype = np.dtype(np.float32 if single else np.float64)
    if x.ndim == 0:
        raise ValueError("x: expected at least one dimension, got a scalar")
    axis = check_count(axis, "axis", low=-x.ndim, high=x.ndim - 1)
    if norm not in (None, "ortho"):
        raise ValueError(f"norm: expected None or 'ortho', got {norm!r}")
    axis %= x.ndim
    given, n = x.shape[axis], next_power_of_two(x.shape[axis])
    if given == 0 or (n != given and not pad):
        raise ValueError(
            f"x: expected a power of two as length of axis {axis}, got {given}"
            + ("" if given == 0 else f" (pad=True appends zeros up to {n})")
        )
    shape = (*x.shape[:axis], n, *x.shape[axis + 1 :])
    if out is not None and not isinstance(out, np.ndarray):
        raise TypeError(f"out: expected an array, got {type(out).__name__}")
    if out is None:
        refuse_excess(shape, dtype, "x")
        out = np.empty(shape, dtype)
    elif out.shape != shape or out.dtype != dtype:
        raise ValueError(
            f"out: expected an array of shape {shape} and dtype {dtype}, "
            f"got {out.shape} and {out.dtype}"
        )
    elif not (out.flags.c_contiguous and out.flags.writeable and out.flags.aligned):
        raise ValueError("out: expected a C-contiguous, aligned, writeable array")
    if out is not x:
        slab = (slice(None),) * axis
        out[(*slab, slice(given))] = x
        out[(*slab, slice(given, None))] = 0
    outer = math.prod(shape[:axis])
    inner = math.prod(shape[axis + 1 :])
    scale = 1.0 if norm is None else 1 / math.sqrt(n)
    if not _fwht(out.reshape(outer, n, inner), scale, get_num_threads()):
        raise ValueError("x: expected finite numbers of finite sums, got NaN, infinity or overflow")
    return out
