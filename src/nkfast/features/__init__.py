"""Feature maps: scikit-learn transformers whose features' inner products are neural kernels.

`_neural` holds NTKFeatures and NNGPFeatures, which choose one of three constructions that know
nothing of each other: `collapsed`, one expansion of a whole dense network (Han et al. 2022, theorem
4 for any depth; Ahle et al. 2020); `_layerwise`, layer by layer as in the paper (Han et al. 2022,
algorithm 1; Zandieh et al. 2021); `pixels`, for networks of images, pixel by pixel (Han et al.
2022, section 5). `_nystroem` is the map from exact kernels with landmarks (Williams & Seeger 2001).
`_base` is what all maps offer, `_compression` brings wide features to fewer columns, `_monomials`
counts exact powers, `_files` writes features block by block. This room knows expansion, networks,
kernels and sketches, and no learners.
"""

from ._base import FeatureMap
from ._files import write_features
from ._neural import NNGPFeatures, NTKFeatures
from ._nystroem import Nystroem

__all__ = ["FeatureMap", "NNGPFeatures", "NTKFeatures", "Nystroem", "write_features"]
