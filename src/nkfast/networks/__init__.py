"""Networks: layers in a row that offer their exact kernels.

`_sequential` is the network itself, `_recipes` the named ones (`mlp`, `myrtle`: Shankar et al.
2020), `_checks` what estimators take for a network and its points, `_tied` the parameters that a
search or a Gaussian process moves together. It knows kernels, layers and activations, and nothing
of features or learners.
"""

from ._checks import (
    NetworkEstimator,
    check_network,
    check_points,
    check_row_network,
    own_network,
    warn_of_unpicklable,
)
from ._recipes import MLP, Myrtle, mlp, myrtle
from ._sequential import Sequential

__all__ = [
    "MLP",
    "Myrtle",
    "NetworkEstimator",
    "Sequential",
    "check_network",
    "check_points",
    "check_row_network",
    "mlp",
    "myrtle",
    "own_network",
    "warn_of_unpicklable",
]
