// Elementary functions of vectors of float64, and the operations below them for float32 too.
//
// With -ffp-contract=off only the products named fused() are fused.

using Lane = Vec<double>;
using LaneMask = MaskOf<double>;
constexpr double kPi = 3.14159265358979323846;
constexpr double kPiLow = 1.2246467991473532e-16;
constexpr double kEps = 2.220446049250313e-16;

inline Lane pick(LaneMask m, Lane a, Lane b) { return m ? a : b; }
inline Lane absolute(Lane x) { return (Lane)((LaneMask)x & 0x7fffffffffffffffll); }
inline Lane signs_of(Lane x) { return (Lane)((LaneMask)x & (-0x7fffffffffffffffll - 1)); }
inline Lane with_signs(Lane x, Lane signs) { return (Lane)((LaneMask)x | (LaneMask)signs); }
inline Vec<float> pick(MaskOf<float> m, Vec<float> a, Vec<float> b) { return m ? a : b; }
inline Vec<float> absolute(Vec<float> x) { return (Vec<float>)((MaskOf<float>)x & 0x7fffffff); }
inline Vec<float> signs_of(Vec<float> x) {
  return (Vec<float>)((MaskOf<float>)x & (-0x7fffffff - 1));
}
inline Vec<float> with_signs(Vec<float> x, Vec<float> signs) {
  return (Vec<float>)((MaskOf<float>)x | (MaskOf<float>)signs);
}
// 2^n for whole n, small enough to have an exponent.
inline Lane power_of_two(Lane n) { return (Lane)((LaneMask)(n + (0x1.8p52 + 1023.0)) << 52); }

// Two vectors that go through the same operations, since most of these form one long chain: a CPU
// that meets them vector by vector has its window full of operations that wait.
template <class T> struct __attribute__((may_alias)) Pair {
  Vec<T> a, b;
};
template <class T> struct PairMask {
  MaskOf<T> a, b;
};
using Real = Pair<double>;
using Mask = PairMask<double>;

template <class T> struct Identity {
  using type = T;
};
template <class T> using Same = typename Identity<T>::type; // not deduced

// x in every lane of an R.
template <class R> struct Every {
  template <class T> static R of(T x) { return splat(x); }
};
template <class T> struct Every<Pair<T>> {
  static Pair<T> of(T x) { return {splat(x), splat(x)}; }
};
template <class R, class T> inline R every(T x) { return Every<R>::of(x); }

#define NKFAST_OPERATOR(op)                                                                        \
  template <class T> inline Pair<T> operator op(Pair<T> x, Pair<T> y) {                            \
    return {x.a op y.a, x.b op y.b};                                                               \
  }                                                                                                \
  template <class T> inline Pair<T> operator op(Pair<T> x, Same<T> y) {                            \
    return {x.a op y, x.b op y};                                                                   \
  }                                                                                                \
  template <class T> inline Pair<T> operator op(Same<T> x, Pair<T> y) {                            \
    return {x op y.a, x op y.b};                                                                   \
  }
NKFAST_OPERATOR(+)
NKFAST_OPERATOR(-)
NKFAST_OPERATOR(*)
NKFAST_OPERATOR(/)
#undef NKFAST_OPERATOR
#define NKFAST_COMPARISON(op)                                                                      \
  template <class T> inline PairMask<T> operator op(Pair<T> x, Same<T> y) {                        \
    return {x.a op y, x.b op y};                                                                   \
  }
NKFAST_COMPARISON(<)
NKFAST_COMPARISON(>)
NKFAST_COMPARISON(<=)
#undef NKFAST_COMPARISON
template <class T> inline PairMask<T> operator<=(Pair<T> x, Pair<T> y) {
  return {x.a <= y.a, x.b <= y.b};
}
// to = x; GCC would send the whole pair through the stack, too.
template <class T> inline void put(Pair<T>& to, Pair<T> x) {
  to.a = x.a;
  to.b = x.b;
}
template <class T> inline Pair<T> operator-(Pair<T> x) { return {-x.a, -x.b}; }
template <class T> inline Pair<T> fused(Pair<T> x, Pair<T> y, Pair<T> z) {
  return {fused(x.a, y.a, z.a), fused(x.b, y.b, z.b)};
}
template <class T> inline Pair<T> root(Pair<T> x) { return {root(x.a), root(x.b)}; }
template <class T> inline Pair<T> pick(PairMask<T> m, Pair<T> x, Pair<T> y) {
  return {pick(m.a, x.a, y.a), pick(m.b, x.b, y.b)};
}
template <class T> inline Pair<T> absolute(Pair<T> x) { return {absolute(x.a), absolute(x.b)}; }
template <class T> inline Pair<T> signs_of(Pair<T> x) { return {signs_of(x.a), signs_of(x.b)}; }
template <class T> inline Pair<T> with_signs(Pair<T> x, Pair<T> s) {
  return {with_signs(x.a, s.a), with_signs(x.b, s.b)};
}
inline Real power_of_two(Real n) { return {power_of_two(n.a), power_of_two(n.b)}; }

// sum of c[i] x^i, the even and the odd powers as two chains.
template <class R, class T, int N> inline R polynomial(R x, const T (&c)[N]) {
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
// in z; error 1.3e-17 before rounding, or 1e-9 if a rough value will do.
template <bool kRough = false, class R> inline R small_arcsine(R t, R z) {
  if constexpr (kRough) {
    constexpr double few[] = {0.1666666681082116,   0.0749995342318574,  0.044667349463938646,
                              0.029892416916016403, 0.02719439452945653, -0.008723525739347851,
                              0.09377865697330971,  -0.1210944285222341, 0.1088924104121617};
    return fused(t * z, polynomial(z, few), t);
  }
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
template <bool kRough = false, class R> inline Arc<R> arc(R y, R w2) {
  const R sine = root(w2);
  const auto near_one = y > 0.70710678118654752;
  const R t = pick(near_one, sine, y);
  const R small = small_arcsine<kRough>(t, pick(near_one, w2, y * y));
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

// log(x) for normal x > 0: x = 2^n y with y in [sqrt(1/2), sqrt(2)), and log y = 2 artanh(z),
// z = (y - 1) / (y + 1), by its series up to z^19; error 2e-16 of max(1, |log x|).
inline Lane logarithm(Lane x) {
  constexpr double c[] = {1.0 / 3,  1.0 / 5,  1.0 / 7,  1.0 / 9, 1.0 / 11,
                          1.0 / 13, 1.0 / 15, 1.0 / 17, 1.0 / 19};
  const LaneMask bits = (LaneMask)x - 0x3fe6a09e667f3bcdll; // of sqrt(1/2)
  const LaneMask exponent = bits & (-0x10000000000000ll);
  const Lane y = (Lane)((LaneMask)x - exponent);
  // The exponent, small enough, as a float64 by way of the last bits of a large one.
  const Lane n = (Lane)((exponent >> 52) + 0x4338000000000000ll) - 0x1.8p52;
  const Lane z = (y - 1.0) / (y + 1.0);
  const Lane z2 = z * z;
  return fused(n, splat(0.6931471805599453), 2.0 * fused(z * z2, polynomial(z2, c), z));
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

template <bool kRough = false, class R> inline Angle<R> angle_of(R rho) {
  const R y = snapped_size(rho);
  const R sign = signs_of(rho);
  const Arc<R> a = arc<kRough>(y, (1.0 - y) * (1.0 + y));
  const R other = (kPi - a.acos) + kPiLow;
  const auto negative = rho < 0.0;
  return {with_signs(y, sign), a.sine, pick(negative, other, a.acos), pick(negative, a.acos, other),
          with_signs(a.asin, sign)};
}
