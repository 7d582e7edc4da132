"""The plot of the demonstration."""

import struct

import pytest

from nkfast.cli import _demo

matplotlib = pytest.importorskip("matplotlib")


@pytest.fixture(scope="module", params=[1, 3])
def comparisons(request):
    """Invented outcomes for one width (lines are points) and for three."""
    tasks = _demo.demo_tasks(quick=True)
    trials = _demo.demo_trials(tasks, [16, 64, 256][: request.param])
    return [
        _demo.Comparison(
            task,
            tuple(
                _demo.Outcome(t, 0.9, None if t.width is None else t.width**-0.5, t.rows / 1e3, 0.1)
                for t in trials
                if t.task is task
            ),
        )
        for task in tasks
    ]


def test_png(comparisons, tmp_path):
    from nkfast.cli._plot import save_demo

    before = dict(matplotlib.rcParams)
    path = tmp_path / "plot.png"
    save_demo(comparisons, path)
    data = path.read_bytes()
    width, height = struct.unpack(">II", data[16:24])
    assert (width, height) == (1536, 1152)
    assert dict(matplotlib.rcParams) == before


def test_svg_names_axes_and_units(comparisons, tmp_path):
    from nkfast.cli._plot import save_demo

    path = tmp_path / "plot.svg"
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        save_demo(comparisons, path)
    text = path.read_text(encoding="utf-8")
    for words in (
        "exact kernel",
        "features",
        "accuracy",
        "rows learnt from",
        "time of the fit [s]",
    ):
        assert words in text
