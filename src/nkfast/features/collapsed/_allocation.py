"""How an output width is shared among the terms of an expansion, and with which factors.

A term (degree l, rank r) adds u(x) u(y) <x, y>^l / (|x| |y|)^l to the kernel. It is either *exact*,
by the C(d + l - 1, l) monomials of degree l, or *sketched* to m features, which adds noise of
variance about e^2 / m to every entry, e = mean u^2 over the data. Where degree 1 does not fit, the
heaviest h of the input's columns may have features of their own; then the variance of its leading
term is (t e)^2 / (m - h), t the share of the energy in all other columns.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nkfast._arrays.validation import Doubles
from nkfast.features._monomials import n_monomials
from nkfast.sketch._program import next_power_of_two

_MIN_WIDTH = 2  # a narrower sketch is mostly noise: the term is dropped
MIN_SKETCH = 32  # features of a sketch, of which fewer may be taken: hashing to few collides
_FEED_SHARE = 16  # of a sketch that feeds others, at least: its share of all features
_OTHERS = 8  # features at least for the columns that have none of their own
_STEP = 1.5  # ratio of the numbers of own columns that are tried


@dataclass
class Allocation:
    """Features for each term: `widths`, and which terms are `exact`; `top` is L0.

    Degrees 0..L0 have their leading term exact. If L0 = 0, `columns` is the number h of columns
    with a feature of their own in the leading term of degree 1, and `tail` is t.
    """

    widths: NDArray[np.int64]
    exact: NDArray[np.bool_]
    top: int
    noise: float  # expected squared error of an entry of the kernel
    columns: int = 0
    tail: float = 1.0

    @property
    def base(self) -> int:
        """The highest degree at hand without noise: the input itself is degree 1."""
        return max(self.top, 1)


def allocate(
    degrees: NDArray[np.int64],
    ranks: NDArray[np.int64],
    energies: Doubles,
    n_features: int,
    n_components: int,
    tails: Doubles | None = None,
) -> Allocation:
    """Share `n_components` features among the terms so that the expected error is least.

    For a given L0 the rest is shared in proportion to the energies, which minimises
    sum e^2 / m at a given sum of m; terms whose share would reach their number of monomials become
    exact and the rest is shared again. L0 is chosen by the error that remains, and so is the number
    h of columns with features of their own, if their `tails` t(0), t(1), ... are given.
    """
    sizes = np.array([min(n_monomials(n_features, int(l)), n_components + 1) for l in degrees])
    best: Allocation | None = None
    for top in range(int(degrees.max()) + 1):
        # Further ranks of degree 0 cost one feature each.
        exact = (ranks == 0) & (degrees <= top) | (degrees == 0) & (n_components >= 32)
        if sizes[exact].sum() > n_components:
            break
        found = _share(energies, sizes, exact, degrees <= top, n_components)
        if best is None or found.noise < best.noise:
            best = Allocation(found.widths, found.exact, top, found.noise)
    if best is None:  # no term of degree 0: nothing is exact
        none = np.zeros(len(degrees), bool)
        best = _share(energies, sizes, none, none, n_components)
    if tails is not None:
        best = _own_columns(best, degrees, ranks, energies, sizes, n_components, tails)
    return best


def _own_columns(
    best: Allocation,
    degrees: NDArray[np.int64],
    ranks: NDArray[np.int64],
    energies: Doubles,
    sizes: NDArray[np.int64],
    n_components: int,
    tails: Doubles,
) -> Allocation:
    """Return the plan with the number of own columns at which the error is least.

    Degree 1 is then not exact. With h own columns its leading term is like one of energy t(h) e
    that shares the features that these columns leave.
    """
    linear = (degrees == 1) & (ranks == 0)
    if not np.any(best.widths[linear] > 0):
        return best
    own = best.exact & (degrees == 0)
    most = min(n_components - int(sizes[own].sum()) - _OTHERS, len(tails) - 2)
    numbers, n = [], 1.0
    while n <= most:
        numbers.append(int(n))
        n *= _STEP

    def trial(h: int) -> Allocation:
        tail = float(f"{tails[h]:.6g}")
        rest = n_components - h - _OTHERS
        found = _share(np.where(linear, tail * energies, energies), sizes, own, own, rest)
        return Allocation(found.widths, found.exact, 0, found.noise, h, tail)

    # Every other number, then the neighbours of the best.
    plans = {at: trial(numbers[at]) for at in range(0, len(numbers), 2)}
    if plans:
        at = min(plans, key=lambda t: plans[t].noise)
        plans |= {t: trial(numbers[t]) for t in (at - 1, at + 1) if 0 <= t < len(numbers)}
        chosen = min(plans.values(), key=lambda plan: plan.noise)
        if chosen.noise < best.noise:
            chosen.widths[linear] += chosen.columns + _OTHERS
            return chosen
    return best


def _share(
    energies: Doubles,
    sizes: NDArray[np.int64],
    exact: NDArray[np.bool_],
    eligible: NDArray[np.bool_],
    n_components: int,
) -> Allocation:
    """Share the features that `exact` terms leave; `eligible` terms may become exact, too."""
    open_ = rounded_energies(energies)
    exact = exact.copy()
    energy, size = open_.tolist(), sizes.tolist()  # of some dozen terms: lists are faster
    least = np.minimum(sizes, _MIN_WIDTH).tolist()
    active = np.flatnonzero(~exact & (open_ > 0))
    rising = active[np.argsort(open_[active], kind="stable")].tolist()
    may = [t for t in active.tolist() if eligible[t]]
    left = n_components - int(sizes[exact].sum())
    total = math.fsum([energy[t] for t in rising])
    while rising:
        full = [t for t in may if left * energy[t] / total >= size[t]]
        if full:  # the cheapest first: it frees features for the others
            chosen = min(full, key=size.__getitem__)
            exact[chosen] = True
            left -= size[chosen]
        else:
            each = left / total
            chosen = next((t for t in rising if each * energy[t] < least[t]), -1)
            if chosen < 0:
                break
        rising.remove(chosen)
        if eligible[chosen]:
            may.remove(chosen)
        # What is small may be subtracted: that hardly rounds.
        total = math.fsum([energy[t] for t in rising]) if full else total - energy[chosen]
    total = math.fsum([energy[t] for t in rising])
    share = np.zeros(len(sizes))
    share[rising] = left * open_[rising] / total if rising else 0.0
    widths = np.where(exact, sizes, np.floor(share)).astype(np.int64)
    sketched = widths * ~exact > 0
    if sketched.any():  # whole features by largest remainder
        spare = n_components - int(widths.sum())
        order = np.argsort(np.where(sketched, np.floor(share) - share, 1.0), kind="stable")
        widths[order[: min(spare, int(sketched.sum()))]] += 1
    noise = float(np.sum(open_[sketched] ** 2 / widths[sketched]))
    noise += float(np.sum(open_[(widths == 0)] ** 2))
    return Allocation(widths, exact, -1, noise)


def ladder(top: int, needed: Iterable[int]) -> dict[int, int]:
    """Return from which degree each degree above `top` comes, for all needed ones, ascending.

    Degree l is the product of its parent, a multiple of `top`, with the exact degree l - parent <=
    top. So there are as few sketched products in a row as can be, and as little noise. Parents
    that are not needed themselves are included. `top` is 1 or more: the input is degree 1.
    """
    parents: dict[int, int] = {}
    for l in needed:
        while l > top and l not in parents:
            parents[l] = top * ((l - 1) // top)
            l = parents[l]
    return dict(sorted(parents.items()))


def sketch_widths(
    parents: dict[int, int], degrees: NDArray[np.int64], widths: NDArray[np.int64], m: int
) -> dict[int, int]:
    """Return the width of the sketch of each degree of a ladder: powers of two.

    At least the widest term of the degree. What feeds higher degrees is never narrower than they
    are, nor than a share of all features: its noise is theirs, too.
    """
    least = min(m // _FEED_SHARE, int(widths.max(initial=1)))
    found: dict[int, int] = {}
    for l in reversed(parents):
        need = max(int(widths[degrees == l].max(initial=0)), found.get(l, MIN_SKETCH))
        found[l] = next_power_of_two(need)
        if parents[l] in parents:
            found[parents[l]] = max(found[l], least, found.get(parents[l], 0))
    return found


def rounded_energies(energies: Doubles) -> Doubles:
    """Round them to six digits: another BLAS, with another last bit, makes the same plan."""
    mantissa, exponent = np.frexp(energies)
    return np.asarray(np.ldexp(np.rint(np.ldexp(mantissa, 20)), exponent - 20))


def powers(x: Doubles, degree: int) -> Doubles:
    """Return x^0, ..., x^degree as rows."""
    out = np.ones((degree + 1, len(x)))
    for l in range(degree):
        np.multiply(out[l], x, out=out[l + 1])
    return out


def line(l: int, parents: dict[int, int]) -> Iterator[int]:
    """Yield a degree of a ladder, and the sketched ones that it comes from."""
    while l in parents:
        yield l
        l = parents[l]
