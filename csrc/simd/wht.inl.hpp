// The Walsh-Hadamard transform, natural order, entries +-1.
//
// H_n = H_2 x ... x H_2: log2(n) levels of butterflies u + v, u - v, in any order. Levels are
// grouped into passes of a radix that fits the registers, since data should go through them seldom;
// long transforms take the highest levels first and then go on part by part, in cache. In lane
// blocks all levels are taken from the highest (entries n / 2 apart) to the lowest, so that the
// bits are the same at every instruction set, however its registers group the levels.

// log2 of the highest radix: 16 vectors leave room for temporaries in 32 registers, 8 in 16.
constexpr int kMaxLevels = kRegisters == 32 ? 4 : 3;
constexpr std::size_t kLeaf = 32768 / NKFAST_VECTOR_BYTES; // vectors that are taken at once

template <int R, class V> inline void hadamard(V (&v)[R]) {
#pragma GCC unroll 4
  for (int h = R / 2; h > 0; h /= 2) {
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
      if ((i & h) == 0) {
        const V a = v[i];
        const V b = v[i + h];
        v[i] = a + b;
        v[i + h] = a - b;
      }
    }
  }
}

// One radix-R pass over n vectors: butterflies between vectors h apart. x needs no alignment.
template <int R, class T> inline void pass(T* x, std::size_t n, std::size_t h) {
  constexpr std::size_t W = kLanes<T>;
  for (std::size_t i = 0; i < n; i += R * h) {
    for (std::size_t j = i; j < i + h; ++j) {
      Vec<T> v[R];
#pragma GCC unroll 16
      for (std::size_t r = 0; r < R; ++r) {
        v[r] = load_any(x + (j + r * h) * W);
      }
      hadamard<R>(v);
#pragma GCC unroll 16
      for (std::size_t r = 0; r < R; ++r) {
        store_any(x + (j + r * h) * W, v[r]);
      }
    }
  }
}

// How many of the levels that are left the next pass takes: passes of about equal radix.
inline int next_levels(std::size_t left) {
  const int levels = __builtin_ctzll(left);
  const int n_passes = (levels + kMaxLevels - 1) / kMaxLevels;
  return levels == 0 ? 0 : (levels + n_passes - 1) / n_passes;
}

// The levels from entries top / 2 apart down to entries bottom apart, over n vectors.
template <class T> inline void passes(T* x, std::size_t n, std::size_t top, std::size_t bottom) {
  while (top > bottom) {
    switch (next_levels(top / bottom)) {
    case 1:
      pass<2>(x, n, top /= 2);
      break;
    case 2:
      pass<4>(x, n, top /= 4);
      break;
    case 3:
      pass<8>(x, n, top /= 8);
      break;
    default:
      pass<16>(x, n, top /= 16);
    }
  }
}

// Radix 8 above the leaf, not more: there the streams lie a multiple of 4 KB apart, so that all
// share one set of 8 or 12 lines of the first-level cache.
template <class T> void wht_block(T* block, std::size_t n) {
  if (n <= kLeaf) {
    passes(block, n, n, 1);
    return;
  }
  const std::size_t part = n / 8;
  pass<8>(block, n, part);
  for (std::size_t i = 0; i < n; i += part) {
    wht_block(block + i * kLanes<T>, part);
  }
}

// --- row-major: the low levels inside vectors, the others between them ---

// Levels H, ..., 2, 1 below n inside a vector.
template <int H, class T> inline Vec<T> inner_levels(Vec<T> v, std::size_t n) {
  if constexpr (H > 0) {
    if (H < n) {
      // Signs are exact factors: fused or not, the bits are the same.
      v = fused(v, lane_signs<H, Vec<T>>(LaneIndices<T>{}), swap_lanes<H>(v, LaneIndices<T>{}));
    }
    return inner_levels<H / 2, T>(v, n);
  }
  return v;
}

// The inner levels of a vector in memory. From AVX on each half comes straight from memory twice,
// which spares the highest level its shuffle: there is one port for shuffles and two for loads.
template <class T> inline Vec<T> load_inner(const T* x) {
  constexpr int W = kLanes<T>;
  if constexpr (NKFAST_VECTOR_BYTES == 16) {
    return inner_levels<W / 2, T>(load_any(x), W);
  } else {
    const Vec<T> signs = lane_signs<W / 2, Vec<T>>(LaneIndices<T>{});
    return inner_levels<W / 4, T>(fused(load_twice(x + W / 2), signs, load_twice(x)), W);
  }
}

// The inner levels of every R neighbouring vectors and the lowest log2(R) between them.
template <int R, bool kScaled, class T>
inline void first_pass(T* x, std::size_t n_vectors, T scale) {
  constexpr std::size_t W = kLanes<T>;
  const Vec<T> factor = splat<T>(scale);
  for (std::size_t i = 0; i < n_vectors; i += R) {
    Vec<T> v[R];
#pragma GCC unroll 16
    for (std::size_t r = 0; r < R; ++r) {
      v[r] = load_inner(x + (i + r) * W);
      if constexpr (kScaled) {
        v[r] *= factor;
      }
    }
    hadamard<R>(v);
#pragma GCC unroll 16
    for (std::size_t r = 0; r < R; ++r) {
      store_any(x + (i + r) * W, v[r]);
    }
  }
}

template <bool kScaled, class T>
void first_levels(T* x, std::size_t n_vectors, int levels, T scale) {
  switch (levels) {
  case 0:
    return first_pass<1, kScaled>(x, n_vectors, scale);
  case 1:
    return first_pass<2, kScaled>(x, n_vectors, scale);
  case 2:
    return first_pass<4, kScaled>(x, n_vectors, scale);
  case 3:
    return first_pass<8, kScaled>(x, n_vectors, scale);
  default:
    return first_pass<1 << kMaxLevels, kScaled>(x, n_vectors, scale);
  }
}

// Short rows of N <= W / 2 numbers: several in one vector.
template <class T> void wht_short_rows(T* x, std::size_t total, std::size_t n, T scale) {
  constexpr std::size_t W = kLanes<T>;
  std::size_t i = 0;
  for (; i + W <= total; i += W) {
    store_any(x + i, inner_levels<W / 2, T>(load_any(x + i) * splat<T>(scale), n));
  }
  if (i < total) {
    T tail[W] = {};
    for (std::size_t j = i; j < total; ++j) {
      tail[j - i] = x[j];
    }
    store_any(tail, inner_levels<W / 2, T>(load_any(tail) * splat<T>(scale), n));
    for (std::size_t j = i; j < total; ++j) {
      x[j] = tail[j - i];
    }
  }
}

template <bool kScaled, class T> void wht_row(T* x, std::size_t n_vectors, int levels, T scale) {
  if (n_vectors > kLeaf) {
    const std::size_t part = n_vectors / 8;
    pass<8>(x, n_vectors, part);
    for (std::size_t i = 0; i < n_vectors; i += part) {
      wht_row<kScaled>(x + i * kLanes<T>, part, next_levels(part), scale);
    }
    return;
  }
  first_levels<kScaled>(x, n_vectors, levels, scale);
  passes(x, n_vectors, n_vectors, std::size_t{1} << levels);
}

template <bool kScaled, class T>
void wht_long_rows(T* x, std::size_t n_rows, std::size_t n_vectors, T scale) {
  const int levels = next_levels(n_vectors);
  if (n_vectors >> levels == 1) { // one pass does it: all rows in one loop
    return first_levels<kScaled>(x, n_rows * n_vectors, levels, scale);
  }
  for (std::size_t r = 0; r < n_rows; ++r) {
    wht_row<kScaled>(x + r * n_vectors * kLanes<T>, n_vectors, levels, scale);
  }
}

template <class T> void wht_rows(T* x, std::size_t n_rows, std::size_t n, T scale) {
  constexpr std::size_t W = kLanes<T>;
  if (n < W) {
    wht_short_rows(x, n_rows * n, n, scale);
  } else if (scale == T{1}) {
    wht_long_rows<false>(x, n_rows, n / W, scale);
  } else {
    wht_long_rows<true>(x, n_rows, n / W, scale);
  }
}
