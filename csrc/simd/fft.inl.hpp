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

// Levels t, t+1, ... below one node of the complex tree, over n complex vectors.
template <class T>
void fft_tree(Vec<T>* re, Vec<T>* im, std::size_t n, const T* twiddles) {
  std::size_t nodes = 1;
  for (std::size_t size = n; size > 1; size /= 2, nodes *= 2) {
    const std::size_t half = size / 2;
    const T* w = twiddles + 2 * (nodes - 1);
    for (std::size_t node = 0; node < nodes; ++node) {
      const T wr = w[2 * node];
      const T wi = w[2 * node + 1];
      Vec<T>* a_re = re + node * size;
      Vec<T>* a_im = im + node * size;
      for (std::size_t j = 0; j < half; ++j) {
        const Vec<T> hr = a_re[half + j];
        const Vec<T> hi = a_im[half + j];
        const Vec<T> tr = wr * hr - wi * hi;
        const Vec<T> ti = wr * hi + wi * hr;
        const Vec<T> lr = a_re[j];
        const Vec<T> li = a_im[j];
        a_re[j] = lr + tr;
        a_im[j] = li + ti;
        a_re[half + j] = lr - tr;
        a_im[half + j] = li - ti;
      }
    }
  }
}

// n times the inverse of fft_tree.
template <class T>
void ifft_tree(Vec<T>* re, Vec<T>* im, std::size_t n, const T* twiddles) {
  std::size_t nodes = n / 2;
  for (std::size_t size = 2; size <= n; size *= 2, nodes /= 2) {
    const std::size_t half = size / 2;
    const T* w = twiddles + 2 * (nodes - 1);
    for (std::size_t node = 0; node < nodes; ++node) {
      const T wr = w[2 * node];
      const T wi = w[2 * node + 1];
      Vec<T>* a_re = re + node * size;
      Vec<T>* a_im = im + node * size;
      for (std::size_t j = 0; j < half; ++j) {
        const Vec<T> ar = a_re[j];
        const Vec<T> ai = a_im[j];
        const Vec<T> br = a_re[half + j];
        const Vec<T> bi = a_im[half + j];
        const Vec<T> dr = ar - br;
        const Vec<T> di = ai - bi;
        a_re[j] = ar + br;
        a_im[j] = ai + bi;
        a_re[half + j] = wr * dr + wi * di;
        a_im[half + j] = wr * di - wi * dr;
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
