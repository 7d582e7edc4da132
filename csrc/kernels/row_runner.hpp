// The walk of rows of pairs through the layers of a network, in float32 or float64.
#pragma once

#include "kernels/dense.hpp"
#include "simd/dispatch.hpp"

#include <algorithm>
#include <cstddef>
#include <functional>
#include <type_traits>

namespace nkfast {

// Takes some rows of pairs through the layers; one for each thread.
template <class T> class RowRunner {
public:
  // As float32 maps: they take the affine layer behind them along, and the products bring the
  // first.
  static constexpr bool kFused = std::is_same_v<T, float>;

  RowRunner(const KernelParts& program, std::size_t rows, std::size_t cols)
      : program_(program), rows_(rows), cols_(cols), buffer_(2 * program.most_open * rows * cols) {}

  // The affine layer that the products of fused rows bring along.
  Affine first() const {
    return starts_fused() ? program_.steps.front().affine : Affine{.w2 = 1, .b2 = 0};
  }

  // Of n columns, rows `pitch` apart: products k, theta (null: not wanted). apply(map, tile) takes
  // them through an activation.
  template <class Apply> void run(TileOf<T> tile, Apply apply) {
    const auto& steps = program_.steps;
    auto at = steps.begin();
    tile.fresh = true;
    if (starts_fused()) {
      ++at;
    } else if (tile.theta != nullptr && (steps.empty() || at->what != What::kAffine)) {
      each_row(tile, [](std::size_t n, T*, T* theta) { std::fill_n(theta, n, T{0}); });
      tile.fresh = false;
    }
    T* kept = buffer_.data();
    for (; at != steps.end(); ++at) {
      switch (at->what) {
      case What::kAffine:
        each_row(tile, [&](std::size_t n, T* k, T* theta) {
          dual_table<T>().affine(at->affine.w2, at->affine.b2, n, k, theta, tile.fresh);
        });
        break;
      case What::kActivation: {
        const bool more = kFused && at + 1 != steps.end() && at[1].what == What::kAffine;
        tile.after = more ? &at[1].affine : nullptr;
        apply(program_.maps[at->map], tile);
        at += more;
        break;
      }
      case What::kPush:
        keep(tile, kept);
        kept += 2 * rows_ * cols_;
        break;
      case What::kAdd:
        kept -= 2 * rows_ * cols_;
        add(tile, kept);
      }
      tile.fresh = false;
    }
  }

private:
  using What = KernelParts::Step::What;

  bool starts_fused() const {
    const auto& steps = program_.steps;
    return kFused && steps.size() > 1 && steps[0].what == What::kAffine &&
           steps[1].what == What::kActivation;
  }

  template <class F> static void each_row(const TileOf<T>& tile, F f) {
    for (std::size_t r = 0; r < tile.rows; ++r) {
      T* theta = tile.theta == nullptr ? nullptr : tile.theta + r * tile.pitch;
      f(tile.n, tile.k + r * tile.pitch, theta);
    }
  }
  void keep(const TileOf<T>& tile, T* to) const {
    each_row(tile, [&](std::size_t n, const T* k, const T* theta) {
      std::copy_n(k, n, to);
      if (theta != nullptr) {
        std::copy_n(theta, n, to + cols_);
      }
      to += 2 * cols_;
    });
  }
  void add(const TileOf<T>& tile, const T* from) const {
    each_row(tile, [&](std::size_t n, T* k, T* theta) {
      std::transform(k, k + n, from, k, std::plus<T>());
      if (theta != nullptr) {
        std::transform(theta, theta + n, from + cols_, theta, std::plus<T>());
      }
      from += 2 * cols_;
    });
  }

  const KernelParts& program_;
  std::size_t rows_;
  std::size_t cols_;
  AlignedBuffer<T> buffer_; // k and theta of each open residual connection
};

} // namespace nkfast
