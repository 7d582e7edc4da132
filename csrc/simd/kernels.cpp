// Compiled once per instruction set with NKFAST_LEVEL and NKFAST_VECTOR_BYTES defined.
//
// Everything but the table lies in an anonymous namespace, and no header with inline functions may
// be included here: the linker keeps a single copy of each inline function, and could hand the copy
// built with AVX to code that runs on a CPU without it. tools/check_baseline.py enforces this.
#include "simd/kernels.hpp"

#include <cstddef>

namespace nkfast::NKFAST_LEVEL {
namespace {

template <class T> constexpr int kLanes = NKFAST_VECTOR_BYTES / static_cast<int>(sizeof(T));

// A vector of kLanes<T> numbers; Unaligned is the same vector behind a pointer to any T.
template <class T> struct Lanes {
  typedef T Vector __attribute__((vector_size(NKFAST_VECTOR_BYTES)));
  typedef T Unaligned
      __attribute__((vector_size(NKFAST_VECTOR_BYTES), aligned(alignof(T)), may_alias));
};

template <class T> void scale(T* x, std::size_t n, T a) {
  constexpr std::size_t width = kLanes<T>;
  std::size_t i = 0;
  for (; i + width <= n; i += width) {
    *reinterpret_cast<typename Lanes<T>::Unaligned*>(x + i) *= a;
  }
  for (; i < n; ++i) {
    x[i] *= a;
  }
}

template <class T> constexpr Table<T> table() { return {.lanes = kLanes<T>, .scale = scale<T>}; }

} // namespace

extern const Kernels kernels;
constinit const Kernels kernels{.f32 = table<float>(), .f64 = table<double>()};

} // namespace nkfast::NKFAST_LEVEL
