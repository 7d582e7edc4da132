// Sums over windows of maps of pixels, for convolutions and pools of kernels.

// dst[i * dst_ld + j] = sum over t < n of src[t][i * ld + j].
template <std::size_t N>
inline void sum_of(const double* const* src, std::size_t rows, std::size_t cols, std::size_t ld,
                   double* dst, std::size_t dst_ld) {
  constexpr std::size_t W = kLanes<double>;
  for (std::size_t i = 0; i < rows; ++i, dst += dst_ld) {
    const std::size_t at = i * ld;
    std::size_t j = 0;
    for (; j + W <= cols; j += W) {
      Lane sum = load_any(src[0] + at + j);
#pragma GCC unroll 8
      for (std::size_t t = 1; t < N; ++t) {
        sum += load_any(src[t] + at + j);
      }
      store_any(dst + j, sum);
    }
    for (; j < cols; ++j) {
      double sum = src[0][at + j];
#pragma GCC unroll 8
      for (std::size_t t = 1; t < N; ++t) {
        sum += src[t][at + j];
      }
      dst[j] = sum;
    }
  }
}

void window_sum(const double* const* src, std::size_t n, std::size_t rows, std::size_t cols,
                std::size_t ld, double* dst, std::size_t dst_ld) {
  switch (n) {
  case 0:
    for (std::size_t i = 0; i < rows; ++i) {
      for (std::size_t j = 0; j < cols; ++j) {
        dst[i * dst_ld + j] = 0;
      }
    }
    return;
  case 1:
    return sum_of<1>(src, rows, cols, ld, dst, dst_ld);
  case 2:
    return sum_of<2>(src, rows, cols, ld, dst, dst_ld);
  case 3:
    return sum_of<3>(src, rows, cols, ld, dst, dst_ld);
  default:
    sum_of<3>(src, rows, cols, ld, dst, dst_ld);
    for (std::size_t t = 3; t < n; ++t) {
      for (std::size_t i = 0; i < rows; ++i) {
        for (std::size_t j = 0; j < cols; ++j) {
          dst[i * dst_ld + j] += src[t][i * ld + j];
        }
      }
    }
  }
}

// The sum of n numbers, `tap` apart.
template <std::size_t N, class V, class F>
inline __attribute__((always_inline)) V taps_of(const double* from, std::size_t n, std::size_t tap,
                                                F load) {
  V sum = load(from);
  if constexpr (N > 0) {
#pragma GCC unroll 8
    for (std::size_t t = 1; t < N; ++t) {
      sum += load(from + t * tap);
    }
  } else {
    for (std::size_t t = 1; t < n; ++t) {
      sum += load(from + t * tap);
    }
  }
  return sum;
}

template <std::size_t N> inline void slide_by(const Slide& s) {
  constexpr std::size_t W = kLanes<double>;
  const auto vector = [](const double* x) __attribute__((always_inline)) { return load_any(x); };
  const auto number = [](const double* x) __attribute__((always_inline)) { return *x; };
  const Lane w = splat(s.w);
  const Lane b = splat(s.b);
  for (std::size_t i = 0; i < s.rows; ++i) {
    const double* from = s.src + i * s.row_step;
    const double* plus = s.plus == nullptr ? nullptr : s.plus + i * s.ld;
    double* to = s.dst + i * s.ld;
    std::size_t j = 0;
    if (s.col_step == 1) {
      for (; j + W <= s.cols; j += W) {
        const Lane sum = taps_of<N, Lane>(from + j, s.taps, s.tap, vector);
        store_any(to + j, fused(w, sum, plus == nullptr ? b : load_any(plus + j)));
      }
    }
    for (; j < s.cols; ++j) {
      const double sum = taps_of<N, double>(from + j * s.col_step, s.taps, s.tap, number);
      to[j] = s.w * sum + (plus == nullptr ? s.b : plus[j]);
    }
  }
}

void slide(const Slide& s) {
  switch (s.taps) {
  case 1:
    return slide_by<1>(s);
  case 2:
    return slide_by<2>(s);
  case 3:
    return slide_by<3>(s);
  case 5:
    return slide_by<5>(s);
  default:
    return slide_by<0>(s);
  }
}

// Sums of neighbours: a[0] + a[1], a[2] + a[3], ...
template <int... I> inline Lane pair_sums(Lane a, Lane b, Indices<I...>) {
  return __builtin_shufflevector(a, b, (2 * I)...) + __builtin_shufflevector(a, b, (2 * I + 1)...);
}

void pool(const PoolWindow& p) {
  constexpr std::size_t W = kLanes<double>;
  const std::size_t row_step = p.stride * p.ld;
  const bool halves = p.window == 2 && p.stride == 2;
  for (std::size_t i = 0; i < p.rows; ++i) {
    const double* from = p.src + i * row_step;
    double* to = p.dst + i * p.dst_ld;
    std::size_t j = 0;
    if (halves) {
      for (; j + W <= p.cols; j += W) {
        const double* x = from + 2 * j;
        const Lane a = load_any(x) + load_any(x + p.ld);
        const Lane b = load_any(x + W) + load_any(x + p.ld + W);
        const Lane sum = pair_sums(a, b, LaneIndices<double>{});
        store_any(to + j, fused(sum, splat(p.scale), load_any(to + j)));
      }
    }
    for (; j < p.cols; ++j) {
      double sum = 0;
      for (std::size_t a = 0; a < p.window; ++a) {
        for (std::size_t b = 0; b < p.window; ++b) {
          sum += from[a * p.ld + j * p.stride + b];
        }
      }
      to[j] += p.scale * sum;
    }
  }
}

// dst[j] += sum over i < rows of src[i * ld + j].
void add_rows(const double* src, std::size_t rows, std::size_t cols, std::size_t ld, double* dst) {
  constexpr std::size_t W = kLanes<double>;
  std::size_t j = 0;
  for (; j + W <= cols; j += W) {
    Lane sum = load_any(dst + j);
    for (std::size_t i = 0; i < rows; ++i) {
      sum += load_any(src + i * ld + j);
    }
    store_any(dst + j, sum);
  }
  for (; j < cols; ++j) {
    for (std::size_t i = 0; i < rows; ++i) {
      dst[j] += src[i * ld + j];
    }
  }
}
