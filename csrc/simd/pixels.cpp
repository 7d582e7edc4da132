// Compiled once per instruction set, as kernels.cpp is and by its rules: the loops over pixels.
#include "simd/pixels.hpp"
#include "simd/ops.hpp"

#include <cstddef>
#include <cstdint>

namespace nkfast::NKFAST_LEVEL {
namespace {

// clang-format off: the order matters
#include "simd/lanes.inl.hpp"
#include "simd/wht.inl.hpp"
#include "simd/pixels.inl.hpp"
// clang-format on

template <class T> constexpr PixelTable<T> pixel_table() {
  return {
      .add_runs = add_runs<T>,
      .scatter = scatter<T>,
      .weighted_sketch = weighted_sketch<T>,
      .combine = combine<T>,
      .hashed_wht = hashed_wht<T>,
      .product = product<T>,
      .sampled_product = sampled_product<T>,
      .scaled_copy = scaled_copy<T>,
      .rectified_sums = rectified_sums<T>,
  };
}

} // namespace

extern const PixelKernels pixel_kernels;
constinit const PixelKernels pixel_kernels{.f32 = pixel_table<float>(),
                                           .f64 = pixel_table<double>()};

} // namespace nkfast::NKFAST_LEVEL
