"""Methods that are there only where rows can be streamed."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from types import MethodType
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])


def streaming(method: F) -> F:
    """Offer a method only where rows can be streamed.

    As scikit-learn's `available_if`, but the AttributeError itself says why it is not there.
    """
    return cast(F, _Streaming(method))


class _Streaming:
    """A method of a learner, looked up by its parameters."""

    def __init__(self, method: Callable[..., Any]) -> None:
        self._method = method
        update_wrapper(cast(Callable[..., Any], self), method)

    def __get__(self, learner: Any, kind: type | None = None) -> Any:
        if learner is None:
            return self._method
        name = self._method.__name__
        if learner.method == "exact":
            raise AttributeError(f"{name}: method='exact' needs all rows at once, in fit")
        if isinstance(learner.alpha, str) and learner.alpha == "loo":
            raise AttributeError(
                f"{name}: alpha='loo' needs all rows at once, in fit; streams take a number, 'gcv' "
                "or 'evidence'"
            )
        return MethodType(self._method, learner)
