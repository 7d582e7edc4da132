"""Check that no code for newer CPUs can reach the baseline of a Meson build folder.

Two ways lead there, and both are looked for in the object files:

1. A baseline object holds an instruction above x86-64-v1: a VEX or EVEX encoded one (any AVX, also
   on 128-bit registers), a ymm, zmm or mask register, or a BMI or MOVBE instruction.
2. An object compiled for a wide level defines any symbol besides its table of loops. An inline
   function would be such a symbol (a weak one): the linker keeps one copy out of all objects, and
   may keep the wide one for everybody.

Usage: ``python tools/check_baseline.py BUILD_DIR``. Needs objdump and nm (GNU binutils).
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

WIDE_LEVELS = ("avx2", "avx512")

_INSTRUCTION = re.compile(r"^\s*[0-9a-f]+:\t(?P<mnemonic>\S+)\s*(?P<operands>.*)$")
_WIDE_REGISTER = re.compile(r"%(?:[yz]mm\d|k[0-7]\b)")
# Every mnemonic in v is VEX or EVEX encoded, but for verr, verw and those of virtual machines.
_NEW_MNEMONIC = re.compile(
    r"v(?!err|erw|m[a-z]*(?:call|launch|resume|clear|ptr|read|write|xon|xoff|run|load|save|func)\b)"
    r"|(?:andn|bextr|blsi|blsmsk|blsr|bzhi|mulx|pdep|pext|rorx|sarx|shlx|shrx|movbe|lzcnt)[lqw]?\b"
)


def wide_level(path: Path) -> str | None:
    """Return the wide level that an object file was compiled for, None if for the baseline."""
    for level in WIDE_LEVELS:
        if f"libkernels_{level}.a.p" in path.parts:
            return level
    return None


def wide_instructions(path: Path) -> list[str]:
    """Return the instructions of an object file that the baseline must not hold."""
    listing = _output("objdump", "--disassemble", "--no-show-raw-insn", str(path))
    found = []
    for line in listing.splitlines():
        match = _INSTRUCTION.match(line)
        if match and (
            _NEW_MNEMONIC.match(match["mnemonic"]) or _WIDE_REGISTER.search(match["operands"])
        ):
            found.append(line.strip())
    return found


def stray_symbols(path: Path, level: str) -> list[str]:
    """Return the symbols that a wide object file exports besides its table of loops."""
    listing = _output("nm", "--demangle", "--extern-only", "--defined-only", str(path))
    symbols = [line.split(maxsplit=2)[2] for line in listing.splitlines() if line.strip()]
    tables = {f"nkfast::{level}::kernels", f"nkfast::{level}::pixel_kernels"}
    return [symbol for symbol in symbols if symbol not in tables]


def find_problems(build: Path) -> list[str]:
    """Return one sentence for each fault in the object files of a build folder."""
    objects = sorted(build.rglob("*.o"))
    baseline = [path for path in objects if wide_level(path) is None]
    problems = []
    for name in ("libkernels_base.a.p", "libdispatch.a.p", "_core"):
        if not any(name in str(path.relative_to(build)) for path in baseline):
            problems.append(f"no object file of {name} under {build}: nothing was checked")
    for path in baseline:
        if found := wide_instructions(path):
            problems.append(f"{path}: {len(found)} instructions above the baseline: {found[:3]}")
    for path in objects:
        level = wide_level(path)
        if level is None:
            continue
        if strays := stray_symbols(path, level):
            problems.append(f"{path}: symbols besides its table of loops: {strays[:3]}")
        if not wide_instructions(path):
            problems.append(f"{path}: no wide instruction found; is objdump read correctly?")
    return problems


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main(arguments: list[str]) -> int:
    """Print the problems; return the exit status."""
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    problems = find_problems(Path(arguments[0]))
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
