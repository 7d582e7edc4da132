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
// Twiddles: level t of the complex tree has 2^t nodes; node j splits at w = twiddles[2 (2^t - 1 +
// j)] + i twiddles[2 (2^t - 1 + j) + 1]. They do not depend on n.

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
template <class T> inline Complex<T> times(Complex<T> a, T re, T im) {
  return {a.re * re - a.im * im, a.im * re + a.re * im};
}
template <class T> inline Complex<T> times_i(Complex<T> a) { return {-a.im, a.re}; }

// The complex tree over n vectors, in place. Two levels at a time: the odd child of a node splits
// at i times where the even one does, so four quarters need two twiddles.
template <class T> void fft_tree(Vec<T>* re, Vec<T>* im, std::size_t n, const T* twiddles) {
  const auto get = [=](std::size_t j) { return Complex<T>{re[j], im[j]}; };
  const auto put = [=](std::size_t j, Complex<T> v) {
    re[j] = v.re;
    im[j] = v.im;
  };
  std::size_t nodes = 1;
  std::size_t size = n;
  for (; size >= 4; size /= 4, nodes *= 4) {
    const std::size_t q = size / 4;
    const T* first = twiddles + 2 * (nodes - 1);
    const T* second = twiddles + 2 * (2 * nodes - 1);
    for (std::size_t node = 0; node < nodes; ++node) {
      const T r1 = first[2 * node], i1 = first[2 * node + 1];
      const T r2 = second[4 * node], i2 = second[4 * node + 1];
      for (std::size_t j = node * size; j < node * size + q; ++j) {
        const Complex<T> a0 = get(j), a1 = get(j + q);
        const Complex<T> a2 = times(get(j + 2 * q), r1, i1), a3 = times(get(j + 3 * q), r1, i1);
        const Complex<T> b0 = a0 + a2, b2 = a0 - a2;
        const Complex<T> b1 = times(a1 + a3, r2, i2), b3 = times_i(times(a1 - a3, r2, i2));
        put(j, b0 + b1);
        put(j + q, b0 - b1);
        put(j + 2 * q, b2 + b3);
        put(j + 3 * q, b2 - b3);
      }
    }
  }
  if (size == 2) {
    const T* w = twiddles + 2 * (nodes - 1);
    for (std::size_t node = 0; node < nodes; ++node) {
      const Complex<T> a = get(2 * node);
      const Complex<T> b = times(get(2 * node + 1), w[2 * node], w[2 * node + 1]);
      put(2 * node, a + b);
      put(2 * node + 1, a - b);
    }
  }
}

// n times the inverse of fft_tree.
template <class T> void ifft_tree(Vec<T>* re, Vec<T>* im, std::size_t n, const T* twiddles) {
  const auto get = [=](std::size_t j) { return Complex<T>{re[j], im[j]}; };
  const auto put = [=](std::size_t j, Complex<T> v) {
    re[j] = v.re;
    im[j] = v.im;
  };
  std::size_t levels = 0;
  while (std::size_t{1} << levels < n) {
    ++levels;
  }
  std::size_t size = 4;
  if (levels % 2 == 1) {
    const T* w = twiddles + 2 * (n / 2 - 1);
    for (std::size_t node = 0; node < n / 2; ++node) {
      const Complex<T> a = get(2 * node), b = get(2 * node + 1);
      put(2 * node, a + b);
      put(2 * node + 1, times(a - b, w[2 * node], -w[2 * node + 1]));
    }
    size = 8;
  }
  for (; size <= n; size *= 4) {
    const std::size_t q = size / 4;
    const std::size_t nodes = n / size;
    const T* first = twiddles + 2 * (nodes - 1);
    const T* second = twiddles + 2 * (2 * nodes - 1);
    for (std::size_t node = 0; node < nodes; ++node) {
      const T r1 = first[2 * node], i1 = -first[2 * node + 1];
      const T r2 = second[4 * node], i2 = -second[4 * node + 1];
      for (std::size_t j = node * size; j < node * size + q; ++j) {
        const Complex<T> c0 = get(j), c1 = get(j + q), c2 = get(j + 2 * q), c3 = get(j + 3 * q);
        const Complex<T> b0 = c0 + c1, b1 = times(c0 - c1, r2, i2);
        const Complex<T> b2 = c2 + c3, b3 = times_i(times(c3 - c2, r2, i2)); // -i = i * -1
        put(j, b0 + b2);
        put(j + q, b1 + b3);
        put(j + 2 * q, times(b0 - b2, r1, i1));
        put(j + 3 * q, times(b1 - b3, r1, i1));
      }
    }
  }
}

template <class T> void fft_block(T* block, std::size_t n, const T* twiddles) {
  Vec<T>* x = reinterpret_cast<Vec<T>*>(block);
  for (std::size_t size = n; size > 1; size /= 2) {
    const std::size_t half = size / 2;
    for (std::size_t j = 0; j < half; ++j) {
      const Vec<T> a = x[j];
      const Vec<T> b = x[half + j];
      x[j] = a + b;
      x[half + j] = a - b;
    }
    if (half > 1) {
      fft_tree<T>(x + half, x + half + half / 2, half / 2, twiddles);
    }
  }
}

template <class T> void ifft_block(T* block, std::size_t n, const T* twiddles) {
  Vec<T>* x = reinterpret_cast<Vec<T>*>(block);
  for (std::size_t size = 2; size <= n; size *= 2) {
    const std::size_t half = size / 2;
    T factor = 1;
    if (half > 1) {
      ifft_tree<T>(x + half, x + half + half / 2, half / 2, twiddles);
      factor = 2; // only one of each conjugate pair was carried
    }
    for (std::size_t j = 0; j < half; ++j) {
      const Vec<T> a = x[j];
      const Vec<T> b = x[half + j] * factor;
      x[j] = a + b;
      x[half + j] = a - b;
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
