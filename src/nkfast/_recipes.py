"""Networks that a function describes, such as `mlp`: its parameters are theirs."""

from __future__ import annotations

from typing import Any, Self, cast

from ._arrays.validation import check_count
from ._layer import Dense, Layer
from ._parameters import Parameters
from .activations import Activation, get_activation
from .layers import Sequential, takes_images


class Recipe(Sequential):
    """A `Sequential` whose parameters are those of the function that describes it."""

    _function = ""
    activation: str | Activation

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the function's parameters (and the activation's own with `deep`)."""
        params = Parameters.get_params(self, deep)
        if deep and isinstance(self.activation, Activation):
            params |= {f"activation__{k}": v for k, v in self.activation.get_params().items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name and build the layers anew."""
        own = {k: v for k, v in params.items() if not k.startswith("activation__")}
        inner = {k[12:]: v for k, v in params.items() if k.startswith("activation__")}
        if inner:
            act = get_activation(own.get("activation", self.activation))
            own["activation"] = act.__sklearn_clone__().set_params(**inner)
        return Parameters.set_params(self, **own)

    def __sklearn_clone__(self) -> Self:
        return type(self)(**Parameters.get_params(self, deep=False))

    def __repr__(self) -> str:
        return Parameters.__repr__(self).replace(type(self).__name__, self._function, 1)


class MLP(Recipe):
    """The network of `mlp`: a `Sequential` whose parameters are those of `mlp`."""

    _function = "mlp"

    def __init__(
        self,
        depth: int = 1,
        activation: str | Activation = "relu",
        w_std: float = 2**0.5,
        b_std: float = 0.0,
    ) -> None:
        check_count(depth, "depth")
        act = get_activation(activation)
        self.depth = depth
        self.activation = activation
        self.w_std = w_std
        self.b_std = b_std
        layers: list[Layer | Activation] = []
        for _ in range(depth):
            layers += [Dense(w_std, b_std), act]
        super().__init__(*layers, Dense(w_std, b_std))


def mlp(
    depth: int = 1,
    activation: str | Activation = "relu",
    w_std: float = 2**0.5,
    b_std: float = 0.0,
) -> MLP:
    """Return a fully connected network: `depth` times (Dense, activation), then Dense.

    Parameters
    ----------
    depth : int, default=1
        Number of hidden layers, >= 0.
    activation : str or activation, default="relu"
        By name ("relu") or as an object.
    w_std, b_std : float, default=2**0.5 and 0.0
        Standard deviations of weights and biases of every Dense layer.

    Returns
    -------
    MLP
        A `Sequential` that scikit-learn's searches can tune by
        ``net__depth``, ``net__activation``, ``net__w_std`` and ``net__b_std``.

    Examples
    --------
    >>> import nkfast as nk
    >>> len(nk.mlp(depth=2, activation="relu", w_std=1.4, b_std=0.1).layers)
    5
    """
    return MLP(depth, activation, w_std, b_std)


def own_network(net: Any) -> Sequential:
    """Return an own copy of a network, which set_params cannot reach; `mlp` for None."""
    if net is None:
        return mlp()
    check_network(net)
    return cast(Sequential, net.__sklearn_clone__())


def check_network(net: Any) -> None:
    """Refuse what is no network."""
    if not isinstance(net, Sequential):
        raise TypeError(f"net: expected a network such as nkfast.mlp(), got {net!r}")


def check_row_network(net: Any) -> None:
    """Refuse what is no network of rows."""
    check_network(net)
    if takes_images(net):
        raise ValueError(f"net: expected a network of rows, got one of images, {net!r}")
