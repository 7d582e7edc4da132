"""Run the test-suite in every cell of the version matrix: `python tools/matrix.py [CELL ...]`.

A cell is a Python, a compiler, and the oldest packages that pyproject.toml admits or the newest
that there are. Each gets a folder of its own, build/matrix/CELL, that holds the last commit as git
has it; `make test` there builds the wheel and the environment. PYTEST_ARGS chooses tests, as with
make; one process runs them unless it says otherwise. What was said is in build/matrix/CELL.log. At
the end comes a table with the number of tests of each outcome; exit status 1 if a cell has not
passed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "matrix"
SHOWN = ("numpy", "scipy", "scikit-learn", "pytest")
OUTCOMES = ("passed", "failed", "error", "skipped")


@dataclass(frozen=True)
class Cell:
    """One combination of what nkfast is built with and runs on."""

    name: str
    python: str
    compiler: str
    oldest: bool = False


CELLS = [
    Cell("oldest", "3.11", "g++", oldest=True),
    Cell("3.11", "3.11", "g++"),
    Cell("3.12", "3.12", "g++"),
    Cell("3.13", "3.13", "g++"),
    Cell("clang", "3.13", "clang++"),
]


def lower_bounds() -> list[str]:
    """Return every requirement of pyproject.toml, held at the oldest version that it admits."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        content = tomllib.load(file)
    extras = content["project"]["optional-dependencies"]
    wanted = [*content["build-system"]["requires"], *content["project"]["dependencies"]]
    wanted += [line for extra in extras if extra not in ("lint", "dev") for line in extras[extra]]
    found = set()
    for line in wanted:
        if line.startswith("nkfast["):
            continue
        bound = re.fullmatch(r"([\w-]+)(?:\[[\w,]+\])?>=([\d.]+)", line)
        if bound is None:
            raise ValueError(f"pyproject.toml: expected NAME>=VERSION, got {line!r}")
        found.add(f"{bound[1]}=={bound[2]}")
    return sorted(found)


def interpreter(version: str) -> str:
    """Return the path of that Python: on PATH, or the newest of pyenv's."""
    if path := shutil.which(f"python{version}"):
        ran = subprocess.run([path, "-c", ""], capture_output=True, check=False)
        if ran.returncode == 0:  # pyenv's shims are there for versions that are not chosen, too
            return path
    home = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    paths = [*home.glob(f"versions/{version}.*/bin/python3")]
    if not paths:
        raise FileNotFoundError(f"no Python {version}, neither on PATH nor of pyenv")
    return str(max(paths, key=lambda path: [int(n) for n in re.findall(r"\d+", path.parts[-3])]))


def compiler(name: str) -> str:
    """Return the path of a compiler; of several the oldest that nkfast promises to work with."""
    names = ["g++-12", "g++"] if name == "g++" else [f"{name}-{n}" for n in range(19, 30)] + [name]
    for each in names:
        if path := shutil.which(each):
            return path
    raise FileNotFoundError(f"no {name}")


def run(cell: Cell) -> dict[str, str]:
    """Run `make test` in a cell's folder; return what the table says of it."""
    folder, log = FOLDER / cell.name, FOLDER / f"{cell.name}.log"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    row = dict.fromkeys((*SHOWN, *OUTCOMES, "minutes"), "")
    try:
        tools = {"MAKEFLAGS": "", "CXX": compiler(cell.compiler), "OPENBLAS_NUM_THREADS": "1"}
        python = interpreter(cell.python)
    except FileNotFoundError as error:
        log.write_text(f"{error}\n")
        return row
    commit = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, capture_output=True, check=True)
    subprocess.run(["tar", "-x", "-C", folder], input=commit.stdout, check=True)
    if cell.oldest:
        constraints = FOLDER / "oldest.txt"
        constraints.write_text("\n".join(lower_bounds()) + "\n")
        tools |= {"PIP_CONSTRAINT": str(constraints), "PIP_BUILD_CONSTRAINT": str(constraints)}
    arguments = "-n0 " + os.environ.get("PYTEST_ARGS", "")
    start = time.monotonic()
    with log.open("w") as file:
        subprocess.run(
            ["make", "test", f"PYTHON={python}", f"PYTEST_ARGS={arguments}"],
            cwd=folder,
            env={**os.environ, **tools},
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
        )
    row["minutes"] = f"{(time.monotonic() - start) / 60:.0f}"
    for name in SHOWN:
        for info in folder.glob(f".venv/lib/*/site-packages/{name.replace('-', '_')}-*.dist-info"):
            row[name] = info.stem.rsplit("-", 1)[1]
    closing = re.findall(r"^=+ (.+) in [\d.]+s.* =+$", log.read_text(), re.MULTILINE)
    for number, outcome in re.findall(r"(\d+) (\w+)", closing[-1] if closing else ""):
        if outcome.removesuffix("s") in OUTCOMES:
            row[outcome.removesuffix("s")] = number
    return row


def main() -> int:
    """Run the cells named on the command line, or all; return the exit status."""
    names = sys.argv[1:] or [cell.name for cell in CELLS]
    if unknown := set(names) - {cell.name for cell in CELLS}:
        raise SystemExit(f"no such cell: {', '.join(sorted(unknown))}")
    table, good = [], True
    for cell in CELLS:
        if cell.name in names:
            print(f"==> {cell.name}: {FOLDER / cell.name}.log", flush=True)
            row = run(cell)
            good &= bool(row["passed"]) and not row["failed"] and not row["error"]
            table.append([cell.name, cell.python, cell.compiler, *row.values()])
    head = ["cell", "Python", "compiler", *SHOWN, *OUTCOMES, "minutes"]
    for line in (head, ["---"] * len(head), *table):
        print("| " + " | ".join(line) + " |")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
