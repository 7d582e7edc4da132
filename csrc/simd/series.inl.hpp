// Sums over Hermite polynomials, and series of complex numbers.

inline void hermite_sums(const HermiteSums& p) {
  constexpr std::size_t W = kLanes<double>;
  constexpr std::size_t kNodes = 4; // vectors of nodes at once
  static_assert(kDualPad % (kNodes * W) == 0);
  Lane* sums = reinterpret_cast<Lane*>(p.sums);
  for (std::size_t t = 0; t < p.degrees * p.rows; ++t) {
    sums[t] = Lane{};
  }
  for (std::size_t j = 0; j < p.n; j += kNodes * W) {
    Lane z[kNodes], now[kNodes], before[kNodes] = {};
#pragma GCC unroll 4
    for (std::size_t u = 0; u < kNodes; ++u) {
      z[u] = load_any(p.z + j + u * W);
      now[u] = load_any(p.start + j + u * W);
    }
    for (std::size_t l = 0; l < p.degrees; ++l) {
      for (std::size_t r = 0; r < p.rows; ++r) {
        const double* from = p.values + r * p.ld + j;
        Lane sum = sums[l * p.rows + r];
#pragma GCC unroll 4
        for (std::size_t u = 0; u < kNodes; ++u) {
          sum = fused(load_any(from + u * W), now[u], sum);
        }
        sums[l * p.rows + r] = sum;
      }
      const Lane step = splat(p.step[l]), back = splat(-p.back[l]);
#pragma GCC unroll 4
      for (std::size_t u = 0; u < kNodes; ++u) {
        const Lane next = fused(z[u] * now[u], step, before[u] * back);
        before[u] = now[u];
        now[u] = next;
      }
    }
  }
  for (std::size_t l = 0; l < p.degrees; ++l) {
    for (std::size_t r = 0; r < p.rows; ++r) {
      double total = 0;
      for (std::size_t i = 0; i < W; ++i) {
        total += sums[l * p.rows + r][i];
      }
      p.out[r * p.degrees + l] = total;
    }
  }
}

inline void complex_series(const ComplexSeries& p) {
  constexpr std::size_t W = kLanes<double>;
  static_assert(kDualPad % (kChains * W) == 0);
  for (std::size_t j = 0; j < p.n; j += kChains * W) {
    Lane x[kChains], y[kChains], k[kChains] = {}, ki[kChains] = {}, d[kChains] = {},
                                 di[kChains] = {};
#pragma GCC unroll 4
    for (std::size_t u = 0; u < kChains; ++u) {
      x[u] = load_any(p.re + j + u * W);
      y[u] = load_any(p.im + j + u * W);
    }
    for (std::size_t l = p.n_terms; l-- > 0;) {
      const Lane c = splat(p.c[l]);
#pragma GCC unroll 4
      for (std::size_t u = 0; u < kChains; ++u) {
        const Lane slope = fused(d[u], x[u], k[u]) - di[u] * y[u];
        di[u] = fused(d[u], y[u], fused(di[u], x[u], ki[u]));
        d[u] = slope;
        const Lane value = fused(k[u], x[u], c) - ki[u] * y[u];
        ki[u] = fused(k[u], y[u], ki[u] * x[u]);
        k[u] = value;
      }
    }
#pragma GCC unroll 4
    for (std::size_t u = 0; u < kChains; ++u) {
      store_any(p.value_re + j + u * W, k[u]);
      store_any(p.value_im + j + u * W, ki[u]);
      store_any(p.slope_re + j + u * W, d[u]);
      store_any(p.slope_im + j + u * W, di[u]);
    }
  }
}

// log(a + sqrt(a^2 + 1)) has a small absolute error, which is what counts in the place in a table.
inline void smooth_places(const SmoothTable& p, const double* x, double* place) {
  constexpr std::size_t W = kLanes<double>;
  static_assert(kDualPad % W == 0);
  for (std::size_t j = 0; j < kDualPad; j += W) {
    const Lane r = load_any(x + j) / p.unit;
    const Lane size = absolute(r);
    const Lane y = with_signs(logarithm(size + root(fused(size, size, splat(1.0)))), signs_of(r));
    store_any(place + j, (y - p.begin) * p.per_unit);
  }
}

inline void smooth_values(const SmoothTable& p, const double* x, std::size_t n, double* out) {
  const double last = static_cast<double>(p.n_cells - 1);
  for (std::size_t j = 0; j < n; j += kDualPad) {
    const std::size_t some = n - j < kDualPad ? n - j : kDualPad;
    double in[kDualPad] = {}, place[kDualPad];
    for (std::size_t i = 0; i < some; ++i) {
      in[i] = x[j + i];
    }
    smooth_places(p, in, place);
    for (std::size_t i = 0; i < some; ++i) {
      // In this order, for what is no number; the function of that is none, either.
      const double at = place[i] > 0.0 ? (place[i] < last ? place[i] : last) : 0.0;
      const auto cell = static_cast<std::int64_t>(at);
      const double* c = p.cells + static_cast<std::size_t>(cell) * kSmoothPowers;
      const double t = place[i] - static_cast<double>(cell), t2 = t * t, t4 = t2 * t2;
      const double low = (c[0] + c[1] * t) + (c[2] + c[3] * t) * t2;
      const double high = (c[4] + c[5] * t) + (c[6] + c[7] * t) * t2;
      out[j + i] = (low + high * t4) + 0.0 * in[i];
    }
  }
}
