"""Sketching primitives: random maps to fewer features that keep inner products in the mean.

Rows are samples and the last axis is features. Every sketch is a scikit-learn transformer: `fit`
looks at the number of features only and draws the random map, `transform` applies it to dense rows
or CSR rows, in float32 or float64.
"""

from __future__ import annotations

import math
import os
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from . import _core
from ._config import get_num_threads
from ._polynomial import (
    Steps,
    balanced_sample,
    build_program,
    hadamard_leaf,
    injective_hash,
    next_power_of_two,
    random_signs,
)
from ._validation import (
    check_columns,
    check_count,
    check_estimator_rows,
    check_real,
    check_rows,
    csr_arrays,
)

__all__ = ["OSNAP", "SRHT", "CountSketch", "PolySketch", "TensorSRHT", "TensorSketch"]

Array = NDArray[Any]


def fwht(
    x: ArrayLike,
    axis: int = -1,
    norm: str | None = None,
    *,
    pad: bool = False,
    out: Array | None = None,
) -> Array:
    """Walsh-Hadamard transform along one axis, in natural (Hadamard) order.

    Parameters
    ----------
    x : array_like
        Real numbers of any shape; float32 stays float32, other types become float64.
    axis : int, default=-1
        The axis to transform. Its length n must be a power of two.
    norm : None or "ortho", default=None
        None: the matrix has entries +-1, and transforming twice multiplies by n. "ortho": scaled by
        1 / sqrt(n), which makes the transform orthogonal and its own inverse.
    pad : bool, default=False
        Append zeros up to the next power of two instead of refusing another length.
    out : ndarray, optional
        Where to write the result: of the result's shape and dtype, C-contiguous. It may be `x`
        itself.

    Returns
    -------
    ndarray
        `out` if it is given.

    Raises
    ------
    ValueError
        If the length is no power of two, if `axis`, `norm` or `out` do not fit, or if a row holds
        NaN or infinity or its transform overflows; `out` has then been written to.
    TypeError
        If `x` is not real or `axis` is no integer.

    Notes
    -----
    n log2(n) additions. An entry's rounding error is at most log2(n) eps / 2 times the sum of
    absolute values of the row, to first order; "ortho" adds eps for its scale.

    Examples
    --------
    >>> import nkfast as nk
    >>> nk.fwht([1.0, 2.0, 3.0, 4.0]).tolist()
    [10.0, -2.0, -4.0, 0.0]
    """
    x = np.asarray(x)
    if x.dtype.kind not in "biuf":
        raise TypeError(f"x: expected real numbers, got dtype {x.dtype}")
    single = x.dtype.kind == "f" and x.dtype.itemsize <= 4
    dtype = np.dtype(np.float32 if single else np.float64)
    if x.ndim == 0:
        raise ValueError("x: expected at least one dimension, got a scalar")
    axis = check_count(axis, "axis", low=-x.ndim, high=x.ndim - 1)
    if norm not in (None, "ortho"):
        raise ValueError(f"norm: expected None or 'ortho', got {norm!r}")
    axis %= x.ndim
    given, n = x.shape[axis], next_power_of_two(x.shape[axis])
    if given == 0 or (n != given and not pad):
        raise ValueError(
            f"x: expected a power of two as length of axis {axis}, got {given}"
            + ("" if given == 0 else f" (pad=True appends zeros up to {n})")
        )
    shape = (*x.shape[:axis], n, *x.shape[axis + 1 :])
    if out is not None and not isinstance(out, np.ndarray):
        raise TypeError(f"out: expected an array, got {type(out).__name__}")
    if out is None:
        _refuse_excess(shape, dtype, "x")
        out = np.empty(shape, dtype)
    elif out.shape != shape or out.dtype != dtype:
        raise ValueError(
            f"out: expected an array of shape {shape} and dtype {dtype}, "
            f"got {out.shape} and {out.dtype}"
        )
    elif not (out.flags.c_contiguous and out.flags.writeable and out.flags.aligned):
        raise ValueError("out: expected a C-contiguous, aligned, writeable array")
    if out is not x:
        slab = (slice(None),) * axis
        out[(*slab, slice(given))] = x
        out[(*slab, slice(given, None))] = 0
    outer = math.prod(shape[:axis])
    inner = math.prod(shape[axis + 1 :])
    scale = 1.0 if norm is None else 1 / np.sqrt(n)
    if not _core.fwht(out.reshape(outer, n, inner), scale, get_num_threads()):
        raise ValueError("x: expected finite numbers of finite sums, got NaN, infinity or overflow")
    return out


class _Sketch(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Everything but the map: `_draw` draws it, `_apply` applies it."""

    n_components: int
    random_state: Any

    def _draw(self, d: int, m: int, rng: np.random.RandomState) -> None:
        raise NotImplementedError

    def _bytes(self, d: int, m: int) -> int:
        """Return about how much memory the map takes while it is drawn and applied to a row."""
        raise NotImplementedError

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
        _refuse_bytes(size, "n_components", f"a sketch from {X.shape[1]} to {m} features")
        self._draw(X.shape[1], m, check_random_state(self.random_state))
        self._n_features_out = m
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
        out = _allocate(X.shape[0], self._n_features_out, X.dtype)
        self._apply(X, out)
        return out

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class _LinearSketch(_Sketch):
    """A sketch x -> S x, with its adjoint, for rows (X S^T) and for columns (S A)."""

    def _apply_adjoint(self, Z: Array, out: Array) -> None:
        raise NotImplementedError

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
            out = _allocate(A.shape[1], self._n_features_out, A.dtype, "A")
            self._apply(columns, out)
            return out.T
        out = _allocate(self._n_features_out, A.shape[1], A.dtype, "A")
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
        out = _allocate(rows.shape[0], self.n_features_in_, rows.dtype, "Z")
        self._apply_adjoint(rows, out)
        return out


class OSNAP(_LinearSketch):
    """Sparse embedding with a fixed number of nonzeros per feature.

    Each feature goes, with random signs and scaled by 1 / sqrt(n_nonzeros), to `n_nonzeros`
    components, one in each of as many blocks of components.

    Parameters
    ----------
    n_components : int, default=1024
        Number of features of the sketch.
    n_nonzeros : int, default=4
        Nonzeros s per feature; never more than n_components. 1 is `CountSketch`.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    hashes_, values_ : ndarray of shape (d, n_nonzeros)
        Where each feature goes, and times what.
    n_features_in_ : int

    See Also
    --------
    CountSketch : One nonzero; the fastest.
    SRHT : Better for dense rows whose mass sits in few features.

    Notes
    -----
    E <S x, S y> = <x, y> and Var <S x, S y> = (|x|^2 |y|^2 + <x, y>^2 - 2 sum_j x_j^2 y_j^2) / m
    with m = n_components a multiple of s = n_nonzeros; else 1 / m becomes sum_k 1 / (s^2 b_k) with
    b_k the sizes of the blocks. It does not depend on s: what more nonzeros buy is lighter tails,
    subspaces of dimension k at m of order k log k (s about log k) instead of k^2. Time
    O(s nnz(X)) and n m writes.

    References
    ----------
    Nelson & Nguyen, "OSNAP: Faster numerical linear algebra algorithms via sparser subspace
    embeddings", FOCS 2013.

    Examples
    --------
    >>> import numpy as np, nkfast as nk
    >>> X = np.eye(3, 1000)
    >>> nk.sketch.OSNAP(64, n_nonzeros=4, random_state=0).fit_transform(X).shape
    (3, 64)
    """

    def __init__(
        self, n_components: int = 1024, n_nonzeros: int = 4, *, random_state: Any = None
    ) -> None:
        self.n_components = n_components
        self.n_nonzeros = n_nonzeros
        self.random_state = random_state

    def _nonzeros(self, m: int) -> int:
        return min(check_count(self.n_nonzeros, "n_nonzeros", low=1), m)

    def _draw(self, d: int, m: int, rng: np.random.RandomState) -> None:
        s = self._nonzeros(m)
        edges = np.arange(s + 1) * m // s  # blocks of components
        low, high = edges[:-1], edges[1:]
        self.hashes_ = np.ascontiguousarray(rng.randint(low, high, (d, s)), np.int32)
        self.values_ = random_signs(rng, d * s).reshape(d, s) / np.sqrt(s)

    def _bytes(self, d: int, m: int) -> int:
        return 32 * d * self._nonzeros(m) + 8 * m

    def _apply(self, X: Any, out: Array) -> None:
        values = self.values_.astype(X.dtype, copy=False)
        fixed: tuple[Any, ...] = (self._n_features_out, self.hashes_, values, out)
        fixed = (*fixed, get_num_threads())
        if sp.issparse(X):
            _core.hash_rows_csr(*csr_arrays(X), *fixed)
        else:
            _core.hash_rows(X, *fixed)

    def _apply_adjoint(self, Z: Array, out: Array) -> None:
        values = self.values_.astype(Z.dtype, copy=False)
        _core.hash_rows_adjoint(Z, self.hashes_, values, out, get_num_threads())

    def _apply_columns(self, A: Array, out: Array) -> None:
        # Column j of S is row j of the fitted arrays; as CSC it reads A once, from top to bottom.
        d, s = self.hashes_.shape
        starts = np.arange(0, d * s + 1, s)
        values = self.values_.astype(A.dtype, copy=False).ravel()
        S = sp.csc_array((values, self.hashes_.ravel(), starts), shape=(out.shape[0], d))
        out[:] = S @ A


class CountSketch(OSNAP):
    """Feature hashing with random signs: each feature goes to one random component.

    Parameters
    ----------
    n_components : int, default=1024
        Number of features of the sketch.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    hashes_, values_ : ndarray of shape (d, 1)
        Where each feature goes, and its sign.
    n_features_in_ : int

    See Also
    --------
    OSNAP : Several nonzeros per feature: a safer embedding of subspaces.

    Notes
    -----
    E <S x, S y> = <x, y> and Var <S x, S y> = (|x|^2 |y|^2 + <x, y>^2 - 2 sum_j x_j^2 y_j^2) / m.
    Time O(nnz(X)) and n m writes. Subspaces of dimension k need m of order k^2.

    References
    ----------
    Charikar, Chen & Farach-Colton, "Finding frequent items in data streams", ICALP 2002. Clarkson &
    Woodruff, "Low rank approximation and regression in input sparsity time", STOC 2013.

    Examples
    --------
    >>> import numpy as np, nkfast as nk
    >>> nk.sketch.CountSketch(8, random_state=0).fit_transform(np.ones((2, 5))).shape
    (2, 8)
    """

    def __init__(self, n_components: int = 1024, *, random_state: Any = None) -> None:
        self.n_components = n_components
        self.random_state = random_state

    def _nonzeros(self, m: int) -> int:  # noqa: ARG002
        return 1


_COLUMNS = 32  # of SRHT.sketch_rows at a time: two cache lines or more


class SRHT(_LinearSketch):
    """Subsampled randomised Hadamard transform: S = P H D / sqrt(m).

    Random signs D, Walsh-Hadamard transform H (entries +-1, rows padded to a power of two) and
    m = n_components rows sampled without replacement. If m exceeds the padded length L, there are
    independent blocks P H D, all of them complete (P = I) but the last.

    Parameters
    ----------
    n_components : int, default=1024
        Number of features of the sketch.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    signs_ : ndarray of shape (n_blocks, d)
    samples_ : ndarray of shape (n_components,)
        Rows of H that are kept, block after block.
    counts_ : ndarray of shape (n_blocks,)
        How many belong to each block.
    n_features_in_ : int

    See Also
    --------
    CountSketch, OSNAP : Faster for sparse rows.

    Notes
    -----
    E <S x, S y> = <x, y> and Var <S x, S y> = V r (L - r) / (m^2 (L - 1)) with r = m mod L and
    V = |x|^2 |y|^2 + <x, y>^2 - 2 sum_j x_j^2 y_j^2. For m < L this is V / m (L - m) / (L - 1),
    less than by sampling with replacement; for multiples of L it is 0: the sketch keeps all inner
    products. Time per row O((1 + m / L) L log L), for a sparse row O(nnz m) if that is less. A
    subspace of dimension k and any coherence is embedded at m of order k log k.

    References
    ----------
    Ailon & Chazelle, "The fast Johnson-Lindenstrauss transform", SIAM J. Comput. 2009. Tropp,
    "Improved analysis of the subsampled randomized Hadamard transform", 2011.

    Examples
    --------
    >>> import numpy as np, nkfast as nk
    >>> X = np.eye(2, 100)
    >>> Z = nk.sketch.SRHT(128, random_state=0).fit_transform(X)
    >>> np.allclose(Z @ Z.T, X @ X.T)
    True
    """

    def __init__(self, n_components: int = 1024, *, random_state: Any = None) -> None:
        self.n_components = n_components
        self.random_state = random_state

    def _draw(self, d: int, m: int, rng: np.random.RandomState) -> None:
        self._length = next_power_of_two(d)
        full, rest = divmod(m, self._length)
        # Of c rows a block keeps, the variance is as c (L - c): none from full blocks, and as that
        # is concave, most from equal ones.
        self.counts_ = np.array([self._length] * full + [rest] * (rest > 0), np.int64)
        blocks = len(self.counts_)
        self.signs_ = random_signs(rng, blocks * d).reshape(blocks, d)
        picks = [np.sort(rng.permutation(self._length)[:c]) for c in self.counts_]
        self.samples_ = np.concatenate(picks).astype(np.int32)

    def _bytes(self, d: int, m: int) -> int:
        length = next_power_of_two(d)
        return 24 * (-(-m // length) * d + length + m)

    def _map(self, dtype: Any) -> tuple[Any, ...]:
        signs = self.signs_.astype(dtype)
        scale = 1 / np.sqrt(self._n_features_out)
        return self._length, self.counts_, self.samples_, signs, scale

    def _apply(self, X: Any, out: Array) -> None:
        fixed = (*self._map(X.dtype), out, get_num_threads())
        if sp.issparse(X):
            _core.hadamard_rows_csr(*csr_arrays(X), *fixed)
        else:
            _core.hadamard_rows(X, *fixed)

    def _apply_adjoint(self, Z: Array, out: Array) -> None:
        fixed = (*self._map(Z.dtype), out, get_num_threads())
        _core.hadamard_rows_adjoint(Z, *fixed)

    def _apply_columns(self, A: Array, out: Array) -> None:
        # A few columns at a time: neighbours are transformed together, and the copy stays small.
        d, k = A.shape
        scale = 1 / np.sqrt(self._n_features_out)
        for first in range(0, k, _COLUMNS):
            columns = slice(first, min(first + _COLUMNS, k))
            work = np.empty((self._length, columns.stop - first), A.dtype)
            low = 0
            for signs, count in zip(self.signs_, self.counts_, strict=True):
                np.multiply(A[:, columns], signs[:, None], out=work[:d])
                work[d:] = 0
                fwht(work, axis=0, out=work)
                high = low + int(count)
                out[low:high, columns] = work[self.samples_[low:high]]
                low = high
        out *= scale


class _ProgramSketch(_Sketch):
    """A sketch whose map is a list of steps for the compiled core."""

    steps_: Steps

    def _compile(self, d: int, steps: Steps) -> None:
        self.steps_ = steps
        self._width = d
        self._program = build_program(d, steps)

    def _run(self, X: Any, out: Array) -> None:
        if sp.issparse(X):
            self._program.run_csr(*csr_arrays(X), None, None, out, get_num_threads())
        else:
            self._program.run(X, None, None, out, get_num_threads())

    def _apply(self, X: Any, out: Array) -> None:
        self._run(X, out)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        state.pop("_program", None)  # compiled; made anew from steps_
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "steps_" in state:
            self._program = build_program(self._width, self.steps_)


# A program works on blocks of up to 16 rows of 8 bytes a number; and about so many bytes a number
# go into a step's hashes and signs while they are drawn and kept.
_BLOCK, _STEP = 128, 48


class TensorSketch(_ProgramSketch):
    """Sketch of the polynomial kernel (gamma <x, y> + coef0)^degree.

    The CountSketch of the degree-fold tensor power, computed from `degree` CountSketches as their
    cyclic convolution by Fourier transforms. Replaces scikit-learn's PolynomialCountSketch, whose
    parameters it has.

    Parameters
    ----------
    degree : int, default=2
        Degree of the polynomial, at least 1.
    n_components : int, default=1024
        Number of features; powers of two are fastest. Other numbers are split into powers of two
        with independent sketches, which has the same variance to first order.
    gamma : float, default=1.0
        Factor of the inner product, >= 0.
    coef0 : float, default=0.0
        Constant added to the inner product, >= 0.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    hashes_, signs_ : list of ndarray of shape (degree, d + 1)
        Of each power of two; the last feature is the constant.
    n_features_in_ : int

    See Also
    --------
    PolySketch : A chain whose variance grows more slowly with the degree.

    Notes
    -----
    E <t(x), t(y)> is the kernel. Let x and y be the rows times sqrt(gamma), with sqrt(coef0)
    appended, q = degree, c = <x, y>, A = |x|^2 |y|^2 - Q and B = c^2 - Q, Q = sum_j x_j^2 y_j^2.
    For even m = n_components, a power of two, the variance is exactly

    ((m - 2) ((c^2 + A)^q + (c^2 + B)^q - 2 c^(2q)) + 2 ((c^2 + A + B)^q - c^(2q))) / m^2,

    hence at most (2 + 3^q) |x|^(2q) |y|^(2q) / m. For other m it differs in the order 1 / m^2.
    Time O(degree (nnz + m log m)) per row.

    References
    ----------
    Pham & Pagh, "Fast and scalable polynomial kernels via explicit feature maps", KDD 2013.

    Examples
    --------
    >>> import numpy as np, nkfast as nk
    >>> X = np.random.default_rng(0).standard_normal((20, 50))
    >>> Z = nk.sketch.TensorSketch(2, 2**15, random_state=0).fit_transform(X)
    >>> K = (X @ X.T) ** 2
    >>> bool(np.linalg.norm(Z @ Z.T - K) < 0.05 * np.linalg.norm(K))
    True
    """

    def __init__(
        self,
        degree: int = 2,
        n_components: int = 1024,
        *,
        gamma: float = 1.0,
        coef0: float = 0.0,
        random_state: Any = None,
    ) -> None:
        self.degree = degree
        self.n_components = n_components
        self.gamma = gamma
        self.coef0 = coef0
        self.random_state = random_state

    def _draw(self, d: int, m: int, rng: np.random.RandomState) -> None:
        degree = check_count(self.degree, "degree", low=1)
        scale = np.sqrt(check_real(self.gamma, "gamma", low=0))
        constant = np.sqrt(check_real(self.coef0, "coef0", low=0))
        steps: Steps = []
        self.hashes_, self.signs_ = [], []
        for width in _powers_of_two(m):
            hashes = rng.randint(0, width, (degree, d + 1)).astype(np.int32)
            signs = random_signs(rng, degree * (d + 1)).reshape(degree, d + 1)
            for k in range(degree):
                target = 1 if k == 0 else 2
                steps.append(
                    ("count_sketch", 0, target, width, hashes[k, :d], signs[k, :d] * scale)
                )
                if constant > 0:
                    value = float(signs[k, d] * constant)
                    steps.append(("add_constant", target, int(hashes[k, d]), value))
                if degree > 1:
                    steps.append(("fourier", target))
                if k > 0:
                    steps.append(("multiply_spectra", 1, 2))
            back = 1.0
            if degree > 1:
                steps.append(("inverse_fourier", 1))
                back = 1.0 / width
            steps.append(("emit", 1, width, back * np.sqrt(width / m), -1, False))
            self.hashes_.append(hashes)
            self.signs_.append(signs)
        self._compile(d, steps)

    def _bytes(self, d: int, m: int) -> int:
        degree = check_count(self.degree, "degree", low=1)
        return _STEP * degree * (d + 1) * m.bit_count() + _BLOCK * (2 * m + d)


class TensorSRHT(_ProgramSketch):
    """Sketch of the tensor product of two rows: <t(x, y), t(x', y')> ~ <x, x'> <y, y'>.

    T(x, y) = (P1 H D1 x) o (P2 H D2 y) / sqrt(m), two Walsh-Hadamard transforms with independent
    signs and samples.

    Parameters
    ----------
    n_components : int, default=1024
        Number m of features of the sketch.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    steps_ : list
        The drawn map, as steps of the compiled core.
    n_features_in_ : int
        Of the first factor.

    Notes
    -----
    Unbiased. With a = <x, x'>, V_a = |x|^2 |x'|^2 + a^2 - 2 sum_j x_j^2 x'_j^2, L_a the padded
    length, r = m mod L_a, f_a = r (L_a - r) / (m (L_a - 1)), and likewise b of y and y', the
    variance is (V_a V_b + a^2 V_b f_b + b^2 V_a f_a) / m up to a factor L / (L - 1) with
    L = max(L_a, L_b). That is about 8 |x|^2 |x'|^2 |y|^2 |y'|^2 / m at most, an eighth of it at
    right angles; and m a multiple of both lengths (f = 0) halves the worst case. Time per pair
    O(nnz + L_a log L_a + L_b log L_b + m).

    References
    ----------
    Ahle et al., "Oblivious sketching of high-degree polynomial kernels", SODA 2020, definition 15.

    Examples
    --------
    >>> import numpy as np, nkfast as nk
    >>> X, Y = np.eye(3, 20), np.ones((3, 10))
    >>> nk.sketch.TensorSRHT(64, random_state=0).fit(X, Y).transform_pair(X, Y).shape
    (3, 64)
    """

    def __init__(self, n_components: int = 1024, *, random_state: Any = None) -> None:
        self.n_components = n_components
        self.random_state = random_state

    def fit(self, X: Any, Y: Any = None) -> Self:
        """Draw the map for rows with as many features as `X` and `Y` have.

        Parameters
        ----------
        X : array_like or CSR matrix of shape (n, d1)
        Y : array_like or CSR matrix of shape (n, d2), optional
            Rows of the second factor, by default like `X`.

        Returns
        -------
        self
        """
        if Y is not None and not sp.issparse(Y) and np.asarray(Y).ndim == 1:
            Y = None  # a target, as pipelines hand it on
        pair = None if Y is None else check_rows(Y, "Y")
        self._asked = None if pair is None else pair.shape[1]
        return super().fit(X)

    def _draw(self, d: int, m: int, rng: np.random.RandomState) -> None:
        second = self._second = d if self._asked is None else self._asked
        steps: Steps = []
        sizes = []
        for start, n, target in ((0, d, 1), (d, second, 2)):
            length = next_power_of_two(n)
            hashes = np.zeros(d + second, np.int32)
            signs = np.zeros(d + second, np.int8)  # zero: not of this factor
            hashes[start : start + n] = injective_hash(rng, n, length)
            signs[start : start + n] = random_signs(rng, n)
            steps += [("count_sketch", 0, target, length, hashes, signs), ("hadamard", target)]
            sizes.append(length)
        i, j = (balanced_sample(rng, n, m) for n in sizes)
        steps += [("product", 1, i, 2, j, 1 / np.sqrt(m), 3), ("emit", 3, m, 1.0, -1, False)]
        self._compile(d + second, steps)

    def _bytes(self, d: int, m: int) -> int:
        second = d if self._asked is None else self._asked
        lengths = next_power_of_two(d) + next_power_of_two(second)
        return 2 * _STEP * (d + second) + _BLOCK * (d + second + lengths + m) + _STEP * m

    def transform_pair(self, X: Any, Y: Any) -> Array:
        """Return t(x, y) for the rows x of `X` and y of `Y`.

        Parameters
        ----------
        X : array_like or CSR matrix of shape (n, d1)
        Y : array_like or CSR matrix of shape (n, d2)

        Returns
        -------
        ndarray of shape (n, n_components)
            float32 if both are float32, else float64.
        """
        check_is_fitted(self)
        X = check_estimator_rows(self, X, reset=False)
        Y = check_rows(Y, "Y", min_samples=1)
        if Y.shape != (X.shape[0], self._second):
            raise ValueError(f"Y: expected shape {(X.shape[0], self._second)}, got {Y.shape}")
        sparse = sp.issparse(X) or sp.issparse(Y)
        dtype = np.result_type(X.dtype, Y.dtype)
        both = sp.hstack([X, Y], "csr", dtype) if sparse else np.hstack([X, Y])
        out = _allocate(X.shape[0], self._n_features_out, dtype)
        self._run(both, out)
        return out

    def transform(self, X: Any) -> Array:
        """Return t(x, x) for the rows of `X`: a sketch of <x, y>^2. See `transform_pair`."""
        check_is_fitted(self)
        if self._second != self.n_features_in_:
            raise ValueError(
                f"X: expected use of transform_pair, got transform of a map that was fitted to "
                f"factors of {self.n_features_in_} and {self._second} features"
            )
        return self.transform_pair(X, X)


class PolySketch(_ProgramSketch):
    """Sketch of <x, y>^degree, with those of all lower degrees on the way.

    A chain S_{l+1} = T(S_l, x), T a fresh TensorSRHT each time, so the variance grows about
    linearly with the degree and not exponentially.

    Parameters
    ----------
    degree : int, default=2
        Highest degree, at least 1.
    n_components : int, default=1024
        Number of features for each degree.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    steps_ : list
        The drawn map, as steps of the compiled core.
    n_features_in_ : int

    See Also
    --------
    TensorSketch : One degree, with a constant, faster at degree 2 and 3.

    Notes
    -----
    E <S_l(x), S_l(y)> = <x, y>^l for every l. Rows longer than `n_components` go through a fresh
    CountSketch in each factor first, so CSR rows cost O(degree (nnz + m log m)).

    References
    ----------
    Ahle et al., "Oblivious sketching of high-degree polynomial kernels", SODA 2020. Song, Woodruff,
    Yu & Zhang, "Fast sketching of polynomial kernels of polynomial degree", ICML 2021.

    Examples
    --------
    >>> import numpy as np, nkfast as nk
    >>> X = np.eye(3, 20)
    >>> powers = nk.sketch.PolySketch(4, 256, random_state=0).fit(X).transform_powers(X)
    >>> [Z.shape for Z in powers]
    [(3, 256), (3, 256), (3, 256), (3, 256)]
    """

    def __init__(
        self, degree: int = 2, n_components: int = 1024, *, random_state: Any = None
    ) -> None:
        self.degree = degree
        self.n_components = n_components
        self.random_state = random_state

    def _draw(self, d: int, m: int, rng: np.random.RandomState) -> None:
        q = self._degree = check_count(self.degree, "degree", low=1)
        width = next_power_of_two(m)
        steps: Steps = []
        leaf = hadamard_leaf(steps, rng, 0, d, 3, width)
        steps.append(("gather", 3, balanced_sample(rng, leaf, m), 1 / np.sqrt(m), 1))
        ends = [len(steps)]
        for l in range(2, q + 1):
            source, target = (1, 2) if l % 2 == 0 else (2, 1)
            left = hadamard_leaf(steps, rng, source, m, 4, width)
            leaf = hadamard_leaf(steps, rng, 0, d, 3, width)
            i, j = balanced_sample(rng, left, m), balanced_sample(rng, leaf, m)
            steps.append(("product", 4, i, 3, j, 1 / np.sqrt(m), target))
            ends.append(len(steps))
        emits = [("emit", 1 if l % 2 == 1 else 2, m, 1.0, -1, False) for l in range(1, q + 1)]
        self._all_steps = [
            step
            for l, end in enumerate(ends)
            for step in [*steps[ends[l - 1] if l else 0 : end], emits[l]]
        ]
        self._compile(d, [*steps, emits[-1]])

    def _bytes(self, d: int, m: int) -> int:
        degree = check_count(self.degree, "degree", low=1)
        return 2 * _STEP * degree * (d + m) + _BLOCK * (d + 5 * next_power_of_two(m))

    def transform_powers(self, X: Any) -> list[Array]:
        """Return the sketches of all degrees 1..degree in one pass.

        Parameters
        ----------
        X : array_like or CSR matrix of shape (n, d)

        Returns
        -------
        list of ndarray of shape (n, n_components)
            Entry l - 1 belongs to degree l; the last is what `transform` returns.
        """
        check_is_fitted(self)
        X = check_estimator_rows(self, X, reset=False)
        m, q = self._n_features_out, self._degree
        out = _allocate(X.shape[0], q * m, X.dtype)
        program = build_program(self._width, self._all_steps)
        if sp.issparse(X):
            program.run_csr(*csr_arrays(X), None, None, out, get_num_threads())
        else:
            program.run(X, None, None, out, get_num_threads())
        return [out[:, l * m : (l + 1) * m] for l in range(q)]


def _powers_of_two(m: int) -> list[int]:
    """Return the powers of two that add up to `m`, largest first."""
    return [1 << b for b in reversed(range(m.bit_length())) if m >> b & 1]


def _allocate(n: int, m: int, dtype: np.dtype[Any], name: str = "X") -> Array:
    _refuse_excess((n, m), dtype, name)
    return np.empty((n, m), dtype)


def _refuse_excess(shape: tuple[int, ...], dtype: np.dtype[Any], name: str) -> None:
    """Refuse an array that this machine cannot hold, before it is allocated."""
    _refuse_bytes(math.prod(shape) * dtype.itemsize, name, f"a result of shape {shape}")


def _refuse_bytes(size: int, name: str, what: str) -> None:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not on this system
        total = 2**47
    if size > total:
        raise ValueError(
            f"{name}: expected what fits into memory, got {what}, {size / 2**30:.0f} GiB"
        )
