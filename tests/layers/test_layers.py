"""Networks as descriptions: parameters, copies, equality, and what is refused."""

import copy
import pickle
import re

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone

import nkfast as nk
from nkfast.activations import Activation
from nkfast.networks import MLP


def sequential():
    return nk.Sequential(nk.Dense(1.4, 0.1), nk.ReLU(), nk.Dense(1.2))


NETS = [
    sequential(),
    nk.mlp(),
    nk.mlp(depth=3, w_std=1.4, b_std=0.1),
    nk.mlp(0),
    nk.mlp(2, nk.ReLU()),
    nk.myrtle(7, "gelu", 1.3),
    nk.Sequential(
        nk.Conv((3, 2), padding="VALID"),
        nk.Residual(nk.ReLU(), nk.Conv((1, 1))),
        nk.ReLU(),
        nk.AvgPool((2, 2), (1, 2)),
        nk.GlobalAvgPool(),
        nk.Flatten(),
        nk.Dense(),
    ),
]


# --- description ---


def test_mlp_is_the_sequential_of_its_layers():
    net = nk.mlp(depth=2, activation="relu", w_std=1.4, b_std=0.1)
    dense, relu = nk.Dense(1.4, 0.1), nk.ReLU()
    assert net.layers == (dense, relu, dense, relu, dense)
    assert isinstance(net, nk.Sequential)
    assert nk.mlp(depth=0).layers == (nk.Dense(2**0.5),)
    X = np.random.default_rng(0).standard_normal((4, 3))
    assert_array_equal(net.ntk(X), nk.Sequential(*net.layers).ntk(X))


def test_positional_parameters():
    assert nk.Dense(1.4, 0.1) == nk.Dense(w_std=1.4, b_std=0.1)
    assert nk.Dense() == nk.Dense(1.0, 0.0)
    assert nk.mlp(2, "relu", 1.4, 0.1) == nk.mlp(depth=2, activation="relu", w_std=1.4, b_std=0.1)


@pytest.mark.parametrize("net", NETS)
def test_repr_builds_the_network_again(net):
    names = {name: getattr(nk, name) for name in nk.__all__}
    assert eval(repr(net), names) == net


def test_repr():
    assert repr(sequential()) == (
        "Sequential(Dense(w_std=1.4, b_std=0.1), ReLU(), Dense(w_std=1.2, b_std=0.0))"
    )
    assert repr(nk.mlp(2, w_std=1.5)) == "mlp(depth=2, activation='relu', w_std=1.5, b_std=0.0)"


def test_equality():
    assert sequential() == sequential()
    assert sequential() != nk.Sequential(*sequential().layers[:2])
    assert nk.Dense(1.0) != nk.Dense(2.0)
    assert nk.Dense(1.0) != nk.ReLU()
    assert nk.Dense(1.0) != "Dense"
    # A network is its layers, however it was described.
    assert nk.mlp(2, "relu") == nk.mlp(2, nk.ReLU())
    assert nk.mlp(1, w_std=1.4) == nk.Sequential(nk.Dense(1.4), nk.ReLU(), nk.Dense(1.4))
    for thing in (nk.Dense(), nk.ReLU(), nk.mlp(), sequential()):
        with pytest.raises(TypeError, match="unhashable"):
            hash(thing)


# --- parameters ---


def test_get_params_of_mlp():
    shallow = {"depth": 2, "activation": "relu", "w_std": 1.4, "b_std": 0.0}
    assert nk.mlp(2, w_std=1.4).get_params() == shallow
    assert nk.mlp(2, w_std=1.4).get_params(deep=False) == shallow


def test_get_params_of_sequential():
    net = sequential()
    assert list(net.get_params(deep=False)) == ["layers"]
    deep = net.get_params()
    assert deep["0"] is net.layers[0]
    assert (deep["0__w_std"], deep["0__b_std"], deep["2__w_std"]) == (1.4, 0.1, 1.2)


def test_set_params_of_mlp_builds_the_layers_anew():
    net = nk.mlp()
    assert net.set_params(depth=3, w_std=1.1, b_std=0.2) is net
    assert net == nk.mlp(3, "relu", 1.1, 0.2)
    assert len(net.layers) == 7
    assert net.set_params(activation=nk.ReLU()).get_params()["activation"] == nk.ReLU()


def test_set_params_of_sequential():
    net = sequential()
    assert net.set_params(**{"0__w_std": 2.0, "1": nk.ReLU(), "2": nk.Dense(3.0)}) is net
    assert net.layers == (nk.Dense(2.0, 0.1), nk.ReLU(), nk.Dense(3.0))
    net.set_params(layers=[nk.Dense(1.0)])
    assert net.layers == (nk.Dense(1.0),)


def test_set_params_does_not_reach_layers_shared_with_others():
    dense = nk.Dense(1.4)
    one, other = nk.Sequential(dense), nk.Sequential(dense)
    one.set_params(**{"0__w_std": 2.0})
    assert dense.w_std == other.layers[0].w_std == 1.4


@pytest.mark.parametrize("net", NETS)
def test_get_and_set_are_inverse(net):
    other = clone(net).set_params(**net.get_params(deep=False))
    assert other == net


@pytest.mark.parametrize(
    ("net", "params", "message"),
    [
        (nk.mlp(), {"width": 3}, "MLP: unknown parameter 'width', expected one of"),
        (nk.mlp(), {"depth": -1}, "depth: expected an integer >= 0, got -1"),
        (nk.mlp(), {"w_std": 2.0, "b_std": -1.0}, "b_std: expected a finite number in"),
        (nk.mlp(), {"activation": "rleu"}, "activation: expected one of .*, got 'rleu'"),
        (sequential(), {"3__w_std": 1.0}, "Sequential: unknown parameter '3__w_std'"),
        (sequential(), {"w_std": 1.0}, "Sequential: unknown parameter 'w_std'"),
        (sequential(), {"0__width": 1.0}, "Dense: unknown parameter 'width'"),
        (sequential(), {"0__w_std": 2.0, "2__w_std": -2.0}, "w_std: expected"),
        (sequential(), {"0": nk.ReLU()}, "layer 0, ReLU: an activation needs a Gaussian input"),
        (nk.Dense(1.4), {"w_std": 2.0, "b_std": float("nan")}, "b_std: expected a finite number"),
    ],
)
def test_bad_set_params_changes_nothing(net, params, message):
    net = clone(net)
    before = repr(net)
    with pytest.raises(ValueError, match=message):
        net.set_params(**params)
    assert repr(net) == before


# --- copies ---


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("copy", [clone, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_are_equal_and_independent(net, copy):
    other = copy(net)
    assert other == net
    assert type(other) is type(net)
    assert other.get_params(deep=False) == net.get_params(deep=False)
    before = repr(net)
    if isinstance(other, MLP):
        other.set_params(w_std=9.0)
    else:
        other.layers[0].set_params(w_std=9.0)
    assert repr(net) == before
    assert other != net


class Custom(Activation):
    """An activation that holds a function."""

    def __init__(self, fn):
        self.fn = fn


def test_copies_of_what_cannot_be_pickled():
    net = nk.Sequential(nk.Dense(), Custom(lambda x: x), nk.Dense())
    assert clone(net) == copy.copy(net) == copy.deepcopy(net) == net


def test_function_of_a_module_can_be_pickled():
    net = nk.Sequential(nk.Dense(), Custom(np.tanh), nk.Dense())
    assert pickle.loads(pickle.dumps(net)) == net


# --- what is refused, and how the message names it ---


@pytest.mark.parametrize(
    ("layers", "error", "message"),
    [
        ((), ValueError, "layers: expected at least one layer, got none"),
        ((nk.ReLU(),), ValueError, "layer 0, ReLU: .* Gaussian input.* is the first layer"),
        (
            (nk.Dense(), nk.ReLU(), nk.ReLU()),
            ValueError,
            "layer 2, ReLU: .* Gaussian input.* follows another activation",
        ),
        ((nk.Dense(), nk.ReLU), TypeError, r"layer 1: .*\(an instance, not the class\)"),
        ((nk.Dense(), "relu"), TypeError, r"layer 1: expected .* got 'relu'; .*get_activation"),
        (([nk.Dense()],), TypeError, r"layer 0: expected .* got \[.*; .* Sequential\(\*layers\)"),
        ((nk.Dense(), np.tanh), TypeError, r"layer 1: expected .* got .*; Elementwise\(function\)"),
        ((None,), TypeError, "layer 0: expected a layer or an activation object, got None"),
    ],
)
def test_layers_that_do_not_fit(layers, error, message):
    with pytest.raises(error, match=message):
        nk.Sequential(*layers)


@pytest.mark.parametrize("width", [17, 512, np.int64(100)])
@pytest.mark.parametrize(
    "make",
    [
        nk.Dense,
        lambda width: nk.Conv(w_std=width),
        lambda width: nk.mlp(2, "relu", width),
        lambda width: nk.Dense().set_params(w_std=width),
    ],
)
def test_a_width_is_no_standard_deviation(make, width):
    with pytest.raises(ValueError, match=r"w_std: expected .* looks like a number of units; .*0$"):
        make(width)
    make(float(width))
    make(16)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: nk.Conv(3), r"filter_shape: .* got 3; both alike are \(3, 3\)\. Channels are not"),
        (lambda: nk.Conv(64, (3, 3)), r"filter_shape: .* Channels are not counted"),
        (lambda: nk.Conv(strides=2), r"strides: .* got 2; both alike are \(2, 2\)$"),
        (lambda: nk.AvgPool(2), r"window: .* got 2; both alike are \(2, 2\)$"),
        (lambda: nk.Conv(padding="same"), "padding: .* got 'same'; did you mean 'SAME'"),
        (lambda: nk.Conv(padding="circlar"), "padding: .* did you mean 'CIRCULAR'"),
        (lambda: nk.Conv(padding="reflect"), "padding: .* got 'reflect'$"),
        (lambda: nk.mlp(1, "ReLU"), "activation: .* got 'ReLU'; did you mean 'relu'"),
        (lambda: nk.mlp(1, "swish"), "activation: .* got 'swish'$"),
        (lambda: nk.mlp([512, 512]), r"depth: .* got \[512, 512\]; widths are not given"),
    ],
)
def test_habits_of_other_libraries_get_help(build, message):
    with pytest.raises((TypeError, ValueError), match=message):
        build()


@pytest.mark.parametrize("name", ["w_std", "b_std"])
@pytest.mark.parametrize(
    ("value", "error"),
    [
        (-0.1, ValueError),
        (float("nan"), ValueError),
        (float("inf"), ValueError),
        ("1", TypeError),
        (None, TypeError),
        (True, TypeError),
        (1j, TypeError),
        (np.ones(2), TypeError),
    ],
)
def test_bad_standard_deviations(name, value, error):
    for make in (nk.Dense, nk.mlp):
        with pytest.raises(error, match=f"^{name}: expected .* got {re.escape(repr(value))}"):
            make(**{name: value})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"depth": -1}, ValueError, "depth: expected an integer >= 0, got -1"),
        ({"depth": 1.0}, TypeError, "depth: expected an integer, got 1.0"),
        ({"depth": True}, TypeError, "depth: expected an integer, got True"),
        ({"activation": "rleu"}, ValueError, r"activation: expected one of \[.*'relu'.*'rleu'"),
        ({"activation": None}, TypeError, "activation: expected a name or an activation object"),
        ({"activation": nk.ReLU}, TypeError, "activation: expected .*instance, not the class"),
    ],
)
def test_bad_mlp(arguments, error, message):
    with pytest.raises(error, match=message):
        nk.mlp(**arguments)


def test_numpy_scalars_are_numbers():
    net = nk.mlp(np.int64(2), "relu", np.float32(1.5), np.float64(0.5))
    assert net == nk.mlp(2, "relu", 1.5, 0.5)
