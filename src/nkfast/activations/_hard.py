"""Piecewise polynomials: the hard activations of mobile networks."""

from __future__ import annotations

import numpy as np

from nkfast._arrays.validation import Array

from ._base import Span
from ._complex_steps import is_step
from ._dual_map import DualMap
from ._numerical import Numerical
from ._piecewise import Term, derivatives, evaluate
from ._piecewise_tables import piecewise_core_map, piecewise_map, piecewise_tangent_map
from ._piecewise_wide import piecewise_pair


class _PiecewisePolynomial(Numerical):
    """Kernels by moments of the bivariate normal distribution."""

    def _terms(self) -> list[Term]:
        raise NotImplementedError

    @property
    def _kinks(self) -> tuple[float, ...]:
        return tuple(sorted({term.at for term in self._terms() if term.side}))

    def _derivative(self, x: Array) -> Array:
        return evaluate(derivatives(self._terms()), x)

    def _pair(self, p: Array, q: Array, c: Array) -> tuple[Array, Array]:
        if not is_step(p, q, c):
            return self._continued(p, q, c)
        return piecewise_pair(self._terms(), np.sqrt(p), np.sqrt(q), c)

    def _diagonal(self, p: Array) -> tuple[Array, Array]:
        return piecewise_pair(self._terms(), np.sqrt(p), np.sqrt(p), p)

    def _dual_map(self, p: Array, q: Array, tol: float, span: Span) -> DualMap | None:
        return piecewise_map(self._terms(), p, q, tol, span)

    def _core_map(self, p: Array, q: Array, tol: float, span: Span) -> DualMap | None:
        ends = self._table_range(span)
        return piecewise_core_map(tuple(self._terms()), p, q, tol, span, ends)

    def _tangent_map(self, p: Array, q: Array, tol: float, span: Span) -> DualMap | None:
        return piecewise_tangent_map(self._terms(), p, q, tol, span)


class HardTanh(_PiecewisePolynomial):
    """x kept within [-1, 1].

    Examples
    --------
    >>> import nkfast as nk
    >>> nk.HardTanh()([-3.0, 0.5]).tolist()
    [-1.0, 0.5]
    """

    def _terms(self) -> list[Term]:
        return [Term(1, 0, 0.0, 1.0), Term(1, 1, 1.0, -1.0), Term(1, -1, -1.0, 1.0)]

    def _function(self, x: Array) -> Array:
        return np.clip(x, -1, 1)


class HardSigmoid(_PiecewisePolynomial):
    """x / 6 + 1 / 2 kept within [0, 1].

    Examples
    --------
    >>> import nkfast as nk
    >>> nk.HardSigmoid()([-9.0, 0.0, 9.0]).tolist()
    [0.0, 0.5, 1.0]
    """

    def _terms(self) -> list[Term]:
        return [
            Term(0, 0, 0.0, 0.5),
            Term(1, 0, 0.0, 1 / 6),
            Term(1, 1, 3.0, -1 / 6),
            Term(1, -1, -3.0, 1 / 6),
        ]

    def _function(self, x: Array) -> Array:
        return np.clip(x / 6 + 0.5, 0, 1)


class HardSwish(_PiecewisePolynomial):
    """x times HardSigmoid(x).

    References
    ----------
    Howard et al., "Searching for MobileNetV3", ICCV 2019.

    Examples
    --------
    >>> import nkfast as nk
    >>> nk.HardSwish()([-1.5, 3.0, 9.0]).tolist()
    [-0.375, 3.0, 9.0]
    """

    def _terms(self) -> list[Term]:
        return [
            Term(1, 0, 0.0, 0.5),
            Term(2, 0, 0.0, 1 / 6),
            Term(1, 1, 3.0, -0.5),
            Term(2, 1, 3.0, -1 / 6),
            Term(1, -1, -3.0, -0.5),
            Term(2, -1, -3.0, -1 / 6),
        ]

    def _function(self, x: Array) -> Array:
        return np.asarray(x * np.clip(x / 6 + 0.5, 0, 1))


class ReLU6(_PiecewisePolynomial):
    """x kept within [0, 6].

    Examples
    --------
    >>> import nkfast as nk
    >>> nk.ReLU6()([-1.0, 5.0, 7.0]).tolist()
    [0.0, 5.0, 6.0]
    """

    def _terms(self) -> list[Term]:
        return [Term(1, 1, 0.0, 1.0), Term(1, 1, 6.0, -1.0)]

    def _function(self, x: Array) -> Array:
        return np.clip(x, 0, 6)
