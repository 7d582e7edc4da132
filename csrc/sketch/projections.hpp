// Linear sketches of single rows: hashing (CountSketch, OSNAP) and subsampled Hadamard transforms.
//
// Unlike the programs of program.hpp these work on one row at a time, row-major: a row's sketch is
// built in a buffer that stays in cache and then written out once. That moves the least memory
// where there is only one linear map, and no product of several, to compute.
#pragma once

#include "sketch/rows.hpp"

#include <cstddef>
#include <cstdint>

namespace nkfast {

// S with n_nonzeros entries per column: column j has values[s] at row hashes[s], s in
// [j * n_nonzeros, (j + 1) * n_nonzeros).
template <class T> struct HashMap {
  std::size_t n_features;
  std::size_t n_components;
  std::size_t n_nonzeros;
  const std::int32_t* hashes;
  const T* values;
};

// out[i] = S x_i, (n_rows, n_components).
template <class T>
void hash_rows(const HashMap<T>& map, const Rows<T>& rows, T* out, std::size_t n_threads);

// out[i] = S^T z_i for dense z, (n_rows, n_features).
template <class T>
void hash_rows_adjoint(const HashMap<T>& map, const Rows<T>& rows, T* out, std::size_t n_threads);

// Blocks of P H D, stacked: block b takes counts[b] entries of H (signs_b * x), x padded to
// `length`, and multiplies them by `scale`. Samples of all blocks follow one another.
template <class T> struct HadamardMap {
  std::size_t n_features;
  std::size_t length; // power of two, at least n_features
  std::size_t n_blocks;
  const std::int64_t* counts;  // (n_blocks,)
  const std::int32_t* samples; // (n_components,), below length
  const T* signs;              // (n_blocks, n_features)
  T scale;
  std::size_t n_components;
};

// out[i] = S x_i. Sparse rows with few entries are summed directly, in O(nnz n_components).
template <class T>
void hadamard_rows(const HadamardMap<T>& map, const Rows<T>& rows, T* out, std::size_t n_threads);

// out[i] = S^T z_i for dense z.
template <class T>
void hadamard_rows_adjoint(const HadamardMap<T>& map, const Rows<T>& rows, T* out,
                           std::size_t n_threads);

// Walsh-Hadamard transforms along the middle axis of a contiguous (outer, n, inner) array, in
// place, times scale. Returns whether the first entries, the sums of all, are finite: this shows
// NaN and infinity without another pass over x.
template <class T>
bool hadamard_axis(T* x, std::size_t outer, std::size_t n, std::size_t inner, T scale,
                   std::size_t n_threads);

} // namespace nkfast
