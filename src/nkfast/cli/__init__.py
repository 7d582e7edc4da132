"""The command ``nkfast``.

`_demo` measures what ``nkfast demo`` shows, `_report` puts it into words from the measured numbers
only, `_plot` draws it; `_learn` holds ``fit``, ``predict`` and ``features``, which read files by
`_tables`. Of these `_table` says what all have in common, `_named` reads CSV and Parquet,
`_svmlight` and `_npz` the others in pieces; `_targets` tells words from numbers. A new command is
one `_add_...` and one function here that returns an exit code. Nothing imports this room.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nkfast._config import show_config
from nkfast._core import __version__
from nkfast._progress import stages

from . import _learn
from ._demo import QUICK_WIDTHS, WIDTHS, demo_tasks, demo_trials, run_demo
from ._plot import save_demo
from ._report import COLUMNS_EXPLAINED, EXPLANATION, conclusion, table, wrapped

FAILED, USAGE, INTERRUPTED = 1, 2, 130  # exit codes; argparse itself uses 2
_FORMATS = (".png", ".pdf", ".svg")
_HOW_TO_PLOT = 'matplotlib is not installed: pip install "nkfast[plot]"'


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Those after the command's name; ``sys.argv[1:]`` by default.

    Returns
    -------
    int
        Exit code: 0, or 1 after a failure, or 130 if interrupted.

    Raises
    ------
    SystemExit
        With code 2 on wrong usage, with code 0 after ``--help`` and ``--version``.
    """
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
        sys.stdout.flush()  # a closed pipe shall be noticed here
    except KeyboardInterrupt:
        print("nkfast: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (OSError, ValueError, MemoryError) as error:
        words = " ".join(str(error).split()) or type(error).__name__
        print(f"nkfast: error: {words}", file=sys.stderr)
        return FAILED
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nkfast", description="Fast feature maps for neural kernels (NTK and NNGP)."
    )
    parser.add_argument("--version", action="version", version=f"nkfast {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="command", required=True)
    _add_demo(commands)
    _add_info(commands)
    _learn.add_commands(commands, _width, _seed)
    return parser


def _add_demo(commands: Any) -> None:
    summary = "compare exact kernels with features on real data: tables and a plot"
    parser = commands.add_parser(
        "demo",
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}. Needs no network; takes about a minute.",
    )
    parser.add_argument("--quick", action="store_true", help="smaller sets: some ten seconds")
    parser.add_argument("--seed", type=_seed, default=0, help="of the split and features (0)")
    parser.add_argument(
        "--width",
        type=_width,
        nargs="+",
        metavar="M",
        help="numbers of features to compare (256 1024 4096)",
    )
    parser.add_argument(
        "--output",
        type=_output,
        default=Path("nkfast-demo.png"),
        metavar="PATH",
        help=f"where the plot goes, {', '.join(_FORMATS)} (nkfast-demo.png)",
    )
    parser.set_defaults(run=_show_demo)


def _add_info(commands: Any) -> None:
    summary = "print version, SIMD level, threads and libraries"
    parser = commands.add_parser(
        "info", help=summary, description=f"{summary[0].upper()}{summary[1:]}."
    )
    parser.set_defaults(run=_show_info)


def _show_demo(options: argparse.Namespace) -> int:
    output: Path = options.output.absolute()
    _check_writable(output)
    plots = find_spec("matplotlib") is not None
    if not plots:
        print(f"No plot will be drawn, since {_HOW_TO_PLOT}", file=sys.stderr)
    widths = sorted(set(options.width or (QUICK_WIDTHS if options.quick else WIDTHS)))
    trials = demo_trials(demo_tasks(quick=options.quick, seed=options.seed), widths)
    with stages(sum(trial.cost for trial in trials)) as step:
        comparisons = run_demo(
            trials,
            seed=options.seed,
            on_start=lambda trial: step(trial.task.title, trial.label, trial.cost),
        )

    columns = shutil.get_terminal_size().columns
    print(wrapped(EXPLANATION, columns))
    for comparison in comparisons:
        print(f"\n{comparison.task.title}")
        print(wrapped(comparison.task.story, columns))
        print(f"\n{table(comparison)}")
    print(f"\n{wrapped(COLUMNS_EXPLAINED, columns)}")
    print(f"\n{wrapped(conclusion(comparisons), columns)}\n")
    if plots:
        save_demo(comparisons, output)
        print(f"Plot: {output}")
    else:
        print(f"No plot: {_HOW_TO_PLOT}")
    return 0


def _show_info(_: argparse.Namespace) -> int:
    show_config()
    try:
        matplotlib = version("matplotlib")
    except PackageNotFoundError:
        matplotlib = 'not installed; for plots: pip install "nkfast[plot]"'
    width = max(map(len, show_config("dict")))
    print(f"{'matplotlib':<{width}}  {matplotlib}")
    return 0


def _seed(text: str) -> int:
    return _integer(text, low=0, high=2**32 - 1)


def _width(text: str) -> int:
    return _integer(text, low=1, high=2**16)


def _integer(text: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
        raise argparse.ArgumentTypeError(f"expected an integer from {low} to {high}, got {text!r}")
    return int(text)


def _output(text: str) -> Path:
    path = Path(text).expanduser()
    if path.suffix.lower() not in _FORMATS:
        raise argparse.ArgumentTypeError(
            f"expected a file name ending in {' or '.join(_FORMATS)}, got {text!r}"
        )
    return path


def _check_writable(path: Path) -> None:
    """Raise OSError now rather than after a minute's work."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"--output: no such folder: {path.parent}")
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise PermissionError(f"--output: cannot write to {path}")
