// Dual activations of one row of pairs with derivatives in hyperparameters, in closed form.
//
// A hyperparameter v moves the covariance c of a pair, one number u of each of its points (which
// one depends on the map: the log of a deviation, a variance; see kernels/tangents.hpp) and maybe
// parameters a of the map. The partial derivatives of k and of the slope are computed once for each
// pair,
//
//   dk      <- k_c dc + k_left du + k_right du' + sum over a of k_param[a] da
//   dtheta  <- slope dtheta + theta (s_c dc + s_left du + s_right du' + sum of s_param[a] da),
//
// and serve all v. c stands still in k_left, s_left: no two parts of dk cancel where rho is near
// 1 or -1. Derivatives by the angle at rho = 1 or -1 count as zero: there rho stays as it is.

template <int J> struct Partials {
  Real k{}, k_c{}, k_left{}, k_right{};
  Real slope{}, s_c{}, s_left{}, s_right{};
  Real k_param[J > 0 ? J : 1]{}, s_param[J > 0 ? J : 1]{};
};

// f(j, c) for every vector of covariances c at columns j.
template <int J, bool kTheta, class F>
inline __attribute__((always_inline)) void each_with_tangents(const TangentTables& tables,
                                                              const TangentRow& row, F f) {
  constexpr std::size_t W = 2 * kLanes<double>;
  Real* k = reinterpret_cast<Real*>(row.k);
  Real* theta = reinterpret_cast<Real*>(row.theta);
  for (std::size_t i = 0; i < row.n / W; ++i) {
    const Partials<J> at = f(i, k[i]);
    put(k[i], at.k);
    Real by_c{}, by_left{}, by_right{}, size{};
    if constexpr (kTheta) {
      size = theta[i];
      by_c = size * at.s_c;
      by_left = size * at.s_left;
      by_right = size * at.s_right;
      put(theta[i], size * at.slope);
    }
    for (std::size_t h = 0; h < row.n_tangents; ++h) {
      const double left = tables.left_tangents[h];
      const Real right = reinterpret_cast<const Real*>(tables.right_tangents + h * tables.ld)[i];
      Real& dk = reinterpret_cast<Real*>(row.dk + h * row.pitch)[i];
      const Real dc = dk;
      Real moved = fused(at.k_c, dc, fused(at.k_right, right, left * at.k_left));
      if constexpr (J > 0) {
        if (tables.moved[h] != 0) {
          for (int a = 0; a < J; ++a) {
            const double da = tables.param_tangents[h * J + static_cast<std::size_t>(a)];
            moved = fused(at.k_param[a], every<Real>(da), moved);
          }
        }
      }
      put(dk, moved);
      if constexpr (kTheta) {
        Real& dtheta = reinterpret_cast<Real*>(row.dtheta + h * row.pitch)[i];
        Real turned = fused(by_c, dc, fused(by_right, right, left * by_left));
        if constexpr (J > 0) {
          if (tables.moved[h] != 0) {
            for (int a = 0; a < J; ++a) {
              const double da = tables.param_tangents[h * J + static_cast<std::size_t>(a)];
              turned = fused(size, at.s_param[a] * da, turned);
            }
          }
        }
        put(dtheta, fused(at.slope, dtheta, turned));
      }
    }
  }
}

// A map: how many parameters have tangents, and the partial derivatives of a pair.
template <class Map>
inline void run_map(const Map& map, const TangentTables& tables, const TangentRow& row) {
  const auto partials = [&](std::size_t i, Real c)
                            __attribute__((always_inline)) { return map(i, c); };
  if (row.theta != nullptr) {
    each_with_tangents<Map::kParams, true>(tables, row, partials);
  } else {
    each_with_tangents<Map::kParams, false>(tables, row, partials);
  }
}
template <class Map> void with_tangents(const TangentTables& tables, const TangentRow& row) {
  run_map(Map(tables), tables, row);
}
#define NKFAST_PARTIALS(J) inline __attribute__((always_inline)) Partials<J>

inline const Real* column(const TangentTables& tables, std::size_t t) {
  return reinterpret_cast<const Real*>(tables.right + t * tables.ld);
}

// 1 / x, 0 where x is 0.
inline Real inverse_of(Real x) { return pick(x <= 0.0, Real{}, 1.0 / x); }

// k = arc s t sin + c slope, slope = squares (pi - angle) + cross angle; u = log s.
struct RectifierTangents {
  static constexpr int kParams = 3; // arc, squares, cross
  const double *params, *left;
  const Real *s2, *is2;

  explicit RectifierTangents(const TangentTables& t)
      : params(t.params), left(t.left), s2(column(t, 0)), is2(column(t, 1)) {}

  NKFAST_PARTIALS(kParams) operator()(std::size_t i, Real c) const {
    const Real inverse = left[1] * is2[i];
    const Angle<Real> g = angle_of(c * inverse);
    const Real slope = fused(every<Real>(params[1]), g.rest, params[2] * g.angle);
    const Real arc = (left[0] * s2[i]) * g.sine;
    const Real by_points = params[0] * arc;
    const Real by_rho = params[0] * inverse_of(g.sine);
    const Real turn = -by_rho * g.rho;
    return {.k = fused(c, slope, by_points),
            .k_c = slope,
            .k_left = by_points,
            .k_right = by_points,
            .slope = slope,
            .s_c = by_rho * inverse,
            .s_left = turn,
            .s_right = turn,
            .k_param = {arc, c * g.rest, c * g.angle},
            .s_param = {Real{}, g.rest, g.angle}};
  }
};

// u = log s
struct SignTangents {
  static constexpr int kParams = 0;
  double is;
  const Real* is2;

  explicit SignTangents(const TangentTables& t) : is(t.left[1]), is2(column(t, 1)) {}

  NKFAST_PARTIALS(kParams) operator()(std::size_t i, Real c) const {
    const Real inverse = is * is2[i];
    const Angle<Real> g = angle_of(c * inverse);
    const Real by_rho = (2 / kPi) * inverse_of(g.sine);
    const Real turn = -by_rho * g.rho;
    return {.k = g.asin * (2 / kPi), .k_c = by_rho * inverse, .k_left = turn, .k_right = turn};
  }
};

// k = (s t)^n J_n / 2 pi, and J_n' = n^2 J_(n - 1); u = log s.
struct RectifiedPowerTangents {
  static constexpr int kParams = 0;
  double power;
  const double* coef[6]; // A and B of J_n, J_(n - 1) and J_(n - 2)
  std::size_t n[6];
  const double* left;
  const Real *s2, *ds2, *is2;

  explicit RectifiedPowerTangents(const TangentTables& t)
      : power(t.params[0]), left(t.left), s2(column(t, 0)), ds2(column(t, 1)), is2(column(t, 2)) {
    const double* at = t.params + 1;
    for (int m = 0; m < 6; ++m) {
      n[m] = static_cast<std::size_t>(*at);
      coef[m] = at + 1;
      at += n[m] + 1;
    }
  }

  Real arc_cosine(const Angle<Real>& g, int m) const {
    return fused(horner(g.rho, coef[2 * m], n[2 * m]), g.rest,
                 horner(g.rho, coef[2 * m + 1], n[2 * m + 1]) * g.sine);
  }

  NKFAST_PARTIALS(kParams) operator()(std::size_t i, Real c) const {
    const double unit = 1 / (2 * kPi);
    const Real inverse = left[2] * is2[i];
    const Angle<Real> g = angle_of(c * inverse);
    const Real size = (left[0] * unit) * s2[i];
    const Real k = size * arc_cosine(g, 0);
    if (power == 0) {
      const Real by_rho = size * inverse_of(g.sine);
      const Real turn = -by_rho * g.rho;
      return {.k = k, .k_c = by_rho * inverse, .k_left = turn, .k_right = turn};
    }
    const Real below = (left[1] * power * power * unit) * ds2[i];
    const Real slope = below * arc_cosine(g, 1);
    const Real by_points = power * k - c * slope;
    const double lower = power - 1;
    const Real by_rho =
        below * (power == 1 ? inverse_of(g.sine) : (lower * lower) * arc_cosine(g, 2));
    const Real turn = lower * slope - by_rho * g.rho;
    return {.k = k,
            .k_c = slope,
            .k_left = by_points,
            .k_right = by_points,
            .slope = slope,
            .s_c = by_rho * inverse,
            .s_left = turn,
            .s_right = turn};
  }
};

// k = a1 arcsin x + a3, slope = a4 r r' / sqrt(1 - x^2), x = beta c r r'; u = log r.
struct AsinTangents {
  static constexpr int kParams = 4; // a1, beta, a3, a4
  const double* a;
  Real r;
  const Real* r2;

  explicit AsinTangents(const TangentTables& t)
      : a(t.params), r(every<Real>(t.left[0])), r2(column(t, 0)) {}

  NKFAST_PARTIALS(kParams) operator()(std::size_t i, Real c) const {
    const Real rr = r * r2[i];
    const Real unit = c * rr;
    const Real x = a[1] * unit;
    const Real w2 = complement(x, least_complement(r, r2[i]));
    const Arc<Real> g = arc(absolute(x), w2);
    const Real angle = with_signs(g.asin, signs_of(x));
    const Real iw = 1.0 / g.sine;
    const Real iw2 = iw * iw;
    const Real flat = rr * iw;
    const Real slope = a[3] * flat;
    const Real by_x = a[0] * iw;
    const Real by_points = by_x * x;
    const Real rise = slope * x * iw2; // of the slope, with x
    const Real turn = slope * iw2;     // 1 + x^2 / w2 = 1 / w2, but for roundings
    return {.k = fused(every<Real>(a[0]), angle, every<Real>(a[2])),
            .k_c = slope,
            .k_left = by_points,
            .k_right = by_points,
            .slope = slope,
            .s_c = rise * (a[1] * rr),
            .s_left = turn,
            .s_right = turn,
            .k_param = {angle, by_x * unit, every<Real>(1.0), Real{}},
            .s_param = {Real{}, rise * unit, Real{}, flat}};
  }
};

// As gelu_row; u = p. By p, with a = 1 / (1 + p) and b of q, all times 2 pi:
//   k      r r' (q (1 + a) w / 2 - x^2 / (2 w) (1 + a (3 + q) + a x^2 / w^2))
//   slope  -a x S / 2 - a^2 x (1 + b / w^2) / w,
// S = (1 + (a + b) / w^2 + a b (1 + 2 x^2) / w^4) / w being its derivative by x.
struct GeluTangents {
  static constexpr int kParams = 0;
  double r, p;
  const Real *r2, *p2;

  explicit GeluTangents(const TangentTables& t)
      : r(t.left[0]), p(t.left[1]), r2(column(t, 0)), p2(column(t, 1)) {}

  NKFAST_PARTIALS(kParams) operator()(std::size_t i, Real c) const {
    constexpr double unit = 1 / (2 * kPi);
    const Real rr = r * r2[i];
    const Real x = c * rr;
    const Real a = every<Real>(r * r);
    const Real b = r2[i] * r2[i];
    const Real ab = a * b;
    const Real sum = a + b;
    const Real x2 = x * x;
    const Real w2 = complement(x, sum - ab);
    const Arc<Real> g = arc(absolute(x), w2);
    const Real angle = with_signs(g.asin, signs_of(x));
    const Real iw = 1.0 / g.sine;
    const Real iw2 = iw * iw;
    const Real q = p2[i];
    const Real pq = (p * r) * (q * r2[i]);
    const Real quotient = fused(pq, g.sine, rr * x2 * iw);
    const Real slope =
        fused(angle + (x * iw) * fused(ab, iw2, sum), every<Real>(unit), every<Real>(0.25));
    const Real flat = unit * iw;
    const Real by_x =
        flat * (1.0 + iw2 * fused(iw2, ab * fused(every<Real>(2.0), x2, every<Real>(1.0)), sum));
    const Real half = 0.5 * x * by_x;
    const Real high = (0.5 * unit) * rr * g.sine;
    const Real low = 0.5 * flat * rr * x2;
    const Real bent = x2 * iw2;
    return {.k = fused(c, fused(angle, every<Real>(unit), every<Real>(0.25)), quotient * unit),
            .k_c = slope,
            .k_left = high * (q * (1.0 + a)) - low * fused(a, bent + 3.0 + q, every<Real>(1.0)),
            .k_right = high * (p * (1.0 + b)) - low * fused(b, bent + 3.0 + p, every<Real>(1.0)),
            .slope = slope,
            .s_c = rr * by_x,
            .s_left = -a * fused(a * (x * flat), fused(b, iw2, every<Real>(1.0)), half),
            .s_right = -b * fused(b * (x * flat), fused(a, iw2, every<Real>(1.0)), half)};
  }
};

// k = amplitude e^(gamma c + l + l'); u = l.
struct ExpTangents {
  static constexpr int kParams = 2; // amplitude, gamma
  double amplitude, gamma, l;
  const Real* l2;

  explicit ExpTangents(const TangentTables& t)
      : amplitude(t.params[0]), gamma(t.params[1]), l(t.left[0]), l2(column(t, 0)) {}

  NKFAST_PARTIALS(kParams) operator()(std::size_t i, Real c) const {
    const Real e = exponential(fused(every<Real>(gamma), c, l + l2[i]));
    const Real k = amplitude * e;
    const Real slope = gamma * k;
    return {.k = k,
            .k_c = slope,
            .k_left = k,
            .k_right = k,
            .slope = slope,
            .s_c = gamma * slope,
            .s_left = slope,
            .s_right = slope,
            .k_param = {e, c * k},
            .s_param = {gamma * e, fused(c, slope, k)}};
  }
};

// With e = exp(b^2 (c - (p + q) / 2)) and f = exp(-b^2 (c + (p + q) / 2)):
// k = amplitude (e - f + sine f), slope = b^2 amplitude (e - f + cosine f), sine + cosine = 2;
// u = b^2 p / 2.
struct SinTangents {
  static constexpr int kParams = 4; // amplitude, b^2, sine, cosine
  const double* params;
  double s;
  const Real* s2;

  explicit SinTangents(const TangentTables& t) : params(t.params), s(t.left[0]), s2(column(t, 0)) {}

  NKFAST_PARTIALS(kParams) operator()(std::size_t i, Real c) const {
    const double b2 = params[1];
    const Real gap = s - s2[i];
    const Real bc = b2 * absolute(c);
    const Real near = of_distance(0.5 * gap * gap, s * s2[i], bc);
    const Real e = exponential(-2.0 * bc);
    const Real apart = with_signs(near * lost(2.0 * bc, e), signs_of(c));
    const Real far = pick(c < 0.0, near, near * e);
    const Real unit_k = fused(every<Real>(params[2]), far, apart);
    const Real unit_slope = fused(every<Real>(params[3]), far, apart);
    const Real k = params[0] * unit_k;
    const Real v = params[0] * unit_slope;
    const Real slope = b2 * v;
    const Real part = params[0] * far;
    return {.k = k,
            .k_c = slope,
            .k_left = -k,
            .k_right = -k,
            .slope = slope,
            .s_c = (b2 * b2) * k,
            .s_left = -slope,
            .s_right = -slope,
            .k_param = {unit_k, c * v, part, Real{}},
            .s_param = {b2 * unit_slope, fused(b2 * c, k, v), Real{}, b2 * part}};
  }
};

// k = a^2 y, slope = 4 a^2 b^2 c y^3, y = r r' / sqrt(1 - x^2), x = 2 b c r r'; u = log r.
struct GaussianTangents {
  static constexpr int kParams = 2; // a^2, b
  double a2, b;
  Real r;
  const Real* r2;

  explicit GaussianTangents(const TangentTables& t)
      : a2(t.params[0]), b(t.params[1]), r(every<Real>(t.left[0])), r2(column(t, 0)) {}

  NKFAST_PARTIALS(kParams) operator()(std::size_t i, Real c) const {
    const Real rr = r * r2[i];
    const Real unit = (2.0 * c) * rr;
    const Real x = b * unit;
    const Real w2 = complement(x, least_complement(r, r2[i]));
    const Real y = rr / root(w2);
    const Real iw2 = 1.0 / w2;
    const Real k = a2 * y;
    const Real cube = (4 * b * b) * y * y * y;
    const Real one = c * cube; // of unit amplitude
    const Real slope = a2 * one;
    const Real by_points = k * iw2;
    const Real rise = x * iw2; // of log y
    const Real turn = 3.0 * slope * iw2;
    return {.k = k,
            .k_c = slope,
            .k_left = by_points,
            .k_right = by_points,
            .slope = slope,
            .s_c = fused(3.0 * slope * rise, (2 * b) * rr, a2 * cube),
            .s_left = turn,
            .s_right = turn,
            .k_param = {y, k * rise * unit},
            .s_param = {one, slope * fused(3.0 * rise, unit, every<Real>(2 / b))}};
  }
};

// k = s t e, slope = g e, e = exp(g rho + g shift); u = log s.
struct ExpNormalizedTangents {
  static constexpr int kParams = 2; // g, g shift
  double gain, shift;
  const double* left;
  const Real *s2, *is2;

  explicit ExpNormalizedTangents(const TangentTables& t)
      : gain(t.params[0]), shift(t.params[1]), left(t.left), s2(column(t, 0)), is2(column(t, 1)) {}

  NKFAST_PARTIALS(kParams) operator()(std::size_t i, Real c) const {
    const Real inverse = left[1] * is2[i];
    const Real rho = snapped(c * inverse);
    const Real e = exponential(fused(every<Real>(gain), rho, every<Real>(shift)));
    const Real k = (left[0] * s2[i]) * e;
    const Real slope = gain * e;
    const Real by_rho = gain * slope;
    const Real by_points = k - c * slope;
    const Real turn = -by_rho * rho;
    return {.k = k,
            .k_c = slope,
            .k_left = by_points,
            .k_right = by_points,
            .slope = slope,
            .s_c = by_rho * inverse,
            .s_left = turn,
            .s_right = turn,
            .k_param = {k * rho, k},
            .s_param = {fused(slope, rho, e), slope}};
  }
};

// k = e^L sinh x, slope = e^L (L_c sinh x + x_c cosh x), where x = c / G, G = 4 (p q - c^2) + 2 p +
// 2 q + 1 and L = (1 + p + q) / 2 G - 1 / 2 - log(G) / 2; u = p.
struct GaborTangents {
  static constexpr int kParams = 0;
  Real p;
  const Real* q2;

  explicit GaborTangents(const TangentTables& t) : p(every<Real>(t.left[0])), q2(column(t, 0)) {}

  // Derivatives by the variance whose partner is `other`: of L and x, and of L_c and x_c.
  struct ByVariance {
    Real l, x, l_c, x_c;
  };
  static inline __attribute__((always_inline)) ByVariance by_variance(Real other, Real a, Real x,
                                                                      Real ig) {
    const Real g = (4.0 * other + 2.0) * ig; // of log G
    return {.l = 0.5 * (ig - g * (a + 1.0)),
            .x = -x * g,
            .l_c = 4.0 * x * (ig - g * (2.0 * a + 1.0)),
            .x_c = -g * (ig + 16.0 * x * x)};
  }

  NKFAST_PARTIALS(kParams) operator()(std::size_t i, Real c) const {
    const Real q = q2[i];
    const GaborTerms g = gabor_terms(p, q, c);
    const Real ig = g.im * g.g; // 1 / G
    const Real a = (1.0 + g.sum) * ig;
    const Real x = g.x;
    const Real x2 = x * x;
    const Real l_c = 4.0 * x * (a + 1.0);
    const Real x_c = ig + 8.0 * x2;
    const Real l_cc = 4.0 * ig * (a + 1.0) + 32.0 * x2 * (2.0 * a + 1.0);
    const Real x_cc = x * (24.0 * ig + 128.0 * x2);
    const ByVariance left = by_variance(q, a, x, ig);
    const ByVariance right = by_variance(p, a, x, ig);
    const auto together = [&](Real of_odd, Real of_even) __attribute__((always_inline)) {
      return fused(of_odd, g.odd, of_even * g.even);
    };
    const auto slope_by = [&](const ByVariance& v) __attribute__((always_inline)) {
      return together(l_c * v.l + x_c * v.x + v.l_c, l_c * v.x + x_c * v.l + v.x_c);
    };
    const Real slope = together(l_c, x_c);
    return {.k = g.odd,
            .k_c = slope,
            .k_left = together(left.l, left.x),
            .k_right = together(right.l, right.x),
            .slope = slope,
            .s_c = together(l_c * l_c + x_c * x_c + l_cc, 2.0 * l_c * x_c + x_cc),
            .s_left = slope_by(left),
            .s_right = slope_by(right)};
  }
};

// K <- w2 K + b2, then Theta <- w2 Theta + K, and their derivatives.
void tangent_affine(double w2, double b2, const double* dw2, const double* db2,
                    const TangentRow& row) {
  constexpr std::size_t W = kLanes<double>;
  const std::size_t n = row.n / W;
  Lane* k = reinterpret_cast<Lane*>(row.k);
  Lane* theta = reinterpret_cast<Lane*>(row.theta);
  const Lane w = splat(w2);
  for (std::size_t h = 0; h < row.n_tangents; ++h) {
    Lane* dk = reinterpret_cast<Lane*>(row.dk + h * row.pitch);
    Lane* dtheta = reinterpret_cast<Lane*>(row.dtheta + h * row.pitch);
    const Lane dw = splat(dw2[h]);
    const Lane db = splat(db2[h]);
    for (std::size_t i = 0; i < n; ++i) {
      const Lane moved = fused(dw, k[i], row.fresh ? db : fused(w, dk[i], db));
      dk[i] = moved;
      if (theta != nullptr) {
        dtheta[i] = row.fresh ? moved : fused(w, dtheta[i], fused(dw, theta[i], moved));
      }
    }
  }
  affine<double>(w2, b2, row.n, row.k, row.theta, row.fresh);
}
