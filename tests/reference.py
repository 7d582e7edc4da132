"""Slow, obvious oracles, written from the formulas: plain Python floats, one pair at a time."""

import math
from itertools import pairwise

import numpy as np

import nkfast as nk

# --- dual activations ---


def gaussian_density(z):
    return np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)


def panels(a, b, n_panels=24, n_nodes=20):
    """Nodes and weights of composite Gauss-Legendre quadrature on [a, b]."""
    x, w = np.polynomial.legendre.leggauss(n_nodes)
    edges = np.linspace(a, b, n_panels + 1)
    half = np.diff(edges)[:, None] / 2
    nodes = edges[:-1, None] + half * (1 + x)
    return nodes.ravel(), (half * w).ravel()


def split_panels(breakpoints, reach=12.0):
    """Quadrature on [-reach, reach] with no panel across a breakpoint."""
    inside = sorted(b for b in breakpoints if -reach < b < reach)
    edges = [-reach, *inside, reach]
    parts = [panels(a, b) for a, b in pairwise(edges)]
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def expectation(f, std, breakpoints=()):
    """E f(std z) for a standard normal z."""
    z, w = split_panels([b / std for b in breakpoints] if std > 0 else ())
    return float(np.sum(w * gaussian_density(z) * f(std * z)))


def dual(f, p, q, rho, breakpoints=()):
    """E f(u) f(v) for Gaussians of variances p, q and correlation rho, |rho| < 1.

    u = sqrt(p) z1 and v = sqrt(q) (rho z1 + sqrt(1 - rho^2) z2); the inner integral over z2 is
    split where v meets a breakpoint.
    """
    s, t, r = math.sqrt(p), math.sqrt(q), math.sqrt(1 - rho**2)
    total = 0.0
    nodes, weights = split_panels([b / s for b in breakpoints])
    for z1, w1 in zip(nodes, weights, strict=True):
        kinks = [(b / t - rho * z1) / r for b in breakpoints]
        z2, w2 = split_panels(kinks)
        inner = np.sum(w2 * gaussian_density(z2) * f(t * (rho * z1 + r * z2)))
        total += w1 * gaussian_density(z1) * float(f(np.array(s * z1))) * float(inner)
    return total


# --- Gaussian integrals in two dimensions, adapted to kinks and to any correlation ---

RANGE = 11.0


def cut_panels(edges, n_nodes):
    """Nodes and weights of Gauss-Legendre rules between neighbouring edges, on the last axis."""
    x, w = np.polynomial.legendre.leggauss(n_nodes)
    edges = np.sort(np.clip(edges, -RANGE, RANGE), axis=-1)
    half = np.diff(edges, axis=-1)[..., None] / 2
    nodes = edges[..., :-1, None] + half * (1 + x)
    shape = (*edges.shape[:-1], -1)
    return nodes.reshape(shape), (half * w).reshape(shape)


def adapted_dual(f, p, q, rho, kinks=()):
    """E f(u) f(v) for Gaussians of variances p, q and correlation rho, |rho| <= 1.

    Like `dual`, with more panels: around kinks and zero, where steep functions bend, and for the
    outer variable where the inner integral bends with it.
    """
    s, t = math.sqrt(p), math.sqrt(q)
    marks = np.array([b + d for b in {0.0, *kinks} for d in (0, 0.3, -0.3, 1, -1, 3, -3, 8, -8)])
    even = np.linspace(-RANGE, RANGE, 89)
    if abs(rho) == 1:
        z, w = cut_panels(np.concatenate([even, marks / s, rho * marks / t]), 16)
        return float(np.sum(w * gaussian_density(z) * f(s * z) * f(t * rho * z)))
    root = math.sqrt((1 - rho) * (1 + rho))
    edges = [even, marks / s]
    if rho:
        edges += [marks / (t * rho) + d * root / rho for d in (0, 1, -1, 2.5, -2.5, 5, -5, 9, -9)]
    z, w = cut_panels(np.unique(np.clip(np.concatenate(edges), -RANGE, RANGE)), 10)
    total = 0.0
    even = np.linspace(-RANGE, RANGE, 12 + int(3 * t * root))
    for i in range(0, len(z), 400):
        u = z[i : i + 400, None]
        ends = np.hstack([np.broadcast_to(even, (len(u), len(even))), (marks / t - rho * u) / root])
        x, wx = cut_panels(ends, 14)
        inner = np.sum(wx * gaussian_density(x) * f(t * (rho * u + root * x)), axis=1)
        total += np.sum(w[i : i + 400] * gaussian_density(u[:, 0]) * f(s * u[:, 0]) * inner)
    return float(total)


def relu_dual(p, q, c):
    """(k, kdot) of ReLU: Cho & Saul 2009, eqs. (3)-(6), in plain floats."""
    if p == 0 or q == 0:
        return 0.0, 0.25  # the angle counts as a right one
    rho = min(1.0, max(-1.0, c / math.sqrt(p * q)))
    theta = math.acos(rho)
    k = math.sqrt(p * q) * (math.sin(theta) + (math.pi - theta) * rho) / (2 * math.pi)
    return k, (math.pi - theta) / (2 * math.pi)


# --- networks ---


def pair_kernels(net, x, z):
    """(nngp, ntk) of one pair of different points by the recursion of the layers."""
    d = len(x)
    k = math.fsum(float(a) * float(b) for a, b in zip(x, z, strict=True)) / d
    p = math.fsum(float(a) ** 2 for a in x) / d
    q = math.fsum(float(b) ** 2 for b in z) / d
    theta = 0.0
    for layer in net.layers:
        if isinstance(layer, nk.Dense):
            w2, b2 = layer.w_std**2, layer.b_std**2
            k, p, q = w2 * k + b2, w2 * p + b2, w2 * q + b2
            theta = w2 * theta + k
        elif isinstance(layer, nk.ReLU):
            k, slope = relu_dual(p, q, k)
            theta *= slope
            p, q = p / 2, q / 2
        else:
            raise NotImplementedError(repr(layer))
    return k, theta


def point_kernels(net, x):
    """(nngp, ntk) of a point with itself: for ReLU E f(u)^2 = p / 2 and E f'(u)^2 = 1 / 2."""
    p = math.fsum(float(a) ** 2 for a in x) / len(x)
    theta = 0.0
    for layer in net.layers:
        if isinstance(layer, nk.Dense):
            p = layer.w_std**2 * p + layer.b_std**2
            theta = layer.w_std**2 * theta + p
        else:
            p, theta = p / 2, theta / 2
    return p, theta


def kernels(net, X, Z=None):
    """(nngp, ntk) matrices; the diagonal of X with itself by its own recursion."""
    points = X if Z is None else Z
    values = np.array([[pair_kernels(net, x, z) for z in points] for x in X])
    values = values.reshape(len(X), len(points), 2)
    if Z is None:
        for i, x in enumerate(X):
            values[i, i] = point_kernels(net, x)
    return values[..., 0], values[..., 1]


# --- ridge regression ---


def ridge(Z, Y, alpha, weight=None, *, intercept=True):
    """(coef, intercept) of min sum_i w_i |y_i - Z_i w - b|^2 + alpha |w|^2, by least squares.

    The penalty is sqrt(alpha) w = 0 as further equations, the constant one more column. Of many
    solutions (alpha = 0) it is that of least norm in w.
    """
    n, p = Z.shape
    root = np.sqrt(np.ones(n) if weight is None else weight)[:, None]
    if intercept:
        # Leave the constant out of the norm: project it out of the equations.
        share = root**2 / np.sum(root**2)
        mean_z, mean_y = (share * Z).sum(axis=0), (share * Y).sum(axis=0)
    else:
        mean_z, mean_y = np.zeros(p), np.zeros(Y.shape[1])
    left = np.vstack([root * (Z - mean_z), math.sqrt(alpha) * np.eye(p)])
    right = np.vstack([root * (Y - mean_y), np.zeros((p, Y.shape[1]))])
    coef = np.linalg.lstsq(left, right, rcond=1e-10)[0]
    return coef, mean_y - mean_z @ coef


def gcv(Z, Y, alpha, *, intercept=True):
    """n RSS / (n - df)^2, with the trace of the hat matrix written out."""
    n, p = Z.shape
    centre = np.eye(n) - (1 / n if intercept else 0)
    Zc, Yc = centre @ Z, centre @ Y
    hat = Zc @ np.linalg.solve(Zc.T @ Zc + alpha * np.eye(p), Zc.T) + (np.eye(n) - centre)
    residual = Y - hat @ Y
    assert np.allclose(
        residual,
        Yc
        - Zc
        @ np.linalg.lstsq(
            np.vstack([Zc, math.sqrt(alpha) * np.eye(p)]),
            np.vstack([Yc, np.zeros((p, Y.shape[1]))]),
            rcond=None,
        )[0],
    )
    return n * float(np.sum(residual**2)) / (n - np.trace(hat)) ** 2


# --- networks of images ---


def window_means(x, axes, taps, stride, padding):
    """Means over windows that slide along these axes together; zeros or repeats around."""
    size = x.shape[axes[0]]
    out = (size - taps) // stride + 1 if padding == "VALID" else math.ceil(size / stride)
    before = max(0, (out - 1) * stride + taps - size) // 2 if padding != "VALID" else 0
    total = 0
    for tap in range(taps):
        at = np.arange(out) * stride + tap - before
        part = x
        for axis in axes:
            part = np.take(part, at % size, axis)
            if padding != "CIRCULAR":
                shape = [1] * x.ndim
                shape[axis] = out
                part = part * ((at >= 0) & (at < size)).reshape(shape)
        total = total + part
    return total / taps


class PixelMaps:
    """K and Theta of a pair of images as (row, column, row', column'), and each with itself."""

    def __init__(self, x, z):
        d = x.shape[-1]
        self.k, self.p, self.q = (
            np.einsum("abc,dec->abde", a, b) / d for a, b in ((x, z), (x, x), (z, z))
        )
        self.theta = 0 * self.k

    def each(self, f):
        self.k, self.theta, self.p, self.q = map(f, (self.k, self.theta, self.p, self.q))

    def own(self, m):
        return np.einsum("abab->ab", m) if m.ndim else m

    def activate(self, act):
        p, q = self.own(self.p), self.own(self.q)
        left, right = (p[:, :, None, None], q) if p.ndim else (p, q)
        k, slope = act._pair(left, right, self.k)
        self.theta = slope * self.theta
        for name, v in (("p", p), ("q", q)):
            if v.ndim:
                m = act._pair(v[:, :, None, None], v, getattr(self, name))[0]
                at = np.ix_(*map(np.arange, v.shape))
                m[at[0], at[1], at[0], at[1]] = act._diagonal(v)[0]
            else:
                m = act._diagonal(v)[0]
            setattr(self, name, m)
        self.k = k

    def affine(self, layer):
        w2, b2 = layer.w_std**2, layer.b_std**2
        self.p, self.q, self.k = (w2 * x + b2 for x in (self.p, self.q, self.k))
        self.theta = w2 * self.theta + self.k

    def take(self, layer):
        if isinstance(layer, nk.Residual):
            start = self.k, self.theta, self.p, self.q
            for inner in layer.layers:
                self.take(inner)
            end = self.k, self.theta, self.p, self.q
            self.k, self.theta, self.p, self.q = (a + b for a, b in zip(start, end, strict=True))
        elif isinstance(layer, nk.Conv):
            for i in range(2):
                taps, stride = layer.filter_shape[i], layer.strides[i]
                self.each(lambda m: window_means(m, (i, i + 2), taps, stride, layer.padding))  # noqa: B023
            self.affine(layer)
        elif isinstance(layer, nk.Dense):
            self.affine(layer)
        elif isinstance(layer, nk.AvgPool):
            strides = layer.strides or layer.window
            for axis in range(4):
                w, s = layer.window[axis % 2], strides[axis % 2]
                self.each(lambda m: window_means(m, (axis,), w, s, "VALID"))  # noqa: B023
        elif isinstance(layer, nk.GlobalAvgPool):
            self.each(np.mean)
        elif isinstance(layer, nk.Flatten):
            self.each(lambda m: np.mean(self.own(m)))
        else:
            self.activate(layer)


def image_kernels(net, X, Z=None):
    """(nngp, ntk) matrices of images, pair by pair; layers and duals of nkfast, maps in full."""
    points = X if Z is None else Z
    values = np.zeros((len(X), len(points), 2))
    for i, x in enumerate(X):
        for j, z in enumerate(points):
            maps = PixelMaps(x, z)
            for layer in net.layers:
                maps.take(layer)
            values[i, j] = np.mean(maps.own(maps.k)), np.mean(maps.own(maps.theta))
    return values[..., 0], values[..., 1]
