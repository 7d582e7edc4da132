"""The command line, in this process and as a command."""

import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import nkfast as nk
from nkfast import cli
from nkfast._progress import stages
from nkfast.cli import _demo, _report

RUN = [sys.executable, "-m", "nkfast"]
TINY = ["demo", "--quick", "--width", "32", "16"]
PNG = b"\x89PNG\r\n\x1a\n"


def run(*arguments, **options):
    return subprocess.run(
        [*RUN, *arguments], capture_output=True, text=True, timeout=300, check=False, **options
    )


@pytest.fixture(scope="module")
def comparisons():
    tasks = _demo.demo_tasks(quick=True)
    return _demo.run_demo(_demo.demo_trials(tasks, [16, 32]))


@pytest.fixture
def instant_demo(monkeypatch, comparisons):
    monkeypatch.setattr(cli, "run_demo", lambda trials, **_: comparisons)


# --- usage ---


@pytest.mark.parametrize("command", [RUN, [str(Path(sys.executable).with_name("nkfast"))]])
def test_version_of_both_commands(command):
    if not Path(command[0]).exists():
        pytest.skip("scripts are installed elsewhere")
    done = subprocess.run(
        [*command, "--version"], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == f"nkfast {nk.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "the following arguments are required: command"),
        (["dmeo"], "invalid choice: 'dmeo'"),
        (["info", "extra"], "unrecognized arguments: extra"),
        (["demo", "--seed", "-1"], "--seed: expected an integer from 0 to 4294967295, got '-1'"),
        (["demo", "--seed", "1.5"], "--seed: expected an integer"),
        (["demo", "--width", "0"], "--width: expected an integer from 1 to 65536, got '0'"),
        (["demo", "--width", "256", "many"], "--width: expected an integer"),
        (["demo", "--width"], "--width: expected at least one argument"),
        (["demo", "--output", "plot.doc"], "--output: expected a file name ending in .png or"),
    ],
)
def test_wrong_usage(arguments, words, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == cli.USAGE == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert words in printed.err


@pytest.mark.parametrize("arguments", [["--help"], ["demo", "--help"], ["info", "--help"]])
def test_help(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 0
    assert "usage: nkfast" in capsys.readouterr().out


# --- info ---


def test_info(capsys):
    assert cli.main(["info"]) == 0
    printed = capsys.readouterr().out
    facts = nk.show_config("dict")
    for name in ("nkfast", "simd_level", "num_threads", "blas"):
        assert re.search(rf"^{name} +{re.escape(str(facts[name]))}$", printed, re.MULTILINE)
    assert re.search(r"^matplotlib +\S", printed, re.MULTILINE)


def test_failure_is_one_line(monkeypatch, capsys):
    monkeypatch.setenv("NKFAST_NUM_THREADS", "two")
    assert cli.main(["info"]) == cli.FAILED == 1
    message = capsys.readouterr().err
    assert message.startswith("nkfast: error: environment variable NKFAST_NUM_THREADS: expected")
    assert message.count("\n") == 1


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
def test_a_closed_pipe_is_silent():
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [*RUN, "info"], stdout=write, stderr=subprocess.PIPE, text=True, timeout=60, check=False
    )
    os.close(write)
    assert done.stderr == ""
    assert done.returncode == cli.FAILED


# --- demo ---


def test_demo_from_a_shell(tmp_path):
    pytest.importorskip("matplotlib")
    done = run(*TINY, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == f"Plot: {tmp_path / 'nkfast-demo.png'}"
    assert (tmp_path / "nkfast-demo.png").read_bytes().startswith(PNG)
    assert sum(line.startswith("exact ") for line in lines) == 1 + 2
    assert sum(line.startswith("features ") for line in lines) == 2 + 4
    assert all(len(line) <= 80 for line in lines[:-1])
    # No terminal: one line of progress for each task, and no control characters.
    assert done.stderr.splitlines() == [
        f"{task.title} ..." for task in _demo.demo_tasks(quick=True)
    ]


def test_demo_writes_where_it_is_told(instant_demo, tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    assert cli.main([*TINY, "--output", "figure.svg"]) == 0
    assert capsys.readouterr().out.endswith(f"Plot: {tmp_path / 'figure.svg'}\n")
    assert "<svg" in (tmp_path / "figure.svg").read_text()


def test_demo_without_matplotlib(instant_demo, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "find_spec", lambda name: None)
    assert cli.main(TINY) == 0
    printed = capsys.readouterr()
    how = 'matplotlib is not installed: pip install "nkfast[plot]"'
    assert how in printed.err
    assert printed.out.endswith(f"No plot: {how}\n")
    assert "kernel error" in printed.out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("target", ["missing/plot.png", "folder.png"])
def test_demo_refuses_an_output_before_working(target, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.png").mkdir()
    monkeypatch.setattr(cli, "run_demo", lambda *_, **__: pytest.fail("worked in vain"))
    assert cli.main([*TINY, "--output", target]) == cli.FAILED
    assert "nkfast: error: --output:" in capsys.readouterr().err


def test_interrupt_in_process(monkeypatch, capsys, tmp_path):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "run_demo", interrupt)
    assert cli.main(TINY) == cli.INTERRUPTED == 130
    assert capsys.readouterr().err.endswith("nkfast: interrupted\n")


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_interrupt_from_a_terminal(tmp_path):
    process = subprocess.Popen(
        [*RUN, "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )
    first = process.stderr.readline()
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert "digits" in first
    assert process.returncode == cli.INTERRUPTED
    assert "Traceback" not in err
    assert err.endswith("nkfast: interrupted\n")
    assert out == ""


# --- what the demonstration measures and says ---


def test_outcomes(comparisons):
    digits, pixels = comparisons
    assert digits.widths == pixels.widths == [16, 32]
    assert digits.exact.score > 0.9
    assert digits.exact.kernel_error is None
    assert [o.trial.rows for o in pixels.of(None)] == [500, 1000]
    assert [o.trial.rows for o in pixels.of(32)] == [1000, len(pixels.task.y)]
    for comparison in comparisons:
        for outcome in comparison.outcomes:
            assert outcome.fit_seconds > 0
            assert outcome.predict_seconds > 0
            assert outcome.kernel_error is None or 0 < outcome.kernel_error < 1


def test_no_test_image_is_learnt_from(comparisons):
    digits, pixels = comparisons
    seen = {row.tobytes() for row in (digits.task.X + 0.0).round(9)}
    assert not any(row.tobytes() in seen for row in (digits.task.X_test + 0.0).round(9))
    assert len(pixels.task.y) == 36 * len(digits.task.y)
    assert len(pixels.task.y_test) == 36 * len(digits.task.y_test)


def test_neighbourhoods_hold_what_is_around_a_pixel_but_not_the_pixel():
    import numpy as np

    images = np.arange(2 * 8 * 8, dtype=float).reshape(2, 8, 8)
    X, y = _demo._neighbourhoods(images)
    assert X.shape == (2 * 36, 24)
    patch = images[1, 1:6, 2:7].ravel()  # around row 3, column 4: inner pixel (2, 3)
    row = 36 + 2 * 6 + 3
    assert y[row] == images[1, 3, 4]
    np.testing.assert_array_equal(X[row], np.delete(patch, 12))


def test_seed_decides():
    first, again, other = (_demo.demo_tasks(quick=True, seed=s)[1].y for s in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()


def test_table_is_aligned(comparisons):
    for comparison in comparisons:
        lines = _report.table(comparison).splitlines()
        assert len({len(line) for line in lines if line}) == 1
        assert max(map(len, lines)) <= 79


def test_conclusion_follows_the_numbers(comparisons):
    """With the scores exchanged the words are exchanged too."""
    import dataclasses

    pixels = comparisons[1]

    def scored(exact, features):
        return dataclasses.replace(
            pixels,
            outcomes=tuple(
                dataclasses.replace(o, score=exact if o.trial.width is None else features)
                for o in pixels.outcomes
            ),
        )

    assert "beat the exact learner's R^2 of 0.500 with 0.700" in _report.conclusion(
        [scored(0.5, 0.7)]
    )
    assert "stay below the exact learner's R^2 of 0.700 with 0.500" in _report.conclusion(
        [scored(0.7, 0.5)]
    )
    assert "equal the exact learner's R^2 of 0.500" in _report.conclusion([scored(0.5, 0.5)])


# --- progress ---


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def test_progress_in_a_terminal_leaves_nothing_behind(monkeypatch):
    pytest.importorskip("tqdm")
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with stages(2.0) as step:
        for i in range(2):
            step("stage", f"step {i}", 1.0)
    drawn = terminal.getvalue()
    assert "step 0" in drawn
    assert "step 1" in drawn
    assert " 50%" in drawn
    assert "\n" not in drawn
    assert drawn.endswith("\r")
    assert drawn[:-1].rpartition("\r")[2].isspace()


@pytest.mark.parametrize("columns", [20, 80, 120])
def test_progress_line_fits(columns, monkeypatch):
    pytest.importorskip("tqdm")
    monkeypatch.setenv("COLUMNS", str(columns))
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with stages(3.0) as step:
        step("stage", "pixels: 4,096 features, 48,492 rows", 1.0)
        step("stage", "pixels: 4,096 features, 48,492 rows", 2.0)
    lines = [line for line in terminal.getvalue().split("\r") if line.strip()]
    assert max(map(len, lines)) < columns
    assert all("%" in line for line in lines)


@pytest.mark.parametrize("installed", [True, False])
def test_progress_elsewhere_is_a_line_for_each_stage(installed, capsys, monkeypatch):
    monkeypatch.setattr("nkfast._progress.find_spec", lambda name: installed or None)
    with stages(3.0) as step:
        for stage in ("digits", "pixels"):
            step(stage, "exact", 1.0)
            step(stage, "features", 0.5)
    assert capsys.readouterr().err == "digits ...\npixels ...\n"


def test_progress_in_a_terminal_without_tqdm_is_lines(monkeypatch):
    monkeypatch.setattr("nkfast._progress.find_spec", lambda name: None)
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with stages(1.0) as step:
        step("digits", "exact", 1.0)
    assert terminal.getvalue() == "digits ...\n"
