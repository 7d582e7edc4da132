"""The command: see the package."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # helpers of the tests

from fuzzing.campaign import Result, campaign
from fuzzing.cases import bits, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzzing", description="Random calls of nkfast")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, default=1000, help="how many")
    parser.add_argument("--calls", type=int, help="end after so many calls")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--case", type=int, help="this one alone, in this process")
    parser.add_argument("--bits", action="store_true", help="a digest, to compare SIMD levels")
    options = parser.parse_args()
    if options.bits:
        print(bits(options.seed, range(options.cases)))
        return 0
    if options.case is not None:
        calls, wrong = run(options.seed, options.case)
        print(wrong or f"{options.case} holds; calls: {dict(calls)}")
        return int(bool(wrong))
    total = Total(options.seed)
    told = time.monotonic()
    for result in campaign(options.seed, options.cases, options.jobs, options.calls):
        total.add(result)
        if result.wrong:
            print(result.wrong, flush=True)
        if time.monotonic() - told > 60:
            told = time.monotonic()
            print(total, flush=True)
    print(total)
    return int(total.failed > 0)


class Total:
    """What all cases so far amount to."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.cases = self.failed = 0
        self.seconds = 0.0
        self.calls: Counter[str] = Counter()

    def add(self, result: Result) -> None:
        self.cases += 1
        self.failed += bool(result.wrong)
        self.seconds += result.seconds
        self.calls += result.calls

    def __str__(self) -> str:
        refused = self.calls["refused"]
        made = sum(self.calls.values()) - refused
        return (
            f"seed {self.seed}: {self.cases:,} cases, {made:,} calls in {self.seconds:.0f} s of "
            f"CPU, {self.failed} failed, {refused} beyond float64; {dict(self.calls)}"
        )


if __name__ == "__main__":
    sys.exit(main())
