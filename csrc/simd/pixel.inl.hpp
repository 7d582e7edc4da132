// Loops between planes, that hold one feature of all pixels of an image, and lane blocks of W
// pixels side by side: feature j of the first pixel lies at plane[j * stride].

template <class T>
void collect(const T* plane, std::size_t stride, std::size_t n, const T* scale, T* block) {
  Vec<T>* x = reinterpret_cast<Vec<T>*>(block);
  const Vec<T> factor = load_any(scale);
  for (std::size_t j = 0; j < n; ++j) {
    x[j] = load_any(plane + j * stride) * factor;
  }
}

template <class T>
void spread(const T* block, std::size_t n, const T* scale, T* plane, std::size_t stride) {
  const Vec<T>* x = reinterpret_cast<const Vec<T>*>(block);
  const Vec<T> factor = load_any(scale);
  for (std::size_t j = 0; j < n; ++j) {
    store_any(plane + j * stride, x[j] * factor);
  }
}

template <class T>
void sketch_plane(const T* plane, std::size_t stride, std::size_t n, const std::int32_t* hash,
                  const T* signs, T* dst) {
  Vec<T>* y = reinterpret_cast<Vec<T>*>(dst);
  for (std::size_t j = 0; j < n; ++j) {
    y[hash[j]] += load_any(plane + j * stride) * signs[j];
  }
}

template <class T>
void weighted_sketch(const T* src, std::size_t n, const std::int32_t* hash, const T* signs,
                     const T* weight, T* dst) {
  const Vec<T>* x = reinterpret_cast<const Vec<T>*>(src);
  Vec<T>* y = reinterpret_cast<Vec<T>*>(dst);
  const Vec<T> factor = load_any(weight);
  for (std::size_t j = 0; j < n; ++j) {
    y[hash[j]] += x[j] * factor * signs[j];
  }
}

template <class T>
void mean_planes(const T* plane, std::size_t stride, std::size_t n, const std::int32_t* pixels,
                 std::size_t n_taps, T* dst, std::size_t dst_stride) {
  constexpr std::size_t W = kLanes<T>;
  const T share = T{1} / static_cast<T>(n_taps);
  for (std::size_t j = 0; j < n; ++j) {
    Vec<T> sum{};
    for (std::size_t t = 0; t < n_taps; ++t) {
      Vec<T> v;
#pragma GCC unroll 16
      for (std::size_t r = 0; r < W; ++r) {
        v[r] = plane[j * stride + static_cast<std::size_t>(pixels[t * W + r])];
      }
      sum += v;
    }
    store_any(dst + j * dst_stride, sum * share);
  }
}

// Every S-th number from x on.
template <int S, class T> inline Vec<T> load_every(const T* x) {
  if constexpr (S == 1) {
    return load_any(x);
  } else {
    return every_other<T>(load_any(x), load_any(x + kLanes<T>), LaneIndices<T>{});
  }
}

template <int S, class T>
void pool_planes_by(const PlanePool& p, const T* plane, std::size_t stride, std::size_t n, T* dst,
                    std::size_t dst_stride) {
  constexpr std::size_t W = kLanes<T>;
  const T one = T{1} / static_cast<T>(p.window_rows * p.window_cols);
  const Vec<T> share = splat<T>(one);
  Vec<T> tail{};
  for (std::size_t r = 0; r < p.cols % W; ++r) {
    tail[r] = one;
  }
  for (std::size_t j = 0; j < n; ++j) {
    for (std::size_t row = 0; row < p.rows; ++row) {
      for (std::size_t col = 0; col < p.cols; col += W) {
        const T* from = plane + j * stride + row * p.row_stride * p.pitch + col * S;
        Vec<T> sum{};
        for (std::size_t a = 0; a < p.window_rows; ++a) {
          for (std::size_t b = 0; b < p.window_cols; ++b) {
            sum += load_every<S>(from + a * p.pitch + b);
          }
        }
        // Past the last column are zeros, or what the next row will write.
        store_any(dst + j * dst_stride + row * p.dst_pitch + col,
                  sum * (col + W > p.cols ? tail : share));
      }
    }
  }
}

template <class T>
bool pool_planes(const PlanePool& p, const T* plane, std::size_t stride, std::size_t n, T* dst,
                 std::size_t dst_stride) {
  switch (p.col_stride) {
  case 1:
    pool_planes_by<1>(p, plane, stride, n, dst, dst_stride);
    return true;
  case 2:
    pool_planes_by<2>(p, plane, stride, n, dst, dst_stride);
    return true;
  default:
    return false;
  }
}
