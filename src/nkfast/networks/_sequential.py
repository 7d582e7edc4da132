"""Networks: layers in a row that offer their kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, overload

from nkfast._arrays.validation import FloatArray
from nkfast.activations import Activation
from nkfast.kernels import Diagonal, Kernels, diag, kernel, kernel_blocks
from nkfast.layers import Layer, Row, check_layers


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

    @overload
    def kernel(
        self,
        X: Any,
        Z: Any = None,
        get: tuple[str, ...] | list[str] = ...,
        *,
        out: Any = None,
        block: int | None = None,
        progress: bool | Callable[[int, int], object] | None = None,
        resume: Any = None,
    ) -> Kernels: ...

    @overload
    def kernel(
        self,
        X: Any,
        Z: Any = None,
        *,
        get: str,
        out: Any = None,
        block: int | None = None,
        progress: bool | Callable[[int, int], object] | None = None,
        resume: Any = None,
    ) -> FloatArray: ...

    @overload
    def kernel(
        self,
        X: Any,
        Z: Any,
        get: str,
        *,
        out: Any = None,
        block: int | None = None,
        progress: bool | Callable[[int, int], object] | None = None,
        resume: Any = None,
    ) -> FloatArray: ...

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
    ) -> Kernels | FloatArray:
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
        return kernel(self, X, Z, get, out, block, progress, resume)

    @overload
    def kernel_blocks(
        self, X: Any, Z: Any = None, get: str = "ntk", rows: int = 1024
    ) -> Iterator[tuple[slice, FloatArray]]: ...

    @overload
    def kernel_blocks(
        self, X: Any, Z: Any = None, *, get: tuple[str, ...] | list[str], rows: int = 1024
    ) -> Iterator[tuple[slice, Kernels]]: ...

    @overload
    def kernel_blocks(
        self, X: Any, Z: Any, get: tuple[str, ...] | list[str], rows: int = 1024
    ) -> Iterator[tuple[slice, Kernels]]: ...

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
        return kernel_blocks(self, X, Z, get, rows)

    def nngp(self, X: Any, Z: Any = None, **options: Any) -> FloatArray:
        """Return the exact NNGP kernel, (n, m); parameters and options as in `kernel`."""
        return self.kernel(X, Z, "nngp", **options)

    def ntk(self, X: Any, Z: Any = None, **options: Any) -> FloatArray:
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
        return diag(self, X)


Sequential._family = Sequential  # an MLP is its layers
