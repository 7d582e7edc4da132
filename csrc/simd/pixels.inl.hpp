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

template <class T> void scaled_copy(const T* src, std::size_t n, const T* scale, T* dst) {
  const Vec<T>* x = reinterpret_cast<const Vec<T>*>(src);
  Vec<T>* y = reinterpret_cast<Vec<T>*>(dst);
  const Vec<T> factor = load_any(scale);
  for (std::size_t j = 0; j < n; ++j) {
    y[j] = x[j] * factor;
  }
}
