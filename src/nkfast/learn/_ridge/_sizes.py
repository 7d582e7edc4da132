"""What the systems of a ridge regression need at least: refused before work begins."""

from __future__ import annotations

from nkfast._arrays.memory import refuse_bytes

_MATRICES = 2  # the matrix, and its Cholesky factor or tridiagonal form


def refuse_sums(m: int, name: str) -> None:
    """Refuse a primal problem of m features that does not fit; `name` is what to change."""
    refuse_bytes(8 * _MATRICES * m**2, name, f"systems of {m} x {m}")


def refuse_rows(n: int, m: int, name: str) -> None:
    """Refuse the problem of n rows of m features, dual if there are more of these, likewise."""
    if n > m:
        refuse_sums(m, name)
    else:
        what = f"{n} rows of {m} features, and systems of {n} x {n}"
        refuse_bytes(8 * (n * m + _MATRICES * n**2), name, what)


def refuse_kernel(n: int, name: str) -> None:
    """Refuse a dual problem of n rows, given by their kernel, that does not fit."""
    refuse_bytes(8 * _MATRICES * n**2, name, f"systems of {n} x {n}")


def refuse_large_kernel(n: int, itemsize: int, name: str) -> None:
    """Refuse a dual problem that is solved in the memory of its kernel, likewise."""
    refuse_bytes(itemsize * n**2, name, f"a kernel of {n} x {n}")
