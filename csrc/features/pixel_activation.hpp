// An activation of a block of pixels.
#pragma once

#include "features/hermite.hpp"
#include "features/pixel_block.hpp"

#include <algorithm>
#include <cstddef>
#include <variant>
#include <vector>

namespace nkfast {

// Turns (c, v) of a block into features of the new kernel, by powers of v; one for each thread.
template <class T> class PixelActivationRunner {
public:
  explicit PixelActivationRunner(PixelBlock<T>& block) : block_(block) {}

  // The channels of a block, of n and n_tangent features, into those of the new kernels.
  void run(const PixelActivation& f, HermiteWeights& weights, std::size_t n,
           std::size_t n_tangent) {
    const SharedTangent* shared = f.shared();
    const OwnTangent* own = f.own();
    const bool tangent = shared != nullptr || own != nullptr;
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
      const auto length = [&](std::size_t l) { return l == 0 ? n : f.powers[l - 1].n(); };
      T* to = block_.buffers[Block::kPowers + k];
      if (const auto* m = std::get_if<Monomials>(&power.how)) {
        block_.loops.weighted_product(powers_[power.a], m->take_a.data(), powers_[power.b],
                                      m->take_b.data(), power.n(), m->factors.template data<T>(),
                                      to);
      } else {
        block_.multiply(std::get<TensorProduct>(power.how), powers_[power.a], length(power.a),
                        powers_[power.b], length(power.b), to);
        block_.normalise(to, power.n(), one);
      }
      powers_.push_back(to);
    }
    if (shared != nullptr) {
      add_up(shared->sums, slope, shared->n, block_.buffers[Block::kProduct]);
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
    if (own != nullptr) {
      multiply_tangent(f, *own, n_tangent, slope);
    }
  }

private:
  using Block = PixelBlock<T>;

  // (d, y) times the features (c, z) of the derivative: d c, d z, c y and the product of y and z.
  void multiply_tangent(const PixelActivation& f, const OwnTangent& own, std::size_t n,
                        const double* slope) {
    alignas(64) T by_scalar[kMostLanes] = {}, by_slope[kMostLanes] = {}, whole[kMostLanes] = {},
                  old[kMostLanes] = {};
    double energies[kMostLanes] = {};
    T *y = block_.buffers[Block::kTangent], *z = block_.buffers[Block::kSlope],
      *to = block_.buffers[Block::kNngp];
    block_.normalise(y, n, block_.energy[1]);
    add_up(own.slope_sums, slope, own.n_slope, z);
    for (std::size_t r = 0; r < block_.lanes; ++r) {
      energies[r] = energy_of(slope, f.degree, r);
    }
    block_.normalise(z, own.n_slope, energies);
    block_.multiply(own.product, y, n, z, own.n_slope, block_.buffers[Block::kProduct]);
    std::fill(to, to + own.n * block_.lanes, T{0});
    norm_to(own, energies, whole);
    double rest[kMostLanes] = {}, nngp[kMostLanes] = {};
    for (std::size_t r = 0; r < block_.lanes; ++r) {
      const double d = block_.c[1][r], c = slope[r], y2 = block_.energy[1][r], z2 = energies[r];
      by_scalar[r] = static_cast<T>(c);
      by_slope[r] = static_cast<T>(d);
      block_.energy[1][r] = y2 * z2 + y2 * c * c + z2 * d * d;
      block_.c[1][r] = d * c;
      if (f.merged > 0) {
        const double other = f.merged * block_.c[0][r];
        nngp[r] = f.merged * f.merged * block_.energy[0][r];
        rest[r] = own.direction_tangent * other - own.direction_nngp * d * c;
        block_.c[1][r] = own.direction_tangent * d * c + own.direction_nngp * other;
        block_.energy[1][r] += nngp[r] + rest[r] * rest[r];
      }
    }
    add(own.from_product, block_.buffers[Block::kProduct], own.product.n, whole, to);
    add(own.from_tangent, y, n, by_scalar, to);
    add(own.from_slope, z, own.n_slope, by_slope, to);
    if (f.merged > 0) {
      block_.norm_factors(block_.source[0], f.n, nngp, old);
      add(own.from_nngp, block_.source[0], f.n, old, to);
      T* cell = to + static_cast<std::size_t>(own.from_nngp.to[f.n]) * block_.lanes;
      for (std::size_t r = 0; r < block_.lanes; ++r) {
        cell[r] += static_cast<T>(rest[r]) * own.from_nngp.signs.template data<T>()[f.n];
      }
    }
    block_.source[1] = to;
  }

  void norm_to(const OwnTangent& own, const double* energies, T* factor) {
    double wanted[kMostLanes] = {};
    for (std::size_t r = 0; r < block_.lanes; ++r) {
      wanted[r] = block_.energy[1][r] * energies[r];
    }
    block_.norm_factors(block_.buffers[Block::kProduct], own.product.n, wanted, factor);
  }

  void add(const Hash& hash, const T* from, std::size_t n, const T* weight, T* to) {
    block_.pixel_loops.weighted_sketch(from, n, hash.to.data(), hash.signs.template data<T>(), weight,
                                 to);
  }

  // sum over j of weight_j S_j, hashed
  void add_up(const std::vector<Hash>& sums, const double* weights, std::size_t n, T* to) {
    std::fill(to, to + n * block_.lanes, T{0});
    for (std::size_t j = 0; j + 1 < sums.size(); ++j) {
      alignas(64) T weight[kMostLanes] = {};
      std::transform(weights + (j + 1) * kMostLanes, weights + (j + 1) * kMostLanes + block_.lanes,
                     weight, [](double w) { return static_cast<T>(w); });
      block_.pixel_loops.weighted_sketch(powers_[j], sums[j].to.size(), sums[j].to.data(),
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
