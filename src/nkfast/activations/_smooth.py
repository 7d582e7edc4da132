"""Activations without closed dual kernels that are smooth, or bend at zero only."""

from __future__ import annotations

import numpy as np

from nkfast._arrays.validation import Array, check_real

from ._numerical import Numerical


class _Smooth(Numerical):
    """One whose function and derivative have much in common."""

    def _function(self, x: Array) -> Array:
        return self._both(x)[0]

    def _derivative(self, x: Array) -> Array:
        return self._both(x)[1]


def _logistic(x: Array) -> tuple[Array, Array]:
    """Return 1 / (1 + exp(-x)) and 1 / (1 + exp(x))."""
    z = np.exp(-np.abs(x))
    large = 1 / (1 + z)
    small = z * large
    above = x > 0
    return np.where(above, large, small), np.where(above, small, large)


class Tanh(_Smooth):
    """The hyperbolic tangent.

    Examples
    --------
    >>> import nkfast as nk
    >>> float(nk.Tanh().dual(1.0, 1.0, 0.5).round(6))
    0.186324
    """

    def _both(self, x: Array) -> tuple[Array, Array]:
        t = np.tanh(x)
        return t, (1 - t) * (1 + t)


class Sigmoid(_Smooth):
    """The logistic function 1 / (1 + exp(-x)).

    Examples
    --------
    >>> import nkfast as nk
    >>> nk.Sigmoid()([0.0]).tolist()
    [0.5]
    """

    def _both(self, x: Array) -> tuple[Array, Array]:
        rise, fall = _logistic(x)
        return rise, rise * fall


class Softplus(_Smooth):
    """log(1 + exp(beta x)) / beta.

    Parameters
    ----------
    beta : float, default=1
        Sharpness, > 0.

    Examples
    --------
    >>> import nkfast as nk
    >>> nk.Softplus()([0.0]).round(4).tolist()
    [0.6931]
    """

    def __init__(self, beta: float = 1.0) -> None:
        check_real(beta, "beta", low=0, open_low=True)
        self.beta = beta

    def _both(self, x: Array) -> tuple[Array, Array]:
        y = self.beta * x
        return (np.maximum(y, 0) + np.log1p(np.exp(-np.abs(y)))) / self.beta, _logistic(y)[0]


class SiLU(_Smooth):
    """x / (1 + exp(-x)), also known as swish.

    References
    ----------
    Elfwing, Uchibe & Doya, Neural Networks 107 (2018).

    Examples
    --------
    >>> import nkfast as nk
    >>> nk.SiLU()([1.0]).round(4).tolist()
    [0.7311]
    """

    def _both(self, x: Array) -> tuple[Array, Array]:
        rise, fall = _logistic(x)
        return x * rise, rise * (1 + x * fall)


class Mish(_Smooth):
    """x tanh(log(1 + exp(x))).

    References
    ----------
    Misra, "Mish: a self regularized non-monotonic activation function", BMVC 2020.

    Examples
    --------
    >>> import nkfast as nk
    >>> nk.Mish()([1.0]).round(4).tolist()
    [0.8651]
    """

    def _both(self, x: Array) -> tuple[Array, Array]:
        # tanh(log(1 + y)) = y (2 + y) / (1 + (1 + y)^2), by exp(-|x|) on both sides
        z = np.exp(-np.abs(x))
        up, down = 1 + 2 * z, z * (2 + z)
        above = x > 0
        low = np.where(above, 2 * z * z, 2.0)
        high = np.where(above, up, down)
        t = high / (high + low)
        fall = low / (high + low)
        return x * t, t + x * fall * (1 + t) * (np.where(above, 1.0, z) / (1 + z))


class _KinkAtZero(_Smooth):
    _kinks = (0.0,)


class ELU(_KinkAtZero):
    """x for x > 0, alpha (exp(x) - 1) for x < 0.

    Parameters
    ----------
    alpha : float, default=1

    References
    ----------
    Clevert, Unterthiner & Hochreiter, ICLR 2016.

    Examples
    --------
    >>> import nkfast as nk
    >>> nk.ELU()([-1.0, 2.0]).round(4).tolist()
    [-0.6321, 2.0]
    """

    def __init__(self, alpha: float = 1.0) -> None:
        check_real(alpha, "alpha")
        self.alpha = alpha

    def _constants(self) -> tuple[float, float, float]:
        """Return (scale of x > 0, size and length of the exponential)."""
        return 1.0, self.alpha, 1.0

    def _both(self, x: Array) -> tuple[Array, Array]:
        scale, size, length = self._constants()
        below = np.expm1(np.minimum(x, 0) / length)
        above = x > 0
        slope = np.where(above, scale, size / length * (below + 1))
        return np.where(above, scale * x, size * below), slope


class SELU(ELU):
    """1.0507 ELU(x) with alpha = 1.6733: the scaled exponential linear unit.

    References
    ----------
    Klambauer et al., "Self-normalizing neural networks", NIPS 2017.

    Examples
    --------
    >>> import nkfast as nk
    >>> nk.SELU()([1.0]).round(4).tolist()
    [1.0507]
    """

    def __init__(self) -> None:
        super().__init__(1.6732632423543772848170429916717)

    def _constants(self) -> tuple[float, float, float]:
        scale = 1.0507009873554804934193349852946
        return scale, scale * self.alpha, 1.0


class CELU(ELU):
    """x for x > 0, alpha (exp(x / alpha) - 1) for x < 0.

    Parameters
    ----------
    alpha : float, default=1
        > 0.

    References
    ----------
    Barron, "Continuously differentiable exponential linear units", arXiv:1704.07483.

    Examples
    --------
    >>> import nkfast as nk
    >>> nk.CELU(2.0)([-2.0]).round(4).tolist()
    [-1.2642]
    """

    def __init__(self, alpha: float = 1.0) -> None:
        check_real(alpha, "alpha", low=0, open_low=True)
        self.alpha = alpha

    def _constants(self) -> tuple[float, float, float]:
        return 1.0, self.alpha, self.alpha


class Softsign(_KinkAtZero):
    """x / (1 + |x|).

    Examples
    --------
    >>> import nkfast as nk
    >>> nk.Softsign()([-1.0, 3.0]).tolist()
    [-0.5, 0.75]
    """

    def _both(self, x: Array) -> tuple[Array, Array]:
        y = 1 / (1 + np.abs(x))
        return x * y, y * y
