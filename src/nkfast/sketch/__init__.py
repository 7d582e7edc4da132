"""Sketching primitives: random maps to fewer features that keep inner products in the mean.

Rows are samples and the last axis is features. Every sketch is a scikit-learn transformer: `fit`
looks at the number of features only and draws the random map, `transform` applies it to dense rows
or CSR rows, in float32 or float64.
"""

from ._hadamard import fwht
from ._linear import OSNAP, SRHT, CountSketch
from ._powers import PolySketch
from ._tensor import TensorSketch, TensorSRHT

__all__ = ["OSNAP", "SRHT", "CountSketch", "PolySketch", "TensorSRHT", "TensorSketch", "fwht"]
