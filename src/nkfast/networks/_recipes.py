"""Networks that a function describes, such as `mlp`: its parameters are theirs."""

from __future__ import annotations

from typing import Any, Self

from nkfast._arrays.validation import check_count
from nkfast._parameters import Parameters
from nkfast.activations import Activation, get_activation
from nkfast.layers import AvgPool, Conv, Dense, Flatten, GlobalAvgPool, Layer

from ._sequential import Sequential


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
        if isinstance(depth, (list, tuple)):
            raise TypeError(
                f"depth: expected the number of hidden layers, got {depth!r}; widths are not given,"
                " layers are infinitely wide"
            )
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


_REPEATS = {5: (2, 1, 1), 7: (2, 2, 2), 10: (3, 3, 3)}


class Myrtle(Recipe):
    """The network of `myrtle`: a `Sequential` whose parameters are those of `myrtle`."""

    _function = "myrtle"

    def __init__(
        self, depth: int = 5, activation: str | Activation = "relu", w_std: float = 2**0.5
    ) -> None:
        if check_count(depth, "depth") not in _REPEATS:
            raise ValueError(f"depth: expected one of {tuple(_REPEATS)}, got {depth!r}")
        act = get_activation(activation)
        self.depth = depth
        self.activation = activation
        self.w_std = w_std
        layers: list[Layer | Activation] = []
        for stage, repeats in enumerate(_REPEATS[depth]):
            layers += [Conv(w_std=w_std), act] * repeats
            layers.append(AvgPool((2, 2)) if stage < 2 else GlobalAvgPool())
        super().__init__(*layers, Flatten(), Dense(w_std))


def myrtle(depth: int = 5, activation: str | Activation = "relu", w_std: float = 2**0.5) -> Myrtle:
    """Return a Myrtle network, the convolutional one of the kernel literature.

    Parameters
    ----------
    depth : {5, 7, 10}, default=5
        3 x 3 convolutions, each with an activation, before the three pools: (2, 1, 1), (2, 2, 2) or
        (3, 3, 3), and the `Dense` layer at the end.
    activation : str or activation, default="relu"
        By name ("relu") or as an object.
    w_std : float, default=2**0.5
        Standard deviation of the weights of every layer; there are no biases.

    Returns
    -------
    Myrtle
        A `Sequential` for images (n, height, width, channels).

    Notes
    -----
    Images of 32 x 32 pixels have 8 x 8 at the third pool. There the original (Shankar et al. 2020)
    has three pools of 2 x 2, which together average all pixels: the same as the `GlobalAvgPool`
    here, which serves images of any other size, too.

    Examples
    --------
    >>> import numpy as np, nkfast as nk
    >>> net = nk.myrtle(depth=5, activation="gelu")
    >>> net.ntk(np.ones((2, 12, 12, 3))).shape
    (2, 2)
    """
    return Myrtle(depth, activation, w_std)
