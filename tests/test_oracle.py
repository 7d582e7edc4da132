"""Exact kernels of all activations against the values of neural-tangents."""

import re
from pathlib import Path

import numpy as np
import pytest

import nkfast as nk

ORACLE = np.load(Path(__file__).parent / "data" / "kernels.npz")
CASES = sorted(name for name in ORACLE["names"] if name.startswith("mlp|"))
# Made by quadrature, good to 1e-9; the others are good to 1e-12.
QUADRATURE = ("Tanh", "Sigmoid(", "SiLU", "Softplus")


def network(case):
    _, layer, *numbers = case.split("|")
    depth, w_std, b_std = (float(re.search(r"=(.*)", part)[1]) for part in numbers)
    act = eval(layer, {name: getattr(nk, name) for name in nk.__all__})
    return nk.mlp(int(depth), act, w_std, b_std)


def scaled_error(found, expected):
    return np.max(np.abs(found - expected)) / np.max(np.abs(expected))


def test_oracle_has_all_cases():
    assert len(CASES) == 49


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
