"""A whole dense network as one series: sum_l g_l(|x|, |y|) cos(x, y)^l (Schoenberg 1942).

`_coefficients` takes power series, or zonal functions of a sphere (`_zonal`), through the layers of
a network; `_expansion` turns the radial functions g_l into few weights of each row's norm
(`_radial`: series in its logarithm), which features are multiplied by (Han et al. 2022, section 4,
for any depth, biases and norms). It knows networks and their layers, and nothing of sketches or
features.
"""

from ._coefficients import harmonic_coefficients, radial_coefficients
from ._expansion import Expansion, expand, long_series
from ._radial import RadialSeries, log_range, radial_nodes
from ._zonal import n_harmonics, zonal

__all__ = [
    "Expansion",
    "RadialSeries",
    "expand",
    "harmonic_coefficients",
    "log_range",
    "long_series",
    "n_harmonics",
    "radial_coefficients",
    "radial_nodes",
    "zonal",
]
