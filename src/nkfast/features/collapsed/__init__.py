"""Features of a whole dense network by one expansion, sum_l g_l(|x|, |y|) cos(x, y)^l.

`_map` is the fitted map. `_fit` chooses, on a sample of the rows, degrees, columns and the kind of
map: plain powers (`_polynomial`), powers split between leading and other directions (`_split`,
`_split_steps`), or spherical harmonics (`_harmonics`, `_harmonic_fit`). `_allocation` shares the
width among degrees so that the expected squared error is least, `_factors` adjusts their
coefficients to the rows, and `_columns` keeps the columns with most energy apart. Sketches of
powers are those of Ahle et al. 2020 and Pham & Pagh 2013.
"""

from ._fit import Sample
from ._map import CollapsedMap

__all__ = ["CollapsedMap", "Sample"]
