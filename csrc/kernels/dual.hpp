// Dual activations of many pairs: the maps that csrc/simd/dual.inl.hpp and dual_series.inl.hpp
// evaluate, and their tables.
#pragma once

#include "aligned.hpp"
#include "numbers.hpp"
#include "simd/kernels.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace nkfast {

// Some rows of pairs: see SingleRows.
template <class T> struct TileOf {
  std::size_t rows, n;
  T* k;
  T* theta;
  std::size_t pitch;
  bool fresh = false;
  const Affine* after = nullptr;
};

// An activation between n_left and n_right points: what is known of each of them alone.
//
// Columns of left and right; s = sqrt(p), is = 1 / s or 0, p the point's variance:
//
//   rectifier        s, is                         params a, b
//   sign             s, is
//   rectified_power  s^n, s^(n-1), is              n, then 4 polynomials as (length, values...)
//   asin             r                             a1, a2, a3, a4
//   gelu             r, p                          r = 1 / sqrt(1 + p)
//   exp              l                             amplitude, gamma
//   sin              |b| s                         amplitude, b^2, 2 sin^2, 2 cos^2 of the phase
//   gaussian         r                             a^2, b
//   exp_normalized   s, is                         g, shift
//   gabor            p
//   series           is, A_0 .. A_(T-1)            offset, stride, T, error that may be made
//   table            is, B (J x M), B1 (J x M1) | is, R_0 .. R_(J-1)       J, M, M1, stretch or 0,
//                    F, then of each kTableDegrees degrees of M, and of M1, how many R they need,
//                    from R_0 on, and from R_F on for M1
//   piecewise        see below
//   central          is, A_0 .. A_(T-1), then the other map's columns
//                    offset, stride, T, number of lengths, then for each, rising: terms, and up to
//                    which |rho| they will do; if that is below 1: kind and parameters of the map
//                    beyond, a table or a piecewise polynomial
//
// Of a piecewise polynomial, tables by src/nkfast/activations/_corners.py:
// params: greatest and least power of a kink (1 at least, 1 at most), number N of Hermite
//   coefficients, reach, bend and number M of terms of the polynomials in z, the M of the normal
//   distribution; number of distances |b|, then for each: whether it is not 0, number of its parts,
//   then for each of these the sign of its kink (side b) and its side.
// Columns: is; N + N Hermite coefficients of the function, first of what has no kink, then of what
//   has; N - 1 + N - 1 of its derivative; then for each distance: h = |b| / s or 0, density and
//   tail at h; for each part the coefficients of its powers and those of its derivative's; M of
//   U(h, .) if h is not 0.
class DualMap {
public:
  // left is (n_left, left_width) and right (n_right, right_width), row by row. Throws
  // std::invalid_argument where params and widths do not fit the kind.
  DualMap(DualKind kind, Reals params, const double* left, std::size_t n_left,
          std::size_t left_width, const double* right, std::size_t n_right,
          std::size_t right_width);

  // From now on an error of 1e-9 in angles will do, as for results in float32.
  void be_rough() { rough_ = true; }

  // From now on rows of float32 may be mapped, too. False: there is no such map of this kind.
  bool be_single();

  std::size_t n_left() const { return n_left_; }
  std::size_t n_right() const { return n_right_; }
  std::size_t right_width() const { return right_width_; }

  // Row i with the n columns from j on (both multiples of kDualPad, columns past the last one
  // count as points of variance zero).
  void apply(std::size_t i, std::size_t j, std::size_t n, double* k, double* theta) const;

  // Some rows from i on in float32, after be_single; k is NaN where float64 is needed.
  void apply(std::size_t i, std::size_t j, const TileOf<float>& tile) const;

  // Row i with n columns of any order, for kinds that have a map in float32: n is a multiple of
  // kDualFew, numbers past the last column are columns of variance zero; scratch holds right_width
  // times n.
  void apply_at(std::size_t i, const std::uint32_t* columns, std::size_t n, double* scratch,
                double* k, double* theta) const;

  // k and theta (null: none) of all pairs, (n_left, n_right) row by row, in place.
  void apply_all(double* k, double* theta, std::size_t n_threads) const;

private:
  DualKind kind_;
  Reals params_;
  std::size_t n_left_;
  std::size_t n_right_;
  std::size_t left_width_;
  std::size_t right_width_;
  bool rough_ = false;
  std::size_t ld_; // n_right_ in whole panels
  Reals left_;
  AlignedBuffer<double> right_; // (right_width, ld)
  AlignedBuffer<float> right_single_;
};

// How many parameters and columns a map takes, read from its parameters.
struct MapWidths {
  std::size_t params;
  std::size_t left;
  std::size_t right;
};
MapWidths map_widths(DualKind kind, const Reals& params);

// How long so many polynomials are, (length, values...) from the second parameter on.
std::size_t polynomials_width(const Reals& params, int n_polynomials);

// Behind the parameters of a series come the largest coefficients of the columns, (1 + n_terms, ld)
// with the first row left out: they tell how many terms a row needs.
void append_largest(const double* columns, std::size_t n_columns, std::size_t ld,
                    std::size_t n_terms, Reals& params);

inline std::size_t whole_panels(std::size_t n) { return (n + kDualPad - 1) / kDualPad * kDualPad; }

} // namespace nkfast
