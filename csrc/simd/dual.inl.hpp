// Dual activations of one row of pairs: k <- E f(u) f(v), theta <- theta E f'(u) f'(v). The maps
// here are in float64, those in float32 in dual_single.inl.hpp.
//
// Every loop runs over whole vectors: row.n is a multiple of kDualPad.

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
      put(k[i], f(i, k[i]).k);
    }
    return;
  }
  for (std::size_t i = 0; i < n; ++i) {
    const Dual dual = f(i, k[i]);
    put(k[i], dual.k);
    put(theta[i], theta[i] * dual.slope);
  }
}
#define NKFAST_EACH [&](std::size_t i, Real c) __attribute__((always_inline))->Dual

inline const Real* column(const DualRow& row, std::size_t t) {
  return reinterpret_cast<const Real*>(row.right + t * row.ld);
}

template <bool kRough> inline void rectifier_row(const DualRow& row) {
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
          const Angle<Real> g = angle_of<kRough>((c * is) * is2[i]);
          const Real slope = squares * g.rest;
          return {fused(s * s2[i], g.sine, c * slope), slope};
        });
    return;
  }
  each(
      row, NKFAST_EACH {
        const Angle<Real> g = angle_of<kRough>((c * is) * is2[i]);
        const Real slope = fused(squares, g.rest, cross * g.angle);
        return {fused(s * s2[i], g.sine, c * slope), slope};
      });
}

void rectifier(const DualRow& row) {
  row.rough ? rectifier_row<true>(row) : rectifier_row<false>(row);
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

template <bool kRough> inline void asin_row(const DualRow& row) {
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
        const Arc<Real> g = arc<kRough>(absolute(x), w2);
        return {fused(a1, with_signs(g.asin, signs_of(x)), a3), slope * r2[i] / g.sine};
      });
}

void asin(const DualRow& row) { row.rough ? asin_row<true>(row) : asin_row<false>(row); }

// With R = r r', w^2 = 1 - x^2 and E = w^2 / R^2 the terms of GELU's dual (MATH.md) become products
// of r that neither overflow nor cancel: (1 - p q) / A + 1 = r^2 + r'^2.
template <bool kRough> inline void gelu_row(const DualRow& row) {
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
        const Arc<Real> g = arc<kRough>(absolute(x), w2);
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

void gelu(const DualRow& row) { row.rough ? gelu_row<true>(row) : gelu_row<false>(row); }

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

// e^-x with x = b^2 E (u -+ v)^2 / 2 = (b s - b t)^2 / 2 + b^2 (s t -+ c), never above 1, and with
// s t -+ c zero where it is so to rounding.
inline Real of_distance(Real apart, Real size, Real bc) {
  const Real gap = size - bc;
  return exponential(-apart - pick(gap <= 32 * kEps * size, Real{}, gap));
}

// 1 - e^-x for x >= 0, given e^-x.
inline Real lost(Real x, Real e) {
  constexpr double c[] = {1.0,
                          -1.0 / 2,
                          1.0 / 6,
                          -1.0 / 24,
                          1.0 / 120,
                          -1.0 / 720,
                          1.0 / 5040,
                          -1.0 / 40320,
                          1.0 / 362880,
                          -1.0 / 3628800,
                          1.0 / 39916800,
                          -1.0 / 479001600,
                          1.0 / 6227020800};
  return pick(x < 0.5, x * polynomial(x, c), 1.0 - e);
}

void sine(const DualRow& row) {
  const double b2 = row.params[1];
  const double sine = row.params[2];
  const double cosine = row.params[3];
  const Real amplitude = every<Real>(row.params[0]);
  const Real s = every<Real>(row.left[0]);
  const Real* s2 = column(row, 0);
  if (sine == 1 && cosine == 1) { // the Gaussian kernel
    each(
        row, NKFAST_EACH {
          const Real gap = s - s2[i];
          const Real k = amplitude * of_distance(0.5 * gap * gap, s * s2[i], b2 * c);
          return {k, b2 * k};
        });
    return;
  }
  // The terms with u - v and u + v: only their difference is left at small variances.
  each(
      row, NKFAST_EACH {
        const Real gap = s - s2[i];
        const Real bc = b2 * absolute(c);
        const Real near = amplitude * of_distance(0.5 * gap * gap, s * s2[i], bc);
        const Real e = exponential(-2.0 * bc);
        const Real apart = with_signs(near * lost(2.0 * bc, e), signs_of(c));
        const Real far = pick(c < 0.0, near, near * e);
        return {fused(every<Real>(sine), far, apart), b2 * fused(every<Real>(cosine), far, apart)};
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
struct GaborTerms {
  Real sum, im, g, d4, x, odd, even; // 1 / G = im g
};
inline __attribute__((always_inline)) GaborTerms gabor_terms(Real p, Real q, Real c) {
  constexpr double sinh_series[] = {1.0,          1.0 / 6,        1.0 / 120,       1.0 / 5040,
                                    1.0 / 362880, 1.0 / 39916800, 1.0 / 6227020800};
  constexpr double cosh_series[] = {1.0,         1.0 / 2,       1.0 / 24,       1.0 / 720,
                                    1.0 / 40320, 1.0 / 3628800, 1.0 / 479001600};
  // All over m = 1 + p + q, as products of variances may overflow.
  const Real sum = p + q;
  const Real im = 1.0 / (1.0 + sum);
  const Real size = root(p) * root(q);
  const Real low = size - absolute(c);
  const Real d4 = pick(low <= 32 * kEps * size, Real{}, 4.0 * low) * ((size + absolute(c)) * im);
  const Real g = 1.0 / (d4 + (2.0 * sum + 1.0) * im);
  const Real x = (c * im) * g;
  const Real x2 = x * x;
  const Real e = exponential(-0.5 * (sum * im + d4) * g) * (root(g) * root(im));
  return {.sum = sum,
          .im = im,
          .g = g,
          .d4 = d4,
          .x = x,
          .odd = e * (x * polynomial(x2, sinh_series)),
          .even = e * polynomial(x2, cosh_series)};
}

void gabor(const DualRow& row) {
  const Real p = every<Real>(row.left[0]);
  const Real* q2 = column(row, 0);
  each(
      row, NKFAST_EACH {
        const Real q = q2[i];
        const GaborTerms v = gabor_terms(p, q, c);
        const Real s = ((1.0 + 2.0 * v.sum) * v.im + 4.0 * ((c * v.im) * c + (p * v.im) * q)) * v.g;
        const Real t = (4.0 * c) * ((v.d4 + (3.0 * v.sum + 2.0) * v.im) * v.g);
        return {v.odd, (s * v.even + t * v.odd) * v.im * v.g};
      });
}

template <class T> void affine(double w2, double b2, std::size_t n, T* k, T* theta, bool first) {
  constexpr std::size_t W = kLanes<T>;
  Vec<T>* x = reinterpret_cast<Vec<T>*>(k);
  Vec<T>* y = reinterpret_cast<Vec<T>*>(theta);
  const Vec<T> w = splat(static_cast<T>(w2));
  const Vec<T> b = splat(static_cast<T>(b2));
  // What rounding to T leaves of w2, which would else add up over the layers; 0 in float64.
  const Vec<T> low = splat(static_cast<T>(w2 - static_cast<double>(static_cast<T>(w2))));
  const auto scaled = [&](Vec<T> value, Vec<T> plus) __attribute__((always_inline)) {
    if constexpr (sizeof(T) == sizeof(float)) {
      plus = fused(low, value, plus);
    }
    return fused(w, value, plus);
  };
  if (theta == nullptr) {
    for (std::size_t i = 0; i < n / W; ++i) {
      x[i] = scaled(x[i], b);
    }
  } else if (first) { // theta holds nothing yet, it counts as zero
    for (std::size_t i = 0; i < n / W; ++i) {
      x[i] = scaled(x[i], b);
      y[i] = x[i];
    }
  } else {
    for (std::size_t i = 0; i < n / W; ++i) {
      x[i] = scaled(x[i], b);
      y[i] = scaled(y[i], x[i]);
    }
  }
}
