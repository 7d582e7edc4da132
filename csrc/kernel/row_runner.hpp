// The walk of a row of pairs through the layers of a network, in float32 or float64.
#pragma once

#include "kernel/dense.hpp"
#include "simd/dispatch.hpp"

#include <algorithm>
#include <cstddef>
#include <type_traits>

namespace nkfast {

// Takes rows of pairs through the layers; one for each thread.
template <class T> class RowRunner {
public:
  RowRunner(const KernelProgram& program, std::size_t cols)
      : program_(program), cols_(cols), buffer_(2 * program.most_ * cols) {}

  // n products k, theta (null: not wanted); apply(map, k, theta) takes them through an activation, in
  // float32 apply(map, k, theta, after) through the affine layer that follows, too.
  template <class Apply> void run(std::size_t n, T* k, T* theta, Apply apply) {
    using What = KernelProgram::What;
    bool first = true;
    T* kept = buffer_.data();
    if (theta != nullptr &&
        (program_.steps_.empty() || program_.steps_.front().what != What::kAffine)) {
      std::fill_n(theta, n, T{0});
      first = false;
    }
    const auto& steps = program_.steps_;
    for (auto at = steps.begin(); at != steps.end(); ++at) {
      const auto& step = *at;
      switch (step.what) {
      case What::kAffine:
        dual_table<T>().affine(step.affine.w2, step.affine.b2, n, k, theta, first);
        break;
      case What::kActivation:
        if constexpr (std::is_same_v<T, float>) {
          const bool more = at + 1 != steps.end() && at[1].what == What::kAffine;
          apply(program_.maps_[step.map], k, theta, more ? &at[1].affine : nullptr);
          at += more;
        } else {
          apply(program_.maps_[step.map], k, theta);
        }
        break;
      case What::kPush:
        std::copy_n(k, n, kept);
        if (theta != nullptr) {
          std::copy_n(theta, n, kept + cols_);
        }
        kept += 2 * cols_;
        break;
      case What::kAdd:
        kept -= 2 * cols_;
        add_to(k, kept, n);
        if (theta != nullptr) {
          add_to(theta, kept + cols_, n);
        }
      }
      first = false;
    }
  }

private:
  static void add_to(T* x, const T* y, std::size_t n) {
    for (std::size_t j = 0; j < n; ++j) {
      x[j] += y[j];
    }
  }

  const KernelProgram& program_;
  std::size_t cols_;
  Aligned<T> buffer_; // k and theta of each open residual connection
};

} // namespace nkfast
