"""What a fit leaves: a solution, and what else follows from sums that may grow, or from rows."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
import scipy.sparse as sp

from nkfast._arrays.validation import Array, Rows
from nkfast._linalg.moments import RunningMoments
from nkfast._linalg.waiting import begin

from ._interrupts import whole_steps
from ._posterior import CholeskyPosterior, Posterior, cheapest
from ._solve import Alpha, Ridge, dual_system, solve_dual, solve_primal, with_tail
from ._spectrum import Spectrum, decompose, own_coordinates
from ._system import System, system_of_moments

ToColumns: TypeAlias = Callable[[Rows], Array]  # of rows: features or kernels, in float64
_CSR = ("data", "indices", "indptr")
_KEPT_ROWS = 2048  # of a stream; of as many of a batch scores are told
_EPS = float(np.finfo(float).eps)


class SumUp(Protocol):
    """Something that adds up rows into a new stream."""

    def __call__(self, X: Rows, Y: Array, weight: Array | None, *, centred: bool) -> Stream: ...


@dataclass(eq=False)
class State(ABC):
    """A solution, and what else follows from the fit, found when it is first asked for.

    Where that needs the columns of fitted rows again, `columns` gives them.

    Attributes
    ----------
    slope : float or None
        Of a classifier's probabilities, once that is known.
    """

    slope: float | None = field(default=None, init=False)
    _spectrum: Spectrum | None = field(default=None, init=False)
    _posterior: Posterior | None = field(default=None, init=False)
    _weights: tuple[Ridge, Array] | None = field(default=None, init=False)

    @property
    @abstractmethod
    def ridge(self) -> Ridge:
        """The solution."""

    def spectrum(self, columns: ToColumns) -> Spectrum:
        """Return the spectrum of all rows."""
        if self._spectrum is None:
            self._spectrum = self._decomposed(columns)
        return self._spectrum

    def weights(self, of: Callable[[Array], Array]) -> Array:
        """Return what `of` makes of the solution's coefficients, once."""
        ridge = self.ridge
        if self._weights is None or self._weights[0] is not ridge:
            self._weights = ridge, of(ridge.coef)
        return self._weights[1]

    def posterior(self, columns: ToColumns) -> Posterior:
        """Return the posterior at the penalty of the solution, which is above zero."""
        if self._posterior is None:
            alpha = self.ridge.penalty.alpha
            self._posterior = cheapest(
                lambda: self._factorised(columns, alpha),
                lambda: self.spectrum(columns),
                alpha,
                known=self._spectrum is not None,
            )
        return self._posterior

    def left_out(self, columns: ToColumns) -> tuple[Array, Array, Array | None]:
        """Return the scores of some rows by the solution without them.

        At most 2048, taken at random. Returns as well the targets and the weights of these rows.
        """
        X, Y, weight = self._sample()
        return self._left_out(columns, columns(X), Y, weight), Y, weight

    @abstractmethod
    def stream(self, sum_up: SumUp) -> Stream:
        """Return sums over all rows, to which others can be added."""

    @abstractmethod
    def _decomposed(self, columns: ToColumns) -> Spectrum: ...

    @abstractmethod
    def _factorised(self, columns: ToColumns, alpha: float) -> CholeskyPosterior: ...

    @abstractmethod
    def _sample(self) -> tuple[Rows, Array, Array | None]:
        """Return some rows, taken at random, their targets and weights."""

    def _left_out(self, columns: ToColumns, F: Array, Y: Array, weight: Array | None) -> Array:
        """Return the scores of rows with the columns `F` by the solution without them."""
        spectrum, alphas = self.spectrum(columns), np.array([self.ridge.penalty.alpha])
        return np.asarray(Y - spectrum.left_out(spectrum.coordinates(F), Y, weight, alphas)[0])

    def __getstate__(self) -> dict[str, Any]:
        found_again = {"_spectrum": None, "_posterior": None, "_weights": None}  # large, and soon
        return vars(self) | found_again


@dataclass(eq=False)
class Stream(State):
    """Sums that may still grow, and their solution.

    Attributes
    ----------
    sums : RunningMoments
    alpha : float or str
        The penalty, or what chooses it.
    kept : SampledRows or None
        Some of the rows, where `left_out` needs them.
    tail : float
        What a row's features lack of its kernel with itself.
    """

    sums: RunningMoments
    alpha: Alpha
    kept: SampledRows | None = None
    tail: float = 0.0
    _ridge: Ridge | None = field(default=None, init=False)
    _step: Future[None] | None = field(default=None, init=False)  # that changes all of it now

    @property
    def ridge(self) -> Ridge:
        """The solution for the sums as they are now."""
        self._settle()
        if self._ridge is None:
            alpha = with_tail(self.alpha, self.tail, self.sums.counts)
            self._ridge = solve_primal(self.sums, alpha)
        return self._ridge

    def stream(self, sum_up: SumUp) -> Stream:  # noqa: ARG002
        """Return the stream itself."""
        return self

    def add(self, X: Rows, Y: Array, weight: Array | None, Z: Array, alpha: Alpha) -> None:
        """Add rows `X` with features `Z`: all of them, also if Ctrl-C ends the wait for that."""

        def step() -> None:
            self.sums.add(Z, Y, weight)
            if self.kept is not None:
                self.kept.add(X, Y, weight)
            self.alpha = alpha
            self._forget()

        self._change(Z.size * Z.shape[1], step)

    def arrays(self) -> dict[str, Array]:
        """Return all that was added as plain arrays, for `restore`."""
        self._settle()
        found = {f"sums.{name}": value for name, value in self.sums.__getstate__().items()}
        if self.kept is not None:
            found |= {f"kept.{name}": value for name, value in self.kept.arrays().items()}
        return {name: np.asarray(value) for name, value in found.items()}

    def restore(self, arrays: Mapping[str, Array]) -> None:
        """Put what another stream's `arrays` gave in the place of what was added."""
        self._settle()
        parts: dict[str, dict[str, Any]] = {"sums": {}, "kept": {}}
        for name, value in arrays.items():
            part, _, key = name.partition(".")
            parts[part][key] = value if value.ndim else value.item()
        self.sums.__setstate__(parts["sums"])
        if self.kept is not None:
            self.kept.restore(parts["kept"])
        self._forget()

    def merge(self, other: Stream) -> None:
        """Add all that another stream has seen."""
        other._settle()

        def step() -> None:
            self.sums.merge(other.sums)
            if self.kept is not None and other.kept is not None:
                self.kept.merge(other.kept)
            self._forget()

        self._change(3 * self.sums.zz.size, step)

    def _change(self, operations: float, step: Callable[[], None]) -> None:
        self._settle()
        with whole_steps():
            self._step = begin(operations, step)
        self._settle()

    def _settle(self) -> None:
        """Wait for a step that Ctrl-C left to itself."""
        if self._step is not None:
            try:
                self._step.result()
            except Exception:
                self._step = None
                raise
            self._step = None

    def solve_left_out(self, rows: Iterable[tuple[Array, Array, Array | None]]) -> None:
        """Solve with the penalty of the least leave-one-out error, if that has to decide.

        `rows` are all that were added, once more: their columns, targets and weights in blocks.
        """
        self._settle()
        asked = None if self.alpha == "loo" else self.ridge.penalty
        if asked is not None and asked.judge is None:
            return
        spectrum = self._spectrum = decompose(system_of_moments(self.sums))
        blocks = ((spectrum.coordinates(F), Y, weight) for F, Y, weight in rows)
        self._ridge = spectrum.left_out_ridge(blocks, asked)

    def __getstate__(self) -> dict[str, Any]:
        self._settle()
        return super().__getstate__()

    def _forget(self) -> None:
        self._ridge = self._spectrum = self._posterior = self._weights = self.slope = None

    def _decomposed(self, columns: ToColumns) -> Spectrum:  # noqa: ARG002
        self._settle()
        return decompose(system_of_moments(self.sums))

    def _factorised(self, columns: ToColumns, alpha: float) -> CholeskyPosterior:  # noqa: ARG002
        self._settle()
        return CholeskyPosterior(system_of_moments(self.sums), alpha)

    def _sample(self) -> tuple[Rows, Array, Array | None]:
        self._settle()
        if self.kept is None or self.kept.Y is None:
            raise ValueError("sample: expected a stream that keeps some of its rows, got another")
        return self.kept.X, self.kept.Y, self.kept.weight

    def _left_out(self, columns: ToColumns, F: Array, Y: Array, weight: Array | None) -> Array:
        """Without eigenvectors where the penalty allows it: the leverages are variances."""
        ridge = self.ridge
        if ridge.penalty.alpha == 0:
            return super()._left_out(columns, F, Y, weight)
        posterior = self.posterior(columns)
        leverage = posterior.variances(posterior.coordinates(F), None)
        if weight is not None:
            leverage *= weight
        residual = Y - (F @ ridge.coef + ridge.intercept)
        return np.asarray(Y - residual / np.maximum(1 - leverage, 64 * _EPS)[:, None])


@dataclass(eq=False)
class Batch(State):
    """The rows, targets and weights of a dual solution, whose columns are not kept.

    Attributes
    ----------
    kernel : bool
        Whether columns are kernels with the rows, not features.
    """

    solution: Ridge
    X: Rows
    Y: Array
    weight: Array | None
    kernel: bool

    @classmethod
    def solved(
        cls,
        F: Array,
        X: Rows,
        Y: Array,
        weight: Array | None,
        alpha: Alpha,
        *,
        centred: bool,
        kernel: bool,
        tail: float = 0.0,
    ) -> Batch:
        """Solve the dual problem of rows `X` with columns `F`, which are overwritten."""
        system, rows = dual_system(F, Y, weight, centred=centred, kernel=kernel)
        alpha = with_tail(alpha, tail, system.facts.counts)
        ridge = None if alpha == "loo" else solve_dual(system, rows, alpha)
        spectrum = None
        if ridge is None or ridge.penalty.judge is not None:
            spectrum = decompose(system, rows)
            own = [(own_coordinates(spectrum, rows), Y, weight)]
            ridge = spectrum.left_out_ridge(own, None if ridge is None else ridge.penalty)
        batch = cls(ridge, X, Y.copy(), None if weight is None else weight.copy(), kernel)
        batch._spectrum = spectrum
        return batch

    @property
    def ridge(self) -> Ridge:
        """The solution."""
        return self.solution

    def stream(self, sum_up: SumUp) -> Stream:
        """Return sums over the rows of the batch."""
        return sum_up(self.X, self.Y, self.weight, centred=self.ridge.centred)

    def _decomposed(self, columns: ToColumns) -> Spectrum:
        return decompose(*self._system(columns))

    def _factorised(self, columns: ToColumns, alpha: float) -> CholeskyPosterior:
        system, rows = self._system(columns)
        return CholeskyPosterior(system, alpha, rows)

    def _system(self, columns: ToColumns) -> tuple[System, Array | None]:
        F, centred = columns(self.X), self.ridge.centred
        return dual_system(F, self.Y, self.weight, centred=centred, kernel=self.kernel)

    def _sample(self) -> tuple[Rows, Array, Array | None]:
        chosen = np.sort(np.random.default_rng(0).permutation(len(self.Y))[:_KEPT_ROWS])
        weight = None if self.weight is None else self.weight[chosen]
        return self.X[chosen], self.Y[chosen], weight


@dataclass(eq=False)
class Large(State):
    """The solution of a dual problem that is too large for a second matrix.

    Attributes
    ----------
    n_rows, limit : int
        Those of the fit, and those up to which there is more.
    """

    solution: Ridge
    n_rows: int
    limit: int

    @property
    def ridge(self) -> Ridge:
        """The solution."""
        return self.solution

    def stream(self, sum_up: SumUp) -> Stream:  # noqa: ARG002
        raise self._refusal()

    def _decomposed(self, columns: ToColumns) -> Spectrum:  # noqa: ARG002
        raise self._refusal()

    def _factorised(self, columns: ToColumns, alpha: float) -> CholeskyPosterior:  # noqa: ARG002
        raise self._refusal()

    def _sample(self) -> tuple[Rows, Array, Array | None]:
        raise self._refusal()

    def _refusal(self) -> ValueError:
        return ValueError(
            "variances, probabilities and leave-one-out scores of method='exact' take a second "
            f"(n, n) matrix: expected a fit of at most {self.limit} rows, got {self.n_rows}; "
            "method='sketch' gives them for any number"
        )


@dataclass(eq=False)
class SampledRows:
    """A random sample of the rows of a stream: those with the smallest random keys.

    Bounded memory, and any way of cutting the stream into blocks gives the same sample.
    """

    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    X: Rows | None = None
    Y: Array | None = None
    weight: Array | None = None
    _keys: Array | None = None

    def add(self, X: Rows, Y: Array, weight: Array | None) -> None:
        """Let the rows of a block take part in the draw."""
        weight = np.ones(len(Y)) if weight is None else weight
        self._draw(X, Y, weight, self.rng.random(len(Y)))

    def merge(self, other: SampledRows) -> None:
        """Let the rows that another sample kept take part in the draw."""
        if other.Y is not None and other.weight is not None and other._keys is not None:
            self._draw(other.X, other.Y, other.weight, other._keys)

    def arrays(self) -> dict[str, Any]:
        """Return the rows, and where the draw stands, as plain arrays."""
        X = self.X
        rows = {name: getattr(X, name) for name in _CSR} if sp.issparse(X) else {"X": X}
        found = {"Y": self.Y, "weight": self.weight, "keys": self._keys, **rows}
        found = {name: value for name, value in found.items() if value is not None}
        return found | {"rng": json.dumps(self.rng.bit_generator.state)}

    def restore(self, found: Mapping[str, Any]) -> None:
        """Take over what `arrays` gave of another sample of rows of the same kind."""
        self.rng.bit_generator.state = json.loads(found["rng"])
        X: Any = self.X
        if sp.issparse(X):
            parts = (found["data"], found["indices"], found["indptr"])
            self.X = type(X)(parts, shape=(len(found["Y"]), X.shape[1]))
        else:
            self.X = found.get("X")
        self.Y, self.weight, self._keys = map(found.get, ("Y", "weight", "keys"))

    def _draw(self, X: Rows, Y: Array, weight: Array, keys: Array) -> None:
        mine = np.argsort(keys)[:_KEPT_ROWS]
        X, Y, weight, keys = X[mine], Y[mine], weight[mine], keys[mine]
        if self._keys is not None and self.Y is not None and self.weight is not None:
            X = sp.vstack([self.X, X], "csr") if sp.issparse(X) else np.concatenate([self.X, X])
            Y = np.concatenate([self.Y, Y])
            weight = np.concatenate([self.weight, weight])
            keys = np.concatenate([self._keys, keys])
            mine = np.argsort(keys)[:_KEPT_ROWS]
            X, Y, weight, keys = X[mine], Y[mine], weight[mine], keys[mine]
        self.X, self.Y, self.weight, self._keys = X, Y, weight, keys
