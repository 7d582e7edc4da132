// Dual activations of one row of pairs in float32, for results in float32.
//
// Near |rho| = 1 a rounding of float32 would be magnified: there k is NaN, which later layers hand
// on, and kernel/dense.cpp takes these pairs through all layers in float64.

template <bool B> struct Bool {
  static constexpr bool value = B;
};

using Single = Pair<float>;
constexpr float kPiSingle = 3.14159274f;
constexpr float kPiSingleLow = -8.74227766e-8f;

// Largest |rho| of rectifiers: d(angle) = d(rho) / sqrt(1 - rho^2).
constexpr float kMostRho = 0.99f;
// Largest |x| of asin(x), where slopes are 1 / sqrt(1 - x^2) and steeper.
constexpr float kMostSine = 0.9f;

#define NKFAST_EACH_SINGLE [&](std::size_t i, Single c) __attribute__((always_inline))->DualOf<float>

// y for |y| <= most, else NaN.
inline Single within(Single y, float most) {
  return pick(y <= most, y, every<Single>(__builtin_nanf("")));
}

// As arc(), of y = |x| or NaN; w2 = 1 - x^2. Interpolation as there, error 1.8e-8 before rounding.
struct SingleArc {
  Single sine;
  Single asin;
};
inline SingleArc single_arc(Single y, Single w2) {
  constexpr float c[] = {0.1666690558195114f,   0.07488510757684708f, 0.04649848863482475f,
                         0.016413355246186256f, 0.07689473778009415f, -0.09249693155288696f,
                         0.11124139279127121f};
  const Single sine = root(w2);
  const auto near_one = y > 0.70710678f;
  const Single t = pick(near_one, sine, y);
  const Single z = pick(near_one, w2, y * y);
  const Single small = fused(t * z, polynomial(z, c), t);
  return {sine, pick(near_one, (kPiSingle / 2 - small) + kPiSingleLow / 2, small)};
}
inline Single single_complement(Single y) { return (1.0f - y) * (1.0f + y); }

void single_rectifier(const DualRowOf<float>& row) {
  const double a = row.params[0];
  const double b = row.params[1];
  const double unit = 1 / (2 * kPi);
  const Single squares = every<Single>(static_cast<float>((a * a + b * b) * unit));
  const Single cross = every<Single>(static_cast<float>(2 * a * b * unit));
  const Single s = every<Single>(static_cast<float>(row.left[0]));
  const Single is = every<Single>(static_cast<float>(row.left[1]));
  const Single jump = every<Single>(static_cast<float>((a - b) * (a - b) * unit));
  const Single* s2 = column(row, 0);
  const Single* is2 = column(row, 1);
  const auto map = [&](auto relu) __attribute__((always_inline)) {
    each(
        row, NKFAST_EACH_SINGLE {
          const Single rho = c * (is * is2[i]);
          const Single y = within(absolute(rho), kMostRho);
          const SingleArc g = single_arc(y, single_complement(y));
          const Single asin = with_signs(g.asin, signs_of(rho));
          const Single rest = asin + kPiSingle / 2;
          Single slope = squares * rest;
          if constexpr (!decltype(relu)::value) {
            slope = fused(cross, kPiSingle / 2 - asin, slope);
          }
          return {fused(s * s2[i], jump * g.sine, c * slope), slope};
        });
  };
  a == 0 ? map(Bool<true>{}) : map(Bool<false>{});
}

void single_asin(const DualRowOf<float>& row) {
  const double* a = row.params;
  const Single r = every<Single>(static_cast<float>(row.left[0]));
  const Single scale = every<Single>(static_cast<float>(a[1]));
  const Single slope = every<Single>(static_cast<float>(a[3]));
  const Single* r2 = column(row, 0);
  const Single a1 = every<Single>(static_cast<float>(a[0]));
  const Single a3 = every<Single>(static_cast<float>(a[2]));
  each(
      row, NKFAST_EACH_SINGLE {
        const Single rr = r * r2[i];
        const Single x = (c * scale) * rr;
        const Single y = within(absolute(x), kMostSine);
        const SingleArc g = single_arc(y, single_complement(y));
        return {fused(a1, with_signs(g.asin, signs_of(x)), a3), (slope * rr) / g.sine};
      });
}

// See gelu_row.
void single_gelu(const DualRowOf<float>& row) {
  const Single r = every<Single>(static_cast<float>(row.left[0]));
  const Single pr = every<Single>(static_cast<float>(row.left[1] * row.left[0]));
  const Single* r2 = column(row, 0);
  const Single* p2 = column(row, 1);
  constexpr float unit = 0.159154943f; // 1 / (2 pi)
  const Single quarter = every<Single>(0.25f);
  each(
      row, NKFAST_EACH_SINGLE {
        const Single rr = r * r2[i];
        const Single x = c * rr;
        const Single a = r * r;
        const Single b = r2[i] * r2[i];
        const Single y = within(absolute(x), kMostSine);
        const SingleArc g = single_arc(y, single_complement(y));
        const Single angle = with_signs(g.asin, signs_of(x));
        const Single iw = 1.0f / g.sine;
        const Single pq = pr * (p2[i] * r2[i]);
        const Single quotient = fused(pq, g.sine, rr * (x * x) * iw);
        const Single k = fused(c, fused(angle, every<Single>(unit), quarter), quotient * unit);
        const Single bend = (x * iw) * fused(a * b * iw, iw, a + b);
        return {k, fused(angle + bend, every<Single>(unit), quarter)};
      });
}
