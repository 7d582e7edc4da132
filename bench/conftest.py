"""The table of ratios at the end of a benchmark session; what its JSON says of the machine."""

from __future__ import annotations

from typing import Any

import pytest

import nkfast as nk
from harness import cpu_model, ratio_table
from nkfast import _core


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    machine_info["nkfast"] = {**nk.show_config("dict"), "cpu": cpu_model()}


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any) -> None:
    session = getattr(terminalreporter.config, "_benchmarksession", None)
    lines = ratio_table(session.benchmarks) if session else []
    if lines:
        terminalreporter.section("time of each rival over the time of nkfast, measured in turns")
        terminalreporter.write_line(f"{cpu_model()}, SIMD level {_core.simd_level()}")
        for line in lines:
            terminalreporter.write_line(line)
