"""Feature maps: finite, each row's own, the same bits in any form, and as near as fit expects."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import scipy.sparse as sp

import nkfast as nk

from . import data, forms
from .draw import Draw, Library, expect, near, same
from .networks import Network, n_features, root_mean_square


def check(draw: Draw, nkfast: Library) -> None:
    network = Network(draw, cheap=True)
    net, scale = network.net, network.scale()
    X = data.matrix(draw, draw.count(2, 70), n_features(draw), scale)
    if not np.any(X):
        X[0] = scale
    m = draw.count(1, 300)
    kind = draw.pick((nk.NTKFeatures, nk.NNGPFeatures))
    get = "ntk" if kind is nk.NTKFeatures else "nngp"
    sketch = draw.pick(("tensorsrht", "tensorsketch"))
    nkfast.note(kind.__name__, m, net, X.shape, f"up to {root_mean_square(X):.2g}")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        phi = nkfast("fit", kind(net, m, sketch=sketch, random_state=draw.seed).fit, X)
    Z = nkfast("transform", phi.transform, X)
    expect(Z.shape == (len(X), m), f"shape {Z.shape}")
    expect(np.all(np.isfinite(Z)), "features are not finite")
    _bits(draw, nkfast, phi, X, Z)
    own = getattr(nkfast("diag", net.diag, X), get)
    norms = np.sum(Z * Z, axis=1)
    share = norms / np.where(own > 0, own, 1)
    expect(
        share.max() < 3 or told, f"norms of features: {share.max():.3g} of the kernel, no warning"
    )
    _error(nkfast, net, get, X, Z, phi)


def _bits(draw: Draw, nkfast: Library, phi: Any, X: Any, Z: Any) -> None:
    """A row's features depend on the row alone."""
    some = draw.rng.permutation(len(X))[:8]
    for i in some:
        same(nkfast("transform", phi.transform, X[i : i + 1])[0], Z[i], "features of a row alone")
    same(nkfast("transform", phi.transform, X[some]), Z[some], "features in another order")
    with nk.num_threads(draw.count(2, 5)):
        same(nkfast("transform", phi.transform, X), Z, "features by more threads")
    for _ in range(3):
        form, other = forms.dense(draw, X)
        same(nkfast("transform", phi.transform, other), Z, f"features, {form}")
    size = np.linalg.norm(Z, axis=1, keepdims=True)
    for _ in range(2):
        form, other = forms.sparse(draw, X)
        near(nkfast("transform", phi.transform, other), Z, 1e-7 * size + 1e-290, form)
    if np.abs(X).max() < 1e10:
        single = nkfast("transform", phi.transform, X.astype(np.float32))
        expect(single.dtype == np.float32, "float32 rows, another dtype")
    empty = nkfast("transform", phi.transform, sp.csr_array((0, X.shape[1])))
    expect(empty.shape == (0, Z.shape[1]), "features of no rows")


def _error(nkfast: Library, net: Any, get: str, X: Any, Z: Any, phi: Any) -> None:
    """Z Z^T - K is that of a sketch to m features, and what its degrees leave out."""
    K = nkfast("kernel", net.kernel, X, get=get)
    trace = np.trace(K)
    error = np.linalg.norm(Z @ Z.T - K)
    bound = trace * (8 / np.sqrt(Z.shape[1]) + 0.05) + 2 * abs(phi.tail_) * len(X)
    expect(error <= bound, f"error of features {error / trace:.3g} of the trace")
