"""Sketches of tensor products: TensorSketch by Fourier, TensorSRHT by Hadamard transforms."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from sklearn.utils.validation import check_is_fitted

from nkfast._arrays.validation import (
    Array,
    check_count,
    check_estimator_rows,
    check_real,
    check_rows,
)

from ._base import BLOCK, STEP, ProgramSketch, allocate
from ._program import SketchSteps, balanced_sample, injective_hash, next_power_of_two, random_signs


class TensorSketch(ProgramSketch):
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
        steps = SketchSteps()
        self.hashes_, self.signs_ = [], []
        for width in _powers_of_two(m):
            hashes = rng.randint(0, width, (degree, d + 1)).astype(np.int32)
            signs = random_signs(rng, degree * (d + 1)).reshape(degree, d + 1)
            for k in range(degree):
                target = 1 if k == 0 else 2
                steps.count_sketch(0, target, width, hashes[k, :d], signs[k, :d] * scale)
                if constant > 0:
                    value = float(signs[k, d] * constant)
                    steps.add_constant(target, int(hashes[k, d]), value)
                if degree > 1:
                    steps.fourier(target)
                if k > 0:
                    steps.multiply_spectra(1, 2)
            back = 1.0
            if degree > 1:
                steps.inverse_fourier(1)
                back = 1.0 / width
            steps.emit(1, width, back * np.sqrt(width / m))
            self.hashes_.append(hashes)
            self.signs_.append(signs)
        self._keep(d, steps)

    def _bytes(self, d: int, m: int) -> int:
        degree = check_count(self.degree, "degree", low=1)
        return STEP * degree * (d + 1) * m.bit_count() + BLOCK * (2 * m + d)


class TensorSRHT(ProgramSketch):
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
    steps_ : SketchSteps
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
        steps = SketchSteps()
        sizes = []
        for start, n, target in ((0, d, 1), (d, second, 2)):
            length = next_power_of_two(n)
            hashes = np.zeros(d + second, np.int32)
            signs = np.zeros(d + second, np.int8)  # zero: not of this factor
            hashes[start : start + n] = injective_hash(rng, n, length)
            signs[start : start + n] = random_signs(rng, n)
            steps.count_sketch(0, target, length, hashes, signs)
            steps.hadamard(target)
            sizes.append(length)
        i, j = (balanced_sample(rng, n, m) for n in sizes)
        steps.product(1, i, 2, j, 1 / np.sqrt(m), 3)
        steps.emit(3, m)
        self._keep(d + second, steps)

    def _bytes(self, d: int, m: int) -> int:
        second = d if self._asked is None else self._asked
        lengths = next_power_of_two(d) + next_power_of_two(second)
        return 2 * STEP * (d + second) + BLOCK * (d + second + lengths + m) + STEP * m

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
        Y = check_rows(Y, "Y")
        if Y.shape != (X.shape[0], self._second):
            raise ValueError(f"Y: expected shape {(X.shape[0], self._second)}, got {Y.shape}")
        sparse = sp.issparse(X) or sp.issparse(Y)
        dtype = np.result_type(X.dtype, Y.dtype)
        both = sp.hstack([X, Y], "csr", dtype) if sparse else np.hstack([X, Y])
        out = allocate(X.shape[0], self._n_features_out, dtype)
        self._apply(both, out)
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


def _powers_of_two(m: int) -> list[int]:
    """Return the powers of two that add up to `m`, largest first."""
    return [1 << b for b in reversed(range(m.bit_length())) if m >> b & 1]
