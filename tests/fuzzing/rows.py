"""Exact kernels of rows: the recursion, symmetry, the diagonal, eigenvalues, and the same bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

import nkfast as nk

from . import data, forms
from .draw import Draw, Library, expect, near, same
from .networks import Network, n_features, root_mean_square
from .recursion import Reference, diagonal, reference

LINE = 1e-9  # error of kernels, relative to the roots of the diagonal
SINGLE = 2.0**-23


def check(draw: Draw, nkfast: Library) -> None:
    network = Network(draw)
    net, scale = network.net, network.scale()
    d = n_features(draw)
    spread = 0.0 if scale != min(max(scale, 1e-7), 1e6) else float(draw.pick((0, 0, 1, 4)))
    if network.tables or scale < 1e-3 or scale > 1e3:
        spread = min(spread, 1.0)
    X = data.matrix(draw, draw.count(0, 70), d, scale, spread)
    Z = data.matrix(draw, draw.count(0, 70), d, scale, spread)
    nkfast.note(net, f"{X.shape} up to {root_mean_square(X):.2g}", f"{Z.shape}")
    Case(draw, nkfast, network, X, Z).check()


class Case:
    """The kernels of one network on X and Z."""

    def __init__(self, draw: Draw, nkfast: Library, network: Network, X: Any, Z: Any) -> None:
        self.draw, self.call, self.net, self.X, self.Z = draw, nkfast, network.net, X, Z
        self.tables = network.tables
        self.exact: Reference = reference(self.net, X, Z, LINE, self.tables)
        self.both = nkfast("kernel", self.net.kernel, X, Z)

    def check(self) -> None:
        self.near(self.both, "kernel")
        self.own()
        self.diagonals()
        for part in (self.threads, self.blocks, self.outputs, self.dense_forms, self.sparse_forms):
            part()
        self.single()

    def near(self, found: Any, what: str, line: float = 0.0) -> None:
        exact = self.exact
        for name in ("nngp", "ntk"):
            bound = getattr(exact, f"{name}_bound") + line * getattr(exact, f"{name}_scale")
            near(getattr(found, name), getattr(exact, name), bound, f"{what}, {name}")

    def own(self) -> None:
        """K(X, X) and its symmetry, eigenvalues and diagonal."""
        call, net, X = self.call, self.net, self.X
        own, ends = call("kernel", net.kernel, X), call("diag", net.diag, X)
        exact = reference(net, X, X, LINE, self.tables)
        for name in ("nngp", "ntk"):
            K, d = getattr(own, name), getattr(ends, name)
            same(K, K.T, f"K(X, X) and its transpose, {name}")
            same(np.diagonal(K), d, f"diagonal, {name}")
            scale = getattr(exact, f"{name}_scale")
            bound = getattr(exact, f"{name}_bound")
            off = ~np.eye(len(K), dtype=bool)
            near(K[off], getattr(exact, name)[off], bound[off], f"K(X, X), {name}")
            if 0 < len(K) <= 40:
                unit = np.where(scale > 0, scale, 1).astype(float)
                least = np.linalg.eigvalsh(K / unit)[0]
                rounding = float((bound / unit).max())
                expect(least >= -rounding * len(K), f"{name}: eigenvalue {least:.3g}")

    def diagonals(self) -> None:
        for points, left in ((self.X, True), (self.Z, False)):
            found = self.call("diag", self.net.diag, points)
            for value, exact in zip(found, diagonal(self.net, points), strict=True):
                near(value, exact, LINE * exact, f"diag of {'X' if left else 'Z'}")

    def threads(self) -> None:
        for n in self.draw.rng.integers(2, 9, 2):
            with nk.num_threads(int(n)):
                found = self.call("kernel", self.net.kernel, self.X, self.Z)
            same(found.nngp, self.both.nngp, f"nngp by {n} threads")
            same(found.ntk, self.both.ntk, f"ntk by {n} threads")

    def blocks(self) -> None:
        """Values in blocks are those of the whole, up to rounding."""
        draw, net = self.draw, self.net
        block = draw.count(8, 80)
        self.near(self.call("kernel", net.kernel, self.X, self.Z, block=block), f"block={block}")
        rows = draw.count(4, 80)
        for name in ("nngp", "ntk"):
            K = np.full(self.both.ntk.shape, np.nan)
            for which, part in self.call("kernel", net.kernel_blocks, self.X, self.Z, name, rows):
                K[which] = part
            bound = getattr(self.exact, f"{name}_bound")
            near(K, getattr(self.exact, name), bound, f"rows={rows}, {name}")

    def outputs(self) -> None:
        """One kernel alone, and in arrays that are given."""
        shape = self.both.ntk.shape
        for name in ("nngp", "ntk"):
            expected = getattr(self.both, name)
            found = self.call("kernel", getattr(self.net, name), self.X, self.Z)
            same(found, expected, f"{name} alone")
            out = forms.wide(np.zeros(shape)) if self.draw.chance(0.5) else np.zeros(shape)
            self.call("kernel", getattr(self.net, name), self.X, self.Z, out=out)
            same(out, expected, f"{name} into out")

    def dense_forms(self) -> None:
        for _ in range(4):
            (left, X), (right, Z) = forms.dense(self.draw, self.X), forms.dense(self.draw, self.Z)
            found = self.call("kernel", self.net.kernel, X, Z)
            same(found.nngp, self.both.nngp, f"nngp, X {left}, Z {right}")
            same(found.ntk, self.both.ntk, f"ntk, X {left}, Z {right}")

    def sparse_forms(self) -> None:
        for _ in range(2):
            (left, X), (right, Z) = forms.sparse(self.draw, self.X), forms.sparse(self.draw, self.Z)
            if self.draw.chance(0.3):
                left, X = "dense", self.X
            self.near(self.call("kernel", self.net.kernel, X, Z), f"X {left}, Z {right}")

    def single(self) -> None:
        """float32 rows: the kernel of the same numbers, rounded once."""
        X, Z = self.X.astype(np.float32), self.Z.astype(np.float32)
        if not np.any(X) or np.abs(X).max() > 1e10:
            return
        exact = self.call("kernel", self.net.kernel, X.astype(float), Z.astype(float))
        if max(np.abs(K).max(initial=0) for K in exact) > 1e30:
            return
        found = self.call("kernel", self.net.kernel, X, Z)
        ends = [self.call("diag", self.net.diag, points.astype(float)) for points in (X, Z)]
        for name in ("nngp", "ntk"):
            K = getattr(found, name)
            expect(K.dtype == np.float32, "float32 rows, another dtype")
            scale = np.sqrt(np.outer(*(getattr(d, name) for d in ends)))
            near(K, getattr(exact, name), 4 * SINGLE * scale + 1e-37, f"float32, {name}")
        if self.draw.chance(0.3):
            _, S = forms.sparse(self.draw, X)
            K = self.call("kernel", self.net.ntk, S, sp.csr_array(Z))
            expect(K.dtype == np.float32, "sparse float32 rows, another dtype")
