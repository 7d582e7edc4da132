"""Errors of NTK features, and of the expansion behind them: `python bench/embeddings.py`.

Prints three tables for ReLU, GELU, Erf and Tanh networks (w_std 1.4, b_std 0.1), errors of the
kernel of the fitted rows, relative Frobenius norm / that of the centred kernels:

1. depths 1 and 3: the expansion alone, as fitted for 4096 features, without a sketch, then Z Z^T
   at 1024, 4096 and 16384 features;
2. depths 3 and 10 at 4096 features, beside the share of the kernel's diagonal in degrees above the
   one that is used, at the default degree and at degree 8;
3. spectrum: of ReLU at depths 3 and 10 the least error that any matrix of rank n / 16, n / 8 and
   n / 4 has on the same n rows, from the kernel's eigenvalues (Eckart and Young), and the ratio.

With NKFAST_DATA=FOLDER further rows for the real sets that are found there, at most 5000 rows of
each; names of sets and `width`, `depth` or `spectrum` for one of the tables may follow on the
command line.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.linalg import eigvalsh

import nkfast as nk
from accuracy import Rows, centre
from constructions import ACTIVATIONS, data_sets
from nkfast.expansion import radial_coefficients

WIDTHS = (1024, 4096, 16384)
WIDTH = 4096
MAX_ROWS = 5000
TABLES = ("width", "depth", "spectrum")
SHARES = (16, 8, 4)  # of the rows: the ranks of the third table
TERMS = 256  # degrees of a kernel: above them lies next to nothing


def relative(found: Rows, exact: Rows) -> str:
    """Return the errors of a kernel as text: Frobenius, and of the centred kernels."""
    difference = found - exact
    whole = np.linalg.norm(difference) / np.linalg.norm(exact)
    varying = np.linalg.norm(centre(difference)) / np.linalg.norm(centre(exact))
    return f"{whole:.4f}/{varying:.4f}"


def norms_and_cosines(x: Any) -> tuple[Rows, Rows]:
    gram = x @ x.T
    gram = gram.toarray() if sp.issparse(gram) else gram
    norms = np.sqrt(np.diagonal(gram))
    inverse = np.divide(1, norms, out=np.zeros_like(norms), where=norms > 0)
    return norms, gram * inverse[:, None] * inverse


def share_above(net: nk.Sequential, norms: Rows, d: int, degree: int) -> float:
    """Return the share of the diagonal in degrees above that, mean over some rows."""
    some = np.sort(norms)[:: max(len(norms) // 20, 1)]
    shares = []
    for a in some[some > 0]:
        terms = radial_coefficients(net, a[None], a[None], d, TERMS, "ntk")[:, 0, 0]
        x = np.full((1, d), a / np.sqrt(d))
        shares.append(1 - terms[: degree + 1].sum() / net.diag(x).ntk[0])
    return float(np.mean(shares))


def features(x: Any, net: nk.Sequential, m: int, degree: Any = "auto") -> tuple[Any, Rows]:
    phi = nk.NTKFeatures(net, m, degree=degree, random_state=0).fit(x)
    z = phi.transform(x.astype(np.float32))
    return phi, (z @ z.T).astype(np.float64)


def by_width(name: str, x: Any) -> None:
    norms, rho = norms_and_cosines(x)
    for activation in ACTIVATIONS:
        for depth in (1, 3):
            net = nk.mlp(depth, activation, 1.4, 0.1)
            exact = net.ntk(x)
            columns, degree = [], 0
            for m in WIDTHS:
                phi, found = features(x, net, m)
                columns.append(f"{relative(found, exact):>15}")
                if m == WIDTH:
                    degree = phi.degree_
                    kernel = found  # harmonics are not sketched
                    if phi.harmonics_ is None:
                        used = phi.allocation_.widths > 0
                        kernel = phi.expansion_.kernel_of(norms, rho, used)
                    alone = relative(kernel, exact)
            print(
                f"{name:<28}{activation:<6}{depth:>3}{degree:>4} {alone:>15}", *columns, flush=True
            )


def by_depth(name: str, x: Any) -> None:
    norms, _ = norms_and_cosines(x)
    for activation in ACTIVATIONS:
        for degree in (8, "auto"):
            errors = []
            for depth in (3, 10):
                net = nk.mlp(depth, activation, 1.4, 0.1)
                exact = net.ntk(x)
                phi, found = features(x, net, WIDTH, degree)
                errors.append(np.linalg.norm(found - exact) / np.linalg.norm(exact))
            above = share_above(net, norms, x.shape[1], phi.degree_)
            print(
                f"{name:<28}{activation:<6}{phi.degree_:>4}{errors[0]:9.4f}{errors[1]:9.4f}"
                f"{errors[1] / errors[0]:7.2f}{above:9.4f}",
                flush=True,
            )


def by_rank(name: str, x: Any) -> None:
    least = []
    for depth in (3, 10):
        values = eigvalsh(nk.mlp(depth, "relu", 1.4, 0.1).ntk(x))
        below = np.sqrt(np.cumsum(values**2))
        least.append([below[-1 - len(values) // share] / below[-1] for share in SHARES])
    columns = [f"{a:9.4f}{b:9.4f}{b / a:6.2f}" for a, b in zip(*least, strict=True)]
    print(f"{name:<28}", *columns, flush=True)


def chosen(names: list[str]) -> Iterator[tuple[str, Any]]:
    for name, x in data_sets(names, MAX_ROWS, MAX_ROWS):
        yield f"{name} ({x.shape[0]} x {x.shape[1]})", x


def main() -> None:
    tables = [a for a in sys.argv[1:] if a in TABLES] or list(TABLES)
    names = [a for a in sys.argv[1:] if a not in TABLES]
    sets = list(chosen(names))
    if "width" in tables:
        head = "".join(f"{m:>16}" for m in WIDTHS)
        print(f"{'data':<28}{'':<6}{'L':>3}{'q':>4} {'expansion':>15}{head}")
        for name, x in sets:
            by_width(name, x)
    if "depth" in tables:
        print(f"{'data':<28}{'':<6}{'q':>4}{'L = 3':>9}{'L = 10':>9}{'ratio':>7}{'above q':>9}")
        for name, x in sets:
            by_depth(name, x)
    if "spectrum" in tables:
        print(f"{'data':<28}", *(f"{f'n / {s}: L = 3, 10, ratio':>24}" for s in SHARES))
        for name, x in sets:
            by_rank(name, x)


if __name__ == "__main__":
    main()
