#include "kernels/image_builder.hpp"

#include <algorithm>
#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>

namespace nkfast {
namespace {

// out = (in + padding - taps) / stride + 1, checked.
Axis fitted(Axis axis, std::size_t in, std::size_t out, const char* what) {
  axis.in = in;
  axis.out = out;
  if (axis.taps == 0 || axis.stride == 0 || out == 0) {
    throw std::invalid_argument(std::string(what) + ": expected a window that fits the image");
  }
  return axis;
}

std::size_t pooled_length(const Axis& axis, std::size_t in) {
  return axis.taps == 0 || axis.stride == 0 || in < axis.taps ? 0
                                                              : (in - axis.taps) / axis.stride + 1;
}

// Plans a segment whose blocks `wanted` the one above reads (above: there is one, behind a pool);
// returns those that it reads itself.
std::vector<RowPair> plan_segment(ImageSegment& segment, bool above, bool below,
                                  const std::vector<RowPair>& wanted) {
  std::vector<std::size_t> heights;
  for (const ImageShape& shape : segment.shapes) {
    heights.push_back(shape.height);
  }
  std::vector<RowPair> outputs = wanted;
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::vector<std::uint32_t>> targets;
  if (above) { // wanted: blocks of the map above, each of many of these
    outputs.clear();
    const Axis& axis = segment.pool_rows;
    for (std::uint32_t b = 0; b < wanted.size(); ++b) {
      for (std::size_t o = 0; o < axis.taps; ++o) {
        for (std::size_t q = 0; q < axis.taps; ++q) {
          const RowPair at{static_cast<std::uint32_t>(wanted[b].left * axis.stride + o),
                           static_cast<std::uint32_t>(wanted[b].right * axis.stride + q)};
          auto& found = targets[{at.left, at.right}];
          if (found.empty()) {
            outputs.push_back(at);
          }
          found.push_back(b);
        }
      }
    }
  }
  segment.plan = make_plan(segment.steps, heights, below, std::move(outputs));
  segment.starts = {0};
  for (const Operation& operation : segment.plan.operations) {
    if (operation.what == Operation::What::kEmit) {
      const auto found = targets.find({operation.at.left, operation.at.right});
      if (found != targets.end()) {
        segment.targets.insert(segment.targets.end(), found->second.begin(), found->second.end());
      }
      segment.starts.push_back(static_cast<std::uint32_t>(segment.targets.size()));
    }
  }
  return segment.plan.inputs;
}

} // namespace

ImageBuilder::ImageBuilder(std::size_t height, std::size_t width, std::size_t channels,
                           LaneUse lanes)
    : parts_{.height = height, .width = width, .channels = channels, .lanes = lanes} {
  if (height == 0 || width == 0 || channels == 0 || lanes.images == 0) {
    throw std::invalid_argument("images: expected at least one pixel, channel and lane");
  }
  parts_.segments.push_back({.shapes = {{height, width}}});
}

void ImageBuilder::conv(Axis rows, Axis cols, double w2, double b2) {
  check_open();
  ImageSegment& segment = parts_.segments.back();
  const ImageShape in = segment.shapes.back();
  const ImageShape out{rows.out, cols.out};
  rows = fitted(rows, in.height, out.height, "conv");
  cols = fitted(cols, in.width, out.width, "conv");
  segment.steps.push_back({.what = ImageStep::What::kConv,
                           .rows = rows,
                           .cols = cols,
                           .w2 = w2,
                           .b2 = b2,
                           .theta_below = segment.theta_above()});
  segment.shapes.push_back(out);
}

void ImageBuilder::activation(DualMap map) {
  check_open();
  ImageSegment& segment = parts_.segments.back();
  const ImageShape shape = segment.shapes.back();
  segment.steps.push_back({.what = ImageStep::What::kActivation,
                           .map = parts_.maps.size(),
                           .theta_below = segment.theta_above()});
  segment.shapes.push_back(shape);
  parts_.maps.push_back(std::move(map));
  parts_.map_shapes.push_back(shape);
}

void ImageBuilder::push() {
  check_open();
  ImageSegment& segment = parts_.segments.back();
  const ImageShape shape = segment.shapes.back();
  pushes_.push_back(segment.steps.size());
  segment.steps.push_back({.what = ImageStep::What::kPush, .theta_below = segment.theta_above()});
  segment.shapes.push_back(shape);
}

void ImageBuilder::add() {
  check_open();
  ImageSegment& segment = parts_.segments.back();
  if (pushes_.empty()) {
    throw std::invalid_argument("add: expected a push before it");
  }
  const std::size_t opening = pushes_.back();
  pushes_.pop_back();
  const ImageShape shape = segment.shapes.back();
  const ImageShape kept = segment.shapes[opening];
  if (shape.height != kept.height || shape.width != kept.width) {
    throw std::invalid_argument("add: expected a branch that keeps the shape");
  }
  segment.steps.push_back({.what = ImageStep::What::kAdd,
                           .opening = opening,
                           .theta_below = segment.theta_above(),
                           .theta_kept = segment.steps[opening].theta_below});
  segment.shapes.push_back(shape);
}

void ImageBuilder::pool(Axis rows, Axis cols) {
  check_open();
  ImageSegment& segment = parts_.segments.back();
  const ImageShape in = segment.shapes.back();
  const ImageShape out{pooled_length(rows, in.height), pooled_length(cols, in.width)};
  if (!pushes_.empty() || parts_.lanes.are_images()) {
    throw std::invalid_argument("pool: expected no open push, and columns as lanes");
  }
  segment.pool_rows = fitted(rows, in.height, out.height, "pool");
  segment.pool_cols = fitted(cols, in.width, out.width, "pool");
  const bool theta = segment.theta_above();
  parts_.segments.push_back({.shapes = {out}, .theta_below = theta});
}

ImageProgram ImageBuilder::finish(Readout readout) {
  check_open();
  if (!pushes_.empty()) {
    throw std::invalid_argument("finish: expected no open push");
  }
  if (parts_.lanes.are_images() && readout == Readout::kMean) {
    throw std::invalid_argument("finish: expected columns as lanes for a mean over all pairs");
  }
  close();
  parts_.readout = readout;
  std::vector<ImageSegment>& segments = parts_.segments;
  const ImageShape last = segments.back().shapes.back();
  std::vector<RowPair> wanted;
  for (std::uint32_t r = 0; r < last.height; ++r) {
    for (std::uint32_t s = 0; s < last.height; ++s) {
      if (readout == Readout::kMean || r == s) {
        wanted.push_back({r, s});
      }
    }
  }
  for (std::size_t i = segments.size(); i-- > 0;) {
    wanted = plan_segment(segments[i], i + 1 < segments.size(), i > 0, wanted);
  }
  return ImageProgram(std::move(parts_));
}

} // namespace nkfast
