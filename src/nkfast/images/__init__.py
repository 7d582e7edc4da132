"""Images before the feature map: standardised channels, whitening, patches, left-right flips.

Transformers of images (n, height, width, channels) or of flat rows that are images. `_channels`
standardises channels, `_zca` whitens whole images (Krizhevsky 2009) by the linear algebra in
`_whitening`, `_patches` gives the responses of random whitened patches (Coates, Lee & Ng 2011),
`_flips` averages or doubles over left-right flips. It knows `_arrays` and `_linalg`, and nothing of
kernels.
"""

from nkfast._public import publish

from ._channels import ChannelStandardizer
from ._flips import FlipAverage, augment_flips, flip_left_right
from ._patches import RandomPatches
from ._zca import ZCA

__all__ = [
    "ZCA",
    "ChannelStandardizer",
    "FlipAverage",
    "RandomPatches",
    "augment_flips",
    "flip_left_right",
]

__dir__ = publish(globals())
