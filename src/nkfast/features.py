"""Feature maps: scikit-learn transformers whose features' inner products are neural kernels."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from . import _core
from ._compiled import Compiled
from ._config import get_num_threads
from ._polynomial import build_program, polynomial_steps
from ._validation import check_count, check_estimator_rows, csr_arrays
from .allocation import allocate, fit_factors, n_monomials
from .expansion import Kernel, expand
from .layers import Sequential, mlp

_SAMPLE = 500  # rows on whose exact kernel the factors are fitted
_DEFAULT_DEGREE = 8
_MAX_EXACT_DEGREE = 24  # in few dimensions exact degrees are cheap and taken beyond the default


def row_norms(X: Any, n_threads: int) -> NDArray[np.float64]:
    """Return the norms of dense or CSR rows in float64, safe from overflow of the squares."""
    norms = np.empty(X.shape[0])
    if sp.issparse(X):
        _core.row_norms_csr(*csr_arrays(X), X.shape[1], norms, n_threads)
    else:
        _core.row_norms(X, norms, n_threads)
    # What float32 cannot invert counts as zero: the kernel there is that of zero to 1e-37.
    norms[norms < 4 * np.finfo(X.dtype).tiny] = 0
    return norms


class _NeuralFeatures(Compiled, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    _kernel: ClassVar[Kernel]
    _compiled: _core.Program | None = None

    def __init__(
        self,
        net: Sequential | None = None,
        n_components: int = 4096,
        *,
        degree: int | str = "auto",
        random_state: Any = None,
    ) -> None:
        self.net = net
        self.n_components = n_components
        self.degree = degree
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
        """
        X = check_estimator_rows(self, X, reset=True)
        m = check_count(self.n_components, "n_components", low=1)
        n, d = X.shape
        degree = self._degree(d, m)
        net = _network(self.net)
        rng = check_random_state(self.random_state)
        norms = row_norms(X, get_num_threads())
        expansion = expand(net, norms, d, degree, self._kernel)

        rows = np.sort(rng.permutation(n)[:_SAMPLE])
        a = norms[rows]
        sample = X[rows].astype(np.float64)
        unit = np.divide(1, a, out=np.zeros_like(a), where=a > 0)
        unit = sp.diags_array(unit) @ sample if sp.issparse(sample) else unit[:, None] * sample
        rho = unit @ unit.T
        rho = rho.toarray() if sp.issparse(rho) else rho
        u = expansion.weights(a)
        energies = np.mean(u**2, axis=0)
        power = np.ones_like(rho)
        terms = np.empty((degree + 1, *rho.shape))
        for l in range(degree + 1):
            part = u[:, expansion.degrees == l]
            terms[l] = (part @ part.T) * power
            power *= rho
        exact = net.kernel(sample, get=self._kernel)
        shape = (expansion.degrees, expansion.ranks, energies, d, m)
        factors = fit_factors(terms, exact, n, *shape)
        self.expansion_ = expansion.scale(factors)
        energies = energies * factors[expansion.degrees]
        plan = allocate(expansion.degrees, expansion.ranks, energies, d, m)
        self.allocation_ = plan
        self.factors_ = factors
        self.degree_ = int(expansion.degrees[plan.widths > 0].max(initial=0))
        self.steps_ = polynomial_steps(expansion.degrees, plan, d, m, rng)
        self._n_features_out = m
        self._compiled = build_program(d, self.steps_)
        return self

    def transform(self, X: Any) -> NDArray[Any]:
        """Return the features Z of the rows of `X`, so that Z Z^T approximates their kernel.

        Parameters
        ----------
        X : array_like or CSR matrix of shape (n, d)

        Returns
        -------
        ndarray of shape (n, n_components)
            float32 for float32 input, else float64. A row's features depend on that row alone, to
            the last bit: not on the batch, and not on the number of threads.
        """
        check_is_fitted(self)
        X = check_estimator_rows(self, X, reset=False)
        threads = get_num_threads()
        norms = row_norms(X, threads)
        weights = self.expansion_.weights(norms, threads)
        scales = np.divide(1, norms, out=np.zeros_like(norms), where=norms > 0).astype(X.dtype)
        out = np.empty((X.shape[0], self._n_features_out), X.dtype)
        if self._compiled is None:  # after unpickling
            self._compiled = build_program(self.n_features_in_, self.steps_)
        program = self._compiled
        needed = np.ascontiguousarray(weights[:, : program.n_weights])
        if sp.issparse(X):
            program.run_csr(*csr_arrays(X), scales, needed, out, threads)
        else:
            program.run(X, scales, needed, out, threads)
        return out

    def _degree(self, d: int, m: int) -> int:
        if not isinstance(self.degree, str):
            return check_count(self.degree, "degree", low=0, high=64)
        if self.degree != "auto":
            raise ValueError(f"degree: expected an integer or 'auto', got {self.degree!r}")
        degree, total = 0, 1
        while degree < _MAX_EXACT_DEGREE and total <= m:
            degree += 1
            total += n_monomials(d, degree)
        return max(_DEFAULT_DEGREE, degree - 1)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _network(net: Any) -> Sequential:
    """Return an own copy of the network, since set_params can change the original."""
    if net is None:
        return mlp()
    if not isinstance(net, Sequential):
        raise TypeError(f"net: expected a network such as nkfast.mlp(), got {net!r}")
    return net.__sklearn_clone__()


_DOC = """Feature map of the {name} of a dense network: Z Z^T approximates the kernel.

    The whole network, of any depth and with biases, is one expansion
    sum_l g_l(|x|, |y|) cos(x, y)^l. Low degrees are taken exactly, as monomials, wherever they
    fit; the others are sketched by a chain of subsampled Hadamard tensor products (TensorSRHT).
    The width is shared among the degrees, and their coefficients are adjusted, so that the expected
    squared error of Z Z^T on rows like those of `fit` is least.

    Parameters
    ----------
    net : Sequential, optional
        The network; None means ``mlp()``. An own copy is used, the object given stays as it is.
    n_components : int, default=4096
        Number of features, exactly; any number from 1 up.
    degree : int or "auto", default="auto"
        Highest degree of the expansion. "auto" takes 8, or more where the input has so few
        dimensions that higher degrees fit exactly. It does not grow with the network's depth.
    random_state : int, RandomState instance or None, default=None
        Of the sketch, and of the sample of rows to which the width is adjusted.

    Attributes
    ----------
    expansion_ : Expansion
        The radial weights of all terms (degree, rank), factors included.
    allocation_ : Allocation
        Features of each term, and which terms are exact.
    factors_ : ndarray of shape (q + 1,)
        What each degree was multiplied by.
    degree_ : int
        Highest degree that got features.
    steps_ : list
        The drawn sketch, as steps of the compiled core.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Only if `X` has string column names.

    See Also
    --------
    {other} : The same for the other kernel.
    Sequential.{method} : The exact kernel.

    Notes
    -----
    `fit` looks at the rows' norms and, for the adjustment, at the exact kernel of at most 500 rows;
    it costs a fraction of a second. Rows whose norm lies outside the fitted range are weighted by
    the kernel itself, one by one; many of them take longer. Zero rows are points like any other.

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


class NTKFeatures(_NeuralFeatures):  # noqa: D101
    __doc__ = _DOC.format(
        name="neural tangent kernel", cls="NTKFeatures", other="NNGPFeatures", method="ntk"
    )
    _kernel = "ntk"


class NNGPFeatures(_NeuralFeatures):  # noqa: D101
    __doc__ = _DOC.format(
        name="NNGP kernel", cls="NNGPFeatures", other="NTKFeatures", method="nngp"
    )
    _kernel = "nngp"
