"""Linear sketches: CountSketch, OSNAP and SRHT."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from nkfast._arrays.validation import Array, check_count
from nkfast._core import HadamardMap, HashMap

from ._base import LinearSketch
from ._hadamard import fwht
from ._program import next_power_of_two, random_signs


class OSNAP(LinearSketch):
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

    def _compile(self) -> HashMap:
        return HashMap(self._n_features_out, self.hashes_, self.values_)

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


class SRHT(LinearSketch):
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

    def _compile(self) -> HadamardMap:
        scale = 1 / np.sqrt(self._n_features_out)
        signs = self.signs_.astype(np.float64)
        return HadamardMap(self._length, self.counts_, self.samples_, signs, scale)

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
