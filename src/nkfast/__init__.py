"""Neural kernel feature maps: random features for NNGP and NTK kernels of neural networks."""

from nkfast._config import get_num_threads, num_threads, set_num_threads, show_config
from nkfast._core import __version__

__all__ = [
    "__version__",
    "get_num_threads",
    "num_threads",
    "set_num_threads",
    "show_config",
]
