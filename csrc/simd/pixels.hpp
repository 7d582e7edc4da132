// The table of hot loops over pixels: one per instruction set, filled by pixels.cpp.
//
// A field of an image holds lane blocks of W pixels each, one after the other by rows: feature j of
// the block's pixel r lies at block[j * W + r].
#pragma once

#include "simd/kernels.hpp"

#include <cstddef>
#include <cstdint>

namespace nkfast {

// W pixels as an offset of a filter sees them: feature j of pixel r is number pick[r] of the 2 W
// that begin at a + j W and at b + j W, times factor; zero where pick[r] is negative. Without pick:
// those at a. Without a: nothing.
template <class T> struct PixelPiece {
  const T* a = nullptr;
  const T* b = nullptr;
  const std::int32_t* pick = nullptr;
  T factor = 1;
};

// Features of a piece that go one after the other to where features are summed up: number t comes
// from t + shift.
struct PixelRun {
  std::int32_t piece;
  std::int32_t shift;
};

// A lane block with a weight for each lane.
template <class T> struct PixelTerm {
  const T* src = nullptr;
  const T* weight = nullptr;
};

template <class T> struct PixelTable {
  // dst[t] = sum over runs of feature t + shift of their pieces, for first <= t < last.
  void (*add_runs)(const PixelPiece<T>* pieces, const PixelRun* runs, std::size_t n_runs,
                   std::size_t first, std::size_t last, T* dst);

  // dst[hash[j]] += signs[j] times feature j of the piece, for first <= j < last.
  void (*scatter)(const PixelPiece<T>& piece, std::size_t first, std::size_t last,
                  const std::int32_t* hash, const T* signs, T* dst);

  // dst[hash[j]] += src[j] * weight[r] * signs[j]: a CountSketch with a weight for each lane.
  void (*weighted_sketch)(const T* src, std::size_t n, const std::int32_t* hash, const T* signs,
                          const T* weight, T* dst);

  // dst[t] = signs[t] times the sum over runs of feature t + shift of their terms, for first <= t <
  // last.
  void (*combine)(const PixelTerm<T>* terms, const PixelRun* runs, std::size_t n_runs,
                  std::size_t first, std::size_t last, const T* signs, T* dst);

  // The Walsh-Hadamard transform of dst[t] = signs[t] * src[from[t]], t < n, a power of two.
  void (*hashed_wht)(const T* src, const std::int32_t* from, const T* signs, std::size_t n, T* dst);

  // dst[t] = a[t] * b[t] * scale[r], or a[i[t]] * b[j[t]] * scale[r], for t < n, and squares[r] =
  // the sums of their squares.
  void (*product)(const T* a, const T* b, std::size_t n, const T* scale, T* dst, T* squares);
  void (*sampled_product)(const T* a, const std::int32_t* i, const T* b, const std::int32_t* j,
                          std::size_t n, const T* scale, T* dst, T* squares);

  // dst[j * W + r] = src[j * W + r] * scale[r] for j < n.
  void (*scaled_copy)(const T* src, std::size_t n, const T* scale, T* dst);

  // up[j] += the sum over rows of max(x[r, j] - threshold, 0), down[j] that of max(-x[r, j] -
  // threshold, 0), for j < kDualPad; x holds rows of kDualPad numbers.
  void (*rectified_sums)(const T* x, std::size_t rows, T threshold, T* up, T* down);
};

struct PixelKernels {
  PixelTable<float> f32;
  PixelTable<double> f64;
};

} // namespace nkfast
