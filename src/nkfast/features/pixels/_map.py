"""Feature maps of networks of images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nkfast._arrays.blocks import blocks
from nkfast._arrays.mapped import take
from nkfast._arrays.memory import refuse_bytes
from nkfast._arrays.validation import Array, Doubles, FloatArray
from nkfast._config import get_num_threads
from nkfast._core import PixelProgram
from nkfast.kernels import Kernel
from nkfast.networks import Sequential
from nkfast.sketch._program import Compiled

from ._plan import PixelPlan

Shape = tuple[int, int, int]

_FAR = 16  # exponent of images, beside those of the fit, from which on float64 is taken

DEGREE = 4  # highest power at an activation; what lies above counts there
_LEAST_WIDTH, _MOST_WIDTH = 128, 2048  # of a pixel, if not given


def default_width(n_components: int) -> int:
    """Return the features of a pixel for so many of an image."""
    power = 1 << int(np.log2(16 * n_components**0.5))
    return int(np.clip(power, _LEAST_WIDTH, _MOST_WIDTH))


@dataclass
class ImageSample:
    """Images to which a map is fitted."""

    net: Sequential
    X: FloatArray

    def rows(self, some: NDArray[np.int64]) -> FloatArray:
        """Return some images in float64."""
        return np.asarray(take(self.X, some), np.float64)


class PixelMap(Compiled):
    """Features of images for the kernel of a network, drawn for images like `X`.

    Parameters
    ----------
    net : Sequential
    kernel : {"nngp", "ntk"}
    X : ndarray of shape (n, h, w, c)
    n_components : int
        Columns of the features.
    width : int
        Features of a pixel at full resolution.
    degree : int
        Highest power at an activation.
    rng : RandomState
    """

    _compiled: PixelProgram | None = None

    def __init__(
        self,
        net: Sequential,
        kernel: Kernel,
        X: FloatArray,
        n_components: int,
        width: int,
        degree: int,
        rng: np.random.RandomState,
    ) -> None:
        self.shape: Shape = X.shape[1], X.shape[2], X.shape[3]
        self.n_components = n_components
        self.width = width
        self.degree = degree
        self.plan = PixelPlan(
            net, self.shape, _size(X), kernel == "ntk", width, degree, n_components, rng
        )
        what = f"a thread's images of {width} features a pixel"
        refuse_bytes(self.bytes_per_thread, "pixel_components", what)

    def fitted(self) -> dict[str, Any]:
        """Return what the estimator shows of it."""
        return {"pixel_components_": self.width}

    @property
    def bytes_per_thread(self) -> int:
        """Memory that a thread works in, about, for float32."""
        return 0 if self.plan.zero else self._program().bytes_per_thread

    def may_overflow(self, X: FloatArray, norms: Doubles | None = None) -> bool:  # noqa: ARG002
        """Return whether features of these rows may be too large for their type."""
        return True

    def transform(self, X: FloatArray, norms: Doubles | None = None) -> Array:  # noqa: ARG002
        """Return the features of checked images, (n, n_components)."""
        if self.plan.zero:
            return np.zeros((len(X), self.n_components), X.dtype)
        program, threads = self._program(), min(get_num_threads(), len(X))
        what = f"images of {self.width} features a pixel in {threads} threads"
        refuse_bytes(program.bytes_per_thread * threads, "pixel_components", what)
        out = np.empty((len(X), self.n_components), X.dtype)
        for rows in blocks(len(X), 1 << 12):  # some of them, so that Ctrl-C is heard
            self._run(np.ascontiguousarray(X[rows]).reshape(rows.stop - rows.start, -1), out[rows])
        return out

    def _run(self, X: FloatArray, out: Array) -> None:
        """Write the features of flat images.

        Computed in float32, whose rounding is far below the noise of sketches; but in float64 where
        nothing is sketched, and for images for which float32 is too narrow: homogeneous networks
        read every image in a unit of its own, others see what they were fitted to in float32's
        middle, and have powers of far larger and smaller numbers to store.
        """
        program, n_threads = self._program(), get_num_threads()
        if X.dtype == np.float64 and not self.plan.sketched:
            program.run(X, out, n_threads, False)
            return
        far = np.zeros(len(X), bool)
        if self.plan.power is None:
            sizes = np.frexp(np.abs(X).max(axis=1))
            far = (sizes[0] > 0) & (np.abs(sizes[1] - self.plan.exponent) > _FAR)
        if not far.any():
            program.run(X, out, n_threads, True)
        else:
            near = np.empty((int((~far).sum()), out.shape[1]), out.dtype)
            program.run(X[~far], near, n_threads, True)
            out[~far] = near
        if X.dtype == np.float64:  # which can hold what overflows on the way
            far[~far] = ~np.isfinite(out[~far]).all(axis=1)
        if far.any():
            wide = np.empty((int(far.sum()), out.shape[1]))
            program.run(X[far].astype(np.float64), wide, n_threads, False)
            with np.errstate(over="ignore"):  # which is noticed
                out[far] = wide

    def _program(self) -> PixelProgram:
        if self._compiled is None:
            self._compiled = self.plan.compile()
        return self._compiled


def _size(X: FloatArray) -> float:
    """Return the root mean square of the entries, whatever their size."""
    largest = float(np.abs(X).max())
    if largest == 0:
        return 0.0
    return largest * float(np.sqrt(np.mean(np.square(X / largest, dtype=np.float64))))
