"""Networks as descriptions: layers in a row."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Self

from ._layer import Activated, Diagonals, Layer, Moments
from ._parameters import Parameters
from .activations import Activation

if TYPE_CHECKING:
    from .exact import Diagonal


class Row(Parameters):
    """Layers in a row: their parameters, and the way through them."""

    layers: tuple[Layer | Activation, ...]

    def _checked(self, layers: Any) -> tuple[Layer | Activation, ...]:
        """Refuse layers that do not fit, naming the layer."""
        raise NotImplementedError

    # Parameters: each layer under its index ("0__w_std"), as steps are in a Pipeline.

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters: `layers`, and with `deep` each layer's as "index__name"."""
        params: dict[str, Any] = {"layers": self.layers}
        if deep:
            for i, layer in enumerate(self.layers):
                params[str(i)] = layer
                params |= {f"{i}__{k}": v for k, v in layer.get_params().items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set `layers`, a whole layer ("0") or a layer's parameter ("0__w_std")."""
        layers = list(self._checked(params.pop("layers", self.layers)))
        nested: dict[int, dict[str, Any]] = {}
        for key, value in params.items():
            head, _, rest = key.partition("__")
            if not head.isdigit() or int(head) >= len(layers):
                raise ValueError(
                    f"{type(self).__name__}: unknown parameter {key!r}, expected 'layers' or an "
                    f"index below {len(layers)}, such as '0' or '0__w_std'"
                )
            if rest:
                nested.setdefault(int(head), {})[rest] = value
            else:
                layers[int(head)] = value
        for i, changes in nested.items():
            layers[i] = layers[i].__sklearn_clone__().set_params(**changes)
        self.layers = self._checked(layers)
        return self

    def __sklearn_clone__(self) -> Self:
        return type(self)(*(layer.__sklearn_clone__() for layer in self.layers))

    def __eq__(self, other: object) -> bool:
        kind = Residual if isinstance(self, Residual) else Sequential  # an MLP is its layers
        return isinstance(other, kind) and self.layers == other.layers

    __hash__ = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.layers))})"

    def __reduce_ex__(self, protocol: Any) -> Any:
        for i, layer in enumerate(self.layers):
            for name, value in layer.get_params().items():
                if callable(value) and not isinstance(value, Activation):
                    try:
                        pickle.dumps(value)
                    except Exception as error:
                        raise pickle.PicklingError(
                            f"layer {i}, {type(layer).__name__}: {name}={value!r} cannot be "
                            "pickled; a network that is to be saved or sent to another process "
                            "needs a function defined at the top level of a module, not a lambda"
                        ) from error
        return super().__reduce_ex__(protocol)

    def _steps(self) -> list[Layer]:
        return [x if isinstance(x, Layer) else Activated(x) for x in self.layers]

    def _propagate(self, moments: Moments) -> Moments:
        for step in self._steps():
            moments = step._pairs(moments)
        return moments

    def _propagate_diagonal(self, diagonals: Diagonals) -> Diagonals:
        for step in self._steps():
            diagonals = step._diagonal(diagonals)
        return diagonals

    def _homogeneity(self) -> float | None:
        """Return h if scaling the input by t scales the output by t^h, None if no h does."""
        power = 1.0
        for step in self._steps():
            own = step._homogeneity()
            if own is None:
                return None
            power *= own
        return power


class Residual(Row, Layer):
    """A skip connection: x + branch(x).

    Parameters
    ----------
    *layers : layer or activation
        The branch. It ends in a `Dense` or `Conv`, with at most pools behind, so that its output is
        independent of x; it keeps the shape of images.

    Notes
    -----
    Adds the kernels: K <- K + K_branch(K), Theta <- Theta + Theta_branch(K, Theta). Where x is
    Gaussian (behind a `Dense` or `Conv`), so is the sum.

    Examples
    --------
    >>> import nkfast as nk
    >>> block = nk.Residual(nk.ReLU(), nk.Dense(1.2))
    >>> nk.Sequential(nk.Dense(), block, block, nk.ReLU(), nk.Dense()).layers[1] == block
    True
    """

    def __init__(self, *layers: Layer | Activation) -> None:
        self.layers = self._checked(layers)

    def _checked(self, layers: Any) -> tuple[Layer | Activation, ...]:
        found = tuple(layers)
        # What the branch may begin with depends on where it stands.
        check_layers(found, gaussian=True)
        last = len(found) - 1
        while last > 0 and isinstance(found[last], Layer) and not found[last]._is_gaussian:
            last -= 1
        end = found[last]
        if not isinstance(end, Layer) or isinstance(end, Residual) or not end._is_gaussian:
            raise ValueError(
                f"layer {last}, {type(end).__name__}: expected the branch of a Residual to end in "
                "a Dense or Conv layer, with at most pools behind it"
            )
        return found

    def _pairs(self, m: Moments) -> Moments:
        end = self._propagate(m)
        return Moments(m.k + end.k, m.theta + end.theta, m.p + end.p, m.q + end.q)

    def _diagonal(self, d: Diagonals) -> Diagonals:
        end = self._propagate_diagonal(d)
        return Diagonals(d.k + end.k, d.theta + end.theta)

    def _homogeneity(self) -> float | None:
        return 1.0 if Row._homogeneity(self) == 1.0 else None


class Sequential(Row):
    """A network: layers in a row.

    Parameters
    ----------
    *layers : layer or activation
        The layers in order. An activation needs a Gaussian input, so it stands behind a `Dense` or
        `Conv`, maybe with a `Residual` or a pool between. A network that begins with a layer of
        images (`Conv`, `AvgPool`, `GlobalAvgPool`, `Flatten`) takes images, any other rows. Where
        it ends in images, its kernel is the mean over equal positions, as behind a `Flatten`.

    Attributes
    ----------
    layers : tuple
        The layers.

    Examples
    --------
    >>> import numpy as np, nkfast as nk
    >>> net = nk.Sequential(nk.Dense(2**0.5), nk.ReLU(), nk.Dense(1.0))
    >>> net.nngp(np.eye(2)).round(4).tolist()
    [[0.5, 0.1592], [0.1592, 0.5]]
    """

    def __init__(self, *layers: Layer | Activation) -> None:
        self.layers = self._checked(layers)

    def _checked(self, layers: Any) -> tuple[Layer | Activation, ...]:
        found = tuple(layers)
        check_layers(found, gaussian=False)
        return found

    def kernel(
        self,
        X: Any,
        Z: Any = None,
        get: str | Iterable[str] = ("nngp", "ntk"),
        *,
        out: Any = None,
        block: int | None = None,
        progress: bool | Callable[[int, int], object] | None = None,
        resume: Any = None,
    ) -> Any:
        """Return exact kernels of the rows (or images) of `X` with those of `Z` (default: `X`).

        Parameters
        ----------
        X : array_like or CSR matrix of shape (n, d), or array_like of shape (n, h, w, c)
            Rows of d features; of a network that begins with a layer of images, n images of h x w
            pixels and c channels.
        Z : array_like or CSR matrix of shape (m, d), or array_like of shape (m, h, w, c), optional
        get : str or tuple of str, default=("nngp", "ntk")
            Which kernels. One name returns the array itself.
        out : array of shape (n, m), or sequence or namedtuple of them, optional
            Where to write: one array if `get` is one name, else one for each name, in that order
            or, of a namedtuple, by name. float32 or float64, apart from `X` and `Z`. Rows of
            contiguous entries are written in place, also those of a slice or of a `np.memmap`;
            any other array, or thing that takes ``out[rows, cols] = block`` (an HDF5 data set),
            gets blocks. Pages of a `np.memmap` are let go as they are written, so that the kernel
            may be larger than the memory.
        block : int, optional
            Rows and columns that are computed at a time. Default: as many as keep the extra
            memory below about 200 MB. The values do not depend on it, up to rounding.
        progress : bool or callable, optional
            True: a bar on stderr. A function is called with (pairs done, pairs in all) at the
            beginning and after each block.
        resume : path-like, optional
            A journal, a small file: begun if there is none, it notes each block of `out` that is
            finished, at least every five seconds. The same call later, be it in another process,
            skips these and computes what is left. It belongs to one network, X, Z, `get`, `block`
            and dtype of `out`; blocks whose values have changed since are computed anew.

        Returns
        -------
        ndarray of shape (n, m), or namedtuple of them with the names in `get`
            `out` if given; else float32 if both inputs are float32, otherwise float64. K(X, X) is
            exactly symmetric.

        Raises
        ------
        ValueError
            On NaN or infinity, on different numbers of features or shapes of images, on images
            that a layer cannot take, on an unknown name, on an `out` of another shape, if the
            result cannot fit into memory, and if `resume` is the journal of another computation.
        TypeError
            If `out` is no array of float32 or float64.

        Notes
        -----
        Everything is computed in float64 and rounded once, but for large kernels of float32 rows
        in float32, through up to eight activations that are rectifiers, erf or GELU. These are
        computed in float32 to about 1e-6 of the kernel's scale, and in float64 where rho, the
        correlation of a pair, is so near to +-1 that rounding would be magnified. Pairs of images
        go through the layers as maps of all pairs of their pixels (Arora et al. 2019; Novak et al.
        2020).

        Examples
        --------
        >>> import numpy as np, nkfast as nk
        >>> k = nk.mlp(depth=1).kernel(np.eye(3))
        >>> k.nngp.shape, k.ntk.shape
        ((3, 3), (3, 3))
        >>> half = np.empty((3, 3), np.float32)
        >>> nk.mlp(depth=1).kernel(np.eye(3), get="ntk", out=half) is half
        True
        """
        from .exact import kernel

        return kernel(self, X, Z, get, out, block, progress, resume)

    def kernel_blocks(
        self, X: Any, Z: Any = None, get: str | Iterable[str] = "ntk", rows: int = 1024
    ) -> Iterator[tuple[slice, Any]]:
        """Iterate over blocks of rows of exact kernels, for solvers that never hold a whole one.

        Parameters
        ----------
        X, Z, get
            As in `kernel`.
        rows : int, default=1024
            Rows of a block, at least 1; the last block has what is left.

        Yields
        ------
        which : slice
            The rows of `X` that the block belongs to.
        block : ndarray of shape (rows, m), or namedtuple of them
            What ``kernel(X, Z, get)`` holds in these rows, up to rounding; a new array each time.

        Raises
        ------
        ValueError
            As `kernel`, at once and not with the first block.

        Examples
        --------
        A product with the kernel in little memory:

        >>> import numpy as np, nkfast as nk
        >>> X, v = np.eye(5), np.ones(5)
        >>> net = nk.mlp(depth=1)
        >>> Kv = np.empty(5)
        >>> for which, block in net.kernel_blocks(X, rows=2):
        ...     Kv[which] = block @ v
        >>> np.allclose(Kv, net.ntk(X) @ v)
        True
        """
        from .exact import kernel_blocks

        return kernel_blocks(self, X, Z, get, rows)

    def nngp(self, X: Any, Z: Any = None, **options: Any) -> Any:
        """Return the exact NNGP kernel, (n, m); parameters and options as in `kernel`."""
        return self.kernel(X, Z, "nngp", **options)

    def ntk(self, X: Any, Z: Any = None, **options: Any) -> Any:
        """Return the exact neural tangent kernel, (n, m); parameters and options as in `kernel`."""
        return self.kernel(X, Z, "ntk", **options)

    def diag(self, X: Any) -> Diagonal:
        """Return the diagonals of the kernels of `X` with itself in O(n).

        Parameters
        ----------
        X : array_like or CSR matrix of shape (n, d), or array_like of shape (n, h, w, c)

        Returns
        -------
        namedtuple (nngp, ntk) of ndarrays of shape (n,)

        Examples
        --------
        >>> import numpy as np, nkfast as nk
        >>> nk.mlp(depth=1).diag(np.eye(2)).nngp.tolist()
        [1.0000000000000004, 1.0000000000000004]
        """
        from .exact import diag

        return diag(self, X)


def takes_images(net: Row) -> bool:
    """Return whether the first layer that says so is one of images."""
    for layer in net.layers:
        if isinstance(layer, Residual):
            return takes_images(layer)
        if isinstance(layer, Layer):
            return layer._takes_images
    return False


def check_layers(
    layers: tuple[Any, ...], gaussian: bool, where: str = "", kind: str | None = None
) -> tuple[bool, str | None]:
    """Refuse layers that do not fit, naming the layer.

    Parameters
    ----------
    layers : tuple
    gaussian : bool
        Whether their input is Gaussian.
    where : str
        What stands before a layer's index in messages.
    kind : str, optional
        Their input: "rows" or "images", None if that is not known.

    Returns
    -------
    gaussian : bool
        Whether their output is Gaussian.
    kind : str or None
        Their output.
    """
    if not layers:
        raise ValueError(f"{where or 'layers'}: expected at least one layer, got none")
    pooled = False
    for i, layer in enumerate(layers):
        name = f"{where}layer {i}"
        if isinstance(layer, Residual):
            end = check_layers(layer.layers, gaussian, f"{name}, Residual: ", kind)[1]
            if kind is not None and end != kind:
                raise ValueError(
                    f"{name}, Residual: expected a branch that turns {kind} into {kind}, got one "
                    f"that makes {end} of them"
                )
            kind = end
        elif isinstance(layer, Layer):
            try:
                kind = layer._kind(kind)
            except ValueError as error:
                raise ValueError(f"{name}, {type(layer).__name__}: {error}") from None
            gaussian = gaussian or layer._is_gaussian
            pooled = not layer._is_gaussian
        elif isinstance(layer, Activation):
            if not gaussian:
                raise ValueError(
                    f"{name}, {type(layer).__name__}: an activation needs a Gaussian input, so "
                    f"expected it behind a Dense or Conv layer, but it {_before(i, where, pooled)}"
                )
            gaussian = False
        else:
            hint = " (an instance, not the class)" if isinstance(layer, type) else ""
            raise TypeError(
                f"{name}: expected a layer or an activation object{hint}, got {layer!r}"
            )
    return gaussian, kind


def _before(i: int, where: str, pooled: bool) -> str:
    if i == 0:
        return "begins the branch of a Residual without one" if where else "is the first layer"
    return "follows a pool without one before it" if pooled else "follows another activation"
