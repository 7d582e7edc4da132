"""What the compiled loops need to know of an activation between two sets of points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class DualMap:
    """A dual kernel as a compiled map; csrc/kernel/dual.hpp lists the kinds and their columns.

    `left` is (n, a) and `right` (m, a'): what is known of each row's and each column's point.
    """

    kind: str
    params: tuple[float, ...]
    left: NDArray[np.float64]
    right: NDArray[np.float64]
