"""Features of networks of images, pixel by pixel: the stages that the core runs.

Every pixel carries phi, features of its NNGP kernel, and psi, features of its NTK. Each is a scalar
c and a vector v. The scalar holds the component that all pixels share, so that sketches, whose
noise grows with what they are applied to, only see what tells pixels apart.

- Conv, Dense, Flatten: the parts that a pixel is a sum of are hashed into one vector; or lie side
  by side, where they fit. Of the scalars of the parts their mean stays the scalar.
- An activation: with u = (c, v) / s its kernel is the sum over j of G_j (v v')^j, G_j from the
  Hermite coefficients at s and from c (csrc/features/hermite.hpp). Powers of a patch that is not
  sketched yet are monomials, others a chain of TensorSRHTs. psi <- psi x phi', where the scalars
  multiply exactly.
- Theta <- w^2 Theta + K of the next Conv or Dense is Theta + K before it: the activation does
  that.
- Pools are means.

All numbers are in units of powers of two, one for each field, in which typical ones are near 1: so
neither images nor weights are too small or too large for the core's float32. Where the network is
homogeneous, each image is read in a unit of its own.

As in Han et al., NeurIPS 2022, section 4.2, but for the scalars, the monomials and the known norms.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import hypot, ldexp, sqrt
from typing import Any, TypeAlias

import numpy as np

from nkfast._core import PixelBuilder, PixelProgram
from nkfast.activations import Activation
from nkfast.layers import (
    Activated,
    AvgPool,
    Conv,
    Dense,
    Flatten,
    GlobalAvgPool,
    Layer,
    Residual,
    Row,
    Window,
    Windows,
)
from nkfast.sketch._program import balanced_sample, next_power_of_two, random_signs

from ._hermite_table import HermiteTable
from ._parts import (
    MOST_SIDE,
    Vectors,
    binary_exponent,
    mix,
    powers,
    product,
    shifted,
    taps_of,
    typical,
    with_units,
)
from ._records import (
    HadamardSample,
    Hash,
    OwnTangent,
    PixelActivation,
    PixelLook,
    PixelOutput,
    PixelPool,
    PixelStage,
    SharedTangent,
)

Shape: TypeAlias = tuple[int, int]

_CORRELATION = 0.8  # of pixels that a pool averages, for what is typical behind it
_RESTS = 2  # further components of the scalar behind an activation (kRests)
_MOST_DOUBLINGS = 3  # of the width of a pixel
_FEW_OUTPUTS = 16  # with fewer the scalar has no column of its own


_BY_SHAPE = ("widths",)


@dataclass
class State:
    """Features of the pixels of an image on their way.

    `psi` is None where the NTK is zero, not wanted, or equal to the NNGP kernel (`alias`).
    `merged`: psi is that of Theta + K.
    """

    shape: Shape
    phi: Vectors
    psi: Vectors | None = None
    alias: bool = False
    merged: bool = False

    @property
    def pending(self) -> bool:
        return self.phi.channel is not None


class PixelPlan:
    """The fields, stages and output of the core's program for a network, drawn at random.

    Parameters
    ----------
    net : Row
        The network; the plan is a `Visitor` of its layers.
    shape : tuple of int
        Height, width and channels of the images.
    size : float
        A typical root mean square of an image's entries.
    tangent : bool
        Whether features of the NTK are wanted, or those of the NNGP kernel.
    width : int
        Features of a pixel at full resolution.
    degree : int
        Highest power of v at an activation; twice that where v is a patch of the image.
    n_components : int
        Features of an image.
    rng : RandomState
    """

    def __init__(
        self,
        net: Row,
        shape: tuple[int, int, int],
        size: float,
        tangent: bool,
        width: int,
        degree: int,
        n_components: int,
        rng: np.random.RandomState,
    ) -> None:
        self.rng = rng
        self.tangent = tangent
        self.width = width
        self.degree = degree
        self.pixels = shape[0] * shape[1]
        self.fields: list[tuple[int, int, int]] = []
        self.stages: list[PixelStage | PixelPool] = []
        self.output: PixelOutput | None = None  # None: the kernel is zero
        self.widths: dict[Shape, int] = {}

        self.power = net._homogeneity()
        # Homogeneous: each image has its own unit, in which it is about 1.
        self.exponent = 0 if self.power is not None or size == 0 else binary_exponent(size)
        energy = 1.0 if self.power is not None else ldexp(size, -self.exponent) ** 2
        channels = shape[2]
        field = self._field(shape[:2], channels)
        source = Vectors((channels,), True, 0.0, energy, self.exponent, field)
        self._state = State(shape[:2], source)
        self._ahead: list[Layer] = []  # layers of the row that is walked, the next one last
        self._row(net)
        self._flatten()
        self._finish(self._stored(self._state), n_components)
        del self._state, self._ahead, self.rng

    def __getstate__(self) -> dict[str, Any]:
        """Keep shapes out of keys, which are strings or numbers in a model file."""
        return vars(self) | {name: list(getattr(self, name).items()) for name in _BY_SHAPE}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state | {name: dict(state[name]) for name in _BY_SHAPE})
        vars(self).pop("halos", None)  # of earlier versions

    @property
    def zero(self) -> bool:
        """Whether the kernel is zero, and so are all features."""
        return self.output is None

    @property
    def sketched(self) -> bool:
        """Whether there is an activation, of which features are only near the kernel."""
        return any(isinstance(s, PixelStage) and s.activation is not None for s in self.stages)

    def compile(self) -> PixelProgram:
        """Return the core's program, unless the kernel is zero."""
        assert self.output is not None
        builder = PixelBuilder()
        for height, width, n in self.fields:
            builder.add_field(height=height, width=width, n=n)
        for stage in self.stages:
            if isinstance(stage, PixelPool):
                builder.add_pool(
                    source=stage.source,
                    target=stage.target,
                    window=stage.window,
                    strides=stage.strides,
                )
            else:
                builder.add_stage(stage.core())
        return builder.finish(self.output.core())

    # --- layers ---

    def _row(self, row: Row) -> None:
        around = self._ahead
        self._ahead = row._steps()[::-1]
        row._walk(self)
        self._ahead = around

    def conv(self, layer: Conv) -> None:
        self._ahead.pop()
        windows = layer._windows(self._state.shape)
        taps = taps_of(windows, layer.padding == "CIRCULAR")
        shape = windows[0].out, windows[1].out
        scale = layer.w_std / len(taps) ** 0.5
        self._state = self._affine(self._state, taps, scale, layer.b_std, shape)

    def dense(self, layer: Dense) -> None:
        self._ahead.pop()
        shape = self._state.shape
        self._state = self._affine(self._state, [PixelLook()], layer.w_std, layer.b_std, shape)

    def activation(self, layer: Activated) -> None:
        self._ahead.pop()
        merged = self._affine_next()
        self._state = self._activation(layer.activation, self._state, merged)

    def pool(self, layer: AvgPool) -> None:
        self._ahead.pop()
        windows = layer._windows(self._state.shape)
        self._state = self._pool(self._state, windows)

    def global_pool(self, layer: GlobalAvgPool) -> None:  # noqa: ARG002
        self._ahead.pop()
        height, width = self._state.shape
        windows = Window(height, height, 0, height, 1), Window(width, width, 0, width, 1)
        self._state = self._pool(self._state, windows)

    def flatten(self, layer: Flatten) -> None:  # noqa: ARG002
        self._ahead.pop()
        self._flatten()

    def residual(self, layer: Residual) -> None:
        self._ahead.pop()
        start = self._state = self._stored(self._state)
        self._row(layer)
        end = self._stored(self._state)
        if end.shape != start.shape:
            raise ValueError(
                f"expected a branch that keeps the shape of images, got {end.shape} from "
                f"{start.shape}"
            )
        self._state = self._sum(start, end)

    def _affine_next(self) -> bool:
        """Return whether a Conv or Dense follows, at most pools between."""
        for layer in reversed(self._ahead):
            if layer._is_affine:
                return True
            if not layer._takes_images or layer._is_gaussian:  # no pool
                return False
        return False

    def _affine(
        self, state: State, taps: list[PixelLook], w: float, b: float, shape: Shape
    ) -> State:
        """Conv or Dense: K <- w^2 mean K + b^2, Theta <- w^2 mean Theta + K_new."""
        state = self._stored(state)
        phi = self._mix([state.phi], taps, w, b, shape)
        if not self.tangent:
            return State(shape, phi)
        if state.psi is None and not state.alias:  # Theta = 0
            return State(shape, phi, alias=True)
        psi = state.phi if state.psi is None else state.psi
        sources = [psi] if state.merged else [psi, state.phi]
        return State(shape, phi, self._mix(sources, taps, w, b, shape))

    def _flatten(self) -> None:
        state = self._state
        if state.shape == (1, 1):
            return
        state = self._stored(state)
        height, width = state.shape
        taps = [PixelLook(row_offset=i, col_offset=j) for i in range(height) for j in range(width)]
        scale = 1 / float(np.sqrt(len(taps)))
        self._state = self._linear(state, taps, scale, (1, 1))

    def _linear(self, state: State, taps: list[PixelLook], scale: float, shape: Shape) -> State:
        phi = self._mix([state.phi], taps, scale, 0.0, shape)
        psi = state.psi and self._mix([state.psi], taps, scale, 0.0, shape)
        return replace(state, shape=shape, phi=phi, psi=psi)

    def _pool(self, state: State, windows: Windows) -> State:
        state = self._stored(state)
        window = windows[0].taps, windows[1].taps
        strides = windows[0].stride, windows[1].stride
        if window == (1, 1) and strides == (1, 1):
            return state
        shape = windows[0].out, windows[1].out

        def pooled(v: Vectors) -> Vectors:
            energy = v.energy * _CORRELATION
            out = replace(v, energy=energy, field=self._field(shape, v.n))
            self.stages.append(PixelPool(v.field, out.field, window, strides))
            return out

        return replace(
            state, shape=shape, phi=pooled(state.phi), psi=state.psi and pooled(state.psi)
        )

    def _sum(self, state: State, end: State) -> State:
        """Return the features of a sum of independent functions."""
        phi = self._mix([state.phi, end.phi], [PixelLook()], 1.0, 0.0, state.shape)
        if not self.tangent:
            return State(state.shape, phi)
        tangents = [
            s.phi if s.alias else s.psi for s in (state, end) if s.alias or s.psi is not None
        ]
        psi = self._mix([v for v in tangents if v], [PixelLook()], 1.0, 0.0, state.shape)
        return State(state.shape, phi, psi)

    # --- sums of parts ---

    def _mix(
        self,
        sources: list[Vectors],
        taps: list[PixelLook],
        scale: float,
        constant: float,
        shape: Shape,
    ) -> Vectors:
        return mix(self.rng, sources, taps, scale, constant, self._width(shape))

    def _stored(self, state: State) -> State:
        """Return the state with its channels in fields."""
        if not state.pending:
            return state
        kept = [v for v in (state.phi, state.psi) if v is not None]
        fields = [self._field(state.shape, v.n) for v in kept]
        channels = [v.channel for v in kept if v.channel is not None]
        self.stages.append(PixelStage(channels, None, fields))
        stored = [replace(v, field=f, channel=None) for v, f in zip(kept, fields, strict=True)]
        return replace(state, phi=stored[0], psi=stored[1] if len(stored) > 1 else None)

    # --- activations ---

    def _activation(self, f: Activation, state: State, merged: bool) -> State:
        if not state.pending:
            state = self._linear(state, [PixelLook()], 1.0, state.shape)
        phi = state.phi
        channels = [v.channel for v in (phi, state.psi) if v is not None and v.channel is not None]
        deviation = hypot(phi.c, sqrt(phi.energy))
        table = HermiteTable(f, deviation, phi.exponent)
        share = phi.c / deviation if deviation > 0 else 0.0
        width = self._width(state.shape)
        steps, sizes, exact = powers(self.rng, phi, width, self.degree)
        side_by_side = exact and sum(sizes) <= max(2 * width, MOST_SIDE)
        parts = [*sizes, _RESTS]
        n = sum(parts) if side_by_side else width

        def sums() -> list[Hash]:
            if side_by_side:  # mixed, for shifts of them are to meet any others
                rest = parts[0] + self.rng.permutation(n - parts[0])
                order = np.concatenate([np.arange(parts[0]), rest])
                to = np.split(order, np.cumsum(parts[:-1]))
            elif max(parts) <= n == phi.n:
                rests = Hash(balanced_sample(self.rng, n, _RESTS), random_signs(self.rng, _RESTS))
                return [*shifted(self.rng, n, sizes), rests]
            else:
                to = [balanced_sample(self.rng, n, size) for size in parts]
            return [Hash(t.astype(np.int32), random_signs(self.rng, len(t))) for t in to]

        blocks = tuple(parts) if side_by_side else (n,)
        value, slope, tangent = table.weights(share)
        new = Vectors(blocks, False, *typical(value), table.exponent)
        own = sums()
        merged = merged and self.tangent
        psi = None
        how: SharedTangent | OwnTangent | None = None
        slope_unit = table.slope_exponent
        if self.tangent and state.alias:
            how = SharedTangent(n, sums())
            found = Vectors(blocks, False, *typical(tangent), phi.exponent + slope_unit)
            psi = with_units([found, new] if merged else [found])
            slope_unit = psi.exponent - phi.exponent
        elif self.tangent:
            assert state.psi is not None
            derivative = Vectors((width,), False, *typical(slope), slope_unit)
            how, psi = self._tangent(state.psi, derivative, new, sizes, width, merged)
            slope_unit = psi.exponent - state.psi.exponent
        unit = ldexp(1.0, new.exponent - psi.exponent) if psi is not None and merged else 0.0
        grid = table.grid(share, slope_unit)
        activation = PixelActivation(len(sizes), grid, steps, n, own, unit, how)
        kept = [v for v in (new, psi) if v is not None]
        fields = [self._field(state.shape, v.n) for v in kept]
        self.stages.append(PixelStage(channels, activation, fields))
        for v, field in zip(kept, fields, strict=True):
            v.field, v.signed = field, True
        return State(state.shape, new, psi, merged=merged)

    def _tangent(
        self,
        old: Vectors,
        slope: Vectors,
        phi: Vectors,
        sizes: list[int],
        width: int,
        merged: bool,
    ) -> tuple[OwnTangent, Vectors]:
        """Return what makes psi x phi', and phi if merged, and these features."""
        rng = self.rng

        def hashed(size: int) -> Hash:
            return Hash(balanced_sample(rng, width, size), random_signs(rng, size))

        if old.n == phi.n == width and set(sizes) == {width}:
            slope_sums = [*shifted(rng, width, sizes), hashed(_RESTS)]
            kept = shifted(rng, width, [width] * 4)
            last = hashed(1)
            kept[3] = Hash(np.append(kept[3].to, last.to), np.append(kept[3].signs, last.signs))
        else:
            slope_sums = [hashed(size) for size in [*sizes, _RESTS]]
            kept = [hashed(size) for size in (width, old.n, width, phi.n + 1)]
        vector = old.energy * slope.energy + old.energy * slope.c**2 + old.c**2 * slope.energy
        unit = old.exponent + slope.exponent
        found = Vectors((width,), False, old.c * slope.c, vector, unit)
        psi = with_units([found, phi] if merged else [found])
        tangent, nngp = 1.0, 0.0
        if merged and psi.c > 0:
            tangent = ldexp(found.c, unit - psi.exponent) / psi.c
            nngp = ldexp(phi.c, phi.exponent - psi.exponent) / psi.c
        how = OwnTangent(
            n=width,
            n_slope=width,
            slope_sums=slope_sums,
            product=product(rng, old.n, width, width),
            from_product=kept[0],
            from_tangent=kept[1],
            from_slope=kept[2],
            from_nngp=kept[3],
            direction_tangent=tangent,
            direction_nngp=nngp,
        )
        return how, psi

    # --- fields ---

    def _field(self, shape: Shape, n: int) -> int:
        self.fields.append((*shape, n))
        return len(self.fields) - 1

    def _width(self, shape: Shape) -> int:
        """Return the features of a pixel: the more, the fewer pixels there are left.

        For noise of about a / width from each layer and cost pixels * width, widths in proportion
        to pixels^(-1/2) are best.
        """
        factor = (self.pixels / (shape[0] * shape[1])) ** 0.5
        power = int(np.clip(np.round(np.log2(factor)), 0, _MOST_DOUBLINGS))
        self.widths[shape] = self.width << power
        return self.widths[shape]

    def _finish(self, state: State, n_components: int) -> None:
        final = state.phi if not self.tangent or state.alias else state.psi
        if final is None:  # the kernel is zero
            return
        scalar = n_components >= _FEW_OUTPUTS
        sample = None
        if not scalar or final.n + 1 > n_components:
            length = next_power_of_two(final.n + 1)
            signs = random_signs(self.rng, final.n + 1)
            hashed = Hash(balanced_sample(self.rng, length, final.n + 1), signs)
            sample = HadamardSample(
                length, hashed, balanced_sample(self.rng, length, n_components - scalar)
            )
        self.output = PixelOutput(
            final.field, scalar, n_components, sample, self.exponent, final.exponent, self.power
        )
