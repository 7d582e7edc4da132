"""Layers of images: convolutions, pools, and what makes rows of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nkfast._arrays.validation import check_choice, check_count, check_real

from ._base import Diagonals, Layer, Moments

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


def _pair(value: Any, name: str) -> tuple[int, int]:
    """Return `value` as two counts, at least 1."""
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != 2:
        raise TypeError(f"{name}: expected two integers (rows, columns), got {value!r}")
    return check_count(value[0], name, low=1), check_count(value[1], name, low=1)


class _ImageLayer(Layer):
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
        check_real(w_std, "w_std", low=0)
        check_real(b_std, "b_std", low=0)
        self.padding = padding
        self.w_std = w_std
        self.b_std = b_std

    def _homogeneity(self) -> float | None:
        return 1.0 if self.b_std == 0 else None

    def _windows(self, shape: tuple[int, int]) -> tuple[Window, Window]:
        """Return the windows along rows and columns of images of this shape."""
        windows = []
        for size, taps, stride in zip(shape, self.filter_shape, self.strides, strict=True):
            if self.padding == "VALID":
                before, out = 0, (size - taps) // stride + 1 if size >= taps else 0
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

    def _windows(self, shape: tuple[int, int]) -> tuple[Window, Window]:
        """Return the windows along rows and columns of images of this shape."""
        strides = self.strides or self.window
        if shape[0] < self.window[0] or shape[1] < self.window[1]:
            raise ValueError(f"expected images of at least {self.window} pixels, got {shape}")
        rows, cols = (
            Window(taps, stride, 0, size, (size - taps) // stride + 1)
            for size, taps, stride in zip(shape, self.window, strides, strict=True)
        )
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

    def _pairs(self, m: Moments) -> Moments:
        return m

    def _diagonal(self, d: Diagonals) -> Diagonals:
        return d
