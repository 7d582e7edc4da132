"""Sketching primitives: random maps to fewer features that keep inner products in the mean.

Rows are samples and the last axis is features. Every sketch is a scikit-learn transformer: `fit`
looks at the number of features only and draws the random map, `transform` applies it to dense rows
or CSR rows, in float32 or float64.

`_linear` holds CountSketch (Charikar et al. 2002), OSNAP (Nelson & Nguyen 2013) and the SRHT (Ailon
& Chazelle 2009); `_tensor` TensorSketch (Pham & Pagh 2013) and TensorSRHT, and `_powers` all powers
at once (Ahle et al. 2020); `_hadamard` the transform itself. Each is a short list of steps for the
core, made in `_program`, which draws its random numbers; the feature maps are made of the same
steps. This room knows `_arrays`, and nothing of kernels.
"""

from nkfast._public import publish

from ._hadamard import fwht
from ._linear import OSNAP, SRHT, CountSketch
from ._powers import PolySketch
from ._tensor import TensorSketch, TensorSRHT

__all__ = ["OSNAP", "SRHT", "CountSketch", "PolySketch", "TensorSRHT", "TensorSketch", "fwht"]

__dir__ = publish(globals())
