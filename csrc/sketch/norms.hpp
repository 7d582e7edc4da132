// Norms of rows, and radial weights: functions of a row's norm, one for each part of a feature map.
#pragma once

#include "parallel.hpp"
#include "sketch/rows.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <vector>

namespace nkfast {

// ||x|| of n numbers, without overflow or underflow of the squares.
template <class T> double norm(const T* x, std::size_t n) {
  double sums[4] = {};
  std::size_t j = 0;
  for (; j + 4 <= n; j += 4) {
    for (std::size_t k = 0; k < 4; ++k) {
      const double v = static_cast<double>(x[j + k]);
      sums[k] += v * v;
    }
  }
  for (; j < n; ++j) {
    const double v = static_cast<double>(x[j]);
    sums[0] += v * v;
  }
  const double sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  if (sum > 1e-280 && sum < std::numeric_limits<double>::infinity()) {
    return std::sqrt(sum);
  }
  double largest = 0;
  for (std::size_t k = 0; k < n; ++k) {
    largest = std::max(largest, std::abs(static_cast<double>(x[k])));
  }
  if (largest == 0) {
    return 0;
  }
  double scaled = 0;
  for (std::size_t k = 0; k < n; ++k) {
    const double v = static_cast<double>(x[k]) / largest;
    scaled += v * v;
  }
  return largest * std::sqrt(scaled);
}

// Whether there is no NaN and no infinity: those times zero are NaN.
template <class T> bool all_finite(const T* x, std::size_t n, std::size_t n_threads) {
  std::atomic<bool> finite = true;
  constexpr std::size_t kLeast = 8 * kLeastNanoseconds; // numbers, at memory's speed
  parallel_for(n, n_threads, kLeast, [&finite, x](std::size_t begin, std::size_t end) {
    T sums[16] = {};
    std::size_t i = begin;
    for (Checkpoint checkpoint(kLeast); i + 16 <= end; checkpoint()) {
      for (const std::size_t stop = std::min(end, i + kLeast); i + 16 <= stop; i += 16) {
        for (std::size_t k = 0; k < 16; ++k) {
          sums[k] += x[i + k] * T{0};
        }
      }
    }
    T sum = 0;
    for (; i < end; ++i) {
      sum += x[i] * T{0};
    }
    for (const T part : sums) {
      sum += part;
    }
    if (sum != 0) { // NaN
      finite = false;
    }
  });
  return finite;
}

template <class T> void row_norms(const Rows<T>& rows, double* out, std::size_t n_threads) {
  const std::size_t work = std::max<std::size_t>(rows.n_features, 1);
  parallel_for(rows.n_rows, n_threads, 2 * kLeastNanoseconds / work + 1,
               [&](std::size_t begin, std::size_t end) {
                 Checkpoint checkpoint(work / 2);
                 for (std::size_t i = begin; i < end; ++i) {
                   checkpoint();
                   out[i] = rows.sparse()
                                ? norm(rows.data + rows.start(i), rows.start(i + 1) - rows.start(i))
                                : norm(rows.data + i * rows.n_features, rows.n_features);
                 }
               });
}

// out[i * n_weights + c] = norms[i]^power * sum_k coefficients[c * n_terms + k] T_k(t) with
// t = (log norms[i] - middle) / half, kept within [-1, 1]; the value at_zero[c] for norm zero.
inline void radial_weights(const double* norms, std::size_t n, const double* coefficients,
                           std::size_t n_weights, std::size_t n_terms, const double* at_zero,
                           double middle, double half, double power, double* out,
                           std::size_t n_threads) {
  const std::size_t work = std::max<std::size_t>(n_weights * n_terms, 1);
  parallel_for(n, n_threads, kLeastNanoseconds / work + 1, [&](std::size_t begin, std::size_t end) {
    std::vector<double> terms(std::max<std::size_t>(n_terms, 2));
    Checkpoint checkpoint(work);
    for (std::size_t i = begin; i < end; ++i) {
      checkpoint();
      double* row = out + i * n_weights;
      if (norms[i] == 0) {
        std::copy(at_zero, at_zero + n_weights, row);
        continue;
      }
      const double t = half > 0 ? std::clamp((std::log(norms[i]) - middle) / half, -1.0, 1.0) : 0.0;
      terms[0] = 1;
      terms[1] = t;
      for (std::size_t k = 2; k < n_terms; ++k) {
        terms[k] = 2 * t * terms[k - 1] - terms[k - 2];
      }
      const double scale = power == 0 ? 1 : std::pow(norms[i], power);
      for (std::size_t c = 0; c < n_weights; ++c) {
        double sum = 0;
        for (std::size_t k = 0; k < n_terms; ++k) {
          sum += coefficients[c * n_terms + k] * terms[k];
        }
        row[c] = sum * scale;
      }
    }
  });
}

} // namespace nkfast
