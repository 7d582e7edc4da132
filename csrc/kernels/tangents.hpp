// Exact kernels of dense networks with their derivatives in hyperparameters: the layers of
// dense.hpp, each pair with a number of tangents.
#pragma once

#include "builders.hpp"
#include "kernels/dense.hpp"
#include "kernels/dual.hpp"

#include <cstddef>
#include <utility>
#include <vector>

namespace nkfast {

// A dual map with tangents, between the points of a block. The columns of left and right are those
// of DualMap, but
//
//   rectified_power  the same                      n, then 6 polynomials
//   series           is, A_0 .., A+_0 ..           as DualMap's
//   table            is, B, B1, their derivatives | is, R, their derivatives
//   piecewise        those of DualMap, and derivatives of the Hermite coefficients
//
// A+_l is the derivative of A_l in log s less l A_l. The parameters that have tangents, all of them
// if any, and what the points' tangents are of:
//
//   rectifier        log s    (a - b)^2, a^2 + b^2 and 2 a b, each over 2 pi
//   asin             log r    a1, a2, a3, a4
//   gelu, gabor      p
//   exp              l        amplitude, gamma
//   sin              b^2 p/2  amplitude, b^2, 2 sin^2, 2 cos^2 of the phase
//   gaussian         log r    a^2, b
//   exp_normalized   log s    g, g shift
//   sign, rectified_power, series, table, piecewise: log s
class TangentMap {
public:
  struct Points {
    std::size_t n, width;
    const double* table;    // (n, width)
    const double* tangents; // (n, n_tangents)
  };

  // param_tangents is (n_tangents, parameters that have tangents). Throws std::invalid_argument
  // where sizes do not fit the kind, or the kind has no tangents.
  TangentMap(DualKind kind, Reals params, Reals param_tangents, std::size_t n_tangents,
             const Points& left, const Points& right);

  std::size_t n_left() const { return n_left_; }
  std::size_t n_right() const { return n_right_; }
  std::size_t n_tangents() const { return n_tangents_; }
  std::size_t right_width() const { return right_width_ + n_tangents_; }

  // Row i with the columns from j on, as DualMap::apply.
  void apply(std::size_t i, std::size_t j, const TangentRow& row) const;

private:
  DualKind kind_;
  Reals params_;
  Reals param_tangents_;
  std::vector<unsigned char> moved_;
  std::size_t n_tangents_;
  std::size_t n_left_;
  std::size_t n_right_;
  std::size_t left_width_;
  std::size_t right_width_;
  std::size_t ld_;
  Reals left_, left_tangents_;
  AlignedBuffer<double> right_, right_tangents_; // (width, ld)
};

// Where the derivatives go: (n_tangents, rows, cols), rows ld and matrices `stride` apart.
struct TangentTarget {
  double* out;
  std::ptrdiff_t ld, stride;
  double* mirror;         // also the transposes, (cols, rows), as far apart; null: no
  const double* diagonal; // symmetric runs: the exact diagonals, (n_tangents, rows)
};

struct TangentParts {
  struct Step {
    enum class What { kAffine, kActivation, kPush, kAdd } what;
    Affine affine = {};
    Reals dw2 = {}, db2 = {};
    std::size_t map = 0;
  };
  std::vector<Step> steps;
  std::vector<TangentMap> maps;
  std::size_t n_tangents = 0;
  std::size_t most_open = 0; // residual connections at a time
};

// The layers of a network, immutable.
class TangentProgram {
public:
  TangentProgram(TangentProgram&&) = default; // it moves, but is not copied

  std::size_t n_tangents() const { return parts_.n_tangents; }

  // The derivatives of one of the kernels, from K = scale <x, z>, which has none. As
  // KernelProgram::run.
  template <class Source>
  void run(const Source& source, double scale, const Extent& extent, bool ntk,
           const TangentTarget& to, std::size_t n_threads) const;

private:
  friend class TangentBuilder;
  explicit TangentProgram(TangentParts parts) : parts_(std::move(parts)) {}

  TangentParts parts_;
};

// Puts the layers together, as KernelBuilder.
class TangentBuilder : Builder {
public:
  explicit TangentBuilder(std::size_t n_tangents) { parts_.n_tangents = n_tangents; }

  std::size_t n_tangents() const { return parts_.n_tangents; }

  // dw2, db2: a derivative for each tangent.
  void affine(double w2, double b2, Reals dw2, Reals db2);
  void activation(TangentMap map);
  void push();
  void add();

  TangentProgram finish();

private:
  using Step = TangentParts::Step;

  TangentParts parts_;
  std::size_t open_ = 0; // residual connections
};

} // namespace nkfast
