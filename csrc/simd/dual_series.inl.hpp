// Dual activations of one row of pairs as series in rho, and by tables over the angle.

// So many vectors at once: as many chains of products as the CPU can keep in flight.
constexpr std::size_t kChains = kRegisters / 8;

// How many terms matter for the row: those left out are below params[3] (and never below a
// rounding) of the sum of sizes, of k and of its derivative, at the largest |rho| of the row.
// Behind the parameters lie the columns' largest coefficients.
inline std::size_t terms_that_matter(const DualRow& row, std::size_t n_terms, double stride) {
  constexpr std::size_t W = kLanes<double>;
  constexpr std::size_t kMost = 256;
  if (n_terms > kMost) {
    return n_terms;
  }
  Lane largest{};
  for (std::size_t j = 0; j < row.n; j += W) {
    const Lane rho = absolute(load_any(row.k + j) * load_any(row.right + j));
    largest = pick(rho > largest, rho, largest);
  }
  double y = 0;
  for (std::size_t l = 0; l < W; ++l) {
    y = largest[l] > y ? largest[l] : y;
  }
  y *= row.left[0];
  if (!(y < 1)) {
    return n_terms;
  }
  y = stride == 2 ? y * y : y;
  double power[kMost], size[kMost], total = 0;
  double now = 1;
  for (std::size_t t = 0; t < n_terms; ++t) {
    power[t] = now;
    now *= y;
    const double a = row.left[1 + t] * row.params[4 + t];
    size[t] = (a < 0 ? -a : a) * (row.params[0] + stride * static_cast<double>(t) + 1);
    // A constant is nothing to measure the derivative by, and k is the same without it.
    total += t == 0 && row.params[0] == 0 ? 0 : size[t];
  }
  const double tol = row.params[3] > kEps / 32 ? row.params[3] : kEps / 32;
  double rest = 0;
  while (n_terms > 1) {
    rest += size[n_terms - 1];
    // The derivative has one power of y less.
    if (!(rest * power[n_terms - 2] <= tol * total)) {
      break;
    }
    --n_terms;
  }
  return n_terms;
}

// What sums over powers of y, rho or rho^2, are of the whole: the series and its derivative in rho.
struct SeriesEnd {
  Lane k, slope;
};
template <bool kSlope>
inline SeriesEnd series_end(int offset, int stride, Lane rho, Lane y, Lane k, Lane d) {
  Lane below = splat(1.0); // rho^(offset - 1)
  for (int t = 1; t < offset; ++t) {
    below *= rho;
  }
  SeriesEnd end{.k = offset > 0 ? (below * rho) * k : k, .slope = {}};
  if constexpr (kSlope) {
    const double step = stride;
    end.slope =
        offset > 0 ? below * (offset * k + step * (y * d)) : (stride == 2 ? (2.0 * rho) * d : d);
  }
  return end;
}

template <bool kSlope> inline void series_row(const DualRow& row) {
  constexpr std::size_t W = kLanes<double>;
  const auto offset = static_cast<int>(row.params[0]);
  const auto stride = static_cast<int>(row.params[1]);
  const std::size_t n_terms =
      terms_that_matter(row, static_cast<std::size_t>(row.params[2]), row.params[1]);
  const Lane is = splat(row.left[0]);
  const double* a = row.left + 1;
  for (std::size_t j = 0; j < row.n; j += kChains * W) {
    Lane* c = reinterpret_cast<Lane*>(row.k + j);
    const Lane* is2 = reinterpret_cast<const Lane*>(row.right + j);
    Lane rho[kChains], y[kChains], k[kChains] = {}, d[kChains] = {};
#pragma GCC unroll 4
    for (std::size_t u = 0; u < kChains; ++u) {
      rho[u] = snapped((c[u] * is) * is2[u]);
      y[u] = stride == 2 ? rho[u] * rho[u] : rho[u];
    }
    for (std::size_t t = n_terms; t-- > 0;) {
      const Lane left = splat(a[t]);
      const Lane* right = reinterpret_cast<const Lane*>(row.right + (t + 1) * row.ld + j);
#pragma GCC unroll 4
      for (std::size_t u = 0; u < kChains; ++u) {
        if constexpr (kSlope) {
          d[u] = fused(d[u], y[u], k[u]);
        }
        k[u] = fused(k[u], y[u], left * right[u]);
      }
    }
#pragma GCC unroll 4
    for (std::size_t u = 0; u < kChains; ++u) {
      const SeriesEnd own = series_end<kSlope>(offset, stride, rho[u], y[u], k[u], d[u]);
      if constexpr (kSlope) {
        reinterpret_cast<Lane*>(row.theta + j)[u] *= (is * is2[u]) * own.slope;
      }
      c[u] = own.k;
    }
  }
}

void series(const DualRow& row) {
  row.theta != nullptr ? series_row<true>(row) : series_row<false>(row);
}

// Degrees that share the loads of the columns' functions, and how many of these they need.
constexpr std::size_t kDegrees = kTableDegrees;

// N steps of Clenshaw's recurrence, from the highest degree down; b points to the lowest.
template <std::size_t N>
inline __attribute__((always_inline)) void
chebyshev_step(const double* from, std::size_t ld, std::size_t rank, const double* b, std::size_t n,
               const Lane (&twice)[kChains], Lane (&next)[kChains], Lane (&after)[kChains]) {
  Lane sum[N][kChains] = {};
  for (std::size_t k = 0; k < rank; ++k, from += ld, b += n) {
    const Lane* right = reinterpret_cast<const Lane*>(from);
#pragma GCC unroll 4
    for (std::size_t m = 0; m < N; ++m) {
      const Lane left = splat(b[m]);
#pragma GCC unroll 4
      for (std::size_t u = 0; u < kChains; ++u) {
        sum[m][u] = fused(left, right[u], sum[m][u]);
      }
    }
  }
#pragma GCC unroll 4
  for (std::size_t m = 0; m < N; ++m) {
#pragma GCC unroll 4
    for (std::size_t u = 0; u < kChains; ++u) {
      const Lane now = fused(twice[u], next[u], sum[N - 1 - m][u] - after[u]);
      after[u] = next[u];
      next[u] = now;
    }
  }
}

// sum over m < n of (sum over k < K of b[k n + m] R_k) T_m(x), by Clenshaw's recurrence; K is
// ranks[m / kDegrees], R_0 the column at `right`.
inline void chebyshev(const double* right, std::size_t ld, const double* ranks, const double* b,
                      std::size_t n, const Lane (&x)[kChains], Lane (&out)[kChains]) {
  Lane twice[kChains], next[kChains] = {}, after[kChains] = {};
#pragma GCC unroll 4
  for (std::size_t u = 0; u < kChains; ++u) {
    twice[u] = 2.0 * x[u];
  }
  std::size_t m = n;
  for (; m % kDegrees != 0; --m) {
    const auto rank = static_cast<std::size_t>(ranks[m / kDegrees]);
    chebyshev_step<1>(right, ld, rank, b + (m - 1), n, twice, next, after);
  }
  for (; m > 0; m -= kDegrees) {
    const auto rank = static_cast<std::size_t>(ranks[m / kDegrees - 1]);
    chebyshev_step<kDegrees>(right, ld, rank, b + (m - kDegrees), n, twice, next, after);
  }
#pragma GCC unroll 4
  for (std::size_t u = 0; u < kChains; ++u) {
    out[u] = fused(-x[u], after[u], next[u]); // the last step has x for 2 x
  }
}

// The variable in [-1, 1] of angles in [0, pi], stretched near both ends.
template <class A> Lane stretched(const A& g, Lane stretch, double scale) {
  const Lane x = stretch * g.angle;
  const Lane y = stretch * g.rest;
  // asinh x - asinh y
  return scale *
         logarithm((x + root(fused(x, x, splat(1.0)))) / (y + root(fused(y, y, splat(1.0)))));
}

void table_map(const DualRow& row) {
  constexpr std::size_t W = kLanes<double>;
  const auto rank = static_cast<std::size_t>(row.params[0]);
  const auto n = static_cast<std::size_t>(row.params[1]);
  const auto n_slope = static_cast<std::size_t>(row.params[2]);
  const double stretch = row.params[3];
  const auto first = static_cast<std::size_t>(row.params[4]);
  const double* ranks = row.params + 5;
  const double scale = stretch > 0 ? 1 / __builtin_asinh(stretch * kPi) : 0;
  const Lane is = splat(row.left[0]);
  const double* b = row.left + 1;
  for (std::size_t j = 0; j < row.n; j += kChains * W) {
    Lane* c = reinterpret_cast<Lane*>(row.k + j);
    const Lane* is2 = reinterpret_cast<const Lane*>(row.right + j);
    Lane x[kChains], value[kChains];
#pragma GCC unroll 4
    for (std::size_t u = 0; u < kChains; ++u) {
      const auto g = angle_of((c[u] * is) * is2[u]);
      // 2 angle / pi - 1
      x[u] = stretch > 0 ? stretched(g, splat(stretch), scale) : g.asin * (-2 / kPi);
    }
    const double* right = row.right + row.ld + j;
    chebyshev(right, row.ld, ranks, b, n, x, value);
#pragma GCC unroll 4
    for (std::size_t u = 0; u < kChains; ++u) {
      c[u] = value[u];
    }
    if (row.theta != nullptr) {
      Lane* theta = reinterpret_cast<Lane*>(row.theta + j);
      chebyshev(right + first * row.ld, row.ld, ranks + table_blocks(n),
                b + rank * n + first * n_slope, n_slope, x, value);
#pragma GCC unroll 4
      for (std::size_t u = 0; u < kChains; ++u) {
        theta[u] *= value[u];
      }
    }
  }
}
