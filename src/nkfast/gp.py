"""Neural kernels for scikit-learn's Gaussian processes, with analytic gradients."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Literal, Self, TypeAlias, cast, overload

import numpy as np
from sklearn.base import clone
from sklearn.gaussian_process.kernels import Hyperparameter

from ._arrays.memory import refuse_excess
from ._arrays.rows import inner_products
from ._arrays.validation import Array, Doubles, check_choice, check_rows
from ._sklearn import Kernel
from .activations._complex_steps import STEP
from .kernels import NAMES, RowPoints, gradient, squared_norms
from .kernels import Kernel as KernelName
from .layers import Diagonals, Moments
from .networks import Sequential, check_row_network, warn_of_unpicklable
from .networks._tied import Tied, changed_network, stepped, tied

__all__ = ["NeuralKernel"]

Bounds: TypeAlias = Any  # a pair of numbers or "fixed"

_BLOCK_ENTRIES = 1 << 14  # pairs of a block; the half dozen complex arrays of it stay in cache


class NeuralKernel(Kernel):
    """The exact NNGP or NTK kernel of a network as a kernel of ``sklearn.gaussian_process``.

    For `GaussianProcessRegressor` and `GaussianProcessClassifier`, alone or in sums, products and
    powers with other kernels. The hyperparameters are those of the network: `w_std`, `b_std` and
    what the activation has, tuned by the exact gradient of the marginal likelihood.

    Parameters
    ----------
    net : Sequential
        The network; its own values are where tuning starts. It is never changed: tuning puts a
        changed copy in its place.
    get : {"ntk", "nngp"}, default="ntk"
        Which kernel. "nngp" is the prior of a wide network that is Bayesian in all its layers.
    w_std_bounds, activation_bounds : pair of numbers or "fixed", default=(0.1, 10.0)
        Limits of the standard deviation of the weights, and of every parameter of the activation;
        "fixed" keeps the network's values.
    b_std_bounds : pair of numbers or "fixed", default=(1e-2, 1e2)
        The same of the biases.

    Notes
    -----
    *One value for all layers.* The hyperparameter `w_std` is that of the first layer that has one
    above zero, and the other layers keep their ratio to it; so do `b_std` and an activation's
    parameters ("Erf.a", shared by all activations of that class). In a network whose layers agree,
    as in `mlp`, it is simply the common value. Parameters with a sign keep it.

    scikit-learn tunes logarithms, which do not reach zero: what is zero stays zero. To have a bias
    tuned, start from ``b_std=0.1``, say, not from 0.

    *Bounds.* A kernel of L layers grows like w_std^(2 L), and the first step of the optimiser,
    L-BFGS, may go all the way to the bounds. Where these are so wide that the Cholesky
    factorisation fails there, scikit-learn gives up and stays at the start, silently: keep
    `w_std_bounds` and the lower bound of a `WhiteKernel` as narrow as is meant.

    *Gradients.* The derivatives of a pair go through the layers beside its kernels, in compiled
    code: a layer's derivatives by the covariance, by both variances and by its own parameters are
    computed once and serve all hyperparameters. Value and gradient together take three to six
    times as long as the value (up to three hyperparameters, 2000 points, three hidden layers).
    What depends on single points or on parameters alone is differentiated by complex steps: every
    map of the recursion is analytic, so the derivative of f in log v is Im f(v (1 + ih)) / h with
    h = 1e-25, free of the cancellation of a difference quotient (Martins, Sturdza & Alonso 2003).

    Networks with an `Elementwise` that has breakpoints away from zero and is no polynomial between
    them, and with clips at variances so large that the terms of their kernels cancel, take such a
    step through the whole recursion for each hyperparameter, in NumPy: right, and some hundred
    times slower. Kernels that are interpolated, or series that end somewhere, give the derivative
    of just that.

    Kernels and gradients are float64 for input of any dtype, as Cholesky factors need it.

    References
    ----------
    Lee et al., "Deep neural networks as Gaussian processes", ICLR 2018. Martins, Sturdza & Alonso,
    "The complex-step derivative approximation", ACM Transactions on Mathematical Software 29(3),
    2003. Rasmussen & Williams, "Gaussian processes for machine learning", MIT Press 2006,
    section 5.4.

    Examples
    --------
    >>> import nkfast as nk
    >>> from sklearn.datasets import make_friedman1
    >>> from sklearn.gaussian_process import GaussianProcessRegressor
    >>> from sklearn.gaussian_process.kernels import WhiteKernel
    >>> from sklearn.preprocessing import StandardScaler
    >>> X, y = make_friedman1(100, noise=1, random_state=0)
    >>> X = StandardScaler().fit_transform(X)
    >>> prior = nk.gp.NeuralKernel(nk.mlp(2, "relu", 1.4, 0.1), get="nngp") + WhiteKernel()
    >>> gp = GaussianProcessRegressor(prior, normalize_y=True).fit(X, y)
    >>> before = gp.log_marginal_likelihood(prior.theta)
    >>> bool(gp.log_marginal_likelihood_value_ > before + 10)
    True
    """

    def __init__(
        self,
        net: Sequential,
        get: str = "ntk",
        *,
        w_std_bounds: Bounds = (0.1, 10.0),
        b_std_bounds: Bounds = (1e-2, 1e2),
        activation_bounds: Bounds = (0.1, 10.0),
    ) -> None:
        self.net = net
        self.get = get
        self.w_std_bounds = w_std_bounds
        self.b_std_bounds = b_std_bounds
        self.activation_bounds = activation_bounds
        self._check()

    def _check(self) -> None:
        check_row_network(self.net)
        warn_of_unpicklable(self.net)
        check_choice(self.get, "get", NAMES)
        for name in ("w_std_bounds", "b_std_bounds", "activation_bounds"):
            _check_bounds(getattr(self, name), name)

    # --- parameters, as scikit-learn's searches see them ---

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name, and with `deep` the network's as "net__name".

        Parameters
        ----------
        deep : bool, default=True

        Returns
        -------
        dict
        """
        params: dict[str, Any] = super().get_params(deep)
        if deep:
            params |= {f"net__{name}": value for name, value in self.net.get_params().items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name; all are checked before any is changed.

        Parameters
        ----------
        **params
            Names as in `get_params`. "net__name" changes a copy of the network, not the object
            that was given.

        Returns
        -------
        self
        """
        own = {name: value for name, value in params.items() if not name.startswith("net__")}
        inner = {name[5:]: value for name, value in params.items() if name.startswith("net__")}
        known = super().get_params(deep=False)
        unknown = sorted(set(own) - set(known))
        if unknown:
            raise ValueError(
                f"{type(self).__name__}: unknown parameter {unknown[0]!r}, "
                f"expected one of {sorted(known)} or 'net__...'"
            )
        changed = type(self)(**{**known, **own})
        if inner:
            changed.net = clone(changed.net).set_params(**inner)
        self.__dict__.update(changed.__dict__)
        return self

    def __repr__(self) -> str:
        signature = inspect.signature(type(self))
        bounds = [
            f", {name}={value!r}"
            for name, value in super().get_params(deep=False).items()
            if name.endswith("_bounds") and not _same(value, signature.parameters[name].default)
        ]
        return f"{type(self).__name__}({self.net!r}, get={self.get!r}{''.join(bounds)})"

    # --- hyperparameters ---

    @property
    def hyperparameters(self) -> list[Hyperparameter]:
        """What can be tuned, in the order of `theta`, and what is fixed."""
        return [Hyperparameter(g.name, "numeric", self._bounds_of(g)) for g in tied(self.net)]

    @property
    def theta(self) -> Doubles:
        """The logarithms of the hyperparameters that are not fixed, (n_dims,)."""
        return np.log([group.value for group in self._free()])

    @theta.setter
    def theta(self, theta: Any) -> None:
        groups = self._free()
        values = np.exp(np.asarray(theta, dtype=np.float64))
        if values.shape != (len(groups),):
            raise ValueError(
                f"theta: expected {len(groups)} numbers, {[g.name for g in groups]}, "
                f"got an array of shape {values.shape}"
            )
        self.net = changed_network(self.net, zip(groups, values.tolist(), strict=True))

    def _bounds_of(self, group: Tied) -> Bounds:
        if group.value == 0:
            return "fixed"
        return getattr(self, f"{group.name}_bounds", self.activation_bounds)

    def _free(self) -> list[Tied]:
        return [g for g in tied(self.net) if not isinstance(self._bounds_of(g), str)]

    # --- the kernel ---

    @overload
    def __call__(self, X: Any, Y: Any = None, eval_gradient: Literal[False] = False) -> Doubles: ...

    @overload
    def __call__(
        self, X: Any, Y: None = None, *, eval_gradient: Literal[True]
    ) -> tuple[Doubles, Doubles]: ...

    @overload
    def __call__(
        self, X: Any, Y: None, eval_gradient: Literal[True]
    ) -> tuple[Doubles, Doubles]: ...

    @overload
    def __call__(
        self, X: Any, Y: Any = None, eval_gradient: bool = False
    ) -> Doubles | tuple[Doubles, Doubles]: ...

    def __call__(
        self, X: Any, Y: Any = None, eval_gradient: bool = False
    ) -> Doubles | tuple[Doubles, Doubles]:
        """Return the kernel of the rows of `X` with the rows of `Y` (default: `X`).

        Parameters
        ----------
        X : array_like or CSR matrix of shape (n, d)
        Y : array_like or CSR matrix of shape (m, d), optional
        eval_gradient : bool, default=False
            Whether to return the derivatives in `theta` as well; only without `Y`.

        Returns
        -------
        K : ndarray of shape (n, m)
            float64.
        K_gradient : ndarray of shape (n, n, n_dims)
            Only with `eval_gradient`.

        Raises
        ------
        ValueError
            On NaN or infinity, on different numbers of features, on `eval_gradient` with `Y`.
        """
        X = _double(X, "X")
        if Y is not None:
            if eval_gradient:
                raise ValueError("eval_gradient: expected no Y with it, got one")
            Y = _double(Y, "Y")
            if Y.shape[1] != X.shape[1]:
                raise ValueError(f"Y: expected {X.shape[1]} features as in X, got {Y.shape[1]}")
            return cast(Doubles, self.net.kernel(X, Y, get=self.get))
        points = RowPoints(self.net, X)
        K = cast(Doubles, self.net.kernel(points, get=self.get))
        return (K, self._gradient(points)) if eval_gradient else K

    def diag(self, X: Any) -> Doubles:
        """Return the diagonal of the kernel of `X` with itself in O(n).

        Parameters
        ----------
        X : array_like or CSR matrix of shape (n, d)

        Returns
        -------
        ndarray of shape (n,)
        """
        return cast(Doubles, getattr(self.net.diag(_double(X, "X")), self.get))

    def is_stationary(self) -> bool:
        """Return False: the kernel depends on more than the difference of two points."""
        return False

    def _gradient(self, points: RowPoints) -> Array:
        """Return the derivatives of the kernel in `theta`, (n, n, n_dims)."""
        n = len(points)
        nets = [stepped(self.net, group) for group in self._free()]
        refuse_excess((n, n, len(nets)), np.dtype(np.float64), "X")
        found = gradient(points, nets, cast(KernelName, self.get))
        if found is None:
            found = self._gradient_in_numpy(points.X, nets)
        return np.moveaxis(found, 0, -1)

    def _gradient_in_numpy(self, X: Any, nets: Sequence[Sequential]) -> Array:
        """Return the derivatives by a complex run of the recursion each, (n_dims, n, n)."""
        n, d = X.shape
        gradient = np.empty((len(nets), n, n))
        p = squared_norms(X) / d + 0j  # complex from the start: no layer need look for it
        height = max(1, _BLOCK_ENTRIES // max(n, 1))
        for i in range(0, n if nets else 0, height):
            rows = slice(i, min(i + height, n))
            k = inner_products(X[rows], X[i:]) / d + 0j
            for net, out in zip(nets, gradient, strict=True):
                end = net._propagate(Moments(k, np.zeros_like(k), p[rows, None], p[None, i:]))
                out[rows, i:] = self._slope(end)
        for net, out in zip(nets, gradient, strict=True):
            ends = net._propagate_diagonal(Diagonals(p, np.zeros_like(p)))
            _mirror(out)
            np.fill_diagonal(out, self._slope(ends))
        return gradient

    def _slope(self, end: Moments | Diagonals) -> Array:
        return np.asarray((end.k if self.get == "nngp" else end.theta).imag / STEP)


def _mirror(a: Array, height: int = 256) -> None:
    """Fill the lower triangle from the upper one, tile by tile."""
    for i in range(0, len(a), height):
        rows, below = slice(i, i + height), slice(i + height, None)
        tile = np.triu(a[rows, rows])
        a[rows, rows] = tile + np.triu(tile, 1).T
        a[below, rows] = a[rows, below].T


def _check_bounds(bounds: Any, name: str) -> None:
    wrong = f"{name}: expected 'fixed' or a pair (low, high) with 0 <= low <= high, got {bounds!r}"
    if isinstance(bounds, str):
        if bounds != "fixed":
            raise ValueError(wrong)
        return
    try:
        low, high = (float(value) for value in np.ravel(bounds))
    except (TypeError, ValueError):
        raise ValueError(wrong) from None
    if not 0 <= low <= high:
        raise ValueError(wrong)


def _same(bounds: Any, other: Any) -> bool:
    return not isinstance(bounds, str) and np.array_equal(np.ravel(bounds), other)


def _double(X: Any, name: str) -> Any:
    return check_rows(X, name).astype(np.float64, copy=False)
