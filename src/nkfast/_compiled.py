"""Estimators whose fitted map the core keeps in a form of its own."""

from __future__ import annotations

from typing import Any


class Compiled:
    """Keeps what the core compiles from fitted attributes out of pickles.

    Subclasses keep such objects in attributes whose names begin with `_compiled`, and make them
    anew where they are missing.
    """

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()  # type: ignore[assignment]
        return {name: value for name, value in state.items() if not name.startswith("_compiled")}
