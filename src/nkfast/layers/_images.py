"""Layers of images: convolutions, pools, and what makes rows of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, TypeAlias

import numpy as np

from nkfast._arrays.validation import Array, check_choice, check_count

from ._base import Diagonals, Layer, Moments, check_stds

PADDINGS = ("SAME", "VALID", "CIRCULAR")


@dataclass(frozen=True)
class Window:
    """A window that slides along one axis of an image.

    `before` positions of padding stand before the first; `size` and `out` are the lengths of the
    axis and of what becomes of it.
    """

    taps: int
    stride: int
    before: int
    size: int
    out: int

    @classmethod
    def inside(cls, taps: int, stride: int, size: int) -> Window:
        """Return a window without padding: positions that do not fit are dropped."""
        return cls(taps, stride, 0, size, (size - taps) // stride + 1 if size >= taps else 0)

    @property
    def after(self) -> int:
        """Positions of padding behind the last one."""
        reach = (self.out - 1) * self.stride + self.taps
        return max(reach - self.size - self.before, 0)


Windows: TypeAlias = tuple[Window, Window]  # along rows and columns


def window_means(x: Array, axes: tuple[int, ...], window: Window, circular: bool = False) -> Array:
    """Return means over windows along axes that move together, the padding counted as zeros."""
    pads = [(0, 0)] * x.ndim
    for axis in axes:
        pads[axis] = (window.before, window.after)
    padded = np.pad(x, pads, mode="wrap" if circular else "constant")
    index: list[Any] = [slice(None)] * x.ndim
    total: Array = np.zeros(1)
    for tap in range(window.taps):
        for axis in axes:
            index[axis] = slice(tap, tap + (window.out - 1) * window.stride + 1, window.stride)
        total = total + padded[tuple(index)]
    return total / window.taps


def _pair(value: Any, name: str) -> tuple[int, int]:
    """Return `value` as two counts, at least 1."""
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != 2:
        hint = f"; both alike are ({value}, {value})" if isinstance(value, Integral) else ""
        if hint and name == "filter_shape":
            hint += ". Channels are not counted: layers are infinitely wide"
        raise TypeError(f"{name}: expected two integers (rows, columns), got {value!r}{hint}")
    return check_count(value[0], name, low=1), check_count(value[1], name, low=1)


class _ImageLayer(Layer):
    """A layer whose points are pixels.

    What a pool makes of a pixel's variance is not known from the variances of the pixels: behind
    one `_pairs` has NaN for it, and whoever goes on puts in what the image's kernel with itself
    says.
    """

    _takes_images = True
    _is_gaussian = False

    def _kind(self, kind: str | None) -> str | None:
        if kind == "rows":
            raise ValueError("expected images, got flat rows from the layers before it")
        return "images"

    def _homogeneity(self) -> float | None:
        return 1.0


class Conv(_ImageLayer):
    """A convolutional layer in NTK parameterisation.

    Parameters
    ----------
    filter_shape : tuple of int, default=(3, 3)
        Rows and columns of the filter.
    strides : tuple of int, default=(1, 1)
        Steps between positions of the filter.
    padding : {"SAME", "VALID", "CIRCULAR"}, default="SAME"
        "SAME": zeros around the image, so that the output has ceil(size / stride) pixels, with the
        surplus at the end as in TensorFlow; "CIRCULAR": the same, with the image repeated; "VALID":
        none.
    w_std : float, default=1.0
        Standard deviation of the weights; the output is scaled by 1 / sqrt(fan-in), the fan-in
        counting every entry of the filter.
    b_std : float, default=0.0
        Standard deviation of the bias.

    Notes
    -----
    For pixels p, p' of two images K[p, p'] <- w_std^2 mean over o of K[s p + o, s p' + o] + b_std^2
    with zeros outside, and Theta <- w_std^2 mean of Theta + K_new (Arora et al. 2019; Novak et al.
    2020).

    Examples
    --------
    >>> import nkfast as nk
    >>> nk.Conv((5, 3), padding="VALID", w_std=1.4)
    Conv(filter_shape=(5, 3), strides=(1, 1), padding='VALID', w_std=1.4, b_std=0.0)
    """

    _is_gaussian = True
    _is_affine = True

    def __init__(
        self,
        filter_shape: tuple[int, int] = (3, 3),
        strides: tuple[int, int] = (1, 1),
        padding: str = "SAME",
        w_std: float = 1.0,
        b_std: float = 0.0,
    ) -> None:
        self.filter_shape = _pair(filter_shape, "filter_shape")
        self.strides = _pair(strides, "strides")
        check_choice(padding, "padding", PADDINGS)
        check_stds(w_std, b_std)
        self.padding = padding
        self.w_std = w_std
        self.b_std = b_std

    def _homogeneity(self) -> float | None:
        return 1.0 if self.b_std == 0 else None

    def _accept(self, visitor: Any) -> None:
        visitor.conv(self)

    def _means(self, x: Array, rows: tuple[int, ...], cols: tuple[int, ...]) -> Array:
        """Return means over the filter, along axes of rows and of columns."""
        along_rows, along_cols = self._windows((x.shape[rows[0]], x.shape[cols[0]]))
        circular = self.padding == "CIRCULAR"
        return window_means(window_means(x, rows, along_rows, circular), cols, along_cols, circular)

    def _pairs(self, m: Moments) -> Moments:
        w2, b2 = self.w_std**2, self.b_std**2
        k = w2 * self._means(m.k, (0, 2), (1, 3)) + b2
        theta = w2 * self._means(m.theta, (0, 2), (1, 3)) + k
        p, q = w2 * self._means(m.p, (0,), (1,)) + b2, w2 * self._means(m.q, (2,), (3,)) + b2
        return Moments(k, theta, p, q)

    def _diagonal(self, d: Diagonals) -> Diagonals:
        w2, b2 = self.w_std**2, self.b_std**2
        k = w2 * self._means(d.k, (1,), (2,)) + b2
        return Diagonals(k, w2 * self._means(d.theta, (1,), (2,)) + k)

    def _windows(self, shape: tuple[int, int]) -> Windows:
        """Return the windows along rows and columns of images of this shape."""
        windows = []
        for size, taps, stride in zip(shape, self.filter_shape, self.strides, strict=True):
            if self.padding == "VALID":
                windows.append(Window.inside(taps, stride, size))
            else:
                out = -(-size // stride)
                before = max((out - 1) * stride + taps - size, 0) // 2
                windows.append(Window(taps, stride, before, size, out))
        if not all(window.out for window in windows):
            raise ValueError(
                f"expected images of at least {self.filter_shape} pixels for this filter without "
                f"padding, got {shape}"
            )
        return windows[0], windows[1]


class AvgPool(_ImageLayer):
    """Means over windows of pixels.

    Parameters
    ----------
    window : tuple of int
        Rows and columns of the window.
    strides : tuple of int, optional
        Steps between windows; by default the window, so that they do not overlap.

    Notes
    -----
    There is no padding: windows that do not fit into the image are dropped. K[p, p'] becomes the
    mean over all pairs of a pixel of p's window and one of p''s.

    Examples
    --------
    >>> import nkfast as nk
    >>> nk.AvgPool((2, 2))
    AvgPool(window=(2, 2), strides=None)
    """

    def __init__(self, window: tuple[int, int], strides: tuple[int, int] | None = None) -> None:
        self.window = _pair(window, "window")
        self.strides = None if strides is None else _pair(strides, "strides")

    def _accept(self, visitor: Any) -> None:
        visitor.pool(self)

    def _means(self, x: Array) -> Array:
        """Return means over a window of p and one of p'."""
        windows = self._windows((x.shape[0], x.shape[1])) + self._windows((x.shape[2], x.shape[3]))
        for axis, window in enumerate(windows):
            x = window_means(x, (axis,), window)
        return x

    def _pairs(self, m: Moments) -> Moments:
        k = self._means(m.k)
        return Moments(k, self._means(m.theta), *_unknown(k))

    def _windows(self, shape: tuple[int, int]) -> Windows:
        """Return the windows along rows and columns of images of this shape."""
        rows, cols = map(Window.inside, self.window, self.strides or self.window, shape)
        if not (rows.out and cols.out):
            raise ValueError(f"expected images of at least {self.window} pixels, got {shape}")
        return rows, cols


class GlobalAvgPool(_ImageLayer):
    """The mean over all pixels: images become rows, one entry for each channel.

    Notes
    -----
    K becomes the mean over all pairs of pixels.

    Examples
    --------
    >>> import numpy as np, nkfast as nk
    >>> net = nk.Sequential(nk.Conv(), nk.ReLU(), nk.GlobalAvgPool(), nk.Dense())
    >>> net.ntk(np.ones((2, 8, 8, 3))).shape
    (2, 2)
    """

    def _kind(self, kind: str | None) -> str | None:
        super()._kind(kind)
        return "rows"

    def _accept(self, visitor: Any) -> None:
        visitor.global_pool(self)

    def _pairs(self, m: Moments) -> Moments:
        k = m.k.mean(keepdims=True)
        return Moments(k, m.theta.mean(keepdims=True), *_unknown(k))


class Flatten(_ImageLayer):
    """Images become rows with all their pixels' channels. Rows stay as they are.

    Notes
    -----
    K becomes the mean over equal positions.

    Examples
    --------
    >>> import numpy as np, nkfast as nk
    >>> net = nk.Sequential(nk.Conv(), nk.ReLU(), nk.Flatten(), nk.Dense())
    >>> net.nngp(np.ones((2, 8, 8, 3))).shape
    (2, 2)
    """

    def _kind(self, kind: str | None) -> str | None:  # noqa: ARG002
        return "rows"

    def _accept(self, visitor: Any) -> None:
        visitor.flatten(self)

    def _pairs(self, m: Moments) -> Moments:
        if m.k.ndim < 4:  # of rows
            return m
        k, theta = (np.einsum("abab->", x)[None, None, None, None] for x in (m.k, m.theta))
        n = m.k.shape[0] * m.k.shape[1]
        p, q = (x.mean(keepdims=True) for x in (m.p, m.q))
        return Moments(k / n, theta / n, p, q)

    def _diagonal(self, d: Diagonals) -> Diagonals:
        if d.k.ndim < 3:
            return d
        return Diagonals(*(x.mean(axis=(1, 2), keepdims=True) for x in (d.k, d.theta)))


def _unknown(k: Array) -> tuple[Array, Array]:
    """Return variances behind a pool, which are not known here."""
    return np.full((*k.shape[:2], 1, 1), np.nan), np.full((1, 1, *k.shape[2:]), np.nan)
