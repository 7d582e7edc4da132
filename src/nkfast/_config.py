"""Number of threads, SIMD level, and what this installation is made of."""

from __future__ import annotations

import operator
import os
import platform
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.metadata import version
from typing import Any, Literal, SupportsIndex, overload

import numpy as np
from threadpoolctl import ThreadpoolController

from ._core import __version__, compiler, simd_level, simd_levels

_BLAS_NAMES = "blas", "lapack", "mkl", "blis"  # in the names of files
# The process's own setting, and the override of the running context (one per thread or task).
_process_threads: int | None = None
_context_threads: ContextVar[int | None] = ContextVar("nkfast_num_threads", default=None)


def set_num_threads(n: int | None) -> None:
    """Set how many threads nkfast uses in this process.

    Parameters
    ----------
    n : int or None
        Number of threads, at least 1. None forgets an earlier setting, so that the environment
        decides again (see `get_num_threads`).

    Raises
    ------
    TypeError
        If `n` is not an integer.
    ValueError
        If `n` is below 1.

    See Also
    --------
    num_threads : The same for a block of code only.

    Examples
    --------
    >>> import nkfast as nk
    >>> nk.set_num_threads(2)
    >>> nk.get_num_threads()
    2
    >>> nk.set_num_threads(None)
    """
    global _process_threads
    _process_threads = None if n is None else _checked(n)


def num_threads(n: int) -> AbstractContextManager[None]:
    """Use `n` threads inside a ``with`` block.

    The override holds for the running thread or asyncio task only; other threads keep theirs.

    Parameters
    ----------
    n : int
        Number of threads, at least 1.

    Returns
    -------
    context manager
        Restores the former number of threads when the block ends, also by an exception.

    Raises
    ------
    TypeError
        If `n` is not an integer.
    ValueError
        If `n` is below 1.

    Examples
    --------
    >>> import nkfast as nk
    >>> with nk.num_threads(1):
    ...     nk.get_num_threads()
    1
    """
    return _override(_checked(n))


def get_num_threads() -> int:
    """Return how many threads nkfast would use now.

    The first of these that is set decides: `num_threads` in this context; `set_num_threads`; the
    environment variable ``NKFAST_NUM_THREADS``; the first number of ``OMP_NUM_THREADS`` (which
    joblib sets in its workers; a value that is no positive number is passed over, as it is not
    ours to judge); the number of CPUs that this process may run on.

    Returns
    -------
    int
        Number of threads, at least 1. Results do not depend on it.

    Raises
    ------
    ValueError
        If ``NKFAST_NUM_THREADS`` decides and is not a positive integer.

    Examples
    --------
    >>> import nkfast as nk
    >>> nk.get_num_threads() >= 1
    True
    """
    chosen = _context_threads.get() or _process_threads
    return chosen or _from_nkfast_variable() or _from_omp_variable() or _available_cpus()


@overload
def show_config(mode: Literal["stdout"] = "stdout") -> None: ...
@overload
def show_config(mode: Literal["dict"]) -> dict[str, Any]: ...
def show_config(mode: Literal["stdout", "dict"] = "stdout") -> dict[str, Any] | None:
    """Show versions, SIMD level and threads: what a bug report needs.

    Parameters
    ----------
    mode : {"stdout", "dict"}, default="stdout"
        Print the facts, or return them as a dictionary.

    Returns
    -------
    dict or None
        The facts by name if `mode` is "dict".

    Raises
    ------
    ValueError
        If `mode` is neither of the two.

    Examples
    --------
    >>> import nkfast as nk
    >>> nk.show_config("dict")["simd_level"] in ("base", "avx2", "avx512")
    True
    """
    if mode not in ("stdout", "dict"):
        raise ValueError(f"mode: expected 'stdout' or 'dict', got {mode!r}")
    facts: dict[str, Any] = {
        "nkfast": __version__,
        "simd_level": simd_level(),
        "simd_levels": simd_levels(),
        "num_threads": get_num_threads(),
        "compiler": compiler(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "numpy": version("numpy"),
        "scipy": version("scipy"),
        "scikit-learn": version("scikit-learn"),
        "blas": _blas(),
    }
    if mode == "dict":
        return facts
    width = max(map(len, facts))
    for name, fact in facts.items():
        print(f"{name:<{width}}  {', '.join(fact) if isinstance(fact, list) else fact}")
    return None


@contextmanager
def _override(n: int) -> Iterator[None]:
    token = _context_threads.set(n)
    try:
        yield
    finally:
        _context_threads.reset(token)


def _checked(n: SupportsIndex) -> int:
    if isinstance(n, (bool, np.bool_)):
        raise TypeError(f"n: expected an integer, got {n!r}")
    try:
        count = operator.index(n)
    except TypeError:
        raise TypeError(f"n: expected an integer, got {n!r}") from None
    if count < 1:
        raise ValueError(f"n: expected at least 1 thread, got {count}")
    return count


def _from_nkfast_variable() -> int | None:
    text = os.environ.get("NKFAST_NUM_THREADS", "").strip()
    if not text:
        return None
    count = _positive(text)
    if count is None:
        raise ValueError(
            f"environment variable NKFAST_NUM_THREADS: expected a positive integer, got {text!r}"
        )
    return count


def _from_omp_variable() -> int | None:
    # OpenMP allows a list with one number for each level of nesting.
    return _positive(os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip())


def _positive(text: str) -> int | None:
    return (int(text) or None) if text.isascii() and text.isdigit() else None


def _available_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _blas() -> str:
    """Name and version of the BLAS that NumPy was built with."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip()


class _BlasController(ThreadpoolController):  # type: ignore[misc] # it has no types
    """A controller of BLAS alone.

    Hundreds of libraries are loaded, and to look at one takes 0.2 ms: others are passed over, if
    threadpoolctl still asks this method.
    """

    def _make_controller_from_path(self, filepath: str) -> None:
        name = filepath[filepath.rfind(os.sep) + 1 :].lower()
        if any(part in name for part in _BLAS_NAMES):
            super()._make_controller_from_path(filepath)


@cache
def _blas_controller() -> ThreadpoolController:
    return _BlasController()  # reads the list of loaded libraries: some milliseconds


def one_blas_thread() -> AbstractContextManager[Any]:
    """Hold BLAS to one thread inside a ``with`` block, for products that are many and small.

    There its threads would only wait for each other, and where cores are busy for very long.
    """
    limit: AbstractContextManager[Any] = _blas_controller().limit(limits=1, user_api="blas")
    return limit
