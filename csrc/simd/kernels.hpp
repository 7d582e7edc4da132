// The table of hot loops: one per instruction set, filled by kernels.cpp, chosen by dispatch.cpp.
//
// Loops take plain pointers and sizes. They allocate nothing, throw nothing and never see Python.
//
// A *lane block* holds W = lanes rows of a batch as (feature, lane): entry j of row r lies at
// block[j * W + r]. Blocks are aligned to 64 bytes. Every loop does the same operations in the same
// order on each lane and at each instruction set, so a row's result depends on the row alone.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nkfast {

template <class T> struct Table {
  // Width W of a lane block: the number of rows that one vector operation works on.
  int lanes;

  // Walsh-Hadamard transforms of n_rows contiguous rows of n numbers (n a power of two), in place,
  // times scale. Row-major; x needs no alignment beyond that of T.
  void (*wht_rows)(T* x, std::size_t n_rows, std::size_t n, T scale);

  // The same of a lane block of n features, without scale.
  void (*wht_block)(T* block, std::size_t n);

  // Real Fourier transforms of a lane block of n features (n a power of two), in place, in the
  // order that fft.inl.hpp describes; the inverse is n times the inverse. Twiddles from
  // make_twiddles in sketch/program.cpp. If `folded`, n >= 4 and the first two levels are done.
  void (*fft_block)(T* block, std::size_t n, const T* twiddles, bool folded);
  void (*ifft_block)(T* block, std::size_t n, const T* twiddles);

  // dst *= src, entry by entry, of two spectra in that order.
  void (*multiply_spectra)(T* dst, const T* src, std::size_t n);

  // block[j * W + r] = rows[r][j] * scale[r] for j < n.
  void (*load)(const T* const* rows, std::size_t n, const T* scale, T* block);

  // rows[r][j] = block[j * W + r] * scale[r] for j < n.
  void (*store)(const T* block, std::size_t n, const T* scale, T* const* rows);

  // dst[hash[j]] += signs[j] * src[j] for j < n: a CountSketch of every lane.
  void (*count_sketch)(const T* src, std::size_t n, const std::int32_t* hash, const T* signs,
                       T* dst);

  // dst[t] = a[i[t]] * b[j[t]] * scale for t < n.
  void (*product)(const T* a, const std::int32_t* i, const T* b, const std::int32_t* j,
                  std::size_t n, T scale, T* dst);

  // dst[t] = a[i[t]] * b[j[t]] * c[t] for t < n.
  void (*weighted_product)(const T* a, const std::int32_t* i, const T* b, const std::int32_t* j,
                           std::size_t n, const T* c, T* dst);

  // dst[t] = src[i[t]] * scale for t < n.
  void (*gather)(const T* src, const std::int32_t* i, std::size_t n, T scale, T* dst);

  // out[r] = sum over j < n of block[j * W + r]^2.
  void (*square_sums)(const T* block, std::size_t n, T* out);

  // block[j * W + r] *= scale[r] for j < n.
  void (*scale_lanes)(T* block, std::size_t n, const T* scale);
};

struct Kernels {
  Table<float> f32;
  Table<double> f64;
};

} // namespace nkfast
