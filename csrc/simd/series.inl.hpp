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
