// Exact kernels of dense networks: all layers of a row of pairs while it is in cache.
#pragma once

#include "kernels/dual.hpp"

#include <cstddef>
#include <vector>

namespace nkfast {

// Where one kernel goes. out is (rows, cols) with rows ld apart, in entries; null: not wanted.
template <class T> struct Target {
  T* out = nullptr;
  std::ptrdiff_t ld = 0;
  T* mirror = nullptr; // also its transpose, (cols, rows); null: no
  std::ptrdiff_t mirror_ld = 0;
  const double* diagonal = nullptr; // symmetric runs: the exact diagonal
};

// Of which pairs. Symmetric: rows and columns are the same points, so that the upper triangle is
// computed and mirrored (mirror points to out).
struct Extent {
  std::size_t rows;
  std::size_t cols;
  bool symmetric;
};

// Inner products that were computed elsewhere.
struct GivenProducts {
  const double* data;
  std::ptrdiff_t ld;
};

// Dense points, row by row, whose inner products are computed tile by tile: in float64,
// unless be_single says else.
template <class X> struct Points {
  const X* rows;
  const X* cols;
  std::size_t depth; // features
};

// The layers of a network.
class KernelProgram {
public:
  // K <- w2 K + b2, then Theta <- w2 Theta + K.
  void affine(double w2, double b2);
  // K <- k(K), Theta <- Theta kdot(K).
  void activation(DualMap map);
  // A residual connection: push keeps K and Theta, add adds them to those at the branch's end.
  void push();
  void add();

  // From now on float32 kernels of float32 points are computed in float32, and again in float64
  // where that is not enough. False, and nothing changes: a map has no form in float32.
  bool be_single();

  // The kernels from K = scale <x, z>, Theta = 0; returns how many pairs were computed twice.
  // Throws std::invalid_argument if maps are of other numbers of points, or push and add do not
  // pair. Source is GivenProducts or Points.
  template <class Source, class T>
  std::size_t run(const Source& source, double scale, const Extent& extent, const Target<T>& nngp,
                  const Target<T>& ntk, std::size_t n_threads) const;

private:
  template <class T> friend class RowRunner;
  enum class What { kAffine, kActivation, kPush, kAdd };
  struct Step {
    What what;
    Affine affine = {};
    std::size_t map = 0;
  };
  void check(const Extent& extent) const;
  std::size_t run_single(const Points<float>& points, double scale, const Extent& extent,
                         const Target<float>& nngp, const Target<float>& ntk,
                         std::size_t n_threads) const;

  std::vector<Step> steps_;
  std::vector<DualMap> maps_;
  std::size_t depth_ = 0; // residual connections that are open
  std::size_t most_ = 0;  // the most that were
  bool single_ = false;
};

} // namespace nkfast
