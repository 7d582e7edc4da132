"""Activations and their dual kernels k(p, q, c) = E f(u) f(v), (u, v) ~ N(0, [[p, c], [c, q]]).

An activation is a function and what a layer of it does to kernels: k, and its derivative
kdot = dk/dc = E f'(u) f'(v) (Daniely, Frostig & Singer 2016; Price 1958). Closed forms are in
`_closed` (Williams 1996 for erf, Han et al. 2022, table 1 for most), `_rectified` (Cho & Saul 2009)
and `_polynomial`; functions without one are `_numerical`, by Mehler's series in Hermite
coefficients (Han et al. 2022, section 3) or by tables of integrals (`_polar`, `_interpolation`),
with smooth ones in `_smooth`, piecewise polynomials in `_hard` and any function of the user's in
`_elementwise` (with kinks away from zero by tables of its Gaussian blurs, `_blurs`). `_dual_map` is
what the core is told of one. This room knows `_arrays`, and nothing of layers or networks.
"""

from __future__ import annotations

import re

from nkfast._arrays.validation import meant

from ._base import Activation
from ._closed import (
    GELU,
    RBF,
    Cos,
    Erf,
    Exp,
    ExpNormalized,
    Gabor,
    Gaussian,
    SigmoidLike,
    Sin,
)
from ._elementwise import Elementwise
from ._hard import HardSigmoid, HardSwish, HardTanh, ReLU6
from ._polynomial import Hermite, Monomial, Polynomial
from ._rectified import ABReLU, Abs, LeakyReLU, RectifiedMonomial, ReLU, Sign
from ._smooth import CELU, ELU, SELU, Mish, Sigmoid, SiLU, Softplus, Softsign, Tanh

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "RBF",
    "SELU",
    "ABReLU",
    "Abs",
    "Activation",
    "Cos",
    "Elementwise",
    "Erf",
    "Exp",
    "ExpNormalized",
    "Gabor",
    "Gaussian",
    "HardSigmoid",
    "HardSwish",
    "HardTanh",
    "Hermite",
    "LeakyReLU",
    "Mish",
    "Monomial",
    "Polynomial",
    "ReLU",
    "ReLU6",
    "RectifiedMonomial",
    "SiLU",
    "Sigmoid",
    "SigmoidLike",
    "Sign",
    "Sin",
    "Softplus",
    "Softsign",
    "Tanh",
    "get_activation",
]

_WITHOUT_PARAMETERS = (
    ReLU, LeakyReLU, Abs, Sign, Erf, SigmoidLike, GELU, Sin, Cos, RBF, Exp, Gaussian,
    ExpNormalized, Gabor, Tanh, Sigmoid, Softplus, SiLU, Mish, ELU, SELU, CELU, Softsign, HardTanh,
    HardSigmoid, HardSwish, ReLU6,
)  # fmt: skip
_WITH_PARAMETERS = (ABReLU, RectifiedMonomial, Monomial, Polynomial, Hermite, Elementwise)


def _name(kind: type[Activation]) -> str:
    """Return the class's name in snake case: "hard_tanh", "leaky_relu", "gelu"."""
    words = re.sub(r"(ReLU|GELU|SiLU|SELU|CELU|ELU|RBF)", r"_\1", kind.__name__)
    words = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", "_", words)
    return re.sub(r"_+", "_", words).strip("_").lower()


_BY_NAME: dict[str, type[Activation]] = {_name(kind): kind for kind in _WITHOUT_PARAMETERS}
_OBJECTS_ONLY = {_name(kind): kind for kind in _WITH_PARAMETERS}


def get_activation(activation: str | Activation) -> Activation:
    """Return the activation named `activation`, or the object itself."""
    if isinstance(activation, Activation):
        return activation
    if isinstance(activation, str):
        if activation in _BY_NAME:
            return _BY_NAME[activation]()
        if activation in _OBJECTS_ONLY:
            kind = _OBJECTS_ONLY[activation].__name__
            raise ValueError(
                f"activation: {kind} needs its parameters, so expected an object such as "
                f"{kind}(...), got {activation!r}"
            )
        raise ValueError(
            f"activation: expected one of {sorted(_BY_NAME)} or an activation object, "
            f"got {activation!r}{meant(activation, _BY_NAME)}"
        )
    raise TypeError(
        "activation: expected a name or an activation object (an instance, not the class), "
        f"got {activation!r}"
    )
