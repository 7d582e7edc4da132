"""Values of the slow integrals in `reference`, kept in data/duals.npz.

`cd tests && python kept.py` makes them anew, in some minutes; tests compute some of them again.
"""

import math
from itertools import combinations_with_replacement

import numpy as np

import reference
from activation_cases import CASES
from places import TESTS

FILE = TESTS / "data" / "duals.npz"
RHOS = (-1.0, -0.999, -0.5, 0.0, 0.5, 0.9, 0.999, 1.0)
VARIANCES = list(combinations_with_replacement((1e-3, 1.0, 100.0), 2))


def _any_pairs():
    """150 pairs of middling variances and all correlations, and some of them."""
    rng = np.random.default_rng(0)
    p, q = rng.uniform(0.8, 2.5, (2, 150))
    rho = np.concatenate([np.linspace(-1, 1, 100), 1 - np.geomspace(1e-12, 1, 50)])
    return p, q, rho, rng.permutation(150)[:10]


P, Q, RHO, CHOSEN = _any_pairs()
PAIRS = {
    "grid": [(p, q, rho) for p, q in VARIANCES for rho in RHOS],
    "any": [(P[i], Q[i], RHO[i]) for i in CHOSEN],
}


def compute(name, pair):
    """E f(u) f(v) and E f'(u) f'(v) of an activation."""
    act, derivative, kinks = CASES[name]
    return [reference.adapted_dual(f, *pair, kinks) for f in (act, derivative)]


def duals(name, kind):
    """Those of all pairs of a kind, (2, pairs); two of them are computed again."""
    pairs = PAIRS[kind]
    with np.load(FILE) as file:
        found = file[f"{name}, {kind}"]
    assert found.shape == (2, len(pairs)), "activation_cases has changed: python kept.py"
    for i in np.random.default_rng(len(name)).integers(0, len(pairs), 2):
        p, q, _ = pairs[i]
        scales = compute(name, (p, p, 1.0)), compute(name, (q, q, 1.0))
        for value, again, one, other in zip(
            found[:, i], compute(name, pairs[i]), *scales, strict=True
        ):
            assert abs(value - again) <= 1e-11 * math.sqrt(one * other), "python kept.py"
    return found


def main():
    """Compute all values and write them."""
    found = {
        f"{name}, {kind}": np.transpose([compute(name, pair) for pair in pairs])
        for name in CASES
        for kind, pairs in PAIRS.items()
    }
    np.savez_compressed(FILE, **found)


if __name__ == "__main__":
    main()
