"""Whether targets are numbers or words; nothing is taken for a class because it cannot be read."""

from __future__ import annotations

import numpy as np

from nkfast._arrays.validation import Array

from ._named import is_number
from ._table import Table, TableError

_GAPS = ("?", "-", ".", "na", "n/a", "#n/a", "nan", "<na>", "null", "none", "missing")


def survey(table: Table, task: str | None, size: int) -> tuple[bool, Array]:
    """Return whether targets are words, and the distinct ones where these are classes.

    Parameters
    ----------
    table : Table
    task : {"regression", "classification"} or None
        What the user says; without it, words are classes and numbers are not.
    size : int
        Rows held at a time.

    Raises
    ------
    ValueError
        On gaps, on words among numbers, and where the choice is the user's.
    """
    found = _Found()
    known = np.array([])
    for y in table.targets(size):
        if y is None:
            raise TableError("--target: expected where the targets are, got none")
        found.add(y)
        if task == "classification" or y.dtype.kind == "U":
            known = np.union1d(known, y) if known.size else np.unique(y)
    words = found.are_words(table, task)
    if task == "regression" or not (words or task):
        return words, np.array([])
    if task is None and 2 * len(known) > found.rows > 2:
        raise TableError(
            f"{table.path}, column {table.target}: {len(known)} different words in {found.rows} "
            f"rows, such as {str(known[0])!r}, are no classes; choose another --target, or say "
            "--task classification if they are"
        )
    return words, known if words else np.unique(known.astype(np.float64))


def as_words_or_numbers(table: Table, y: Array, start: int, *, words: bool) -> Array:
    """Return targets from row `start` on as a model has them, which knows words or numbers."""
    if words:
        return y.astype(str)
    found = _Found(start)
    found.add(y)
    for kind in ("empty", "gap", "word"):
        found.refuse(table, kind)
    return y.astype(np.float64) if y.dtype.kind == "U" else y


class _Found:
    """Where the first entry of each kind among the targets is, and what it says."""

    def __init__(self, start: int = 0) -> None:
        self.rows = start
        self.texts = False
        self._first: dict[str, tuple[int, str]] = {}

    def add(self, y: Array) -> None:
        """Look at the next targets."""
        entries = y.reshape(-1)
        if y.dtype.kind == "U":
            self.texts = True
            distinct, where = np.unique(entries, return_index=True)
            kinds = [(_kind(str(text)), int(i)) for text, i in zip(distinct, where, strict=True)]
        else:
            kinds = [("gap", int(i)) for i in np.flatnonzero(~np.isfinite(entries))[:1]]
        for kind, i in kinds:
            place = self.rows + i // (y.size // len(y)), str(entries[i])
            self._first[kind] = min(self._first.get(kind, place), place)
        self.rows += len(y)

    def are_words(self, table: Table, task: str | None) -> bool:
        """Tell whether targets are words; refuse what is neither clearly so nor clearly not."""
        numbers, words = "number" in self._first, "word" in self._first
        self.refuse(table, "empty")
        if not (words and task == "classification"):
            self.refuse(table, "gap", choice=words)
        if words and task == "regression" and not numbers:
            raise TableError("--task: expected classification for targets that are words")
        if words and numbers and task != "classification":
            self.refuse(table, "word", choice=True)
        if words or not self.texts:
            return words
        if table.typed and task is None:
            raise TableError(
                f"{table.path}, column {table.target}: texts that are numbers, such as "
                f"{self._first['number'][1]!r}; say --task regression or --task classification"
            )
        return table.typed and task == "classification"

    def refuse(self, table: Table, kind: str, *, choice: bool = False) -> None:
        """Refuse the first entry of that kind, if there is one."""
        if kind not in self._first:
            return
        row, text = self._first[kind]
        or_so = ", or say --task classification if it is a class" if choice else ""
        raise TableError(
            f"{table.place(row)}, column {table.target}: expected a target as in the other rows, "
            f"got {text!r}; mend or drop the row{or_so}"
        )


def _kind(text: str) -> str:
    if not text:
        return "empty"
    if text.casefold() in _GAPS or (is_number(text) and not np.isfinite(float(text))):
        return "gap"
    return "number" if is_number(text) else "word"
