"""Images before the feature map: standardised channels, ZCA whitening, left-right flips."""

from ._channels import ChannelStandardizer
from ._flips import FlipAverage, augment_flips, flip_left_right
from ._zca import ZCA

__all__ = ["ZCA", "ChannelStandardizer", "FlipAverage", "augment_flips", "flip_left_right"]
