"""The table of ratios at the end of a benchmark session."""

from __future__ import annotations

from typing import Any

import pytest

from harness import cpu_model, ratio_table
from nkfast import _core


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any) -> None:
    session = getattr(terminalreporter.config, "_benchmarksession", None)
    lines = ratio_table(session.benchmarks) if session else []
    if lines:
        terminalreporter.section("time of each rival over the time of nkfast, measured in turns")
        terminalreporter.write_line(f"{cpu_model()}, SIMD level {_core.simd_level()}")
        for line in lines:
            terminalreporter.write_line(line)
