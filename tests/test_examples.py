"""The examples run, at a small size, and find what they claim to find."""

import runpy
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_least_squares(kind, capsys):
    example = runpy.run_path(str(EXAMPLES / "least_squares.py"))
    rng = np.random.default_rng(0)
    A = example[f"{kind}_problem"](4096, 24, rng)
    alone, *sketched = example["report"](A, 60, rng)
    assert alone["excess"] > 1e-3
    assert len(sketched) == 3
    for line in sketched:
        assert line["steps"] < 60  # about log(1e-14) / log(sqrt(1 / 4))
        assert line["excess"] < 1e-9
        assert line["error"] < 1e-6
    assert "stopped" in capsys.readouterr().out
