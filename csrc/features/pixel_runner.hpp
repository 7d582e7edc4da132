// One thread's memory, and the stages of a PixelProgram on one image.
#pragma once

#include "aligned.hpp"
#include "features/hermite.hpp"
#include "features/pixel_activation.hpp"
#include "features/pixel_block.hpp"
#include "features/pixel_program.hpp"
#include "features/pixel_views.hpp"
#include "parallel.hpp"
#include "simd/dispatch.hpp"
#include "sketch/norms.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <vector>

namespace nkfast {

template <class T> class PixelRunner {
public:
  explicit PixelRunner(const PixelParts& program)
      : program_(program), memory_(program.field_size),
        block_(widest(program), most_powers(program)), activation_(block_) {
    for (const PixelStage& stage : program.stages) {
      weights_.emplace_back();
      if (stage.activation) {
        weights_.back().emplace(*stage.activation);
      }
      visits_.push_back(PixelVisits<T>(stage, program.fields, block_.lanes));
    }
  }

  void image(const T* x, T* out) {
    load(x);
    for (const PixelParts::Step& step : program_.steps) {
      if (step.is_pool) {
        pool(program_.pools[step.index]);
      } else {
        run(program_.stages[step.index], step.index);
      }
    }
    emit(out);
  }

private:
  using Block = PixelBlock<T>;

  // The longest vector that a buffer of a block holds.
  static std::size_t widest(const PixelParts& program) {
    std::size_t n = program.output.sample ? program.output.sample->length : 0;
    for (const PixelField& field : program.fields) {
      n = std::max(n, field.n + 2);
    }
    const auto include = [&](const TensorProduct& p) {
      n = std::max({n, p.n, p.length_a, p.length_b});
    };
    for (const PixelStage& stage : program.stages) {
      for (const PixelChannel& channel : stage.channels) {
        n = std::max(n, channel.n);
      }
      if (stage.activation) {
        const PixelActivation& f = *stage.activation;
        n = std::max(n, f.n);
        if (const SharedTangent* shared = f.shared()) {
          n = std::max(n, shared->n);
        } else if (const OwnTangent* own = f.own()) {
          n = std::max({n, own->n, own->n_slope});
          include(own->product);
        }
        for (const PixelPower& power : f.powers) {
          n = std::max(n, power.n());
          if (const auto* product = std::get_if<TensorProduct>(&power.how)) {
            include(*product);
          }
        }
      }
    }
    return n;
  }

  static std::size_t most_powers(const PixelParts& program) {
    std::size_t n = 1;
    for (const PixelStage& stage : program.stages) {
      n = std::max(n, stage.activation ? stage.activation->powers.size() : 0);
    }
    return n;
  }

  T* plane(std::size_t field) { return memory_.data() + program_.starts[field]; }
  std::size_t stride(std::size_t field) const { return program_.fields[field].grid.stride; }
  std::size_t size(std::size_t field) const { return program_.fields[field].n; }

  void load(const T* x) {
    const PixelOutput& o = program_.output;
    const PixelGrid& grid = program_.fields[0].grid;
    const std::size_t n = size(0);
    const auto count = static_cast<double>(grid.height * grid.width * n);
    int unit = o.input_exponent;
    exponent_ = o.exponent;
    left_over_ = 1;
    if (o.power) {
      const double size = norm(x, grid.height * grid.width * n) / std::sqrt(count);
      constexpr int kLast = std::numeric_limits<double>::max_exponent;
      unit = size > 0 ? (std::isfinite(size) ? std::ilogb(size) + 1 : kLast) : 0;
      const double whole = std::rint(*o.power * unit);
      exponent_ += static_cast<int>(std::clamp(whole, -1e6, 1e6));
      left_over_ = std::exp2(*o.power * unit - whole);
    }
    // In two factors, that neither of them overflows.
    const double first = std::ldexp(1 / std::sqrt(static_cast<double>(n)), -unit / 2);
    const double second = std::ldexp(1.0, -(unit - unit / 2));
    T* to = plane(0);
    std::fill(to, to + (n + 2) * grid.stride, T{0});
    for (std::size_t i = 0; i < grid.height; ++i) {
      for (std::size_t j = 0; j < grid.width; ++j) {
        T sum = 0;
        for (std::size_t k = 0; k < n; ++k) {
          const T value = static_cast<T>(static_cast<double>(*x++) * first * second);
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

  void pool(const PixelPool& p) {
    const PixelGrid &from = program_.fields[p.from].grid, &to = program_.fields[p.to].grid;
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
    const bool pooled = block_.loops.pool_planes(windows, plane(p.from) + from.front, from.stride,
                                                 n + 1, target + to.front, to.stride);
    taps_.resize(n_taps * block_.lanes);
    for (std::size_t at = 0; at < to.span(); at += block_.lanes) {
      alignas(64) T mask[kMostLanes] = {};
      for (std::size_t r = 0; r < block_.lanes; ++r) {
        const std::size_t row = (at + r) / to.pitch, col = (at + r) % to.pitch;
        const bool inside = row < to.height && col < to.width;
        mask[r] = inside ? T{1} : T{0};
        for (std::size_t t = 0; t < n_taps && !pooled; ++t) {
          taps_[t * block_.lanes + r] =
              inside ? static_cast<std::int32_t>(from.at(row * p.row_stride + t / p.cols,
                                                         col * p.col_stride + t % p.cols))
                     : 0;
        }
      }
      T* cells = target + to.front + at;
      if (!pooled) {
        block_.loops.mean_planes(plane(p.from), from.stride, n + 1, taps_.data(), n_taps, cells,
                                 to.stride);
      }
      T* block = block_.buffers[Block::kLeft];
      block_.loops.collect(cells, to.stride, n, mask, block);
      block_.loops.square_sums(block, n, cells + (n + 1) * to.stride);
    }
  }

  // A channel of a block of pixels: v as it is summed up, c and |v|^2 as it ought to be.
  void mix(const PixelChannel& channel, const PixelVisits<T>& visits, const PixelView* views,
           T* block, double* c, double* energy) {
    std::fill(block, block + channel.n * block_.lanes, T{0});
    std::fill(energy, energy + block_.lanes, 0.0);
    std::fill(c, c + block_.lanes, channel.constant * channel.direction);
    scalars_.resize(channel.parts.size() * block_.lanes);
    for (std::size_t k = 0; k < channel.parts.size(); ++k) {
      const PixelPart& part = channel.parts[k];
      const std::size_t n = size(part.field), step = stride(part.field);
      const T* from = plane(part.field);
      std::size_t width = step;
      if (views[k].base >= 0) {
        from += views[k].base;
      } else {
        block_.loops.mean_planes(from, step, n + 2, visits.lists.data() + views[k].list, 1,
                                 block_.buffers[Block::kLeft], block_.lanes);
        from = block_.buffers[Block::kLeft];
        width = block_.lanes;
      }
      block_.loops.sketch_plane(from, width, n, part.hashed.to.data(),
                                part.hashed.signs.template data<T>(), block);
      for (std::size_t r = 0; r < block_.lanes; ++r) {
        const double value = part.scale * static_cast<double>(from[n * width + r]);
        scalars_[k * block_.lanes + r] = value;
        c[r] += part.direction * value;
        energy[r] += part.scale * part.scale * static_cast<double>(from[(n + 1) * width + r]);
      }
    }
    for (std::size_t r = 0; r < block_.lanes; ++r) {
      const auto leave = [&](double value, double direction, const Hash& hash, std::size_t i) {
        const double rest = value - direction * c[r];
        energy[r] += rest * rest;
        const std::size_t to = static_cast<std::size_t>(hash.to[i]) * block_.lanes + r;
        block[to] += static_cast<T>(rest) * hash.signs.template data<T>()[i];
      };
      for (std::size_t k = 0; k < channel.parts.size(); ++k) {
        const PixelPart& part = channel.parts[k];
        leave(scalars_[k * block_.lanes + r], part.direction, part.hashed, size(part.field));
      }
      leave(channel.constant, channel.direction, channel.hashed, 0);
    }
  }

  void run(const PixelStage& stage, std::size_t index) {
    const PixelVisits<T>& visits = visits_[index];
    for (const std::size_t field : stage.stores) {
      clear(field);
    }
    Checkpoint checkpoint(kLeastNanoseconds);
    for (const typename PixelVisits<T>::Block& block : visits.blocks) {
      checkpoint();
      const PixelView* views = block.views.data();
      for (std::size_t k = 0; k < stage.channels.size(); ++k) {
        mix(stage.channels[k], visits, views, block_.buffers[Block::kNngp + k], block_.c[k],
            block_.energy[k]);
        views += stage.channels[k].parts.size();
      }
      if (stage.activation) {
        activation_.run(*stage.activation, *weights_[index], stage.channels[0].n,
                        stage.channels.back().n);
      } else {
        block_.source[0] = block_.buffers[Block::kNngp];
        block_.source[1] = block_.buffers[Block::kTangent];
      }
      for (std::size_t k = 0; k < stage.stores.size(); ++k) {
        store(stage.stores[k], block, k);
      }
    }
  }

  void store(std::size_t field, const typename PixelVisits<T>::Block& block, std::size_t k) {
    alignas(64) T factor[kMostLanes] = {};
    const std::size_t n = size(field);
    T* to = plane(field) + block.position;
    block_.norm_factors(block_.source[k], n, block_.energy[k], factor);
    for (std::size_t r = 0; r < block_.lanes; ++r) {
      factor[r] *= block.mask[r];
      to[n * stride(field) + r] = static_cast<T>(block_.c[k][r]) * block.mask[r];
      to[(n + 1) * stride(field) + r] = static_cast<T>(block_.energy[k][r]) * block.mask[r];
    }
    block_.loops.spread(block_.source[k], n, factor, to, stride(field));
  }

  void emit(T* out) {
    const PixelOutput& o = program_.output;
    const PixelGrid& grid = program_.fields[o.field].grid;
    const std::size_t n = size(o.field);
    const T* from = plane(o.field) + grid.front;
    T* block = block_.buffers[Block::kNngp];
    std::fill(out, out + o.n, T{0});
    const double c = static_cast<double>(from[n * grid.stride]);
    double energy = static_cast<double>(from[(n + 1) * grid.stride]);
    std::size_t column = 0;
    if (o.scalar) {
      out[column++] = static_cast<T>(c);
    }
    if (!o.sample) {
      for (std::size_t j = 0; j < n; ++j) {
        out[column + j] = from[j * grid.stride];
      }
      scale(out);
      return;
    }
    const HadamardSample& sample = *o.sample;
    const T* signs = sample.hashed.signs.template data<T>();
    std::fill(block, block + sample.length, T{0});
    for (std::size_t j = 0; j < n; ++j) {
      block[sample.hashed.to[j]] += from[j * grid.stride] * signs[j];
    }
    if (!o.scalar) {
      block[sample.hashed.to[n]] += static_cast<T>(c) * signs[n];
      energy += c * c;
    }
    block_.loops.wht_rows(block, 1, sample.length, T{1});
    double sum = 0;
    for (const std::int32_t i : sample.take) {
      sum += static_cast<double>(block[i]) * static_cast<double>(block[i]);
    }
    const T factor = sum > 0 ? static_cast<T>(std::sqrt(energy / sum)) : T{0};
    for (const std::int32_t i : sample.take) {
      out[column++] = block[i] * factor;
    }
    scale(out);
  }

  // Features in their unit.
  void scale(T* out) const {
    if (exponent_ == 0 && left_over_ == 1) {
      return;
    }
    const int some = std::clamp(exponent_, -2000, 2000); // far beyond what a double holds
    const double first = std::ldexp(left_over_, some / 2),
                 second = std::ldexp(1.0, some - some / 2);
    for (std::size_t j = 0; j < program_.output.n; ++j) {
      out[j] = static_cast<T>(static_cast<double>(out[j]) * first * second);
    }
  }

  const PixelParts& program_;
  AlignedBuffer<T> memory_; // of the fields
  Block block_;
  PixelActivationRunner<T> activation_;
  std::vector<std::optional<HermiteWeights>> weights_;
  std::vector<PixelVisits<T>> visits_;
  std::vector<double> scalars_;
  Ints taps_;
  int exponent_ = 0;     // of the unit of the features,
  double left_over_ = 1; // which is that many times that power of two
};

} // namespace nkfast
