"""Parameters of layers and activations, visible to scikit-learn's get_params and set_params."""

from __future__ import annotations

import inspect
from typing import Any, Self


class Parameters:
    """Keep what the constructor was given under the same names (scikit-learn's convention)."""

    @classmethod
    def _names(cls) -> tuple[str, ...]:
        if cls.__init__ is object.__init__:
            return ()
        return tuple(n for n in inspect.signature(cls.__init__).parameters if n != "self")

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002
        """Return the parameters by name."""
        return {name: getattr(self, name) for name in self._names()}

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name; all are checked before any is changed."""
        unknown = sorted(set(params) - set(self._names()))
        if unknown:
            raise ValueError(
                f"{type(self).__name__}: unknown parameter {unknown[0]!r}, "
                f"expected one of {sorted(self._names())}"
            )
        checked = type(self)(**{**self.get_params(deep=False), **params})
        self.__dict__.update(checked.__dict__)
        return self

    def __sklearn_clone__(self) -> Self:
        return type(self)(**self.get_params(deep=False))

    def __repr__(self) -> str:
        inner = ", ".join(f"{k}={v!r}" for k, v in self.get_params(deep=False).items())
        return f"{type(self).__name__}({inner})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Parameters):
            return NotImplemented
        return type(self) is type(other) and self.get_params(False) == other.get_params(False)

    __hash__ = None  # type: ignore[assignment]  # parameters can be set, so no stable hash
