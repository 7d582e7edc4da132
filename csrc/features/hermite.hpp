// Weights of the powers of a vector, from Hermite coefficients at the input's standard deviation.
//
// For inputs s (c + v), s' (c' + v') of unit norm the kernel of f is the sum over l of
// a_l(s) a_l(s') (c c' + v v')^l, so the power j of v v' comes with
//
//   G_j = sum over l of binomial(l, j) a_l(s) a_l(s') (c c')^(l - j).
//
// It is taken as g_j g'_j with g_j^2 = G_j of a pixel with itself: exact on the diagonal, where c
// and c' agree, and too large by a factor of about 1 + (c - c')^2 else. G_0, which has most energy,
// is the inner product of the vectors a_l(s) c^l: of these come the components along that of a
// typical pixel and, as "rests", along its derivatives by s and by c, with the exact norm.
#pragma once

#include "features/pixel_stages.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

namespace nkfast {

class HermiteWeights {
public:
  static constexpr std::size_t kMaxOrder = 32, kMaxDegree = 16;
  static constexpr std::size_t kMost = kMaxDegree + 1 + kRests; // weights

  explicit HermiteWeights(const PixelActivation& activation)
      : table_(activation.table), degree_(activation.degree),
        shared_(activation.shared() != nullptr), merged_(activation.merged),
        row_(table_.numbers() + 2) {
    find_axes();
  }

  // Of a pixel (c, v), energy = |v|^2: those of the function in out[j * lanes], the rests behind
  // that of the highest degree, and of its derivative, or, if it shares the features before, of the
  // tangent kernel, in slope[j * lanes]. null: not wanted.
  void operator()(double c, double energy, double* out, double* slope, std::size_t lanes) {
    const double variance = c * c + energy;
    const double s = std::sqrt(variance);
    const double share = s > 0 ? c / s : 0.0;
    const double rest = s > 0 ? energy / variance : 0.0;
    double squares[2][kMaxOrder + 1], signs[2][kMaxOrder + 1], tails[2];
    series(s, squares, signs, tails);
    split(squares[0], signs[0], tails[0], share, rest, axes_[0], out, lanes);
    if (slope != nullptr) {
      split(squares[1], signs[1], tails[1], share, rest, axes_[1], slope, lanes);
    }
  }

private:
  using Vector = std::array<double, kMaxOrder + 1>;
  using Axes = std::array<Vector, 1 + kRests>;

  // Squares of the coefficients of both series, their products with those of a typical pixel, and
  // the sums of all later squares.
  void series(double s, double (*squares)[kMaxOrder + 1], double (*signs)[kMaxOrder + 1],
              double* tails) {
    const std::size_t q = table_.order;
    const double variance = s * s, merged = merged_ * merged_;
    look_up(s);
    const double* a = row_.data();
    const double* b = a + q + 1;
    const double* reference = table_.reference.data();
    tails[0] = row_[2 * q + 2];
    tails[1] = row_[2 * q + 3];
    for (std::size_t l = 0; l <= q; ++l) {
      squares[0][l] = a[l] * a[l];
      signs[0][l] = a[l] * reference[l];
      squares[1][l] = b[l] * b[l];
      signs[1][l] = b[l] * reference[q + 1 + l];
    }
    if (shared_) {
      for (std::size_t l = 0; l <= q; ++l) {
        squares[1][l] = merged * squares[0][l] + (l > 0 ? variance * b[l - 1] * b[l - 1] : 0);
        signs[1][l] = signs[0][l] * (static_cast<double>(l) + (merged > 0 ? 1 : 0));
      }
      tails[1] = variance * (tails[1] + b[q] * b[q]) + merged * tails[0];
    }
  }

  // The vector whose inner products are G_0.
  Vector constant(const double* squares, const double* signs, double share) const {
    Vector w{};
    double power = 1;
    for (std::size_t l = 0; l <= table_.order; ++l) {
      w[l] = std::copysign(std::sqrt(squares[l]), signs[l]) * power;
      power *= table_.share < 0 ? -share : share;
    }
    return w;
  }

  static double dot(const Vector& x, const Vector& y) {
    return std::inner_product(x.begin(), x.end(), y.begin(), 0.0);
  }

  // What the vectors of typical pixels span, orthonormal or zero.
  void find_axes() {
    constexpr double kStep = 0.05;
    const double s = table_.deviation;
    const double shares[] = {table_.share, table_.share, table_.share * (1 - kStep)};
    const double deviations[] = {s, s * (1 + kStep), s};
    for (std::size_t k = 0; k <= kRests; ++k) {
      double squares[2][kMaxOrder + 1], signs[2][kMaxOrder + 1], tails[2];
      series(deviations[k], squares, signs, tails);
      for (std::size_t i = 0; i < 2; ++i) {
        Vector w = constant(squares[i], signs[i], shares[k]);
        const double whole = dot(w, w);
        for (std::size_t round = 0; round < 2; ++round) {
          for (std::size_t other = 0; other < k; ++other) {
            const double along = dot(w, axes_[i][other]);
            for (std::size_t l = 0; l < w.size(); ++l) {
              w[l] -= along * axes_[i][other][l];
            }
          }
        }
        const double left = dot(w, w);
        const double factor = left > 1e-12 * whole ? 1 / std::sqrt(left) : 0.0;
        for (double& value : w) {
          value *= factor;
        }
        axes_[i][k] = w;
      }
    }
  }

  // What lies above the highest degree is counted there: the norm is exact.
  void split(const double* squares, const double* signs, double tail, double share, double rest,
             const Axes& axes, double* out, std::size_t lanes) const {
    const std::size_t q = table_.order;
    double total = tail;
    // a[j] = sum over l of binomial(l, j) squares_l x^(l - j), by Horner's rule for all j at once.
    double a[kMaxDegree + 1] = {}, b[kMaxDegree + 1] = {};
    const double x = share * share, y = share * table_.share;
    for (std::size_t l = q + 1; l-- > 0;) {
      total += squares[l];
      for (std::size_t j = degree_; j > 0; --j) {
        a[j] = a[j] * x + a[j - 1];
        b[j] = b[j] * y + b[j - 1];
      }
      a[0] = a[0] * x + squares[l];
      b[0] = b[0] * y + signs[l];
    }
    double power = 1; // of |v|^2
    for (std::size_t j = 0; j <= degree_; ++j) {
      double own = a[j] * power;
      if (j == degree_) {
        own = std::max(own, total);
      }
      total -= own;
      power *= rest;
      const double size = std::sqrt(std::max(own, 0.0));
      out[j * lanes] = b[j] < 0 ? -size : size;
    }
    const Vector w = constant(squares, signs, share);
    const double whole = out[0] * out[0];
    out[0] = dot(w, axes[0]);
    double found = 0;
    for (std::size_t k = 1; k <= kRests; ++k) {
      const double along = dot(w, axes[k]);
      out[(degree_ + k) * lanes] = along;
      found += along * along;
    }
    const double left = whole - out[0] * out[0];
    const double factor = found > 0 && left > 0 ? std::sqrt(left / found) : 0.0;
    for (std::size_t k = 1; k <= kRests; ++k) {
      out[(degree_ + k) * lanes] *= factor;
    }
  }

  // The row of a deviation.
  void look_up(double s) {
    const std::size_t q = table_.order, n = table_.numbers();
    if (s <= 0) {
      std::copy(table_.at_zero.begin(), table_.at_zero.end(), row_.begin());
    } else if (table_.power) {
      const double slope = power_of(s, *table_.power - 1), value = slope * s;
      std::copy(table_.rows.begin(), table_.rows.end(), row_.begin());
      scale(value, slope);
    } else {
      const double t = (std::log(s) - table_.first) / table_.step;
      const auto last = static_cast<double>(table_.n - 1);
      if (t >= 0 && t <= last) {
        interpolate(t);
      } else {
        extend(t < 0 ? 0 : table_.n - 1, t < 0 ? table_.low : table_.high, t < 0 ? t : t - last);
      }
      row_[2 * q + 2] = std::max(row_[2 * q + 2], 0.0);
      row_[2 * q + 3] = std::max(row_[2 * q + 3], 0.0);
      scale(std::exp(row_[n]), std::exp(row_[n + 1]));
    }
  }

  // Of whole powers exact, so that powers of two in s are so in them.
  static double power_of(double s, double power) {
    if (power == std::rint(power) && std::abs(power) <= 64) {
      double found = 1;
      for (double k = 0; k < std::abs(power); ++k) {
        found *= s;
      }
      return power < 0 ? 1 / found : found;
    }
    return std::pow(s, power);
  }

  // The function and its derivative times one factor each.
  void scale(double value, double slope) {
    const std::size_t q = table_.order;
    for (std::size_t k = 0; k <= q; ++k) {
      row_[k] *= value;
      row_[q + 1 + k] *= slope;
    }
    row_[2 * q + 2] *= value * value;
    row_[2 * q + 3] *= slope * slope;
  }

  // Cubic, in log s: t rows from the first.
  void interpolate(double t) {
    const std::size_t width = table_.width();
    const auto most = static_cast<double>(table_.n - 4);
    const auto start = static_cast<std::size_t>(std::clamp(std::floor(t) - 1, 0.0, most));
    const double x = t - static_cast<double>(start);
    const double w0 = (x - 1) * (x - 2) * (x - 3) / -6, w1 = x * (x - 2) * (x - 3) / 2;
    const double w2 = x * (x - 1) * (x - 3) / -2, w3 = x * (x - 1) * (x - 2) / 6;
    const double* r = table_.rows.data() + start * width;
    for (std::size_t k = 0; k < width; ++k) {
      row_[k] = w0 * r[k] + w1 * r[k + width] + w2 * r[k + 2 * width] + w3 * r[k + 3 * width];
    }
  }

  // By powers, t rows from one at an end; NaN where there is no such power, or no deviation. What
  // the coefficients leave of a norm is later ones.
  void extend(std::size_t from, const Reals& powers, double t) {
    const std::size_t n = table_.numbers(), m = table_.order + 1;
    const double* r = table_.rows.data() + from * table_.width();
    const double away = t * table_.step;
    for (std::size_t i = 0; i < 2; ++i) {
      double left = 1;
      for (std::size_t k = i * m; k < (i + 1) * m; ++k) {
        const double found = r[k] * std::exp(away * powers[k]);
        row_[k] = std::abs(found) > 1 ? std::copysign(1.0, found) : found;
        left -= row_[k] * row_[k];
      }
      row_[2 * m + i] = left;
    }
    for (std::size_t k = n; k < n + 2; ++k) {
      row_[k] = r[k] + away * powers[k];
    }
  }

  const HermiteGrid& table_;
  std::size_t degree_;
  bool shared_;
  double merged_; // the unit of the function over that of the tangent kernel, 0 if it is not in it
  Reals row_;
  std::array<Axes, 2> axes_{};
};

} // namespace nkfast
