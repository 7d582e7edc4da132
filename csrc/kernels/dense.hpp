// Exact kernels of dense networks: all layers of a row of pairs while it is in cache.
#pragma once

#include "builders.hpp"
#include "kernels/dual.hpp"

#include <cstddef>
#include <utility>
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

// What a program consists of.
struct KernelParts {
  struct Step {
    enum class What { kAffine, kActivation, kPush, kAdd } what;
    Affine affine = {};
    std::size_t map = 0;
  };
  std::vector<Step> steps;
  std::vector<DualMap> maps;
  std::size_t most_open = 0; // residual connections at a time
  bool single = false;       // float32 kernels of float32 points are computed in float32
};

// The layers of a network, immutable.
class KernelProgram {
public:
  KernelProgram(KernelProgram&&) = default; // it moves, but is not copied

  // The kernels from K = scale <x, z>, Theta = 0; returns how many pairs were computed twice.
  // Throws std::invalid_argument if maps are of other numbers of points. Source is GivenProducts
  // or Points.
  template <class Source, class T>
  std::size_t run(const Source& source, double scale, const Extent& extent, const Target<T>& nngp,
                  const Target<T>& ntk, std::size_t n_threads) const;

private:
  friend class KernelBuilder;
  explicit KernelProgram(KernelParts parts) : parts_(std::move(parts)) {}

  void check(const Extent& extent) const;
  std::size_t run_single(const Points<float>& points, double scale, const Extent& extent,
                         const Target<float>& nngp, const Target<float>& ntk,
                         std::size_t n_threads) const;

  KernelParts parts_;
};

// Puts the layers together.
class KernelBuilder : Builder {
public:
  // K <- w2 K + b2, then Theta <- w2 Theta + K.
  void affine(double w2, double b2);
  // K <- k(K), Theta <- Theta kdot(K).
  void activation(DualMap map);
  // A residual connection: push keeps K and Theta, add adds them to those at the branch's end.
  void push();
  void add();

  // From now on float32 kernels of float32 points are computed in float32, and again in float64
  // where that is not enough; unless a map, of those so far (returns false) or of those to come,
  // has no form in float32.
  bool be_single();

  // Hands over the program; the builder takes no more calls. Throws std::invalid_argument if push
  // and add do not pair.
  KernelProgram finish();

private:
  using Step = KernelParts::Step;

  KernelParts parts_;
  std::size_t open_ = 0; // residual connections
};

} // namespace nkfast
