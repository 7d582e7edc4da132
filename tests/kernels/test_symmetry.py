"""K(X, X) is exactly symmetric, with the diagonal of `diag`, however wide the maps' tables are."""

import numpy as np
import pytest

import nkfast as nk

SMOOTH = nk.Elementwise(lambda x: np.sin(x) * np.tanh(x), name="sin tanh")


def networks():
    for name in ("relu", "gelu", "silu", "tanh", "hard_tanh", "softplus", "elu"):
        for depth in (1, 4, 7, 12):
            yield f"{name} {depth}", nk.mlp(depth, name)
    yield (
        "mixed",
        nk.Sequential(
            *(
                layer
                for a in (nk.SiLU(), SMOOTH, nk.HardSwish(), nk.Tanh())
                for layer in (nk.Dense(1.2, 0.1), a, nk.Dense(1.1), a)
            )
        ),
    )
    yield (
        "residual",
        nk.Sequential(
            nk.Dense(),
            nk.Residual(nk.SiLU(), nk.Dense(), nk.SiLU(), nk.Dense(), nk.Mish(), nk.Dense()),
        ),
    )


@pytest.mark.parametrize("n", [33, 200])
@pytest.mark.parametrize(("name", "net"), list(networks()))
def test_rows(name, net, n):
    X = np.random.default_rng(n).standard_normal((n, 12))
    for x in (X, X.astype(np.float32)):
        for kind in ("nngp", "ntk"):
            K = net.kernel(x, get=kind)
            np.testing.assert_array_equal(K, K.T)
            np.testing.assert_array_equal(np.diagonal(K), getattr(net.diag(x), kind))


@pytest.mark.parametrize("activation", ["relu", "silu", "hard_tanh"])
def test_images(activation):
    net = nk.Sequential(
        nk.Conv((3, 3)),
        nk.activations.get_activation(activation),
        nk.Conv((3, 3)),
        nk.activations.get_activation(activation),
        nk.GlobalAvgPool(),
        nk.Dense(),
    )
    X = np.random.default_rng(0).standard_normal((11, 6, 6, 2))
    for kind in ("nngp", "ntk"):
        K = net.kernel(X, get=kind)
        np.testing.assert_array_equal(K, K.T)
        np.testing.assert_allclose(np.diagonal(K), getattr(net.diag(X), kind), rtol=1e-13)
