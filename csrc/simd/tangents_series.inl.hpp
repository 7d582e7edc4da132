// As tangents.inl.hpp, for series in rho and for tables over the angle; u = log s. Their tables
// hold derivatives in u beside the functions themselves.

// k = sum over l of a_l b_l rho^l. With a+_l = d a_l / du - l a_l the derivative of k while c
// stands still is the sum of a+_l b_l rho^l, and that of the slope is the derivative of that in c.
struct SeriesTangents {
  static constexpr int kParams = 0;
  bool odd, halved; // only odd degrees, only those of one parity
  std::size_t n_terms, n_all, ld;
  const double* left;
  const double* right;

  SeriesTangents(const TangentTables& t, const TangentRow& row)
      : odd(t.params[0] != 0), halved(t.params[1] == 2), n_terms(0),
        n_all(static_cast<std::size_t>(t.params[2])), ld(t.ld), left(t.left), right(t.right) {
    const DualRow values{.params = t.params,
                         .left = t.left,
                         .right = t.right,
                         .ld = t.ld,
                         .n = row.n,
                         .k = row.k,
                         .theta = row.theta,
                         .rough = false};
    n_terms = terms_that_matter(values, n_all, t.params[1]);
  }

  // From sum, derivative and half the second one in y: those in rho, whole.
  Real value(Real sum, Real rho) const { return odd ? rho * sum : sum; }
  Real first(Real sum, Real d, Real rho, Real y) const {
    return odd ? fused(2.0 * y, d, sum) : halved ? 2.0 * rho * d : d;
  }
  Real second(Real d, Real half, Real rho, Real y) const {
    return odd      ? rho * fused(8.0 * y, half, 6.0 * d)
           : halved ? fused(8.0 * y, half, 2.0 * d)
                    : 2.0 * half;
  }

  NKFAST_PARTIALS(kParams) operator()(std::size_t i, Real c) const {
    const std::size_t step = ld / (2 * kLanes<double>);
    const Real* other = reinterpret_cast<const Real*>(right) + i;
    const Real inverse = left[0] * other[0];
    const Real rho = snapped(c * inverse);
    const Real y = halved ? rho * rho : rho;
    Real k[3] = {}, by_left[2] = {}, by_right[2] = {};
    for (std::size_t t = n_terms; t-- > 0;) {
      const double a = left[1 + t];
      const Real b = other[(1 + t) * step];
      k[2] = fused(k[2], y, k[1]);
      k[1] = fused(k[1], y, k[0]);
      k[0] = fused(k[0], y, a * b);
      by_left[1] = fused(by_left[1], y, by_left[0]);
      by_left[0] = fused(by_left[0], y, left[1 + n_all + t] * b);
      by_right[1] = fused(by_right[1], y, by_right[0]);
      by_right[0] = fused(by_right[0], y, a * other[(1 + n_all + t) * step]);
    }
    const Real slope = inverse * first(k[0], k[1], rho, y);
    return {.k = value(k[0], rho),
            .k_c = slope,
            .k_left = value(by_left[0], rho),
            .k_right = value(by_right[0], rho),
            .slope = slope,
            .s_c = (inverse * second(k[1], k[2], rho, y)) * inverse,
            .s_left = inverse * first(by_left[0], by_left[1], rho, y),
            .s_right = inverse * first(by_right[0], by_right[1], rho, y)};
  }
};

void series_tangents(const TangentTables& tables, const TangentRow& row) {
  run_map(SeriesTangents(tables, row), tables, row);
}

// A sum of Chebyshev polynomials whose coefficients are sums over functions of both points, and its
// derivatives by the points and by x.
struct ChebyshevSum {
  Real value{}, by_left{}, by_right{}, by_x{};
};

// Where the coefficients of a sum lie.
struct ChebyshevParts {
  const double *ranks, *b, *db; // of the left point, as in `chebyshev`
  const double *right, *dright; // functions of the right points
  std::size_t ld, n;
};

// Sums that go through Clenshaw's recurrence together: the value, and maybe the derivatives.
template <bool kAll> struct ChebyshevState {
  static constexpr int kSums = kAll ? 3 : 1;

  Real next[kSums]{}, after[kSums]{}; // value, by_left, by_right
  Real next_slope{}, after_slope{};   // by_x

  template <std::size_t N>
  inline __attribute__((always_inline)) void step(const ChebyshevParts& p, std::size_t m,
                                                  std::size_t rank, Real twice) {
    const double *from = p.right, *dfrom = p.dright, *b = p.b + m, *db = p.db + m;
    Real sum[N][kSums] = {};
    for (std::size_t k = 0; k < rank; ++k, from += p.ld, dfrom += p.ld, b += p.n, db += p.n) {
      const Real right = *reinterpret_cast<const Real*>(from);
#pragma GCC unroll 4
      for (std::size_t u = 0; u < N; ++u) {
        const Real left = every<Real>(b[u]);
        sum[u][0] = fused(left, right, sum[u][0]);
        if constexpr (kAll) {
          const Real dright = *reinterpret_cast<const Real*>(dfrom);
          sum[u][1] = fused(every<Real>(db[u]), right, sum[u][1]);
          sum[u][2] = fused(left, dright, sum[u][2]);
        }
      }
    }
#pragma GCC unroll 4
    for (std::size_t v = 0; v < N; ++v) {
      const std::size_t u = N - 1 - v;
      if constexpr (kAll) {
        const Real turned = fused(twice, next_slope, 2.0 * next[0] - after_slope);
        after_slope = next_slope;
        next_slope = turned;
      }
#pragma GCC unroll 4
      for (int t = 0; t < kSums; ++t) {
        const Real now = fused(twice, next[t], sum[u][t] - after[t]);
        after[t] = next[t];
        next[t] = now;
      }
    }
  }
};

// By Clenshaw's recurrence and its derivative.
template <bool kAll>
inline __attribute__((always_inline)) ChebyshevSum chebyshev_sum(const ChebyshevParts& p, Real x) {
  constexpr std::size_t kAtOnce = kRegisters / 8;
  static_assert(kDegrees % kAtOnce == 0);
  ChebyshevState<kAll> state{};
  const Real twice = 2.0 * x;
  std::size_t m = p.n;
  for (; m % kAtOnce != 0; --m) {
    const auto rank = static_cast<std::size_t>(p.ranks[(m - 1) / kDegrees]);
    state.template step<1>(p, m - 1, rank, twice);
  }
  for (; m > 0; m -= kAtOnce) {
    const auto rank = static_cast<std::size_t>(p.ranks[(m - 1) / kDegrees]);
    state.template step<kAtOnce>(p, m - kAtOnce, rank, twice);
  }
  // The last step has x for 2 x.
  ChebyshevSum sum{.value = fused(-x, state.after[0], state.next[0])};
  if constexpr (kAll) {
    sum.by_left = fused(-x, state.after[1], state.next[1]);
    sum.by_right = fused(-x, state.after[2], state.next[2]);
    sum.by_x = fused(-x, state.after_slope, state.next_slope) - state.after[0];
  }
  return sum;
}

template <bool kTheta> struct TableTangents {
  static constexpr int kParams = 0;
  double stretch, scale, is;
  ChebyshevParts value, slope;
  const double* right;

  explicit TableTangents(const TangentTables& t)
      : stretch(t.params[3]), scale(stretch > 0 ? 1 / __builtin_asinh(stretch * kPi) : 0),
        is(t.left[0]), right(t.right) {
    const auto rank = static_cast<std::size_t>(t.params[0]);
    const auto n = static_cast<std::size_t>(t.params[1]);
    const auto n_slope = static_cast<std::size_t>(t.params[2]);
    const auto first = static_cast<std::size_t>(t.params[4]);
    const double* b = t.left + 1;
    const double* db = b + rank * (n + n_slope);
    value = {.ranks = t.params + 5,
             .b = b,
             .db = db,
             .right = t.right + t.ld,
             .dright = t.right + (1 + rank) * t.ld,
             .ld = t.ld,
             .n = n};
    slope = {.ranks = value.ranks + table_blocks(n),
             .b = b + rank * n + first * n_slope,
             .db = db + rank * n + first * n_slope,
             .right = value.right + first * t.ld,
             .dright = value.dright + first * t.ld,
             .ld = t.ld,
             .n = n_slope};
  }

  struct Ends {
    Lane angle, rest;
  };
  // d x / d angle
  Real pace(const Angle<Real>& g) const {
    if (stretch == 0) {
      return every<Real>(2 / kPi);
    }
    const Real x = stretch * g.angle;
    const Real y = stretch * g.rest;
    return (scale * stretch) *
           (1.0 / root(fused(x, x, every<Real>(1.0))) + 1.0 / root(fused(y, y, every<Real>(1.0))));
  }

  NKFAST_PARTIALS(kParams) operator()(std::size_t i, Real c) const {
    const std::size_t at = i * 2 * kLanes<double>;
    const Real inverse = is * reinterpret_cast<const Real*>(right + at)[0];
    const Angle<Real> g = angle_of(c * inverse);
    Real x = g.asin * (-2 / kPi);
    if (stretch > 0) {
      x = {stretched(Ends{g.angle.a, g.rest.a}, splat(stretch), scale),
           stretched(Ends{g.angle.b, g.rest.b}, splat(stretch), scale)};
    }
    const auto here = [at](ChebyshevParts p) {
      p.right += at;
      p.dright += at;
      return p;
    };
    const ChebyshevSum k = chebyshev_sum<true>(here(value), x);
    const ChebyshevSum d = chebyshev_sum<kTheta>(here(slope), x);
    const Real by_rho = -(d.by_x * pace(g)) * inverse_of(g.sine);
    const Real by_points = c * d.value;
    const Real turn = by_rho * g.rho;
    return {.k = k.value,
            .k_c = d.value,
            .k_left = k.by_left - by_points,
            .k_right = k.by_right - by_points,
            .slope = d.value,
            .s_c = by_rho * inverse,
            .s_left = d.by_left - turn,
            .s_right = d.by_right - turn};
  }
};

void table_tangents(const TangentTables& tables, const TangentRow& row) {
  if (row.theta != nullptr) {
    run_map(TableTangents<true>(tables), tables, row);
  } else {
    run_map(TableTangents<false>(tables), tables, row);
  }
}
