// Exact kernels of convolutional networks: pairs of images, block by block of their pixels' pairs.
#pragma once

#include "kernels/dual.hpp"
#include "kernels/image_plan.hpp"

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace nkfast {

// What the lanes of a block are: the columns of some right images, or (where only pixels at the
// same position meet, as without pools) that many right images at one pixel.
enum class LaneKind { kColumns, kImages };

struct LaneUse {
  LaneKind kind;
  std::size_t images;

  bool are_images() const { return kind == LaneKind::kImages; }
};

// What is left of the last map: the mean over equal positions, the mean over all pairs of
// positions, or the entries at equal positions one by one.
enum class Readout { kFlatten, kMean, kDiagonal };

// Which pairs of a left image and a tile of right images: all; those with a right image that is not
// before the left one; left image i with tile i.
enum class Pairing { kAll, kUpper, kMatched };

// Images as the core takes them.
struct Images {
  const double* left;  // (n, height, width, channels)
  const double* right; // (tiles, panels' rows, panels, channels, kDualPad): see panel_rows()
  std::size_t n_left;
  std::size_t n_tiles;
};

struct ImageShape {
  std::size_t height, width;
};

// Layers between two pools, and the pool, or the readout, behind them.
struct ImageSegment {
  std::vector<ImageStep> steps = {};
  std::vector<ImageShape> shapes; // below the first step, then above each
  bool theta_below = false;
  Axis pool_rows = {}, pool_cols = {};
  ImagePlan plan = {};
  // Blocks of the next map that the emit of number e goes to: targets from starts[e] on.
  std::vector<std::uint32_t> targets = {};
  std::vector<std::uint32_t> starts = {};

  bool theta_above() const;
};

// What a program consists of. Points of the maps: left (image, row, column); right (tile, row,
// lanes in whole panels), where lanes are (image, column), or, if they are images, (tile, row,
// column, lanes).
struct ImageParts {
  std::size_t height, width, channels;
  LaneUse lanes;
  Readout readout = Readout::kFlatten;
  std::vector<ImageSegment> segments = {};
  std::vector<DualMap> maps = {};
  std::vector<ImageShape> map_shapes = {}; // of the images that each map is applied to

  // Rows of panels of a tile: one per row of pixels, or per pixel.
  std::size_t panel_rows() const { return height * (lanes.are_images() ? width : 1); }
  std::size_t panels() const { return lanes_at(width) / kDualPad; }
  std::size_t lanes_at(std::size_t at_width) const {
    return whole_panels(lanes.images * (lanes.are_images() ? 1 : at_width));
  }
  std::size_t block_size(const ImageShape& shape) const {
    return shape.width * lanes_at(shape.width);
  }
};

// The layers from images on to a readout, immutable.
class ImageProgram {
public:
  ImageProgram(ImageProgram&&) = default; // it moves, but is not copied

  std::size_t channels() const { return parts_.channels; }
  std::size_t height() const { return parts_.height; }
  std::size_t width() const { return parts_.width; }
  std::size_t panel_rows() const { return parts_.panel_rows(); }
  std::size_t panels() const { return parts_.panels(); }
  // Numbers that a pair of an image and a tile gives.
  std::size_t n_outputs() const;

  // K and Theta (null: not wanted) into (n_left, n_tiles * n_outputs()), or (n_left, n_outputs())
  // of matched pairs. Throws std::invalid_argument if the maps are of other numbers of points.
  void run(const Images& given, Pairing pairing, double* k, double* theta,
           std::size_t n_threads) const;

private:
  friend class ImageBuilder;
  explicit ImageProgram(ImageParts parts) : parts_(std::move(parts)) {}

  void check(const Images& images) const;

  ImageParts parts_;
};

} // namespace nkfast
