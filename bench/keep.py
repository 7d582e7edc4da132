"""Keep what a run of `make bench` measured, in a small file: `python bench/keep.py JSON FOLDER`.

JSON is what pytest-benchmark wrote. Of each job the file has the median time and, where rivals
stand beside it, the medians of nkfast in turns with them; of the run the machine, compiler, SIMD
level, threads and commit. Its name is VERSION-COMMIT.json. docs/make_benchmarks.py draws them all.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

FACTS = ("compiler", "simd_level", "num_threads", "cpu", "numpy", "blas", "python")


def summary(run: dict[str, Any]) -> dict[str, Any]:
    """Return what is worth keeping of a run."""
    info = run["machine_info"].get("nkfast", {})
    jobs = {}
    for bench in run["benchmarks"]:
        extra = bench["extra_info"]
        job = {
            "group": bench["group"],
            "rival": extra.get("rival"),
            "threads": extra.get("threads"),
            "rounds": bench["stats"]["rounds"],
            "median": rounded(bench["stats"]["median"]),
            "iqr": rounded(bench["stats"]["iqr"]),
            "nkfast": {k: rounded(v) for k, v in extra.get("ours_median", {}).items()},
        }
        errors = {k: rounded(extra[k]) for k in ("frobenius", "centred", "spectral") if k in extra}
        jobs[bench["fullname"]] = {k: v for k, v in {**job, "errors": errors}.items() if v}
    commit = run["commit_info"]
    return {
        "version": info.get("nkfast", "unknown"),
        "commit": commit["id"],
        "dirty": commit["dirty"],
        "date": commit["time"],
        "machine": {key: info[key] for key in FACTS if key in info},
        "jobs": jobs,
    }


def rounded(number: float) -> float:
    """Return it with four digits."""
    return float(f"{number:.4g}")


def main(source: str, folder: str) -> None:
    content = summary(json.loads(Path(source).read_text()))
    target = Path(folder) / f"{content['version']}-{content['commit'][:7]}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(content, indent=1) + "\n")
    print(f"{target}: {len(content['jobs'])} jobs" + (", changed files" * content["dirty"]))


if __name__ == "__main__":
    main(*sys.argv[1:3])
