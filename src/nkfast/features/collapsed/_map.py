"""The map of a whole dense network: powers of the cosine, each sketched once."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from nkfast._arrays.rows import inverse, row_norms
from nkfast._arrays.validation import Array, Doubles, Rows, csr_arrays
from nkfast._config import get_num_threads
from nkfast._core import SketchProgram
from nkfast.sketch._program import Compiled

from ._fit import Sample
from ._harmonics import harmonic_steps
from ._polynomial import polynomial_steps
from ._split_steps import split_steps

_ROOM = 1e6  # for what a sketch makes larger


class CollapsedMap(Compiled):
    """Features of a dense network's kernel by its expansion, fitted to a sample of rows.

    Parameters
    ----------
    sample : Sample
    n_components : int
        Columns of the features.
    degrees : list of int
        Highest degrees of the expansion that are tried.
    most : int
        The highest degree that harmonics may have.
    sketch : {"tensorsrht", "tensorsketch"}
        How powers are multiplied.
    rng : RandomState

    Attributes
    ----------
    degree : int
        Highest degree that has features.
    expansion, allocation, factors, split, harmonics, steps
        As documented with `NTKFeatures`.
    """

    _compiled: SketchProgram | None = None

    def __init__(
        self,
        sample: Sample,
        n_components: int,
        degrees: list[int],
        most: int,
        sketch: str,
        rng: np.random.RandomState,
    ) -> None:
        d = sample.X.shape[1]
        self.n_components = n_components
        self.n_features = d
        found = sample.best(degrees, n_components, most)
        self.factors = found.factors
        self.expansion = found.expansion.scale(found.factors)
        self.allocation = plan = found.plan
        used = self.expansion.degrees
        self.degree = int(used[plan.widths > 0].max(initial=0))
        self.split = found.split
        self.harmonics = found.harmonics
        if found.harmonics is not None:
            self.steps = harmonic_steps(found.harmonics, n_components)
        elif found.split is not None:
            self.steps = split_steps(found.split, n_components, rng, sketch)
        else:
            hashes = sample.columns.hashes if sample.hashes_columns(n_components) else None
            self.steps = polynomial_steps(used, plan, d, n_components, rng, sketch, hashes)

    def fitted(self) -> dict[str, Any]:
        """Return what the estimator shows of it."""
        names = ("expansion", "allocation", "factors", "split", "harmonics", "steps")
        return {f"{name}_": getattr(self, name) for name in names}

    def may_overflow(self, X: Rows, norms: Doubles | None = None) -> bool:
        """Return whether features of these rows, bounded by the weights, may be too large."""
        norms = row_norms(X, get_num_threads()) if norms is None else norms
        with np.errstate(over="ignore"):
            largest = np.abs(self.expansion.weights(norms[[int(np.argmax(norms))]])).max(
                initial=0.0
            )
        return not largest < np.finfo(X.dtype).max / _ROOM

    def transform(self, X: Rows, norms: Doubles | None = None) -> Array:
        """Return the features of checked rows, (n, n_components); `norms` are theirs."""
        threads = get_num_threads()
        norms = row_norms(X, threads) if norms is None else norms
        weights = self.expansion.weights(norms, threads)
        scales = inverse(norms).astype(X.dtype)
        out = np.empty((X.shape[0], self.n_components), X.dtype)
        if self._compiled is None:  # new, or after unpickling
            self._compiled = self.steps.compile(self.n_features)
        program = self._compiled
        needed = np.ascontiguousarray(weights[:, : program.n_weights])
        if sp.issparse(X):
            program.run_csr(*csr_arrays(X), scales, needed, out, threads)
        else:
            program.run(X, scales, needed, out, threads)
        return out
