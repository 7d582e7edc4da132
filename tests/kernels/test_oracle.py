"""Exact kernels of all activations and of networks of images against neural-tangents' values."""

import os
import re
from pathlib import Path

import numpy as np
import pytest

import nkfast as nk
import places

ORACLE = np.load(places.ORACLE)
CASES = sorted(name for name in ORACLE["names"] if name.startswith("mlp|"))
IMAGES = sorted(name for name in ORACLE["names"] if not name.startswith("mlp|"))
# Kernels of Myrtle-5 of 20 images of 32 x 32; too large for this repository.
LARGE = Path(os.environ.get("NKFAST_CNTK_ORACLE", "cntk20.npz"))
# Made by quadrature, good to 1e-9; the others are good to 1e-12.
QUADRATURE = ("Tanh", "Sigmoid(", "SiLU", "Softplus")


def network(case):
    _, layer, *numbers = case.split("|")
    depth, w_std, b_std = (float(re.search(r"=(.*)", part)[1]) for part in numbers)
    act = eval(layer, {name: getattr(nk, name) for name in nk.__all__})
    return nk.mlp(int(depth), act, w_std, b_std)


def image_network(case):
    kind, layers = case.split("|")
    names = {name: getattr(nk, name) for name in nk.__all__}
    if kind == "myrtle5":
        return nk.myrtle(5, eval(layers, names)), ORACLE["M"], ORACLE["N"]
    parts = [eval(part, names) for part in layers.split("; ")]
    return nk.Sequential(*parts), ORACLE["I"], ORACLE["J"]


def scaled_error(found, expected):
    return np.max(np.abs(found - expected)) / np.max(np.abs(expected))


def test_oracle_has_all_cases():
    assert len(CASES) == 49
    assert len(IMAGES) == 6


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", ["nngp", "ntk"])
def test_neural_tangents(case, name):
    net, X, Z = network(case), ORACLE["X"], ORACLE["Z"]
    limit = 1e-8 if case.split("|")[1].startswith(QUADRATURE) else 1e-10
    kernel = getattr(net, name)
    expected = ORACLE[f"{case}|{name}_xx"]
    assert scaled_error(kernel(X, Z), ORACLE[f"{case}|{name}"]) <= limit
    assert scaled_error(kernel(X), expected) <= limit
    assert scaled_error(getattr(net.diag(X), name), np.diag(expected)) <= limit


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", ["nngp", "ntk"])
def test_float32(case, name):
    net, X, Z = network(case), ORACLE["X"], ORACLE["Z"]
    found = getattr(net, name)(X.astype(np.float32), Z.astype(np.float32))
    assert found.dtype == np.float32
    assert scaled_error(found, ORACLE[f"{case}|{name}"]) <= 1e-5


@pytest.mark.parametrize("case", IMAGES)
@pytest.mark.parametrize("name", ["nngp", "ntk"])
def test_images(case, name):
    net, X, Z = image_network(case)
    kernel = getattr(net, name)
    expected = ORACLE[f"{case}|{name}_xx"]
    assert scaled_error(kernel(X, Z), ORACLE[f"{case}|{name}"]) <= 1e-12
    assert scaled_error(kernel(X), expected) <= 1e-12
    assert scaled_error(getattr(net.diag(X), name), np.diag(expected)) <= 1e-12
    found = kernel(X.astype(np.float32), Z.astype(np.float32))
    assert found.dtype == np.float32
    assert scaled_error(found, ORACLE[f"{case}|{name}"]) <= 1e-6


@pytest.mark.skipif(not LARGE.exists(), reason="NKFAST_CNTK_ORACLE names no file of kernels")
@pytest.mark.parametrize("name", ["relu", "normgauss"])
def test_twenty_images(name):
    """float32 values of neural-tangents."""
    oracle = np.load(LARGE)
    act = {"relu": nk.ReLU(), "normgauss": nk.ExpNormalized(1, -1)}[name]
    found = nk.myrtle(5, act, 2**0.5).kernel(oracle["x"])
    assert scaled_error(found.ntk, oracle[name]) <= 2e-6
    assert scaled_error(found.nngp, oracle[f"{name}_nngp"]) <= 2e-6
