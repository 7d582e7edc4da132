"""Types of the compiled core. Its functions check what could corrupt memory, and no more.

Five builders (`SketchBuilder`, `KernelBuilder`, `TangentBuilder`, `ImageBuilder`, `PixelBuilder`)
are told what a program does and hand it over by `finish`; a program only runs and never changes, so
that any number of threads may run it.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

__version__: str

def simd_level() -> str: ...
def simd_levels() -> list[str]: ...
def compiler() -> str: ...
def fwht(x: NDArray[Any], scale: float, n_threads: int) -> bool: ...
def all_finite(x: NDArray[Any], n_threads: int) -> bool: ...
def rectified_patches(
    X: NDArray[Any],
    filters: NDArray[Any],
    shift: NDArray[Any],
    out: NDArray[Any],
    *,
    patch: tuple[int, int],
    stride: int,
    row_edges: Sequence[int],
    col_edges: Sequence[int],
    unit: float,
    ridge: float,
    threshold: float,
    n_threads: int,
) -> None: ...
def row_norms(X: NDArray[Any], out: NDArray[np.float64], n_threads: int) -> None: ...
def row_norms_csr(
    data: NDArray[Any],
    indices: NDArray[Any],
    starts: NDArray[Any],
    n_features: int,
    out: NDArray[np.float64],
    n_threads: int,
) -> None: ...
def radial_weights(
    norms: NDArray[np.float64],
    coefficients: NDArray[np.float64],
    at_zero: NDArray[np.float64],
    middle: float,
    half: float,
    power: float,
    n_threads: int,
) -> NDArray[np.float64]: ...
def hermite_sums(
    values: NDArray[np.float64], z: NDArray[np.float64], start: NDArray[np.float64], degrees: int
) -> NDArray[np.float64]:
    """Return sum_j values[r, j] start[j] h_l(z_j), h_l normalised Hermite polynomials: (r, l)."""

def smooth_values(
    cells: NDArray[np.float64],
    unit: float,
    begin: float,
    per_unit: float,
    x: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return a table's function: polynomials of 8 coefficients in asinh(x / unit)."""

def product_series(
    a: NDArray[np.float64], b: NDArray[np.float64], rho: NDArray[np.complex128]
) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """Return sum_l a[i, l] b[j, l] rho[i, j, t]^l and its derivative."""

class BlurTables:
    def __init__(
        self,
        counts: Sequence[int],
        edges: Sequence[float] | NDArray[Any],
        starts: Sequence[int] | NDArray[Any],
        values: NDArray[np.float64],
        deviations: Sequence[float],
        taus: Sequence[float],
    ) -> None: ...
    def moments(
        self, m: NDArray[np.float64], tau: NDArray[np.float64], n_threads: int
    ) -> NDArray[np.float64]: ...
    def pairs(
        self,
        s: NDArray[np.float64],
        t: NDArray[np.float64],
        rho: NDArray[np.float64],
        n_threads: int,
    ) -> NDArray[np.float64]: ...

_Ints = Sequence[int] | NDArray[Any]
_Reals = Sequence[float] | NDArray[Any]
_Array = NDArray[Any]  # of a type that the core's holds without loss

class _Map:
    @property
    def n_features(self) -> int: ...
    @property
    def n_components(self) -> int: ...
    def rows(self, X: NDArray[Any], out: NDArray[Any], n_threads: int) -> None: ...
    def rows_csr(
        self,
        data: NDArray[Any],
        indices: NDArray[Any],
        starts: NDArray[Any],
        out: NDArray[Any],
        n_threads: int,
    ) -> None: ...
    def adjoint(self, Z: NDArray[Any], out: NDArray[Any], n_threads: int) -> None: ...

class HashMap(_Map):
    def __init__(
        self, n_components: int, hashes: NDArray[np.int32], values: NDArray[np.float64]
    ) -> None: ...

class HadamardMap(_Map):
    def __init__(
        self,
        length: int,
        counts: NDArray[np.int64],
        samples: NDArray[np.int32],
        signs: NDArray[np.float64],
        scale: float,
    ) -> None: ...

class SketchBuilder:
    def __init__(self, n_features: int) -> None: ...
    def count_sketch(
        self, src: int, dst: int, width: int, hashes: _Ints, signs: _Reals
    ) -> None: ...
    def add_constant(self, buffer: int, index: int, value: float) -> None: ...
    def hadamard(self, buffer: int) -> None: ...
    def fourier(self, buffer: int) -> None: ...
    def inverse_fourier(self, buffer: int) -> None: ...
    def multiply_spectra(self, dst: int, src: int) -> None: ...
    def product(self, a: int, i: _Ints, b: int, j: _Ints, scale: float, dst: int) -> None: ...
    def weighted_product(
        self, a: int, i: _Ints, b: int, j: _Ints, factors: _Reals, dst: int
    ) -> None: ...
    def gather(self, src: int, i: _Ints, scale: float, dst: int) -> None: ...
    def one(self, dst: int) -> None: ...
    def normalise(self, buffer: int) -> None: ...
    def linear(self, src: int, matrix: NDArray[np.float64], dst: int) -> None: ...
    def recurrence(self, src: int, n: int, a: _Reals, b: _Reals, c: _Reals, dst: int) -> None: ...
    def emit(self, buffer: int, n: int, scale: float, weight: int, unit: bool) -> None: ...
    def emit_part(
        self,
        buffer: int,
        n: int,
        scale: float,
        weight: int,
        first: int,
        i: int,
        second: int,
        j: int,
    ) -> None: ...
    def finish(self) -> SketchProgram: ...

class SketchProgram:
    @property
    def n_features(self) -> int: ...
    @property
    def n_outputs(self) -> int: ...
    @property
    def n_weights(self) -> int: ...
    def run(
        self,
        X: NDArray[Any],
        scales: NDArray[Any] | None,
        weights: NDArray[np.float64] | None,
        out: NDArray[Any],
        n_threads: int,
    ) -> None: ...
    def run_csr(
        self,
        data: NDArray[Any],
        indices: NDArray[Any],
        starts: NDArray[Any],
        scales: NDArray[Any] | None,
        weights: NDArray[np.float64] | None,
        out: NDArray[Any],
        n_threads: int,
    ) -> None: ...

class Hash:
    def __init__(self, *, to: _Array, signs: _Array) -> None: ...

class PixelLook:
    def __init__(
        self,
        *,
        row_stride: int,
        row_offset: int,
        col_stride: int,
        col_offset: int,
        circular: bool,
    ) -> None: ...

class PixelPart:
    def __init__(
        self, *, field: int, look: PixelLook, scale: float, direction: float, hashed: Hash
    ) -> None: ...

class PixelChannel:
    def __init__(
        self,
        *,
        n: int,
        parts: Sequence[PixelPart],
        constant: float,
        direction: float,
        hashed: Hash,
    ) -> None: ...

class TensorProduct:
    def __init__(
        self,
        *,
        n: int,
        length_a: int,
        length_b: int,
        hash_a: Hash,
        hash_b: Hash,
        take_a: _Array,
        take_b: _Array,
    ) -> None: ...

class Monomials:
    def __init__(self, *, take_a: _Array, take_b: _Array, factors: _Array) -> None: ...

class PixelPower:
    def __init__(self, *, a: int, b: int, how: TensorProduct | Monomials) -> None: ...

class HermiteGrid:
    def __init__(
        self,
        *,
        first: float,
        step: float,
        n: int,
        order: int,
        power: float | None,
        rows: _Array,
        low: _Array,
        high: _Array,
        at_zero: _Array,
        deviation: float,
        reference: _Array,
        share: float,
    ) -> None: ...

class SharedTangent:
    def __init__(self, *, n: int, sums: Sequence[Hash]) -> None: ...

class OwnTangent:
    def __init__(
        self,
        *,
        n: int,
        n_slope: int,
        slope_sums: Sequence[Hash],
        product: TensorProduct,
        from_product: Hash,
        from_tangent: Hash,
        from_slope: Hash,
        from_nngp: Hash,
        direction_tangent: float,
        direction_nngp: float,
    ) -> None: ...

class PixelActivation:
    def __init__(
        self,
        *,
        degree: int,
        table: HermiteGrid,
        powers: Sequence[PixelPower],
        n: int,
        sums: Sequence[Hash],
        merged: float,
        tangent: SharedTangent | OwnTangent | None,
    ) -> None: ...

class PixelStage:
    def __init__(
        self,
        *,
        channels: Sequence[PixelChannel],
        activation: PixelActivation | None,
        stores: Sequence[int],
    ) -> None: ...

class HadamardSample:
    def __init__(self, *, length: int, hashed: Hash, take: _Array) -> None: ...

class PixelOutput:
    def __init__(
        self,
        *,
        field: int,
        scalar: bool,
        n: int,
        sample: HadamardSample | None,
        input_exponent: int,
        exponent: int,
        power: float | None,
    ) -> None: ...

class PixelBuilder:
    def __init__(self) -> None: ...
    def add_field(self, *, height: int, width: int, n: int) -> int: ...
    def add_stage(self, stage: PixelStage) -> None: ...
    def add_pool(
        self, *, source: int, target: int, window: tuple[int, int], strides: tuple[int, int]
    ) -> None: ...
    def finish(self, output: PixelOutput) -> PixelProgram: ...

class PixelProgram:
    @property
    def n_inputs(self) -> int: ...
    @property
    def n_outputs(self) -> int: ...
    @property
    def bytes_per_thread(self) -> int: ...
    def run(self, X: NDArray[Any], out: NDArray[Any], n_threads: int, single: bool) -> None: ...

class DualKind(Enum):
    RECTIFIER = ...
    SIGN = ...
    RECTIFIED_POWER = ...
    ASIN = ...
    GELU = ...
    EXP = ...
    SIN = ...
    GAUSSIAN = ...
    EXP_NORMALIZED = ...
    GABOR = ...
    SERIES = ...
    TABLE = ...
    PIECEWISE = ...
    CENTRAL = ...

def dual_map(
    kind: DualKind,
    params: Sequence[float],
    left: NDArray[np.float64],
    right: NDArray[np.float64],
    k: NDArray[np.float64],
    theta: NDArray[np.float64] | None,
    n_threads: int,
) -> None: ...

class Destination:
    def __init__(
        self,
        *,
        nngp: NDArray[Any] | None,
        ntk: NDArray[Any] | None,
        nngp_mirror: NDArray[Any] | None = None,
        ntk_mirror: NDArray[Any] | None = None,
        nngp_diagonal: NDArray[np.float64] | None = None,
        ntk_diagonal: NDArray[np.float64] | None = None,
        symmetric: bool = False,
    ) -> None: ...

class KernelBuilder:
    def __init__(self) -> None: ...
    def affine(self, w2: float, b2: float) -> None: ...
    def activation(
        self,
        kind: DualKind,
        params: Sequence[float],
        left: NDArray[np.float64],
        right: NDArray[np.float64],
    ) -> None: ...
    def push(self) -> None: ...
    def add(self) -> None: ...
    def be_single(self) -> bool: ...
    def finish(self) -> KernelProgram: ...

class KernelProgram:
    def run_points(
        self, X: NDArray[Any], Z: NDArray[Any], scale: float, to: Destination, n_threads: int
    ) -> int: ...
    def run_products(
        self, products: NDArray[np.float64], scale: float, to: Destination, n_threads: int
    ) -> None: ...

class TangentBuilder:
    def __init__(self, n_tangents: int) -> None: ...
    def affine(self, w2: float, b2: float, dw2: _Reals, db2: _Reals) -> None: ...
    def activation(
        self,
        kind: DualKind,
        params: Sequence[float],
        param_tangents: _Reals,
        left: NDArray[np.float64],
        left_tangents: NDArray[np.float64],
        right: NDArray[np.float64],
        right_tangents: NDArray[np.float64],
    ) -> None: ...
    def push(self) -> None: ...
    def add(self) -> None: ...
    def finish(self) -> TangentProgram: ...

class TangentProgram:
    def run_points(
        self,
        X: NDArray[np.float64],
        Z: NDArray[np.float64],
        scale: float,
        ntk: bool,
        out: NDArray[np.float64],
        row: int,
        col: int,
        diagonal: NDArray[np.float64] | None,
        n_threads: int,
    ) -> None: ...
    def run_products(
        self,
        products: NDArray[np.float64],
        scale: float,
        ntk: bool,
        out: NDArray[np.float64],
        row: int,
        col: int,
        diagonal: NDArray[np.float64] | None,
        n_threads: int,
    ) -> None: ...

class LaneKind(Enum):
    COLUMNS = ...
    IMAGES = ...

class Readout(Enum):
    FLATTEN = ...
    MEAN = ...
    DIAGONAL = ...

class Pairing(Enum):
    ALL = ...
    UPPER = ...
    MATCHED = ...

class ImageBuilder:
    def __init__(
        self, *, height: int, width: int, channels: int, lanes: LaneKind, images: int
    ) -> None: ...
    def conv(
        self,
        *,
        taps: tuple[int, int],
        strides: tuple[int, int],
        before: tuple[int, int],
        out: tuple[int, int],
        circular: bool,
        w2: float,
        b2: float,
    ) -> None: ...
    def activation(
        self,
        kind: DualKind,
        params: Sequence[float],
        left: NDArray[np.float64],
        right: NDArray[np.float64],
        rough: bool,
    ) -> None: ...
    def push(self) -> None: ...
    def add(self) -> None: ...
    def pool(self, *, taps: tuple[int, int], strides: tuple[int, int]) -> None: ...
    def finish(self, readout: Readout) -> ImageProgram: ...

class ImageProgram:
    def run(
        self,
        X: NDArray[np.float64],
        panels: NDArray[np.float64],
        pairing: Pairing,
        k: NDArray[np.float64],
        theta: NDArray[np.float64] | None,
        n_threads: int,
    ) -> None: ...
