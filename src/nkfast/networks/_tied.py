"""Parameters of a network that move together."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

from nkfast.activations import Activation
from nkfast.activations._complex_steps import STEP
from nkfast.layers import Layer

from ._recipes import MLP
from ._sequential import Sequential


@dataclass
class Tied:
    """Parameters that one hyperparameter scales: where they are, and their ratios to its value."""

    name: str
    value: float  # of the first that is not zero, without its sign; 0 if there is none
    ratios: dict[int, float]  # by the position of the part (see `_parts`)

    @property
    def attribute(self) -> str:
        """The name of the parameter in its layer or activation."""
        return self.name.rpartition(".")[2]


def tied(net: Sequential) -> list[Tied]:
    """Return the hyperparameters of a network: w_std, b_std, then those of its activations."""
    parts = list(_parts(net))
    found: dict[str, dict[int, float]] = {"w_std": {}, "b_std": {}}
    for i, part in enumerate(parts):
        if isinstance(part, Activation):
            names = {f"{type(part).__name__}.{a}": a for a in part._smooth_parameters}
        else:
            names = {name: name for name in ("w_std", "b_std") if hasattr(part, name)}
        for name, attribute in names.items():
            found.setdefault(name, {})[i] = getattr(part, attribute)
    groups = []
    for name, values in found.items():
        value = abs(next((v for v in values.values() if v != 0), 0.0))
        groups.append(Tied(name, value, {i: v / value for i, v in values.items() if v != 0}))
    return groups


def _parts(net: Any) -> Iterator[Layer | Activation]:
    """Yield the layers and activations in order, those of a branch after the branch itself."""
    for part in net.layers:
        yield part
        if hasattr(part, "layers"):
            yield from _parts(part)


def _twin(thing: Any) -> Any:
    """Copy a network, layer or activation so that parameters of the copy can be set."""
    twin = copy.copy(thing)
    if hasattr(twin, "layers"):
        twin.layers = tuple(_twin(part) for part in twin.layers)
    return twin


def changed_network(net: Sequential, changes: Iterable[tuple[Tied, float]]) -> Sequential:
    """Return a copy of the network with other values of hyperparameters."""
    twin: Sequential = _twin(net)
    parts = list(_parts(twin))
    for group, value in changes:
        for i, ratio in group.ratios.items():
            parts[i].set_params(**{group.attribute: ratio * value})
    if isinstance(twin, MLP):  # its parameters describe its layers
        last = cast(Any, twin.layers[-1])
        twin.w_std, twin.b_std = last.w_std, last.b_std
        if twin.depth and cast(Activation, twin.layers[1])._smooth_parameters:
            twin.activation = cast(Activation, twin.layers[1])
    return twin


def stepped(net: Sequential, group: Tied) -> Sequential:
    """Return a copy of the network whose hyperparameter v is v (1 + ih), past all checks."""
    twin: Sequential = _twin(net)
    parts = list(_parts(twin))
    for i in group.ratios:
        setattr(parts[i], group.attribute, getattr(parts[i], group.attribute) * (1 + 1j * STEP))
    return twin
