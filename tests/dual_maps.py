"""Maps of the core on given tables, as tests of them call it."""

import numpy as np

from nkfast import _core


def run(kind, params, left, right, k, theta=None):
    k = np.array(k, float, order="C")
    theta = None if theta is None else np.array(theta, float, order="C")
    _core.dual_map(
        kind, params, np.ascontiguousarray(left), np.ascontiguousarray(right), k, theta, 2
    )
    return k if theta is None else (k, theta)


def deviations(p):
    s = np.sqrt(p)
    return np.stack([s, np.divide(1, s, out=np.zeros_like(s), where=s > 0)], axis=1)
