// W pixels on their way through a stage.
#pragma once

#include "features/pixel_layout.hpp"
#include "features/pixel_stages.hpp"
#include "simd/dispatch.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

namespace nkfast {

// One thread's buffers for a block of pixels, and what is done to vectors in them.
template <class T> struct PixelBlock : PixelBuffers {
  const Table<T>& loops = table<T>();
  const PixelTable<T>& pixel_loops = pixel_table<T>();
  const std::size_t lanes = static_cast<std::size_t>(loops.lanes);
  std::vector<T*> buffers{}; // of the stage at hand
  // Of up to two channels: where the vectors are, c, and |v|^2 as it ought to be.
  T* source[2] = {};
  double c[2][kMostLanes] = {}, energy[2][kMostLanes] = {};

  void use(T* memory, const std::vector<std::size_t>& places) {
    buffers.clear();
    for (const std::size_t place : places) {
      buffers.push_back(memory + place * lanes);
    }
  }

  // What makes the energies of vectors those wanted; NaN if they overflow, and so will the result.
  void norm_factors(const T* block, std::size_t n, const double* wanted, T* factor) {
    alignas(64) T sums[kMostLanes];
    loops.square_sums(block, n, sums);
    norm_factors(sums, wanted, factor);
  }

  // The same of their energies.
  void norm_factors(const T* sums, const double* wanted, T* factor) const {
    for (std::size_t r = 0; r < lanes; ++r) {
      const auto sum = static_cast<double>(sums[r]);
      factor[r] = sum > 0 ? static_cast<T>(std::sqrt(wanted[r] / sum)) : T{0};
      if (!std::isfinite(sum)) {
        factor[r] = std::numeric_limits<T>::quiet_NaN();
      }
    }
  }

  void transform(const Gather& hash, const T* from, T* to) {
    pixel_loops.hashed_wht(from, hash.from.data(), hash.signs.template data<T>(), hash.from.size(),
                           to);
  }

  // The sketch of a tensor product of transformed vectors, times `scale`, and its square norms.
  void multiply(const TensorProduct& p, const T* a, const T* b, const T* scale, T* to, T* squares) {
    alignas(64) T factor[kMostLanes];
    const T share = static_cast<T>(1 / std::sqrt(static_cast<double>(p.n)));
    for (std::size_t r = 0; r < kMostLanes; ++r) {
      factor[r] = scale[r] * share;
    }
    if (p.in_order) {
      pixel_loops.product(a, b, p.n, factor, to, squares);
    } else {
      pixel_loops.sampled_product(a, p.take_a.data(), b, p.take_b.data(), p.n, factor, to, squares);
    }
  }

  void normalise(T* block, std::size_t n, const double* wanted) {
    alignas(64) T factor[kMostLanes];
    norm_factors(block, n, wanted, factor);
    loops.scale_lanes(block, n, factor);
  }
};

} // namespace nkfast
