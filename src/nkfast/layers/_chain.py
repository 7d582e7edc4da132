"""Networks as descriptions: layers in a row."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from nkfast._parameters import Parameters
from nkfast.activations import Activation

from ._base import Activated, Diagonals, Layer, Moments


class Row(Parameters):
    """Layers in a row: their parameters, and the way through them."""

    layers: tuple[Layer | Activation, ...]
    _family: ClassVar[type[Row]]  # rows of one family are equal if their layers are

    def _checked(self, layers: Any) -> tuple[Layer | Activation, ...]:
        """Refuse layers that do not fit, naming the layer."""
        raise NotImplementedError

    # Parameters: each layer under its index ("0__w_std"), as steps are in a Pipeline.

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters: `layers`, and with `deep` each layer's as "index__name"."""
        params: dict[str, Any] = {"layers": self.layers}
        if deep:
            for i, layer in enumerate(self.layers):
                params[str(i)] = layer
                params |= {f"{i}__{k}": v for k, v in layer.get_params().items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set `layers`, a whole layer ("0") or a layer's parameter ("0__w_std")."""
        layers = list(self._checked(params.pop("layers", self.layers)))
        nested: dict[int, dict[str, Any]] = {}
        for key, value in params.items():
            head, _, rest = key.partition("__")
            if not head.isdigit() or int(head) >= len(layers):
                raise ValueError(
                    f"{type(self).__name__}: unknown parameter {key!r}, expected 'layers' or an "
                    f"index below {len(layers)}, such as '0' or '0__w_std'"
                )
            if rest:
                nested.setdefault(int(head), {})[rest] = value
            else:
                layers[int(head)] = value
        for i, changes in nested.items():
            layers[i] = layers[i].__sklearn_clone__().set_params(**changes)
        self.layers = self._checked(layers)
        return self

    def __sklearn_clone__(self) -> Self:
        return type(self)(*(layer.__sklearn_clone__() for layer in self.layers))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, self._family) and self.layers == other.layers

    __hash__ = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.layers))})"

    def _steps(self) -> list[Layer]:
        return [x if isinstance(x, Layer) else Activated(x) for x in self.layers]

    def _walk(self, visitor: Any) -> None:
        """Lead a `Visitor` through the layers; what they refuse names the layer."""
        for i, step in enumerate(self._steps()):
            try:
                step._accept(visitor)
            except ValueError as error:
                raise ValueError(f"layer {i}, {type(step).__name__}: {error}") from None

    def _propagate(self, moments: Moments) -> Moments:
        for step in self._steps():
            moments = step._pairs(moments)
        return moments

    def _propagate_diagonal(self, diagonals: Diagonals) -> Diagonals:
        for step in self._steps():
            diagonals = step._diagonal(diagonals)
        return diagonals

    def _homogeneity(self) -> float | None:
        """Return h if scaling the input by t scales the output by t^h, None if no h does."""
        power = 1.0
        for step in self._steps():
            own = step._homogeneity()
            if own is None:
                return None
            power *= own
        return power


class Residual(Row, Layer):
    """A skip connection: x + branch(x).

    Parameters
    ----------
    *layers : layer or activation
        The branch. It ends in a `Dense` or `Conv`, with at most pools behind, so that its output is
        independent of x; it keeps the shape of images.

    Notes
    -----
    Adds the kernels: K <- K + K_branch(K), Theta <- Theta + Theta_branch(K, Theta). Where x is
    Gaussian (behind a `Dense` or `Conv`), so is the sum.

    Examples
    --------
    >>> import nkfast as nk
    >>> block = nk.Residual(nk.ReLU(), nk.Dense(1.2))
    >>> nk.Sequential(nk.Dense(), block, block, nk.ReLU(), nk.Dense()).layers[1] == block
    True
    """

    def __init__(self, *layers: Layer | Activation) -> None:
        self.layers = self._checked(layers)

    def _checked(self, layers: Any) -> tuple[Layer | Activation, ...]:
        found = tuple(layers)
        # What the branch may begin with depends on where it stands.
        check_layers(found, gaussian=True)
        last = len(found) - 1
        while last > 0 and isinstance(found[last], Layer) and not found[last]._is_gaussian:
            last -= 1
        end = found[last]
        if not isinstance(end, Layer) or not end._is_affine:
            raise ValueError(
                f"layer {last}, {type(end).__name__}: expected the branch of a Residual to end in "
                "a Dense or Conv layer, with at most pools behind it"
            )
        return found

    @property
    def _takes_images(self) -> bool:  # type: ignore[override]
        return takes_images(self)

    def _accept(self, visitor: Any) -> None:
        visitor.residual(self)

    def _check(self, gaussian: bool, kind: str | None) -> tuple[bool, str | None]:
        end = check_layers(self.layers, gaussian, kind, branch=True)[1]
        if kind is not None and end != kind:
            raise ValueError(
                f"expected a branch that turns {kind} into {kind}, got one that makes {end} of them"
            )
        return gaussian, end

    def _pairs(self, m: Moments) -> Moments:
        end = self._propagate(m)
        return Moments(m.k + end.k, m.theta + end.theta, m.p + end.p, m.q + end.q)

    def _diagonal(self, d: Diagonals) -> Diagonals:
        end = self._propagate_diagonal(d)
        return Diagonals(d.k + end.k, d.theta + end.theta)

    def _homogeneity(self) -> float | None:
        return 1.0 if Row._homogeneity(self) == 1.0 else None


Residual._family = Residual


def takes_images(net: Row) -> bool:
    """Return whether the first layer that says so is one of images."""
    for layer in net.layers:
        if isinstance(layer, Layer):
            return layer._takes_images
    return False


def check_layers(
    layers: tuple[Any, ...], gaussian: bool, kind: str | None = None, branch: bool = False
) -> tuple[bool, str | None]:
    """Refuse layers that do not fit, naming the layer.

    Parameters
    ----------
    layers : tuple
    gaussian : bool
        Whether their input is Gaussian.
    kind : str, optional
        Their input: "rows" or "images", None if that is not known.
    branch : bool
        Whether they are the branch of a `Residual`.

    Returns
    -------
    gaussian : bool
        Whether their output is Gaussian.
    kind : str or None
        Their output.
    """
    if not layers:
        raise ValueError("layers: expected at least one layer, got none")
    pooled = False
    for i, layer in enumerate(layers):
        name = f"layer {i}, {type(layer).__name__}"
        if isinstance(layer, Layer):
            try:
                gaussian, kind = layer._check(gaussian, kind)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
            pooled = not gaussian
        elif isinstance(layer, Activation):
            if not gaussian:
                raise ValueError(
                    f"{name}: an activation needs a Gaussian input, so expected it behind a Dense "
                    f"or Conv layer, but it {_before(i, branch, pooled)}"
                )
            gaussian = False
        else:
            raise TypeError(f"layer {i}: expected a layer or an activation object{_got(layer)}")
    return gaussian, kind


def _got(thing: Any) -> str:
    """Return the end of a message: what is no layer, and what to write instead."""
    if isinstance(thing, type):
        return f" (an instance, not the class), got {thing!r}"
    hint = ""
    if isinstance(thing, (list, tuple)):
        hint = "; layers are given one by one, as in Sequential(*layers)"
    elif isinstance(thing, str):
        hint = f"; nkfast.activations.get_activation({thing!r}) makes one of a name"
    elif callable(thing):
        hint = "; Elementwise(function) makes one of a function"
    return f", got {thing!r}{hint}"


def _before(i: int, branch: bool, pooled: bool) -> str:
    if i == 0:
        return "begins the branch of a Residual without one" if branch else "is the first layer"
    return "follows a pool without one before it" if pooled else "follows another activation"
