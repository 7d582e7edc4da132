"""Feature maps: scikit-learn transformers whose features' inner products are neural kernels."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from nkfast._arrays.blocks import blocks
from nkfast._arrays.mapped import release, take
from nkfast._arrays.memory import refuse_bytes
from nkfast._arrays.rows import row_norms
from nkfast._arrays.validation import (
    Array,
    Doubles,
    Rows,
    as_double,
    check_choice,
    check_count,
    check_real,
    check_width,
)
from nkfast._config import get_num_threads
from nkfast.kernels import Kernel, diagonal_of_norms, kernel, prepare
from nkfast.layers import takes_images
from nkfast.networks import Sequential, check_points, own_network, warn_of_unpicklable
from nkfast.sketch._base import BLOCK, STEP
from nkfast.sketch._program import Compiled

from ._base import Construction, FeatureMap, feature_array, refuse_overflow, relative_error
from ._compression import fit_to_kernel, principal_directions, refuse_directions
from ._layerwise import LayerwiseMap
from ._monomials import n_monomials
from ._reach import Reach, warn_of_excess
from .collapsed import CollapsedMap, Sample
from .pixels import DEGREE, MOST_DEGREE, ImageSample, PixelMap, default_width

_DEGREES = (8, 16, 32)  # that are tried by default
_MAX_EXACT_DEGREE = 24  # in few dimensions exact degrees are cheap and taken beyond the first
_MAX_DEGREE = 64
_DIRECTION_ROWS = 4000  # rows whose features' principal directions are kept, or 2 n_components
_FIRST_WIDTH = 64  # that n_components="auto" tries
_HELD_OUT = 400  # rows on whose pairs it measures the error, or a quarter of the rows
_HELD_OUT_IMAGES = 40  # whose exact kernels take milliseconds a pair
_FEW = 20  # with fewer rows none are held out
_FITTED = (
    *("error_", "compression_", "tail_", "expansion_", "allocation_", "factors_", "steps_"),
    *("split_", "harmonics_"),
)


class _NeuralFeatures(Compiled, FeatureMap):
    _kernel: ClassVar[Kernel]
    _construction: Construction
    image_shape_: tuple[int, int, int]
    _compiled_single: NDArray[np.float32] | None = None  # compression_ for float32 rows
    _reach: Reach | None = None

    def __init__(
        self,
        net: Sequential | None = None,
        n_components: int | str = 4096,
        *,
        degree: int | str = "auto",
        construction: str = "collapsed",
        sketch: str = "tensorsrht",
        oversampling: int = 1,
        target_error: float = 0.05,
        max_components: int = 16384,
        image_shape: tuple[int, int, int] | None = None,
        pixel_components: int | str = "auto",
        random_state: Any = None,
    ) -> None:
        self.net = net
        self.n_components = n_components
        self.degree = degree
        self.construction = construction
        self.sketch = sketch
        self.oversampling = oversampling
        self.target_error = target_error
        self.max_components = max_components
        self.image_shape = image_shape
        self.pixel_components = pixel_components
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: ARG002
        """Choose the expansion for the norms and angles of `X`, and draw the sketch.

        Parameters
        ----------
        X : array_like or CSR matrix of shape (n, d)
            Rows like those to be transformed. Of large sets a sample is enough.
        y : ignored

        Returns
        -------
        self

        Warns
        -----
        ConvergenceWarning
            If ``n_components="auto"`` ends at `max_components` with more than `target_error`.
        UserWarning
            If the features of some of the rows have more than twice the kernel's diagonal: the rows
            differ so much that few features cannot have all of their kernels.
        """
        net = own_network(self.net)
        warn_of_unpicklable(net)
        X = check_points(self, net, X, self.image_shape, reset=True)
        m = check_width(self.n_components)
        if not takes_images(net):
            d = X.shape[1]
            what = f"tables of {d} columns, which Nystroem does without"
            refuse_bytes(STEP * d, "X", what)
        check_choice(self.construction, "construction", ("collapsed", "layerwise"))
        check_choice(self.sketch, "sketch", ("tensorsrht", "tensorsketch"))
        check_count(self.oversampling, "oversampling", low=1)
        check_real(self.target_error, "target_error", low=0, open_low=True)
        check_count(self.max_components, "max_components", low=1)
        rng = check_random_state(self.random_state)
        for name in _FITTED:  # not fitted, if what follows is interrupted
            self.__dict__.pop(name, None)
        self._reach = None
        if m is None:
            self._fit_auto(net, X, rng)
        else:
            sample = self._sample(net, X, m, rng)
            self._fit_width(sample, m, rng)
        if takes_images(net):
            self.tail_ = 0.0  # the features of a pixel have the energy of all degrees
        else:
            lacking = self._measure_tail(X)
            if self.construction == "collapsed":  # layerwise ones are noise where they are few
                warn_of_excess(lacking)
            if net._homogeneity() is None:
                lost = getattr(self._construction, "lost", None)
                shape = (net, self._kernel, X.shape[1], row_norms(X, get_num_threads()))
                self._reach = Reach(*shape, lacking, lost)
        release(X)
        return self

    def _fit_auto(self, net: Sequential, X: Rows, rng: np.random.RandomState) -> None:
        """Double the width until the error on rows that are not fitted on is small enough."""
        n = X.shape[0]
        order = rng.permutation(n)
        most = _HELD_OUT_IMAGES if takes_images(net) else _HELD_OUT
        n_held = 0 if n < _FEW else min(most, n // 4)
        sample = self._sample(net, take(X, np.sort(order[n_held:])), self.max_components, rng)
        held = take(X, np.sort(order[:n_held])) if n_held else X
        exact = net.kernel(held.astype(np.float64, copy=False), get=self._kernel)
        m = min(_FIRST_WIDTH, self.max_components)
        while True:
            self._fit_width(sample, m, rng)
            self.error_ = relative_error(self._features(held), exact)
            if self.error_ <= self.target_error:
                return
            if m == self.max_components:
                break
            m = min(2 * m, self.max_components)
        warnings.warn(
            f"n_components='auto': expected a relative error of at most {self.target_error:g}, "
            f"got {self.error_:.3g} at max_components={m}",
            ConvergenceWarning,
            stacklevel=3,
        )

    def _sample(
        self, net: Sequential, X: Rows, m: int, rng: np.random.RandomState
    ) -> Sample | ImageSample:
        if takes_images(net):
            return ImageSample(net, X)
        degree = self._degrees(X.shape[1], m)[-1]
        return Sample(net, X, self._kernel, degree, rng, self.oversampling * m)

    def _fit_width(self, sample: Sample | ImageSample, m: int, rng: np.random.RandomState) -> None:
        """Fit and draw a map to `m` features."""
        d = sample.X.shape[1]
        width = self.oversampling * m
        one = 8 if takes_images(sample.net) else BLOCK  # image by image, or rows in blocks
        refuse_bytes(one * width, "n_components", f"{width} features")
        if width > m:
            refuse_directions(min(sample.X.shape[0], self._direction_rows(m)), width, m)
        degrees = self._degrees(d, width)
        self._net = sample.net
        self._construction = self._draw(sample, degrees, width, rng)
        self.degree_ = self._construction.degree
        self.__dict__.update(self._construction.fitted())
        self.n_components_ = m
        self._n_features_out = m
        self._width = width
        self._compiled_single = None
        self.compression_ = self._compress(sample, width, rng) if width > m else None

    def _draw(
        self,
        sample: Sample | ImageSample,
        degrees: list[int],
        width: int,
        rng: np.random.RandomState,
    ) -> Construction:
        """Return a new map to `width` features."""
        if isinstance(sample, ImageSample):
            return self._draw_pixels(sample, degrees[0], width, rng)
        if self.construction == "layerwise":
            shape = (sample.X.shape[1], width, degrees[0])
            return LayerwiseMap(sample.net, self._kernel, sample.norms, *shape, rng)
        most = _MAX_DEGREE if isinstance(self.degree, str) else degrees[0]
        return CollapsedMap(sample, width, degrees, most, self.sketch, rng)

    def _draw_pixels(
        self, sample: ImageSample, degree: int, width: int, rng: np.random.RandomState
    ) -> PixelMap:
        """Draw the sketch of a network of images."""
        if self.sketch != "tensorsrht":
            raise ValueError(
                f"sketch: expected 'tensorsrht' for a network of images, got {self.sketch!r}"
            )
        if isinstance(self.pixel_components, str):
            check_choice(self.pixel_components, "pixel_components", ("auto",))
            pixel_width = default_width(width)
        else:
            pixel_width = check_count(self.pixel_components, "pixel_components", low=8)
        degree = check_count(degree, "degree", low=1, high=MOST_DEGREE)
        return PixelMap(sample.net, self._kernel, sample.X, width, pixel_width, degree, rng)

    def _compress(
        self, sample: Sample | ImageSample, width: int, rng: np.random.RandomState
    ) -> Array:
        """Return the matrix from all sketched features to those that are kept."""
        n, m = sample.X.shape[0], self.n_components_
        rows = np.sort(rng.permutation(n)[: self._direction_rows(m)])
        X = sample.rows(rows)
        directions = principal_directions(self._sketch, X, width, m)
        if isinstance(sample, ImageSample):  # their exact kernels take too long to fit to
            return directions
        Y = np.empty((len(rows), m))
        for some in blocks(len(rows), width):
            np.matmul(self._sketch(X[some]), directions, out=Y[some])
        points = prepare(sample.net, X)

        def exact(some: slice) -> Array:
            return np.asarray(kernel(sample.net, points[some], points, self._kernel))

        diagonal = getattr(points.diagonal(), self._kernel)
        return directions @ fit_to_kernel(Y, exact, diagonal, n)

    def _direction_rows(self, m: int) -> int:
        return max(_DIRECTION_ROWS, 2 * m)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "compression_")

    def transform(self, X: Any) -> NDArray[Any]:
        """Return the features Z of the rows of `X`, so that Z Z^T approximates their kernel.

        Parameters
        ----------
        X : array_like or CSR matrix of shape (n, d)

        Returns
        -------
        ndarray of shape (n, n_components)
            float32 for float32 input, else float64; of images both are computed in float32 behind
            activations, right to about 1e-6. A row's features depend on that row alone, to
            the last bit: not on the batch, and not on the number of threads. With `oversampling`
            above 1 that holds up to rounding: the last step is a product of BLAS, whose order of
            summation varies with shapes.

        Warns
        -----
        UserWarning
            If rows are so much larger or smaller than those of `fit` that their features miss the
            kernel's diagonal by 10 % more than those of the fitted ones do.

        Raises
        ------
        ValueError
            On rows or images whose features overflow.
        """
        return feature_array(self, X)

    def _checked(self, X: Any) -> Rows:
        return check_points(self, self._net, X, reset=False)

    def _map(self, X: Rows) -> NDArray[Any]:
        """Return the features of checked rows."""
        if self._reach is None:
            return self._features(X)
        norms = row_norms(X, get_num_threads())
        Z = self._features(X, norms)
        self._reach.check(norms, Z)
        return Z

    def _features(self, X: Rows, norms: Doubles | None = None) -> NDArray[Any]:
        """Return the features of checked rows, whose norms may be known."""
        if self.compression_ is None:
            return self._sketch(X, norms)
        directions = self.compression_
        if X.dtype == np.float32:
            if self._compiled_single is None:
                self._compiled_single = directions.astype(np.float32)
            directions = self._compiled_single
        out = np.empty((X.shape[0], self._n_features_out), X.dtype)
        for rows in blocks(X.shape[0], self._width):
            some = None if norms is None else norms[rows]
            np.matmul(self._sketch(X[rows], some), directions, out=out[rows])
        return out

    def _sketch(self, X: Rows, norms: Doubles | None = None) -> NDArray[Any]:
        """Return the sketched features of checked rows, `oversampling` times as many."""
        Z = self._construction.transform(X, norms)
        if Z.size and self._construction.may_overflow(X, norms):
            refuse_overflow(X, Z)
        return Z

    def _own(self, X: Rows) -> Array:
        if takes_images(self._net):
            return np.asarray(getattr(self._net.diag(as_double(X)), self._kernel))
        norms = row_norms(X, get_num_threads())  # features reach farther than kernels
        return np.asarray(getattr(diagonal_of_norms(self._net, norms, X.shape[1]), self._kernel))

    def _compared(self, X: Rows) -> tuple[NDArray[Any], NDArray[Any]]:
        return self._map(X), self._net.kernel(as_double(X), get=self._kernel)

    def _degrees(self, d: int, m: int) -> list[int]:
        """Return the degrees to be tried, ascending; the last is the same for all m."""
        if not isinstance(self.degree, str):
            return [check_count(self.degree, "degree", low=0, high=_MAX_DEGREE)]
        if self.degree != "auto":
            raise ValueError(f"degree: expected an integer or 'auto', got {self.degree!r}")
        if hasattr(self, "image_shape_"):
            return [DEGREE]
        if self.construction == "layerwise":
            return [_DEGREES[0]]
        degree, total = 0, 1
        while degree < _MAX_EXACT_DEGREE and total <= m:
            degree += 1
            total += n_monomials(d, degree)
        first = max(_DEGREES[0], degree - 1)
        return [first, *(degree for degree in _DEGREES if degree > first)]


_DOC = """Feature map of the {name} of a network: Z Z^T approximates the kernel.

    A whole dense network, of any depth and with biases, is one expansion
    sum_l g_l(|x|, |y|) cos(x, y)^l. Low degrees are taken exactly, as monomials, wherever they
    fit; the others are sketched by products of lower ones, as TensorSRHTs or TensorSketches. The
    width is shared among the degrees, and their coefficients are adjusted, so that the expected
    squared error of Z Z^T on rows like those of `fit` is least. Where that helps, features are the
    spherical harmonics with most energy in these rows, as in few dimensions, or powers are split
    between the leading principal directions of the rows and all others, and where not all columns
    fit, those with most energy are kept apart.

    Parameters
    ----------
    net : Sequential, optional
        The network; None means ``mlp()``. An own copy is used, the object given stays as it is.
    n_components : int or "auto", default=4096
        Number of features, exactly; any number from 1 up. "auto" doubles it, from 64, until
        `target_error` is met.
    degree : int or "auto", default="auto"
        Highest degree of the expansion, at most 64. "auto" takes 8, or more where the input has so
        few dimensions that higher degrees fit exactly; and 16 or 32 where rows lie so near to
        each other, or are so few, that twice the degree lowers the expected error by a tenth; of
        spherical harmonics up to 48. If "layerwise", it is that of each activation, and "auto" is
        8.
    construction : {{"collapsed", "layerwise"}}, default="collapsed"
        "collapsed" is the one expansion of the whole network. "layerwise" is the construction of
        the paper, to compare with: each layer's features are sketched from those of the layer
        before. It is slower and at equal width mostly has two or more times the error (see
        docs/features.md).
    sketch : {{"tensorsrht", "tensorsketch"}}, default="tensorsrht"
        How a degree is made from lower ones: by Walsh-Hadamard transforms, or by
        Fourier transforms of CountSketches. The second makes errors 2 to 4 % smaller and
        `transform` 1.2 to 1.4 times as long (three sets, see docs/features.md).
    oversampling : int, default=1
        Above 1, that many times as many features are sketched, projected onto their `n_components`
        leading principal directions and fitted to the exact kernel: less error for equal width, at
        the price of a product with a matrix of oversampling * n_components^2 entries for each row.
    target_error : float, default=0.05
        Of ``n_components="auto"``: the relative Frobenius error ||Z Z^T - K|| / ||K|| asked for.
    max_components : int, default=16384
        Of ``n_components="auto"``: the most features. Ending there above `target_error`, `fit`
        warns.
    image_shape : tuple of int, optional
        (height, width, channels): with a network of images, rows of height * width * channels
        entries are taken for images, so that the map fits into a pipeline. Other networks do not
        look at it.
    pixel_components : int or "auto", default="auto"
        With a network of images: the features of a pixel at full resolution, at least 8; twice as
        many where a quarter of the pixels are left, and so on, up to 8 times. "auto" takes the
        power of two below 16 sqrt(n_components) (times `oversampling` inside), within 128 and
        2048. Error and time per image depend on it far more than on `n_components`.
    random_state : int, RandomState instance or None, default=None
        Of the sketch, and of the rows to which it is adjusted or that are held out.

    Attributes
    ----------
    n_components_ : int
        Number of features.
    error_ : float
        The relative error that ``n_components="auto"`` measured. Only then.
    tail_ : float
        What the diagonal of Z Z^T lacks of the kernel's, on average over 256 fitted rows, in units
        of the kernel; see `missing_diagonal`. 0 with a network of images, whose features have the
        energy of all degrees.
    compression_ : ndarray of shape (oversampling * n_components_, n_components_) or None
        From the sketched features to those that are kept, in float64; None if ``oversampling=1``.
    expansion_ : Expansion
        The radial weights of all terms (degree, rank), factors included. This and the next five
        only with ``construction="collapsed"``.
    allocation_ : Allocation
        Features of each term, and which terms are exact.
    factors_ : ndarray of shape (q + 1,)
        What each degree was multiplied by.
    harmonics_ : Harmonics or None
        The spherical harmonics that are features, if they take the place of powers. Terms of
        `expansion_` are then those of the Gegenbauer polynomials of the cosine.
    split_ : Split or None
        The leading directions, and the features of each part of the powers, if powers are split.
    steps_ : SketchSteps
        The drawn sketch, as steps of the compiled core.
    degree_ : int
        Highest degree that got features.
    pixel_components_ : int
        With a network of images: the features of a pixel. `degree_` is then that of the powers at
        each activation.
    image_shape_ : tuple of int
        With a network of images: (height, width, channels).
    n_features_in_ : int
        With images, the product of their shape.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Only if `X` has string column names.

    See Also
    --------
    {other} : The same for the other kernel.
    Sequential.{method} : The exact kernel.
    Nystroem : Features through landmarks among the rows.

    Notes
    -----
    `fit` looks at the rows' norms and, for the adjustment, at the exact kernel of at most 500 rows;
    it takes some tenths of a second, a second or two for activations without a closed form whose
    rows' norms spread widely, and longer with `oversampling`. Rows whose norm lies outside the
    fitted range are weighted by the kernel itself, one by one; many of them take longer. Zero rows
    are points like any other.

    *Automatic width.* A quarter of the rows, at most 400, is held out, and the error is measured on
    all pairs of these, so `error_` is an honest estimate for new rows; the map is the one fitted on
    the other rows. With fewer than 20 rows none can be spared, and `error_` is that on the fitted
    rows. The features meet the target as a whole: `kernel_error` tells more.

    *Oversampling.* The directions are eigenvectors of the uncentred second moments of at most 4000
    rows, or 2 n_components; then a symmetric matrix brings the features' inner products on these
    rows nearest to the exact kernel. Both take seconds up to 1000 features, and then grow as their
    cube. What lies in other directions is missing, most of all on the diagonal. Of fewer rows than
    `n_components` all directions are kept, and others are added from the orthogonal complement,
    where the features have most energy, for the sake of other rows.

    *Networks of images.* Those that begin with a `Conv` or another layer of images take images of
    shape (n, height, width, channels). Layer by layer each pixel carries features; see
    docs/convolutions.md. `degree` "auto" is 4, and twice as much at the first activation;
    `construction` is not looked at, `sketch` has to be "tensorsrht". Of `fit`'s images the shape
    and the mean square are used. ``n_components="auto"`` holds out at most 40 images, and
    `oversampling` projects without a fit to the exact kernel, since that takes milliseconds for
    each pair.

    References
    ----------
    Han, Zandieh, Lee, Novak, Xiao, Karbasi, "Fast Neural Kernel Embeddings for General
    Activations", NeurIPS 2022, arXiv:2209.04121, section 4. Ahle et al., "Oblivious Sketching of
    High-Degree Polynomial Kernels", SODA 2020.

    Examples
    --------
    >>> import numpy as np, nkfast as nk
    >>> from sklearn.datasets import load_digits
    >>> X = load_digits().data[:200] / 16
    >>> net = nk.mlp(depth=2, activation="relu", w_std=1.4, b_std=0.1)
    >>> Z = nk.{cls}(net, n_components=2048, random_state=0).fit_transform(X)
    >>> K = net.{method}(X)
    >>> bool(np.linalg.norm(Z @ Z.T - K) < 0.02 * np.linalg.norm(K))
    True
    """


class NTKFeatures(_NeuralFeatures):
    __doc__ = _DOC.format(
        name="neural tangent kernel", cls="NTKFeatures", other="NNGPFeatures", method="ntk"
    )
    _kernel = "ntk"


class NNGPFeatures(_NeuralFeatures):
    __doc__ = _DOC.format(
        name="NNGP kernel", cls="NNGPFeatures", other="NTKFeatures", method="nngp"
    )
    _kernel = "nngp"
