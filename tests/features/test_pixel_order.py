"""Features of images do not depend on how the core orders its work."""

from dataclasses import replace

import numpy as np
import pytest

import nkfast as nk
from nkfast.features.pixels._records import (
    Hash,
    OwnTangent,
    PixelPool,
    PixelStage,
    SharedTangent,
)

C = nk.Conv


def images(rng, n, shape):
    x = rng.standard_normal((n, *shape))
    return (x + np.roll(x, 1, 1) + np.roll(x, 1, 2)).astype(np.float32)


def some_network(rng):
    """Layers at random, and images that they take."""
    height, width = rng.randint(8, 24, 2)
    layers = []
    for _ in range(rng.randint(1, 4)):
        filters = int(rng.randint(1, 5)), int(rng.randint(1, 4))
        strides = [(1, 1), (1, 1), (2, 1), (2, 3)][rng.randint(4)]
        padding = ["SAME", "SAME", "VALID", "CIRCULAR"][rng.randint(4)]
        if padding == "CIRCULAR":
            strides = 1, 1
        layers += [C(filters, strides, padding, b_std=0.1), [nk.ReLU(), nk.GELU()][rng.randint(2)]]
        if rng.randint(3) == 0:
            layers.append(nk.Residual(C((1, 1)), nk.ReLU(), C(w_std=0.7)))
        if rng.randint(2):
            window = int(rng.randint(1, 4)), int(rng.randint(1, 4))
            layers.append(nk.AvgPool(window, [None, (1, 2), (3, 1)][rng.randint(3)]))
    layers.append([nk.Flatten(), nk.GlobalAvgPool()][rng.randint(2)])
    return nk.Sequential(*layers, nk.Dense()), (int(height), int(width), 2)


@pytest.mark.simd
@pytest.mark.parametrize("seed", range(24))
def test_blocks_of_other_sizes(seed):
    """In float64 a block holds half as many pixels, and other blocks are in use at a time."""
    rng = np.random.RandomState(seed)
    for _ in range(20):
        net, shape = some_network(rng)
        x = images(rng, 2, shape)
        make = [nk.NTKFeatures, nk.NNGPFeatures][rng.randint(2)]
        phi = make(net, 64, pixel_components=int(rng.choice([16, 32, 64])), random_state=seed)
        try:
            phi.fit(x)
        except ValueError as error:  # too small an image
            assert "layer" in str(error)  # noqa: PT017
            continue
        found, want = np.empty((2, 64), np.float32), np.empty((2, 64))
        program = phi._construction._program()
        program.run(x.reshape(2, -1), found, 1, True)
        program.run(x.reshape(2, -1).astype(np.float64), want, 1, False)
        assert np.linalg.norm(found - want) < 1e-4 * np.linalg.norm(want)
        return
    raise AssertionError


def relabelled(plan, rng):
    """Change the order and the signs of the features that activations store."""
    orders = {}
    stages = []

    def stored(hashed, field, n):
        order, signs = orders[field]
        to = hashed.to
        return Hash(order[to], (hashed.signs * signs[to]).astype(np.int8))

    def seen(part):
        if part.field not in orders:
            return part
        order, signs = orders[part.field]
        n = len(order)
        to, new = part.hashed.to.copy(), part.hashed.signs.copy()
        to[order], new[order] = part.hashed.to[:n], part.hashed.signs[:n] * signs
        return replace(part, hashed=Hash(to, new))

    for stage in plan.stages:
        if isinstance(stage, PixelPool):
            if stage.source in orders:
                orders[stage.target] = orders[stage.source]
            stages.append(stage)
            continue
        channels = [replace(c, parts=[seen(p) for p in c.parts]) for c in stage.channels]
        f = stage.activation
        if f is not None:
            for field in stage.stores:
                n = plan.fields[field][2]
                signs = rng.choice([-1, 1], n).astype(np.int8)
                orders[field] = rng.permutation(n).astype(np.int32), signs
            own = [stored(h, stage.stores[0], f.n) for h in f.sums]
            tangent = f.tangent
            if isinstance(tangent, SharedTangent):
                sums = [stored(h, stage.stores[1], tangent.n) for h in tangent.sums]
                tangent = replace(tangent, sums=sums)
            elif isinstance(tangent, OwnTangent):
                # The NNGP kernel's features are in their new order when they are taken up.
                last = tangent.from_nngp
                order, signs = orders[stage.stores[0]]
                to, new = last.to.copy(), last.signs.copy()
                to[order], new[order] = last.to[:-1], last.signs[:-1] * signs
                names = "from_product", "from_tangent", "from_slope"
                given = {name: getattr(tangent, name) for name in names}
                given["from_nngp"] = Hash(to, new)
                given = {k: stored(h, stage.stores[1], tangent.n) for k, h in given.items()}
                tangent = replace(tangent, **given)
            f = replace(f, sums=own, tangent=tangent)
        stages.append(PixelStage(channels, f, stage.stores))
    final = plan.output
    if final.field in orders:
        order, signs = orders[final.field]
        hashed = final.sample.hashed
        to, new = hashed.to.copy(), hashed.signs.copy()
        to[order], new[order] = hashed.to[:-1], hashed.signs[:-1] * signs
        plan.output = replace(final, sample=replace(final.sample, hashed=Hash(to, new)))
    plan.stages = stages


@pytest.mark.simd
@pytest.mark.parametrize("get", [nk.NTKFeatures, nk.NNGPFeatures])
@pytest.mark.parametrize("last", [nk.Flatten(), nk.GlobalAvgPool()])
def test_sums_in_any_order(last, get):
    """Sums that are read in order are those of features that come in no order."""
    rng = np.random.RandomState(0)
    x = images(rng, 3, (12, 9, 2))
    layers = [C(b_std=0.2), nk.ReLU(), C(), nk.GELU(), nk.AvgPool((2, 2)), C(), nk.ReLU()]
    phi = get(nk.Sequential(*layers, last), 48, pixel_components=64, random_state=0).fit(x)
    Z = phi.transform(x)
    relabelled(phi._construction.plan, rng)
    phi._construction._compiled = None
    assert np.linalg.norm(phi.transform(x) - Z) < 1e-5 * np.linalg.norm(Z)


@pytest.mark.parametrize(("width", "most"), [(512, 2), (1024, 4), (2048, 8)])
def test_a_thread_works_in_few_megabytes(width, most):
    x = images(np.random.RandomState(0), 1, (32, 32, 3))
    phi = nk.NTKFeatures(nk.myrtle(5), 4096, pixel_components=width, random_state=0).fit(x)
    assert 0 < phi._construction.bytes_per_thread <= most * 2**20


@pytest.mark.parametrize("size", [64, 65])
def test_a_thread_holds_bands_of_large_images(size):
    x = images(np.random.RandomState(0), 1, (size, size, 1))
    phi = nk.NTKFeatures(nk.myrtle(5), 64, pixel_components=64, random_state=0).fit(x)
    plan = phi._construction.plan
    whole = sum(4 * height * width * n for height, width, n in plan.fields)
    assert phi._construction.bytes_per_thread < 0.25 * whole
