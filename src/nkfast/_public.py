"""The public place of names that are defined elsewhere."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def publish(namespace: dict[str, Any]) -> Callable[[], list[str]]:
    """Give the names in a module's `__all__` that module as their place; return its `__dir__`.

    Pickles name a class by its place, so saved estimators do not depend on the file in which it is
    defined. What a module further down has published stays.

    Parameters
    ----------
    namespace : dict
        The module's ``globals()``.
    """
    names: list[str] = sorted(namespace["__all__"])
    for name in names:
        thing = namespace[name]
        if not (inspect.isclass(thing) or inspect.isfunction(thing)):
            continue
        if any(part.startswith("_") for part in thing.__module__.split(".")):
            thing.__module__ = namespace["__name__"]
    return lambda: names
