"""The one door for arrays: dtype, order, finiteness and sparse format are settled here, once."""

from __future__ import annotations

import numbers
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.utils import assert_all_finite, check_array, column_or_1d
from sklearn.utils.validation import validate_data

from nkfast._config import get_num_threads
from nkfast._core import all_finite

from .mapped import pieces

Array: TypeAlias = NDArray[Any]
FloatArray: TypeAlias = NDArray[np.floating[Any]]
Doubles: TypeAlias = NDArray[np.float64]
Rows: TypeAlias = Any  # a dense (n, d) array or a CSR matrix; scipy.sparse carries no usable types

FLOATS = (np.float64, np.float32)

_IMAGES_FROM = {  # by their number of axes
    2: "; X.reshape(len(X), height, width, channels) makes images of flat rows",
    3: "; X[..., None] makes images of one channel, and X[None] one image with channels",
}


def _entered(X: Any, name: str) -> Any:
    """Return `X` as scikit-learn may see it.

    Sparse parts do not contradict each other: SciPy would read past their ends. And float16 and
    foreign float32 are float32, of which scikit-learn would make float64.
    """
    if sp.issparse(X):
        X = _sound(X, name)
    dtype = getattr(X, "dtype", None)
    if isinstance(dtype, np.dtype) and dtype.kind == "f" and dtype.itemsize <= 4:
        return X.astype(np.float32, copy=False)
    return X


def _sound(X: Any, name: str) -> Any:
    """Refuse sparse matrices whose parts contradict each other."""
    if X.format == "coo":
        known = all(_within(at, size) for at, size in zip((X.row, X.col), X.shape, strict=True))
        if not (known and len(X.row) == len(X.col) == len(X.data)):
            raise ValueError(f"{name}: expected indices within shape {X.shape}, one for each entry")
        return X
    if X.format not in ("csr", "csc", "bsr"):
        X = X.tocsr()
    blocks = X.blocksize if X.format == "bsr" else (1, 1)
    sizes = [size // block for size, block in zip(X.shape, blocks, strict=True)]
    n, width = reversed(sizes) if X.format == "csc" else sizes
    starts, indices = X.indptr, X.indices
    if starts.shape != (n + 1,) or starts[0] != 0 or np.any(starts[1:] < starts[:-1]):
        raise ValueError(f"{name}: expected indptr to ascend from 0 in {n + 1} entries")
    if starts[-1] > min(len(indices), len(X.data)):
        raise ValueError(
            f"{name}: expected as many indices and entries as indptr ends in, {starts[-1]}, got "
            f"{len(indices)} and {len(X.data)}"
        )
    if not _within(indices[: starts[-1]], width):
        raise ValueError(f"{name}: expected indices in [0, {width}), got others")
    return X


def _within(indices: NDArray[Any], size: int) -> bool:
    return len(indices) == 0 or bool(indices.min() >= 0 and indices.max() < size)


def _floats(X: Any) -> Any:
    """Return the dtypes that may stay; check_array does not see that of a polars table."""
    kinds = getattr(X, "dtypes", None)
    single = isinstance(kinds, list) and kinds and all(str(kind) == "Float32" for kind in kinds)
    return np.float32 if single else FLOATS


def _settle(X: Any) -> Rows:
    """C order, aligned, native bytes; CSR without duplicates, with its own index type kept."""
    if sp.issparse(X):
        if not X.has_canonical_format:
            X = X.copy()
            X.sum_duplicates()
        return X
    if X.flags.c_contiguous and X.flags.aligned and X.dtype.isnative:
        return X
    return np.require(X, dtype=X.dtype.newbyteorder("="), requirements=["C", "A"])


def _refuse_nonfinite(X: Rows, name: str, estimator: Any = None) -> Rows:
    """Refuse NaN and infinity in scikit-learn's words; the core looks, on all its threads."""
    for values in pieces(X.data if sp.issparse(X) else X):
        if not (values.flags.forc and values.dtype.isnative):
            values = np.ascontiguousarray(values)
        flat = values.ravel(order="K")
        if not flat.flags.aligned or not all_finite(flat, get_num_threads()):
            who = None if estimator is None else type(estimator).__name__
            assert_all_finite(values, estimator_name=who, input_name=name)
    return X


def _n_axes(X: Any) -> int:
    """Return the number of axes of an array, or of lists in lists."""
    depth = 0
    while isinstance(X, (list, tuple)) and X:
        X, depth = X[0], depth + 1
    return depth + int(getattr(X, "ndim", 0))


def _refuse_more_axes(X: Any, name: str) -> None:
    """Refuse images where rows are wanted."""
    if _n_axes(X) > 2:
        raise ValueError(
            f"{name}: expected rows of shape (n, d), got shape {np.shape(X)}. If these are images, "
            f"{name}.reshape(len({name}), -1) makes rows of them, as dense networks take them; a "
            "network that takes images begins with a layer such as Conv, see nkfast.myrtle"
        )


def check_rows(
    X: Any, name: str = "X", *, min_samples: int = 0, accept_sparse: bool = True
) -> Rows:
    """Return `X` as a C-ordered float32/float64 array or as CSR, refusing NaN and infinity."""
    _refuse_more_axes(X, name)
    X = check_array(
        _entered(X, name),
        accept_sparse="csr" if accept_sparse else False,
        accept_large_sparse=True,
        dtype=_floats(X),
        order="C",
        ensure_all_finite=False,
        ensure_min_samples=min_samples,
        input_name=name,
    )
    return _settle(_refuse_nonfinite(X, name))


def check_images(X: Any, name: str = "X", flat_hint: str | None = None) -> FloatArray:
    """Return `X` as a C-ordered float32/float64 array (n, height, width, channels), finite.

    `flat_hint`: how to have flat rows taken for images, for the end of a message.
    """
    if sp.issparse(X):
        raise TypeError(f"{name}: expected a dense array of images, got a sparse matrix")
    X = check_array(
        _entered(X, name),
        dtype=FLOATS,
        order="C",
        ensure_2d=False,
        allow_nd=True,
        ensure_all_finite=False,
        ensure_min_samples=0,
        input_name=name,
    )
    if X.ndim != 4 or 0 in X.shape[1:]:
        hint = _IMAGES_FROM.get(X.ndim, "") if flat_hint is None or X.ndim != 2 else flat_hint
        raise ValueError(
            f"{name}: expected images of shape (n, height, width, channels), got shape {X.shape}"
            f"{hint}"
        )
    refuse_channels_first(X.shape[1:], name)
    return np.asarray(_settle(_refuse_nonfinite(X, name)))


def refuse_channels_first(shape: tuple[int, ...], name: str) -> None:
    """Refuse images of a shape that is more likely (channels, height, width)."""
    a, b, c = shape
    least, most = min(b, c), max(b, c)
    if (a in (1, 3) and least > 4 and (b == c or (a == 3 and most <= 2 * least))) or (
        a == 4 and b == c >= 16
    ):
        raise ValueError(
            f"{name}: expected images of shape (height, width, channels), got {tuple(shape)}, "
            f"which looks like {a} channels of {b} x {c} pixels; images.transpose(0, 2, 3, 1) puts "
            f"them last. If it is {a} x {b} pixels of {c} channels, swap height and width"
        )


def check_columns(A: Any, name: str) -> Rows:
    """Return `A` as a float32/float64 matrix in C or Fortran order, or as CSR or CSC."""
    A = check_array(
        _entered(A, name),
        accept_sparse=["csr", "csc"],
        accept_large_sparse=True,
        dtype=FLOATS,
        ensure_min_features=0,
        ensure_min_samples=0,
        input_name=name,
    )
    if not sp.issparse(A) and A.flags.f_contiguous and A.flags.aligned and A.dtype.isnative:
        return A
    return _settle(A)


def check_estimator_rows(estimator: Any, X: Any, *, reset: bool) -> Rows:
    """Like `check_rows`, and keep scikit-learn's n_features_in_ and feature_names_in_ honest.

    With `reset` there has to be a row.
    """
    _refuse_more_axes(X, "X")
    X = validate_data(
        estimator,
        _entered(X, "X"),
        reset=reset,
        accept_sparse="csr",
        accept_large_sparse=True,
        dtype=_floats(X),
        order="C",
        ensure_all_finite=False,
        ensure_min_samples=int(reset),
    )
    return _settle(_refuse_nonfinite(X, "X", estimator))


def as_double(X: Rows) -> Rows:
    """Return checked rows in float64."""
    return X.astype(np.float64, copy=False)


def csr_arrays(X: Any) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return a CSR matrix's values, column indices and row starts as the core takes them."""
    kind = np.int64 if np.int64 in (X.indptr.dtype, X.indices.dtype) else np.int32
    return (
        np.require(X.data, X.dtype.newbyteorder("="), ["C", "A"]),
        np.require(X.indices, kind, ["C", "A"]),
        np.require(X.indptr, kind, ["C", "A"]),
    )


def check_real(
    value: Any, name: str, *, low: float = -np.inf, high: float = np.inf, open_low: bool = False
) -> float:
    """Return `value` as a float within [low, high] ((low, high] if `open_low`)."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name}: expected a real number, got {value!r}")
    result = float(value)
    if not np.isfinite(result) or result < low or result > high or (open_low and result == low):
        bracket = "(" if open_low else "["
        raise ValueError(
            f"{name}: expected a finite number in {bracket}{low:g}, {high:g}], got {value!r}"
        )
    return result


def check_count(value: Any, name: str, *, low: int = 0, high: int | None = None) -> int:
    """Return `value` as an int that is at least `low` (and at most `high`)."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name}: expected an integer, got {value!r}")
    result = int(value)
    if result < low or (high is not None and result > high):
        limit = f">= {low}" if high is None else f"in [{low}, {high}]"
        raise ValueError(f"{name}: expected an integer {limit}, got {value!r}")
    return result


def check_width(n_components: Any) -> int | None:
    """Return `n_components` as an int that is at least 1, None for "auto"."""
    if not isinstance(n_components, str):
        return check_count(n_components, "n_components", low=1)
    if n_components != "auto":
        raise ValueError(f"n_components: expected an integer or 'auto', got {n_components!r}")
    return None


def check_choice(value: Any, name: str, choices: tuple[str, ...]) -> str:
    """Return `value` if it is one of the names in `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name}: expected one of {choices}, got {value!r}{meant(value, choices)}")
    return value


def meant(value: Any, choices: Iterable[str]) -> str:
    """Return a question after the name that was meant, for the end of a message; "" if none is."""
    by_case = {choice.lower(): choice for choice in choices}
    near = get_close_matches(value.lower(), by_case, 1, 0.75) if isinstance(value, str) else []
    return f"; did you mean {by_case[near[0]]!r}?" if near else ""


def check_verbose(value: Any) -> bool:
    """Return whether to tell of progress: True, or a number above 0, as scikit-learn has it."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    return check_count(value, "verbose", low=0) > 0


def check_targets(y: Any, n: int) -> FloatArray:
    """Return `y` as float64 of shape (n,) or (n, k), refusing NaN and infinity."""
    if y is None:
        raise ValueError("y: this estimator requires y to be passed, but the target y is None")
    y = check_array(
        y,
        dtype=np.float64,
        ensure_2d=False,
        ensure_min_samples=0,
        ensure_min_features=0,
        input_name="y",
    )
    _check_length(y, "y", n)
    if y.ndim == 2 and y.shape[1] == 0:
        raise ValueError("y: expected at least one target, got none")
    return np.asarray(y)


def check_labels(y: Any, n: int) -> NDArray[Any]:
    """Return `y` as labels of shape (n,)."""
    if y is None:
        raise ValueError("y: this estimator requires y to be passed, but the target y is None")
    y = check_array(y, dtype=None, ensure_2d=False, ensure_min_samples=0, input_name="y")
    y = column_or_1d(y, warn=True)
    _check_length(y, "y", n)
    return np.asarray(y)


def check_weights(weight: Any, n: int, *, some: bool) -> FloatArray | None:
    """Return sample weights as float64 of shape (n,), >= 0; None stays None.

    If `some` they may not all be zero.
    """
    if weight is None:
        return None
    weight = np.asarray(weight)
    if weight.ndim != 1:
        raise ValueError(f"sample_weight: expected 1 dimension, got {weight.ndim}")
    weight = check_array(
        weight,
        dtype=np.float64,
        ensure_2d=False,
        ensure_min_samples=0,
        input_name="sample_weight",
    )
    _check_length(weight, "sample_weight", n)
    if np.any(weight < 0):
        raise ValueError(f"sample_weight: expected weights >= 0, got {weight.min():g}")
    if some and not np.any(weight):
        raise ValueError("sample_weight: expected a weight above zero, got zeros only")
    return np.asarray(weight)


def _check_length(values: Any, name: str, n: int) -> None:
    if len(values) != n:
        raise ValueError(
            f"{name}: inconsistent numbers of samples, expected {n} as X has rows, "
            f"got {len(values)}"
        )
