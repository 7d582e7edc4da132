"""Plots; the only file that needs matplotlib (the extra "plot"), and only to draw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nkfast._arrays.files import written_aside

from ._demo import Comparison, Outcome

# Colour-blind safe (Okabe & Ito 2008); the exact learner is always black.
_COLOURS = ("#56B4E9", "#0072B2", "#D55E00", "#CC79A7", "#009E73", "#E69F00")
_EXACT = "#222222"
_STYLE: dict[Any, Any] = {
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.8,
    "lines.markersize": 5.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "savefig.dpi": 160,
}


def save_demo(comparisons: Sequence[Comparison], path: Path) -> None:
    """Draw the demonstration's four panels.

    Parameters
    ----------
    comparisons : sequence of Comparison
        Two: the task of one number of rows, then that of growing numbers of rows.
    path : Path
        File to write, PNG, PDF or SVG by its ending.

    Notes
    -----
    Neither pyplot nor matplotlib's settings are touched beyond this call.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    digits, pixels = comparisons
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(9.6, 7.2), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))
        FigureCanvasAgg(figure)
        axes = figure.subplots(2, 2)
        _accuracy_by_width(axes[0, 0], digits)
        _kernel_error_by_width(axes[0, 1], comparisons)
        _score_by_rows(axes[1, 0], pixels)
        _time_by_rows(axes[1, 1], pixels)
        figure.suptitle("Exact neural tangent kernel against nkfast features", fontsize=13)
        lines, labels = axes[1, 0].get_legend_handles_labels()
        figure.legend(lines, labels, loc="outside lower center", ncols=len(lines))
        with written_aside(path) as part:
            figure.savefig(part, format=path.suffix[1:].lower())


def _accuracy_by_width(ax: Any, comparison: Comparison) -> None:
    from matplotlib.ticker import PercentFormatter

    widths = comparison.widths
    ax.axhline(comparison.exact.score, color=_EXACT, linestyle="--", label="exact kernel")
    scores = [comparison.of(width)[-1].score for width in widths]
    ax.plot(widths, scores, "o-", color=_COLOURS[1], label="features")
    _width_axis(ax, widths)
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    ax.set_ylabel("accuracy on test digits")
    ax.set_title("Digits: accuracy")
    low, high = min([*scores, comparison.exact.score]), max([*scores, comparison.exact.score])
    margin = max(0.25 * (high - low), 0.002)
    ax.set_ylim(low - margin, high + margin)
    ax.legend(loc="lower right")


def _kernel_error_by_width(ax: Any, comparisons: Sequence[Comparison]) -> None:
    widths = comparisons[0].widths
    for comparison, colour, marker in zip(comparisons, _COLOURS[1:], "os", strict=False):
        errors = [comparison.of(width)[-1].kernel_error for width in widths]
        ax.plot(widths, errors, f"{marker}-", color=colour, label=comparison.task.name)
    first = max(c.of(widths[0])[-1].kernel_error or 0 for c in comparisons)
    guide = 1.35 * first * np.sqrt(widths[0] / np.asarray(widths))
    ax.plot(widths, guide, ":", color="#777777", label=r"$\propto$ width$^{-1/2}$")
    _width_axis(ax, widths)
    ax.set_yscale("log")
    _plain_log_ticks(ax)
    ax.set_ylabel("relative error (Frobenius norm)")
    ax.set_title("Kernel error on held-out rows")
    ax.legend(loc="best")


def _score_by_rows(ax: Any, comparison: Comparison) -> None:
    _lines_by_rows(ax, comparison, lambda outcome: outcome.score)
    ax.set_ylabel("R²")
    ax.set_title("Pixels: R² on test pixels")


def _time_by_rows(ax: Any, comparison: Comparison) -> None:
    _lines_by_rows(ax, comparison, lambda outcome: outcome.fit_seconds)
    ax.set_yscale("log")
    _plain_log_ticks(ax)
    ax.set_ylabel("time of the fit [s]")
    ax.set_title("Pixels: time of the fit")


def _lines_by_rows(ax: Any, comparison: Comparison, value: Callable[[Outcome], float]) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    def draw(outcomes: list[Outcome], style: str, colour: str, label: str) -> None:
        rows = [outcome.trial.rows for outcome in outcomes]
        ax.plot(rows, [value(o) for o in outcomes], style, color=colour, label=label)

    draw(comparison.of(None), "D--", _EXACT, "exact kernel")
    for i, width in enumerate(comparison.widths):
        label = f"{width:,} features"
        draw(comparison.of(width), "o-", _COLOURS[i % len(_COLOURS)], label)
    rows = sorted({outcome.trial.rows for outcome in comparison.outcomes})
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator(rows))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n:,.0f}"))
    ax.set_xlabel("rows learnt from")


def _width_axis(ax: Any, widths: Sequence[int]) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_locator(FixedLocator(widths))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda m, _: f"{m:.0f}"))
    ax.set_xlabel("width (number of features)")


def _plain_log_ticks(ax: Any) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
