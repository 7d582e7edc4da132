"""Neural kernels at scale: exact NNGP and NTK kernels, and feature maps that approximate them."""

from nkfast import gp, sketch
from nkfast._config import get_num_threads, num_threads, set_num_threads, show_config
from nkfast._core import __version__
from nkfast.activations import ReLU
from nkfast.features import NNGPFeatures, NTKFeatures
from nkfast.layers import Dense, Sequential, mlp
from nkfast.learn import NTKClassifier, NTKRegressor
from nkfast.nystroem import Nystroem
from nkfast.sketch import fwht

__all__ = [
    "Dense",
    "NNGPFeatures",
    "NTKClassifier",
    "NTKFeatures",
    "NTKRegressor",
    "Nystroem",
    "ReLU",
    "Sequential",
    "__version__",
    "fwht",
    "get_num_threads",
    "gp",
    "mlp",
    "num_threads",
    "set_num_threads",
    "show_config",
    "sketch",
]
