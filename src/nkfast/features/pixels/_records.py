"""What the stages of a pixel program consist of, as the core's records have it by the same names.

They are plain data, which a fitted map keeps and pickles; `core` makes the core's own of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nkfast._core import (
    HadamardSample as CoreHadamardSample,
)
from nkfast._core import (
    Hash as CoreHash,
)
from nkfast._core import (
    HermiteGrid as CoreHermiteGrid,
)
from nkfast._core import (
    Monomials as CoreMonomials,
)
from nkfast._core import (
    OwnTangent as CoreOwnTangent,
)
from nkfast._core import (
    PixelActivation as CorePixelActivation,
)
from nkfast._core import (
    PixelChannel as CorePixelChannel,
)
from nkfast._core import (
    PixelLook as CorePixelLook,
)
from nkfast._core import (
    PixelOutput as CorePixelOutput,
)
from nkfast._core import (
    PixelPart as CorePixelPart,
)
from nkfast._core import (
    PixelPower as CorePixelPower,
)
from nkfast._core import (
    PixelStage as CorePixelStage,
)
from nkfast._core import (
    SharedTangent as CoreSharedTangent,
)
from nkfast._core import (
    TensorProduct as CoreTensorProduct,
)

Ints: TypeAlias = NDArray[np.int32]
Reals: TypeAlias = NDArray[np.float64]
Signs: TypeAlias = NDArray[np.int8]


class Record:
    """A dataclass with the fields of the core's record of that name, its `form`."""

    _form: ClassVar[Callable[..., Any]]

    def __init_subclass__(cls, form: Callable[..., Any]) -> None:
        cls._form = form

    def core(self) -> Any:
        """Return the core's record."""
        given = {field.name: _core_of(getattr(self, field.name)) for field in fields(self)}  # type: ignore[arg-type]
        return type(self)._form(**given)


def _core_of(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_core_of(one) for one in value]
    return value.core() if isinstance(value, Record) else value


@dataclass(frozen=True)
class Hash(Record, form=CoreHash):
    """Where each feature goes, and its sign."""

    to: Ints
    signs: Signs


@dataclass(frozen=True)
class PixelLook(Record, form=CorePixelLook):
    """Which pixel a part sees: row * stride + offset, the same for columns."""

    row_stride: int = 1
    row_offset: int = 0
    col_stride: int = 1
    col_offset: int = 0
    circular: bool = False


@dataclass(frozen=True)
class PixelPart(Record, form=CorePixelPart):
    """A field as a channel sees it; the last entry of the hash is that of the rest of the scalar.

    `scale` also takes the field's unit to the channel's. `direction` is the component of this
    part's scalar in the channel's.
    """

    field: int
    look: PixelLook
    scale: float
    direction: float
    hashed: Hash


@dataclass(frozen=True)
class PixelChannel(Record, form=CorePixelChannel):
    """A sum of parts, of which a constant is one: a scalar with its direction and hash."""

    n: int
    parts: list[PixelPart]
    constant: float
    direction: float
    hashed: Hash


@dataclass(frozen=True)
class TensorProduct(Record, form=CoreTensorProduct):
    """A sketch of a tensor product: n products of samples of two hashed, transformed vectors."""

    n: int
    length_a: int
    length_b: int
    hash_a: Hash
    hash_b: Hash
    take_a: Ints
    take_b: Ints


@dataclass(frozen=True)
class Monomials(Record, form=CoreMonomials):
    """Entries of a tensor product, a[take_a] b[take_b] factors."""

    take_a: Ints
    take_b: Ints
    factors: Reals


@dataclass(frozen=True)
class PixelPower(Record, form=CorePixelPower):
    """A power of a vector from the powers a and b, 0 being the vector itself."""

    a: int
    b: int
    how: TensorProduct | Monomials


@dataclass(frozen=True)
class HermiteGrid(Record, form=CoreHermiteGrid):
    """Hermite coefficients of an activation at standard deviations on a grid in their logarithm.

    Below and above the grid they are powers of the deviation, `low` and `high`; of a homogeneous
    activation, that has a `power`, they are so everywhere, and there is one row, at deviation 1.
    """

    first: float
    step: float
    n: int
    order: int
    power: float | None
    rows: Reals
    low: Reals
    high: Reals
    at_zero: Reals
    deviation: float
    reference: Reals
    share: float


@dataclass(frozen=True)
class SharedTangent(Record, form=CoreSharedTangent):
    """The tangent kernel's features where those before are the NNGP kernel's."""

    n: int
    sums: list[Hash]


@dataclass(frozen=True)
class OwnTangent(Record, form=CoreOwnTangent):
    """The tangent kernel's features from its own before, times those of the derivative.

    `direction_tangent` and `direction_nngp`: of the scalar, if they are merged with the new ones of
    the NNGP kernel.
    """

    n: int
    n_slope: int
    slope_sums: list[Hash]
    product: TensorProduct
    from_product: Hash
    from_tangent: Hash
    from_slope: Hash
    from_nngp: Hash
    direction_tangent: float
    direction_nngp: float


@dataclass(frozen=True)
class PixelActivation(Record, form=CorePixelActivation):
    """Features of the kernels behind an activation, by powers of v.

    `merged`: the tangent kernel's are then those of the sum of both kernels, and this the unit of
    the NNGP kernel's features over theirs; 0 if they are not. `tangent`: None if not wanted.
    """

    degree: int
    table: HermiteGrid
    powers: list[PixelPower]
    n: int
    sums: list[Hash]
    merged: float
    tangent: SharedTangent | OwnTangent | None


@dataclass(frozen=True)
class PixelStage(Record, form=CorePixelStage):
    """Channels, an activation if there is one, and the fields that keep what comes of it."""

    channels: list[PixelChannel]
    activation: PixelActivation | None
    stores: list[int]


@dataclass(frozen=True)
class PixelPool:
    """Means over windows, from one field into another."""

    source: int
    target: int
    window: tuple[int, int]
    strides: tuple[int, int]


@dataclass(frozen=True)
class HadamardSample(Record, form=CoreHadamardSample):
    """A sample of the Hadamard transform of a hashed vector."""

    length: int
    hashed: Hash
    take: Ints


@dataclass(frozen=True)
class PixelOutput(Record, form=CorePixelOutput):
    """The features of an image of one pixel: the scalar if kept apart, the vector or a sample.

    Images are read in units of 2^input_exponent and the features are in units of 2^exponent; or, if
    they are homogeneous of degree `power`, each image in a unit of its own besides.
    """

    field: int
    scalar: bool
    n: int
    sample: HadamardSample | None
    input_exponent: int
    exponent: int
    power: float | None
