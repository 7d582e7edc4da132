// Loops over lane blocks: in and out of them, hashing, products, norms.

template <class T> void load(const T* const* rows, std::size_t n, const T* scale, T* block) {
  constexpr std::size_t W = kLanes<T>;
  Vec<T>* x = reinterpret_cast<Vec<T>*>(block);
  const Vec<T> factor = load_any(scale);
  std::size_t j = 0;
  for (; j + W <= n; j += W) {
    Vec<T> v[W];
#pragma GCC unroll 16
    for (std::size_t r = 0; r < W; ++r) {
      v[r] = load_any(rows[r] + j);
    }
    transpose<T>(v);
#pragma GCC unroll 16
    for (std::size_t r = 0; r < W; ++r) {
      x[j + r] = v[r] * factor;
    }
  }
  for (; j < n; ++j) {
    Vec<T> v{};
    for (std::size_t r = 0; r < W; ++r) {
      v[r] = rows[r][j];
    }
    x[j] = v * factor;
  }
}

// W features of a block into columns j.. of W rows.
template <class T>
inline void store_square(const Vec<T>* x, Vec<T> factor, T* const* rows, std::size_t j) {
  constexpr std::size_t W = kLanes<T>;
  Vec<T> v[W];
#pragma GCC unroll 16
  for (std::size_t r = 0; r < W; ++r) {
    v[r] = x[j + r] * factor;
  }
  transpose<T>(v);
#pragma GCC unroll 16
  for (std::size_t r = 0; r < W; ++r) {
    store_any(rows[r] + j, v[r]);
  }
}

// The rows are often a multiple of 4 KB apart, so that all their lines fall into one set of the
// cache, which holds fewer than W of them. So columns are written by whole, aligned cache lines,
// each once; only the first and the last square may overlap their neighbours.
template <class T> void store(const T* block, std::size_t n, const T* scale, T* const* rows) {
  constexpr std::size_t W = kLanes<T>;
  const Vec<T>* x = reinterpret_cast<const Vec<T>*>(block);
  const Vec<T> factor = load_any(scale);
  if (n >= W) {
    store_square(x, factor, rows, 0);
    const std::size_t past = reinterpret_cast<std::uintptr_t>(rows[0]) / sizeof(T) % W;
    std::size_t j = W - past;
    for (; j + W <= n; j += W) {
      store_square(x, factor, rows, j);
    }
    if (j < n) {
      store_square(x, factor, rows, n - W);
    }
    return;
  }
  for (std::size_t j = 0; j < n; ++j) {
    const Vec<T> v = x[j] * factor;
    for (std::size_t r = 0; r < W; ++r) {
      rows[r][j] = v[r];
    }
  }
}

template <class T>
void count_sketch(const T* src, std::size_t n, const std::int32_t* hash, const T* signs, T* dst) {
  const Vec<T>* x = reinterpret_cast<const Vec<T>*>(src);
  Vec<T>* y = reinterpret_cast<Vec<T>*>(dst);
  for (std::size_t j = 0; j < n; ++j) {
    y[hash[j]] += x[j] * signs[j];
  }
}

template <class T>
void product(const T* a, const std::int32_t* i, const T* b, const std::int32_t* j, std::size_t n,
             T scale, T* dst) {
  const Vec<T>* x = reinterpret_cast<const Vec<T>*>(a);
  const Vec<T>* y = reinterpret_cast<const Vec<T>*>(b);
  Vec<T>* z = reinterpret_cast<Vec<T>*>(dst);
  for (std::size_t t = 0; t < n; ++t) {
    z[t] = x[i[t]] * y[j[t]] * scale;
  }
}

template <class T>
void weighted_product(const T* a, const std::int32_t* i, const T* b, const std::int32_t* j,
                      std::size_t n, const T* c, T* dst) {
  const Vec<T>* x = reinterpret_cast<const Vec<T>*>(a);
  const Vec<T>* y = reinterpret_cast<const Vec<T>*>(b);
  Vec<T>* z = reinterpret_cast<Vec<T>*>(dst);
  for (std::size_t t = 0; t < n; ++t) {
    z[t] = x[i[t]] * y[j[t]] * c[t];
  }
}

template <class T>
void gather(const T* src, const std::int32_t* i, std::size_t n, T scale, T* dst) {
  const Vec<T>* x = reinterpret_cast<const Vec<T>*>(src);
  Vec<T>* z = reinterpret_cast<Vec<T>*>(dst);
  for (std::size_t t = 0; t < n; ++t) {
    z[t] = x[i[t]] * scale;
  }
}

// dst[t] = sum over j < n of matrix[t * n + j] src[j], for t < m.
template <class T>
void linear(const T* src, std::size_t n, const T* matrix, std::size_t m, T* dst) {
  constexpr std::size_t kOut = 8; // at once, each in a register
  const Vec<T>* x = reinterpret_cast<const Vec<T>*>(src);
  Vec<T>* z = reinterpret_cast<Vec<T>*>(dst);
  std::size_t t = 0;
  for (; t + kOut <= m; t += kOut) {
    Vec<T> sum[kOut] = {};
    for (std::size_t j = 0; j < n; ++j) {
#pragma GCC unroll 8
      for (std::size_t k = 0; k < kOut; ++k) {
        sum[k] = fused(x[j], splat<T>(matrix[(t + k) * n + j]), sum[k]);
      }
    }
#pragma GCC unroll 8
    for (std::size_t k = 0; k < kOut; ++k) {
      z[t + k] = sum[k];
    }
  }
  for (; t < m; ++t) {
    Vec<T> sum{};
    for (std::size_t j = 0; j < n; ++j) {
      sum = fused(x[j], splat<T>(matrix[t * n + j]), sum);
    }
    z[t] = sum;
  }
}

// dst[t] = a[t] x dst[t - 1] - b[t] r^2 dst[t - 2] + c[t], where x is the last of n features and r
// their norm; where dst has no such entry, a[t] or b[t] is 0. a, b and c follow each other.
template <class T> void recurrence(const T* src, std::size_t n, const T* a, std::size_t m, T* dst) {
  const Vec<T>* x = reinterpret_cast<const Vec<T>*>(src);
  Vec<T>* z = reinterpret_cast<Vec<T>*>(dst);
  const T* b = a + m;
  const T* c = b + m;
  const Vec<T> last = x[n - 1];
  Vec<T> square{};
  for (std::size_t j = 0; j < n; ++j) {
    square += x[j] * x[j];
  }
  Vec<T> before{};
  Vec<T> now{};
  for (std::size_t t = 0; t < m; ++t) {
    const Vec<T> next = (last * a[t]) * now - (square * b[t]) * before + c[t];
    before = now;
    z[t] = now = next;
  }
}

template <class T> void square_sums(const T* block, std::size_t n, T* out) {
  const Vec<T>* x = reinterpret_cast<const Vec<T>*>(block);
  Vec<T> sum[4] = {};
  std::size_t j = 0;
  for (; j + 4 <= n; j += 4) {
#pragma GCC unroll 4
    for (std::size_t k = 0; k < 4; ++k) {
      sum[k] += x[j + k] * x[j + k];
    }
  }
  for (; j < n; ++j) {
    sum[0] += x[j] * x[j];
  }
  store_any(out, (sum[0] + sum[1]) + (sum[2] + sum[3]));
}

template <class T> void scale_lanes(T* block, std::size_t n, const T* scale) {
  Vec<T>* x = reinterpret_cast<Vec<T>*>(block);
  const Vec<T> factor = load_any(scale);
  for (std::size_t j = 0; j < n; ++j) {
    x[j] *= factor;
  }
}

template <class T> void stream(const T* src, std::size_t n, T* dst) {
  [[maybe_unused]] constexpr std::size_t W = kLanes<T>;
  std::size_t j = 0;
  if constexpr (kStreams) {
    const auto address = reinterpret_cast<std::uintptr_t>(dst);
    const std::size_t head = (0 - address) % NKFAST_VECTOR_BYTES / sizeof(T);
    if (address % sizeof(T) == 0 && head <= n) {
      for (; j < head; ++j) {
        dst[j] = src[j];
      }
      for (; j + W <= n; j += W) {
        stream_vector(dst + j, load_any(src + j));
      }
    }
  }
  for (; j < n; ++j) {
    dst[j] = src[j];
  }
}
