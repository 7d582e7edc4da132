"""Exact kernels of images, against maps of all pairs of pixels."""

from __future__ import annotations

from typing import Any

import numpy as np

import nkfast as nk
from reference import image_kernels

from . import data, forms
from .draw import Draw, Library, expect, near, same
from .networks import Network

LINE = 1e-9


def check(draw: Draw, nkfast: Library) -> None:
    network = Network(draw, images=True, cheap=True)
    net, scale = network.net, network.scale()
    shape = tuple(int(v) for v in draw.rng.integers((4, 4, 1), (7, 7, 4)))
    n, m = draw.count(0, 4), draw.count(0, 4)
    X, Z = data.images(draw, n, shape, scale), data.images(draw, m, shape, scale)
    nkfast.note(net, X.shape, f"scale {scale:.2g}")
    try:
        own, ends = nkfast("kernel", net.kernel, X), nkfast("diag", net.diag, X)
    except ValueError as error:
        if "expected images of at least" in str(error):
            nkfast["refused"] += 1
            return
        raise
    both, others = nkfast("kernel", net.kernel, X, Z), nkfast("diag", net.diag, Z)
    for name in ("nngp", "ntk"):
        K, d = getattr(own, name), getattr(ends, name)
        same(K, K.T, f"K(X, X) and its transpose, {name}")
        near(np.diagonal(K), d, 1e-12 * np.abs(d), f"diagonal, {name}")
        expect(np.all(d >= 0), f"diagonal below zero, {name}")
    for count in draw.rng.integers(2, 6, 2):
        with nk.num_threads(int(count)):
            found = nkfast("kernel", net.kernel, X, Z)
        same(found.nngp, both.nngp, f"nngp by {count} threads")
        same(found.ntk, both.ntk, f"ntk by {count} threads")
    for _ in range(3):
        form, other = forms.dense(draw, X)
        found = nkfast("kernel", net.kernel, other, Z)
        same(found.ntk, both.ntk, f"ntk, X {form}")
    _blocks(draw, nkfast, net, X, Z, both, (ends, others))
    if draw.chance(0.15) and n and m:
        _recursion(net, X, Z, both, (ends, others))


def _blocks(draw: Draw, nkfast: Library, net: Any, X: Any, Z: Any, both: Any, ends: Any) -> None:
    found = nkfast("kernel", net.kernel, X, Z, block=draw.count(1, 4))
    for name in ("nngp", "ntk"):
        scale = _scale(ends, name)
        near(getattr(found, name), getattr(both, name), LINE * scale, f"blocks, {name}")


def _recursion(net: Any, X: Any, Z: Any, both: Any, ends: Any) -> None:
    """The same layers on maps in full; duals are nkfast's own."""
    exact = dict(zip(("nngp", "ntk"), image_kernels(net, X[:2], Z[:2]), strict=True))
    for name, K in exact.items():
        near(getattr(both, name)[:2, :2], K, LINE * _scale(ends, name)[:2, :2], name)


def _scale(ends: Any, name: str) -> Any:
    return np.sqrt(np.outer(getattr(ends[0], name), getattr(ends[1], name)))
