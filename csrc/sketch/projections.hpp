// Linear sketches of single rows: hashing (CountSketch, OSNAP) and subsampled Hadamard transforms.
//
// Unlike the programs of program.hpp these work on one row at a time, row-major: a row's sketch is
// built where it belongs. That moves the least memory where there is only one linear map, and no
// product of several, to compute. (Writing it past the caches would not pay: a large output is
// fresh memory, which the kernel has just cleared, through the caches.)
#pragma once

#include "numbers.hpp"
#include "sketch/rows.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace nkfast {

// S with n_nonzeros entries per column: column j has values[s] at row hashes[s], s in
// [j * n_nonzeros, (j + 1) * n_nonzeros). Throws invalid_argument for hashes out of range, so that
// applying it needs no more checks: nothing of a call grows with n_features but the rows.
class HashMap {
public:
  HashMap(std::size_t n_components, std::size_t n_nonzeros, std::vector<std::int32_t> hashes,
          std::vector<double> values);

  std::size_t n_features() const { return hashes_.size() / n_nonzeros_; }
  std::size_t n_components() const { return n_components_; }

  // out[i] = S x_i, (n_rows, n_components).
  template <class T> void rows(const Rows<T>& rows, T* out, std::size_t n_threads) const;
  // out[i] = S^T z_i for dense z, (n_rows, n_features).
  template <class T> void adjoint(const Rows<T>& rows, T* out, std::size_t n_threads) const;

private:
  std::size_t n_components_;
  std::size_t n_nonzeros_;
  std::vector<std::int32_t> hashes_;
  Values values_;
};

// Blocks of P H D, stacked: block b takes counts[b] entries of H (signs_b * x), x padded to
// `length`, and multiplies them by `scale`. Samples of all blocks follow one another.
class HadamardMap {
public:
  HadamardMap(std::size_t n_features, std::size_t length, std::vector<std::int64_t> counts,
              std::vector<std::int32_t> samples, std::vector<double> signs, double scale);

  std::size_t n_features() const { return n_features_; }
  std::size_t n_components() const { return samples_.size(); }

  // out[i] = S x_i. Sparse rows with few entries are summed directly, in O(nnz n_components).
  template <class T> void rows(const Rows<T>& rows, T* out, std::size_t n_threads) const;
  // out[i] = S^T z_i for dense z.
  template <class T> void adjoint(const Rows<T>& rows, T* out, std::size_t n_threads) const;

private:
  std::size_t n_features_;
  std::size_t length_;                // power of two, at least n_features
  std::vector<std::int64_t> counts_;  // (n_blocks,)
  std::vector<std::int32_t> samples_; // (n_components,), below length
  Values signs_;                      // (n_blocks, n_features)
  double scale_;
};

// Walsh-Hadamard transforms along the middle axis of a contiguous (outer, n, inner) array, in
// place, times scale. Returns whether the first entries, the sums of all, are finite: this shows
// NaN and infinity without another pass over x.
template <class T>
bool hadamard_axis(T* x, std::size_t outer, std::size_t n, std::size_t inner, T scale,
                   std::size_t n_threads);

} // namespace nkfast
