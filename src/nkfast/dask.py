"""Learners and feature maps on Dask arrays (the extra ``dask``)."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from nkfast._arrays.validation import Array

from .features._base import FeatureMap
from .learn._learner import NTKLearner, empty_copy, refitting, running_sums
from .learn._ridge._state import Stream

if TYPE_CHECKING:
    from dask.array import Array as DaskArray  # need not be installed

__all__ = ["fit", "predict", "transform"]

L = TypeVar("L", bound=NTKLearner)
_MERGED = 4  # sums that are added at a time: how many of (m, m) numbers a worker holds


def fit(
    model: L,
    X: DaskArray,
    y: DaskArray,
    sample_weight: DaskArray | None = None,
    *,
    classes: ArrayLike | None = None,
) -> L:
    """Fit a learner on Dask arrays: each block's sums where the block lies, then their total.

    Parameters
    ----------
    model : NTKRegressor or NTKClassifier
        Is fitted, forgetting what it learnt before. Not with ``method="exact"`` or ``alpha="loo"``.
    X : dask.array.Array of shape (n, d), or images
        Blocks of rows; columns are not cut.
    y : dask.array.Array of shape (n,) or (n, n_targets)
        Is cut as `X` is.
    sample_weight : dask.array.Array of shape (n,), optional
    classes : array_like, optional
        All labels of a classifier; by default found in a first pass over `y`.

    Returns
    -------
    model

    Raises
    ------
    ImportError
        Without Dask.
    TypeError, ValueError
        On arrays that are not Dask's or do not fit each other, and as `partial_fit`.
    AttributeError
        If the learner cannot stream.

    Notes
    -----
    The feature map is fitted on the first block with a row of weight above zero, here; then it goes
    to the workers. The result is that of ``model.fit_blocks`` on the same blocks, up to rounding.

    Examples
    --------
    >>> import nkfast as nk, nkfast.dask
    >>> import dask.array as da
    >>> X = da.random.default_rng(0).standard_normal((1000, 4), chunks=(250, 4))
    >>> model = nk.dask.fit(nk.NTKRegressor(n_components=64, random_state=0), X, abs(X[:, 0]))
    >>> nk.dask.predict(model, X).shape
    (1000,)
    """
    import dask

    X = _rows(X, "X")
    columns = [X, _like(y, X, "y")]
    if sample_weight is not None:
        columns.append(_like(sample_weight, X, "sample_weight"))
    options: dict[str, Any] = {}
    learner: Any = model
    learner.partial_fit  # noqa: B018  # refuses what cannot stream
    model._refuse_excess(None, stream=True)
    if hasattr(model, "predict_proba"):
        options["classes"] = _labels(*columns[1:]) if classes is None else classes
    parts = [_delayed_blocks(column) for column in columns]
    blocks = iter(zip(*parts, strict=True))
    with refitting(model):
        for block in blocks:  # up to the first with a row that counts
            first = dask.compute(block)[0]
            learner.partial_fit(*first[:2], sample_weight=(*first, None)[2], **options)
            if hasattr(model, "_fitted"):
                break
        else:
            raise ValueError("X: expected a row of weight above zero, got none")
        rest = list(blocks)
        if rest:
            empty = dask.delayed(empty_copy(model))
            add = dask.delayed(_sums, pure=False)
            sums = [add(empty, seed, *block) for seed, block in enumerate(rest)]
            while len(sums) > 1:
                groups = [sums[i : i + _MERGED] for i in range(0, len(sums), _MERGED)]
                sums = [dask.delayed(_total, pure=False)(group) for group in groups]
            running_sums(model).merge(sums[0].compute())
    return model


def transform(features: FeatureMap, X: DaskArray) -> DaskArray:
    """Return the features of a fitted map, block by block, as a Dask array.

    Parameters
    ----------
    features : NTKFeatures, NNGPFeatures or Nystroem
        Fitted.
    X : dask.array.Array of shape (n, d), or images

    Returns
    -------
    dask.array.Array of shape (n, n_components)

    Raises
    ------
    NotFittedError
        Before the map's `fit`.

    Examples
    --------
    >>> import nkfast as nk, nkfast.dask
    >>> import dask.array as da
    >>> X = da.random.default_rng(0).standard_normal((1000, 4), chunks=(250, 4))
    >>> phi = nk.NTKFeatures(n_components=64, random_state=0).fit(X[:250].compute())
    >>> nk.dask.transform(phi, X).shape
    (1000, 64)
    """
    return _mapped(features.transform, X, features)


def predict(model: NTKLearner, X: DaskArray, method: str = "predict") -> DaskArray:
    """Return the predictions of a fitted learner, block by block, as a Dask array.

    Parameters
    ----------
    model : NTKRegressor or NTKClassifier
        Fitted.
    X : dask.array.Array of shape (n, d), or images
    method : {"predict", "predict_proba", "decision_function"}, default="predict"

    Returns
    -------
    dask.array.Array of shape (n,) or (n, k)

    Raises
    ------
    NotFittedError
        Before the learner's `fit`.
    ValueError
        On a method that the learner does not have.

    Examples
    --------
    See `fit`.
    """
    if method not in ("predict", "predict_proba", "decision_function") or not hasattr(
        model, method
    ):
        raise ValueError(f"method: expected one that {type(model).__name__} has, got {method!r}")
    return _mapped(getattr(model, method), X, model)


def _mapped(function: Any, X: DaskArray, estimator: Any) -> DaskArray:
    check_is_fitted(estimator)
    X = _rows(X, "X")
    sample = function(np.zeros((1, *X.shape[1:]), X.dtype))
    dropped = list(range(1, X.ndim))
    options: dict[str, Any] = {"dtype": sample.dtype, "meta": sample[:0]}
    if sample.ndim == 2:
        options["chunks"] = (X.chunks[0], (sample.shape[1],))
        del dropped[:1]
    if dropped:
        options["drop_axis"] = dropped
    return cast("DaskArray", X.map_blocks(function, **options))


def _rows(X: Any, name: str) -> DaskArray:
    import dask.array as da

    if not isinstance(X, da.Array):
        raise TypeError(f"{name}: expected a dask.array.Array, got {type(X).__name__}")
    return cast("DaskArray", X.rechunk(dict.fromkeys(range(1, X.ndim), -1)))


def _like(y: Any, X: DaskArray, name: str) -> DaskArray:
    values = _rows(y, name)
    if values.shape[0] != X.shape[0] and not np.isnan(values.shape[0] + X.shape[0]):
        raise ValueError(
            f"{name}: inconsistent numbers of samples, expected {X.shape[0]} as X has rows, "
            f"got {values.shape[0]}"
        )
    if np.isnan(X.shape[0]):  # of unknown length; blocks have to fit as they are
        return values
    return cast("DaskArray", values.rechunk({0: X.chunks[0]}))


def _delayed_blocks(column: DaskArray) -> list[Any]:
    return list(column.to_delayed().ravel())


def _labels(y: DaskArray, weight: DaskArray | None = None) -> Array:
    import dask.array as da

    return np.asarray(da.unique(y if weight is None else y[weight > 0]).compute())


def _sums(empty: Any, seed: int, X: Any, y: Any, weight: Any = None) -> Stream:
    """Return the sums of one block."""
    model = empty_copy(empty, [1, seed])
    model.partial_fit(X, y, sample_weight=weight)
    return running_sums(model)


def _total(streams: list[Stream]) -> Stream:
    total = copy.deepcopy(streams[0])  # a task must not change its input
    for stream in streams[1:]:
        total.merge(stream)
    return total
