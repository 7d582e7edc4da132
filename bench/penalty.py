"""The penalty by estimates and by the exact criteria: `python bench/penalty.py [NAME ...]`.

Needs NKFAST_DATA=FOLDER with the sets of bench/learners.py. Features of the network that
`tune_network` finds most probable, on one of the set's splits; `--columns 4096` chooses how many,
`--rows 10000` of how many rows (0: all), `--draws 2` how often they are drawn. Printed are the
penalties that both ways choose, their ratio, by how many factors (or traces, which take as long),
and the CPU seconds of both searches on the same sums.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np

import learners
import nkfast as nk
from nkfast.learn._learner import running_sums
from nkfast.learn._ridge import _solve
from nkfast.learn._ridge._estimates import Estimates
from nkfast.learn._ridge._penalty import choose
from nkfast.learn._ridge._scores import Scores
from nkfast.learn._ridge._system import System, system_of_moments


def sums(name: str, params: dict[str, Any], rows: int, columns: int, seed: int) -> System:
    """Return the sums over features of the set's rows."""
    X, y, *_ = learners.load(name)
    n = min(rows, X.shape[0]) if rows else X.shape[0]
    Y = y[:, None] if name.startswith("reg") else np.where(y[:, None] == np.unique(y), 1.0, -1.0)
    Y = Y[:, 1:] if Y.shape[1] == 2 else Y
    model = nk.NTKRegressor(nk.mlp(**params), columns, alpha=1.0, random_state=seed)
    for i in range(0, n, 2048):
        block = slice(i, min(i + 2048, n))
        model.partial_fit(X[block], Y[block])
    return system_of_moments(running_sums(model).sums)


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    found = work()
    return time.process_time() - start, found


def compare(system: System, criterion: Any) -> str:
    made: list[Estimates] = []

    def kept(*arguments: Any) -> Estimates:
        made.append(Estimates(*arguments))
        return made[-1]

    exact_s, expected = seconds(lambda: choose(Scores(system), criterion))
    with mock.patch.object(_solve, "Estimates", kept):
        now_s, found = seconds(lambda: _solve._search_estimates(system, criterion))
    factors = made[0].factors
    if found is None:
        return f"{expected.alpha:10.4g} exact after {factors} factors: {exact_s:.2f}, {now_s:.2f} s"
    alpha = found[1].alpha
    return (
        f"{expected.alpha:10.4g} {alpha:10.4g} {alpha / expected.alpha:8.4f} {factors:8d} "
        f"{exact_s:8.2f} {now_s:6.2f} {exact_s / now_s:6.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(learners.YARDSTICKS))
    parser.add_argument("--rows", type=int, default=learners.FEW)
    parser.add_argument("--columns", type=int, default=4096)
    parser.add_argument("--draws", type=int, default=1)
    options = parser.parse_args()
    head = f"{'exact':>10} {'estimate':>10} {'ratio':>8} {'factors':>8} {'exact s':>8} {'s':>6}"
    print(f"{'set':<22} {'rule':<9} {head} {'times':>6}")
    for name in options.names:
        params = learners.tuned(name)
        for seed in range(options.draws):
            system = sums(name, params, options.rows, options.columns, seed)
            for criterion in ("gcv", "evidence"):
                print(f"{name:<22} {criterion:<9} {compare(system, criterion)}", flush=True)


if __name__ == "__main__":
    main()
