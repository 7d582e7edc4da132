// Dual kernels of piecewise polynomials: sums of c (x - b)_+^i, c (b - x)_+^i and c x^i, i <= 3.
//
// For standard Gaussians X, Y of correlation r, M_ij = E (X - h)_+^i (Y - k)_+^j follows from
// M_00 = P(X > h, Y > k) by Stein's identity, E X a(X) g(Y) = E a'(X) g(Y) + r E a(X) g'(Y), where
// a kink's derivative is a point mass: there the other variable is Gaussian given the first.
#include "kernel/dual.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <vector>

namespace nkfast {
namespace {

constexpr double kPi = 3.14159265358979323846;
constexpr int kMostPower = 3;

double tail(double x) { return 0.5 * std::erfc(x * 0.70710678118654752440); } // P(X > x)
double density(double x) { return std::exp(-0.5 * x * x) * 0.39894228040143267794; }

// Half of a symmetric Gauss-Legendre rule.
struct Node {
  double x, w;
};
constexpr Node kNodes6[] = {{0.932469514203152, 0.17132449237917036},
                            {0.6612093864662645, 0.3607615730481386},
                            {0.2386191860831969, 0.46791393457269104}};
constexpr Node kNodes12[] = {
    {0.9815606342467192, 0.04717533638651183}, {0.9041172563704749, 0.10693932599531843},
    {0.7699026741943047, 0.16007832854334622}, {0.5873179542866175, 0.20316742672306592},
    {0.3678314989981802, 0.2334925365383548},  {0.1252334085114689, 0.24914704581340277}};
constexpr Node kNodes20[] = {
    {0.9931285991850949, 0.017614007139152118}, {0.9639719272779138, 0.04060142980038694},
    {0.912234428251326, 0.06267204833410907},   {0.8391169718222188, 0.08327674157670475},
    {0.7463319064601508, 0.10193011981724044},  {0.636053680726515, 0.11819453196151841},
    {0.5108670019508271, 0.13168863844917664},  {0.37370608871541955, 0.14209610931838204},
    {0.22778585114164507, 0.14917298647260374}, {0.07652652113349734, 0.15275338713072584}};

// P(X > h, Y > k): Genz, "Numerical computation of rectangular bivariate and trivariate normal and
// t probabilities", Statistics and Computing 14 (2004), after Drezner & Wesolowsky (1990): an
// integral over the correlation from 0, or from 1 where the integrand is steep.
double orthant(double h, double k, double r) {
  const double size = std::abs(r);
  const Node* first = kNodes20;
  const Node* last = std::end(kNodes20);
  if (size < 0.3) {
    first = kNodes6;
    last = std::end(kNodes6);
  } else if (size < 0.75) {
    first = kNodes12;
    last = std::end(kNodes12);
  }
  double sum = 0;
  if (size < 0.925) {
    const double squares = 0.5 * (h * h + k * k);
    const double angle = std::asin(r);
    for (const Node* node = first; node < last; ++node) {
      for (const double x : {-node->x, node->x}) {
        const double sine = std::sin(0.5 * angle * (x + 1));
        sum += node->w * std::exp((sine * h * k - squares) / (1 - sine * sine));
      }
    }
    return sum * angle / (4 * kPi) + tail(h) * tail(k);
  }

  if (r < 0) {
    k = -k;
  }
  const double hk = h * k;
  const double rest2 = (1 - r) * (1 + r);
  if (rest2 > 0) {
    const double rest = std::sqrt(rest2);
    const double gap = std::abs(h - k);
    const double gap2 = gap * gap;
    const double c = (4 - hk) / 8;
    const double d = (12 - hk) / 16;
    sum = rest * std::exp(-0.5 * (gap2 / rest2 + hk)) *
          (1 - c * (gap2 - rest2) * (1 - d * gap2 / 5) / 3 + c * d * rest2 * rest2 / 5);
    if (hk > -100) {
      sum -= std::exp(-0.5 * hk) * std::sqrt(2 * kPi) * tail(gap / rest) * gap *
             (1 - c * gap2 * (1 - d * gap2 / 5) / 3);
    }
    for (const Node* node = first; node < last; ++node) {
      for (const double x : {-node->x, node->x}) {
        const double half = 0.5 * rest * (x + 1);
        const double xs = half * half;
        const double rs = std::sqrt(1 - xs);
        const double exponent = -0.5 * (gap2 / xs + hk);
        if (exponent > -100) {
          sum +=
              0.5 * rest * node->w * std::exp(exponent) *
              (std::exp(-0.5 * hk * xs / ((1 + rs) * (1 + rs))) / rs - (1 + c * xs * (1 + d * xs)));
        }
      }
    }
    sum *= -1 / (2 * kPi);
  }
  if (r > 0) {
    return sum + tail(std::max(h, k));
  }
  if (k <= h) {
    return -sum;
  }
  return (h < 0 ? tail(-k) - tail(-h) : tail(h) - tail(k)) - sum;
}

// What a function is to one point: a polynomial in (X - h)_+, X = sign u / s, or (all) in X = u /
// s.
struct Part {
  bool all;
  double sign;
  double h;
  double value[kMostPower + 1]; // coefficients of the powers in the function
  double slope[kMostPower + 1]; // and in its derivative, jumps left out
};

// The terms with one kink (or none).
struct Term {
  int side;
  double b;
  double c[kMostPower + 1];
};

std::vector<Term> collect(const double* params) {
  std::vector<Term> terms{{0, 0, {}}};
  const auto n = static_cast<std::size_t>(params[0]);
  for (const double* at = params + 1; at < params + 1 + 4 * n; at += 4) {
    const int power = std::clamp(static_cast<int>(at[0]), 0, kMostPower);
    const int side = at[1] > 0 ? 1 : at[1] < 0 ? -1 : 0;
    const double b = side == 0 ? 0 : at[2];
    auto found = std::find_if(terms.begin(), terms.end(),
                              [&](const Term& t) { return t.side == side && t.b == b; });
    if (found == terms.end()) {
      found = terms.insert(terms.end(), Term{side, b, {}});
    }
    found->c[power] += at[3];
  }
  return terms;
}

Part part_of(const double (&c)[kMostPower + 1], double s, double sign, double h, bool all) {
  Part part{.all = all, .sign = sign, .h = h, .value = {}, .slope = {}};
  double scale = 1; // s^i
  for (int i = 0; i <= kMostPower; ++i, scale *= s) {
    part.value[i] = c[i] * scale;
    if (i < kMostPower) {
      part.slope[i] = (i + 1) * sign * c[i + 1] * scale;
    }
  }
  return part;
}

// Kinks that the point never meets are resolved: the term is a polynomial there, or zero. So
// nothing overflows or cancels for small s.
void resolve(const std::vector<Term>& terms, double s, std::vector<Part>& parts) {
  constexpr double far = 39; // P(X > 39) is zero in float64
  parts.clear();
  double whole[kMostPower + 1];
  std::copy_n(terms[0].c, kMostPower + 1, whole);
  for (std::size_t t = 1; t < terms.size(); ++t) {
    const Term& term = terms[t];
    const double sign = term.side;
    const double start = sign * term.b; // of the half-line of sign u
    if (start > far * s) {
      continue;
    }
    if (s > 0 && start >= -far * s) {
      parts.push_back(part_of(term.c, s, sign, start / s, false));
      continue;
    }
    // (sign u - start)^i, expanded. At a kink in zero, s = 0: the mean of both sides.
    const double weight = start == 0 ? 0.5 : 1;
    constexpr double binomial[4][4] = {{1, 0, 0, 0}, {1, 1, 0, 0}, {1, 2, 1, 0}, {1, 3, 3, 1}};
    for (int i = 0; i <= kMostPower; ++i) {
      for (int j = 0; j <= i; ++j) {
        whole[j] += weight * term.c[i] * binomial[i][j] * (j % 2 == 1 ? sign : 1.0) *
                    std::pow(-start, i - j);
      }
    }
  }
  parts.push_back(part_of(whole, s, 1, 0, true));
}

// E (X - h)_+^i (or X^i) for X ~ N(mean, deviation^2).
void conditional(bool all, double h, double mean, double deviation, double (&out)[kMostPower + 1]) {
  const double shift = mean - h;
  double above = 1;
  double peak = 0;
  if (!all && deviation > 0) {
    above = tail(-shift / deviation);
    peak = density(shift / deviation) * deviation;
  } else if (!all) {
    above = shift > 0 ? 1 : shift < 0 ? 0 : 0.5;
  }
  out[0] = above;
  out[1] = shift * above + peak;
  for (int i = 2; i <= kMostPower; ++i) {
    out[i] = shift * out[i - 1] + (i - 1) * deviation * deviation * out[i - 2];
  }
}

using Moments = double[kMostPower + 1][kMostPower + 1];

double first_moment(const Part& x, const Part& y, double r) {
  if (x.all) {
    return y.all ? 1 : tail(y.h);
  }
  return y.all ? tail(x.h) : orthant(x.h, y.h, r);
}

void moments(const Part& x, const Part& y, double r, Moments& m) {
  const double deviation = std::sqrt(std::max(0.0, (1 - r) * (1 + r)));
  double at_x[kMostPower + 1]; // of Y where X is at its kink, times X's density there
  double at_y[kMostPower + 1];
  conditional(y.all, y.h, r * x.h, deviation, at_x);
  conditional(x.all, x.h, r * y.h, deviation, at_y);
  const double peak_x = x.all ? 0 : density(x.h);
  const double peak_y = y.all ? 0 : density(y.h);
  m[0][0] = first_moment(x, y, r);
  for (int i = 1; i <= kMostPower; ++i) {
    m[i][0] = -x.h * m[i - 1][0] + (i == 1 ? peak_x * at_x[0] : (i - 1) * m[i - 2][0]) +
              r * peak_y * at_y[i - 1];
    m[0][i] = -y.h * m[0][i - 1] + (i == 1 ? peak_y * at_y[0] : (i - 1) * m[0][i - 2]) +
              r * peak_x * at_x[i - 1];
  }
  for (int i = 1; i <= kMostPower; ++i) {
    for (int j = 1; j <= kMostPower; ++j) {
      m[i][j] = -x.h * m[i - 1][j] + (i == 1 ? peak_x * at_x[j] : (i - 1) * m[i - 2][j]) +
                r * j * m[i - 1][j - 1];
    }
  }
}

double combine(const Moments& m, const double* a, const double* b) {
  double sum = 0;
  for (int i = 0; i <= kMostPower; ++i) {
    for (int j = 0; j <= kMostPower; ++j) {
      sum += a[i] * b[j] * m[i][j];
    }
  }
  return sum;
}

} // namespace

void piecewise(const DualRow& row) {
  const std::vector<Term> terms = collect(row.params);
  std::vector<Part> left, right;
  resolve(terms, row.left[0], left);
  double last = -1; // points of one norm are frequent
  for (std::size_t j = 0; j < row.n; ++j) {
    const double s = row.right[j];
    if (s != last) {
      resolve(terms, s, right);
      last = s;
    }
    double rho = row.k[j] * row.left[1] * row.right[row.ld + j];
    if (1 - std::abs(rho) <= 32 * 2.220446049250313e-16) {
      rho = std::copysign(1.0, rho);
    }
    double k = 0;
    double slope = 0;
    for (const Part& x : left) {
      for (const Part& y : right) {
        Moments m;
        moments(x, y, x.sign * y.sign * rho, m);
        k += combine(m, x.value, y.value);
        slope += combine(m, x.slope, y.slope);
      }
    }
    row.k[j] = k;
    if (row.theta != nullptr) {
      row.theta[j] *= slope;
    }
  }
}

} // namespace nkfast
