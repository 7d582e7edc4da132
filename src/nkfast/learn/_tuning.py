"""Choice of a network by the marginal likelihood of its kernel."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.model_selection import ParameterGrid
from sklearn.utils import check_random_state

from nkfast._arrays.validation import Array, Doubles, check_count
from nkfast.networks import MLP, Sequential, own_network
from nkfast.networks._tied import changed_network, tied

from ._learner import Method
from ._regression import NTKRegressor
from ._ridge._sizes import refuse_kernel

__all__ = ["Tuning", "tune_network"]

Candidate: TypeAlias = tuple[dict[str, Any], float]  # parameters, log marginal likelihood
_DEPTHS, _W_STDS, _B_STDS = (1, 2, 3), (1.0, 2**0.5, 2.0), (0.0, 0.1, 0.5)
_FACTORS = (0.7, 1.0, 1.4)  # of a standard deviation in a network that is no mlp


@dataclass(frozen=True)
class Tuning:
    """What `tune_network` chose, and all that it compared. Printing it says so in a line.

    Attributes
    ----------
    net : Sequential
        The network with the chosen parameters.
    params : dict
        These.
    alpha : float
        The penalty for that network, noise variance over variance of the weights, on the rows
        that were used. It suits any number of rows.
    noise_variance : float or ndarray of shape (n_targets,)
    log_marginal_likelihood : float
    n_rows : int
        How many rows were used.
    candidates : list of (dict, float)
        Parameters and log marginal likelihoods of all candidates, the best first.

    Examples
    --------
    >>> import nkfast as nk
    >>> found = nk.tune_network([[1.0], [2.0], [3.0]], [1.0, 2.0, 3.0], grid={"depth": [1]})
    >>> str(found)[:7]
    'depth=1'
    """

    net: Sequential
    params: dict[str, Any]
    alpha: float
    noise_variance: float | Doubles
    log_marginal_likelihood: float
    n_rows: int
    candidates: list[Candidate]

    def __str__(self) -> str:
        chosen = ", ".join(f"{name}={_short(value)}" for name, value in self.params.items())
        noise = np.array2string(np.asarray(self.noise_variance), precision=4)
        others = f"best of {len(self.candidates)}"
        if len(self.candidates) > 1:
            others += f", {self.candidates[0][1] - self.candidates[1][1]:.4g} before the next"
        return (
            f"{chosen or 'the network as it is'}: log marginal likelihood "
            f"{self.log_marginal_likelihood:.6g} on {self.n_rows} rows ({others}); "
            f"alpha={self.alpha:.4g}, noise variance {noise}"
        )


def tune_network(
    X: Any,
    y: ArrayLike,
    net: Sequential | None = None,
    grid: Mapping[str, Iterable[Any]] | None = None,
    *,
    kernel: str = "ntk",
    method: Method = "exact",
    n_components: int = 1024,
    n_rows: int = 1000,
    fit_intercept: bool = True,
    image_shape: tuple[int, int, int] | None = None,
    random_state: Any = None,
    verbose: bool = False,
) -> Tuning:
    """Choose the parameters of a network under which the targets are most probable.

    Every candidate of the grid is fitted with ``alpha="evidence"`` on the same random rows: the
    penalty is searched, and the noise is known in closed form, from one decomposition each.

    Parameters
    ----------
    X : array_like or CSR matrix of shape (n, d), or images
    y : array_like of shape (n,) or (n, n_targets)
        Numbers. For classes give signs, such as +1 and -1, or one column for each class.
    net : Sequential, optional
        Where to start; None means ``mlp()``.
    grid : dict of str to list, optional
        Values to try by the name of a parameter, all combinations. Names are those of
        ``net.get_params()``, of an `mlp` "depth", "activation", "w_std", "b_std"; "w_std" and
        "b_std" are known to any network: the first such value above zero, to which all others keep
        their ratio. By default depth 1, 2, 3, w_std 1, 1.4, 2 and b_std 0, 0.1, 0.5 of an `mlp`,
        and 0.7, 1, 1.4 times what they are in others.
    kernel, method, fit_intercept, image_shape
        As in `NTKRegressor`.
    n_components : int, default=1024
        Number of features, unless ``method="exact"``.
    n_rows : int, default=1000
        How many rows are used, taken at random; all if there are fewer.
    random_state : int, RandomState instance or None, default=None
        Of the rows and of the features, the same for all candidates.
    verbose : bool, default=False
        Whether each candidate, and the choice, is one line on stderr.

    Returns
    -------
    Tuning
        With the chosen `net`, `alpha` and `noise_variance`; print it to see.

    Raises
    ------
    ValueError, TypeError
        On a bad argument or an empty grid; on a name that the network does not have.

    References
    ----------
    Rasmussen & Williams, "Gaussian processes for machine learning", MIT Press 2006, section 5.4.

    Examples
    --------
    >>> import numpy as np, nkfast as nk
    >>> X = np.random.default_rng(0).standard_normal((200, 3))
    >>> found = nk.tune_network(X, np.abs(X[:, 0]), grid={"depth": [1, 2], "b_std": [0, 0.3]})
    >>> sorted(found.params), len(found.candidates)
    (['b_std', 'depth'], 4)
    >>> model = nk.NTKRegressor(found.net, n_components=512, alpha="evidence").fit(X, X[:, 0])
    """
    start = own_network(net)
    rng = check_random_state(random_state)
    n_rows = check_count(n_rows, "n_rows", low=2)
    settings = list(ParameterGrid(_grid(start, grid)))
    X, y = _chosen_rows(X, y, n_rows, rng)
    if method == "exact":
        refuse_kernel(X.shape[0], "n_rows")
    template = NTKRegressor(
        None,
        n_components,
        kernel=kernel,
        method=method,
        alpha="evidence",
        fit_intercept=fit_intercept,
        image_shape=image_shape,
        random_state=int(rng.randint(2**31 - 1)),
    )
    best, candidates = _compared(template, start, settings, X, y, verbose=verbose)
    params, value = candidates[0]
    # A learner with features adds that on its own.
    tail = 0.0 if method == "exact" else best._tail
    result = Tuning(
        net=best.net_,
        params=params,
        alpha=max(best.alpha_ - tail, 0.0),
        noise_variance=best.noise_variance_,
        log_marginal_likelihood=value,
        n_rows=X.shape[0],
        candidates=candidates,
    )
    if verbose:
        print(result, file=sys.stderr)
    return result


def _compared(
    template: NTKRegressor,
    start: Sequential,
    settings: list[dict[str, Any]],
    X: Any,
    y: Array,
    *,
    verbose: bool,
) -> tuple[NTKRegressor, list[Candidate]]:
    """Return the best learner, and all candidates, the best first; of equals the first tried."""
    best: NTKRegressor | None = None
    candidates: list[Candidate] = []
    highest = -np.inf
    for params in settings:
        model = clone(template).set_params(net=_with_parameters(start, params)).fit(X, y)
        value = model.log_marginal_likelihood()
        if verbose:
            print(f"{params}: log marginal likelihood {value:.6g}", file=sys.stderr)
        candidates.append((params, value))
        if best is None or value > highest:  # all others are let go: they are large
            best, highest = model, value
    if best is None:
        raise AssertionError("checked by _grid")
    return best, sorted(candidates, key=lambda candidate: -candidate[1])


def _grid(net: Sequential, grid: Mapping[str, Iterable[Any]] | None) -> dict[str, list[Any]]:
    if grid is None:
        if isinstance(net, MLP):
            return {"depth": list(_DEPTHS), "w_std": list(_W_STDS), "b_std": list(_B_STDS)}
        groups = [g for g in tied(net) if g.name in ("w_std", "b_std") and g.value > 0]
        return {g.name: [factor * g.value for factor in _FACTORS] for g in groups}
    if not isinstance(grid, Mapping):
        raise TypeError(f"grid: expected a dict of names to values, got {grid!r}")
    found = {}
    known = {*net.get_params(), *(g.name for g in tied(net) if g.value > 0)}
    for name, values in grid.items():
        if name not in known:
            raise ValueError(f"grid: expected names among {sorted(known)}, got {name!r}")
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise TypeError(f"grid: expected a list of values of {name}, got {values!r}")
        found[name] = list(values)
        if not found[name]:
            raise ValueError(f"grid: expected at least one value of {name}, got none")
    return found


def _with_parameters(net: Sequential, params: dict[str, Any]) -> Sequential:
    own = net.get_params()
    changed: Sequential = clone(net)
    changed = changed.set_params(**{k: v for k, v in params.items() if k in own})
    groups = [g for g in tied(changed) if g.name in params and g.name not in own]
    return changed_network(changed, [(g, params[g.name]) for g in groups])


def _chosen_rows(X: Any, y: Any, n_rows: int, rng: np.random.RandomState) -> tuple[Any, Array]:
    y = np.asarray(y)
    X = X if hasattr(X, "shape") else np.asarray(X)
    if len(y) != X.shape[0]:
        raise ValueError(
            f"y: inconsistent numbers of samples, expected {X.shape[0]} as X has rows, got {len(y)}"
        )
    chosen = np.sort(rng.permutation(X.shape[0])[:n_rows])
    X = X.iloc[chosen] if hasattr(X, "iloc") else X[chosen]
    return X, y[chosen]


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
