"""Types of the compiled core. Its functions check what could corrupt memory, and no more."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__version__: str

def simd_level() -> str: ...
def simd_levels() -> list[str]: ...
def compiler() -> str: ...
def fwht(x: NDArray[Any], scale: float, n_threads: int) -> bool: ...
def all_finite(x: NDArray[Any], n_threads: int) -> bool: ...
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

_Ints = Sequence[int] | NDArray[Any]
_Reals = Sequence[float] | NDArray[Any]

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

class Program:
    def __init__(self, n_features: int) -> None: ...
    @property
    def n_features(self) -> int: ...
    @property
    def n_outputs(self) -> int: ...
    @property
    def n_weights(self) -> int: ...
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

class PixelProgram:
    def __init__(self) -> None: ...
    @property
    def n_inputs(self) -> int: ...
    @property
    def n_outputs(self) -> int: ...
    @property
    def bytes_per_thread(self) -> int: ...
    def add_field(self, height: int, width: int, n: int, halo_rows: int, halo_cols: int) -> int: ...
    def add_stage(self, stage: dict[str, Any]) -> None: ...
    def add_pool(
        self, source: int, target: int, window: tuple[int, int], strides: tuple[int, int]
    ) -> None: ...
    def finish(self, output: dict[str, Any]) -> None: ...
    def run(self, X: NDArray[Any], out: NDArray[Any], n_threads: int) -> None: ...

def dual_map(
    kind: str,
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
        nngp: NDArray[Any] | None,
        ntk: NDArray[Any] | None,
        nngp_mirror: NDArray[Any] | None = None,
        ntk_mirror: NDArray[Any] | None = None,
        nngp_diagonal: NDArray[np.float64] | None = None,
        ntk_diagonal: NDArray[np.float64] | None = None,
        symmetric: bool = False,
    ) -> None: ...

class KernelProgram:
    def __init__(self) -> None: ...
    def affine(self, w2: float, b2: float) -> None: ...
    def activation(
        self,
        kind: str,
        params: Sequence[float],
        left: NDArray[np.float64],
        right: NDArray[np.float64],
    ) -> None: ...
    def push(self) -> None: ...
    def add(self) -> None: ...
    def be_single(self) -> bool: ...
    def run_points(
        self, X: NDArray[Any], Z: NDArray[Any], scale: float, to: Destination, n_threads: int
    ) -> int: ...
    def run_products(
        self, products: NDArray[np.float64], scale: float, to: Destination, n_threads: int
    ) -> None: ...

class ImageProgram:
    def __init__(
        self, height: int, width: int, channels: int, lanes_are_images: bool, images: int
    ) -> None: ...
    def conv(
        self,
        rows: tuple[int, int, int, int],
        cols: tuple[int, int, int, int],
        circular: bool,
        w2: float,
        b2: float,
    ) -> None: ...
    def activation(
        self,
        kind: str,
        params: Sequence[float],
        left: NDArray[np.float64],
        right: NDArray[np.float64],
        rough: bool = False,
    ) -> None: ...
    def push(self) -> None: ...
    def add(self) -> None: ...
    def pool(self, rows: tuple[int, int], cols: tuple[int, int]) -> None: ...
    def finish(self, readout: str) -> None: ...
    def run(
        self,
        X: NDArray[np.float64],
        panels: NDArray[np.float64],
        pairing: str,
        k: NDArray[np.float64],
        theta: NDArray[np.float64] | None,
        n_threads: int,
    ) -> None: ...
