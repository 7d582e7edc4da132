"""Features of networks of images, pixel by pixel and layer by layer (Han et al. 2022, section 5).

`_plan` turns a network into stages for the core's PixelProgram, of the pieces in `_parts`;
`_hermite_table` holds the Hermite coefficients of activations by standard deviation; `_map` is the
fitted map.
"""

from ._map import DEGREE, ImageSample, PixelMap, default_width
from ._parts import MOST_DEGREE

__all__ = ["DEGREE", "MOST_DEGREE", "ImageSample", "PixelMap", "default_width"]
