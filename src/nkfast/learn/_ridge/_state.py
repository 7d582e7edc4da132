"""What a learner holds after fitting: sums that may grow, or rows; and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from nkfast._arrays.validation import Rows
from nkfast._linalg.moments import RunningMoments

from ._interrupts import whole_steps
from ._posterior import CholeskyPosterior, Posterior, cheapest
from ._solve import Alpha, Ridge, solve_primal
from ._spectrum import Spectrum, decompose
from ._system import system_of_moments

Array = NDArray[Any]
_KEPT_ROWS = 2048


@dataclass
class Stream:
    """Sums that may still grow, and their solution, computed when it is first asked for."""

    sums: RunningMoments
    alpha: Alpha
    kept: SampledRows | None = None
    _ridge: Ridge | None = None
    _spectrum: Spectrum | None = None
    _posterior: Posterior | None = None
    slope: float | None = None  # of a classifier's probabilities

    @property
    def ridge(self) -> Ridge:
        """The solution for the sums as they are now."""
        if self._ridge is None:
            self._ridge = solve_primal(self.sums, self.alpha)
        return self._ridge

    @property
    def spectrum(self) -> Spectrum:
        """Their spectrum."""
        if self._spectrum is None:
            self._spectrum = decompose(system_of_moments(self.sums))
        return self._spectrum

    def posterior(self) -> Posterior:
        """Return the posterior at the penalty of the solution."""
        if self._posterior is None:
            alpha = self.ridge.penalty.alpha
            self._posterior = cheapest(
                lambda: CholeskyPosterior(system_of_moments(self.sums), alpha),
                lambda: self.spectrum,
                alpha,
                known=self._spectrum is not None,
            )
        return self._posterior

    def add(self, X: Rows, Z: Array, Y: Array, weight: Array | None, alpha: Alpha) -> None:
        """Add rows `X` with features `Z`; all of them or, if interrupted, none."""
        with whole_steps():
            self.sums.add(Z, Y, weight)
            if self.kept is not None:
                self.kept.add(X, Y, weight)
            self.alpha = alpha
            self._forget()

    def merge(self, other: Stream) -> None:
        """Add all that another stream has seen."""
        with whole_steps():
            self.sums.merge(other.sums)
            if self.kept is not None and other.kept is not None:
                self.kept.merge(other.kept)
            self._forget()

    def _forget(self) -> None:
        self._ridge = self._spectrum = self._posterior = self.slope = None

    def sample(self, most: int) -> tuple[Rows, Array, Array | None]:  # noqa: ARG002
        """Return the rows that were kept, their targets and weights."""
        if self.kept is None or self.kept.Y is None:
            raise ValueError("sample: expected a stream that keeps some of its rows, got another")
        return self.kept.X, self.kept.Y, self.kept.weight

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_spectrum": None, "_posterior": None}  # large, and soon found again


@dataclass
class Batch:
    """The rows, targets and weights of a dual solution, whose features are not kept."""

    ridge: Ridge
    X: Rows
    Y: Array
    weight: Array | None
    spectrum: Spectrum | None = None
    posterior: Posterior | None = None
    slope: float | None = None

    def sample(self, most: int) -> tuple[Rows, Array, Array | None]:
        """Return at most so many of the rows, taken at random, their targets and weights."""
        chosen = np.sort(np.random.default_rng(0).permutation(len(self.Y))[:most])
        weight = None if self.weight is None else self.weight[chosen]
        return self.X[chosen], self.Y[chosen], weight

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"spectrum": None, "posterior": None}


@dataclass
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
