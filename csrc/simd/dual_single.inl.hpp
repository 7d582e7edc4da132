// Dual activations of one row of pairs in float32, for results in float32, and the affine layer
// that follows: it only changes constants.
//
// Near |rho| = 1 a rounding of float32 would be magnified: there k is NaN, which later layers hand
// on, and kernels/dense_single.cpp takes these pairs through all layers in float64.

using Single = Pair<float>;

// Largest |rho|, and |x| of asin(x), where float32 will do. d(angle) = d(rho) / sqrt(1 - rho^2),
// and slopes are 1 / sqrt(1 - x^2) and steeper.
constexpr float kMostRho = 0.95f;
constexpr float kMostSine = 0.7f;
constexpr float kSmallSine = 0.3f; // up to here whatever rho is

struct SingleDual {
  Single k;
  Single slope;
};

// f(left)(j, c) for every pair of vectors of covariances c at columns j... of a row whose table is
// left; f knows rows.after.
template <class F> inline __attribute__((always_inline)) void each(const SingleRows& rows, F f) {
  constexpr std::size_t W = 2 * kLanes<float>;
  const std::size_t n = rows.n / W;
  for (std::size_t r = 0; r < rows.rows; ++r) {
    const auto map = f(rows.left + r * rows.left_width);
    Single* k = reinterpret_cast<Single*>(rows.k + r * rows.pitch);
    if (rows.theta == nullptr) {
      for (std::size_t i = 0; i < n; ++i) {
        put(k[i], map(i, k[i]).k);
      }
      continue;
    }
    Single* theta = reinterpret_cast<Single*>(rows.theta + r * rows.pitch);
    if (rows.after == nullptr) {
      for (std::size_t i = 0; i < n; ++i) {
        const Single before = rows.fresh ? k[i] : theta[i];
        const SingleDual dual = map(i, k[i]);
        put(k[i], dual.k);
        put(theta[i], before * dual.slope);
      }
    } else {
      for (std::size_t i = 0; i < n; ++i) {
        const Single before = rows.fresh ? k[i] : theta[i];
        const SingleDual dual = map(i, k[i]);
        put(k[i], dual.k);
        put(theta[i], fused(before, dual.slope, dual.k));
      }
    }
  }
}
#define NKFAST_EACH_SINGLE [=](std::size_t i, Single c) __attribute__((always_inline))->SingleDual

inline const Single* column(const SingleRows& rows, std::size_t t) {
  return reinterpret_cast<const Single*>(rows.right + t * rows.ld);
}

// Constants stay numbers as long as possible: GCC takes both halves of a pair for different.
inline float single(double x) { return static_cast<float>(x); }
inline Single fused(float x, Single y, Single z) { return fused(every<Single>(x), y, z); }
inline Single fused(Single x, Single y, float z) { return fused(x, y, every<Single>(z)); }
inline Single fused(float x, Single y, float z) {
  return fused(every<Single>(x), y, every<Single>(z));
}

// y where `well`, else NaN.
inline Single only(PairMask<float> well, Single y) {
  return pick(well, y, every<Single>(__builtin_nanf("")));
}

// y = |x| of asin(x), largest: x^2 where |rho| = 1.
inline Single within_sine(Single y, Single y2, Single largest) {
  const Single apart = only(y2 <= largest * (kMostRho * kMostRho), y);
  return pick(y <= kSmallSine, y, only(y <= kMostSine, apart));
}

// Where y is near 1.
struct Near {
  Choice a, b;
};
inline Near near_one(Single y) {
  constexpr float limit = 0.70710678f;
  return {above(y.a, limit), above(y.b, limit)};
}
inline Single pick(Near m, Single x, Single y) {
  return {choose(m.a, x.a, y.a), choose(m.b, x.b, y.b)};
}

// Of y = |x| or NaN: sqrt(1 - x^2), and unit asin(y). As in arc(), the smaller of y and the root
// goes into (asin t - t) / t^3, a polynomial in t^2 up to 5e-8 of the angle; for kUnit, where unit
// is 1 and small angles count, up to 1.6e-8 of asin t.
template <bool kUnit> class SingleArc {
public:
  explicit SingleArc(double unit) : unit_(single(unit)), right_(single(unit * (kPi / 2))) {
    constexpr double fine[] = {0.11124139279127121,  -0.09249693155288696, 0.07689473778009415,
                               0.016413355246186256, 0.04649848863482475,  0.07488510757684708,
                               0.1666690558195114};
    constexpr double coarse[] = {0.11142317636083675, -0.07120304696702193, 0.0703052032400611,
                                 0.03631113313447854, 0.07580938735200037,  0.16663890853432045};
    for (int i = 0; i < kTerms; ++i) {
      c_[i] = single(unit * (kUnit ? fine[i] : coarse[i < 6 ? i : 5]));
    }
  }
  Single operator()(Single y, Single& sine) const {
    sine = root(fused(-y, y, 1.0f));
    const auto near = near_one(y);
    const Single t = pick(near, sine, y);
    const Single z = t * t;
    Single p = fused(c_[0], z, c_[1]);
#pragma GCC unroll 8
    for (int i = 2; i < kTerms; ++i) {
      p = fused(p, z, c_[i]);
    }
    const Single small = kUnit ? fused(t * z, p, t) : t * fused(p, z, unit_);
    return pick(near, right_ - small, small);
  }

private:
  static constexpr int kTerms = kUnit ? 7 : 6;
  float unit_, right_;
  float c_[kTerms];
};

void single_rectifier(const SingleRows& rows) {
  const double a = rows.params[0];
  const double b = rows.params[1];
  const double w2 = rows.after == nullptr ? 1 : rows.after->w2;
  const float b2 = single(rows.after == nullptr ? 0 : rows.after->b2);
  // slope = squares (pi - angle) + cross angle
  const double unit = w2 / (2 * kPi);
  const double squares = (a * a + b * b) * unit;
  const double cross = 2 * a * b * unit;
  const SingleArc<false> arc(squares - cross);
  const float middle = single((squares + cross) * (kPi / 2));
  const Single* s2 = column(rows, 0);
  const Single* is2 = column(rows, 1);
  each(rows, [&](const double* left) __attribute__((always_inline)) {
    const float s = single(left[0] * (a - b) * (a - b) * unit);
    const float is = single(left[1]);
    return NKFAST_EACH_SINGLE {
      const Single rho = c * (is * is2[i]);
      const Single y = absolute(rho);
      Single sine;
      const Single asin = arc(only(y <= kMostRho, y), sine);
      const Single slope = middle + with_signs(asin, signs_of(rho));
      return {fused(s * s2[i], sine, fused(c, slope, b2)), slope};
    };
  });
}

void single_asin(const SingleRows& rows) {
  const double* a = rows.params;
  const double w2 = rows.after == nullptr ? 1 : rows.after->w2;
  const double b2 = rows.after == nullptr ? 0 : rows.after->b2;
  const SingleArc<true> arc(1);
  const float a1 = single(w2 * a[0]);
  const float low = single(w2 * a[0] - static_cast<double>(a1)); // would add up over the layers
  const float a3 = single(w2 * a[2] + b2);
  const Single* r2 = column(rows, 0);
  each(rows, [&](const double* left) __attribute__((always_inline)) {
    const float scale = single(a[1] * left[0]);
    const float steep = single(w2 * a[3] * left[0]);
    const float rest = single(1 - left[0] * left[0]);
    return NKFAST_EACH_SINGLE {
      const Single x = c * (scale * r2[i]);
      const Single largest = rest * fused(-r2[i], r2[i], 1.0f);
      const Single y = within_sine(absolute(x), x * x, largest);
      Single sine;
      const Single angle = with_signs(arc(y, sine), signs_of(x));
      return {fused(a1, angle, fused(low, angle, a3)), (steep * r2[i]) / sine};
    };
  });
}

// See gelu_row.
void single_gelu(const SingleRows& rows) {
  const double w2 = rows.after == nullptr ? 1 : rows.after->w2;
  const float b2 = single(rows.after == nullptr ? 0 : rows.after->b2);
  const SingleArc<false> arc(w2 / (2 * kPi));
  const float unit = single(w2 / (2 * kPi));
  const float quarter = single(w2 / 4);
  const Single* r2 = column(rows, 0);
  const Single* p2 = column(rows, 1);
  each(rows, [&](const double* left) __attribute__((always_inline)) {
    const float r = single(left[0]);
    const float a = single(left[0] * left[0]);
    const float pr = single(left[1] * left[0]);
    return NKFAST_EACH_SINGLE {
      const Single rr = r * r2[i];
      const Single x = c * rr;
      const Single x2 = x * x;
      const Single b = r2[i] * r2[i];
      const Single pq = pr * (p2[i] * r2[i]);
      const Single y = within_sine(absolute(x), x2, pq * rr);
      Single sine;
      const Single angle = quarter + with_signs(arc(y, sine), signs_of(x));
      const Single iw = 1.0f / sine;
      const Single quotient = fused(pq, sine, rr * x2 * iw);
      const Single k = fused(c, angle, fused(unit, quotient, b2));
      const Single bend = (x * iw) * fused(a * b * iw, iw, a + b);
      return {k, fused(unit, bend, angle)};
    };
  });
}
