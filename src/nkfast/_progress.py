"""How far a long computation is, on stderr: a bar by tqdm, the extra ``progress``.

Where tqdm is not installed there is no bar, but a line for each stage that begins.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, TypeAlias

Tell: TypeAlias = Callable[[int], object]  # that so many more are done
Step: TypeAlias = Callable[[str, str, float], None]


@contextmanager
def counting(
    shown: bool | int, stage: str, total: int | None, unit: str = "rows"
) -> Iterator[Tell]:
    """Yield a function that is told how many more are done.

    Parameters
    ----------
    shown : bool or int
        Else nothing is written.
    stage : str
        What is being done.
    total : int or None
        How many there are; None: as many as will come.
    unit : str, default="rows"
        What is counted.
    """
    if not shown:
        yield lambda _: None
    elif _has_tqdm():
        with _bar(total=total, desc=stage, unit=unit, unit_scale=True) as bar:
            yield bar.update
    else:
        _line(stage)
        yield lambda _: None


@contextmanager
def stages(total: float) -> Iterator[Step]:
    """Yield step(stage, label, cost): what began before is done, and this begins.

    In a terminal a bar shows the label, and is gone in the end. Elsewhere, in a log, each stage
    (some steps one after the other) is one line.

    Parameters
    ----------
    total : float
        Sum of the costs of all steps, in any unit.
    """
    if sys.stderr.isatty() and _has_tqdm():
        form = "{percentage:3.0f}%|{bar}| {desc}  {remaining} left"
        columns = shutil.get_terminal_size().columns - 1  # heeds COLUMNS, unlike tqdm
        with _bar(total=total, bar_format=form, leave=False, ncols=columns) as bar:
            running = 0.0

            def step(stage: str, label: str, cost: float) -> None:  # noqa: ARG001
                nonlocal running
                bar.update(running)
                bar.set_description_str(label)
                running = cost

            yield step
    else:
        current = ""

        def name(stage: str, label: str, cost: float) -> None:  # noqa: ARG001
            nonlocal current
            if stage != current:
                _line(stage)
            current = stage

        yield name


def _has_tqdm() -> bool:
    return find_spec("tqdm") is not None


def _bar(**options: Any) -> Any:
    from tqdm.auto import tqdm  # which also knows notebooks

    return tqdm(file=sys.stderr, **options)


def _line(stage: str) -> None:
    print(f"{stage} ...", file=sys.stderr, flush=True)
