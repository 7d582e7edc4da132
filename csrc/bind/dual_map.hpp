// A dual map from its tables in NumPy arrays.
#pragma once

#include "bind/arrays.hpp"
#include "kernels/dual.hpp"

#include <stdexcept>
#include <utility>

namespace nkfast {

inline DualMap dual_map(DualKind kind, Reals params, const Array<double>& left,
                        const Array<double>& right) {
  if (left.ndim() != 2 || right.ndim() != 2) {
    throw std::invalid_argument("left, right: expected 2-D arrays");
  }
  return {kind,
          std::move(params),
          left.data(),
          static_cast<std::size_t>(left.shape(0)),
          static_cast<std::size_t>(left.shape(1)),
          right.data(),
          static_cast<std::size_t>(right.shape(0)),
          static_cast<std::size_t>(right.shape(1))};
}

} // namespace nkfast
