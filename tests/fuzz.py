"""Random networks on random rows and images against plain recursions.

    python tests/fuzz.py [--cases N] [--seed S]

Case number s is made from seed s alone, so that ``--cases 1 --seed s`` repeats it. What does not
hold is printed with its seed; the exit code is 1 then. Kernels that float64 cannot hold, or cannot
hold to enough digits, may be refused.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections import Counter
from pathlib import Path

import numpy as np
import scipy.sparse as sp

sys.path.insert(0, str(Path(__file__).parent))

import nkfast as nk
from activation_cases import CASES

NAMES = sorted(CASES)
# Their kernels leave float64 at moderate variances: refused there, and tested on tame rows only.
GROWING = ("exp", "monomial", "polynomial", "hermite")
LINE = 1e-9  # error of kernels, relative to the roots of the diagonal


class Case:
    """A network, rows or images, and how they are laid out."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = np.random.default_rng(seed)
        self.seed = seed
        self.images = rng.random() < 0.2
        self.tame = False
        self.net = self._images_network() if self.images else self._network()
        self.X, self.Z = self._points(), self._points()
        self.calls: Counter[str] = Counter()

    def _activation(self):
        rng = self.rng
        name = NAMES[rng.integers(len(NAMES))]
        self.tame = self.tame or any(part in name for part in GROWING)
        return CASES[name][0]

    def _dense(self):
        rng = self.rng
        return nk.Dense(float(rng.uniform(0.3, 2)), float(rng.choice([0, rng.uniform(0, 1)])))

    def _layers(self, depth: int):
        rng = self.rng
        for _ in range(depth):
            kind = rng.random()
            if kind < 0.15 and depth > 1:
                yield nk.Residual(self._dense(), self._activation(), self._dense())
            else:
                yield self._dense()
                yield self._activation()
        if rng.random() < 0.9:
            yield self._dense()

    def _network(self):
        return nk.Sequential(*self._layers(int(self.rng.integers(1, 5))))

    def _images_network(self):
        rng = self.rng
        layers = []
        for _ in range(int(rng.integers(1, 3))):
            shape = tuple(int(v) for v in rng.integers(1, 4, 2))
            padding = str(rng.choice(["SAME", "CIRCULAR"]))
            b_std = float(rng.choice([0, 0.3]))
            layers += [nk.Conv(shape, padding=padding, w_std=1.3, b_std=b_std), self._activation()]
        layers += [nk.GlobalAvgPool() if rng.random() < 0.5 else nk.Flatten(), nk.Dense()]
        return nk.Sequential(*layers)

    def _points(self):
        rng = self.rng
        scale = 10.0 ** rng.uniform(-8, 8)
        spread = rng.choice([0.0, 0.0, 1.0, 6.0])
        if self.tame:
            scale, spread = 10.0 ** rng.uniform(-3, -0.5), 0.0
        if self.images:
            n = int(rng.integers(1, 5))
            shape = (n, *self._image_shape())
            return scale * rng.standard_normal(shape)
        n, d = int(rng.integers(0, 71)), self._n_features()
        X = rng.standard_normal((n, d)) * scale * 10.0 ** (spread * rng.uniform(-0.5, 0.5, (n, 1)))
        if n > 4 and rng.random() < 0.6:
            X[1], X[2], X[3] = X[0], -X[0], 0
            X[4] = X[0] * (1 + 1e-9 * rng.standard_normal())
        if rng.random() < 0.3:
            X = np.where(rng.random(X.shape) < 0.7, 0, X)
        return X

    def _n_features(self) -> int:
        if not hasattr(self, "_d"):
            self._d = int(self.rng.integers(1, 20))
        return self._d

    def _image_shape(self):
        if not hasattr(self, "_shape"):
            h, w, c = self.rng.integers(3, 6), self.rng.integers(3, 6), self.rng.integers(1, 4)
            self._shape = (int(h), int(w), int(c))
        return self._shape

    def __str__(self) -> str:
        sizes = [f"{x.shape} up to {np.abs(x).max(initial=0):.2g}" for x in (self.X, self.Z)]
        return f"seed {self.seed}: {self.net} on {sizes[0]} and {sizes[1]}"


def recursion(net, X, Z):
    """NNGP and NTK of rows, and what of both belongs to each row, layer by layer."""
    d = X.shape[1]
    X, Z = X / np.sqrt(d), Z / np.sqrt(d)
    p, q = (X * X).sum(axis=1), (Z * Z).sum(axis=1)
    k = np.clip(X @ Z.T, -np.sqrt(np.outer(p, q)), np.sqrt(np.outer(p, q)))
    state = [k, np.zeros_like(k), p, np.zeros_like(p), q, np.zeros_like(q)]
    return _walk(net.layers, state)


def _walk(layers, state):
    for layer in layers:
        k, theta, p, tp, q, tq = state
        if isinstance(layer, nk.Dense):
            w, b = layer.w_std**2, layer.b_std**2
            new_k, new_p, new_q = w * k + b, w * p + b, w * q + b
            state = [new_k, w * theta + new_k, new_p, w * tp + new_p, new_q, w * tq + new_q]
        elif isinstance(layer, nk.Residual):
            branch = _walk(layer.layers, list(state))
            state = [a + b for a, b in zip(state, branch, strict=True)]
        else:
            left, right = p[:, None], q[None]
            state = [
                layer.dual(left, right, k),
                theta * layer.dual_derivative(left, right, k),
                layer.dual(p, p, p),
                tp * layer.dual_derivative(p, p, p),
                layer.dual(q, q, q),
                tq * layer.dual_derivative(q, q, q),
            ]
    return state


def expect(holds, what) -> None:
    if not holds:
        raise AssertionError(what)


def near(found, exact, scale, bound, what) -> None:
    error = np.abs(found - exact) / np.where(scale > 0, scale, 1)
    expect(np.all(np.isfinite(found)), f"{what}: not finite")
    expect(error.max(initial=0) <= bound, f"{what}: off by {error.max(initial=0):.3g}")


def _rounding(layers, bounds=(1e-9, 1e-9)):
    """What roundings of covariances do to the NNGP and to the NTK, and to their eigenvalues.

    Dual kernels of functions with a jump have the angle itself, and where near points have a
    rounding in 1 - rho, the angle has its root; so have slopes of functions with a kink.
    """
    nngp, ntk = bounds
    for layer in layers:
        if isinstance(layer, nk.Residual):
            nngp, ntk = _rounding(layer.layers, (nngp, ntk))
        elif isinstance(layer, nk.activations.Activation):
            kinked, jumps = (
                abs(float(dual(1.0, 1.0, 1.0) - dual(1.0, 1.0, 1 - 1e-10))) > 1e-7
                for dual in (layer.dual_derivative, layer.dual)
            )
            if kinked and nngp > 1e-9:
                ntk = max(ntk, nngp**0.5)
            if jumps:
                nngp = max(1e-7, nngp**0.5) if nngp > 1e-9 else 1e-7
    return nngp, max(nngp, ntk)


def kernels(case: Case) -> None:
    """Exact kernels: the recursion, symmetry, the diagonal, eigenvalues, and the same bits."""
    net, X, Z = case.net, case.X, case.Z
    both, own, diagonals = net.kernel(X, Z), net.kernel(X), net.diag(X)
    others = net.diag(Z)
    case.calls.update({"kernel": 2, "diag": 2})
    bounds = _rounding(net.layers)
    for K, d, bound in zip(own, diagonals, bounds, strict=True):
        expect(np.array_equal(K, K.T), "K(X, X) is not symmetric")
        if case.images:
            near(np.diagonal(K), d, d, 1e-13, "diagonal")
        else:
            expect(np.array_equal(np.diagonal(K), d), "the diagonal is not that of diag")
        if len(K):
            least = np.linalg.eigvalsh(K / max(d.max(), 1e-300)).min()
            expect(least > -bound * len(K), f"eigenvalue {least:.3g}")
    if not case.images:
        k, theta, p, tp, q, tq = recursion(net, X, Z)
        near(both.nngp, k, np.sqrt(np.outer(p, q)), max(LINE, bounds[0]), "nngp")
        near(both.ntk, theta, np.sqrt(np.outer(tp, tq)), max(LINE, bounds[1]), "ntk")
        near(others.ntk, tq, tq, LINE, "diag")
    with nk.num_threads(int(case.rng.integers(1, 4))):
        expect(np.array_equal(net.ntk(X, Z), both.ntk), "other bits by threads")
        again = net.ntk(X, Z, block=int(case.rng.integers(1, 40)))
    near(again, both.ntk, np.sqrt(np.outer(diagonals.ntk, others.ntk)), 1e-10, "blocks")
    case.calls["kernel"] += 2
    if not case.images:
        sparse = net.ntk(sp.csr_array(X), Z)
        near(sparse, both.ntk, np.sqrt(np.outer(diagonals.ntk, others.ntk)), 1e-6, "sparse")
        case.calls["kernel"] += 1


def features(case: Case) -> None:
    """Features: finite, their own row's only, and near the kernel in their norms."""
    net, X = case.net, case.X
    if len(X) < 2 or not np.any(X):
        return
    m = int(case.rng.integers(1, 300))
    kind = nk.NTKFeatures if case.rng.random() < 0.5 else nk.NNGPFeatures
    phi = kind(net, m, random_state=case.seed).fit(X)
    Z = phi.transform(X)
    case.calls.update({"fit": 1, "transform": 3})
    expect(Z.shape == (len(X), m), f"shape {Z.shape}")
    expect(np.all(np.isfinite(Z)), "features are not finite")
    with nk.num_threads(2):
        alone = np.concatenate([phi.transform(X[i : i + 1]) for i in range(min(len(X), 4))])
    expect(np.array_equal(alone, Z[:4]), "a row's features depend on its batch")
    own = net.diag(X).ntk if kind is nk.NTKFeatures else net.diag(X).nngp
    share = (Z**2).sum(axis=1) / np.where(own > 0, own, 1)
    expect(share.max() < 3, f"norms of features: {share.max():.3g} of the kernel")


def sketches(case: Case) -> None:
    """Sketches: finite, linear, the same dense and sparse, and by any number of threads."""
    if case.images or len(case.X) == 0:
        return
    rng, X = case.rng, case.X
    m = int(rng.integers(1, 80))
    kinds = (
        nk.sketch.CountSketch(m, random_state=0),
        nk.sketch.SRHT(m, random_state=0),
        nk.sketch.TensorSketch(int(rng.integers(1, 5)), m, random_state=0),
    )
    for sketch in kinds:
        S = sketch.fit_transform(X)
        with nk.num_threads(3):
            again = sketch.transform(sp.csr_array(X))
        scale = np.abs(S).max(axis=1, initial=0)[:, None]
        near(again, S, np.broadcast_to(scale, S.shape), 1e-9, f"{sketch}, sparse")
        case.calls["sketch"] += 2


CHECKS = (kernels, features, sketches)


def run(seed: int) -> tuple[list[str], Counter[str]]:
    """Run all checks of a case; return what did not hold, and how often what was called."""
    case = Case(seed)
    wrong = []
    for check in CHECKS:
        try:
            with np.errstate(all="ignore"):
                check(case)
        except ValueError as error:
            if "scale the inputs" in str(error):
                case.calls["refused"] += 1
            else:
                wrong.append(f"{case}: {check.__name__}: {traceback.format_exc(limit=-3)}")
        except AssertionError as error:
            wrong.append(f"{case}: {check.__name__}: {error}")
        except Exception:
            wrong.append(f"{case}: {check.__name__}: {traceback.format_exc(limit=-3)}")
    return wrong, case.calls


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    calls: Counter[str] = Counter()
    failed = 0
    for seed in range(options.seed, options.seed + options.cases):
        wrong, made = run(seed)
        calls += made
        failed += bool(wrong)
        for line in wrong:
            print(line, flush=True)
    print(f"{options.cases} cases from seed {options.seed}, {failed} failed; calls: {dict(calls)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
