// One thread's memory, and the stages of a PixelProgram on one image.
#pragma once

#include "features/hermite.hpp"
#include "features/pixel_views.hpp"
#include "features/pixels.hpp"
#include "simd/dispatch.hpp"

#include <algorithm>
#include <cmath>
#include <memory>
#include <new>
#include <optional>
#include <type_traits>

namespace nkfast::pixels {

template <class T> class Program::Runner {
public:
  explicit Runner(const Program& program)
      : program_(program), loops_(table<T>()), lanes_(static_cast<std::size_t>(loops_.lanes)) {
    memory_ = allocate(program.field_size_);
    std::size_t widest = program.output_.length;
    for (const Field& field : program.fields_) {
      widest = std::max(widest, field.n + 2);
    }
    std::size_t n_powers = 1;
    for (const Stage& stage : program.stages_) {
      for (const Channel& channel : stage.channels) {
        widest = std::max(widest, channel.n);
      }
      weights_.emplace_back();
      if (stage.activation) {
        const Activation& f = *stage.activation;
        weights_.back().emplace(f);
        n_powers = std::max(n_powers, f.powers.size());
        widest = std::max({widest, f.n, f.n_slope, f.n_tangent, f.product.n, f.product.length_a,
                           f.product.length_b});
        for (const Power& power : f.powers) {
          widest =
              std::max({widest, power.product.n, power.product.length_a, power.product.length_b});
        }
      }
      visits_.push_back(Visits<T>(stage, program.fields_, lanes_));
    }
    const std::size_t size = widest * lanes_ + 7 * 64 / sizeof(T); // on different cache sets
    scratch_ = allocate(size * (kBuffers + n_powers));
    for (std::size_t k = 0; k < kBuffers + n_powers; ++k) {
      buffers_.push_back(scratch_.get() + k * round(size));
    }
  }

  void image(const T* x, T* out) {
    load(x);
    for (const Step& step : program_.steps_) {
      if (step.is_pool) {
        pool(program_.pools_[step.index]);
      } else {
        run(program_.stages_[step.index], step.index);
      }
    }
    emit(out);
  }

private:
  // Buffers of the blocks; powers from kPowers on.
  enum { kNngp, kTangent, kLeft, kRight, kSum, kSlope, kProduct, kBuffers };

  struct Free {
    void operator()(T* p) const { ::operator delete(p, std::align_val_t(64)); }
  };
  using Memory = std::unique_ptr<T, Free>;
  static std::size_t round(std::size_t n) { return n / 16 * 16; }
  static Memory allocate(std::size_t n) {
    T* p = static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t(64)));
    std::fill(p, p + n, T{0});
    return Memory(p);
  }

  T* plane(std::size_t field) { return memory_.get() + program_.starts_[field]; }
  std::size_t stride(std::size_t field) const { return program_.fields_[field].grid.stride; }
  std::size_t size(std::size_t field) const { return program_.fields_[field].n; }

  void load(const T* x) {
    const Grid& grid = program_.fields_[0].grid;
    const std::size_t n = size(0);
    const T scale = static_cast<T>(1 / std::sqrt(static_cast<double>(std::max<std::size_t>(n, 1))));
    T* to = plane(0);
    std::fill(to, to + (n + 2) * grid.stride, T{0});
    for (std::size_t i = 0; i < grid.height; ++i) {
      for (std::size_t j = 0; j < grid.width; ++j) {
        T sum = 0;
        for (std::size_t k = 0; k < n; ++k) {
          const T value = *x++ * scale;
          to[k * grid.stride + grid.at(i, j)] = value;
          sum += value * value;
        }
        to[(n + 1) * grid.stride + grid.at(i, j)] = sum;
      }
    }
  }

  // The rims of a field are zero, whatever lay there before.
  void clear(std::size_t field) {
    T* to = plane(field);
    std::fill(to, to + (size(field) + 2) * stride(field) + 16, T{0});
  }

  void pool(const Pool& p) {
    const Grid &from = program_.fields_[p.from].grid, &to = program_.fields_[p.to].grid;
    const std::size_t n = size(p.from), n_taps = p.rows * p.cols;
    clear(p.to);
    T* target = plane(p.to);
    const PlanePool windows{.window_rows = p.rows,
                            .window_cols = p.cols,
                            .row_stride = p.row_stride,
                            .col_stride = p.col_stride,
                            .pitch = from.pitch,
                            .dst_pitch = to.pitch,
                            .rows = to.height,
                            .cols = to.width};
    const bool pooled = loops_.pool_planes(windows, plane(p.from) + from.front, from.stride, n + 1,
                                           target + to.front, to.stride);
    taps_.resize(n_taps * lanes_);
    for (std::size_t at = 0; at < to.span(); at += lanes_) {
      alignas(64) T mask[kMost] = {};
      for (std::size_t r = 0; r < lanes_; ++r) {
        const std::size_t row = (at + r) / to.pitch, col = (at + r) % to.pitch;
        const bool inside = row < to.height && col < to.width;
        mask[r] = inside ? T{1} : T{0};
        for (std::size_t t = 0; t < n_taps && !pooled; ++t) {
          taps_[t * lanes_ + r] =
              inside ? static_cast<std::int32_t>(from.at(row * p.row_stride + t / p.cols,
                                                         col * p.col_stride + t % p.cols))
                     : 0;
        }
      }
      T* cells = target + to.front + at;
      if (!pooled) {
        loops_.mean_planes(plane(p.from), from.stride, n + 1, taps_.data(), n_taps, cells,
                           to.stride);
      }
      T* block = buffers_[kLeft];
      loops_.collect(cells, to.stride, n, mask, block);
      loops_.square_sums(block, n, cells + (n + 1) * to.stride);
    }
  }

  // Vectors over the square root of their energy, |v| being what it is.
  void norm_factors(const T* block, std::size_t n, const double* energy, T* factor) {
    alignas(64) T sums[kMost];
    loops_.square_sums(block, n, sums);
    for (std::size_t r = 0; r < lanes_; ++r) {
      factor[r] =
          sums[r] > 0 ? static_cast<T>(std::sqrt(energy[r] / static_cast<double>(sums[r]))) : T{0};
    }
  }

  // A channel of a block of pixels: v as it is summed up, c and |v|^2 as it ought to be.
  void mix(const Channel& channel, const Visits<T>& visits, const View* views, T* block, double* c,
           double* energy) {
    std::fill(block, block + channel.n * lanes_, T{0});
    std::fill(energy, energy + lanes_, 0.0);
    std::fill(c, c + lanes_, channel.constant * channel.direction);
    scalars_.resize(channel.parts.size() * lanes_);
    for (std::size_t k = 0; k < channel.parts.size(); ++k) {
      const Part& part = channel.parts[k];
      const std::size_t n = size(part.field), step = stride(part.field);
      const T* from = plane(part.field);
      std::size_t width = step;
      if (views[k].base >= 0) {
        from += views[k].base;
      } else {
        loops_.mean_planes(from, step, n + 2, visits.lists.data() + views[k].list, 1,
                           buffers_[kLeft], lanes_);
        from = buffers_[kLeft];
        width = lanes_;
      }
      loops_.sketch_plane(from, width, n, part.hash.to.data(), signs(part.hash), block);
      for (std::size_t r = 0; r < lanes_; ++r) {
        const double value = part.scale * static_cast<double>(from[n * width + r]);
        scalars_[k * lanes_ + r] = value;
        c[r] += part.direction * value;
        energy[r] += part.scale * part.scale * static_cast<double>(from[(n + 1) * width + r]);
      }
    }
    // All parts have the same scale.
    const double scale = channel.parts.empty() ? 1 : channel.parts[0].scale;
    for (std::size_t r = 0; r < lanes_; ++r) {
      const auto leave = [&](double value, double direction, const Hash& hash, std::size_t i) {
        const double rest = value - direction * c[r];
        energy[r] += rest * rest;
        const std::size_t to = static_cast<std::size_t>(hash.to[i]) * lanes_ + r;
        block[to] += static_cast<T>(rest / scale) * signs(hash)[i];
      };
      for (std::size_t k = 0; k < channel.parts.size(); ++k) {
        const Part& part = channel.parts[k];
        leave(scalars_[k * lanes_ + r], part.direction, part.hash, size(part.field));
      }
      leave(channel.constant, channel.direction, channel.hash, 0);
    }
  }

  const T* signs(const Hash& hash) const {
    if constexpr (std::is_same_v<T, float>) {
      return hash.signs.f32.data();
    } else {
      return hash.signs.f64.data();
    }
  }

  void multiply(const Product& p, const T* a, std::size_t n_a, const T* b, std::size_t n_b, T* to) {
    const auto leaf = [&](const T* from, std::size_t n, std::size_t length, const Hash& hash,
                          T* leaf_block) {
      std::fill(leaf_block, leaf_block + length * lanes_, T{0});
      loops_.count_sketch(from, n, hash.to.data(), signs(hash), leaf_block);
      loops_.wht_block(leaf_block, length);
    };
    leaf(a, n_a, p.length_a, p.hash_a, buffers_[kLeft]);
    leaf(b, n_b, p.length_b, p.hash_b, buffers_[kRight]);
    loops_.product(buffers_[kLeft], p.take_a.data(), buffers_[kRight], p.take_b.data(), p.n,
                   static_cast<T>(1 / std::sqrt(static_cast<double>(p.n))), to);
  }

  void normalise(T* block, std::size_t n, const double* energy) {
    alignas(64) T factor[kMost];
    norm_factors(block, n, energy, factor);
    loops_.scale_lanes(block, n, factor);
  }

  // sum over j of weight_j S_j, hashed
  void add_up(const std::vector<Hash>& sums, const double* weights, std::size_t n, T* to) {
    std::fill(to, to + n * lanes_, T{0});
    for (std::size_t j = 0; j + 1 < sums.size(); ++j) {
      alignas(64) T weight[kMost] = {};
      std::transform(weights + (j + 1) * kMost, weights + (j + 1) * kMost + lanes_, weight,
                     [](double w) { return static_cast<T>(w); });
      loops_.weighted_sketch(powers_[j], sums[j].to.size(), sums[j].to.data(), signs(sums[j]),
                             weight, to);
    }
    const double* rests = weights + sums.size() * kMost;
    for (std::size_t k = 0; k < kRests; ++k) {
      T* cell = to + static_cast<std::size_t>(sums.back().to[k]) * lanes_;
      for (std::size_t r = 0; r < lanes_; ++r) {
        cell[r] += static_cast<T>(rests[k * kMost + r]) * signs(sums.back())[k];
      }
    }
  }

  static double energy_of(const double* weights, std::size_t degree, std::size_t r) {
    double sum = 0;
    for (std::size_t j = 1; j <= degree + kRests; ++j) {
      sum += weights[j * kMost + r] * weights[j * kMost + r];
    }
    return sum;
  }

  void run(const Stage& stage, std::size_t index) {
    const Visits<T>& visits = visits_[index];
    for (const std::size_t field : stage.stores) {
      clear(field);
    }
    for (const typename Visits<T>::Block& block : visits.blocks) {
      const View* views = block.views.data();
      for (std::size_t k = 0; k < stage.channels.size(); ++k) {
        mix(stage.channels[k], visits, views, buffers_[kNngp + k], c_[k], energy_[k]);
        views += stage.channels[k].parts.size();
      }
      if (stage.activation) {
        activate(stage, index);
      } else {
        source_[0] = buffers_[kNngp];
        source_[1] = buffers_[kTangent];
      }
      for (std::size_t k = 0; k < stage.stores.size(); ++k) {
        store(stage.stores[k], block, k);
      }
    }
  }

  void store(std::size_t field, const typename Visits<T>::Block& block, std::size_t k) {
    alignas(64) T factor[kMost] = {};
    const std::size_t n = size(field);
    T* to = plane(field) + block.position;
    norm_factors(source_[k], n, energy_[k], factor);
    for (std::size_t r = 0; r < lanes_; ++r) {
      factor[r] *= block.mask[r];
      to[n * stride(field) + r] = static_cast<T>(c_[k][r]) * block.mask[r];
      to[(n + 1) * stride(field) + r] = static_cast<T>(energy_[k][r]) * block.mask[r];
    }
    loops_.spread(source_[k], n, factor, to, stride(field));
  }

  void activate(const Stage& stage, std::size_t index) {
    const Activation& f = *stage.activation;
    const bool tangent = stage.stores.size() > 1;
    const std::size_t n = stage.channels[0].n;
    double one[kMost];
    std::fill(one, one + kMost, 1.0);
    powers_.assign(1, buffers_[kNngp]);
    normalise(powers_[0], n, one);
    double value[HermiteWeights::kMost * kMost];
    double slope[HermiteWeights::kMost * kMost];
    for (std::size_t r = 0; r < lanes_; ++r) {
      (*weights_[index])(c_[0][r], energy_[0][r], value + r, tangent ? slope + r : nullptr, kMost);
    }
    for (std::size_t k = 0; k < f.powers.size(); ++k) {
      const Power& power = f.powers[k];
      const Product& p = power.product;
      const auto length = [&](std::size_t l) { return l == 0 ? n : f.powers[l - 1].product.n; };
      T* to = buffers_[kBuffers + k];
      if (power.factors.size() > 0) {
        loops_.weighted_product(powers_[power.a], p.take_a.data(), powers_[power.b],
                                p.take_b.data(), p.n, factors(power), to);
      } else {
        multiply(p, powers_[power.a], length(power.a), powers_[power.b], length(power.b), to);
        normalise(to, p.n, one);
      }
      powers_.push_back(to);
    }
    if (tangent && f.alias) {
      add_up(f.tangent_sums, slope, f.n_tangent, buffers_[kProduct]);
      for (std::size_t r = 0; r < lanes_; ++r) {
        c_[1][r] = slope[r];
        energy_[1][r] = energy_of(slope, f.degree, r);
      }
      source_[1] = buffers_[kProduct];
    }
    add_up(f.sums, value, f.n, buffers_[kSum]);
    for (std::size_t r = 0; r < lanes_; ++r) {
      c_[0][r] = value[r];
      energy_[0][r] = energy_of(value, f.degree, r);
    }
    source_[0] = buffers_[kSum];
    if (tangent && !f.alias) {
      multiply_tangent(f, stage.channels[1].n, slope);
    }
  }

  // (d, y) times the features (c, z) of the derivative: d c, d z, c y and the product of y and z.
  void multiply_tangent(const Activation& f, std::size_t n, const double* slope) {
    alignas(64) T by_scalar[kMost] = {}, by_slope[kMost] = {}, whole[kMost] = {}, old[kMost] = {};
    double energies[kMost] = {};
    T *y = buffers_[kTangent], *z = buffers_[kSlope], *to = buffers_[kNngp];
    normalise(y, n, energy_[1]);
    add_up(f.slope_sums, slope, f.n_slope, z);
    for (std::size_t r = 0; r < lanes_; ++r) {
      energies[r] = energy_of(slope, f.degree, r);
    }
    normalise(z, f.n_slope, energies);
    multiply(f.product, y, n, z, f.n_slope, buffers_[kProduct]);
    std::fill(to, to + f.n_tangent * lanes_, T{0});
    norm_to(f, energies, whole);
    double rest[kMost] = {};
    for (std::size_t r = 0; r < lanes_; ++r) {
      const double d = c_[1][r], c = slope[r], y2 = energy_[1][r], z2 = energies[r];
      by_scalar[r] = static_cast<T>(c);
      by_slope[r] = static_cast<T>(d);
      energy_[1][r] = y2 * z2 + y2 * c * c + z2 * d * d;
      c_[1][r] = d * c;
      if (f.merged) {
        const double along = f.direction_tangent * d * c + f.direction_nngp * c_[0][r];
        rest[r] = f.direction_tangent * c_[0][r] - f.direction_nngp * d * c;
        c_[1][r] = along;
        energy_[1][r] += energy_[0][r] + rest[r] * rest[r];
      }
    }
    add(f.from_product, buffers_[kProduct], f.product.n, whole, to);
    add(f.from_tangent, y, n, by_scalar, to);
    add(f.from_slope, z, f.n_slope, by_slope, to);
    if (f.merged) {
      norm_factors(source_[0], f.n, energy_[0], old);
      add(f.from_nngp, source_[0], f.n, old, to);
      T* cell = to + static_cast<std::size_t>(f.from_nngp.to[f.n]) * lanes_;
      for (std::size_t r = 0; r < lanes_; ++r) {
        cell[r] += static_cast<T>(rest[r]) * signs(f.from_nngp)[f.n];
      }
    }
    source_[1] = to;
  }

  void norm_to(const Activation& f, const double* energies, T* factor) {
    double wanted[kMost] = {};
    for (std::size_t r = 0; r < lanes_; ++r) {
      wanted[r] = energy_[1][r] * energies[r];
    }
    norm_factors(buffers_[kProduct], f.product.n, wanted, factor);
  }

  void add(const Hash& hash, const T* from, std::size_t n, const T* weight, T* to) {
    loops_.weighted_sketch(from, n, hash.to.data(), signs(hash), weight, to);
  }

  const T* factors(const Power& power) const {
    if constexpr (std::is_same_v<T, float>) {
      return power.factors.f32.data();
    } else {
      return power.factors.f64.data();
    }
  }

  void emit(T* out) {
    const Output& o = program_.output_;
    const Grid& grid = program_.fields_[o.field].grid;
    const std::size_t n = size(o.field);
    const T* from = plane(o.field) + grid.front;
    T* block = buffers_[kNngp];
    std::fill(out, out + o.n, T{0});
    const double c = static_cast<double>(from[n * grid.stride]);
    double energy = static_cast<double>(from[(n + 1) * grid.stride]);
    std::size_t column = 0;
    if (o.scalar) {
      out[column++] = static_cast<T>(c * o.scale);
    }
    if (o.length == 0) {
      for (std::size_t j = 0; j < n; ++j) {
        out[column + j] = from[j * grid.stride] * static_cast<T>(o.scale);
      }
      return;
    }
    std::fill(block, block + o.length, T{0});
    for (std::size_t j = 0; j < n; ++j) {
      block[o.hash.to[j]] += from[j * grid.stride] * signs(o.hash)[j];
    }
    if (!o.scalar) {
      block[o.hash.to[n]] += static_cast<T>(c) * signs(o.hash)[n];
      energy += c * c;
    }
    loops_.wht_rows(block, 1, o.length, T{1});
    double sum = 0;
    for (const std::int32_t i : o.take) {
      sum += static_cast<double>(block[i]) * static_cast<double>(block[i]);
    }
    const T factor = sum > 0 ? static_cast<T>(o.scale * std::sqrt(energy / sum)) : T{0};
    for (const std::int32_t i : o.take) {
      out[column++] = block[i] * factor;
    }
  }

  const Program& program_;
  const Table<T>& loops_;
  std::size_t lanes_;
  Memory memory_, scratch_;
  std::vector<T*> buffers_;
  std::vector<T*> powers_;
  std::vector<std::optional<HermiteWeights>> weights_;
  std::vector<Visits<T>> visits_;
  std::vector<double> scalars_;
  Ints taps_;
  T* source_[2] = {};
  double c_[2][kMost] = {}, energy_[2][kMost] = {};
};

} // namespace nkfast::pixels
