// Products of points into tiles, and tiles of kernels out into rows and columns.

// Rows x kVecs accumulators: with fewer than 8 the products would wait for each other, with more
// than the registers they would go through memory.
constexpr std::size_t kGramRows = 4;
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr std::size_t kGramVecs = 4;
#else
constexpr std::size_t kGramVecs = 2;
#endif

template <std::size_t R>
inline void gram_rows(const double* x, std::size_t x_ld, const double* panel, std::size_t depth,
                      double* out, std::size_t ld, double scale, bool add) {
  constexpr std::size_t W = kLanes<double>;
  for (std::size_t j = 0; j < kDualPad; j += kGramVecs * W) {
    Lane sum[R][kGramVecs] = {};
    for (std::size_t t = 0; t < depth; ++t) {
      const Lane* z = reinterpret_cast<const Lane*>(panel + t * kDualPad + j);
#pragma GCC unroll 4
      for (std::size_t r = 0; r < R; ++r) {
        const Lane left = splat(x[r * x_ld + t]);
#pragma GCC unroll 4
        for (std::size_t v = 0; v < kGramVecs; ++v) {
          sum[r][v] = fused(left, z[v], sum[r][v]);
        }
      }
    }
#pragma GCC unroll 4
    for (std::size_t r = 0; r < R; ++r) {
      Lane* to = reinterpret_cast<Lane*>(out + r * ld + j);
#pragma GCC unroll 4
      for (std::size_t v = 0; v < kGramVecs; ++v) {
        to[v] = (add ? to[v] + sum[r][v] : sum[r][v]) * scale;
      }
    }
  }
}

void gram(const double* x, std::size_t x_ld, std::size_t rows, const double* panel,
          std::size_t depth, double* out, std::size_t ld, double scale, bool add) {
  std::size_t r = 0;
  for (; r + kGramRows <= rows; r += kGramRows) {
    gram_rows<kGramRows>(x + r * x_ld, x_ld, panel, depth, out + r * ld, ld, scale, add);
  }
  for (; r < rows; ++r) {
    gram_rows<1>(x + r * x_ld, x_ld, panel, depth, out + r * ld, ld, scale, add);
  }
}

template <class T> void narrow(const double* src, std::size_t n, T* dst) {
  for (std::size_t j = 0; j < n; ++j) {
    dst[j] = static_cast<T>(src[j]);
  }
}

// dst[j * dst_ld + i] = src[i * src_ld + j]: squares of vectors, whole lines of dst one by one.
template <class T>
void transpose_tile(const T* src, std::size_t src_ld, std::size_t rows, std::size_t cols, T* dst,
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
        store_any(to, v[r]);
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
