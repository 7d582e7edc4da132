"""What a type checker reveals of what users call: `make lint` checks it, nothing runs it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import nkfast as nk
from nkfast.kernels import Diagonal, Kernels

Floats = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]

X = np.eye(4)
y = np.arange(4.0)
net = nk.mlp(2)

assert_type(net.ntk(X), Floats)
assert_type(net.nngp(X, X), Floats)
assert_type(net.kernel(X), Kernels)
assert_type(net.kernel(X, get="ntk"), Floats)
assert_type(net.kernel(X, X, "ntk"), Floats)
assert_type(net.kernel_blocks(X), Iterator[tuple[slice, Floats]])
assert_type(net.diag(X), Diagonal)
assert_type(nk.NTKFeatures(net).fit(X), nk.NTKFeatures)
assert_type(nk.NTKFeatures(net).fit_transform(X), Floats)
assert_type(nk.Nystroem(net).fit_transform(X), Floats)
assert_type(nk.sketch.SRHT(2).fit_transform(X), Floats)
assert_type(nk.images.ZCA().fit_transform(X), Floats)
assert_type(nk.NTKFeatures(net).kernel_error(X), dict[str, float])
assert_type(nk.gp.NeuralKernel(net)(X), Doubles)
assert_type(nk.gp.NeuralKernel(net)(X, eval_gradient=True), tuple[Doubles, Doubles])
