"""What every activation has: its function and its dual kernels.

k(p, q, c) = E f(u) f(v) and kdot(p, q, c) = E f'(u) f'(v) for (u, v) ~ N(0, [[p, c], [c, q]]).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from nkfast._arrays.validation import Array, check_count, check_real
from nkfast._parameters import Parameters

from ._complex_steps import is_step
from ._dual_map import DualMap
from ._quadrature import hermite_integrals

Span: TypeAlias = tuple[float, float]

# Standard deviations below which a_l(s) / s is at rounding level, next to f(0), or if that is 0.
_LEAST_STD, _LEAST_OF_ALL = 1e-4, 1e-75


class Activation(Parameters):
    """A pointwise nonlinearity, known by its function and by its dual kernel.

    Subclasses give `__call__` and `_pair`; by default `hermite_coefficients` integrates.
    """

    _homogeneity: float | None = None  # h if f(t x) = t^h f(x) for every t > 0
    _bends_near_kinks = True  # or near zero; elsewhere the less, the farther away
    _smooth_parameters: tuple[str, ...] = ()  # those in which the kernels are analytic

    @property
    def _kinks(self) -> tuple[float, ...]:
        """Where the function or a derivative of it jumps."""
        return ()

    def __call__(self, x: ArrayLike) -> Array:
        """Return the function's value at every entry of `x`."""
        raise NotImplementedError

    def _pair(self, p: Array, q: Array, c: Array) -> tuple[Array, Array]:
        """Return (k, kdot).

        Arguments may be complex: `c` for the continuation in |rho| < 1 (see `expansion`), and all
        of them with tiny imaginary parts for derivatives by complex steps (see `gp`).
        """
        raise NotImplementedError

    def _table_range(self, span: Span) -> Span | None:  # noqa: ARG002
        """Return what the tables of `_dual_map` depend on of `span`, None for nothing."""
        return None

    def _dual_map(self, p: Array, q: Array, tol: float, span: Span) -> DualMap | None:  # noqa: ARG002
        """Return the core's form of `_pair` for left and right variances, if there is one.

        Parameters
        ----------
        p, q : ndarray of shape (n,) and (m,)
            Float64 variances of the left and right points.
        tol : float
            Error that may be made, relative to the kernel's scale.
        span : tuple of float
            The least and the largest variance of all blocks, whose maps are to be alike.
        """
        return None

    def _core_map(self, p: Array, q: Array, tol: float, span: Span) -> DualMap | None:
        """Return the fastest of the core's forms, for kernels without derivatives.

        Parameters are those of `_dual_map`, whose values it has up to a fraction of their error.
        """
        return self._dual_map(p, q, tol, span)

    def _tangents(self, p: Array) -> tuple[tuple[Any, ...], Array] | None:  # noqa: ARG002
        """Return what moves in `_tangent_map`, None if that has no form in the core.

        Parameters
        ----------
        p : ndarray of shape (n,)
            Variances; these and the activation's parameters may be complex steps.

        Returns
        -------
        params : tuple
            Those of the map, or none if none of them moves.
        u : ndarray of shape (n,)
            The number of each point; csrc/kernels/tangents.hpp says which.
        """
        return None

    def _tangent_map(self, p: Array, q: Array, tol: float, span: Span) -> DualMap | None:
        """Return the core's form of `_pair` and its derivatives, if there is one.

        Parameters are those of `_dual_map`.
        """
        moving = self._tangents(p)
        dual = self._dual_map(p, q, tol, span)
        if moving is None or dual is None:
            return None
        return replace(dual, params=tuple(map(float, moving[0])) or dual.params)

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
        std = check_real(std, "std", low=0)
        degree = check_count(degree, "degree")
        return self._hermite(std, degree)

    @property
    def _has_slope(self) -> bool:
        """Whether kdot is not zero: that of a step is, though its derivative has a series."""
        return float(self.dual_derivative(1.0, 1.0, 0.5)) != 0

    def _hermite_tables(self, stds: Array, degree: int) -> Array:
        """Return the Hermite coefficients of the function and of its derivative.

        Parameters
        ----------
        stds : ndarray of shape (n,)
        degree : int

        Returns
        -------
        ndarray of shape (n, 2, degree + 1)
            a_l(s), and E f'(s z) h_l(z) = sqrt(l + 1) a_(l+1)(s) / s, by parts. The latter is zero
            where kdot counts as zero.
        """
        factors = self._has_slope * np.sqrt(np.arange(1, degree + 2))
        out = np.empty((len(stds), 2, degree + 1))
        vanishes = not np.any(np.abs(self(np.array([-1e-200, 0.0, 1e-200]))) > 1e-100)
        least = _LEAST_OF_ALL if vanishes else _LEAST_STD
        for table, std in zip(out, map(float, stds), strict=True):
            s = max(std, least)
            near = self.hermite_coefficients(s, degree + 1)
            table[0] = near[:-1] if s == std else self.hermite_coefficients(std, degree)
            table[1] = factors * near[1:] / s
        return out

    def _hermite(self, std: float, degree: int) -> Array:
        found = hermite_integrals(
            self, np.array([std]), degree, self._kinks, graded=self._bends_near_kinks
        )
        return np.asarray(found[0])


def _covariance(p: ArrayLike, q: ArrayLike, c: ArrayLike) -> tuple[Array, Array, Array]:
    p, q, c = np.asarray(p), np.asarray(q), np.asarray(c)
    if np.any(p < 0) or np.any(q < 0):
        raise ValueError("p, q: expected variances >= 0, got a negative value")
    return p, q, c


def _inverse(x: Array) -> Array:
    """Return 1 / x, 0 where x is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        zero = np.abs(x) < 1e-300
        return np.asarray(np.where(zero, 0, 1 / np.where(zero, 1, x)))


def _log_deviation(p: Array) -> Array:
    """Return log sqrt(p), 0 where p is 0."""
    return np.asarray(np.log(np.where(p == 0, 1, p)) / 2)


def _scaled(p: Array) -> Array:
    """Return the columns [sqrt(p), 1 / sqrt(p)] for the core."""
    s = np.sqrt(p)
    return np.column_stack([s, _inverse(s)])


def _at_rounding(distance: Any, scale: Any = 1.0, dtype: Any = np.float64) -> Array:
    """Return where a correlation times `scale` counts as 1 or -1, being so near to it."""
    return np.asarray(distance <= 32 * np.finfo(dtype).eps * scale)


def _snapped(rho: Array) -> Array:
    """Return correlations, maybe with complex steps, 1 or -1 where they are so to rounding."""
    return np.where(_at_rounding(1 - np.abs(rho.real)), np.sign(rho.real), rho)


def _angle(p: Array, q: Array, c: Array) -> tuple[Array, Array]:
    """Return (sqrt(D), theta) with D = p q - c^2 and cos(theta) = c / sqrt(p q).

    Where D is at rounding level it is taken as zero: arccos would turn one ulp of the
    covariance into 1e-8 of angle.
    """
    if any(map(np.iscomplexobj, (p, q, c))):
        s = np.sqrt(p) * np.sqrt(q)
        rho = c * _inverse(s)
        near = _at_rounding(np.minimum(np.abs(1 - rho), np.abs(1 + rho)))
        far = np.where(near, 0, rho)
        sine = np.sqrt(1 - far * far)
        angle = np.arccos(far) if is_step(p, q, c) else _arccosine(far, sine)
        return np.where(near, 0, s * sine), np.where(near, np.where(rho.real > 0, 0, np.pi), angle)
    # The factors of D = (s - c)(s + c), s = sqrt(p q), neither overflow nor vanish where D does.
    s = np.sqrt(p) * np.sqrt(q)
    below, above = s - c, s + c
    root = np.sqrt(np.maximum(below, 0)) * np.sqrt(np.maximum(above, 0))
    dtype = np.result_type(p, q, c, np.float32)
    root = np.where(_at_rounding(np.minimum(below, above), s, dtype), 0, root)
    # Beside a point at zero every other one is at a right angle.
    return root, np.where((p == 0) != (q == 0), np.pi / 2, np.arctan2(root, c))


def _sine(p: Array, q: Array, c: Array, beta: float) -> tuple[Array, Array, Array, Array]:
    """Return x = beta c r, 1 - x^2, r = sqrt(a b) and a + b; a = 1 / (1 + beta p), b of q likewise.

    1 - x^2 = a + b - a b + x_0^2 - x^2, x_0 being the largest |x|: no term cancels. Where |x| is
    x_0 to rounding it is taken as that: steep functions would magnify an ulp of the covariance.
    """
    a, b = 1 / (1 + beta * p), 1 / (1 + beta * q)
    s = np.where(p == q, p, np.sqrt(p) * np.sqrt(q))  # of equal points no rounding is magnified
    r = np.sqrt(a) * np.sqrt(b)
    below, above = s - c, s + c
    if not any(map(np.iscomplexobj, (p, q, c))):
        dtype = np.result_type(p, q, c, np.float32)
        below, above = (np.where(_at_rounding(v, s, dtype), 0, v) for v in (below, above))
    gap = a + b - a * b + (beta * r * below) * (beta * r * above)
    return beta * c * r, gap, r, a + b


def _arcsine(x: Array, root: Array) -> Array:
    """Return arcsin x, sqrt(1 - x^2) being `root`."""
    if not np.iscomplexobj(x) and not np.iscomplexobj(root):
        return np.asarray(np.arctan2(x, root))
    if is_step(x):
        return np.asarray(np.arcsin(x))
    # -i log(root + i x), several times as fast; of small x the modulus differs by `beyond` from 1.
    square = x.real**2 + x.imag**2
    beyond = square + (square**2 - 2 * (x.real - x.imag) * (x.real + x.imag)) / (
        1 + root.real**2 + root.imag**2
    )
    beyond += 2 * (root.imag * x.real - root.real * x.imag)
    angle = np.arctan2(root.imag + x.real, root.real - x.imag)
    return np.asarray(angle - 0.5j * np.log1p(beyond))


def _arccosine(x: Array, root: Array) -> Array:
    """Return arccos x of complex x, sqrt(1 - x^2) being `root`; no complex steps."""
    point = x + 1j * root
    return np.asarray(np.angle(point) - 0.5j * np.log(point.real**2 + point.imag**2))
