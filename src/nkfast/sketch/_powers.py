"""Sketches of all powers of an inner product in one pass."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from nkfast._arrays.validation import Array, check_count, check_estimator_rows
from nkfast._core import SketchProgram

from ._base import BLOCK, STEP, ProgramSketch, allocate, run
from ._program import SketchSteps, balanced_sample, hadamard_leaf, next_power_of_two


class PolySketch(ProgramSketch):
    """Sketch of <x, y>^degree, with those of all lower degrees on the way.

    A chain S_{l+1} = T(S_l, x), T a fresh TensorSRHT each time, so the variance grows about
    linearly with the degree and not exponentially.

    Parameters
    ----------
    degree : int, default=2
        Highest degree, at least 1.
    n_components : int, default=1024
        Number of features for each degree.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    steps_ : SketchSteps
        The drawn map, as steps of the compiled core.
    n_features_in_ : int

    See Also
    --------
    TensorSketch : One degree, with a constant, faster at degree 2 and 3.

    Notes
    -----
    E <S_l(x), S_l(y)> = <x, y>^l for every l. Rows longer than `n_components` go through a fresh
    CountSketch in each factor first, so CSR rows cost O(degree (nnz + m log m)).

    References
    ----------
    Ahle et al., "Oblivious sketching of high-degree polynomial kernels", SODA 2020. Song, Woodruff,
    Yu & Zhang, "Fast sketching of polynomial kernels of polynomial degree", ICML 2021.

    Examples
    --------
    >>> import numpy as np, nkfast as nk
    >>> X = np.eye(3, 20)
    >>> powers = nk.sketch.PolySketch(4, 256, random_state=0).fit(X).transform_powers(X)
    >>> [Z.shape for Z in powers]
    [(3, 256), (3, 256), (3, 256), (3, 256)]
    """

    _compiled_powers: SketchProgram | None = None

    def __init__(
        self, degree: int = 2, n_components: int = 1024, *, random_state: Any = None
    ) -> None:
        self.degree = degree
        self.n_components = n_components
        self.random_state = random_state

    def _draw(self, d: int, m: int, rng: np.random.RandomState) -> None:
        q = self._degree = check_count(self.degree, "degree", low=1)
        width = next_power_of_two(m)
        steps, self._all_steps = SketchSteps(), SketchSteps()  # these write all degrees out

        def write(l: int, start: int, target: int) -> None:
            self._all_steps.extend(steps[start:])
            self._all_steps.emit(target, m)
            if l == q:
                steps.emit(target, m)

        leaf = hadamard_leaf(steps, rng, 0, d, 3, width)
        steps.gather(3, balanced_sample(rng, leaf, m), 1 / np.sqrt(m), 1)
        write(1, 0, 1)
        for l in range(2, q + 1):
            source, target = (1, 2) if l % 2 == 0 else (2, 1)
            start = len(steps)
            left = hadamard_leaf(steps, rng, source, m, 4, width)
            leaf = hadamard_leaf(steps, rng, 0, d, 3, width)
            i, j = balanced_sample(rng, left, m), balanced_sample(rng, leaf, m)
            steps.product(4, i, 3, j, 1 / np.sqrt(m), target)
            write(l, start, target)
        self._keep(d, steps)
        self._compiled_powers = None

    def _bytes(self, d: int, m: int) -> int:
        degree = check_count(self.degree, "degree", low=1)
        return 2 * STEP * degree * (d + m) + BLOCK * (d + 5 * next_power_of_two(m))

    def transform_powers(self, X: Any) -> list[Array]:
        """Return the sketches of all degrees 1..degree in one pass.

        Parameters
        ----------
        X : array_like or CSR matrix of shape (n, d)

        Returns
        -------
        list of ndarray of shape (n, n_components)
            Entry l - 1 belongs to degree l; the last is what `transform` returns.
        """
        check_is_fitted(self)
        X = check_estimator_rows(self, X, reset=False)
        m, q = self._n_features_out, self._degree
        out = allocate(X.shape[0], q * m, X.dtype)
        if self._compiled_powers is None:
            self._compiled_powers = self._all_steps.compile(self._width)
        run(self._compiled_powers, X, out)
        return [out[:, l * m : (l + 1) * m] for l in range(q)]
