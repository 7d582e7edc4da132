"""Neural kernels at scale: exact NNGP and NTK kernels, and feature maps that approximate them."""

from nkfast._config import get_num_threads, num_threads, set_num_threads, show_config
from nkfast._core import __version__
from nkfast.activations import ReLU
from nkfast.features import NNGPFeatures, NTKFeatures
from nkfast.layers import Dense, Sequential, mlp
from nkfast.learn import NTKClassifier, NTKRegressor

__all__ = [
    "Dense",
    "NNGPFeatures",
    "NTKClassifier",
    "NTKFeatures",
    "NTKRegressor",
    "ReLU",
    "Sequential",
    "__version__",
    "get_num_threads",
    "mlp",
    "num_threads",
    "set_num_threads",
    "show_config",
]
