"""The plot of the demonstration."""

import struct

import pytest

from nkfast import demo

matplotlib = pytest.importorskip("matplotlib")


@pytest.fixture(scope="module", params=[[16], [16, 24, 32]])
def comparisons(request):
    tasks = demo.demo_tasks(quick=True)
    return demo.run_demo(demo.demo_trials(tasks, request.param))


def test_png(comparisons, tmp_path):
    from nkfast.plot import save_demo

    before = dict(matplotlib.rcParams)
    path = tmp_path / "plot.png"
    save_demo(comparisons, path)
    data = path.read_bytes()
    width, height = struct.unpack(">II", data[16:24])
    assert (width, height) == (1536, 1152)
    assert dict(matplotlib.rcParams) == before


def test_svg_names_axes_and_units(comparisons, tmp_path):
    from nkfast.plot import save_demo

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
