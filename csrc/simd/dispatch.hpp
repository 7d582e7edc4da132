// Chooses, once per process, the strongest instruction set that this CPU can run.
#pragma once

#include "simd/kernels.hpp"
#include "simd/pixels.hpp"

#include <string>
#include <type_traits>
#include <vector>

namespace nkfast {

// The loops of the level in use. The first call chooses: the strongest runnable level, or the one
// that the environment variable NKFAST_SIMD names. Throws std::runtime_error if that name is
// unknown, or is of a level that was not built or that this CPU cannot run.
const Kernels& kernels();
const PixelKernels& pixel_kernels();

// The loops of the level in use for one dtype.
template <class T> const Table<T>& table() {
  if constexpr (std::is_same_v<T, float>) {
    return kernels().f32;
  } else {
    static_assert(std::is_same_v<T, double>);
    return kernels().f64;
  }
}

// Those over pixels.
template <class T> const PixelTable<T>& pixel_table() {
  if constexpr (std::is_same_v<T, float>) {
    return pixel_kernels().f32;
  } else {
    static_assert(std::is_same_v<T, double>);
    return pixel_kernels().f64;
  }
}

// Those of exact kernels.
template <class T> const DualTable<T>& dual_table() {
  if constexpr (std::is_same_v<T, float>) {
    return kernels().dual_single;
  } else {
    static_assert(std::is_same_v<T, double>);
    return kernels().dual;
  }
}

// The name of the level in use: "base", "avx2" or "avx512".
const char* level_name();

// The levels that were built and that this CPU and operating system can run, weakest first.
std::vector<std::string> runnable_levels();

} // namespace nkfast
