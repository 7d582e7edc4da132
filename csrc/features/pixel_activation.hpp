// An activation of a block of pixels.
#pragma once

#include "features/hermite.hpp"
#include "features/pixel_block.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <variant>
#include <vector>

namespace nkfast {

// Turns (c, v) of a block into features of the new kernel, by powers of v; one for each thread.
template <class T> class PixelActivationRunner {
public:
  explicit PixelActivationRunner(PixelBlock<T>& block) : block_(block) {}

  // The channels of a block, of n and n_tangent features, into those of the new kernels, where
  // block.source says. mix_tangent makes the tangent kernel's, when there is room for them.
  template <class F>
  void run(const PixelActivation& f, HermiteWeights& weights, std::size_t n, std::size_t n_tangent,
           F&& mix_tangent) {
    const SharedTangent* shared = f.shared();
    const OwnTangent* own = f.own();
    const bool tangent = shared != nullptr || own != nullptr;
    std::fill(one_, one_ + kMostLanes, 1.0);
    powers_.assign(1, {block_.buffers[Block::kNngp], {}});
    block_.norm_factors(powers_[0].block, n, one_, powers_[0].scale);
    double value[HermiteWeights::kMost * kMostLanes];
    double slope[HermiteWeights::kMost * kMostLanes];
    for (std::size_t r = 0; r < block_.lanes; ++r) {
      weights(block_.c[0][r], block_.energy[0][r], value + r, tangent ? slope + r : nullptr,
              kMostLanes);
    }
    n_leaves_ = 0;
    for (std::size_t k = 0; k < f.powers.size(); ++k) {
      multiply(f, k, n);
    }
    if (shared != nullptr) {
      add_up(shared->sums, shared->read, slope, shared->n, block_.source[1]);
      for (std::size_t r = 0; r < block_.lanes; ++r) {
        block_.c[1][r] = slope[r];
        block_.energy[1][r] = energy_of(slope, f.degree, r);
      }
    }
    add_up(f.sums, f.read, value, f.n, block_.source[0]);
    for (std::size_t r = 0; r < block_.lanes; ++r) {
      block_.c[0][r] = value[r];
      block_.energy[0][r] = energy_of(value, f.degree, r);
    }
    if (own != nullptr) {
      add_up(own->slope_sums, own->slope_read, slope, own->n_slope, block_.buffers[Block::kSlope]);
      mix_tangent();
      multiply_tangent(f, *own, n_tangent, slope);
    }
  }

private:
  using Block = PixelBlock<T>;

  // A vector that is `scale` times what lies there.
  struct Power {
    T* block;
    alignas(64) T scale[kMostLanes];
  };

  // The unit vector of the next power.
  void multiply(const PixelActivation& f, std::size_t k, std::size_t n) {
    const PixelPower& power = f.powers[k];
    Power next{block_.buffers[Block::kPowers + k], {}};
    if (const auto* m = std::get_if<Monomials>(&power.how)) {
      for (const std::size_t i : {power.a, power.b}) {
        Power& factor = powers_[i];
        block_.loops.scale_lanes(factor.block, i == 0 ? n : f.powers[i - 1].n(), factor.scale);
        std::fill(factor.scale, factor.scale + kMostLanes, T{1});
      }
      block_.loops.weighted_product(powers_[power.a].block, m->take_a.data(),
                                    powers_[power.b].block, m->take_b.data(), power.n(),
                                    m->factors.template data<T>(), next.block);
      std::fill(next.scale, next.scale + kMostLanes, T{1});
    } else {
      const auto& p = std::get<TensorProduct>(power.how);
      const Power &a = powers_[power.a], &b = powers_[power.b];
      T* leaf = block_.buffers[Block::kPowers + f.powers.size() + p.leaf];
      if (p.leaf == n_leaves_) {
        block_.transform(p.from_b, b.block, leaf);
        ++n_leaves_;
      }
      T* left = p.in_order ? next.block : block_.buffers[Block::kLeft];
      block_.transform(p.from_a, a.block, left);
      alignas(64) T scale[kMostLanes], squares[kMostLanes];
      std::transform(a.scale, a.scale + kMostLanes, b.scale, scale, std::multiplies<>());
      block_.multiply(p, left, leaf, scale, next.block, squares);
      block_.norm_factors(squares, one_, next.scale);
    }
    powers_.push_back(next);
  }

  // (d, y) times the features (c, z) of the derivative: d c, d z, c y and the product of y and z.
  void multiply_tangent(const PixelActivation& f, const OwnTangent& own, std::size_t n,
                        const double* slope) {
    double energies[kMostLanes] = {};
    T *y = block_.buffers[Block::kTangent], *z = block_.buffers[Block::kSlope],
      *product = block_.buffers[Block::kProduct], *to = block_.source[1];
    alignas(64) T of_y[kMostLanes] = {}, of_z[kMostLanes] = {}, both[kMostLanes] = {};
    block_.norm_factors(y, n, block_.energy[1], of_y);
    for (std::size_t r = 0; r < block_.lanes; ++r) {
      energies[r] = energy_of(slope, f.degree, r);
    }
    block_.norm_factors(z, own.n_slope, energies, of_z);
    // Of unit vectors, so that the product is neither too small nor too large.
    double whole[kMostLanes] = {};
    for (std::size_t r = 0; r < block_.lanes; ++r) {
      whole[r] = block_.energy[1][r] * energies[r];
      const double size = std::sqrt(whole[r]);
      both[r] =
          size > 0
              ? static_cast<T>(static_cast<double>(of_y[r]) * static_cast<double>(of_z[r]) / size)
              : T{0};
    }
    T *left = block_.buffers[Block::kFirst], *right = block_.buffers[Block::kSecond];
    block_.transform(own.product.from_a, y, left);
    block_.transform(own.product.from_b, z, right);
    alignas(64) T squares[kMostLanes];
    block_.multiply(own.product, left, right, both, product, squares);
    alignas(64)
        T weight[4][kMostLanes] = {}; // of product, y, z and the features of the NNGP kernel
    block_.norm_factors(squares, whole, weight[0]);
    double rest[kMostLanes] = {}, nngp[kMostLanes] = {};
    for (std::size_t r = 0; r < block_.lanes; ++r) {
      const double d = block_.c[1][r], c = slope[r], y2 = block_.energy[1][r], z2 = energies[r];
      weight[1][r] = static_cast<T>(c * static_cast<double>(of_y[r]));
      weight[2][r] = static_cast<T>(d * static_cast<double>(of_z[r]));
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
    const bool merged = f.merged > 0;
    if (merged) {
      block_.norm_factors(block_.source[0], f.n, nngp, weight[3]);
    }
    const PixelTerm<T> terms[] = {
        {product, weight[0]}, {y, weight[1]}, {z, weight[2]}, {block_.source[0], weight[3]}};
    if (own.read.found()) {
      combine(own.read, terms, to);
    } else {
      std::fill(to, to + own.n * block_.lanes, T{0});
      add(own.from_product, own.product.n, terms[0], to);
      add(own.from_tangent, n, terms[1], to);
      add(own.from_slope, own.n_slope, terms[2], to);
      if (merged) {
        add(own.from_nngp, f.n, terms[3], to);
      }
    }
    if (merged) {
      T* cell = to + static_cast<std::size_t>(own.from_nngp.to[f.n]) * block_.lanes;
      for (std::size_t r = 0; r < block_.lanes; ++r) {
        cell[r] += static_cast<T>(rest[r]) * own.from_nngp.signs.template data<T>()[f.n];
      }
    }
  }

  void combine(const PixelSums& sums, const PixelTerm<T>* terms, T* to) {
    for (const PixelSums::Segment& s : sums.segments) {
      block_.pixel_loops.combine(terms, sums.runs.data() + s.begin, s.end - s.begin, s.first,
                                 s.last, sums.signs.template data<T>(), to);
    }
  }

  void add(const Hash& hash, std::size_t n, const PixelTerm<T>& term, T* to) {
    block_.pixel_loops.weighted_sketch(term.src, n, hash.to.data(), hash.signs.template data<T>(),
                                       term.weight, to);
  }

  // sum over j of weight_j S_j, hashed
  void add_up(const std::vector<Hash>& sums, const PixelSums& read, const double* weights,
              std::size_t n, T* to) {
    const std::size_t degree = sums.size() - 1;
    alignas(64) T weight[HermiteWeights::kMaxDegree][kMostLanes] = {};
    PixelTerm<T> terms[HermiteWeights::kMaxDegree];
    for (std::size_t j = 0; j < degree; ++j) {
      for (std::size_t r = 0; r < block_.lanes; ++r) {
        weight[j][r] = static_cast<T>(weights[(j + 1) * kMostLanes + r]) * powers_[j].scale[r];
      }
      terms[j] = {powers_[j].block, weight[j]};
    }
    if (read.found()) {
      combine(read, terms, to);
    } else {
      std::fill(to, to + n * block_.lanes, T{0});
      for (std::size_t j = 0; j < degree; ++j) {
        add(sums[j], sums[j].to.size(), terms[j], to);
      }
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
  std::vector<Power> powers_;
  std::size_t n_leaves_ = 0; // that are there
  double one_[kMostLanes] = {};
};

} // namespace nkfast
