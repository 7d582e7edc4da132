#include "sketch/projections.hpp"

#include "aligned.hpp"
#include "parallel.hpp"
#include "simd/dispatch.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace nkfast {

namespace {

// Operations that are worth a thread, at about a quarter of a nanosecond each.
constexpr std::size_t kWork = 4 * kLeastNanoseconds;

void check(bool sound, const char* message) {
  if (!sound) {
    throw std::invalid_argument(message);
  }
}

std::size_t rows_per_thread(std::size_t work) { return kWork / (work + 1) + 1; }

template <class T> std::size_t mean_nonzeros(const Rows<T>& rows) {
  return rows.sparse() && rows.n_rows > 0 ? rows.start(rows.n_rows) / rows.n_rows : rows.n_features;
}

// NaN if the first entry of a row is NaN or infinite, else 0.
template <class T> T first_entries(const T* x, std::size_t n_rows, std::size_t n) {
  T sums[4] = {};
  std::size_t r = 0;
  for (; r + 4 <= n_rows; r += 4) {
    for (std::size_t k = 0; k < 4; ++k) {
      sums[k] += x[(r + k) * n] * T{0};
    }
  }
  for (; r < n_rows; ++r) {
    sums[0] += x[r * n] * T{0};
  }
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

} // namespace

HashMap::HashMap(std::size_t n_components, std::size_t n_nonzeros, std::vector<std::int32_t> hashes,
                 std::vector<double> values)
    : n_components_(n_components), n_nonzeros_(n_nonzeros), hashes_(std::move(hashes)),
      values_((check(values.size() == hashes_.size(), "values: expected one for each hash"),
               std::move(values))) {
  check(n_nonzeros > 0 && hashes_.size() % n_nonzeros == 0,
        "hashes: expected n_nonzeros for each feature");
  for (const std::int32_t h : hashes_) {
    check(h >= 0 && static_cast<std::size_t>(h) < n_components,
          "hashes: expected indices in [0, n_components)");
  }
}

template <class T> void HashMap::rows(const Rows<T>& rows, T* out, std::size_t n_threads) const {
  const std::size_t s = n_nonzeros_;
  const std::int32_t* hashes = hashes_.data();
  const T* values = values_.data<T>();
  const std::size_t last =
      rows.sparse() ? std::max<std::size_t>(rows.start(rows.n_rows), 1) - 1 : 0;
  const std::size_t work = mean_nonzeros(rows) * s + n_components_;
  parallel_for(rows.n_rows, n_threads, rows_per_thread(work),
               [&](std::size_t begin, std::size_t end) {
                 Checkpoint checkpoint(work);
                 for (std::size_t i = begin; i < end; ++i) {
                   checkpoint();
                   T* y = out + i * n_components_;
                   const auto add = [&](std::size_t j, T value) {
                     for (std::size_t k = j * s; k < (j + 1) * s; ++k) {
                       y[hashes[k]] += values[k] * value;
                     }
                   };
                   std::fill(y, y + n_components_, T{0});
                   if (rows.sparse()) {
                     for (std::size_t k = rows.start(i); k < rows.start(i + 1); ++k) {
                       const std::size_t soon = rows.column(std::min(k + kAhead, last));
                       __builtin_prefetch(hashes + soon * s);
                       __builtin_prefetch(values + soon * s);
                       add(rows.column(k), rows.data[k]);
                     }
                   } else if (s == 1) {
                     const T* x = rows.data + i * rows.n_features;
                     for (std::size_t j = 0; j < rows.n_features; ++j) {
                       y[hashes[j]] += values[j] * x[j];
                     }
                   } else {
                     const T* x = rows.data + i * rows.n_features;
                     for (std::size_t j = 0; j < rows.n_features; ++j) {
                       add(j, x[j]);
                     }
                   }
                 }
               });
}

template <class T> void HashMap::adjoint(const Rows<T>& rows, T* out, std::size_t n_threads) const {
  const std::size_t s = n_nonzeros_;
  const std::size_t n = n_features();
  const std::size_t work = n * s;
  const std::int32_t* hashes = hashes_.data();
  const T* values = values_.data<T>();
  parallel_for(rows.n_rows, n_threads, rows_per_thread(work),
               [&](std::size_t begin, std::size_t end) {
                 Checkpoint checkpoint(work);
                 for (std::size_t i = begin; i < end; ++i) {
                   checkpoint();
                   const T* z = rows.data + i * n_components_;
                   T* x = out + i * n;
                   for (std::size_t j = 0; j < n; ++j) {
                     T sum = 0;
                     for (std::size_t k = j * s; k < (j + 1) * s; ++k) {
                       sum += values[k] * z[hashes[k]];
                     }
                     x[j] = sum;
                   }
                 }
               });
}

HadamardMap::HadamardMap(std::size_t n_features, std::size_t length,
                         std::vector<std::int64_t> counts, std::vector<std::int32_t> samples,
                         std::vector<double> signs, double scale)
    : n_features_(n_features), length_(length), counts_(std::move(counts)),
      samples_(std::move(samples)), signs_((check(signs.size() == counts_.size() * n_features,
                                                  "signs: expected n_features for each block"),
                                            std::move(signs))),
      scale_(scale) {
  check(length >= n_features && std::has_single_bit(length) && length <= std::size_t{1} << 31,
        "length: expected a power of two >= n_features, at most 2^31");
  std::size_t total = 0;
  for (const std::int64_t count : counts_) {
    check(count >= 0 && static_cast<std::size_t>(count) <= samples_.size(),
          "counts: expected numbers in [0, n_components]");
    total += static_cast<std::size_t>(count);
  }
  check(total == samples_.size(), "counts: expected the sum to be the number of samples");
  for (const std::int32_t i : samples_) {
    check(i >= 0 && static_cast<std::size_t>(i) < length,
          "samples: expected indices in [0, length)");
  }
}

template <class T>
void HadamardMap::rows(const Rows<T>& rows, T* out, std::size_t n_threads) const {
  const std::size_t levels = static_cast<std::size_t>(std::bit_width(length_));
  const T scale = static_cast<T>(scale_);
  const std::size_t dense_work = counts_.size() * length_ * levels / 8 + n_components();
  parallel_for(
      rows.n_rows, n_threads, rows_per_thread(dense_work), [&](std::size_t begin, std::size_t end) {
        auto transform = AlignedBuffer<T>::uninitialised(length_);
        T* x = transform.data();
        Checkpoint checkpoint(dense_work);
        for (std::size_t i = begin; i < end; ++i) {
          checkpoint();
          const std::size_t first = rows.sparse() ? rows.start(i) : 0;
          const std::size_t last = rows.sparse() ? rows.start(i + 1) : 0;
          const bool direct = rows.sparse() && (last - first) * n_components() < dense_work;
          const std::int32_t* sample = samples_.data();
          T* to = out + i * n_components();
          for (std::size_t b = 0; b < counts_.size(); ++b) {
            const T* signs = signs_.data<T>() + b * n_features_;
            const auto count = static_cast<std::size_t>(counts_[b]);
            if (direct) { // H_jk = (-1)^(number of common bits of j and k)
              std::fill(to, to + count, T{0});
              for (std::size_t k = first; k < last; ++k) {
                const std::size_t j = rows.column(k);
                const T value = rows.data[k] * signs[j] * scale;
                const auto bits = static_cast<std::uint32_t>(j);
                for (std::size_t t = 0; t < count; ++t) {
                  const int odd = std::popcount(bits & static_cast<std::uint32_t>(sample[t])) & 1;
                  to[t] += odd != 0 ? -value : value;
                }
              }
            } else {
              if (rows.sparse()) {
                std::fill(x, x + length_, T{0});
                for (std::size_t k = first; k < last; ++k) {
                  x[rows.column(k)] += rows.data[k] * signs[rows.column(k)];
                }
              } else {
                const T* row = rows.data + i * rows.n_features;
                for (std::size_t j = 0; j < n_features_; ++j) {
                  x[j] = row[j] * signs[j];
                }
                std::fill(x + n_features_, x + length_, T{0});
              }
              table<T>().wht_rows(x, 1, length_, scale);
              for (std::size_t t = 0; t < count; ++t) {
                to[t] = x[sample[t]];
              }
            }
            sample += count;
            to += count;
          }
        }
      });
}

template <class T>
void HadamardMap::adjoint(const Rows<T>& rows, T* out, std::size_t n_threads) const {
  const T scale = static_cast<T>(scale_);
  const std::size_t work = counts_.size() * length_ * 2;
  parallel_for(rows.n_rows, n_threads, rows_per_thread(work),
               [&](std::size_t begin, std::size_t end) {
                 auto transform = AlignedBuffer<T>::uninitialised(length_);
                 T* x = transform.data();
                 Checkpoint checkpoint(work);
                 for (std::size_t i = begin; i < end; ++i) {
                   checkpoint();
                   T* to = out + i * n_features_;
                   std::fill(to, to + n_features_, T{0});
                   const std::int32_t* sample = samples_.data();
                   const T* z = rows.data + i * n_components();
                   for (std::size_t b = 0; b < counts_.size(); ++b) {
                     const auto count = static_cast<std::size_t>(counts_[b]);
                     std::fill(x, x + length_, T{0});
                     for (std::size_t t = 0; t < count; ++t) {
                       x[sample[t]] += z[t];
                     }
                     table<T>().wht_rows(x, 1, length_, scale);
                     const T* signs = signs_.data<T>() + b * n_features_;
                     for (std::size_t j = 0; j < n_features_; ++j) {
                       to[j] += signs[j] * x[j];
                     }
                     sample += count;
                     z += count;
                   }
                 }
               });
}

template <class T>
bool hadamard_axis(T* x, std::size_t outer, std::size_t n, std::size_t inner, T scale,
                   std::size_t n_threads) {
  std::atomic<bool> finite = true;
  if (inner == 1) {
    const std::size_t step = 8192 / n + 1; // rows whose first entries are still in cache
    parallel_for(outer, n_threads, rows_per_thread(n / 2), [&](std::size_t begin, std::size_t end) {
      T sum = 0;
      for (std::size_t row = begin; row < end; row += step) {
        const std::size_t count = std::min(step, end - row);
        table<T>().wht_rows(x + row * n, count, n, scale);
        sum += first_entries(x + row * n, count, n);
      }
      if (sum != 0) { // NaN
        finite = false;
      }
    });
    return finite;
  }
  // Neighbouring columns are the lanes of a block: no transposing.
  const auto lanes = static_cast<std::size_t>(table<T>().lanes);
  const std::size_t per_slab = (inner + lanes - 1) / lanes;
  parallel_for(outer * per_slab, n_threads, rows_per_thread(n * lanes / 2),
               [&](std::size_t begin, std::size_t end) {
                 auto buffer = AlignedBuffer<T>::uninitialised(n * lanes);
                 T* block = buffer.data();
                 T sum = 0;
                 for (std::size_t task = begin; task < end; ++task) {
                   const std::size_t column = task % per_slab * lanes;
                   const std::size_t width = std::min(lanes, inner - column);
                   T* slab = x + task / per_slab * n * inner + column;
                   for (std::size_t j = 0; j < n; ++j) {
                     for (std::size_t r = 0; r < lanes; ++r) {
                       block[j * lanes + r] = r < width ? slab[j * inner + r] * scale : T{0};
                     }
                   }
                   table<T>().wht_block(block, n);
                   for (std::size_t r = 0; r < lanes; ++r) {
                     sum += block[r] * T{0};
                   }
                   for (std::size_t j = 0; j < n; ++j) {
                     std::memcpy(slab + j * inner, block + j * lanes, width * sizeof(T));
                   }
                 }
                 if (sum != 0) { // NaN
                   finite = false;
                 }
               });
  return finite;
}

#define NKFAST_INSTANTIATE(T)                                                                      \
  template void HashMap::rows(const Rows<T>&, T*, std::size_t) const;                              \
  template void HashMap::adjoint(const Rows<T>&, T*, std::size_t) const;                           \
  template void HadamardMap::rows(const Rows<T>&, T*, std::size_t) const;                          \
  template void HadamardMap::adjoint(const Rows<T>&, T*, std::size_t) const;                       \
  template bool hadamard_axis(T*, std::size_t, std::size_t, std::size_t, T, std::size_t);
NKFAST_INSTANTIATE(float)
NKFAST_INSTANTIATE(double)
#undef NKFAST_INSTANTIATE

} // namespace nkfast
