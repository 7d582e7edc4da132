"""Nystroem features: kernels with landmarks among the data, normalised by their own kernel."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any, Self

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.extmath import svd_flip

from nkfast._arrays.blocks import row_blocks
from nkfast._arrays.mapped import take
from nkfast._arrays.memory import refuse_bytes
from nkfast._arrays.validation import Array, Rows, as_double, check_choice, check_count
from nkfast._linalg.eigen import symmetric_eigen
from nkfast.kernels import NAMES, Points, kernel, prepare
from nkfast.networks import Sequential, check_points, own_network, warn_of_unpicklable
from nkfast.sketch._program import Compiled

from ._base import FeatureMap, feature_array

SELECTIONS = ("uniform", "kmeans++")
_MATRICES = 3  # of all landmarks: their kernel, and LAPACK's work
_BLOCK_ENTRIES = 1 << 20  # kernel entries of a block of rows: 8 MB, and two or three such at a time
_EPS = float(np.finfo(np.float64).eps)


class Nystroem(Compiled, FeatureMap):
    """Features from exact kernels with landmarks: Z Z^T is the kernel's best fit through them.

    Of the rows given to `fit`, `n_components` are chosen as landmarks L. A row x gets the features
    k(x, L) W with W W^T the pseudo-inverse of K(L, L), so that

        Z Z^T = K(X, L) K(L, L)^+ K(L, X).

    That is exact on the landmarks and never above the kernel: K - Z Z^T is positive semidefinite.
    `fit` costs O(m^3), an eigen-decomposition, and `transform` O(m (d + m)) for each row.

    Parameters
    ----------
    net : Sequential, optional
        The network; None means ``mlp()``. An own copy is used, the object given stays as it is.
    n_components : int, default=1024
        Number of landmarks, and the exact number of features. Features are zero where landmarks
        are missing (`fit` warns on fewer rows than `n_components`) or are not independent (a row
        twice).
    get : {"ntk", "nngp"}, default="ntk"
        Which kernel.
    selection : {"uniform", "kmeans++"}, default="uniform"
        How landmarks are chosen. "uniform": at random, without replacement. "kmeans++": one after
        the other, each with probability proportional to its squared distance
        k(x, x) + k(z, z) - 2 k(x, z) from the nearest landmark so far. It spreads them over
        clusters of unequal sizes, and takes O(n m) kernel entries, one column of n at a time.
    image_shape : tuple of int, optional
        (height, width, channels): with a network of images, rows of height * width * channels
        entries are taken for images. Other networks do not look at it.
    random_state : int, RandomState instance or None, default=None
        Of the choice of landmarks.

    Attributes
    ----------
    n_components_ : int
        Number of features.
    components_ : ndarray or CSR matrix of shape (n_landmarks, n_features_in_)
        The landmarks, images as they are; n_landmarks is the smaller of `n_components` and the
        number of rows, or for "kmeans++" of distinct rows.
    component_indices_ : ndarray of shape (n_landmarks,)
        Their places in the rows given to `fit`.
    normalization_ : ndarray of shape (n_landmarks, rank)
        W, float64: eigenvectors of K(L, L) over the roots of their eigenvalues, those at rounding
        level left out.
    tail_ : float
        What the diagonal of Z Z^T lacks of the kernel's, on average over 256 fitted rows, in units
        of the kernel; see `missing_diagonal`.
    net_ : Sequential
        The network in use.
    image_shape_ : tuple of int
        With a network of images: (height, width, channels).
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Only if `X` has string column names.

    See Also
    --------
    NTKFeatures : Sketched features, whose cost does not grow with the number of features squared.

    Notes
    -----
    *Which features?* Nystroem features adapt to the rows: they are the better ones where these
    cluster or the kernel's spectrum falls fast. Of a row far from all landmarks they hold little,
    so that on new rows Z Z^T lies below the kernel, most of all on the diagonal; `NTKFeatures` are
    as good there as anywhere, and cheaper for large m. ``python bench/nystroem.py`` measures both.

    *Rounding.* Everything is computed in float64; features of float32 rows are rounded at the end.
    The features of a row depend on its batch by rounding only: the products are BLAS's, whose order
    of summation varies with shapes. That rounding is relative to the row's norm in feature space,
    so it shows most in the last features, which are the smallest.

    References
    ----------
    Williams & Seeger, "Using the Nystroem method to speed up kernel machines", NIPS 2000.
    Arthur & Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007; for Nystroem
    landmarks Oglic & Gaertner, "Nystroem method with kernel k-means++ samples as landmarks", ICML
    2017.

    Examples
    --------
    >>> import numpy as np, nkfast as nk
    >>> from sklearn.datasets import load_digits
    >>> X = load_digits().data[:1000] / 16
    >>> net = nk.mlp(depth=2, activation="relu", w_std=1.4, b_std=0.1)
    >>> Z = nk.Nystroem(net, n_components=300, random_state=0).fit_transform(X)
    >>> K = net.ntk(X)
    >>> Z.shape, bool(np.linalg.norm(Z @ Z.T - K) < 0.01 * np.linalg.norm(K))
    ((1000, 300), True)
    """

    _compiled_landmarks: Points | None = None

    def __init__(
        self,
        net: Sequential | None = None,
        n_components: int = 1024,
        *,
        get: str = "ntk",
        selection: str = "uniform",
        image_shape: tuple[int, int, int] | None = None,
        random_state: Any = None,
    ) -> None:
        self.net = net
        self.n_components = n_components
        self.get = get
        self.selection = selection
        self.image_shape = image_shape
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: ARG002
        """Choose landmarks among the rows of `X` and normalise their kernel.

        Parameters
        ----------
        X : array_like or CSR matrix of shape (n, d)
        y : ignored

        Returns
        -------
        self
        """
        net = own_network(self.net)
        warn_of_unpicklable(net)
        X = check_points(self, net, X, self.image_shape, reset=True)
        m = check_count(self.n_components, "n_components", low=1)
        get = check_choice(self.get, "get", NAMES)
        selection = check_choice(self.selection, "selection", SELECTIONS)
        rng = check_random_state(self.random_state)
        n = X.shape[0]
        used = min(m, n)
        refuse_bytes(8 * _MATRICES * used**2, "n_components", f"kernels of {used} landmarks")
        if m > n:
            warnings.warn(
                f"n_components: expected at most the number of rows, {n}, got {m}; "
                f"the last {m - n} features are zero",
                stacklevel=2,
            )
        if selection == "uniform":
            chosen = rng.permutation(n)[:m]
        else:
            chosen = _spread(prepare(net, as_double(X)), get, m, rng)
        self.net_ = net
        self.component_indices_ = chosen
        self.components_ = take(X, chosen)
        self._compiled_landmarks = None
        self.normalization_ = _normalization(net.kernel(self._landmarks, get=get))
        self.n_components_ = self._n_features_out = m
        self._get = get
        self._measure_tail(X)
        return self

    def transform(self, X: Any) -> Array:
        """Return the features Z of the rows of `X`.

        Parameters
        ----------
        X : array_like or CSR matrix of shape (n, d)

        Returns
        -------
        ndarray of shape (n, n_components)
            float32 for float32 input, else float64.
        """
        return feature_array(self, X)

    def _checked(self, X: Any) -> Rows:
        return check_points(self, self.net_, X, reset=False)

    @property
    def _landmarks(self) -> Points:
        """The landmarks, prepared for kernels in float64."""
        if self._compiled_landmarks is None:  # new, or after unpickling
            self._compiled_landmarks = prepare(self.net_, as_double(self.components_))
        return self._compiled_landmarks

    def _map(self, X: Rows) -> Array:
        """Return the features of checked rows."""
        return self._from_kernel(X, lambda rows: as_double(X[rows]))

    def _weights(self, coef: Array) -> Array:
        """Return weights of the kernels with the landmarks: a product less for each row."""
        return np.asarray(self.normalization_ @ coef[: self.normalization_.shape[1]])

    def _products(self, X: Rows, weights: Array) -> Array:
        out = np.empty((X.shape[0], weights.shape[1]))
        for rows, K in self._kernels(X, lambda rows: as_double(X[rows])):
            out[rows] = K @ weights
        return out

    def _from_kernel(self, X: Rows, points: Callable[[slice], Any]) -> Array:
        rank = self.normalization_.shape[1]
        out = np.zeros((X.shape[0], self._n_features_out), X.dtype)
        for rows, K in self._kernels(X, points):
            out[rows, :rank] = K @ self.normalization_
        return out

    def _kernels(self, X: Rows, points: Callable[[slice], Any]) -> Iterator[tuple[slice, Array]]:
        """Yield blocks of the rows, and their kernels with the landmarks."""
        landmarks = self._landmarks
        height = max(1, _BLOCK_ENTRIES // len(landmarks))
        for rows in row_blocks(X.shape[0], height, X):
            yield rows, np.asarray(self.net_.kernel(points(rows), landmarks, get=self._get))

    def _own(self, X: Rows) -> Array:
        return np.asarray(getattr(self.net_.diag(as_double(X)), self._get))

    def _compared(self, X: Rows) -> tuple[Array, Array]:
        points = prepare(self.net_, as_double(X))
        K = self.net_.kernel(points, get=self._get)
        return self._from_kernel(X, points.__getitem__), np.asarray(K)


def _normalization(kernel: Array) -> Array:
    """Return W with W W^T = K^+, by falling eigenvalues, those at rounding level left out.

    Without the cut, landmarks that coincide would divide by the root of a rounding error.
    """
    values, vectors = symmetric_eigen(kernel, driver="evd", overwrite_a=True)
    kept = np.flatnonzero(values > len(values) * _EPS * max(values[-1], 0.0))[::-1]
    return np.asarray(svd_flip(vectors[:, kept], None)[0] * (1 / np.sqrt(values[kept])))


def _spread(points: Points, get: str, m: int, rng: np.random.RandomState) -> Array:
    """Return up to `m` points chosen by D^2 sampling in the kernel's feature space, (m,).

    Fewer if every point coincides with a chosen one by then.
    """
    n = len(points)
    squares: Array = getattr(points.diagonal(), get)
    distances = np.full(n, np.inf)  # squared, to the nearest landmark so far
    chosen: list[int] = []
    next_one = int(rng.randint(n))
    while True:
        chosen.append(next_one)
        column = kernel(points.net, points, points[next_one : next_one + 1], get)
        products = np.asarray(column)[:, 0]
        sums = squares + squares[next_one]
        new = sums - 2 * products
        new[new <= 64 * _EPS * sums] = 0  # a row that coincides, up to rounding
        new[next_one] = 0
        np.minimum(distances, new, out=distances)
        total = np.cumsum(distances)
        if len(chosen) == m or total[-1] == 0:
            return np.array(chosen)
        # Never a row of distance zero: the first whose sum is above a number below the total.
        draw = min(rng.uniform() * total[-1], np.nextafter(total[-1], 0))
        next_one = int(np.searchsorted(total, draw, side="right"))
