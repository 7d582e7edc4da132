// One thread's memory, and the stages of a PixelProgram on one image.
#pragma once

#include "aligned.hpp"
#include "features/hermite.hpp"
#include "features/pixel_activation.hpp"
#include "features/pixel_block.hpp"
#include "features/pixel_layout.hpp"
#include "features/pixel_program.hpp"
#include "parallel.hpp"
#include "simd/dispatch.hpp"
#include "sketch/norms.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <vector>

namespace nkfast {

// T is what is computed in, Image what images and their features are given in.
template <class T, class Image> class PixelRunner {
public:
  PixelRunner(const PixelParts& program, const PixelLayout& layout)
      : program_(program), layout_(layout), memory_(layout.n_vectors * layout.lanes),
        activation_(block_) {
    for (const PixelStage& stage : program.stages) {
      weights_.emplace_back();
      if (stage.activation) {
        weights_.back().emplace(*stage.activation);
      }
    }
    if (program.output.sample) {
      sampled_ = AlignedBuffer<T>(program.output.sample->length);
    }
  }

  void image(const Image* x, Image* out) {
    load(x);
    Checkpoint checkpoint(kLeastNanoseconds);
    for (const PixelLayout::Op& op : layout_.ops) {
      checkpoint();
      const PixelParts::Step& step = program_.steps[op.step];
      const PixelLayout::Step& how = layout_.steps[op.step];
      if (!how.additions.empty()) {
        add_up(program_.pools[step.index], how, op.block);
      } else if (step.is_pool) {
        pool(program_.pools[step.index], how, op.block);
      } else {
        run(program_.stages[step.index], step.index, how, op.block);
      }
    }
    emit(out);
  }

private:
  using Block = PixelBlock<T>;

  std::size_t size(std::size_t field) const { return program_.fields[field].n; }

  // Features, c and |v|^2 of the W pixels of a block.
  T* cells(std::size_t field, std::size_t block) {
    const PixelLayout::Ring& ring = layout_.rings[field];
    const std::size_t slot = block % ring.n_slots;
    return memory_.data() + (ring.start + slot * (size(field) + 2)) * block_.lanes;
  }

  void load(const Image* x) {
    const PixelOutput& o = program_.output;
    const PixelGrid& grid = program_.fields[0].grid;
    const std::size_t n = size(0), n_pixels = grid.height * grid.width, lanes = block_.lanes;
    const auto count = static_cast<double>(n_pixels * n);
    int unit = o.input_exponent;
    exponent_ = o.exponent;
    left_over_ = 1;
    if (o.power) {
      const double size = norm(x, n_pixels * n) / std::sqrt(count);
      constexpr int kLast = std::numeric_limits<double>::max_exponent;
      unit = size > 0 ? (std::isfinite(size) ? std::ilogb(size) + 1 : kLast) : 0;
      const double whole = std::rint(*o.power * unit);
      exponent_ += static_cast<int>(std::clamp(whole, -1e6, 1e6));
      left_over_ = std::exp2(*o.power * unit - whole);
    }
    // In two factors, that neither of them overflows.
    const double first = std::ldexp(1 / std::sqrt(static_cast<double>(n)), -unit / 2);
    const double second = std::ldexp(1.0, -(unit - unit / 2));
    T* to = cells(0, 0);
    std::fill(to, to + (n_pixels + lanes - 1) / lanes * lanes * (n + 2), T{0});
    for (std::size_t i = 0; i < n_pixels; ++i) {
      T* pixel = cells(0, i / lanes) + i % lanes;
      T sum = 0;
      for (std::size_t k = 0; k < n; ++k) {
        const T value = static_cast<T>(static_cast<double>(*x++) * first * second);
        pixel[k * lanes] = value;
        sum += value * value;
      }
      pixel[(n + 1) * lanes] = sum;
    }
  }

  PixelPiece<T> look(const PixelLayout::Piece& piece, std::size_t field, double factor) {
    PixelPiece<T> found;
    if (piece.a >= 0 && is_used(field)) {
      found.a = cells(field, static_cast<std::size_t>(piece.a));
      found.b = cells(field, static_cast<std::size_t>(piece.b));
      found.factor = static_cast<T>(factor);
      if (piece.pick >= 0) {
        found.pick = layout_.picks.data() + static_cast<std::size_t>(piece.pick) * block_.lanes;
      }
    }
    return found;
  }

  // What a part sees at a block.
  void look(const PixelLayout::Step& how, std::size_t block, std::size_t part, std::size_t field,
            double factor) {
    const PixelLayout::Piece* pieces = how.pieces.data() + block * how.starts.back();
    for (std::size_t p = how.starts[part]; p < how.starts[part + 1]; ++p) {
      pieces_.push_back(look(pieces[p], field, factor));
    }
  }

  // Adds a block of a pool's source to the blocks that it is part of.
  void add_up(const PixelPool& p, const PixelLayout::Step& how, std::size_t source) {
    const std::size_t n = size(p.from);
    const double share = 1 / static_cast<double>(p.rows * p.cols);
    for (const PixelLayout::Addition& addition : how.additions[source]) {
      T* to = cells(p.to, addition.block);
      pieces_.assign(1, {});
      if (!addition.first) {
        pieces_[0].a = to;
      }
      for (const PixelLayout::Piece& piece : addition.pieces) {
        pieces_.push_back(look(piece, p.from, share));
      }
      block_.pixel_loops.add_runs(pieces_.data(), how.channels[0].runs.data(), pieces_.size(), 0,
                                  n + 1, to);
      if (addition.last) {
        block_.loops.square_sums(to, n, to + (n + 1) * block_.lanes);
      }
    }
  }

  void pool(const PixelPool& p, const PixelLayout::Step& how, std::size_t block) {
    const std::size_t n = size(p.from), n_taps = p.rows * p.cols;
    pieces_.clear();
    for (std::size_t t = 0; t < n_taps; ++t) {
      look(how, block, t, p.from, 1 / static_cast<double>(n_taps));
    }
    T* to = cells(p.to, block);
    const std::vector<PixelRun>& runs = how.channels[0].runs;
    block_.pixel_loops.add_runs(pieces_.data(), runs.data(), runs.size(), 0, n + 1, to);
    block_.loops.square_sums(to, n, to + (n + 1) * block_.lanes);
  }

  // The sums of a channel, hashed one by one; of the parts some features each by turns, for parts
  // that see the same block.
  void scatter(const PixelChannel& channel, const std::size_t* starts, std::size_t inside,
               T* block) {
    const std::size_t lanes = block_.lanes;
    T* to = block;
    if (inside == 1) { // one number each, instead of W
      line_.assign(channel.n, T{0});
      to = line_.data();
    } else {
      std::fill(block, block + channel.n * lanes, T{0});
    }
    std::size_t most = 0;
    for (const PixelPart& part : channel.parts) {
      most = std::max(most, size(part.field));
    }
    for (std::size_t first = 0; first < most; first += kAtOnce) {
      for (std::size_t k = 0; k < channel.parts.size(); ++k) {
        const std::int32_t* hash = channel.parts[k].hashed.to.data();
        const T* signs = channel.parts[k].hashed.signs.template data<T>();
        const std::size_t last = std::min(first + kAtOnce, size(channel.parts[k].field));
        for (std::size_t p = starts[k]; p < starts[k + 1]; ++p) {
          const PixelPiece<T>& piece = pieces_[p];
          if (piece.a == nullptr || first >= last) {
            continue;
          }
          if (inside > 1) {
            block_.pixel_loops.scatter(piece, first, last, hash, signs, to);
          } else if (const T* x = cell(piece, 0); x != nullptr) {
            for (std::size_t j = first; j < last; ++j) {
              to[hash[j]] += x[j * lanes] * signs[j];
            }
          }
        }
      }
    }
    if (inside == 1) {
      std::fill(block, block + channel.n * lanes, T{0});
      for (std::size_t j = 0; j < channel.n; ++j) {
        block[j * lanes] = line_[j];
      }
    }
  }

  // The first feature of what lane r sees, null for nothing.
  const T* cell(const PixelPiece<T>& piece, std::size_t r) const {
    if (piece.a == nullptr || (piece.pick != nullptr && piece.pick[r] < 0)) {
      return nullptr;
    }
    const std::size_t from = piece.pick == nullptr ? r : static_cast<std::size_t>(piece.pick[r]);
    return from < block_.lanes ? piece.a + from : piece.b + (from - block_.lanes);
  }

  // A channel of a block of pixels: v as it is summed up, c and |v|^2 as it ought to be.
  void mix(const PixelChannel& channel, const PixelSums& sums, const std::size_t* starts,
           std::size_t inside, T* block, double* c, double* energy) {
    const std::size_t lanes = block_.lanes, n_parts = channel.parts.size();
    const PixelPiece<T>* pieces = pieces_.data() + starts[0];
    if (!sums.found()) {
      scatter(channel, starts, inside, block);
    }
    for (const PixelSums::Segment& s : sums.segments) {
      block_.pixel_loops.add_runs(pieces, sums.runs.data() + s.begin, s.end - s.begin, s.first,
                                  s.last, block);
    }
    std::fill(energy, energy + lanes, 0.0);
    std::fill(c, c + lanes, channel.constant * channel.direction);
    scalars_.assign(n_parts * lanes, 0.0);
    for (std::size_t k = 0; k < n_parts; ++k) {
      const PixelPart& part = channel.parts[k];
      const std::size_t n = size(part.field);
      for (std::size_t p = starts[k]; p < starts[k + 1]; ++p) {
        const PixelPiece<T>& piece = pieces_[p];
        for (std::size_t r = 0; r < lanes; ++r) {
          const T* x = cell(piece, r);
          if (x == nullptr) {
            continue;
          }
          const double value = part.scale * static_cast<double>(x[n * lanes]);
          scalars_[k * lanes + r] = value;
          c[r] += part.direction * value;
          energy[r] += part.scale * part.scale * static_cast<double>(x[(n + 1) * lanes]);
        }
      }
    }
    for (std::size_t r = 0; r < lanes; ++r) {
      const auto leave = [&](double value, double direction, const Hash& hash, std::size_t i) {
        const double rest = value - direction * c[r];
        energy[r] += rest * rest;
        const std::size_t to = static_cast<std::size_t>(hash.to[i]) * lanes + r;
        block[to] += static_cast<T>(rest) * hash.signs.template data<T>()[i];
      };
      for (std::size_t k = 0; k < n_parts; ++k) {
        const PixelPart& part = channel.parts[k];
        leave(scalars_[k * lanes + r], part.direction, part.hashed, size(part.field));
      }
      leave(channel.constant, channel.direction, channel.hashed, 0);
    }
  }

  void run(const PixelStage& stage, std::size_t index, const PixelLayout::Step& how,
           std::size_t block) {
    block_.use(memory_.data(), how.buffers);
    pieces_.clear();
    std::size_t part = 0;
    for (const PixelChannel& channel : stage.channels) {
      for (const PixelPart& p : channel.parts) {
        look(how, block, part++, p.field, p.scale);
      }
    }
    const std::size_t* starts = how.starts.data();
    const auto mix_channel = [&](std::size_t k, T* to) {
      mix(stage.channels[k], how.channels[k], starts, n_inside(stage.stores[0], block), to,
          block_.c[k], block_.energy[k]);
      starts += stage.channels[k].parts.size();
    };
    // Channels are made where they will stay.
    for (std::size_t k = 0; k < stage.stores.size(); ++k) {
      block_.source[k] =
          is_used(stage.stores[k]) ? cells(stage.stores[k], block) : block_.buffers[Block::kUnused];
    }
    if (stage.activation) {
      mix_channel(0, block_.buffers[Block::kNngp]);
      activation_.run(*stage.activation, *weights_[index], stage.channels[0].n,
                      stage.channels.back().n,
                      [&] { mix_channel(1, block_.buffers[Block::kTangent]); });
    }
    for (std::size_t k = 0; k < stage.stores.size(); ++k) {
      if (is_used(stage.stores[k])) {
        if (!stage.activation) {
          mix_channel(k, block_.source[k]);
        }
        finish(stage.stores[k], block, k);
      } else if (!stage.activation) {
        starts += stage.channels[k].parts.size();
      }
    }
  }

  bool is_used(std::size_t field) const { return layout_.rings[field].used; }

  // Lanes of a block that are pixels.
  std::size_t n_inside(std::size_t field, std::size_t block) const {
    const PixelGrid& grid = program_.fields[field].grid;
    return std::min(grid.height * grid.width - block * block_.lanes, block_.lanes);
  }

  // Gives the vectors of a field's block their norms, and puts the scalars behind them.
  void finish(std::size_t field, std::size_t block, std::size_t k) {
    alignas(64) T factor[kMostLanes] = {};
    const std::size_t n = size(field), lanes = block_.lanes;
    const std::size_t inside = n_inside(field, block);
    T* to = block_.source[k];
    block_.norm_factors(to, n, block_.energy[k], factor);
    for (std::size_t r = 0; r < lanes; ++r) {
      const T mask = r < inside ? T{1} : T{0};
      factor[r] *= mask;
      to[n * lanes + r] = static_cast<T>(block_.c[k][r]) * mask;
      to[(n + 1) * lanes + r] = static_cast<T>(block_.energy[k][r]) * mask;
    }
    block_.loops.scale_lanes(to, n, factor);
  }

  void emit(Image* out) {
    const PixelOutput& o = program_.output;
    const std::size_t n = size(o.field), lanes = block_.lanes;
    const T* from = cells(o.field, 0);
    T* block = sampled_.data();
    const auto c = static_cast<double>(from[n * lanes]);
    auto energy = static_cast<double>(from[(n + 1) * lanes]);
    std::size_t column = 0;
    std::fill(out, out + o.n, Image{0});
    const Scale scale(exponent_, left_over_);
    if (o.scalar) {
      out[column++] = scale(from[n * lanes]);
    }
    if (!o.sample) {
      for (std::size_t j = 0; j < n; ++j) {
        out[column + j] = scale(from[j * lanes]);
      }
      return;
    }
    const HadamardSample& sample = *o.sample;
    const T* signs = sample.hashed.signs.template data<T>();
    std::fill(block, block + sample.length, T{0});
    for (std::size_t j = 0; j < n; ++j) {
      block[sample.hashed.to[j]] += from[j * lanes] * signs[j];
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
      out[column++] = scale(block[i] * factor);
    }
  }

  // Takes features to their unit.
  struct Scale {
    double first, second;

    Scale(int exponent, double left_over) {
      const int some = std::clamp(exponent, -2000, 2000); // far beyond what a double holds
      first = std::ldexp(left_over, some / 2);
      second = std::ldexp(1.0, some - some / 2);
    }
    Image operator()(T value) const {
      return static_cast<Image>(static_cast<double>(value) * first * second);
    }
  };

  static constexpr std::size_t kAtOnce = 64; // features of all parts that are hashed by turns

  const PixelParts& program_;
  const PixelLayout& layout_;
  AlignedBuffer<T> memory_;
  AlignedBuffer<T> sampled_;
  Block block_;
  PixelActivationRunner<T> activation_;
  std::vector<std::optional<HermiteWeights>> weights_;
  std::vector<PixelPiece<T>> pieces_;
  std::vector<double> scalars_;
  std::vector<T> line_;
  int exponent_ = 0;     // of the unit of the features,
  double left_over_ = 1; // which is that many times that power of two
};

} // namespace nkfast
