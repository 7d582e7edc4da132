// Takes pairs of an image and a tile of images through an ImageProgram; included by images.cpp
// only.
#pragma once

#include "interrupt.hpp"
#include "kernels/images.hpp"
#include "simd/dispatch.hpp"

#include <algorithm>
#include <cstddef>
#include <vector>

namespace nkfast {

// One for each thread.
class ImageRunner {
public:
  ImageRunner(const ImageParts& program, const Images& images, bool with_theta)
      : program_(program), images_(images), with_theta_(with_theta) {
    std::size_t slots = 0, guarded = 0;
    for (const ImageSegment& segment : program.segments) {
      for (const ImageShape& shape : segment.shapes) {
        block_ = std::max(block_, program.block_size(shape));
      }
      slots = std::max(slots, segment.plan.n_slots);
      strides_.push_back(program.block_size(segment.shapes.front()) + kGap);
      maps_.emplace_back((with_theta ? 2 : 1) * segment.plan.inputs.size() * strides_.back());
      for (const ImageStep& step : segment.steps) {
        if (step.what == ImageStep::What::kConv) {
          const Axis& axis = step.cols;
          guards_.emplace_back((axis.before + axis.in + axis.after()) *
                               Guarded(axis, program.lanes).pitch);
          guarded = std::max(guarded, step.rows.taps);
        }
      }
    }
    block_ += kGap;
    slots_ = AlignedBuffer<double>((with_theta ? 2 : 1) * slots * block_);
    lanes_ = AlignedBuffer<double>((with_theta ? 2 : 1) * block_);
    sources_.resize(guarded);
  }

  void run(std::size_t left, std::size_t tile, double* k, double* theta) {
    left_ = left;
    tile_ = tile;
    k_out_ = k;
    theta_out_ = theta;
    std::fill_n(lanes_.data(), (with_theta_ ? 2 : 1) * block_, 0.0);
    std::size_t guard = 0;
    for (std::size_t s = 0; s < program_.segments.size(); ++s) {
      run_segment(s, guard);
    }
    write();
  }

private:
  using Segment = ImageSegment;
  static constexpr std::size_t kGap = 40; // or blocks would fall into the same cache sets

  // A block with its padding around it, for one convolution: (column, lane), with columns of
  // padding on either side and, for each image, lanes, so many that the image begins on a cache
  // line.
  struct Guarded {
    std::size_t lead;  // lanes before an image
    std::size_t width; // lanes from one image to the next
    std::size_t pitch; // from one column to the next
    Guarded(const Axis& axis, const LaneUse& lanes)
        : lead(whole_lines(axis.before)), width(whole_lines(lead + axis.in + axis.after())),
          pitch(lanes.are_images() ? whole_panels(lanes.images) : lanes.images * width) {}
    static std::size_t whole_lines(std::size_t n) { return (n + 7) / 8 * 8; }
  };

  double* k_at(std::size_t s, const Place& place) {
    return place.in_map ? maps_[s].data() + place.index * strides_[s]
                        : slots_.data() + place.index * block_;
  }

  // Theta lies behind all of K.
  double* theta_at(std::size_t s, const Place& place) {
    const ImagePlan& plan = program_.segments[s].plan;
    return place.in_map ? maps_[s].data() + (plan.inputs.size() + place.index) * strides_[s]
                        : slots_.data() + (plan.n_slots + place.index) * block_;
  }

  void run_segment(std::size_t s, std::size_t& guard) {
    const Segment& segment = program_.segments[s];
    if (s + 1 < program_.segments.size()) {
      const std::size_t n_blocks = program_.segments[s + 1].plan.inputs.size();
      std::fill_n(maps_[s + 1].data(), (with_theta_ ? 2 : 1) * n_blocks * strides_[s + 1], 0.0);
    }
    // The convolutions of a segment have their own guarded blocks each.
    std::vector<std::size_t>& guard_of = guard_of_;
    guard_of.clear();
    for (const ImageStep& step : segment.steps) {
      guard_of.push_back(guard);
      guard += step.what == ImageStep::What::kConv;
    }
    std::size_t emitted = 0;
    Checkpoint checkpoint(block_);
    for (const Operation& operation : segment.plan.operations) {
      checkpoint();
      const Place* from = segment.plan.places.data() + operation.first;
      switch (operation.what) {
      case Operation::What::kRead:
        read(operation.at, k_at(s, operation.dst));
        break;
      case Operation::What::kStep:
        step(segment, s, operation, from);
        break;
      case Operation::What::kEmit:
        emit(segment, s, operation, *from, emitted++);
      }
    }
  }

  void read(const RowPair& at, double* k) {
    const std::size_t channels = program_.channels, width = program_.width;
    const std::size_t ld = program_.lanes_at(width), panels = program_.panels();
    const std::size_t panel = channels * kDualPad;
    const double* x = images_.left + (left_ * program_.height + at.left) * width * channels;
    const double scale = 1 / static_cast<double>(channels);
    const bool by_pixel = program_.lanes.are_images();
    const std::size_t row = tile_ * program_.panel_rows() + at.right * (by_pixel ? width : 1);
    const double* z = images_.right + row * panels * panel;
    for (std::size_t c = 0; c < (by_pixel ? width : 1); ++c) {
      for (std::size_t p = 0; p < panels; ++p, z += panel) {
        kernels().dual.gram(x + c * channels, channels, by_pixel ? 1 : width, z, channels,
                            k + c * ld + p * kDualPad, ld, scale, 0.0, false);
      }
    }
  }

  void step(const Segment& segment, std::size_t s, const Operation& operation, const Place* from) {
    const ImageStep& step = segment.steps[operation.step];
    const ImageShape& below = segment.shapes[operation.step];
    const std::size_t size = program_.block_size(below);
    double* k = k_at(s, operation.dst);
    double* theta = with_theta_ ? theta_at(s, operation.dst) : nullptr;
    if (step.what == ImageStep::What::kConv) {
      convolve(segment, s, operation, from, k, theta);
      return;
    }
    const bool theta_below = with_theta_ && step.theta_below;
    if (*from != operation.dst) {
      std::copy_n(k_at(s, *from), size, k);
      if (theta_below) {
        std::copy_n(theta_at(s, *from), size, theta);
      }
    }
    if (step.what == ImageStep::What::kActivation) {
      activate(step, below, operation.at, k, theta_below ? theta : nullptr);
    } else {
      add(k_at(s, from[1]), size, k);
      if (with_theta_ && step.theta_kept) {
        add(theta_at(s, from[1]), size, theta);
      }
    }
  }

  static void add(const double* src, std::size_t n, double* dst) {
    kernels().window.add_rows(src, 1, n, n, dst);
  }

  void activate(const ImageStep& step, const ImageShape& shape, const RowPair& at, double* k,
                double* theta) {
    const DualMap& map = program_.maps[step.map];
    const std::size_t n = program_.lanes_at(shape.width);
    const bool by_pixel = program_.lanes.are_images();
    const std::size_t left = (left_ * shape.height + at.left) * shape.width;
    const std::size_t row = tile_ * shape.height + at.right;
    for (std::size_t c = 0; c < shape.width; ++c) {
      map.apply(left + c, (by_pixel ? row * shape.width + c : row) * n, n, k + c * n,
                theta == nullptr ? nullptr : theta + c * n);
    }
  }

  void convolve(const Segment& segment, std::size_t s, const Operation& operation,
                const Place* from, double* k, double* theta) {
    const ImageStep& step = segment.steps[operation.step];
    double* guarded = guards_[guard_of_[operation.step]].data();
    for (std::size_t t = 0; t < operation.n; ++t) {
      sources_[t] = k_at(s, from[t]);
    }
    surround(step.cols, operation.n, guarded);
    slide(step, guarded, step.b2, nullptr, k);
    if (theta == nullptr) {
      return;
    }
    if (!step.theta_below) {
      std::copy_n(k, program_.block_size(segment.shapes[operation.step + 1]), theta);
      return;
    }
    for (std::size_t t = 0; t < operation.n; ++t) {
      sources_[t] = theta_at(s, from[t]);
    }
    surround(step.cols, operation.n, guarded);
    slide(step, guarded, 0, k, theta);
  }

  // The sum of the sources with padding around it. Zeros stay from the beginning.
  void surround(const Axis& axis, std::size_t n, double* guarded) {
    const LaneUse& lanes = program_.lanes;
    const Guarded layout(axis, lanes);
    const std::size_t ld = program_.lanes_at(axis.in), pitch = layout.pitch;
    double* inner = guarded + axis.before * pitch;
    if (lanes.are_images()) {
      kernels().window.sum(sources_.data(), n, axis.in, ld, ld, inner, pitch);
    } else {
      shifted_.assign(sources_.begin(), sources_.begin() + static_cast<std::ptrdiff_t>(n));
      for (std::size_t b = 0; b < lanes.images; ++b) {
        double* image = inner + b * layout.width + layout.lead;
        kernels().window.sum(shifted_.data(), n, axis.in, axis.in, ld, image, pitch);
        for (const double*& source : shifted_) {
          source += axis.in;
        }
        for (std::size_t c = 0; axis.circular && c < axis.in; ++c) {
          wrap(axis, 1, image + c * pitch - axis.before);
        }
      }
    }
    if (axis.circular) {
      wrap(axis, pitch, guarded);
    }
  }

  // Fills the padding of x, whose entries are `size` numbers each, from the other side.
  static void wrap(const Axis& axis, std::size_t size, double* x) {
    const std::size_t end = axis.before + axis.in + axis.after();
    const std::size_t lead = axis.in - axis.before % axis.in;
    for (std::size_t i = 0; i < end; ++i) {
      if (i < axis.before || i >= axis.before + axis.in) {
        std::copy_n(x + (axis.before + (i + lead) % axis.in) * size, size, x + i * size);
      }
    }
  }

  void slide(const ImageStep& step, const double* guarded, double b, const double* plus,
             double* dst) {
    const Axis& axis = step.cols;
    const LaneUse& lanes = program_.lanes;
    const Guarded layout(axis, lanes);
    const std::size_t ld = program_.lanes_at(axis.out), pitch = layout.pitch;
    Slide job{.src = guarded + (lanes.are_images() ? 0 : layout.lead - axis.before),
              .taps = axis.taps,
              .tap = pitch + 1,
              .row_step = axis.stride * pitch,
              .col_step = axis.stride,
              .rows = axis.out,
              .cols = axis.out,
              .w = step.w2,
              .b = b,
              .plus = plus,
              .dst = dst,
              .ld = ld};
    if (lanes.are_images()) {
      job.tap = pitch;
      job.col_step = 1;
      job.cols = ld;
      kernels().window.slide(job);
      return;
    }
    for (std::size_t image = 0; image < lanes.images; ++image) {
      kernels().window.slide(job);
      job.src += layout.width;
      job.dst += axis.out;
      job.plus += plus == nullptr ? 0 : axis.out;
    }
    // Lanes that are no pixels take part in activations: they must stay finite.
    for (std::size_t c = 0; lanes.images * axis.out < ld && c < axis.out; ++c) {
      std::fill(dst + c * ld + lanes.images * axis.out, dst + (c + 1) * ld, 0.0);
    }
  }

  void emit(const Segment& segment, std::size_t s, const Operation& operation, const Place& place,
            std::size_t number) {
    const ImageShape& shape = segment.shapes.back();
    const double* k = k_at(s, place);
    const double* theta = with_theta_ && segment.theta_above() ? theta_at(s, place) : nullptr;
    if (s + 1 == program_.segments.size()) {
      read_out(shape, operation.at, k, 0);
      if (theta != nullptr) {
        read_out(shape, operation.at, theta, 1);
      }
      return;
    }
    for (std::size_t t = segment.starts[number]; t < segment.starts[number + 1]; ++t) {
      const Place target{segment.targets[t], true};
      pool(segment, k, k_at(s + 1, target));
      if (theta != nullptr) {
        pool(segment, theta, theta_at(s + 1, target));
      }
    }
  }

  void pool(const Segment& segment, const double* src, double* dst) {
    const Axis& axis = segment.pool_cols;
    const double area = static_cast<double>(segment.pool_rows.taps * axis.taps);
    PoolWindow job{.src = src,
                   .ld = program_.lanes_at(axis.in),
                   .window = axis.taps,
                   .stride = axis.stride,
                   .rows = axis.out,
                   .cols = axis.out,
                   .scale = 1 / (area * area),
                   .dst = dst,
                   .dst_ld = program_.lanes_at(axis.out)};
    for (std::size_t b = 0; b < program_.lanes.images; ++b) {
      kernels().window.pool(job);
      job.src += axis.in;
      job.dst += axis.out;
    }
  }

  void read_out(const ImageShape& shape, const RowPair& at, const double* block,
                std::size_t which) {
    const std::size_t n = program_.lanes_at(shape.width), width = shape.width;
    double* sums = lanes_.data() + which * block_;
    if (program_.readout == Readout::kMean ||
        (program_.readout == Readout::kFlatten && program_.lanes.are_images())) {
      kernels().window.add_rows(block, width, n, n, sums);
      return;
    }
    const bool by_pixel = program_.lanes.are_images();
    double* out = which == 0 ? k_out_ : theta_out_;
    for (std::size_t b = 0; b < program_.lanes.images; ++b) {
      for (std::size_t c = 0; c < width; ++c) {
        const double x = block[c * n + b * (by_pixel ? 1 : width) + (by_pixel ? 0 : c)];
        if (program_.readout == Readout::kFlatten) {
          sums[b] += x;
        } else {
          out[(b * shape.height + at.left) * width + c] = x;
        }
      }
    }
  }

  void write() {
    if (program_.readout == Readout::kDiagonal) {
      return;
    }
    const ImageShape& shape = program_.segments.back().shapes.back();
    const double pixels = static_cast<double>(shape.height * shape.width);
    const bool mean = program_.readout == Readout::kMean;
    const double scale = 1 / (mean ? pixels * pixels : pixels);
    const std::size_t width = mean ? shape.width : 1;
    for (std::size_t which = 0; which < (with_theta_ ? 2U : 1U); ++which) {
      const double* sums = lanes_.data() + which * block_;
      double* out = which == 0 ? k_out_ : theta_out_;
      for (std::size_t b = 0; b < program_.lanes.images; ++b) {
        double sum = 0;
        for (std::size_t c = 0; c < width; ++c) {
          sum += sums[b * width + c];
        }
        out[b] = scale * sum;
      }
    }
  }

  const ImageParts& program_;
  const Images& images_;
  bool with_theta_;
  std::size_t block_ = 0;
  std::size_t left_ = 0, tile_ = 0;
  double* k_out_ = nullptr;
  double* theta_out_ = nullptr;
  AlignedBuffer<double> slots_;
  AlignedBuffer<double> lanes_;             // sums of a readout
  std::vector<AlignedBuffer<double>> maps_; // that each segment reads
  std::vector<std::size_t> strides_;        // of their blocks
  std::vector<AlignedBuffer<double>> guards_;
  std::vector<std::size_t> guard_of_;
  std::vector<const double*> sources_, shifted_;
};

} // namespace nkfast
