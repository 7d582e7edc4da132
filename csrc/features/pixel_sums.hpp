// Sums of hashed vectors whose features stay neighbours: they can be read in order.
#pragma once

#include "features/pixel_stages.hpp"

#include <cstddef>
#include <vector>

namespace nkfast {

// One vector of a sum: its first n features and where they go.
struct Addend {
  const Hash* hash;
  std::size_t n;
};

// How `width` sums are made of runs, by segments; the sign is that of the sum, the same for all
// that is added there, times the sign of each addend. None if runs are short, or signs differ.
PixelSums find_sums(const std::vector<Addend>& addends, std::size_t width);

} // namespace nkfast
