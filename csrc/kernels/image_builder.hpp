// Puts an ImageProgram together, layer by layer.
#pragma once

#include "builders.hpp"
#include "kernels/images.hpp"

#include <cstddef>
#include <vector>

namespace nkfast {

class ImageBuilder : Builder {
public:
  ImageBuilder(std::size_t height, std::size_t width, std::size_t channels, LaneUse lanes);

  // K <- w2 * (sum over the window) + b2, Theta <- w2 * (sum of Theta) + K. Lengths of the axes are
  // filled in here.
  void conv(Axis rows, Axis cols, double w2, double b2);
  void activation(DualMap map);
  // A residual connection.
  void push();
  void add();
  // Means over windows; not within a residual connection.
  void pool(Axis rows, Axis cols);

  // Plans the blocks and hands over the program; the builder takes no more calls.
  ImageProgram finish(Readout readout);

private:
  ImageParts parts_;
  std::vector<std::size_t> pushes_; // open ones
};

} // namespace nkfast
