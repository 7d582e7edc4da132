// Dual kernels of piecewise polynomials: sums of c (x - b)_+^i, c (b - x)_+^i and c x^i, i <= 3.
//
// For standard Gaussians X, Y of correlation r, M_ij = E (X - h)_+^i (Y - k)_+^j follows from
// M_00 = P(X > h, Y > k) by Stein's identity, E X a(X) g(Y) = E a'(X) g(Y) + r E a(X) g'(Y), where
// a kink's derivative is a point mass: there the other variable is Gaussian given the first.
// M_00 is what the lines X = h and Y = k leave of the plane. What is known of the corner where they
// meet serves all four signs of h and k, since U below is even in h and odd in x; see
// src/nkfast/activations/_corners.py for the formula and dual.hpp for the tables.

// The sides and kinks at one distance |b| from zero.
struct KinkClass {
  bool apart; // from zero
  std::size_t n_parts;
  double kink[kMostKinkParts]; // sign of h
  double side[kMostKinkParts];
  std::size_t at; // column of h, density, tail; then the parts' coefficients, then those of U
  std::size_t part[kMostKinkParts];
  std::size_t outer;
};

// The layout of a point's table, read from the parameters.
struct PiecewisePlan {
  int degree, low;
  std::size_t n_whole, n_terms;
  double reach, reach2, bend2, share; // z = share x^2 / (x^2 + bend^2) - 1
  const double* normal;               // polynomial of (1 / 2 - tail(x)) / x
  std::size_t n_classes;
  KinkClass classes[kMostKinkClasses];
};

// Returns how many columns a point's table has.
inline std::size_t read_plan(const double* at, PiecewisePlan& plan) {
  plan.degree = static_cast<int>(at[0]);
  plan.low = static_cast<int>(at[1]);
  plan.n_whole = static_cast<std::size_t>(at[2]);
  plan.reach = at[3];
  plan.reach2 = at[3] * at[3];
  plan.bend2 = at[4] * at[4];
  plan.share = 2 * (1 + plan.bend2 / plan.reach2);
  plan.n_terms = static_cast<std::size_t>(at[5]);
  plan.normal = at + 6;
  at += 6 + plan.n_terms;
  plan.n_classes = static_cast<std::size_t>(*at++);
  std::size_t column = 1 + 2 * plan.n_whole + 2 * (plan.n_whole - 1);
  const int lowest_slope = plan.low > 0 ? plan.low - 1 : 0;
  const auto part_width =
      static_cast<std::size_t>(plan.degree + 1 - plan.low + plan.degree - lowest_slope);
  for (std::size_t c = 0; c < plan.n_classes; ++c) {
    KinkClass& own = plan.classes[c];
    own.apart = at[0] != 0;
    own.n_parts = static_cast<std::size_t>(at[1]);
    at += 2;
    own.at = column;
    column += 3;
    for (std::size_t i = 0; i < own.n_parts; ++i, at += 2) {
      own.kink[i] = at[0];
      own.side[i] = at[1];
      own.part[i] = column;
      column += part_width;
    }
    own.outer = column;
    column += own.apart ? plan.n_terms : 0;
  }
  return column;
}

// Pairs of parts whose corner has the same signs.
struct CornerGroup {
  double kink_x, kink_y;
  bool against; // r = -rho
  int mirror;   // which of the two corners: of H, K and rho, or of H, K and -rho
  int n_pairs;
  const double* left[2];
  const double* right[2];
};

struct ClassPair {
  const double* left;
  const double* right;
  const double* outer_left; // null: none
  const double* outer_right;
  bool used[2]; // corners
  std::size_t n_groups;
  CornerGroup groups[8];
};

inline bool any_weight(const double* x, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    if (x[i] != 0) {
      return true;
    }
  }
  return false;
}

// The pairs of classes that this row needs; returns how many.
inline std::size_t pair_up(const DualRow& row, const PiecewisePlan& plan, std::size_t part_width,
                           ClassPair* pairs) {
  std::size_t n = 0;
  for (std::size_t a = 0; a < plan.n_classes; ++a) {
    for (std::size_t b = 0; b < plan.n_classes; ++b) {
      const KinkClass& x = plan.classes[a];
      const KinkClass& y = plan.classes[b];
      ClassPair& pair = pairs[n];
      pair = {.left = row.left + x.at,
              .right = row.right + y.at * row.ld,
              .outer_left = x.apart ? row.left + x.outer : nullptr,
              .outer_right = y.apart ? row.right + y.outer * row.ld : nullptr,
              .used = {false, false},
              .n_groups = 0,
              .groups = {}};
      for (std::size_t i = 0; i < x.n_parts; ++i) {
        if (!any_weight(row.left + x.part[i], part_width)) {
          continue;
        }
        for (std::size_t j = 0; j < y.n_parts; ++j) {
          const bool against = x.side[i] * y.side[j] < 0;
          std::size_t g = 0;
          while (g < pair.n_groups &&
                 (pair.groups[g].kink_x != x.kink[i] || pair.groups[g].kink_y != y.kink[j] ||
                  pair.groups[g].against != against)) {
            ++g;
          }
          CornerGroup& group = pair.groups[g];
          if (g == pair.n_groups) {
            group.kink_x = x.kink[i];
            group.kink_y = y.kink[j];
            group.against = against;
            group.mirror = (x.kink[i] * y.kink[j] < 0) != against;
            group.n_pairs = 0;
            pair.used[group.mirror] = true;
            ++pair.n_groups;
          }
          group.left[group.n_pairs] = row.left + x.part[i];
          group.right[group.n_pairs] = row.right + y.part[j] * row.ld;
          ++group.n_pairs;
        }
      }
      n += pair.n_groups > 0 ? 1 : 0;
    }
  }
  return n;
}

// What all corners of a pair of points share.
template <class R> struct PointPair {
  R rho, sine, inverse_sine, less; // 1 - |rho|
  R angle, rest;
  Mask negative;
};

// The corner of X = H and Y = K, H, K >= 0.
template <class R> struct Corner {
  R x, y;           // where on each line, times the sine
  R tail_x, tail_y; // P(Y > K | X = H), P(X > H | Y = K)
  R outer;          // U(H, .) + U(K, .)
  R peak;           // density of (X, Y) times the sine
};

// Corners FIRST .. FIRST + N - 1.
template <int First, int N>
inline __attribute__((always_inline)) void
corners(const PiecewisePlan& plan, const ClassPair& pair, std::size_t i, std::size_t ld,
        const PointPair<Real>& at, Corner<Real> (&out)[2]) {
  const Real h = every<Real>(pair.left[0]);
  const Real k = reinterpret_cast<const Real*>(pair.right)[i];
  const Real gap = k - h;
  const Real sum = k + h;
  const Real less_h = at.less * h;
  const Real less_k = at.less * k;
  Real x[2 * N], z[2 * N], normal[2 * N];
  const double reach = plan.reach;
#pragma GCC unroll 2
  for (int c = 0; c < N; ++c) {
    // K - r H and H - r K, without cancellation where |rho| is near 1
    const bool mirrored = First + c == 1;
    const Real near_x = gap + less_h, far_x = sum - less_h;
    const Real near_y = less_k - gap, far_y = sum - less_k;
    Corner<Real>& own = out[First + c];
    own.x = mirrored ? pick(at.negative, near_x, far_x) : pick(at.negative, far_x, near_x);
    own.y = mirrored ? pick(at.negative, near_y, far_y) : pick(at.negative, far_y, near_y);
    x[2 * c] = own.x * at.inverse_sine;
    x[2 * c + 1] = own.y * at.inverse_sine;
  }
#pragma GCC unroll 4
  for (int c = 0; c < 2 * N; ++c) {
    x[c] = pick(x[c] > reach, every<Real>(reach), x[c]);
    x[c] = pick(x[c] < -reach, every<Real>(-reach), x[c]);
    const Real squares = x[c] * x[c];
    z[c] = plan.share * squares / (squares + plan.bend2) - 1.0;
    normal[c] = every<Real>(plan.normal[plan.n_terms - 1]);
  }
  for (std::size_t t = plan.n_terms - 1; t-- > 0;) {
    const Real own = every<Real>(plan.normal[t]);
#pragma GCC unroll 4
    for (int c = 0; c < 2 * N; ++c) {
      normal[c] = fused(normal[c], z[c], own);
    }
  }
  Real outer[2 * N] = {};
  if (pair.outer_left != nullptr && pair.outer_right != nullptr) {
    for (std::size_t t = plan.n_terms; t-- > 0;) {
      const Real own = every<Real>(pair.outer_left[t]);
      const Real other = reinterpret_cast<const Real*>(pair.outer_right + t * ld)[i];
#pragma GCC unroll 2
      for (int c = 0; c < N; ++c) {
        outer[2 * c] = fused(outer[2 * c], z[2 * c], own);
        outer[2 * c + 1] = fused(outer[2 * c + 1], z[2 * c + 1], other);
      }
    }
  } else if (pair.outer_left != nullptr) {
    for (std::size_t t = plan.n_terms; t-- > 0;) {
#pragma GCC unroll 2
      for (int c = 0; c < N; ++c) {
        outer[2 * c] = fused(outer[2 * c], z[2 * c], every<Real>(pair.outer_left[t]));
      }
    }
  } else if (pair.outer_right != nullptr) {
    for (std::size_t t = plan.n_terms; t-- > 0;) {
      const Real other = reinterpret_cast<const Real*>(pair.outer_right + t * ld)[i];
#pragma GCC unroll 2
      for (int c = 0; c < N; ++c) {
        outer[2 * c + 1] = fused(outer[2 * c + 1], z[2 * c + 1], other);
      }
    }
  }
  const Real tail_h = every<Real>(pair.left[2]);
  const Real tail_k = reinterpret_cast<const Real*>(pair.right + 2 * ld)[i];
  const Real h2 = h * h;
#pragma GCC unroll 2
  for (int c = 0; c < N; ++c) {
    Corner<Real>& own = out[First + c];
    const Real u = x[2 * c], v = x[2 * c + 1];
    const Real squares = fused(u, u, h2); // of the corner's distance from zero
    own.tail_x = 0.5 - u * normal[2 * c];
    own.tail_y = 0.5 - v * normal[2 * c + 1];
    own.peak = exponential(-0.5 * squares) * (1 / (2 * kPi));
    own.outer = fused(u, outer[2 * c], v * outer[2 * c + 1]);
    // Past the Gaussian's reach T(h, x / h) is sign(x) Q(h) / 2.
    const Real sides = with_signs(tail_h, signs_of(u)) + with_signs(tail_k, signs_of(v));
    const Real angle = First + c == 1 ? at.rest : at.angle;
    own.outer = pick(squares < plan.reach2, own.outer, angle - kPi * sides);
  }
}

// E (X - h)_+^i and E (Y - k)_+^j of one group, weighted.
template <int D, int Low>
inline __attribute__((always_inline)) void
add_group(const ClassPair& pair, const CornerGroup& group, std::size_t i, std::size_t ld,
          const PointPair<Real>& at, const Corner<Real>& corner, Dual& sum) {
  constexpr int kLowSlope = Low > 0 ? Low - 1 : 0;
  const double ex = group.kink_x, ey = group.kink_y;
  const Real* right = reinterpret_cast<const Real*>(pair.right);
  const std::size_t step = ld / (2 * kLanes<double>);
  const Real h = every<Real>(ex * pair.left[0]);
  const Real k = ey * right[i];
  const double tail_h = ex > 0 ? pair.left[2] : 1 - pair.left[2];
  const Real tail_k = ey > 0 ? right[i + 2 * step] : 1.0 - right[i + 2 * step];
  const Real r = group.against ? -at.rho : at.rho;
  const Real a = pair.left[1] * (ey > 0 ? corner.tail_x : 1.0 - corner.tail_x);
  const Real b = right[i + step] * (ex > 0 ? corner.tail_y : 1.0 - corner.tail_y);
  const Real turn = (ex * ey) * corner.outer - (group.against ? at.rest : at.angle);
  Real m[D + 1][D + 1];
  m[0][0] = fused(turn, every<Real>(1 / (2 * kPi)), 0.5 * (tail_k + tail_h));
  const Real spread = at.sine * corner.peak;
  if constexpr (D == 1 && Low == 1) { // as below, expanded
    m[1][1] = fused(fused(h, k, r), m[0][0], spread) - fused(h, b, k * a);
  } else {
    Real at_x[D + 1], at_y[D + 1]; // of Y where X is at its kink, times X's density there
    const Real shift_x = -ey * corner.x, shift_y = -ex * corner.y;
    at_x[0] = a;
    at_y[0] = b;
    at_x[1] = fused(shift_x, a, spread);
    at_y[1] = fused(shift_y, b, spread);
    const Real variance = at.sine * at.sine;
#pragma GCC unroll 4
    for (int j = 2; j <= D; ++j) {
      const Real scale = (j - 1.0) * variance;
      at_x[j] = fused(shift_x, at_x[j - 1], scale * at_x[j - 2]);
      at_y[j] = fused(shift_y, at_y[j - 1], scale * at_y[j - 2]);
    }
#pragma GCC unroll 4
    for (int j = 1; j <= D; ++j) {
      m[j][0] = fused(r, at_y[j - 1], j == 1 ? at_x[0] : (j - 1.0) * m[j > 1 ? j - 2 : 0][0]) -
                h * m[j - 1][0];
      m[0][j] = fused(r, at_x[j - 1], j == 1 ? at_y[0] : (j - 1.0) * m[0][j > 1 ? j - 2 : 0]) -
                k * m[0][j - 1];
    }
#pragma GCC unroll 4
    for (int u = 1; u <= D; ++u) {
#pragma GCC unroll 4
      for (int v = 1; v <= D; ++v) {
        m[u][v] = fused(static_cast<double>(v) * r, m[u - 1][v - 1],
                        u == 1 ? at_x[v] : (u - 1.0) * m[u > 1 ? u - 2 : 0][v]) -
                  h * m[u - 1][v];
      }
    }
  }
  for (int p = 0; p < group.n_pairs; ++p) {
    const double* left = group.left[p];
    const Real* other = reinterpret_cast<const Real*>(group.right[p]) + i;
#pragma GCC unroll 4
    for (int v = Low; v <= D; ++v) {
      Real inner = left[0] * m[Low][v];
#pragma GCC unroll 4
      for (int u = Low + 1; u <= D; ++u) {
        inner = fused(every<Real>(left[u - Low]), m[u][v], inner);
      }
      sum.k = fused(inner, other[static_cast<std::size_t>(v - Low) * step], sum.k);
    }
    left += D + 1 - Low;
    other += (D + 1 - Low) * step;
#pragma GCC unroll 4
    for (int v = kLowSlope; v < D; ++v) {
      Real inner = left[0] * m[kLowSlope][v];
#pragma GCC unroll 4
      for (int u = kLowSlope + 1; u < D; ++u) {
        inner = fused(every<Real>(left[u - kLowSlope]), m[u][v], inner);
      }
      sum.slope = fused(inner, other[static_cast<std::size_t>(v - kLowSlope) * step], sum.slope);
    }
  }
}

// sum over l of rho^l (whole left, all right, and whole right, what has kinks left).
inline Real hermite_sum(const double* left, const Real* right, std::size_t n, std::size_t step,
                        Real rho) {
  Real sum{};
  for (std::size_t l = n; l-- > 0;) {
    const Real whole = right[l * step];
    const Real kinked = right[(n + l) * step];
    const Real term = fused(every<Real>(left[l]), whole + kinked, left[n + l] * whole);
    sum = fused(sum, rho, term);
  }
  return sum;
}

template <int D, int Low> void piecewise_row(const DualRow& row, const PiecewisePlan& plan) {
  constexpr std::size_t kPartWidth = D + 1 - Low + D - (Low > 0 ? Low - 1 : 0);
  ClassPair pairs[kMostKinkClasses * kMostKinkClasses];
  const std::size_t n_pairs = pair_up(row, plan, kPartWidth, pairs);
  const std::size_t step = row.ld / (2 * kLanes<double>);
  const Real is = every<Real>(row.left[0]);
  const Real* right = column(row, 0);
  each(
      row, NKFAST_EACH {
        const Angle<Real> g = angle_of((c * is) * right[i]);
        const std::size_t n = plan.n_whole;
        Dual sum{
            hermite_sum(row.left + 1, right + i + step, n, step, g.rho),
            hermite_sum(row.left + 1 + 2 * n, right + i + (1 + 2 * n) * step, n - 1, step, g.rho)};
        // Parallel lines meet far out; where they are one line, at its middle.
        const PointPair<Real> at{.rho = g.rho,
                                 .sine = g.sine,
                                 .inverse_sine = 1.0 / (g.sine + 1e-160),
                                 .less = 1.0 - absolute(g.rho),
                                 .angle = g.angle,
                                 .rest = g.rest,
                                 .negative = g.rho < 0.0};
        for (std::size_t p = 0; p < n_pairs; ++p) {
          const ClassPair& pair = pairs[p];
          Corner<Real> corner[2];
          if (pair.used[0] && pair.used[1]) {
            corners<0, 2>(plan, pair, i, row.ld, at, corner);
          } else if (pair.used[0]) {
            corners<0, 1>(plan, pair, i, row.ld, at, corner);
          } else {
            corners<1, 1>(plan, pair, i, row.ld, at, corner);
          }
          for (std::size_t q = 0; q < pair.n_groups; ++q) {
            const CornerGroup& group = pair.groups[q];
            add_group<D, Low>(pair, group, i, row.ld, at, corner[group.mirror], sum);
          }
        }
        return sum;
      });
}

void piecewise(const DualRow& row) {
  PiecewisePlan plan;
  read_plan(row.params, plan);
  void (*const loops[])(const DualRow&, const PiecewisePlan&) = {
      piecewise_row<1, 0>, piecewise_row<1, 1>, piecewise_row<2, 0>,
      piecewise_row<2, 1>, piecewise_row<3, 0>, piecewise_row<3, 1>};
  loops[2 * (plan.degree - 1) + plan.low](row, plan);
}
#undef NKFAST_EACH
