"""What all sketches share: estimators around a map, and limits on memory."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from nkfast._arrays.memory import refuse_bytes, refuse_excess
from nkfast._arrays.validation import (
    Array,
    check_columns,
    check_count,
    check_estimator_rows,
    check_rows,
    csr_arrays,
)
from nkfast._config import get_num_threads
from nkfast._core import SketchProgram
from nkfast._sklearn import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin

from ._program import Compiled, SketchSteps

# A program works on blocks of up to 16 rows of 8 bytes a number; and about so many bytes a number
# go into a step's hashes and signs while they are drawn and kept.
BLOCK, STEP = 128, 48


class Sketch(Compiled, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Everything but the map: `_draw` draws it, `_compile` hands it to the core."""

    n_components: int
    random_state: Any
    _compiled: Any = None

    def _draw(self, d: int, m: int, rng: np.random.RandomState) -> None:
        raise NotImplementedError

    def _bytes(self, d: int, m: int) -> int:
        """Return about how much memory the map takes while it is drawn and applied to a row."""
        raise NotImplementedError

    def _compile(self) -> Any:
        """Return the core's own form of the drawn map."""
        raise NotImplementedError

    def _map(self) -> Any:
        if self._compiled is None:  # after unpickling
            self._compiled = self._compile()
        return self._compiled

    def _apply(self, X: Any, out: Array) -> None:
        raise NotImplementedError

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: ARG002
        """Draw the map for rows with as many features as `X` has.

        Parameters
        ----------
        X : array_like or CSR matrix of shape (n, d)
        y : ignored

        Returns
        -------
        self
        """
        X = check_estimator_rows(self, X, reset=True)
        m = check_count(self.n_components, "n_components", low=1, high=2**31 - 1)
        size = self._bytes(X.shape[1], m)
        refuse_bytes(size, "n_components", f"a sketch from {X.shape[1]} to {m} features")
        self._draw(X.shape[1], m, check_random_state(self.random_state))
        self._n_features_out = m
        self._compiled = self._compile()
        return self

    def transform(self, X: Any) -> Array:
        """Return the sketch of every row.

        Parameters
        ----------
        X : array_like or CSR matrix of shape (n, d)

        Returns
        -------
        ndarray of shape (n, n_components)
            float32 for float32 input, else float64. A row's sketch depends on that row alone, to
            the last bit: not on the batch, and not on the number of threads.
        """
        check_is_fitted(self)
        X = check_estimator_rows(self, X, reset=False)
        out = allocate(X.shape[0], self._n_features_out, X.dtype)
        self._apply(X, out)
        return out

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class LinearSketch(Sketch):
    """A sketch x -> S x, with its adjoint, for rows (X S^T) and for columns (S A)."""

    def _apply(self, X: Any, out: Array) -> None:
        if sp.issparse(X):
            self._map().rows_csr(*csr_arrays(X), out, get_num_threads())
        else:
            self._map().rows(X, out, get_num_threads())

    def _apply_columns(self, A: Array, out: Array) -> None:
        """Write S A to `out`, A in C order."""
        raise NotImplementedError

    def fit_rows(self, A: Any) -> Self:
        """Draw the map for `sketch_rows`: for columns with as many entries as `A` has rows.

        The same as ``fit(A.T)``, but looks at the shape only.

        Parameters
        ----------
        A : array_like or sparse matrix of shape (d, k) or (d,)

        Returns
        -------
        self
        """
        shape = np.shape(A)  # of sparse matrices too
        if len(shape) not in (1, 2) or shape[0] == 0:
            raise ValueError(f"A: expected shape (d, k) or (d,) with d >= 1, got {shape}")
        return self.fit(sp.csr_array((1, shape[0]), dtype=np.float64))

    def sketch_rows(self, A: Any) -> Array:
        """Return S A: the rows of `A` combined into fewer, as for least squares.

        Parameters
        ----------
        A : array_like or sparse matrix of shape (d, k) or (d,)
            d = n_features_in_. Dense in C or Fortran order, CSR or CSC, none of which is copied
            into another order (but CSR into CSC).

        Returns
        -------
        ndarray of shape (n_components, k) or (n_components,)
            float32 for float32 input, else float64; in Fortran order unless `A` is dense in C
            order.

        Examples
        --------
        >>> import numpy as np, nkfast as nk
        >>> A = np.random.default_rng(0).standard_normal((2000, 3))
        >>> nk.sketch.SRHT(64, random_state=0).fit_rows(A).sketch_rows(A).shape
        (64, 3)
        """
        check_is_fitted(self)
        if not sp.issparse(A) and np.ndim(A) == 1:
            column: Array = self.sketch_rows(np.reshape(A, (-1, 1)))[:, 0]
            return column
        A = check_columns(A, "A")
        if A.shape[0] != self.n_features_in_:
            raise ValueError(f"A: expected {self.n_features_in_} rows, got {A.shape[0]}")
        if sp.issparse(A) or not A.flags.c_contiguous:
            columns = A.T.tocsr() if sp.issparse(A) else A.T
            out = allocate(A.shape[1], self._n_features_out, A.dtype, "A")
            self._apply(columns, out)
            return out.T
        out = allocate(self._n_features_out, A.shape[1], A.dtype, "A")
        self._apply_columns(A, out)
        return out

    def adjoint(self, Z: ArrayLike) -> Array:
        """Return Z S for sketched rows Z: <S x, z> = <x, S^T z>.

        Parameters
        ----------
        Z : array_like of shape (n, n_components)

        Returns
        -------
        ndarray of shape (n, d)
        """
        check_is_fitted(self)
        rows: Array = check_rows(Z, "Z", accept_sparse=False)
        if rows.shape[1] != self._n_features_out:
            raise ValueError(f"Z: expected {self._n_features_out} columns, got {rows.shape[1]}")
        out = allocate(rows.shape[0], self.n_features_in_, rows.dtype, "Z")
        self._map().adjoint(rows, out, get_num_threads())
        return out


class ProgramSketch(Sketch):
    """A sketch whose map is given as steps for the compiled core."""

    steps_: SketchSteps

    def _keep(self, d: int, steps: SketchSteps) -> None:
        """Keep the steps of a map of d features."""
        self.steps_ = steps
        self._width = d

    def _compile(self) -> SketchProgram:
        return self.steps_.compile(self._width)

    def _apply(self, X: Any, out: Array) -> None:
        run(self._map(), X, out)


def run(program: SketchProgram, X: Any, out: Array) -> None:
    """Run a program without weights on dense or CSR rows."""
    if sp.issparse(X):
        program.run_csr(*csr_arrays(X), None, None, out, get_num_threads())
    else:
        program.run(X, None, None, out, get_num_threads())


def allocate(n: int, m: int, dtype: np.dtype[Any], name: str = "X") -> Array:
    refuse_excess((n, m), dtype, name)
    return np.empty((n, m), dtype)
