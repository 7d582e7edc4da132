"""Least squares by sketch and precondition, against LSQR alone, on an ill-conditioned tall problem.

min |A x - b| over x, for A with many more rows than columns. LSQR takes about as many steps as A's
condition number. Few random combinations S A of A's rows, of which a QR factorisation costs little,
already know that condition: A R^-1, with Q R = S A, has singular values close to 1, so that LSQR on
it converges in some dozens of steps to full accuracy (Rokhlin & Tygert 2008; Avron, Maymounkov &
Toledo 2010). With m rows in S A an error shrinks about by sqrt(n_columns / m) in each step.

    python examples/least_squares.py
    python examples/least_squares.py --rows 8192 --columns 64 --limit 300
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.linalg import qr, solve_triangular
from scipy.sparse.linalg import LinearOperator, aslinearoperator, lsqr

import nkfast as nk

TOLERANCE = 1e-14


class Solution(NamedTuple):
    """What a solver returns: the solution, LSQR's steps, and seconds before and in LSQR."""

    x: np.ndarray
    steps: int
    before: float
    during: float


def solve_alone(A: Any, b: np.ndarray, limit: int) -> Solution:
    """LSQR on A itself."""
    start = time.perf_counter()
    x, _, steps = lsqr(A, b, atol=TOLERANCE, btol=TOLERANCE, conlim=0, iter_lim=limit)[:3]
    return Solution(x, steps, 0.0, time.perf_counter() - start)


def solve_sketched(A: Any, b: np.ndarray, limit: int, sketch: Any) -> Solution:
    """LSQR on A R^-1, started from the solution of the sketched problem min |S A x - S b|."""
    start = time.perf_counter()
    sketch.fit_rows(A)
    Q, R = qr(sketch.sketch_rows(A), mode="economic", overwrite_a=True)
    z = Q.T @ sketch.sketch_rows(b)
    middle = time.perf_counter()
    whole = aslinearoperator(A)
    conditioned = LinearOperator(
        A.shape,
        matvec=lambda z: whole.matvec(solve_triangular(R, z)),
        rmatvec=lambda u: solve_triangular(R, whole.rmatvec(u), trans="T"),
        dtype=np.float64,
    )
    options = {"atol": TOLERANCE, "btol": TOLERANCE, "conlim": 0, "iter_lim": limit}
    z, _, steps = lsqr(conditioned, b, x0=z, **options)[:3]
    return Solution(solve_triangular(R, z), steps, middle - start, time.perf_counter() - middle)


def dense_problem(n_rows: int, n_columns: int, rng: np.random.Generator) -> np.ndarray:
    """Random singular vectors; singular values from 1 down to 1e-6, evenly in their logarithms."""
    U = np.linalg.qr(rng.standard_normal((n_rows, n_columns)))[0]
    V = np.linalg.qr(rng.standard_normal((n_columns, n_columns)))[0]
    return U * np.logspace(0, -6, n_columns) @ V.T


def sparse_problem(n_rows: int, n_columns: int, rng: np.random.Generator) -> sp.csr_array:
    """One entry in a hundred, neighbouring columns mixed, columns scaled from 1 down to 1e-6."""
    shape = n_rows, n_columns
    B = sp.random(*shape, density=0.01, random_state=rng, data_rvs=rng.standard_normal)
    mix = sp.diags([1.0, 0.5], offsets=[0, 1], shape=(n_columns, n_columns))
    return sp.csr_array(sp.csr_array(B) @ mix @ sp.diags(np.logspace(0, -6, n_columns)))


def right_side(A: Any, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float]:
    """(x, b, cond A): b = A x + r, r at right angles to A's columns, so that x is the solution."""
    Q, R = np.linalg.qr(A.toarray() if sp.issparse(A) else A)
    x = rng.standard_normal(A.shape[1])
    noise = rng.standard_normal(A.shape[0])
    for _ in range(2):  # once leaves rounding errors
        noise -= Q @ (Q.T @ noise)
    signal = A @ x
    b = signal + noise * 1e-3 * np.linalg.norm(signal) / np.linalg.norm(noise)
    return x, b, float(np.linalg.cond(R))


def report(A: Any, limit: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Solve by every method, print a line for each, and return the lines."""
    x, b, condition = right_side(A, rng)
    print(f"condition number {condition:.1e}")
    m = 4 * A.shape[1]
    solvers: dict[str, Callable[[], Solution]] = {"LSQR alone": lambda: solve_alone(A, b, limit)}
    for sketch in (
        nk.sketch.SRHT(m, random_state=0),
        nk.sketch.OSNAP(m, 8, random_state=0),
        nk.sketch.CountSketch(2 * m, random_state=0),
    ):
        name = f"{type(sketch).__name__}, m = {sketch.n_components}"
        solvers[name] = lambda sketch=sketch: solve_sketched(A, b, limit, sketch)
    print(f"{'':24}{'steps':>7}{'sketch, QR':>12}{'LSQR':>9}{'excess':>10}{'error':>10}")
    lines = []
    least = np.linalg.norm(A @ x - b)
    for name, solve in solvers.items():
        found = solve()
        # |A x - b|^2 = |A (x - x*)|^2 + least^2, without the cancellation of a difference.
        excess = np.linalg.norm(A @ (found.x - x)) / least
        error = np.linalg.norm(found.x - x) / np.linalg.norm(x)
        print(
            f"{name:24}{found.steps:7}{found.before:10.2f} s{found.during:7.2f} s"
            f"{excess:10.1e}{error:10.1e}" + ("  stopped" if found.steps >= limit else "")
        )
        lines.append({"name": name, "steps": found.steps, "excess": excess, "error": error})
    return lines


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=65536)
    parser.add_argument("--columns", type=int, default=256)
    parser.add_argument("--limit", type=int, default=1000, help="most steps of LSQR")
    options = parser.parse_args(arguments)
    rng = np.random.default_rng(0)
    print(f"{options.rows} x {options.columns}; excess: |A (x - x*)| / |A x* - b|;")
    print("error: |x - x*| / |x*|\n")
    for problem in (dense_problem, sparse_problem):
        A = problem(options.rows, options.columns, rng)
        print(f"sparse, {A.nnz} entries" if sp.issparse(A) else "dense", end=", ")
        report(A, options.limit, rng)
        print()


if __name__ == "__main__":
    main()
