// As tangents.inl.hpp, for piecewise polynomials (piecewise.inl.hpp); u = log s. Behind the columns
// of a point's table lie the derivatives in u of its Hermite coefficients.
//
// With kinks at h = b / s and k = b' / t, and coefficients that are powers of s and t, all
// derivatives come from the moments M_ij themselves: by h that of (X - h)_+^i is -i (X - h)_+^(i -
// 1) or, where i is 0, a point mass; by r that of E F(X) G(Y) is E F'(X) G'(Y).

struct PiecewiseSums {
  Real k{}, k_left{}, k_right{}, k_rho{};
  Real slope{}, s_left{}, s_right{}, s_rho{};
};

// M_ij of one group of parts, and what they are where one variable is at its kink, times its
// density.
template <int D> struct GroupMoments {
  Real h, k, r;
  Real m[D + 1][D + 1];
  Real at_x[D + 1], at_y[D + 1];
  Real joint; // density at the corner

  // d M_ij / d log s, d / d log t and d / d r
  template <int I, int J> inline __attribute__((always_inline)) Real by_left() const {
    if constexpr (I == 0) {
      return h * at_x[J];
    } else {
      return I * fused(h, m[I - 1][J], m[I][J]);
    }
  }
  template <int I, int J> inline __attribute__((always_inline)) Real by_right() const {
    if constexpr (J == 0) {
      return k * at_y[I];
    } else {
      return J * fused(k, m[I][J - 1], m[I][J]);
    }
  }
  template <int I, int J> inline __attribute__((always_inline)) Real by_r() const {
    if constexpr (I == 0 && J == 0) {
      return joint;
    } else if constexpr (I == 0) {
      return J * at_x[J - 1];
    } else if constexpr (J == 0) {
      return I * at_y[I - 1];
    } else {
      return (I * J) * m[I - 1][J - 1];
    }
  }
};

template <int D>
inline __attribute__((always_inline)) GroupMoments<D>
group_moments(const ClassPair& pair, const CornerGroup& group, std::size_t i, std::size_t ld,
              const PointPair<Real>& at, const Corner<Real>& corner, Real inverse_sine) {
  const double ex = group.kink_x, ey = group.kink_y;
  const Real* right = reinterpret_cast<const Real*>(pair.right);
  const std::size_t step = ld / (2 * kLanes<double>);
  GroupMoments<D> g;
  g.h = every<Real>(ex * pair.left[0]);
  g.k = ey * right[i];
  const double tail_h = ex > 0 ? pair.left[2] : 1 - pair.left[2];
  const Real tail_k = ey > 0 ? right[i + 2 * step] : 1.0 - right[i + 2 * step];
  g.r = group.against ? -at.rho : at.rho;
  const Real spread = at.sine * corner.peak;
  g.joint = corner.peak * inverse_sine;
  const Real turn = (ex * ey) * corner.outer - (group.against ? at.rest : at.angle);
  g.m[0][0] = fused(turn, every<Real>(1 / (2 * kPi)), 0.5 * (tail_k + tail_h));
  const Real shift_x = -ey * corner.x, shift_y = -ex * corner.y;
  g.at_x[0] = pair.left[1] * (ey > 0 ? corner.tail_x : 1.0 - corner.tail_x);
  g.at_y[0] = right[i + step] * (ex > 0 ? corner.tail_y : 1.0 - corner.tail_y);
  g.at_x[1] = fused(shift_x, g.at_x[0], spread);
  g.at_y[1] = fused(shift_y, g.at_y[0], spread);
  const Real variance = at.sine * at.sine;
#pragma GCC unroll 4
  for (int j = 2; j <= D; ++j) {
    const Real scale = (j - 1.0) * variance;
    g.at_x[j] = fused(shift_x, g.at_x[j - 1], scale * g.at_x[j - 2]);
    g.at_y[j] = fused(shift_y, g.at_y[j - 1], scale * g.at_y[j - 2]);
  }
#pragma GCC unroll 4
  for (int j = 1; j <= D; ++j) {
    g.m[j][0] =
        fused(g.r, g.at_y[j - 1], j == 1 ? g.at_x[0] : (j - 1.0) * g.m[j > 1 ? j - 2 : 0][0]) -
        g.h * g.m[j - 1][0];
    g.m[0][j] =
        fused(g.r, g.at_x[j - 1], j == 1 ? g.at_y[0] : (j - 1.0) * g.m[0][j > 1 ? j - 2 : 0]) -
        g.k * g.m[0][j - 1];
  }
#pragma GCC unroll 4
  for (int u = 1; u <= D; ++u) {
#pragma GCC unroll 4
    for (int v = 1; v <= D; ++v) {
      g.m[u][v] = fused(static_cast<double>(v) * g.r, g.m[u - 1][v - 1],
                        u == 1 ? g.at_x[v] : (u - 1.0) * g.m[u > 1 ? u - 2 : 0][v]) -
                  g.h * g.m[u - 1][v];
    }
  }
  return g;
}

// f(I, J) for all I, J in [First, Last].
template <int I, int J, int First, int Last, class F>
inline __attribute__((always_inline)) void each_power(F f) {
  f.template at<I, J>();
  if constexpr (J < Last) {
    each_power<I, J + 1, First, Last>(f);
  } else if constexpr (I < Last) {
    each_power<I + 1, First, First, Last>(f);
  }
}

// Adds the moments of powers I and J, weighted, to a sum and its derivatives.
template <int D, int First> struct WeightedMoments {
  const GroupMoments<D>& g;
  const double* left;
  const Real* right;
  std::size_t step;
  double sign; // d r / d rho
  Real &sum, &by_left, &by_right, &by_rho;

  template <int I, int J> inline __attribute__((always_inline)) void at() const {
    const Real weight = left[I - First] * right[static_cast<std::size_t>(J - First) * step];
    sum = fused(weight, g.m[I][J], sum);
    by_left = fused(weight, g.template by_left<I, J>(), by_left);
    by_right = fused(weight, g.template by_right<I, J>(), by_right);
    by_rho = fused(sign * weight, g.template by_r<I, J>(), by_rho);
  }
};

// The derivative of hermite_sum in rho.
inline Real hermite_slope(const double* left, const Real* right, std::size_t n, std::size_t step,
                          Real rho) {
  Real sum{};
  for (std::size_t l = n; l-- > 1;) {
    const Real whole = right[l * step];
    const Real kinked = right[(n + l) * step];
    const Real term = fused(every<Real>(left[l]), whole + kinked, left[n + l] * whole);
    sum = fused(sum, rho, static_cast<double>(l) * term);
  }
  return sum;
}

// Low = 1: no jumps, so that the slope is the derivative of k.
template <int D, int Low> struct PiecewiseTangents {
  static constexpr int kParams = 0;
  static constexpr int kLowSlope = Low > 0 ? Low - 1 : 0;

  const PiecewisePlan& plan;
  const ClassPair* pairs;
  std::size_t n_pairs, ld;
  const double *left, *dleft;
  const double *right, *dright;

  NKFAST_PARTIALS(kParams) operator()(std::size_t i, Real c) const {
    const std::size_t step = ld / (2 * kLanes<double>);
    const std::size_t n = plan.n_whole;
    const Real* other = reinterpret_cast<const Real*>(right) + i;
    const Real* dother = reinterpret_cast<const Real*>(dright) + i;
    const Real inverse = left[0] * other[0];
    const Angle<Real> g = angle_of(c * inverse);
    const Real rho = g.rho;
    PiecewiseSums sums;
    {
      const double *a = left + 1, *da = dleft;
      const Real *b = other + step, *db = dother;
      sums.k = hermite_sum(a, b, n, step, rho);
      sums.k_left = hermite_sum(da, b, n, step, rho);
      sums.k_right = hermite_sum(a, db, n, step, rho);
      if constexpr (Low == 0) {
        sums.k_rho = hermite_slope(a, b, n, step, rho);
      }
    }
    {
      const double *a = left + 1 + 2 * n, *da = dleft + 2 * n;
      const Real *b = other + (1 + 2 * n) * step, *db = dother + 2 * n * step;
      sums.slope = hermite_sum(a, b, n - 1, step, rho);
      sums.s_left = hermite_sum(da, b, n - 1, step, rho);
      sums.s_right = hermite_sum(a, db, n - 1, step, rho);
      sums.s_rho = hermite_slope(a, b, n - 1, step, rho);
    }
    const PointPair<Real> at{.rho = rho,
                             .sine = g.sine,
                             .inverse_sine = 1.0 / (g.sine + 1e-160),
                             .less = 1.0 - absolute(rho),
                             .angle = g.angle,
                             .rest = g.rest,
                             .negative = rho < 0.0};
    const Real inverse_sine = inverse_of(g.sine);
    for (std::size_t p = 0; p < n_pairs; ++p) {
      const ClassPair& pair = pairs[p];
      Corner<Real> corner[2];
      if (pair.used[0] && pair.used[1]) {
        corners<0, 2>(plan, pair, i, ld, at, corner);
      } else if (pair.used[0]) {
        corners<0, 1>(plan, pair, i, ld, at, corner);
      } else {
        corners<1, 1>(plan, pair, i, ld, at, corner);
      }
      for (std::size_t q = 0; q < pair.n_groups; ++q) {
        const CornerGroup& group = pair.groups[q];
        const GroupMoments<D> moments =
            group_moments<D>(pair, group, i, ld, at, corner[group.mirror], inverse_sine);
        const double sign = group.against ? -1 : 1;
        for (int t = 0; t < group.n_pairs; ++t) {
          const double* own = group.left[t];
          const Real* theirs = reinterpret_cast<const Real*>(group.right[t]) + i;
          Real unused{};
          each_power<Low, Low, Low, D>(WeightedMoments<D, Low>{moments, own, theirs, step, sign,
                                                               sums.k, sums.k_left, sums.k_right,
                                                               Low == 0 ? sums.k_rho : unused});
          own += D + 1 - Low;
          theirs += (D + 1 - Low) * step;
          each_power<kLowSlope, kLowSlope, kLowSlope, D - 1>(WeightedMoments<D, kLowSlope>{
              moments, own, theirs, step, sign, sums.slope, sums.s_left, sums.s_right, sums.s_rho});
        }
      }
    }
    const Real by_c = Low == 0 ? sums.k_rho * inverse : sums.slope;
    const Real by_points = Low == 0 ? rho * sums.k_rho : c * sums.slope;
    const Real turn = rho * sums.s_rho;
    return {.k = sums.k,
            .k_c = by_c,
            .k_left = sums.k_left - by_points,
            .k_right = sums.k_right - by_points,
            .slope = sums.slope,
            .s_c = sums.s_rho * inverse,
            .s_left = sums.s_left - turn,
            .s_right = sums.s_right - turn};
  }
};

template <int D, int Low>
void piecewise_tangents_row(const TangentTables& tables, const TangentRow& row,
                            const PiecewisePlan& plan, std::size_t width) {
  constexpr std::size_t kPartWidth = D + 1 - Low + D - (Low > 0 ? Low - 1 : 0);
  const DualRow values{.params = tables.params,
                       .left = tables.left,
                       .right = tables.right,
                       .ld = tables.ld,
                       .n = row.n,
                       .k = row.k,
                       .theta = row.theta,
                       .rough = false};
  ClassPair pairs[kMostKinkClasses * kMostKinkClasses];
  const std::size_t n_pairs = pair_up(values, plan, kPartWidth, pairs);
  const PiecewiseTangents<D, Low> map{.plan = plan,
                                      .pairs = pairs,
                                      .n_pairs = n_pairs,
                                      .ld = tables.ld,
                                      .left = tables.left,
                                      .dleft = tables.left + width,
                                      .right = tables.right,
                                      .dright = tables.right + width * tables.ld};
  run_map(map, tables, row);
}

void piecewise_tangents(const TangentTables& tables, const TangentRow& row) {
  PiecewisePlan plan;
  const std::size_t width = read_plan(tables.params, plan);
  void (*const loops[])(const TangentTables&, const TangentRow&, const PiecewisePlan&,
                        std::size_t) = {piecewise_tangents_row<1, 0>, piecewise_tangents_row<1, 1>,
                                        piecewise_tangents_row<2, 0>, piecewise_tangents_row<2, 1>,
                                        piecewise_tangents_row<3, 0>, piecewise_tangents_row<3, 1>};
  loops[2 * (plan.degree - 1) + plan.low](tables, row, plan, width);
}
