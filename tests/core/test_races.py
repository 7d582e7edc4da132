"""The same objects called from several threads at once, each call in threads of its own."""

import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse as sp

import nkfast as nk
from nkfast.sketch import SRHT, CountSketch, TensorSketch

# The sanitizer of races, which `make sanitize` loads, takes some fifty times as long.
N = 96 if "libtsan" in os.environ.get("LD_PRELOAD", "") else 300
rng = np.random.default_rng(0)
X = rng.standard_normal((N, 40))
S = sp.csr_array(X * (X > 0))
IMAGES = rng.standard_normal((max(N // 50, 2), 8, 8, 2))
NET = nk.Sequential(
    *(nk.Dense(1.4, 0.1), nk.Residual(nk.Tanh(), nk.Dense()), nk.GELU(), nk.Dense()),
)
CONV = nk.Sequential(
    nk.Conv((3, 3)), nk.ReLU(), nk.AvgPool((2, 2)), nk.Conv((3, 3)), nk.Erf(), nk.GlobalAvgPool()
)


def calls():
    """New objects, whose programs are made by the first call."""
    phi = nk.NTKFeatures(nk.mlp(2), 128, random_state=0).fit(X)
    pixels = nk.NNGPFeatures(CONV, 64, random_state=0).fit(IMAGES)
    sketches = [
        sketch.fit(X) for sketch in (CountSketch(64, random_state=0), SRHT(64, random_state=0))
    ]
    tensor = TensorSketch(3, 64, random_state=0).fit(X)
    return {
        "kernel": lambda: NET.ntk(X),
        "in blocks": lambda: NET.nngp(X, block=64),
        "of float32": lambda: nk.mlp(2).ntk(X.astype(np.float32)),
        "of CSR": lambda: NET.ntk(S),
        "images": lambda: CONV.ntk(IMAGES),
        "features": lambda: phi.transform(X),
        "pixels": lambda: pixels.transform(IMAGES),
        "count sketch": lambda: sketches[0].transform(S),
        "srht": lambda: sketches[1].transform(X),
        "tensor sketch": lambda: tensor.transform(X),
        "fwht": lambda: nk.fwht(X[:64].T),
        "refused": refused,
    }


def refused():
    with pytest.raises(ValueError, match="X contains NaN"):
        NET.ntk(np.full((N, 40), np.nan))
    return np.zeros(1)


def run(named, seed):
    order = list(named)
    random.Random(seed).shuffle(order)
    return {name: named[name]() for name in order * 2}


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_calls_from_many_threads():
    with nk.num_threads(1):
        expected = run(calls(), 0)
    with nk.num_threads(3), ThreadPoolExecutor(4) as pool:
        for _ in range(2 if N == 300 else 1):
            named = calls()
            started = threading.Barrier(4)

            def work(seed, named=named, started=started):
                started.wait()
                return run(named, seed)

            for found in pool.map(work, range(4)):
                for name, value in expected.items():
                    np.testing.assert_array_equal(found[name], value, name)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own():
    with nk.num_threads(3):
        expected = NET.ntk(X)
        child = os.fork()
        if child == 0:
            os._exit(0 if np.array_equal(NET.ntk(X), expected) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
