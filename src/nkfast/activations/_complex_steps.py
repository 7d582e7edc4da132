"""Functions of complex steps: values whose tiny imaginary parts carry derivatives (see `gp`).

The squares of the imaginary parts are below rounding, so that the derivative along the real line is
all that a function needs, and the real part alone decides where a value lies.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from nkfast._arrays.validation import Array

# A step so small that its square is below rounding, far from underflow in any power of it.
STEP = 1e-25


def is_step(*values: Array) -> bool:
    """Return whether all values are real but for the imaginary parts of complex steps."""
    parts = [v for v in values if np.iscomplexobj(v)]
    size = max((float(np.abs(v.real).max(initial=1.0)) for v in parts), default=1.0)
    return all(float(np.abs(v.imag).max(initial=0.0)) < 1e-15 * size for v in parts)


def clipped(x: Array, low: float, high: float) -> Array:
    """Return x kept within [low, high]; what leaves it stands still."""
    inside = np.clip(x.real, low, high)
    return np.where(inside == x.real, x, inside) if np.iscomplexobj(x) else inside


def density(x: Array) -> Array:
    """Return the standard normal density."""
    value = np.exp(-np.minimum(x.real * x.real, 1e4) / 2) / np.sqrt(2 * np.pi)
    return np.asarray(value * (1 - 1j * x.real * x.imag) if np.iscomplexobj(x) else value)


def distribution(x: Array) -> Array:
    """Return the standard normal distribution function."""
    value = ndtr(x.real)
    return np.asarray(value + 1j * x.imag * density(x.real) if np.iscomplexobj(x) else value)
