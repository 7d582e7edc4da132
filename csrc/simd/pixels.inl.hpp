// Loops over lane blocks of pixels.

// N features of a piece from t on, added up.
template <int N, class T>
inline void add_piece(const PixelPiece<T>& piece, std::size_t t, Vec<T> (&sum)[N]) {
  constexpr std::size_t W = kLanes<T>;
  const Vec<T> factor = splat<T>(piece.factor);
  const T* a = piece.a + t * W;
  if (piece.pick == nullptr) {
#pragma GCC unroll 8
    for (std::size_t i = 0; i < N; ++i) {
      sum[i] = fused(load_any(a + i * W), factor, sum[i]);
    }
    return;
  }
  const T* b = piece.b + t * W;
  const Pick<T> pick(piece.pick);
#pragma GCC unroll 8
  for (std::size_t i = 0; i < N; ++i) {
    sum[i] = fused(pick(a + i * W, b + i * W), factor, sum[i]);
  }
}

template <int N, class T>
inline void add_runs_at(const PixelPiece<T>* pieces, const PixelRun* runs, std::size_t n_runs,
                        std::size_t t, Vec<T>* dst) {
  Vec<T> sum[N] = {};
  for (std::size_t k = 0; k < n_runs; ++k) {
    const PixelPiece<T>& piece = pieces[runs[k].piece];
    if (piece.a != nullptr) {
      add_piece<N>(piece, t + static_cast<std::size_t>(runs[k].shift), sum);
    }
  }
#pragma GCC unroll 8
  for (std::size_t i = 0; i < N; ++i) {
    dst[t + i] = sum[i];
  }
}

template <class T>
void add_runs(const PixelPiece<T>* pieces, const PixelRun* runs, std::size_t n_runs,
              std::size_t first, std::size_t last, T* dst) {
  constexpr int kTile = 8; // sums in registers
  Vec<T>* y = reinterpret_cast<Vec<T>*>(dst);
  std::size_t t = first;
  for (; t + kTile <= last; t += kTile) {
    add_runs_at<kTile>(pieces, runs, n_runs, t, y);
  }
  for (; t < last; ++t) {
    add_runs_at<1>(pieces, runs, n_runs, t, y);
  }
}

template <class T>
void scatter(const PixelPiece<T>& piece, std::size_t first, std::size_t last,
             const std::int32_t* hash, const T* signs, T* dst) {
  constexpr std::size_t W = kLanes<T>;
  Vec<T>* y = reinterpret_cast<Vec<T>*>(dst);
  if (piece.pick == nullptr) {
    for (std::size_t j = first; j < last; ++j) {
      y[hash[j]] += load_any(piece.a + j * W) * signs[j];
    }
    return;
  }
  const Pick<T> pick(piece.pick);
  for (std::size_t j = first; j < last; ++j) {
    y[hash[j]] += pick(piece.a + j * W, piece.b + j * W) * signs[j];
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

template <int N, class T>
inline void combine_at(const PixelTerm<T>* terms, const PixelRun* runs, std::size_t n_runs,
                       std::size_t t, const T* signs, Vec<T>* dst) {
  constexpr std::size_t W = kLanes<T>;
  Vec<T> sum[N] = {};
  for (std::size_t k = 0; k < n_runs; ++k) {
    const PixelTerm<T>& term = terms[runs[k].piece];
    const Vec<T> weight = load_any(term.weight);
    const T* x = term.src + (t + static_cast<std::size_t>(runs[k].shift)) * W;
#pragma GCC unroll 8
    for (std::size_t i = 0; i < N; ++i) {
      sum[i] = fused(load_any(x + i * W), weight, sum[i]);
    }
  }
#pragma GCC unroll 8
  for (std::size_t i = 0; i < N; ++i) {
    dst[t + i] = sum[i] * signs[t + i];
  }
}

template <class T>
void combine(const PixelTerm<T>* terms, const PixelRun* runs, std::size_t n_runs, std::size_t first,
             std::size_t last, const T* signs, T* dst) {
  constexpr int kTile = 8;
  Vec<T>* y = reinterpret_cast<Vec<T>*>(dst);
  std::size_t t = first;
  for (; t + kTile <= last; t += kTile) {
    combine_at<kTile>(terms, runs, n_runs, t, signs, y);
  }
  for (; t < last; ++t) {
    combine_at<1>(terms, runs, n_runs, t, signs, y);
  }
}

// The highest log2(R) levels of a transform, of a vector that is hashed on the way.
template <int R, class T>
inline void hashed_pass(const T* src, const std::int32_t* from, const T* signs, std::size_t n,
                        T* dst) {
  constexpr std::size_t W = kLanes<T>;
  const Vec<T>* x = reinterpret_cast<const Vec<T>*>(src);
  const std::size_t h = n / R;
  for (std::size_t j = 0; j < h; ++j) {
    Vec<T> v[R];
#pragma GCC unroll 16
    for (std::size_t r = 0; r < R; ++r) {
      v[r] = x[from[j + r * h]] * signs[j + r * h];
    }
    hadamard<R>(v);
#pragma GCC unroll 16
    for (std::size_t r = 0; r < R; ++r) {
      store_any(dst + (j + r * h) * W, v[r]);
    }
  }
}

template <class T>
void hashed_wht(const T* src, const std::int32_t* from, const T* signs, std::size_t n, T* dst) {
  const int levels = n > kLeaf ? 3 : next_levels(n);
  switch (levels) {
  case 0:
    hashed_pass<1>(src, from, signs, n, dst);
    break;
  case 1:
    hashed_pass<2>(src, from, signs, n, dst);
    break;
  case 2:
    hashed_pass<4>(src, from, signs, n, dst);
    break;
  case 3:
    hashed_pass<8>(src, from, signs, n, dst);
    break;
  default:
    hashed_pass<1 << kMaxLevels>(src, from, signs, n, dst);
  }
  const std::size_t part = n >> levels;
  if (n <= kLeaf) {
    passes(dst, n, part, 1);
    return;
  }
  for (std::size_t i = 0; i < n; i += part) {
    wht_block(dst + i * kLanes<T>, part);
  }
}

// Calls entry(t) for t < n, keeps what it returns and the sums of the squares.
template <class T, class F>
inline void keep_products(std::size_t n, T* dst, T* squares, F&& entry) {
  Vec<T>* z = reinterpret_cast<Vec<T>*>(dst);
  Vec<T> sum[4] = {};
  std::size_t t = 0;
  for (; t + 4 <= n; t += 4) {
#pragma GCC unroll 4
    for (std::size_t k = 0; k < 4; ++k) {
      const Vec<T> v = entry(t + k);
      z[t + k] = v;
      sum[k] = fused(v, v, sum[k]);
    }
  }
  for (; t < n; ++t) {
    const Vec<T> v = entry(t);
    z[t] = v;
    sum[0] = fused(v, v, sum[0]);
  }
  store_any(squares, (sum[0] + sum[1]) + (sum[2] + sum[3]));
}

template <class T>
void product(const T* a, const T* b, std::size_t n, const T* scale, T* dst, T* squares) {
  const Vec<T>* x = reinterpret_cast<const Vec<T>*>(a);
  const Vec<T>* y = reinterpret_cast<const Vec<T>*>(b);
  const Vec<T> factor = load_any(scale);
  keep_products(n, dst, squares, [=](std::size_t t) { return x[t] * y[t] * factor; });
}

template <class T>
void sampled_product(const T* a, const std::int32_t* i, const T* b, const std::int32_t* j,
                     std::size_t n, const T* scale, T* dst, T* squares) {
  const Vec<T>* x = reinterpret_cast<const Vec<T>*>(a);
  const Vec<T>* y = reinterpret_cast<const Vec<T>*>(b);
  const Vec<T> factor = load_any(scale);
  keep_products(n, dst, squares, [=](std::size_t t) { return x[i[t]] * y[j[t]] * factor; });
}

template <class T> void scaled_copy(const T* src, std::size_t n, const T* scale, T* dst) {
  const Vec<T>* x = reinterpret_cast<const Vec<T>*>(src);
  Vec<T>* y = reinterpret_cast<Vec<T>*>(dst);
  const Vec<T> factor = load_any(scale);
  for (std::size_t j = 0; j < n; ++j) {
    y[j] = x[j] * factor;
  }
}

template <class T> void rectified_sums(const T* x, std::size_t rows, T threshold, T* up, T* down) {
  constexpr std::size_t W = kLanes<T>;
  const Vec<T> limit = splat(threshold), zero{};
  for (std::size_t j = 0; j < kDualPad; j += W) {
    Vec<T> above = load_any(up + j), below = load_any(down + j);
    for (std::size_t r = 0; r < rows; ++r) {
      const Vec<T> v = load_any(x + r * kDualPad + j);
      const Vec<T> over = v - limit, under = -v - limit;
      above += over > zero ? over : zero;
      below += under > zero ? under : zero;
    }
    store_any(up + j, above);
    store_any(down + j, below);
  }
}
