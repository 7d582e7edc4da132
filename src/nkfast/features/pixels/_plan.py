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

As in Han et al., NeurIPS 2022, section 4.2, but for the scalars, the monomials and the known norms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

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
    Window,
)
from nkfast.sketch._program import balanced_sample, next_power_of_two, random_signs

from ._hermite_table import HermiteTable
from ._parts import MOST_SIDE, Vectors, mix, powers, product, taps_of, typical
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
    steps : sequence of Layer
        The network.
    shape : tuple of int
        Height, width and channels of the images.
    variance : float
        A typical mean square of an image's entries.
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
        steps: Sequence[Layer],
        shape: tuple[int, int, int],
        variance: float,
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
        self.halos: dict[Shape, list[int]] = {}
        self.stages: list[PixelStage | PixelPool] = []
        self.output: PixelOutput | None = None  # None: the kernel is zero
        self.widths: dict[Shape, int] = {}

        channels = shape[2]
        source = Vectors((channels,), True, 0.0, variance, self._field(shape[:2], channels))
        state = self._row(steps, State(shape[:2], source))
        if state.shape != (1, 1):
            state = self._flatten(state)
        state = self._stored(state)
        self._finish(state, n_components)

    @property
    def zero(self) -> bool:
        """Whether the kernel is zero, and so are all features."""
        return self.output is None

    def compile(self) -> PixelProgram:
        """Return the core's program, unless the kernel is zero."""
        assert self.output is not None
        builder = PixelBuilder()
        for height, width, n in self.fields:
            rows, cols = self.halos.get((height, width), (0, 0))
            builder.add_field(height=height, width=width, n=n, halo_rows=rows, halo_cols=cols)
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

    def _row(self, steps: Sequence[Layer], state: State, where: str = "") -> State:
        for i, step in enumerate(steps):
            name = f"{where}layer {i}"
            if isinstance(step, Activated):
                state = self._activation(step.activation, state, _affine_next(steps[i + 1 :]))
            elif isinstance(step, Residual):
                state = self._residual(step, state, f"{name}, Residual: ")
            else:
                try:
                    state = self._step(step, state)
                except ValueError as error:
                    raise ValueError(f"{name}, {type(step).__name__}: {error}") from None
        return state

    def _step(self, step: Layer, state: State) -> State:
        if isinstance(step, Conv):
            windows = step._windows(state.shape)
            taps = taps_of(windows, step.padding == "CIRCULAR")
            self._need_halo(state.shape, step, windows)
            shape = windows[0].out, windows[1].out
            return self._affine(state, taps, step.w_std / len(taps) ** 0.5, step.b_std, shape)
        if isinstance(step, Dense):
            return self._affine(state, [PixelLook()], step.w_std, step.b_std, state.shape)
        if isinstance(step, Flatten):
            return self._flatten(state)
        if isinstance(step, GlobalAvgPool):
            return self._pool(state, state.shape, state.shape)
        assert isinstance(step, AvgPool)
        step._windows(state.shape)
        return self._pool(state, step.window, step.strides or step.window)

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

    def _flatten(self, state: State) -> State:
        if state.shape == (1, 1):
            return state
        state = self._stored(state)
        height, width = state.shape
        taps = [PixelLook(row_offset=i, col_offset=j) for i in range(height) for j in range(width)]
        scale = 1 / float(np.sqrt(len(taps)))
        return self._linear(state, taps, scale, (1, 1))

    def _linear(self, state: State, taps: list[PixelLook], scale: float, shape: Shape) -> State:
        phi = self._mix([state.phi], taps, scale, 0.0, shape)
        psi = state.psi and self._mix([state.psi], taps, scale, 0.0, shape)
        return replace(state, shape=shape, phi=phi, psi=psi)

    def _pool(self, state: State, window: Shape, strides: Shape) -> State:
        state = self._stored(state)
        if window == (1, 1) and strides == (1, 1):
            return state
        height, width = (
            (size - taps) // stride + 1
            for size, taps, stride in zip(state.shape, window, strides, strict=True)
        )
        shape = height, width

        def pooled(v: Vectors) -> Vectors:
            energy = v.energy * _CORRELATION
            out = replace(v, energy=energy, field=self._field(shape, v.n))
            self.stages.append(PixelPool(v.field, out.field, window, strides))
            return out

        return replace(
            state, shape=shape, phi=pooled(state.phi), psi=state.psi and pooled(state.psi)
        )

    def _residual(self, step: Residual, state: State, where: str) -> State:
        state = self._stored(state)
        end = self._stored(self._row(step._steps(), state, where))
        if end.shape != state.shape:
            raise ValueError(
                f"{where}expected a branch that keeps the shape of images, got {end.shape} from "
                f"{state.shape}"
            )
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
        variance = phi.c**2 + phi.energy
        table = HermiteTable(f, float(np.sqrt(variance)))
        share = phi.c / float(np.sqrt(variance)) if variance > 0 else 0.0
        width = self._width(state.shape)
        steps, sizes, exact = powers(self.rng, phi, width, self.degree)
        side_by_side = exact and sum(sizes) <= max(2 * width, MOST_SIDE)
        parts = [*sizes, _RESTS]
        n = sum(parts) if side_by_side else width

        def sums() -> list[Hash]:
            if side_by_side:
                starts = np.cumsum(parts) - parts
                to = [start + np.arange(size) for start, size in zip(starts, parts, strict=True)]
            else:
                to = [balanced_sample(self.rng, n, size) for size in parts]
            return [Hash(t.astype(np.int32), random_signs(self.rng, len(t))) for t in to]

        blocks = tuple(parts) if side_by_side else (n,)
        value, slope, tangent = table.weights(share)
        new = Vectors(blocks, False, *typical(value))
        own = sums()
        merged = merged and self.tangent
        psi = None
        how: SharedTangent | OwnTangent | None = None
        if self.tangent and state.alias:
            psi = Vectors(blocks, False, *typical(tangent + (value if merged else 0)))
            how = SharedTangent(n, sums())
        elif self.tangent:
            assert state.psi is not None
            how, psi = self._tangent(state.psi, new, slope, sizes, width, merged)
        activation = PixelActivation(len(sizes), table.grid(share), steps, n, own, merged, how)
        kept = [v for v in (new, psi) if v is not None]
        fields = [self._field(state.shape, v.n) for v in kept]
        self.stages.append(PixelStage(channels, activation, fields))
        new.field = fields[0]
        if psi is not None:
            psi.field = fields[1]
        return State(state.shape, new, psi, merged=merged)

    def _tangent(
        self,
        old: Vectors,
        phi: Vectors,
        slope: NDArray[np.float64],
        sizes: list[int],
        width: int,
        merged: bool,
    ) -> tuple[OwnTangent, Vectors]:
        """Return what makes psi x phi', and phi if merged, and these features."""
        rng = self.rng
        c, energy = typical(slope)

        def hashed(size: int) -> Hash:
            return Hash(balanced_sample(rng, width, size), random_signs(rng, size))

        scalar = old.c * c
        vector = old.energy * energy + old.energy * c**2 + old.c**2 * energy
        tangent, nngp = 1.0, 0.0
        if merged:
            norm = float(np.hypot(scalar, phi.c))
            if norm > 0:
                tangent, nngp = scalar / norm, phi.c / norm
            scalar, vector = norm, vector + phi.energy
        how = OwnTangent(
            n=width,
            n_slope=width,
            slope_sums=[hashed(size) for size in [*sizes, _RESTS]],
            product=product(rng, old.n, width, width),
            from_product=hashed(width),
            from_tangent=hashed(old.n),
            from_slope=hashed(width),
            from_nngp=hashed(phi.n + 1),
            direction_tangent=tangent,
            direction_nngp=nngp,
        )
        return how, Vectors((width,), False, scalar, vector)

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

    def _need_halo(self, shape: Shape, conv: Conv, windows: tuple[Window, Window]) -> None:
        if conv.padding == "CIRCULAR" or conv.strides != (1, 1):
            return
        halo = self.halos.setdefault(shape, [0, 0])
        for axis, window in enumerate(windows):
            after = max(window.out - 1 + window.taps - window.size - window.before, 0)
            halo[axis] = max(halo[axis], window.before, after)

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
        self.output = PixelOutput(final.field, scalar, n_components, sample)


def _affine_next(steps: Sequence[Layer]) -> bool:
    """Return whether a Conv or Dense follows, at most pools between."""
    for step in steps:
        if isinstance(step, (Conv, Dense)):
            return True
        if not isinstance(step, (AvgPool, GlobalAvgPool, Flatten)):
            return False
    return False
