"""The demonstration in words: tables and a conclusion, both from the measured numbers only."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from ._demo import Comparison, Outcome

_COLUMNS = ("method", "width", "rows", "", "kernel error", "fit s", "predict s", "fit", "predict")
_WIDTHS = (8, 6, 7, 9, 13, 8, 10, 8, 9)

EXPLANATION = (
    "The exact learner solves ridge regression with the neural tangent kernel (NTK) of a ReLU "
    "network with two hidden layers, at a cost that grows with the square and the cube of the "
    "number of rows; the features turn each row into `width` numbers whose inner products "
    "approximate that kernel, so that the cost grows in proportion to the rows."
)

COLUMNS_EXPLAINED = (
    "Kernel error: relative error in the Frobenius norm on held-out rows. Times as fast: against "
    "the exact learner with the most rows of the same table."
)


def table(comparison: Comparison) -> str:
    """Return the outcomes on one task as an aligned table, 79 columns wide at most."""
    header = list(_COLUMNS)
    header[3] = comparison.task.metric
    line = "-" * sum(_WIDTHS)
    lines = [f"{'times as fast':>{len(line)}}", _row(header), line]
    group: tuple[bool, int] | None = None
    for outcome in comparison.outcomes:
        trial = outcome.trial
        here = (trial.width is None, 0 if trial.width is None else trial.rows)
        if group is not None and here != group:
            lines.append("")
        group = here
        lines.append(_row(_cells(outcome, comparison)))
    return "\n".join(lines)


def conclusion(comparisons: Sequence[Comparison]) -> str:
    """Return one paragraph that says what the numbers show."""
    return " ".join(sentence for c in comparisons for sentence in _findings(c))


def wrapped(text: str, columns: int) -> str:
    """Return `text` in lines of at most `columns`, and at most 88, characters."""
    return textwrap.fill(text, min(columns, 88), break_on_hyphens=False)


def _row(cells: Sequence[str]) -> str:
    first, *rest = cells
    return f"{first:<{_WIDTHS[0]}}" + "".join(
        f"{cell:>{width}}" for cell, width in zip(rest, _WIDTHS[1:], strict=True)
    )


def _cells(outcome: Outcome, comparison: Comparison) -> list[str]:
    trial, exact = outcome.trial, comparison.exact
    return [
        "exact" if trial.width is None else "features",
        "" if trial.width is None else str(trial.width),
        f"{trial.rows:,}",
        _score(outcome.score, comparison),
        "" if outcome.kernel_error is None else f"{outcome.kernel_error:.3f}",
        _seconds(outcome.fit_seconds),
        _seconds(outcome.predict_seconds),
        _times(exact.fit_seconds / outcome.fit_seconds),
        _times(exact.predict_seconds / outcome.predict_seconds),
    ]


def _findings(comparison: Comparison) -> Iterator[str]:
    exact, best = comparison.exact, comparison.widest
    all_rows = best.trial.rows
    name = comparison.task.name
    same = next(o for o in comparison.of(best.trial.width) if o.trial.rows == exact.trial.rows)
    yield (
        f"On the {name}, the inner products of {best.trial.width:,} features are within "
        f"{best.kernel_error:.1%} of the exact kernel. Given the same {exact.trial.rows:,} rows "
        f"they {_against(same, exact, comparison)}."
    )
    if all_rows > exact.trial.rows:
        gigabytes = 8 * all_rows**2 / 1e9
        yield (
            f"With all {all_rows:,} rows, for which the kernel matrix alone would take "
            f"{gigabytes:.1f} GB, they {_against(best, exact, comparison)}; their fit took "
            f"{_compared(best.fit_seconds, exact.fit_seconds)} and their predictions "
            f"{_compared(best.predict_seconds, exact.predict_seconds)} as the exact learner's on "
            f"{exact.trial.rows:,} rows."
        )
    yield from _growth(comparison)


def _growth(comparison: Comparison) -> Iterator[str]:
    exact = comparison.of(None)
    features = comparison.of(comparison.widest.trial.width)
    if len(exact) < 2 or len(features) < 2:
        return
    yield (
        f"From {_growing(exact[-2], exact[-1])} for the exact learner; from "
        f"{_growing(features[0], features[-1])} for these features."
    )


def _growing(few: Outcome, many: Outcome) -> str:
    return (
        f"{few.trial.rows:,} to {many.trial.rows:,} rows ({many.trial.rows / few.trial.rows:.1f} "
        f"times as many) the fit became {many.fit_seconds / few.fit_seconds:.1f} times as long"
    )


def _against(outcome: Outcome, exact: Outcome, comparison: Comparison) -> str:
    ours, theirs = _score(outcome.score, comparison), _score(exact.score, comparison)
    metric = comparison.task.metric
    if ours == theirs:
        return f"equal the exact learner's {metric} of {theirs}"
    if metric == "accuracy" and abs(outcome.score - exact.score) < 2 * _spread(exact):
        return (
            f"have an {metric} of {ours}, the exact learner {theirs}: less apart than two "
            f"standard errors of {len(comparison.task.y_test):,} test rows"
        )
    word = "beat" if outcome.score > exact.score else "stay below"
    return f"{word} the exact learner's {metric} of {theirs} with {ours}"


def _spread(outcome: Outcome) -> float:
    """Return the standard error of an accuracy: the spread over draws of the test rows."""
    p, n = outcome.score, len(outcome.trial.task.y_test)
    return float((max(p * (1 - p), 1 / n) / n) ** 0.5)


def _compared(seconds: float, other: float) -> str:
    ratio = seconds / other
    return f"{ratio:.1f} times as long" if ratio >= 1 else f"1/{1 / ratio:.1f} of the time"


def _score(score: float, comparison: Comparison) -> str:
    return f"{score:.2%}" if comparison.task.metric == "accuracy" else f"{score:.3f}"


def _seconds(seconds: float) -> str:
    decimals = 4 if seconds < 0.01 else 3 if seconds < 1 else 2 if seconds < 10 else 1
    return f"{seconds:.{decimals}f}"


def _times(ratio: float) -> str:
    return f"{ratio:.2f}x" if ratio < 10 else f"{ratio:.0f}x"
