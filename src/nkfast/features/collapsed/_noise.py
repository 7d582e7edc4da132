"""The errors that sketched degrees add to the entries of a kernel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nkfast._arrays.validation import Doubles

from ._allocation import Allocation, ladder, line, powers, sketch_widths


class NoiseMeans:
    """Averages over pairs of rows of what the errors of sketched degrees are made of.

    The normalised sketch of degree l errs by about (1 - rho^2l) / sqrt(W) on its own, and hands its
    error on to the degrees that come from it, times the powers of rho that they add.
    """

    def __init__(self, coefficients: Doubles, rho: Doubles, shares: Doubles) -> None:
        """Take g_l(|x|, |y|), of shape (q + 1, n_pairs), the cosines and weights of the pairs."""
        q = len(coefficients) - 1
        self._coefficients, self._shares = coefficients, shares
        self._powers = powers(rho, 2 * q)
        self._own = np.square(1 - self._powers[::2])
        self._known: dict[int, Doubles] = {}
        self.own = self._own @ shares if len(rho) else np.ones(q + 1)
        self.levels = np.sqrt(self.own)  # root mean squares of 1 - rho^2l

    def of(self, s: int) -> Doubles:
        """Return the means of g_l rho^(l - s) g_k rho^(k - s) (1 - rho^2s)^2, l, k = s..q."""
        if s not in self._known:
            part = self._coefficients[s:] * self._powers[: len(self._coefficients) - s]
            self._known[s] = (part * (self._own[s] * self._shares)) @ part.T
        return self._known[s]


def noise_covariance(
    means: NoiseMeans,
    plan: Allocation,
    degrees: NDArray[np.int64],
    ranks: NDArray[np.int64],
    energies: Doubles,
    n_components: int,
) -> Doubles:
    """Return the covariances of the errors of the sketched degrees, averaged over pairs of rows.

    What has a sketched ancestor in common errs together. Taking m of the W features of a sketch
    errs by (1 - rho^2l) sqrt(1 / m - 1 / W) more.

    Parameters
    ----------
    means : NoiseMeans
    plan, degrees, ranks, energies, n_components
        As for `allocate`.

    Returns
    -------
    ndarray of shape (q + 1, q + 1)
    """
    q = int(degrees.max(initial=0))
    noise = np.zeros((q + 1, q + 1))
    sketched = np.where(plan.exact, 0, plan.widths)
    parents = ladder(plan.base, (int(l) for l in np.unique(degrees[sketched > 0])))
    widths = sketch_widths(parents, degrees, sketched, n_components)
    lines: dict[int, list[int]] = {s: [] for s in parents}
    for l in parents:
        for s in line(l, parents):
            lines[s].append(l)
    for s, degrees_below in lines.items():
        below = np.array(degrees_below)
        rows = below[:, None]
        noise[rows, below] += means.of(s)[rows - s, below - s] / widths[s]
    for c in np.flatnonzero(sketched):
        l = degrees[c]
        shown = 1 / sketched[c] - 1 / widths.get(int(l), np.inf)
        if plan.columns > 0 and l == 1 and ranks[c] == 0:
            shown = plan.tail**2 / (sketched[c] - plan.columns)
        noise[l, l] += energies[c] ** 2 * shown * means.own[l]
    return noise
