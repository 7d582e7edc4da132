"""What memory there is, and the refusal of what cannot fit into it, before work begins."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

_SMALL = 1 << 26  # bytes that are taken without a look at what there is
_UNKNOWN = 1 << 47  # where the system does not say: no process can have more


def refuse_excess(shape: tuple[int, ...], dtype: np.dtype[Any], name: str) -> None:
    """Refuse an array that this machine cannot hold, before it is allocated."""
    refuse_bytes(math.prod(shape) * dtype.itemsize, name, f"a result of shape {shape}")


def refuse_bytes(size: int, name: str, what: str) -> None:
    """Refuse what needs `size` bytes if there are fewer; `name` is the parameter to change."""
    if size <= _SMALL:
        return
    there = available_memory()
    if size > there:
        raise ValueError(
            f"{name}: expected what fits into memory, got {what}: {size:,} bytes "
            f"({_gibibytes(size)}), of which {_gibibytes(there)} are available"
        )


def available_memory() -> int:
    """Return how many bytes this process may still take, about.

    The least of what the machine has left, swap and what the system can take back included, what
    the control groups of the process leave (of both kinds, versions 1 and 2), and what the limit of
    its address space does.
    """
    return max(0, min([_of_machine(), *_of_groups(), *_of_address_space()]))


def _of_machine() -> int:
    with suppress(OSError, KeyError, ValueError):
        lines = (line.split() for line in _lines("/proc/meminfo"))
        kilobytes = {line[0]: int(line[1]) for line in lines}
        return 1024 * (kilobytes["MemAvailable:"] + kilobytes["SwapFree:"])
    with suppress(AttributeError, ValueError, OSError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return _UNKNOWN


def _of_groups() -> Iterator[int]:
    """Yield what each control group above the process leaves."""
    with suppress(OSError):
        for line in _lines("/proc/self/cgroup"):
            _, kinds, place = line.split(":", 2)
            if kinds == "":
                yield from _left(Path("/sys/fs/cgroup"), place, "memory.max", "memory.current")
            elif "memory" in kinds.split(","):
                names = "memory.limit_in_bytes", "memory.usage_in_bytes"
                yield from _left(Path("/sys/fs/cgroup/memory"), place, *names)


def _left(root: Path, place: str, limit: str, usage: str) -> Iterator[int]:
    """Yield what a group and those above it leave; files in cache can be let go.

    Inside a container the names of the groups may be those outside; the root is its own then.
    """
    group = root / place.lstrip("/")
    for folder in (group, *group.parents):
        if folder != root and root not in folder.parents:
            return
        with suppress(OSError, ValueError):  # no such folder, or no limit: "max"
            most = int(_lines(folder / limit)[0])
            used = int(_lines(folder / usage)[0])
            stat = dict(line.split() for line in _lines(folder / "memory.stat"))
            prefix = "total_" if "total_inactive_file" in stat else ""
            cached = sum(int(stat[f"{prefix}{kind}_file"]) for kind in ("active", "inactive"))
            yield most - used + cached


def _of_address_space() -> Iterator[int]:
    """Yield what ``ulimit -v`` leaves."""
    with suppress(OSError, ValueError, StopIteration):  # on this system; "unlimited"
        limits = [line.split() for line in _lines("/proc/self/limits")]
        most = next(int(words[3]) for words in limits if words[:3] == ["Max", "address", "space"])
        used = int(_lines("/proc/self/statm")[0].split()[0]) * os.sysconf("SC_PAGE_SIZE")
        yield most - used


def _lines(path: str | Path) -> list[str]:
    return Path(path).read_text(encoding="ascii").splitlines()


def _gibibytes(size: int) -> str:
    return f"{size / 2**30:.3g} GiB"
