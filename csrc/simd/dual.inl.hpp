// Dual activations of one row of pairs, in float64: k <- E f(u) f(v), theta <- theta E f'(u) f'(v).
//
// Every loop runs over whole vectors: row.n is a multiple of kDualPad. With -ffp-contract=off only
// the products named fused() are fused, and only where the CPU can, so the levels differ in the
// last bits.

using Lane = Vec<double>;
using LaneMask = decltype(Lane{} < Lane{});
constexpr double kPi = 3.14159265358979323846;
constexpr double kPiLow = 1.2246467991473532e-16;
constexpr double kEps = 2.220446049250313e-16;

inline Lane fused(Lane a, Lane b, Lane c) {
#if defined(__AVX512F__) && NKFAST_VECTOR_BYTES == 64
  return (Lane)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif defined(__FMA__) && NKFAST_VECTOR_BYTES == 32
  return (Lane)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#else
  return a * b + c;
#endif
}

inline Lane root(Lane x) {
#if defined(__AVX512F__) && NKFAST_VECTOR_BYTES == 64
  return (Lane)_mm512_sqrt_pd((__m512d)x);
#elif defined(__AVX2__) && NKFAST_VECTOR_BYTES == 32
  return (Lane)_mm256_sqrt_pd((__m256d)x);
#elif defined(__SSE2__)
  return (Lane)_mm_sqrt_pd((__m128d)x);
#else
  for (int i = 0; i < kLanes<double>; ++i) {
    x[i] = __builtin_sqrt(x[i]);
  }
  return x;
#endif
}

inline Lane pick(LaneMask m, Lane a, Lane b) { return m ? a : b; }
inline Lane absolute(Lane x) { return (Lane)((LaneMask)x & 0x7fffffffffffffffll); }
inline Lane signs_of(Lane x) { return (Lane)((LaneMask)x & (-0x7fffffffffffffffll - 1)); }
inline Lane with_signs(Lane x, Lane signs) { return (Lane)((LaneMask)x | (LaneMask)signs); }
// 2^n for whole n, small enough to have an exponent.
inline Lane power_of_two(Lane n) { return (Lane)((LaneMask)(n + (0x1.8p52 + 1023.0)) << 52); }

// Two vectors that go through the same operations, since most of these form one long chain: a CPU
// that meets them vector by vector has its window full of operations that wait.
struct __attribute__((may_alias)) Real {
  Lane a, b;
};
struct Mask {
  LaneMask a, b;
};
template <class R> inline R every(double x) { return splat(x); }
template <> inline Real every<Real>(double x) { return {splat(x), splat(x)}; }

#define NKFAST_OPERATOR(op)                                                                        \
  inline Real operator op(Real x, Real y) { return {x.a op y.a, x.b op y.b}; }                     \
  inline Real operator op(Real x, double y) { return {x.a op y, x.b op y}; }                       \
  inline Real operator op(double x, Real y) { return {x op y.a, x op y.b}; }
NKFAST_OPERATOR(+)
NKFAST_OPERATOR(-)
NKFAST_OPERATOR(*)
NKFAST_OPERATOR(/)
#undef NKFAST_OPERATOR
inline Real operator-(Real x) { return {-x.a, -x.b}; }
inline Mask operator<(Real x, double y) { return {x.a < y, x.b < y}; }
inline Mask operator>(Real x, double y) { return {x.a > y, x.b > y}; }
inline Mask operator<=(Real x, double y) { return {x.a <= y, x.b <= y}; }
inline Mask operator<=(Real x, Real y) { return {x.a <= y.a, x.b <= y.b}; }
inline Real fused(Real x, Real y, Real z) { return {fused(x.a, y.a, z.a), fused(x.b, y.b, z.b)}; }
inline Real root(Real x) { return {root(x.a), root(x.b)}; }
inline Real pick(Mask m, Real x, Real y) { return {pick(m.a, x.a, y.a), pick(m.b, x.b, y.b)}; }
inline Real absolute(Real x) { return {absolute(x.a), absolute(x.b)}; }
inline Real signs_of(Real x) { return {signs_of(x.a), signs_of(x.b)}; }
inline Real with_signs(Real x, Real s) { return {with_signs(x.a, s.a), with_signs(x.b, s.b)}; }
inline Real power_of_two(Real n) { return {power_of_two(n.a), power_of_two(n.b)}; }

// sum of c[i] x^i, the even and the odd powers as two chains.
template <class R, int N> inline R polynomial(R x, const double (&c)[N]) {
  static_assert(N >= 4);
  const R x2 = x * x;
  R high = every<R>(c[N - 1]);
  R low = every<R>(c[N - 2]);
#pragma GCC unroll 16
  for (int i = N - 3; i >= 1; i -= 2) {
    high = fused(high, x2, every<R>(c[i]));
    low = fused(low, x2, every<R>(c[i - 1]));
  }
  if constexpr (N % 2 == 0) {
    return fused(high, x, low); // high: the odd powers
  } else {
    return fused(fused(high, x, low), x, every<R>(c[0]));
  }
}

// asin(t) for t in [0, sqrt(1/2)], z = t^2. Interpolation at Chebyshev points of (asin t - t) / t^3
// in z; error 1.3e-17 before rounding.
template <class R> inline R small_arcsine(R t, R z) {
  constexpr double c[] = {
      0.16666666666666669,  0.07499999999998412,    0.04464285714665563,  0.030381944084994415,
      0.0223721770065477,   0.017352221539201188,   0.013975730180211136, 0.01139924601483468,
      0.011310924828955462, -0.0032941927380090922, 0.07377343868679113,  -0.2809947932275328,
      0.952265420570822,    -2.3535297860232123,    4.3847119392409954,   -5.883233416999023,
      5.436384462318588,    -3.0948547605199717,    0.8387674099544927};
  return fused(t * z, polynomial(z, c), t);
}

template <class R> struct Arc {
  R sine; // sqrt(1 - x^2)
  R asin; // of |x|
  R acos;
};

// For y = |x| <= 1 and w2 = 1 - x^2: the smaller of x and sqrt(1 - x^2) goes into the series, so
// that one square root serves all three.
template <class R> inline Arc<R> arc(R y, R w2) {
  const R sine = root(w2);
  const auto near_one = y > 0.70710678118654752;
  const R t = pick(near_one, sine, y);
  const R small = small_arcsine(t, pick(near_one, w2, y * y));
  const R large = (kPi / 2 - small) + kPiLow / 2;
  return {sine, pick(near_one, large, small), pick(near_one, small, large)};
}

// exp(x) with gradual underflow: 2^n (1 + r + r^2 Q(r)), |r| <= ln(2) / 2; error under 1 ulp.
template <class R> inline R exponential(R x) {
  constexpr double c[] = {0.5,
                          0.1666666666666667,
                          0.04166666666666667,
                          0.008333333333326084,
                          0.0013888888888883711,
                          0.0001984126987500228,
                          2.480158732567746e-05,
                          2.755725517000089e-06,
                          2.755727347871858e-07,
                          2.5105312729622103e-08,
                          2.09147553258932e-09};
  constexpr double round = 0x1.8p52;
  x = pick(x > 1000.0, every<R>(1000.0), x);
  x = pick(x < -1000.0, every<R>(-1000.0), x);
  const R n = fused(x, every<R>(1.4426950408889634), every<R>(round)) - round;
  R r = fused(n, every<R>(-0.6931471804855391), x);
  r = fused(n, every<R>(-7.440617110012397e-11), r);
  const R y = 1.0 + fused(r * r, polynomial(r, c), r);
  // 2^n as 2^a 2^b, since n may pass the exponents of float64 by a factor of two.
  const R a = (n * 0.5 + round) - round;
  return (y * power_of_two(a)) * power_of_two(n - a);
}

struct Dual {
  Real k;
  Real slope; // E f'(u) f'(v)
};

// f(j, c) for every vector of covariances c at columns j...
template <class F> inline __attribute__((always_inline)) void each(const DualRow& row, F f) {
  constexpr std::size_t W = 2 * kLanes<double>;
  Real* k = reinterpret_cast<Real*>(row.k);
  Real* theta = reinterpret_cast<Real*>(row.theta);
  const std::size_t n = row.n / W;
  if (theta == nullptr) {
    for (std::size_t i = 0; i < n; ++i) {
      k[i] = f(i, k[i]).k;
    }
    return;
  }
  for (std::size_t i = 0; i < n; ++i) {
    const Dual dual = f(i, k[i]);
    k[i] = dual.k;
    theta[i] = theta[i] * dual.slope;
  }
}
#define NKFAST_EACH [&](std::size_t i, Real c) __attribute__((always_inline))->Dual

inline const Real* column(const DualRow& row, std::size_t t) {
  return reinterpret_cast<const Real*>(row.right + t * row.ld);
}

template <class R> struct Angle {
  R rho; // snapped to +-1
  R sine;
  R angle;
  R rest; // pi - angle
  R asin; // of rho
};

// |rho| = 1 exactly where it is so up to rounding, which arccos would magnify.
template <class R> inline R snapped_size(R rho) {
  const R y = absolute(rho);
  return pick(1.0 - y <= 32 * kEps, every<R>(1.0), y);
}
template <class R> inline R snapped(R rho) { return with_signs(snapped_size(rho), signs_of(rho)); }

template <class R> inline Angle<R> angle_of(R rho) {
  const R y = snapped_size(rho);
  const R sign = signs_of(rho);
  const Arc<R> a = arc(y, (1.0 - y) * (1.0 + y));
  const R other = (kPi - a.acos) + kPiLow;
  const auto negative = rho < 0.0;
  return {with_signs(y, sign), a.sine, pick(negative, other, a.acos), pick(negative, a.acos, other),
          with_signs(a.asin, sign)};
}

void rectifier(const DualRow& row) {
  const double a = row.params[0];
  const double b = row.params[1];
  const double unit = 1 / (2 * kPi);
  const Real squares = every<Real>((a * a + b * b) * unit);
  const Real cross = every<Real>(2 * a * b * unit);
  const Real s = every<Real>(row.left[0] * (a - b) * (a - b) * unit);
  const Real is = every<Real>(row.left[1]);
  const Real* s2 = column(row, 0);
  const Real* is2 = column(row, 1);
  if (a == 0) { // ReLU: one product less
    each(
        row, NKFAST_EACH {
          const Angle<Real> g = angle_of((c * is) * is2[i]);
          const Real slope = squares * g.rest;
          return {fused(s * s2[i], g.sine, c * slope), slope};
        });
    return;
  }
  each(
      row, NKFAST_EACH {
        const Angle<Real> g = angle_of((c * is) * is2[i]);
        const Real slope = fused(squares, g.rest, cross * g.angle);
        return {fused(s * s2[i], g.sine, c * slope), slope};
      });
}

void sign(const DualRow& row) {
  const Real is = every<Real>(row.left[1]);
  const Real* is2 = column(row, 1);
  each(row, NKFAST_EACH { return {angle_of((c * is) * is2[i]).asin * (2 / kPi), Real{}}; });
}

// A polynomial of runtime degree, by Horner's rule.
inline Real horner(Real x, const double* c, std::size_t n) {
  Real y{};
  while (n-- > 0) {
    y = fused(y, x, every<Real>(c[n]));
  }
  return y;
}

void rectified_power(const DualRow& row) {
  const double* at = row.params;
  const double power = *at++;
  const double* coef[4]; // A and B of k, A and B of the slope
  std::size_t n[4];
  for (int t = 0; t < 4; ++t) {
    n[t] = static_cast<std::size_t>(*at);
    coef[t] = at + 1;
    at += n[t] + 1;
  }
  const double unit = 1 / (2 * kPi);
  const Real s = every<Real>(row.left[0] * unit);
  const Real ds = every<Real>(row.left[1] * power * power * unit);
  const Real is = every<Real>(row.left[2]);
  const Real* s2 = column(row, 0);
  const Real* ds2 = column(row, 1);
  const Real* is2 = column(row, 2);
  const auto arc_cosine = [&](const Angle<Real>& g, int t) {
    return fused(horner(g.rho, coef[t], n[t]), g.rest,
                 horner(g.rho, coef[t + 1], n[t + 1]) * g.sine);
  };
  if (power == 0) { // a step has no slope, whatever s^-1 is
    each(
        row,
        NKFAST_EACH { return {s * s2[i] * arc_cosine(angle_of((c * is) * is2[i]), 0), Real{}}; });
    return;
  }
  each(
      row, NKFAST_EACH {
        const Angle<Real> g = angle_of((c * is) * is2[i]);
        return {s * s2[i] * arc_cosine(g, 0), ds * ds2[i] * arc_cosine(g, 2)};
      });
}

// 1 - x^2 for x = +-P'/sqrt((1 + P)(1 + Q)) with r = 1 / sqrt(1 + P): never below its value at
// P'^2 = P Q, and equal to it where it is so up to rounding.
inline Real complement(Real x, Real least) {
  const Real w2 = (1.0 - x) * (1.0 + x);
  return pick(w2 - least > 64 * kEps, w2, least);
}
inline Real least_complement(Real r, Real r2) {
  const Real a = r * r;
  const Real b = r2 * r2;
  return fused(-a, b, a + b);
}

void asin(const DualRow& row) {
  const double* a = row.params;
  const Real r = every<Real>(row.left[0]);
  const Real scale = every<Real>(a[1] * row.left[0]);
  const Real slope = every<Real>(a[3] * row.left[0]);
  const Real* r2 = column(row, 0);
  const Real a1 = every<Real>(a[0]);
  const Real a3 = every<Real>(a[2]);
  each(
      row, NKFAST_EACH {
        const Real x = (c * scale) * r2[i];
        const Real w2 = complement(x, least_complement(r, r2[i]));
        const Arc<Real> g = arc(absolute(x), w2);
        return {fused(a1, with_signs(g.asin, signs_of(x)), a3), slope * r2[i] / g.sine};
      });
}

// With R = r r', w^2 = 1 - x^2 and E = w^2 / R^2 the terms of GELU's dual (MATH.md) become products
// of r that neither overflow nor cancel: (1 - p q) / A + 1 = r^2 + r'^2.
void gelu(const DualRow& row) {
  const Real r = every<Real>(row.left[0]);
  const Real pr = every<Real>(row.left[1] * row.left[0]);
  const Real* r2 = column(row, 0);
  const Real* p2 = column(row, 1);
  const double unit = 1 / (2 * kPi);
  each(
      row, NKFAST_EACH {
        const Real rr = r * r2[i];
        const Real x = c * rr;
        const Real a = r * r;
        const Real b = r2[i] * r2[i];
        const Real ab = a * b;
        const Real sum = a + b;
        const Real w2 = complement(x, sum - ab);
        const Arc<Real> g = arc(absolute(x), w2);
        const Real angle = with_signs(g.asin, signs_of(x));
        const Real iw = 1.0 / g.sine;
        const Real pq = pr * (p2[i] * r2[i]);
        const Real quotient = (pq * g.sine) + rr * (x * x) * iw;
        const Real k =
            fused(c, fused(angle, every<Real>(unit), every<Real>(0.25)), quotient * unit);
        const Real bend = (x * iw) * fused(ab * iw, iw, sum);
        return {k, fused(angle + bend, every<Real>(unit), every<Real>(0.25))};
      });
}

void exponential_kernel(const DualRow& row) {
  const Real amplitude = every<Real>(row.params[0]);
  const Real gamma = every<Real>(row.params[1]);
  const Real l = every<Real>(row.left[0]);
  const Real* l2 = column(row, 0);
  each(
      row, NKFAST_EACH {
        const Real k = amplitude * exponential(fused(gamma, c, l + l2[i]));
        return {k, gamma * k};
      });
}

void sine(const DualRow& row) {
  const double b2 = row.params[1];
  const double cosine = row.params[2];
  const Real amplitude = every<Real>(row.params[0]);
  const Real u = every<Real>(row.left[0]);
  const Real* u2 = column(row, 0);
  if (cosine == 0) { // the Gaussian kernel
    each(
        row, NKFAST_EACH {
          const Real k = amplitude * exponential(b2 * c - (u + u2[i]));
          return {k, b2 * k};
        });
    return;
  }
  each(
      row, NKFAST_EACH {
        const Real sum = u + u2[i];
        const Real even = amplitude * exponential(b2 * c - sum);
        const Real odd = cosine * (amplitude * exponential(-b2 * c - sum));
        return {even - odd, b2 * (even + odd)};
      });
}

void gaussian(const DualRow& row) {
  const double a2 = row.params[0];
  const double b = row.params[1];
  const Real r = every<Real>(row.left[0]);
  const Real* r2 = column(row, 0);
  each(
      row, NKFAST_EACH {
        const Real rr = r * r2[i];
        const Real x = (2 * b * c) * rr;
        const Real w2 = complement(x, least_complement(r, r2[i]));
        const Real y = rr / root(w2);
        return {a2 * y, (4 * a2 * b * b) * ((c * y) * y) * y};
      });
}

void normalised_exponential(const DualRow& row) {
  const Real gain = every<Real>(row.params[0]);
  const Real shift = every<Real>(row.params[0] * row.params[1]);
  const Real s = every<Real>(row.left[0]);
  const Real is = every<Real>(row.left[1]);
  const Real* s2 = column(row, 0);
  const Real* is2 = column(row, 1);
  each(
      row, NKFAST_EACH {
        const Real rho = snapped((c * is) * is2[i]);
        const Real e = exponential(fused(gain, rho, shift));
        return {(s * s2[i]) * e, gain * e};
      });
}

// |c / G| <= 1/4, so that e^(c/G) -+ e^(-c/G) are short series, which do not cancel.
void gabor(const DualRow& row) {
  constexpr double sinh_series[] = {1.0,          1.0 / 6,        1.0 / 120,       1.0 / 5040,
                                    1.0 / 362880, 1.0 / 39916800, 1.0 / 6227020800};
  constexpr double cosh_series[] = {1.0,         1.0 / 2,       1.0 / 24,       1.0 / 720,
                                    1.0 / 40320, 1.0 / 3628800, 1.0 / 479001600};
  const Real p = every<Real>(row.left[0]);
  const Real* q2 = column(row, 0);
  each(
      row, NKFAST_EACH {
        const Real q = q2[i];
        const Real pq = p * q;
        const Real cc = c * c;
        Real d = pq - cc;
        d = pick(d <= 64 * kEps * pq, Real{}, d);
        const Real d4 = 4.0 * d;
        const Real sum = p + q;
        const Real g = 1.0 / (d4 + 2.0 * sum + 1.0);
        const Real x = c * g;
        const Real x2 = x * x;
        const Real e = exponential(-0.5 * (sum + d4) * g) * root(g);
        const Real odd = e * (x * polynomial(x2, sinh_series));
        const Real even = e * polynomial(x2, cosh_series);
        const Real s = (1.0 + 2.0 * sum + 4.0 * (cc + pq)) * g;
        const Real t = (4.0 * c) * ((d4 + 3.0 * sum + 2.0) * g);
        return {odd, (s * even + t * odd) * g};
      });
}

// U vectors at once: as many chains of products as the CPU can keep in flight.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr std::size_t kChains = 4;
#else
constexpr std::size_t kChains = 2;
#endif

// How many terms matter for the row: those left out are below a rounding of the sum of sizes, of k
// and of its derivative, at the largest |rho| of the row. Behind the parameters lie the columns'
// largest coefficients.
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
    const double a = row.left[1 + t] * row.params[3 + t];
    size[t] = (a < 0 ? -a : a) * (row.params[0] + stride * static_cast<double>(t) + 1);
    total += size[t];
  }
  double rest = 0;
  while (n_terms > 1) {
    rest += size[n_terms - 1];
    // The derivative has one power of y less.
    if (!(rest * power[n_terms - 2] <= kEps / 32 * total)) {
      break;
    }
    --n_terms;
  }
  return n_terms;
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
      Lane below = splat(1.0); // rho^(offset - 1)
      for (int t = 1; t < offset; ++t) {
        below *= rho[u];
      }
      if constexpr (kSlope) {
        Lane* theta = reinterpret_cast<Lane*>(row.theta + j);
        const double step = stride;
        const Lane slope = offset > 0 ? below * (offset * k[u] + step * (y[u] * d[u]))
                                      : (stride == 2 ? (2.0 * rho[u]) * d[u] : d[u]);
        theta[u] *= (is * is2[u]) * slope;
      }
      c[u] = offset > 0 ? (below * rho[u]) * k[u] : k[u];
    }
  }
}

void series(const DualRow& row) {
  row.theta != nullptr ? series_row<true>(row) : series_row<false>(row);
}

// sum over m < n of (sum over k < rank of b[k n + m] R_k) T_m(x), by Clenshaw's recurrence.
inline void chebyshev(const DualRow& row, std::size_t j, std::size_t rank, const double* b,
                      std::size_t n, const Lane (&x)[kChains], Lane (&out)[kChains]) {
  Lane next[kChains] = {}, after[kChains] = {};
  for (std::size_t m = n; m-- > 0;) {
    Lane sum[kChains] = {};
    for (std::size_t k = 0; k < rank; ++k) {
      const Lane left = splat(b[k * n + m]);
      const Lane* right = reinterpret_cast<const Lane*>(row.right + (k + 1) * row.ld + j);
#pragma GCC unroll 4
      for (std::size_t u = 0; u < kChains; ++u) {
        sum[u] = fused(left, right[u], sum[u]);
      }
    }
    const double twice = m == 0 ? 1.0 : 2.0;
#pragma GCC unroll 4
    for (std::size_t u = 0; u < kChains; ++u) {
      const Lane now = fused(twice * x[u], next[u], sum[u] - after[u]);
      after[u] = next[u];
      next[u] = now;
    }
  }
#pragma GCC unroll 4
  for (std::size_t u = 0; u < kChains; ++u) {
    out[u] = next[u];
  }
}

void table_map(const DualRow& row) {
  constexpr std::size_t W = kLanes<double>;
  const auto rank = static_cast<std::size_t>(row.params[0]);
  const auto n = static_cast<std::size_t>(row.params[1]);
  const auto n_slope = static_cast<std::size_t>(row.params[2]);
  const Lane is = splat(row.left[0]);
  const double* b = row.left + 1;
  for (std::size_t j = 0; j < row.n; j += kChains * W) {
    Lane* c = reinterpret_cast<Lane*>(row.k + j);
    const Lane* is2 = reinterpret_cast<const Lane*>(row.right + j);
    Lane x[kChains], value[kChains];
#pragma GCC unroll 4
    for (std::size_t u = 0; u < kChains; ++u) {
      x[u] = angle_of((c[u] * is) * is2[u]).asin * (-2 / kPi); // 2 angle / pi - 1
    }
    chebyshev(row, j, rank, b, n, x, value);
#pragma GCC unroll 4
    for (std::size_t u = 0; u < kChains; ++u) {
      c[u] = value[u];
    }
    if (row.theta != nullptr) {
      Lane* theta = reinterpret_cast<Lane*>(row.theta + j);
      chebyshev(row, j, rank, b + rank * n, n_slope, x, value);
#pragma GCC unroll 4
      for (std::size_t u = 0; u < kChains; ++u) {
        theta[u] *= value[u];
      }
    }
  }
}
#undef NKFAST_EACH

void affine(double w2, double b2, std::size_t n, double* k, double* theta, bool first) {
  constexpr std::size_t W = kLanes<double>;
  Lane* x = reinterpret_cast<Lane*>(k);
  Lane* y = reinterpret_cast<Lane*>(theta);
  const Lane w = splat(w2);
  const Lane b = splat(b2);
  if (theta == nullptr) {
    for (std::size_t i = 0; i < n / W; ++i) {
      x[i] = fused(w, x[i], b);
    }
  } else if (first) { // theta holds nothing yet, it counts as zero
    for (std::size_t i = 0; i < n / W; ++i) {
      x[i] = fused(w, x[i], b);
      y[i] = x[i];
    }
  } else {
    for (std::size_t i = 0; i < n / W; ++i) {
      x[i] = fused(w, x[i], b);
      y[i] = fused(w, y[i], x[i]);
    }
  }
}

// --- products of points ---

// Rows x kVecs accumulators: with fewer than 8 the products would wait for each other, with more
// than the registers they would go through memory.
constexpr std::size_t kGramRows = 4;
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr std::size_t kGramVecs = 4;
#else
constexpr std::size_t kGramVecs = 2;
#endif

template <std::size_t R>
inline void gram_rows(const double* x, std::size_t x_ld, const double* panel, std::size_t depth,
                      double* out, std::size_t ld, double scale, bool add) {
  constexpr std::size_t W = kLanes<double>;
  for (std::size_t j = 0; j < kDualPad; j += kGramVecs * W) {
    Lane sum[R][kGramVecs] = {};
    for (std::size_t t = 0; t < depth; ++t) {
      const Lane* z = reinterpret_cast<const Lane*>(panel + t * kDualPad + j);
#pragma GCC unroll 4
      for (std::size_t r = 0; r < R; ++r) {
        const Lane left = splat(x[r * x_ld + t]);
#pragma GCC unroll 4
        for (std::size_t v = 0; v < kGramVecs; ++v) {
          sum[r][v] = fused(left, z[v], sum[r][v]);
        }
      }
    }
#pragma GCC unroll 4
    for (std::size_t r = 0; r < R; ++r) {
      Lane* to = reinterpret_cast<Lane*>(out + r * ld + j);
#pragma GCC unroll 4
      for (std::size_t v = 0; v < kGramVecs; ++v) {
        to[v] = (add ? to[v] + sum[r][v] : sum[r][v]) * scale;
      }
    }
  }
}

void gram(const double* x, std::size_t x_ld, std::size_t rows, const double* panel,
          std::size_t depth, double* out, std::size_t ld, double scale, bool add) {
  std::size_t r = 0;
  for (; r + kGramRows <= rows; r += kGramRows) {
    gram_rows<kGramRows>(x + r * x_ld, x_ld, panel, depth, out + r * ld, ld, scale, add);
  }
  for (; r < rows; ++r) {
    gram_rows<1>(x + r * x_ld, x_ld, panel, depth, out + r * ld, ld, scale, add);
  }
}

// --- out of the tile ---

template <class T> void narrow(const double* src, std::size_t n, T* dst) {
  for (std::size_t j = 0; j < n; ++j) {
    dst[j] = static_cast<T>(src[j]);
  }
}

// dst[j * dst_ld + i] = src[i * src_ld + j]: squares of vectors, whole lines of dst one by one.
template <class T>
void transpose_tile(const T* src, std::size_t src_ld, std::size_t rows, std::size_t cols, T* dst,
                    std::ptrdiff_t dst_ld) {
  constexpr std::size_t W = kLanes<T>;
  std::size_t j = 0;
  for (; j + W <= cols; j += W, dst += static_cast<std::ptrdiff_t>(W) * dst_ld) {
    std::size_t i = 0;
    for (; i + W <= rows; i += W) {
      Vec<T> v[W];
#pragma GCC unroll 16
      for (std::size_t r = 0; r < W; ++r) {
        v[r] = load_any(src + (i + r) * src_ld + j);
      }
      transpose<T>(v);
      T* to = dst + i;
#pragma GCC unroll 16
      for (std::size_t r = 0; r < W; ++r, to += dst_ld) {
        store_any(to, v[r]);
      }
    }
    T* to = dst;
    for (std::size_t r = 0; r < W; ++r, to += dst_ld) {
      for (std::size_t t = i; t < rows; ++t) {
        to[t] = src[t * src_ld + j + r];
      }
    }
  }
  for (; j < cols; ++j, dst += dst_ld) {
    for (std::size_t i = 0; i < rows; ++i) {
      dst[i] = src[i * src_ld + j];
    }
  }
}

constexpr DualTable dual_table() {
  return {
      .map = {rectifier, sign, rectified_power, asin, gelu, exponential_kernel, sine, gaussian,
              normalised_exponential, gabor, series, table_map},
      .affine = affine,
      .gram = gram,
  };
}
