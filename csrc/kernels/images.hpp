// Exact kernels of convolutional networks: pairs of images, block by block of their pixels' pairs.
#pragma once

#include "kernels/dual.hpp"
#include "kernels/image_plan.hpp"

#include <cstddef>
#include <vector>

namespace nkfast {

// What the lanes of a block are: the columns of `images` right images, or (where only pixels at the
// same position meet, as without pools) that many right images at one pixel.
struct LaneUse {
  bool are_images;
  std::size_t images;
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

// The layers from images on to a readout. Points of the maps: left (image, row, column); right
// (tile, row, lanes in whole panels), where lanes are (image, column), or, if they are images,
// (tile, row, column, lanes).
class ImageProgram {
public:
  ImageProgram(std::size_t height, std::size_t width, std::size_t channels, LaneUse lanes);

  // K <- w2 * (sum over the window) + b2, Theta <- w2 * (sum of Theta) + K. Lengths of the axes are
  // filled in here.
  void conv(Axis rows, Axis cols, double w2, double b2);
  void activation(DualMap map);
  void push();
  void add();
  // Means over windows; not within a residual connection.
  void pool(Axis rows, Axis cols);
  // Ends the program.
  void finish(Readout readout);

  std::size_t channels() const { return channels_; }
  std::size_t height() const { return height_; }
  std::size_t width() const { return width_; }
  // Rows of panels of a tile: one per row of pixels, or per pixel.
  std::size_t panel_rows() const { return height_ * (lanes_.are_images ? width_ : 1); }
  std::size_t panels() const { return lanes_at(width_) / kDualPad; }
  // Numbers that a pair of an image and a tile gives.
  std::size_t n_outputs() const;

  // K and Theta (null: not wanted) into (n_left, n_tiles * n_outputs()), or (n_left, n_outputs())
  // of matched pairs. Throws std::invalid_argument if the maps are of other numbers of points.
  void run(const Images& given, Pairing pairing, double* k, double* theta,
           std::size_t n_threads) const;

private:
  friend class ImageRunner;
  struct Shape {
    std::size_t height, width;
  };
  struct MapPlace { // of an activation's points
    std::size_t map;
    Shape shape;
  };
  // Layers between two pools, and the pool, or the readout, behind them.
  struct Segment {
    std::vector<ImageStep> steps = {};
    std::vector<Shape> shapes; // below the first step, then above each
    bool theta_below = false;
    Axis pool_rows = {}, pool_cols = {};
    ImagePlan plan = {};
    // Blocks of the next map that the emit of number e goes to: targets from starts[e] on.
    std::vector<std::uint32_t> targets = {};
    std::vector<std::uint32_t> starts = {};
  };

  std::size_t lanes_at(std::size_t width) const {
    return whole_panels(lanes_.images * (lanes_.are_images ? 1 : width));
  }
  std::size_t block_size(const Shape& shape) const { return shape.width * lanes_at(shape.width); }
  bool theta_above(const Segment& segment) const;
  void check(const Images& images) const;

  std::size_t height_, width_, channels_;
  LaneUse lanes_;
  Readout readout_ = Readout::kFlatten;
  bool finished_ = false;
  std::vector<Segment> segments_;
  std::vector<std::size_t> open_; // pushes
  std::vector<DualMap> maps_;
  std::vector<MapPlace> places_;
};

} // namespace nkfast
