// The Walsh-Hadamard transform, natural order, entries +-1.
//
// H_n = H_2 x ... x H_2: log2(n) levels of butterflies u + v, u - v that may be taken in any order.
// Levels are grouped into passes of radix up to 16 so that data goes through registers seldom, and
// long transforms split from the top, depth first, so that what one works on stays in cache.

template <int R, class V> inline void hadamard(V (&v)[R]) {
#pragma GCC unroll 4
  for (int h = 1; h < R; h *= 2) {
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

// All levels from stride h up to n vectors, in as few passes as radix 8 and 16 allow.
template <class T> inline void passes(T* x, std::size_t n, std::size_t h) {
  while (h < n) {
    const std::size_t left = n / h;
    if (left == 2) {
      pass<2>(x, n, h);
      h *= 2;
    } else if (left == 4 || left == 32) {
      pass<4>(x, n, h);
      h *= 4;
    } else if (left == 8 || left == 64 || left == 512) {
      pass<8>(x, n, h);
      h *= 8;
    } else {
      pass<16>(x, n, h);
      h *= 16;
    }
  }
}

// Levels from stride h up to n over n vectors, depth first.
template <class T> void wht_deep(T* x, std::size_t n, std::size_t h) {
  constexpr std::size_t kLeaf = 512; // vectors: 32 KB of AVX-512
  if (n <= kLeaf || n / 16 < h) {
    passes(x, n, h);
    return;
  }
  const std::size_t part = n >= 8 * kLeaf ? n / 16 : n / 8;
  if (part == n / 16) {
    pass<16>(x, n, part);
  } else {
    pass<8>(x, n, part);
  }
  for (std::size_t i = 0; i < n; i += part) {
    wht_deep(x + i * kLanes<T>, part, h);
  }
}

template <class T> void wht_block(T* block, std::size_t n) { wht_deep(block, n, 1); }

// --- row-major: the low levels inside vectors, the others between them ---

// Levels 1, 2, ..., min(n, W) / 2 inside a vector.
template <int H, class T> inline Vec<T> inner_levels(Vec<T> v, std::size_t n) {
  if constexpr (H < kLanes<T>) {
    if (H < n) {
      v = flip_add(v, lane_signs<H, Vec<T>>(LaneIndices<T>{}),
                   swap_lanes<H>(v, LaneIndices<T>{}));
      return inner_levels<2 * H, T>(v, n);
    }
  }
  return v;
}

// The inner levels and the first log2(R) outer ones of R neighbouring vectors.
template <int R, class T> inline void first_pass(T* x, std::size_t n, T scale) {
  constexpr int W = kLanes<T>;
  const Vec<T> factor = splat<T>(scale);
  for (std::size_t i = 0; i < n; i += R * W) {
    Vec<T> v[R];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      v[r] = inner_levels<1, T>(load_any(x + i + r * W) * factor, W);
    }
    hadamard<R>(v);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      store_any(x + i + r * W, v[r]);
    }
  }
}

// Short rows of N <= W / 2 numbers: several in one vector.
template <class T> void wht_short_rows(T* x, std::size_t total, std::size_t n, T scale) {
  constexpr std::size_t W = kLanes<T>;
  std::size_t i = 0;
  for (; i + W <= total; i += W) {
    store_any(x + i, inner_levels<1, T>(load_any(x + i) * splat<T>(scale), n));
  }
  if (i < total) {
    T tail[W] = {};
    for (std::size_t j = i; j < total; ++j) {
      tail[j - i] = x[j];
    }
    store_any(tail, inner_levels<1, T>(load_any(tail) * splat<T>(scale), n));
    for (std::size_t j = i; j < total; ++j) {
      x[j] = tail[j - i];
    }
  }
}

template <class T> void wht_row(T* x, std::size_t n, T scale) {
  constexpr std::size_t W = kLanes<T>;
  const std::size_t vectors = n / W;
  // How many outer levels the first pass takes, so that the others come in full passes.
  std::size_t done = 1;
  if (vectors == 1) {
    first_pass<1>(x, n, scale);
  } else if (vectors == 2) {
    first_pass<2>(x, n, scale), done = 2;
  } else if (vectors == 4 || vectors == 32) {
    first_pass<4>(x, n, scale), done = 4;
  } else {
    first_pass<8>(x, n, scale), done = 8;
  }
  if (done < vectors) {
    wht_deep(x, vectors, done);
  }
}

template <class T> void wht_rows(T* x, std::size_t n_rows, std::size_t n, T scale) {
  if (n < static_cast<std::size_t>(kLanes<T>)) {
    wht_short_rows(x, n_rows * n, n, scale);
    return;
  }
  for (std::size_t r = 0; r < n_rows; ++r) {
    wht_row(x + r * n, n, scale);
  }
}
