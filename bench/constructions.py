"""NTK features of both constructions: `python bench/constructions.py`.

Prints, for each activation and depth, errors of Z Z^T on the rows of `fit`, mean of two seeds:
relative Frobenius norm, and that of the centred kernels; and their ratios. With NKFAST_DATA=FOLDER
further rows for the real sets that are found there; names of sets may follow on the command line.
Ends with status 1 unless the collapsed construction makes at most half the error where rows have
few dimensions, and never more.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits

import nkfast as nk
from accuracy import Rows, centre, standardise

ACTIVATIONS = ("relu", "gelu", "erf", "tanh")
DEPTHS = (1, 3)
WIDTH = 4096
SEEDS = 2
SETS = ("reg_kin8nm", "reg_concrete", "reg_protein", "cls_letter", "cls_optical")
TEXT = "text_20news_stripped"
MAX_ROWS = 2000
MAX_TEXTS = 1000
FEW = 64  # dimensions up to which at most half the error is asked for


def texts(path: Path, n_rows: int) -> Any:
    """Return the first rows of a set of word counts, weighted, as CSR rows of norm sqrt(d).

    Column indices are stored as differences within each row.
    """
    with np.load(path) as arrays:
        ends = arrays["indptr"].astype(np.int64)[: n_rows + 1]
        steps, counts = (arrays[k][: ends[-1]] for k in ("delta", "count"))
        d, idf = int(arrays["shape"][1]), arrays["idf"]
    sums = np.append(0, np.cumsum(steps.astype(np.int64)))
    columns = sums[1:] - np.repeat(sums[ends[:-1]], np.diff(ends))
    x = sp.csr_array((counts * idf[columns], columns, ends), shape=(n_rows, d))
    norms = np.sqrt(x.multiply(x).sum(axis=1))
    return sp.csr_array(sp.diags(np.sqrt(d) / np.where(norms > 0, norms, 1)) @ x)


def data_sets(
    names: list[str], rows: int = MAX_ROWS, n_texts: int = MAX_TEXTS
) -> Iterator[tuple[str, Any]]:
    """Yield the sets, at most so many rows: dense ones standardised, norms as they are."""
    if not names or "digits" in names:
        yield "digits", standardise(load_digits().data)
    folder = os.environ.get("NKFAST_DATA")
    for name in (*SETS, TEXT) if folder else ():
        path = Path(str(folder)) / f"{name}.npz"
        if not path.exists():
            print(f"{path}: not found", file=sys.stderr)
        elif names and name not in names:
            continue
        elif name == TEXT:
            yield name, texts(path, n_texts)
        else:
            with np.load(path) as arrays:
                x = standardise(arrays["X"])
            yield name, np.random.default_rng(0).permutation(x)[:rows]


def errors(net: nk.Sequential, x: Any, exact: Rows, construction: str) -> NDArray[np.float64]:
    """Return the mean relative errors, Frobenius and centred."""
    sizes = np.linalg.norm(exact), np.linalg.norm(centre(exact))
    found = []
    for seed in range(SEEDS):
        phi = nk.NTKFeatures(net, WIDTH, construction=construction, random_state=seed)
        z = phi.fit_transform(x.astype(np.float32)).astype(np.float64)
        difference = z @ z.T - exact
        found.append([np.linalg.norm(difference), np.linalg.norm(centre(difference))])
    return np.asarray(np.mean(found, axis=0) / sizes)


def main() -> int:
    print(f"{'':<49}{'layerwise':>18}{'collapsed':>18}{'ratio':>14}")
    head = f"{'frobenius':>10}{'centred':>8}"
    print(f"{'data':<37}{'':<7}depth{head}{head}{'frob.':>7}{'centr.':>7}")
    missed = 0
    for name, x in data_sets(sys.argv[1:]):
        where = f"{name} ({x.shape[0]} x {x.shape[1]})"
        for activation in ACTIVATIONS:
            for depth in DEPTHS:
                net = nk.mlp(depth, activation, w_std=1.4, b_std=0.1)
                exact = net.ntk(x)
                layerwise = errors(net, x, exact, "layerwise")
                collapsed = errors(net, x, exact, "collapsed")
                ratios = collapsed / layerwise
                bad = bool(np.any(ratios > (0.5 if x.shape[1] <= FEW else 1.0)))
                missed += bad
                numbers = "".join(
                    f"{frobenius:{width}.4f}{centred:8.4f}"
                    for frobenius, centred, width in ((*layerwise, 10), (*collapsed, 10))
                )
                last = f"{ratios[0]:7.2f}{ratios[1]:7.2f}{'  missed' * bad}"
                print(f"{where:<37}{activation:<7}{depth:>5}{numbers}{last}", flush=True)
    print(f"Asked for, a ratio of at most 0.5 for d <= {FEW}, else 1: missed {missed} times")
    return int(missed > 0)


if __name__ == "__main__":
    with threadpool_limits(1):
        sys.exit(main())
