"""Activations and their dual kernels k(p, q, c) = E f(u) f(v), (u, v) ~ N(0, [[p, c], [c, q]])."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

from ._dualmap import DualMap
from ._parameters import Parameters
from ._validation import check_count, check_real

Array = NDArray[Any]


class Activation(Parameters):
    """A pointwise nonlinearity, known by its function and by its dual kernel.

    Subclasses give `__call__`, `_pair` (k and kdot, also for complex c) and
    `hermite_coefficients`.
    """

    _homogeneity: float | None = None  # h if f(t x) = t^h f(x) for every t > 0

    def __call__(self, x: ArrayLike) -> Array:
        """Return the function's value at every entry of `x`."""
        raise NotImplementedError

    def _pair(self, p: Array, q: Array, c: Array) -> tuple[Array, Array]:
        """Return (k, kdot). A complex `c` asks for the analytic continuation in |rho| < 1."""
        raise NotImplementedError

    def dual(self, p: ArrayLike, q: ArrayLike, c: ArrayLike) -> Array:
        r"""Return E[f(u) f(v)] for Gaussian u, v with variances `p`, `q` and covariance `c`.

        Parameters
        ----------
        p, q, c : array_like
            Variances (>= 0) and covariance; they broadcast. \|c\| may exceed sqrt(p q) by
            rounding only.

        Returns
        -------
        ndarray
            The dual kernel, of the broadcast shape.

        Examples
        --------
        >>> import nkfast as nk
        >>> float(nk.ReLU().dual(1.0, 1.0, 1.0))
        0.5
        """
        return self._pair(*_covariance(p, q, c))[0]

    def dual_derivative(self, p: ArrayLike, q: ArrayLike, c: ArrayLike) -> Array:
        """Return E[f'(u) f'(v)] = d dual / d c (Price's theorem); parameters as in `dual`.

        Examples
        --------
        >>> import nkfast as nk
        >>> float(nk.ReLU().dual_derivative(1.0, 1.0, 1.0))
        0.5
        """
        return self._pair(*_covariance(p, q, c))[1]

    def _dual_map(
        self,
        p_left: Array,  # noqa: ARG002
        p_right: Array,  # noqa: ARG002
        tol: float,  # noqa: ARG002
    ) -> DualMap | None:
        """Return the compiled map between points of these variances; None if there is none."""
        return None

    def _diagonal(self, p: Array) -> tuple[Array, Array]:
        """Return (E f(u)^2, E f'(u)^2) for u ~ N(0, p): the pair at c = p = q."""
        return self._pair(p, p, p)

    def hermite_coefficients(self, std: float, degree: int) -> Array:
        """Return a_l = E[f(std z) h_l(z)], l = 0..degree, h_l the orthonormal Hermite polynomials.

        Parameters
        ----------
        std : float
            Standard deviation of the Gaussian input.
        degree : int
            Highest degree.

        Returns
        -------
        ndarray of shape (degree + 1,)

        Notes
        -----
        With them dual(p, q, c) = sum_l a_l(sqrt p) a_l(sqrt q) rho^l, rho = c / sqrt(p q)
        (Mehler; Daniely, Frostig & Singer 2016).

        Examples
        --------
        >>> import nkfast as nk
        >>> nk.ReLU().hermite_coefficients(1.0, 3).round(4).tolist()
        [0.3989, 0.5, 0.2821, 0.0]
        """
        raise NotImplementedError


def _covariance(p: ArrayLike, q: ArrayLike, c: ArrayLike) -> tuple[Array, Array, Array]:
    p, q, c = np.asarray(p), np.asarray(q), np.asarray(c)
    if np.any(p < 0) or np.any(q < 0):
        raise ValueError("p, q: expected variances >= 0, got a negative value")
    return p, q, c


def _angle(p: Array, q: Array, c: Array) -> tuple[Array, Array]:
    """Return (sqrt(D), theta) with D = p q - c^2 and cos(theta) = c / sqrt(p q).

    Where D is at rounding level it is taken as zero: arccos would turn one ulp of the
    covariance into 1e-8 of angle.
    """
    if np.iscomplexobj(c):
        pq = p * q
        root = np.sqrt(pq - c * c)
        with np.errstate(divide="ignore", invalid="ignore"):
            rho = np.where(pq > 0, c / np.sqrt(pq), 0)
        return root, np.arccos(rho)
    # The factors of D = (s - c)(s + c), s = sqrt(p q), neither overflow nor vanish where D does.
    s = np.sqrt(p) * np.sqrt(q)
    below, above = s - c, s + c
    eps = np.finfo(np.result_type(p, q, c, np.float32)).eps
    root = np.sqrt(np.maximum(below, 0)) * np.sqrt(np.maximum(above, 0))
    root = np.where(np.minimum(below, above) <= 32 * eps * s, 0, root)
    return root, np.arctan2(root, c)


def _deviations(p: Array) -> Array:
    """Return the columns sqrt(p) and 1 / sqrt(p), 0 where p is 0."""
    s = np.sqrt(p)
    return np.stack([s, np.divide(1, s, out=np.zeros_like(s), where=s > 0)], axis=-1)


class _Rectifier(Activation):
    """a min(x, 0) + b max(x, 0): the family of ReLU, leaky ReLU and the absolute value."""

    _homogeneity = 1.0

    def _slopes(self) -> tuple[float, float]:
        raise NotImplementedError

    def __call__(self, x: ArrayLike) -> Array:
        a, b = self._slopes()
        x = np.asarray(x)
        return np.asarray(a * np.minimum(x, 0) + b * np.maximum(x, 0))

    def _pair(self, p: Array, q: Array, c: Array) -> tuple[Array, Array]:
        # Cho & Saul 2009, eqs. (3)-(6), order 1, for both half-lines at once.
        a, b = self._slopes()
        root, theta = _angle(p, q, c)
        slope = ((a * a + b * b) * (np.pi - theta) + 2 * a * b * theta) / (2 * np.pi)
        return (a - b) ** 2 / (2 * np.pi) * root + c * slope, slope

    def _dual_map(self, p_left: Array, p_right: Array, tol: float) -> DualMap:  # noqa: ARG002
        left, right = _deviations(p_left), _deviations(p_right)
        return DualMap("rectifier", self._slopes(), left, right)

    def _diagonal(self, p: Array) -> tuple[Array, Array]:
        a, b = self._slopes()
        slope = (a * a + b * b) / 2
        return slope * p, np.full_like(p, slope)

    def hermite_coefficients(self, std: float, degree: int) -> Array:
        std = check_real(std, "std", low=0)
        degree = check_count(degree, "degree")
        a, b = self._slopes()
        l = np.arange(degree + 1)
        even = np.where(l % 2 == 0, l, 2)
        # E[max(z, 0) h_l(z)] for even l >= 2: (-1)^{l/2 - 1} (l - 3)!! / sqrt(2 pi l!)
        size = np.exp(
            (even - 2) / 2 * np.log(2)
            + gammaln((np.maximum(even, 2) - 1) / 2)
            - gammaln(even + 1) / 2
        )
        value = np.where(l % 2 == 0, (-1.0) ** (even // 2 - 1) * size / np.sqrt(2 * np.pi**2), 0.0)
        value[0] = 1 / np.sqrt(2 * np.pi)
        if degree >= 1:
            value[1] = 0.5
        return std * (b - a * (-1.0) ** l) * value


class ReLU(_Rectifier):
    """The rectifier max(x, 0), whose dual is the arc-cosine kernel of order one.

    References
    ----------
    Cho & Saul, "Kernel methods for deep learning", NIPS 2009.

    Examples
    --------
    >>> import nkfast as nk
    >>> nk.ReLU()([-1.0, 2.0]).tolist()
    [0.0, 2.0]
    """

    def _slopes(self) -> tuple[float, float]:
        return 0.0, 1.0


_BY_NAME: dict[str, type[Activation]] = {"relu": ReLU}


def get_activation(activation: str | Activation) -> Activation:
    """Return the activation named `activation`, or the object itself."""
    if isinstance(activation, Activation):
        return activation
    if isinstance(activation, str):
        if activation in _BY_NAME:
            return _BY_NAME[activation]()
        raise ValueError(
            f"activation: expected one of {sorted(_BY_NAME)} or an activation object, "
            f"got {activation!r}"
        )
    raise TypeError(
        "activation: expected a name or an activation object (an instance, not the class), "
        f"got {activation!r}"
    )
