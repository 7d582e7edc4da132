"""The construction of the paper: features of one layer after the other, each sketched anew.

A row carries phi, features of its NNGP kernel, and psi, features of its NTK, through the network:

- At first phi = x / sqrt(d), and there is no psi.
- Dense: phi <- (w phi, b), then psi <- (w psi, phi).
- An activation f of an input of standard deviation s, which is known: with u = phi / |phi| and
  a_l(s) = E f(s z) h_l(z), phi <- sum_l a_l(s) S_l(u), where S_l sketches the l-th tensor power,
  since K <- sum_l a_l(s) a_l(s') cos^l. In the same way the features phi' of f', which has the
  coefficients sqrt(l + 1) a_{l+1}(s) / s. Then psi <- T(psi, phi'), T a TensorSRHT.
- Residual: the features of both ways side by side.

Whatever is wider than the output is compressed to its width by an SRHT at once: the sum over l, and
psi (Han et al., NeurIPS 2022, section 4 and algorithm 1; Zandieh et al., "Scaling neural tangent
kernels via sketching and random features", NeurIPS 2021). The sketches' noise adds up from layer to
layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from nkfast._arrays.blocks import blocks
from nkfast._arrays.rows import inverse, row_norms, scale_rows, side_by_side
from nkfast._arrays.validation import Doubles, Rows
from nkfast._config import get_num_threads
from nkfast.activations import Activation
from nkfast.expansion import RadialSeries, log_range, radial_nodes
from nkfast.kernels import Kernel
from nkfast.layers import Activated, Dense, Diagonals, Flatten, Layer, Residual, Row
from nkfast.networks import Sequential
from nkfast.sketch import SRHT, CountSketch, PolySketch, TensorSRHT

_NODES = 40  # norms at which the coefficients are computed; between them they are interpolated
_LEAST_HALF = float(np.log(1.25))  # half width in log norm of the range that they cover
_NOTHING = 1e-14  # coefficients that count as zero, relative to the largest


def hermite_tables(net: Sequential, norms: Doubles, n_features: int, degree: int) -> Doubles:
    """Return the coefficients of all activations, in order, for rows of these norms.

    Returns
    -------
    ndarray of shape (n_norms, n_activations, 2, degree + 1)
        Those of the function and of its derivative, for what it is applied to.
    """
    variance = norms**2 / n_features
    deviations = _Deviations(net, variance).found
    out = np.empty((len(norms), len(deviations), 2, degree + 1))
    for j, (activation, stds) in enumerate(deviations):
        out[:, j] = activation._hermite_tables(stds, degree)
    return out


class _Deviations:
    """The activations and the standard deviations of what they are applied to; a `Visitor`."""

    def __init__(self, net: Row, variance: Doubles) -> None:
        self.found: list[tuple[Activation, Doubles]] = []
        self._d = Diagonals(variance, np.zeros_like(variance))
        with np.errstate(invalid="ignore"):  # of the NTK, which is not used
            net._walk(self)

    def _step(self, layer: Layer) -> None:
        self._d = layer._diagonal(self._d)

    dense = conv = pool = global_pool = flatten = _step

    def activation(self, layer: Activated) -> None:
        self.found.append((layer.activation, np.sqrt(self._d.k)))
        self._step(layer)

    def residual(self, layer: Residual) -> None:
        start = self._d
        layer._walk(self)
        self._d = Diagonals(start.k + self._d.k, start.theta + self._d.theta)


class Coefficients:
    """`hermite_tables` as functions of a row's norm: Chebyshev series in its logarithm.

    Attributes
    ----------
    used : ndarray of shape (n_activations, 2, degree + 1)
        Which of the coefficients are not zero for all norms.
    """

    def __init__(self, net: Sequential, norms: Doubles, n_features: int, degree: int) -> None:
        self._arguments = net, n_features, degree
        middle, half = log_range(norms[norms > 0])
        half = max(half, _LEAST_HALF)
        values = self._exact(radial_nodes(middle, half, _NODES))
        self._series = RadialSeries.through(values, self._exact(np.zeros(1))[0], middle, half)
        sizes = np.abs(values).max(axis=0).reshape(-1, 2, degree + 1)
        self.used = sizes > _NOTHING * sizes.max(axis=2, keepdims=True)

    def _exact(self, norms: Doubles) -> Doubles:
        net, n_features, degree = self._arguments
        return hermite_tables(net, norms, n_features, degree).reshape(len(norms), -1)

    def __call__(self, norms: Doubles) -> Doubles:
        """Return (n, n_activations, 2, degree + 1), each row's from its own norm alone."""
        found = self._series.extended(norms, self._exact, get_num_threads())
        return found.reshape(len(norms), *self.used.shape)

    def lost(self, norms: Doubles, tangent: bool) -> Doubles:
        """Return the largest share of E f(u)^2, or of E f'(u)^2, too, that they lack."""
        net, n_features, _ = self._arguments
        share = np.zeros(len(norms))
        sums = np.sum(self(norms) ** 2, axis=3)
        for j, (activation, stds) in enumerate(_Deviations(net, norms**2 / n_features).found):
            both = activation._diagonal(stds**2)
            for k, whole in enumerate(both[: 1 + tangent]):
                some = np.where(whole > 0, whole, np.inf)
                share = np.maximum(share, np.where(whole > 0, 1 - sums[:, j, k] / some, 0))
        return share


@dataclass
class State:
    """Features of rows on their way; no psi where the NTK is zero or not asked for."""

    phi: Rows
    psi: Rows | None


@dataclass
class Shape:
    """Their numbers of columns, 0 for no psi.

    As long as they are `raw`, no activation has come yet: they are multiples of the input and
    constants, sparse if that is, and not compressed.
    """

    phi: int
    psi: int
    raw: bool


class Map(Protocol):
    """What a layer does to the features of rows."""

    shape: Shape  # of what comes out

    def __call__(self, state: State, coefficients: Doubles) -> State:
        """Return the features behind the layer."""


def _drawn(sketch: Any, *sizes: int) -> Any:
    """Return the sketch, drawn for rows of so many columns; it gives arrays, never frames."""
    sketch.set_output(transform="default")
    return sketch.fit(*(sp.csr_array((1, size)) for size in sizes))


def _dense(X: Rows) -> NDArray[Any]:
    return np.asarray(X.toarray() if sp.issparse(X) else X)


class Join:
    """Features side by side, those of a sum of kernels, in at most `width` columns.

    More are compressed by one SRHT. Of them, raw ones wider than that are hashed first.
    """

    def __init__(
        self, sizes: list[int], raw: list[bool], width: int, rng: np.random.RandomState
    ) -> None:
        hashed = [r and size > width for size, r in zip(sizes, raw, strict=True)]
        self.hashes = [
            _drawn(CountSketch(width, random_state=rng), size) if h else None
            for size, h in zip(sizes, hashed, strict=True)
        ]
        total = sum(width if h else size for size, h in zip(sizes, hashed, strict=True))
        self.srht = _drawn(SRHT(width, random_state=rng), total) if total > width else None
        self.size = min(total, width)

    def __call__(self, parts: list[Rows]) -> NDArray[Any]:
        dense = [
            hashes.transform(part) if hashes else _dense(part)
            for hashes, part in zip(self.hashes, parts, strict=True)
        ]
        whole = side_by_side(dense)
        return np.asarray(self.srht.transform(whole) if self.srht else whole)


class Draw:
    """What the maps of the layers are drawn with."""

    def __init__(
        self, used: NDArray[np.bool_], width: int, tangent: bool, rng: np.random.RandomState
    ) -> None:
        self.used = iter(enumerate(used))  # of the next activation
        self.width = width
        self.tangent = tangent
        self.rng = rng

    def join(self, sizes: list[int], raw: list[bool] | None = None, width: int = 0) -> Join:
        return Join(sizes, raw or [False] * len(sizes), width or self.width, self.rng)


class DenseMap:
    """phi <- (w phi, b), psi <- (w psi, phi)."""

    def __init__(self, layer: Dense, shape: Shape, draw: Draw) -> None:
        self.w, self.b = float(layer.w_std), float(layer.b_std)
        self.tangent = draw.tangent
        phi = shape.phi + (self.b > 0)
        psi = shape.psi + phi if draw.tangent else 0
        self.join: Join | None = None
        if draw.tangent and shape.psi and not shape.raw:
            self.join = draw.join([shape.psi, phi])
            psi = self.join.size
        self.shape = Shape(phi, psi, shape.raw)

    def __call__(self, state: State, coefficients: Doubles) -> State:  # noqa: ARG002
        phi = state.phi * self.w
        if self.b > 0:
            phi = side_by_side([phi, np.full((phi.shape[0], 1), self.b, phi.dtype)])
        if not self.tangent or state.psi is None:
            return State(phi, phi if self.tangent else None)
        parts = [state.psi * self.w, phi]
        return State(phi, self.join(parts) if self.join else side_by_side(parts))


class ActivationMap:
    """phi <- sum_l a_l S_l(u), psi <- T(psi, sum_l a'_l S_l(u)), u = phi / |phi|."""

    def __init__(self, shape: Shape, draw: Draw) -> None:
        self.index, used = next(draw.used)
        self.degrees = [np.flatnonzero(row).tolist() for row in used[: 2 if draw.tangent else 1]]
        highest = max((l for degrees in self.degrees for l in degrees), default=0)
        self.hashed = shape.raw and shape.phi > draw.width  # so that u itself is sketched, too
        self.powers: Any = None
        if highest > 1 or (highest == 1 and self.hashed):
            sketch = PolySketch(highest, draw.width, random_state=draw.rng)
            self.powers = _drawn(sketch, shape.phi)
        sizes = [1, draw.width if self.hashed else shape.phi] + [draw.width] * highest
        # A column is left for the bias of the next layer.
        widths = (max(draw.width - 1, 1), draw.width)
        self.joins = [
            draw.join([sizes[l] for l in degrees], width=width) if degrees else None
            for degrees, width in zip(self.degrees, widths, strict=False)
        ]
        phi, *slope = (join.size if join else 1 for join in self.joins)
        self.product: Any = None
        if draw.tangent and self.degrees[1]:
            sketch = TensorSRHT(draw.width, random_state=draw.rng)
            self.product = _drawn(sketch, shape.psi, *slope)
        self.shape = Shape(phi, draw.width if self.product else 0, raw=False)

    def __call__(self, state: State, coefficients: Doubles) -> State:
        u = scale_rows(state.phi, inverse(row_norms(state.phi, get_num_threads())))
        powers = [np.ones((u.shape[0], 1), u.dtype)]
        if not self.hashed:
            powers.append(_dense(u))
        if self.powers is not None:
            powers += self.powers.transform_powers(u)[len(powers) - 1 :]
        a = coefficients[:, self.index].astype(u.dtype)
        phi, *slope = (self._sum(k, powers, a[:, k]) for k in range(len(self.joins)))
        psi = self.product.transform_pair(state.psi, *slope) if self.product else None
        return State(phi, psi)

    def _sum(self, k: int, powers: list[NDArray[Any]], a: NDArray[Any]) -> NDArray[Any]:
        join = self.joins[k]
        if join is None:  # the function is zero
            return np.zeros((len(a), 1), a.dtype)
        return join([a[:, l, None] * powers[l] for l in self.degrees[k]])


class ResidualMap:
    """Features of x and of branch(x) side by side."""

    def __init__(self, layer: Residual, shape: Shape, draw: Draw) -> None:
        drawn = _Drawn(layer, shape, draw)
        self.branch, end = drawn.maps, drawn.shape
        raw = [shape.raw, end.raw]
        pairs = [shape.phi, end.phi], [shape.psi, end.psi]
        self.joins = [None if all(raw) or not all(p) else draw.join(p, raw) for p in pairs]
        phi, psi = (j.size if j else sum(p) for j, p in zip(self.joins, pairs, strict=True))
        self.shape = Shape(phi, psi, all(raw))

    def __call__(self, state: State, coefficients: Doubles) -> State:
        end = state
        for step in self.branch:
            end = step(end, coefficients)
        phi = self._joined(self.joins[0], [state.phi, end.phi])
        if state.psi is None or end.psi is None:
            return State(phi, end.psi if state.psi is None else state.psi)
        return State(phi, self._joined(self.joins[1], [state.psi, end.psi]))

    def _joined(self, join: Join | None, parts: list[Rows]) -> Rows:
        return join(parts) if join else side_by_side(parts)


class _Drawn:
    """The maps of the layers of a row, and the shape of what comes out; a `Visitor`."""

    def __init__(self, row: Row, shape: Shape, draw: Draw) -> None:
        self.maps: list[Map] = []
        self.shape = shape
        self._draw = draw
        row._walk(self)

    def _add(self, step: Map) -> None:
        self.maps.append(step)
        self.shape = step.shape

    def dense(self, layer: Dense) -> None:
        self._add(DenseMap(layer, self.shape, self._draw))

    def activation(self, layer: Activated) -> None:  # noqa: ARG002
        self._add(ActivationMap(self.shape, self._draw))

    def residual(self, layer: Residual) -> None:
        self._add(ResidualMap(layer, self.shape, self._draw))

    def flatten(self, layer: Flatten) -> None:
        """Rows stay as they are."""

    def _refuse(self, layer: Layer) -> None:  # noqa: ARG002
        raise ValueError("expected a layer of rows")

    conv = pool = global_pool = _refuse


class LayerwiseMap:
    """Features of a dense network's kernel, drawn for rows with norms like `norms`.

    Parameters
    ----------
    net : Sequential
    kernel : {"nngp", "ntk"}
    norms : ndarray of shape (n,)
    n_features, n_components : int
        Columns of the rows, and of their features.
    degree : int
        Highest degree of each activation's series.
    rng : RandomState
    """

    def __init__(
        self,
        net: Sequential,
        kernel: Kernel,
        norms: Doubles,
        n_features: int,
        n_components: int,
        degree: int,
        rng: np.random.RandomState,
    ) -> None:
        self.n_components = n_components
        self.degree = degree
        self.tangent = kernel == "ntk"
        self.power = net._homogeneity()
        if self.power is not None:  # all rows are taken for those of this norm
            norms = np.full(1, float(np.sqrt(n_features)))
        self.coefficients = Coefficients(net, norms, n_features, degree)
        draw = Draw(self.coefficients.used, n_components, self.tangent, rng)
        drawn = _Drawn(net, Shape(n_features, 0, raw=True), draw)
        self.steps, end = drawn.maps, drawn.shape
        size = end.psi if self.tangent else end.phi
        self.last = draw.join([size], [end.raw]) if size else None
        self._widest = (degree + 2) * n_components

    def fitted(self) -> dict[str, Any]:
        """Return what the estimator shows of it: nothing."""
        return {}

    def may_overflow(self, X: Rows, norms: Doubles | None = None) -> bool:  # noqa: ARG002
        """Return whether features of these rows may be too large for their type."""
        return True

    def lost(self, norms: Doubles) -> Doubles:
        """Return the largest share that an activation's series lacks of its kernel at these norms.

        The features do not tell: each layer takes its input for one of the exact norm.
        """
        return self.coefficients.lost(norms, self.tangent)

    def transform(self, X: Rows, norms: Doubles | None = None) -> NDArray[Any]:
        """Return the features of checked rows, (n, n_components); `norms` are theirs."""
        n, d = X.shape
        out = np.zeros((n, self.n_components), X.dtype)
        if self.last is None:  # the kernel is zero
            return out
        for rows in blocks(n, self._widest if sp.issparse(X) else max(self._widest, d)):
            x = X[rows]
            own = row_norms(x, get_num_threads()) if norms is None else norms[rows]
            if self.power is None:
                x = x * (1 / float(np.sqrt(d)))
            else:
                x, sizes = scale_rows(x, inverse(own)), own / float(np.sqrt(d))
                own = np.where(own > 0, float(np.sqrt(d)), 0.0)
            coefficients = self.coefficients(own)
            state = State(x, None)
            for step in self.steps:
                state = step(state, coefficients)
            out[rows, : self.last.size] = self.last([state.psi if self.tangent else state.phi])
            if self.power is not None:
                with np.errstate(over="ignore"):  # which is noticed
                    out[rows] *= (sizes**self.power)[:, None]
        return out
