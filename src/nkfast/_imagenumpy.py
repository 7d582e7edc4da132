"""Kernels of a pair of images in NumPy, for activations that the core does not know."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._images import Stage
from .layers import Conv, Window

Array = NDArray[Any]


def pair_in_numpy(
    stages: list[Stage],
    x: Array,
    z: Array,
    left: list[Array],
    right: list[Array],
    readout: str,
) -> tuple[Array, Array]:
    """Return (K, Theta) of two images at a readout, as the core's programs do.

    Parameters
    ----------
    stages : list of Stage
    x, z : ndarray of shape (height, width, channels)
    left, right : list of ndarrays of shape (height, width)
        Variances of the images' pixels at each activation.
    readout : {"flatten", "mean", "diagonal"}
    """
    k = np.einsum("abc,dec->abde", x, z) / x.shape[2]
    theta = np.zeros_like(k)
    kept: list[tuple[Array, Array]] = []
    n_activations = 0
    for stage in stages:
        if stage.activation is not None:
            p, q = left[n_activations], right[n_activations]
            n_activations += 1
            k, slope = stage.activation._pair(p[:, :, None, None], q[None, None], k)
            theta = slope * theta
        elif stage.name == "push":
            kept.append((k, theta))
        elif stage.name == "add":
            start = kept.pop()
            k, theta = start[0] + k, start[1] + theta
        elif stage.name == "pool":
            assert stage.windows is not None
            k, theta = _pooled(k, stage.windows), _pooled(theta, stage.windows)
        else:
            assert isinstance(stage.layer, Conv)
            assert stage.windows is not None
            circular = stage.layer.padding == "CIRCULAR"
            w2, b2 = stage.layer.w_std**2, stage.layer.b_std**2
            k = w2 * _convolved(k, stage.windows, circular) + b2
            theta = w2 * _convolved(theta, stage.windows, circular) + k
    if readout == "mean":
        return k.mean(), theta.mean()
    same = np.einsum("abab->ab", k), np.einsum("abab->ab", theta)
    return same if readout == "diagonal" else (same[0].mean(), same[1].mean())


def _starts(window: Window, tap: int) -> slice:
    return slice(tap, tap + (window.out - 1) * window.stride + 1, window.stride)


def _convolved(k: Array, windows: tuple[Window, Window], circular: bool) -> Array:
    """Return the means of k[s p + o, s p' + o] over the filter, along rows and then columns."""
    for axis, window in enumerate(windows):
        before = window.before
        after = max((window.out - 1) * window.stride + window.taps - window.size - before, 0)
        pads = [(0, 0)] * 4
        pads[axis] = pads[axis + 2] = (before, after)
        padded = np.pad(k, pads, mode="wrap" if circular else "constant")
        index: list[Any] = [slice(None)] * 4
        total: Array = np.zeros(1)
        for tap in range(window.taps):
            index[axis] = index[axis + 2] = _starts(window, tap)
            total = total + padded[tuple(index)]
        k = total / window.taps
    return k


def _pooled(k: Array, windows: tuple[Window, Window]) -> Array:
    """Return the means over a window of p and one of p'."""
    for axis in range(4):
        window = windows[axis % 2]
        index: list[Any] = [slice(None)] * 4
        total: Array = np.zeros(1)
        for tap in range(window.taps):
            index[axis] = _starts(window, tap)
            total = total + k[tuple(index)]
        k = total / window.taps
    return k
