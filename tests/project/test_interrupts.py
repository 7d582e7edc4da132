"""Ctrl-C ends every call within a second, on one thread and on several."""

import json
import os
import subprocess
import sys
import textwrap

import pytest

# What a call needs, and the call, which would take many seconds.
CALLS = {
    "kernel of rows": ("X = normal(3000, 40); net = nk.mlp(300, 'gelu')", "net.ntk(X)"),
    "kernel of rows, float32": (
        "X = normal(20000, 40).astype('f'); net = nk.mlp(8)",
        "for _ in range(100): net.ntk(X[:6000], X)",
    ),
    "kernel of rows, sparse": (
        (
            "X = scipy.sparse.random(3000, 500, density=0.05, random_state=0, format='csr');"
            "net = nk.mlp(300, 'erf')"
        ),
        "net.ntk(X)",
    ),
    "gradient of a kernel": (
        "X = normal(3000, 40); kernel = nk.gp.NeuralKernel(nk.mlp(300, 'gelu', b_std=0.1))",
        "kernel(X, eval_gradient=True)",
    ),
    "kernel of images": ("X = normal(60, 32, 32, 3); net = nk.myrtle(10)", "net.ntk(X)"),
    "features of images": (
        (
            "X = normal(60, 32, 32, 3); net = nk.myrtle(10);"
            "phi = nk.NTKFeatures(net, 2048, random_state=0).fit(X[:2])"
        ),
        "phi.transform(X)",
    ),
    "features of rows": (
        (
            "X = normal(500, 40); phi = nk.NTKFeatures(nk.mlp(3), 4096, random_state=0).fit(X);"
            "X = np.tile(X, (400, 1)).astype('f')"
        ),
        "phi.transform(X)",
    ),
    "features by layers": (
        (
            "X = normal(500, 40); phi = nk.NTKFeatures(nk.mlp(3), 2048, construction='layerwise',"
            "random_state=0).fit(X); X = np.tile(X, (200, 1)).astype('f')"
        ),
        "phi.transform(X)",
    ),
    "sketch": (
        "X = normal(3000, 64); S = nk.sketch.TensorSketch(50, 16384, random_state=0).fit(X)",
        "S.transform(X)",
    ),
    "exact learner": (
        "X = normal(6000, 4); y = X[:, 0]; learner = nk.NTKRegressor(nk.mlp(1), method='exact')",
        "learner.fit(X, y)",
    ),
    "gram matrix": (
        "from nkfast._linalg.symmetric import gram_matrix; Z = normal(6000, 6000)",
        "gram_matrix(Z)",
    ),
    "eigenvectors": (
        "from nkfast._linalg.eigen import symmetric_eigen; A = normal(2500, 2500); A += A.T",
        "symmetric_eigen(A)",
    ),
}

SCRIPT = """
import json, os, signal, sys, threading, time
import numpy as np, scipy.sparse
import nkfast as nk

def normal(*shape):
    return np.random.default_rng(0).standard_normal(shape)

took = []
for n_threads in (1, 2):
    nk.set_num_threads(n_threads)
    space = dict(globals())
    exec({setup!r}, space)
    sent = []
    def send():
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)
    threading.Timer(0.4, send).start()
    try:
        exec({call!r}, space)
        raise SystemExit("the call came to its end")
    except KeyboardInterrupt:
        took.append(time.perf_counter() - sent[0])
print(json.dumps(took))
sys.stdout.flush()
os._exit(0)
"""


@pytest.mark.parametrize("name", CALLS)
def test_ctrl_c_ends_a_call_within_a_second(name):
    setup, call = CALLS[name]
    script = textwrap.dedent(SCRIPT).format(setup=setup, call=call)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert max(json.loads(done.stdout)) < 1


STREAM = """
import os, signal, sys, threading, time
import numpy as np
import nkfast as nk

X = np.random.default_rng(0).standard_normal((16000, 6))
y = np.sin(X[:, 0])
def learner():
    return nk.NTKRegressor(nk.mlp(2), 2000, alpha=1.0, random_state=0, block_size=len(X))
model, other = learner(), learner()
for one in (model, other):
    one.partial_fit(X[:2000], y[:2000])
    one.features_.transform(X[:100])
phases = []
transform = model.features_._map
def watched(rows):
    Z = transform(rows)
    threading.Timer(0.1, send).start()  # the sums are next
    return Z
def send():
    phases.append(time.perf_counter())
    os.kill(os.getpid(), signal.SIGINT)
model.features_._map = watched
try:
    model.partial_fit(X[2000:], y[2000:])
    raise SystemExit("the call came to its end")
except KeyboardInterrupt:
    took = time.perf_counter() - phases[0]
del model.features_._map
assert took < 1, took
other.partial_fit(X[2000:], y[2000:])
np.testing.assert_array_equal(model.coef_, other.coef_)
"""


def test_an_interrupted_block_of_a_stream_is_added_whole():
    done = subprocess.run(
        [sys.executable, "-c", STREAM],
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},  # or the sums may end too early
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
