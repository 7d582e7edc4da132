#include "kernels/images.hpp"

#include "kernels/image_runner.hpp"
#include "parallel.hpp"

#include <algorithm>
#include <atomic>
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

} // namespace

ImageProgram::ImageProgram(std::size_t height, std::size_t width, std::size_t channels,
                           LaneUse lanes)
    : height_(height), width_(width), channels_(channels), lanes_(lanes) {
  if (height == 0 || width == 0 || channels == 0 || lanes.images == 0) {
    throw std::invalid_argument("images: expected at least one pixel, channel and lane");
  }
  segments_.push_back({.shapes = {{height, width}}});
}

bool ImageProgram::theta_above(const Segment& segment) const {
  return std::any_of(segment.steps.begin(), segment.steps.end(),
                     [](const ImageStep& s) { return s.what == ImageStep::What::kConv; }) ||
         segment.theta_below;
}

void ImageProgram::conv(Axis rows, Axis cols, double w2, double b2) {
  Segment& segment = segments_.back();
  const Shape in = segment.shapes.back();
  const Shape out{rows.out, cols.out};
  rows = fitted(rows, in.height, out.height, "conv");
  cols = fitted(cols, in.width, out.width, "conv");
  segment.steps.push_back({.what = ImageStep::What::kConv,
                           .rows = rows,
                           .cols = cols,
                           .w2 = w2,
                           .b2 = b2,
                           .theta_below = theta_above(segment)});
  segment.shapes.push_back(out);
}

void ImageProgram::activation(DualMap map) {
  Segment& segment = segments_.back();
  const Shape shape = segment.shapes.back();
  segment.steps.push_back({.what = ImageStep::What::kActivation,
                           .map = maps_.size(),
                           .theta_below = theta_above(segment)});
  segment.shapes.push_back(shape);
  maps_.push_back(std::move(map));
  places_.push_back({maps_.size() - 1, shape});
}

void ImageProgram::push() {
  Segment& segment = segments_.back();
  const Shape shape = segment.shapes.back();
  open_.push_back(segment.steps.size());
  segment.steps.push_back({.what = ImageStep::What::kPush, .theta_below = theta_above(segment)});
  segment.shapes.push_back(shape);
}

void ImageProgram::add() {
  Segment& segment = segments_.back();
  if (open_.empty()) {
    throw std::invalid_argument("add: expected a push before it");
  }
  const std::size_t opening = open_.back();
  open_.pop_back();
  const Shape shape = segment.shapes.back();
  const Shape kept = segment.shapes[opening];
  if (shape.height != kept.height || shape.width != kept.width) {
    throw std::invalid_argument("add: expected a branch that keeps the shape");
  }
  segment.steps.push_back({.what = ImageStep::What::kAdd,
                           .opening = opening,
                           .theta_below = theta_above(segment),
                           .theta_kept = segment.steps[opening].theta_below});
  segment.shapes.push_back(shape);
}

void ImageProgram::pool(Axis rows, Axis cols) {
  Segment& segment = segments_.back();
  const Shape in = segment.shapes.back();
  const Shape out{pooled_length(rows, in.height), pooled_length(cols, in.width)};
  if (!open_.empty() || lanes_.are_images || finished_) {
    throw std::invalid_argument("pool: expected no open push, and columns as lanes");
  }
  segment.pool_rows = fitted(rows, in.height, out.height, "pool");
  segment.pool_cols = fitted(cols, in.width, out.width, "pool");
  const bool theta = theta_above(segment);
  segments_.push_back({.shapes = {out}, .theta_below = theta});
}

void ImageProgram::finish(Readout readout) {
  if (!open_.empty() || finished_) {
    throw std::invalid_argument("finish: expected one, behind no open push");
  }
  if (lanes_.are_images && readout == Readout::kMean) {
    throw std::invalid_argument("finish: expected columns as lanes for a mean over all pairs");
  }
  readout_ = readout;
  finished_ = true;
  const Shape last = segments_.back().shapes.back();
  std::vector<RowPair> wanted;
  for (std::uint32_t r = 0; r < last.height; ++r) {
    for (std::uint32_t s = 0; s < last.height; ++s) {
      if (readout == Readout::kMean || r == s) {
        wanted.push_back({r, s});
      }
    }
  }
  for (std::size_t i = segments_.size(); i-- > 0;) {
    Segment& segment = segments_[i];
    std::vector<std::size_t> heights;
    for (const Shape& shape : segment.shapes) {
      heights.push_back(shape.height);
    }
    std::vector<RowPair> outputs = wanted;
    std::map<std::pair<std::uint32_t, std::uint32_t>, std::vector<std::uint32_t>> targets;
    if (i + 1 < segments_.size()) { // wanted: blocks of the map above, each of many of these
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
    segment.plan = make_plan(segment.steps, heights, i > 0, std::move(outputs));
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
    wanted = segment.plan.inputs;
  }
}

std::size_t ImageProgram::n_outputs() const {
  const Shape last = segments_.back().shapes.back();
  return lanes_.images * (readout_ == Readout::kDiagonal ? last.height * last.width : 1);
}

void ImageProgram::check(const Images& images) const {
  if (!finished_) {
    throw std::invalid_argument("run: expected a finished program");
  }
  for (const MapPlace& place : places_) {
    const DualMap& map = maps_[place.map];
    const Shape& shape = place.shape;
    const std::size_t left = images.n_left * shape.height * shape.width;
    const std::size_t right = images.n_tiles * shape.height * lanes_at(shape.width) *
                              (lanes_.are_images ? shape.width : 1);
    if (map.n_left() != left || map.n_right() != right) {
      throw std::invalid_argument("activation: expected tables of " + std::to_string(left) +
                                  " and " + std::to_string(right) + " points, got " +
                                  std::to_string(map.n_left()) + " and " +
                                  std::to_string(map.n_right()));
    }
  }
}

void ImageProgram::run(const Images& given, Pairing pairing, double* k, double* theta,
                       std::size_t n_threads) const {
  check(given);
  // Panels have to begin on cache lines.
  const std::size_t n_panels = given.n_tiles * panel_rows() * panels();
  AlignedBuffer<double> right(n_panels * channels_ * kDualPad);
  std::copy_n(given.right, n_panels * channels_ * kDualPad, right.data());
  const Images images{given.left, right.data(), given.n_left, given.n_tiles};
  struct Item {
    std::size_t left, tile;
  };
  std::vector<Item> items;
  for (std::size_t i = 0; i < images.n_left; ++i) {
    for (std::size_t t = 0; t < images.n_tiles; ++t) {
      const bool wanted = pairing == Pairing::kAll ||
                          (pairing == Pairing::kMatched ? i == t : (t + 1) * lanes_.images > i);
      if (wanted) {
        items.push_back({i, t});
      }
    }
  }
  const std::size_t tiles = pairing == Pairing::kMatched ? 1 : images.n_tiles;
  n_threads = std::min(n_threads, std::max<std::size_t>(items.size(), 1));
  std::atomic<std::size_t> next{0};
  parallel_for(n_threads, n_threads, 1, [&](std::size_t, std::size_t) {
    ImageRunner runner(*this, images, theta != nullptr);
    for (std::size_t at; (at = next.fetch_add(1)) < items.size();) {
      const Item& item = items[at];
      const std::size_t to =
          pairing == Pairing::kMatched ? item.left : item.left * tiles + item.tile;
      runner.run(item.left, item.tile, k + to * n_outputs(),
                 theta == nullptr ? nullptr : theta + to * n_outputs());
    }
  });
}

} // namespace nkfast
