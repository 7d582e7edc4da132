// Products of points into tiles, and tiles of kernels out into rows and columns.

// Rows x vectors of accumulators: with fewer than 8 the products would wait for each other, with
// more than the registers they would go through memory.
constexpr std::size_t kGramSums = kRegisters / 2;
constexpr std::size_t kGramRows = 4;
template <class T> constexpr std::size_t gram_vectors() {
  constexpr std::size_t panel = kDualPad / kLanes<T>;
  return panel < kGramSums / kGramRows ? panel : kGramSums / kGramRows;
}

template <std::size_t R, class T>
inline void gram_rows(const T* x, std::size_t x_ld, const T* panel, std::size_t depth, T* out,
                      std::size_t ld, T scale, T shift, bool add) {
  constexpr std::size_t W = kLanes<T>;
  constexpr std::size_t V = gram_vectors<T>();
  for (std::size_t j = 0; j < kDualPad; j += V * W) {
    Vec<T> sum[R][V] = {};
    for (std::size_t t = 0; t < depth; ++t) {
      const Vec<T>* z = reinterpret_cast<const Vec<T>*>(panel + t * kDualPad + j);
#pragma GCC unroll 8
      for (std::size_t r = 0; r < R; ++r) {
        const Vec<T> left = splat(x[r * x_ld + t]);
#pragma GCC unroll 4
        for (std::size_t v = 0; v < V; ++v) {
          sum[r][v] = fused(left, z[v], sum[r][v]);
        }
      }
    }
#pragma GCC unroll 8
    for (std::size_t r = 0; r < R; ++r) {
      Vec<T>* to = reinterpret_cast<Vec<T>*>(out + r * ld + j);
#pragma GCC unroll 4
      for (std::size_t v = 0; v < V; ++v) {
        to[v] = fused(add ? to[v] + sum[r][v] : sum[r][v], splat(scale), splat(shift));
      }
    }
  }
}

template <class T>
void gram(const T* x, std::size_t x_ld, std::size_t rows, const T* panel, std::size_t depth, T* out,
          std::size_t ld, double scale, double shift, bool add) {
  constexpr std::size_t R = kGramSums / gram_vectors<T>();
  const T by = static_cast<T>(scale);
  const T plus = static_cast<T>(shift);
  std::size_t r = 0;
  for (; r + R <= rows; r += R) {
    gram_rows<R>(x + r * x_ld, x_ld, panel, depth, out + r * ld, ld, by, plus, add);
  }
  for (; r < rows; ++r) {
    gram_rows<1>(x + r * x_ld, x_ld, panel, depth, out + r * ld, ld, by, plus, add);
  }
}

// Whether no entry is infinite or NaN.
template <class T> bool finite(const T* x, std::size_t n) {
  constexpr std::size_t W = kLanes<T>;
  Vec<T> zeros{};
  std::size_t j = 0;
  for (; j + W <= n; j += W) {
    zeros += load_any(x + j) * T{0};
  }
  T zero{0};
  for (; j < n; ++j) {
    zero += x[j] * T{0};
  }
  for (std::size_t l = 0; l < W; ++l) {
    zero += zeros[l];
  }
  return zero == 0;
}

template <class T> void narrow(const double* src, std::size_t n, T* dst) {
  for (std::size_t j = 0; j < n; ++j) {
    dst[j] = static_cast<T>(src[j]);
  }
}

// As transpose_tile; kStream: dst and its rows begin at whole vectors, and go past the caches.
template <bool kStream, class T>
void transpose_squares(const T* src, std::size_t src_ld, std::size_t rows, std::size_t cols, T* dst,
                       std::ptrdiff_t dst_ld) {
  constexpr std::size_t W = kLanes<T>;
  std::size_t j = 0;
  for (; j + W <= cols; j += W, dst += static_cast<std::ptrdiff_t>(W) * dst_ld) {
    std::size_t i = 0;
    for (; i + W <= rows; i += W) {
      Vec<T> v[W];
#pragma GCC unroll 16
      for (std::size_t r = 0; r < W; ++r) {
        v[r] = load_any(src + (i + r) * src_ld + j);
      }
      transpose<T>(v);
      T* to = dst + i;
#pragma GCC unroll 16
      for (std::size_t r = 0; r < W; ++r, to += dst_ld) {
        if constexpr (kStream) {
          stream_vector(to, v[r]);
        } else {
          store_any(to, v[r]);
        }
      }
    }
    T* to = dst;
    for (std::size_t r = 0; r < W; ++r, to += dst_ld) {
      for (std::size_t t = i; t < rows; ++t) {
        to[t] = src[t * src_ld + j + r];
      }
    }
  }
  for (; j < cols; ++j, dst += dst_ld) {
    for (std::size_t i = 0; i < rows; ++i) {
      dst[i] = src[i * src_ld + j];
    }
  }
}

// dst[j * dst_ld + i] = src[i * src_ld + j]: squares of vectors, whole lines of dst one by one.
// away: dst will not be read soon; only whole cache lines are worth writing past the caches.
template <class T>
void transpose_tile(const T* src, std::size_t src_ld, std::size_t rows, std::size_t cols, T* dst,
                    std::ptrdiff_t dst_ld, [[maybe_unused]] bool away) {
  if constexpr (kStreams && NKFAST_VECTOR_BYTES == kLineBytes) {
    const auto begin = reinterpret_cast<std::uintptr_t>(dst);
    const auto pitch = static_cast<std::uintptr_t>(dst_ld) * sizeof(T);
    if (away && begin % kLineBytes == 0 && pitch % kLineBytes == 0) {
      transpose_squares<true>(src, src_ld, rows, cols, dst, dst_ld);
      return;
    }
  }
  transpose_squares<false>(src, src_ld, rows, cols, dst, dst_ld);
}
