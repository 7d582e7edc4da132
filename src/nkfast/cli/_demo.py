"""The demonstration: exact NTK learners against NTK features, on data that scikit-learn ships."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, r2_score

from nkfast._arrays.validation import Array
from nkfast.features._base import relative_error
from nkfast.learn._classification import NTKClassifier
from nkfast.learn._regression import NTKRegressor
from nkfast.networks import Sequential, mlp

WIDTHS = (256, 1024, 4096)
QUICK_WIDTHS = (256, 1024)

_ERROR_ROWS = 500  # held-out rows on which the kernels are compared
_REPEATED_SECONDS = 0.3  # shorter measurements are repeated, and their median is taken
_REPEATS = 3


@dataclass(frozen=True)
class Task:
    """What is to be learnt, and from how many rows.

    `exact_rows` and `feature_rows` are the numbers of training rows, in increasing order, that
    each kind of learner is given; the smaller sets are the first rows of the larger ones.
    """

    name: str
    title: str
    story: str
    metric: str
    learner: type[NTKClassifier] | type[NTKRegressor]
    score: Callable[[Array, Array], float]
    net: Sequential
    X: Array
    y: Array
    X_test: Array
    y_test: Array
    exact_rows: tuple[int, ...]
    feature_rows: tuple[int, ...]


@dataclass(frozen=True)
class Trial:
    """One learner to be fitted: on `rows` rows, exact (`width` None) or with `width` features."""

    task: Task
    rows: int
    width: int | None

    @property
    def label(self) -> str:
        """A few words that say what is running."""
        method = "exact" if self.width is None else f"{self.width:,} features"
        return f"{self.task.name}: {method}, {self.rows:,} rows"

    @property
    def cost(self) -> float:
        """Rough seconds on two cores: they only divide the progress bar."""
        n, n_test = self.rows, len(self.task.y_test)
        if self.width is None:
            fit, predict = 1.5e-7 * n**2 + 2e-11 * n**3, 6e-8 * n * n_test
        else:
            m = self.width
            fit = n * m * (2e-8 + 1e-11 * min(n, m)) + 3e-11 * min(n, m) ** 3
            predict = 4e-9 * m * n_test
        return sum(max(seconds, min(_REPEATS * seconds, 1)) for seconds in (fit, predict))


@dataclass(frozen=True)
class Outcome:
    """What a trial gave. `kernel_error` is None for the exact kernel."""

    trial: Trial
    score: float
    kernel_error: float | None
    fit_seconds: float
    predict_seconds: float


@dataclass(frozen=True)
class Comparison:
    """All outcomes on one task."""

    task: Task
    outcomes: tuple[Outcome, ...]

    def of(self, width: int | None) -> list[Outcome]:
        """Return the outcomes of the exact learner (None) or of one width, by number of rows."""
        chosen = [outcome for outcome in self.outcomes if outcome.trial.width == width]
        return sorted(chosen, key=lambda outcome: outcome.trial.rows)

    @cached_property
    def widths(self) -> list[int]:
        """The widths in increasing order."""
        return sorted({o.trial.width for o in self.outcomes if o.trial.width is not None})

    @property
    def exact(self) -> Outcome:
        """The exact learner with the most rows, to which the features are compared."""
        return self.of(None)[-1]

    @property
    def widest(self) -> Outcome:
        """The widest features with the most rows."""
        return self.of(self.widths[-1])[-1]


def demo_tasks(*, quick: bool = False, seed: int = 0) -> list[Task]:
    """Return the tasks of the demonstration.

    Parameters
    ----------
    quick : bool, default=False
        Smaller sets, for a quick look.
    seed : int, default=0
        Chooses the digits to test on.

    Returns
    -------
    list of Task
        Digits to be classified, and pixels to be predicted from those around them.
    """
    digits = load_digits()
    images = digits.images / 16  # grey levels in [0, 1]
    order = np.random.default_rng(seed).permutation(len(images))
    if quick:
        order = order[:600]
    n_train = len(order) * 3 // 4
    train, test = order[:n_train], order[n_train:]
    return [
        _digits_task(images, digits.target, train, test),
        _pixels_task(images, train, test, seed, quick=quick),
    ]


def demo_trials(tasks: Sequence[Task], widths: Sequence[int]) -> list[Trial]:
    """Return every learner to be fitted, in the order of the tables."""
    return [trial for task in tasks for trial in _trials(task, widths)]


def run_demo(
    trials: Sequence[Trial],
    *,
    seed: int = 0,
    on_start: Callable[[Trial], None] = lambda _: None,
) -> list[Comparison]:
    """Fit and measure the learners.

    Parameters
    ----------
    trials : sequence of Trial
        From `demo_trials`.
    seed : int, default=0
        Randomness of the features.
    on_start : callable, optional
        Called with each trial before it runs.

    Returns
    -------
    list of Comparison
        One for each task, in the order of `trials`.
    """
    outcomes: dict[str, list[Outcome]] = {}
    samples: dict[str, tuple[Array, Array]] = {}
    for trial in trials:
        on_start(trial)
        task = trial.task
        if task.name not in samples:
            samples[task.name] = _error_sample(task, seed)
        outcomes.setdefault(task.name, []).append(_measure(trial, *samples[task.name], seed=seed))
    return [Comparison(found[0].trial.task, tuple(found)) for found in outcomes.values()]


def _trials(task: Task, widths: Sequence[int]) -> Iterator[Trial]:
    for rows in task.exact_rows:
        yield Trial(task, rows, None)
    for rows in task.feature_rows:
        for width in widths:
            yield Trial(task, rows, width)


def _error_sample(task: Task, seed: int) -> tuple[Array, Array]:
    """Return held-out rows and their exact kernel."""
    sample = np.random.default_rng(seed).permutation(task.X_test)[:_ERROR_ROWS]
    return sample, task.net.ntk(sample)


def _measure(trial: Trial, sample: Array, K: Array, *, seed: int) -> Outcome:
    task, X, y = trial.task, trial.task.X[: trial.rows], trial.task.y[: trial.rows]
    if trial.width is None:
        learner = task.learner(task.net, method="exact")
    else:
        learner = task.learner(task.net, trial.width, random_state=seed)
    fit_seconds, learner = _timed(lambda: learner.fit(X, y))
    predict_seconds, prediction = _timed(lambda: learner.predict(task.X_test))
    error = None
    if trial.width is not None:
        error = relative_error(learner.features_.transform(sample), K)
    score = float(task.score(task.y_test, prediction))
    return Outcome(trial, score, error, fit_seconds, predict_seconds)


def _timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Return seconds and result: the median of some runs if they are short."""
    seconds: list[float] = []
    while not seconds or (len(seconds) < _REPEATS and sum(seconds) < _REPEATED_SECONDS):
        start = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), result


def _network() -> Sequential:
    return mlp(depth=2, activation="relu", w_std=2**0.5, b_std=0.1)


def _centred(train: Array, test: Array) -> tuple[Array, Array]:
    mean = train.mean(axis=0)
    return train - mean, test - mean


def _digits_task(images: Array, labels: Array, train: Array, test: Array) -> Task:
    flat = images.reshape(len(images), -1)
    X, X_test = _centred(flat[train], flat[test])
    return Task(
        name="digits",
        title="Handwritten digits: which digit is it?",
        story=(
            f"{len(X):,} scans of 8 x 8 pixels to learn from, {len(X_test):,} others to test on."
        ),
        metric="accuracy",
        learner=NTKClassifier,
        score=accuracy_score,
        net=_network(),
        X=X,
        y=labels[train],
        X_test=X_test,
        y_test=labels[test],
        exact_rows=(len(X),),
        feature_rows=(len(X),),
    )


def _pixels_task(images: Array, train: Array, test: Array, seed: int, *, quick: bool) -> Task:
    X, y = _neighbourhoods(images[train])
    X_test, y_test = _neighbourhoods(images[test])
    X, X_test = _centred(X, X_test)
    shuffled = np.random.default_rng(seed).permutation(len(X))
    n = len(X)
    exact_rows = (500, 1000) if quick else (1000, 2000, 4000)
    return Task(
        name="pixels",
        title="Pixels: how bright is it, given the 24 around it?",
        story=(
            f"{n:,} pixels of the same {len(train):,} scans to learn from, {len(X_test):,} of the "
            f"other {len(test):,} scans to test on. R^2 is 1 for perfect predictions, 0 for "
            "predicting the mean."
        ),
        metric="R^2",
        learner=NTKRegressor,
        score=r2_score,
        net=_network(),
        X=X[shuffled],
        y=y[shuffled],
        X_test=X_test,
        y_test=y_test,
        exact_rows=exact_rows,
        feature_rows=(exact_rows[-1], n),
    )


def _neighbourhoods(images: Array) -> tuple[Array, Array]:
    """Return the 24 pixels around each inner pixel, and that pixel; beyond the edge is paper, 0."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    patches = sliding_window_view(padded, (5, 5), axis=(1, 2)).reshape(-1, 25)
    return np.delete(patches, 12, axis=1), patches[:, 12].copy()
