// An activation of a block of pixels.
#pragma once

#include "features/hermite.hpp"
#include "features/pixel_block.hpp"

#include <algorithm>
#include <cstddef>
#include <vector>

namespace nkfast {

// Turns (c, v) of a block into features of the new kernel, by powers of v; one for each thread.
template <class T> class PixelActivationRunner {
public:
  explicit PixelActivationRunner(PixelBlock<T>& block) : block_(block) {}

  // The channels of a block, of n and n_tangent features, into those of the new kernels; tangent:
  // both are wanted.
  void run(const PixelActivation& f, HermiteWeights& weights, std::size_t n, std::size_t n_tangent,
           bool tangent) {
    double one[kMostLanes];
    std::fill(one, one + kMostLanes, 1.0);
    powers_.assign(1, block_.buffers[Block::kNngp]);
    block_.normalise(powers_[0], n, one);
    double value[HermiteWeights::kMost * kMostLanes];
    double slope[HermiteWeights::kMost * kMostLanes];
    for (std::size_t r = 0; r < block_.lanes; ++r) {
      weights(block_.c[0][r], block_.energy[0][r], value + r, tangent ? slope + r : nullptr,
              kMostLanes);
    }
    for (std::size_t k = 0; k < f.powers.size(); ++k) {
      const PixelPower& power = f.powers[k];
      const TensorProduct& p = power.product;
      const auto length = [&](std::size_t l) { return l == 0 ? n : f.powers[l - 1].product.n; };
      T* to = block_.buffers[Block::kBuffers + k];
      if (power.factors.size() > 0) {
        block_.loops.weighted_product(powers_[power.a], p.take_a.data(), powers_[power.b],
                                      p.take_b.data(), p.n, power.factors.template data<T>(), to);
      } else {
        block_.multiply(p, powers_[power.a], length(power.a), powers_[power.b], length(power.b),
                        to);
        block_.normalise(to, p.n, one);
      }
      powers_.push_back(to);
    }
    if (tangent && f.alias) {
      add_up(f.tangent_sums, slope, f.n_tangent, block_.buffers[Block::kProduct]);
      for (std::size_t r = 0; r < block_.lanes; ++r) {
        block_.c[1][r] = slope[r];
        block_.energy[1][r] = energy_of(slope, f.degree, r);
      }
      block_.source[1] = block_.buffers[Block::kProduct];
    }
    add_up(f.sums, value, f.n, block_.buffers[Block::kSum]);
    for (std::size_t r = 0; r < block_.lanes; ++r) {
      block_.c[0][r] = value[r];
      block_.energy[0][r] = energy_of(value, f.degree, r);
    }
    block_.source[0] = block_.buffers[Block::kSum];
    if (tangent && !f.alias) {
      multiply_tangent(f, n_tangent, slope);
    }
  }

private:
  using Block = PixelBlock<T>;

  // (d, y) times the features (c, z) of the derivative: d c, d z, c y and the product of y and z.
  void multiply_tangent(const PixelActivation& f, std::size_t n, const double* slope) {
    alignas(64) T by_scalar[kMostLanes] = {}, by_slope[kMostLanes] = {}, whole[kMostLanes] = {},
                  old[kMostLanes] = {};
    double energies[kMostLanes] = {};
    T *y = block_.buffers[Block::kTangent], *z = block_.buffers[Block::kSlope],
      *to = block_.buffers[Block::kNngp];
    block_.normalise(y, n, block_.energy[1]);
    add_up(f.slope_sums, slope, f.n_slope, z);
    for (std::size_t r = 0; r < block_.lanes; ++r) {
      energies[r] = energy_of(slope, f.degree, r);
    }
    block_.normalise(z, f.n_slope, energies);
    block_.multiply(f.product, y, n, z, f.n_slope, block_.buffers[Block::kProduct]);
    std::fill(to, to + f.n_tangent * block_.lanes, T{0});
    norm_to(f, energies, whole);
    double rest[kMostLanes] = {};
    for (std::size_t r = 0; r < block_.lanes; ++r) {
      const double d = block_.c[1][r], c = slope[r], y2 = block_.energy[1][r], z2 = energies[r];
      by_scalar[r] = static_cast<T>(c);
      by_slope[r] = static_cast<T>(d);
      block_.energy[1][r] = y2 * z2 + y2 * c * c + z2 * d * d;
      block_.c[1][r] = d * c;
      if (f.merged) {
        const double along = f.direction_tangent * d * c + f.direction_nngp * block_.c[0][r];
        rest[r] = f.direction_tangent * block_.c[0][r] - f.direction_nngp * d * c;
        block_.c[1][r] = along;
        block_.energy[1][r] += block_.energy[0][r] + rest[r] * rest[r];
      }
    }
    add(f.from_product, block_.buffers[Block::kProduct], f.product.n, whole, to);
    add(f.from_tangent, y, n, by_scalar, to);
    add(f.from_slope, z, f.n_slope, by_slope, to);
    if (f.merged) {
      block_.norm_factors(block_.source[0], f.n, block_.energy[0], old);
      add(f.from_nngp, block_.source[0], f.n, old, to);
      T* cell = to + static_cast<std::size_t>(f.from_nngp.to[f.n]) * block_.lanes;
      for (std::size_t r = 0; r < block_.lanes; ++r) {
        cell[r] += static_cast<T>(rest[r]) * f.from_nngp.signs.template data<T>()[f.n];
      }
    }
    block_.source[1] = to;
  }

  void norm_to(const PixelActivation& f, const double* energies, T* factor) {
    double wanted[kMostLanes] = {};
    for (std::size_t r = 0; r < block_.lanes; ++r) {
      wanted[r] = block_.energy[1][r] * energies[r];
    }
    block_.norm_factors(block_.buffers[Block::kProduct], f.product.n, wanted, factor);
  }

  void add(const Hash& hash, const T* from, std::size_t n, const T* weight, T* to) {
    block_.loops.weighted_sketch(from, n, hash.to.data(), hash.signs.template data<T>(), weight,
                                 to);
  }

  // sum over j of weight_j S_j, hashed
  void add_up(const std::vector<Hash>& sums, const double* weights, std::size_t n, T* to) {
    std::fill(to, to + n * block_.lanes, T{0});
    for (std::size_t j = 0; j + 1 < sums.size(); ++j) {
      alignas(64) T weight[kMostLanes] = {};
      std::transform(weights + (j + 1) * kMostLanes, weights + (j + 1) * kMostLanes + block_.lanes,
                     weight, [](double w) { return static_cast<T>(w); });
      block_.loops.weighted_sketch(powers_[j], sums[j].to.size(), sums[j].to.data(),
                                   sums[j].signs.template data<T>(), weight, to);
    }
    const double* rests = weights + sums.size() * kMostLanes;
    for (std::size_t k = 0; k < kRests; ++k) {
      T* cell = to + static_cast<std::size_t>(sums.back().to[k]) * block_.lanes;
      for (std::size_t r = 0; r < block_.lanes; ++r) {
        cell[r] +=
            static_cast<T>(rests[k * kMostLanes + r]) * sums.back().signs.template data<T>()[k];
      }
    }
  }

  static double energy_of(const double* weights, std::size_t degree, std::size_t r) {
    double sum = 0;
    for (std::size_t j = 1; j <= degree + kRests; ++j) {
      sum += weights[j * kMostLanes + r] * weights[j * kMostLanes + r];
    }
    return sum;
  }

  Block& block_;
  std::vector<T*> powers_;
};

} // namespace nkfast
