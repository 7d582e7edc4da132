"""Say clearly what this machine lacks to build nkfast; exit status 1 if it lacks something.

Runs before anything is installed, and on Pythons too old for nkfast: standard library only, no new
syntax.
"""

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile

OLDEST_PYTHON = (3, 11)
COMPILERS = ("c++", "g++", "clang++")  # among those that Meson looks for
PROBE = "#include <thread>\nint main() { std::jthread t([] {}); }\n"


def find_problems():  # type: () -> list[str]
    """Return one sentence for each thing that is missing."""
    here = "{} ({})".format(sys.executable, sys.version.split()[0])
    if sys.version_info < OLDEST_PYTHON:
        return [
            "nkfast needs Python 3.11 or newer, but this is {}. "
            "Name another one: make PYTHON=python3.12 ...".format(here)
        ]
    problems = []
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        problems.append(
            "Python at {} cannot create virtual environments (no venv or ensurepip module). "
            "On Debian or Ubuntu: apt install python3-venv".format(here)
        )
    if not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
        problems.append(
            "Python at {} comes without its C headers (Python.h). "
            "On Debian or Ubuntu: apt install python3-dev".format(here)
        )
    problems.extend(find_compiler_problem())
    return problems


def find_compiler_problem():  # type: () -> list[str]
    """Return a sentence if no C++20 compiler works."""
    if os.environ.get("CXX"):
        command = shlex.split(os.environ["CXX"])
    else:
        command = [name for name in COMPILERS if shutil.which(name)][:1]
    if not command or not shutil.which(command[0]):
        wanted = command[0] if command else ", ".join(COMPILERS)
        return [
            "No C++ compiler found (looked for: {}). "
            "On Debian or Ubuntu: apt install g++ ; or set CXX.".format(wanted)
        ]
    with tempfile.TemporaryDirectory() as folder:
        source = os.path.join(folder, "probe.cpp")
        with open(source, "w") as file:
            file.write(PROBE)
        tried = [*command, "-std=c++20", "-pthread", source, "-o", os.path.join(folder, "probe")]
        outcome = subprocess.run(tried, capture_output=True, text=True, check=False)
    if outcome.returncode == 0:
        return []
    return [
        "The C++ compiler {} cannot build a small C++20 program (nkfast needs GCC 12, Clang 19 or "
        "newer; set CXX to name another). It said:\n{}".format(command[0], outcome.stderr.strip())
    ]


def main():  # type: () -> int
    """Print the problems; return the exit status."""
    problems = find_problems()
    for problem in problems:
        print("nkfast: " + problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
