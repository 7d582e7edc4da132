// The real Fourier transform of a lane block as a tree of remainders.
//
// A row is the polynomial x(z) modulo z^n - 1. One level takes it modulo z^{n/2} - 1 (u = low +
// high, real again) and modulo z^{n/2} + 1 (v = low - high). Of the latter's conjugate pairs of
// roots one half is enough: modulo z^{n/4} - i, v is the complex polynomial v_low + i v_high, and
// from there every level splits z^N - w^2 into (z^N/2 - w)(z^N/2 + w). Nothing is ever reordered.
//
// Spectrum in place: x(1), x(-1), then for k = 1, 2, ... block [2^k, 2^{k+1}) with the real parts
// of 2^{k-1} values first and their imaginary parts after. Products of spectra are cyclic
// convolutions; the squared norm is (first two + 2 * the others) / n.
//
// The complex tree goes two levels at a time. Level t (even) has 2^t nodes; node j splits at w1,
// its even child at w2 and its odd child at i w2; so four quarters need w1, w2 and w3 = w1 w2,
// which are the six reals from twiddles[2 (2^t - 1) + 6 j] on. They do not depend on n.

// A complex vector, and its product with the number w (or its conjugate).
template <class T> struct Complex {
  Vec<T> re, im;
};
template <class T> inline Complex<T> operator+(Complex<T> a, Complex<T> b) {
  return {a.re + b.re, a.im + b.im};
}
template <class T> inline Complex<T> operator-(Complex<T> a, Complex<T> b) {
  return {a.re - b.re, a.im - b.im};
}
template <class T> inline Complex<T> times(Complex<T> a, const T* w) {
  return {a.re * w[0] - a.im * w[1], a.im * w[0] + a.re * w[1]};
}
template <class T> inline Complex<T> times_conjugate(Complex<T> a, const T* w) {
  return {a.re * w[0] + a.im * w[1], a.im * w[0] - a.re * w[1]};
}
template <class T> inline Complex<T> add_i(Complex<T> a, Complex<T> b) { // a + i b
  return {a.re - b.im, a.im + b.re};
}
template <class T> inline Complex<T> subtract_i(Complex<T> a, Complex<T> b) { // a - i b
  return {a.re + b.im, a.im - b.re};
}

// Real and imaginary parts of vectors, at some distance.
template <class T> struct Parts {
  Vec<T>* re;
  Vec<T>* im;
  Complex<T> get(std::size_t j) const { return {re[j], im[j]}; }
  void put(std::size_t j, Complex<T> v) const {
    re[j] = v.re;
    im[j] = v.im;
  }
  Parts operator+(std::size_t j) const { return {re + j, im + j}; }
};

// Two levels of a node of 4 q vectors; and 4 times the inverse.
template <class T> inline void split(Parts<T> x, std::size_t q, const T* twiddles) {
  const T w[6] = {twiddles[0], twiddles[1], twiddles[2], twiddles[3], twiddles[4], twiddles[5]};
  for (std::size_t j = 0; j < q; ++j) {
    const Complex<T> a0 = x.get(j), a1 = times(x.get(j + q), w + 2);
    const Complex<T> a2 = times(x.get(j + 2 * q), w), a3 = times(x.get(j + 3 * q), w + 4);
    const Complex<T> b0 = a0 + a2, b1 = a1 + a3, b2 = a0 - a2, b3 = a1 - a3;
    x.put(j, b0 + b1);
    x.put(j + q, b0 - b1);
    x.put(j + 2 * q, add_i(b2, b3));
    x.put(j + 3 * q, subtract_i(b2, b3));
  }
}
template <class T> inline void join(Parts<T> x, std::size_t q, const T* twiddles) {
  const T w[6] = {twiddles[0], twiddles[1], twiddles[2], twiddles[3], twiddles[4], twiddles[5]};
  for (std::size_t j = 0; j < q; ++j) {
    const Complex<T> a0 = x.get(j), a1 = x.get(j + q);
    const Complex<T> a2 = x.get(j + 2 * q), a3 = x.get(j + 3 * q);
    const Complex<T> b0 = a0 + a1, b1 = a0 - a1, b2 = a2 + a3, b3 = a2 - a3;
    x.put(j, b0 + b2);
    x.put(j + q, times_conjugate(subtract_i(b1, b3), w + 2));
    x.put(j + 2 * q, times_conjugate(b0 - b2, w));
    x.put(j + 3 * q, times_conjugate(add_i(b1, b3), w + 4));
  }
}

// The complex tree below node `node` of `nodes`, which holds n vectors, in place: what does not fit
// into the first-level cache part by part, so that it comes from the second only once.
template <class T>
void fft_tree(Parts<T> x, std::size_t n, const T* twiddles, std::size_t nodes, std::size_t node) {
  if (n > kLeaf / 2) {
    const std::size_t q = n / 4;
    split(x, q, twiddles + 2 * (nodes - 1) + 6 * node);
    for (std::size_t k = 0; k < 4; ++k) {
      fft_tree(x + k * q, q, twiddles, 4 * nodes, 4 * node + k);
    }
    return;
  }
  std::size_t size = n;
  std::size_t count = 1; // nodes of this size
  for (; size > 4; size /= 4, count *= 4) {
    const T* w = twiddles + 2 * (nodes * count - 1) + 6 * node * count;
    for (std::size_t k = 0; k < count; ++k) {
      split(x + k * size, size / 4, w + 6 * k);
    }
  }
  const T* w = twiddles + 2 * (nodes * count - 1) + 6 * node * count;
  if (size == 4) {
    for (std::size_t k = 0; k < count; ++k) {
      split(x + 4 * k, 1, w + 6 * k);
    }
  } else if (size == 2) {
    for (std::size_t k = 0; k < count; ++k) {
      const Complex<T> a = x.get(2 * k), b = times(x.get(2 * k + 1), w + 6 * k);
      x.put(2 * k, a + b);
      x.put(2 * k + 1, a - b);
    }
  }
}

// n times the inverse of fft_tree.
template <class T>
void ifft_tree(Parts<T> x, std::size_t n, const T* twiddles, std::size_t nodes, std::size_t node) {
  if (n > kLeaf / 2) {
    const std::size_t q = n / 4;
    for (std::size_t k = 0; k < 4; ++k) {
      ifft_tree(x + k * q, q, twiddles, 4 * nodes, 4 * node + k);
    }
    join(x, q, twiddles + 2 * (nodes - 1) + 6 * node);
    return;
  }
  std::size_t size = 4;
  if (__builtin_ctzll(n) % 2 == 1) {
    const std::size_t count = n / 2;
    const T* w = twiddles + 2 * (nodes * count - 1) + 6 * node * count;
    for (std::size_t k = 0; k < count; ++k) {
      const Complex<T> a = x.get(2 * k), b = x.get(2 * k + 1);
      x.put(2 * k, a + b);
      x.put(2 * k + 1, times_conjugate(a - b, w + 6 * k));
    }
    size = 8;
  } else if (n >= 4) {
    const std::size_t count = n / 4;
    const T* w = twiddles + 2 * (nodes * count - 1) + 6 * node * count;
    for (std::size_t k = 0; k < count; ++k) {
      join(x + 4 * k, 1, w + 6 * k);
    }
    size = 16;
  }
  for (; size <= n; size *= 4) {
    const std::size_t count = n / size;
    const T* w = twiddles + 2 * (nodes * count - 1) + 6 * node * count;
    for (std::size_t k = 0; k < count; ++k) {
      join(x + k * size, size / 4, w + 6 * k);
    }
  }
}

// The real levels, two at a time, and the trees of what they split off. If `folded`, n >= 4 and the
// first two levels are done.
template <class T> void fft_block(T* block, std::size_t n, const T* twiddles, bool folded) {
  Vec<T>* x = reinterpret_cast<Vec<T>*>(block);
  std::size_t size = n;
  for (; size >= 4; size /= 4) {
    const std::size_t q = size / 4;
    for (std::size_t j = folded ? q : 0; j < q; ++j) {
      const Vec<T> a0 = x[j], a1 = x[j + q], a2 = x[j + 2 * q], a3 = x[j + 3 * q];
      const Vec<T> b0 = a0 + a2, b1 = a1 + a3;
      x[j] = b0 + b1;
      x[j + q] = b0 - b1;
      x[j + 2 * q] = a0 - a2;
      x[j + 3 * q] = a1 - a3;
    }
    folded = false;
    fft_tree<T>({x + 2 * q, x + 3 * q}, q, twiddles, 1, 0);
    if (q > 1) {
      fft_tree<T>({x + q, x + q + q / 2}, q / 2, twiddles, 1, 0);
    }
  }
  if (size == 2) {
    const Vec<T> a = x[0], b = x[1];
    x[0] = a + b;
    x[1] = a - b;
  }
}

template <class T> void ifft_block(T* block, std::size_t n, const T* twiddles) {
  Vec<T>* x = reinterpret_cast<Vec<T>*>(block);
  std::size_t size = 4;
  if (__builtin_ctzll(n) % 2 == 1) {
    const Vec<T> a = x[0], b = x[1];
    x[0] = a + b;
    x[1] = a - b;
    size = 8;
  }
  for (; size <= n; size *= 4) {
    const std::size_t q = size / 4;
    ifft_tree<T>({x + 2 * q, x + 3 * q}, q, twiddles, 1, 0);
    // Of what was split off only one of each conjugate pair was carried: twice, but of one alone.
    const T factor = q > 1 ? 2 : 1;
    if (q > 1) {
      ifft_tree<T>({x + q, x + q + q / 2}, q / 2, twiddles, 1, 0);
    }
    for (std::size_t j = 0; j < q; ++j) {
      const Vec<T> a = x[j], b = x[j + q] * factor;
      const Vec<T> b0 = a + b, b1 = a - b, b2 = x[j + 2 * q] * T{2}, b3 = x[j + 3 * q] * T{2};
      x[j] = b0 + b2;
      x[j + q] = b1 + b3;
      x[j + 2 * q] = b0 - b2;
      x[j + 3 * q] = b1 - b3;
    }
  }
}

template <class T> void multiply_spectra(T* dst, const T* src, std::size_t n) {
  Vec<T>* a = reinterpret_cast<Vec<T>*>(dst);
  const Vec<T>* b = reinterpret_cast<const Vec<T>*>(src);
  for (std::size_t j = 0; j < (n < 2 ? n : 2); ++j) {
    a[j] *= b[j];
  }
  for (std::size_t start = 2; start < n; start *= 2) {
    const std::size_t half = start / 2;
    for (std::size_t j = start; j < start + half; ++j) {
      const Vec<T> ar = a[j];
      const Vec<T> ai = a[j + half];
      const Vec<T> br = b[j];
      const Vec<T> bi = b[j + half];
      a[j] = ar * br - ai * bi;
      a[j + half] = ar * bi + ai * br;
    }
  }
}
