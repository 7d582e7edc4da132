#include "kernels/images.hpp"

#include "aligned.hpp"
#include "kernels/image_runner.hpp"
#include "parallel.hpp"

#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <string>

namespace nkfast {

bool ImageSegment::theta_above() const {
  return std::any_of(steps.begin(), steps.end(),
                     [](const ImageStep& s) { return s.what == ImageStep::What::kConv; }) ||
         theta_below;
}

std::size_t ImageProgram::n_outputs() const {
  const ImageShape last = parts_.segments.back().shapes.back();
  return parts_.lanes.images *
         (parts_.readout == Readout::kDiagonal ? last.height * last.width : 1);
}

void ImageProgram::check(const Images& images) const {
  for (std::size_t m = 0; m < parts_.maps.size(); ++m) {
    const DualMap& map = parts_.maps[m];
    const ImageShape& shape = parts_.map_shapes[m];
    const std::size_t left = images.n_left * shape.height * shape.width;
    const std::size_t right = images.n_tiles * shape.height * parts_.lanes_at(shape.width) *
                              (parts_.lanes.are_images() ? shape.width : 1);
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
  AlignedBuffer<double> right(n_panels * parts_.channels * kDualPad);
  std::copy_n(given.right, n_panels * parts_.channels * kDualPad, right.data());
  const Images images{given.left, right.data(), given.n_left, given.n_tiles};
  struct Item {
    std::size_t left, tile;
  };
  std::vector<Item> items;
  for (std::size_t i = 0; i < images.n_left; ++i) {
    for (std::size_t t = 0; t < images.n_tiles; ++t) {
      const bool wanted =
          pairing == Pairing::kAll ||
          (pairing == Pairing::kMatched ? i == t : (t + 1) * parts_.lanes.images > i);
      if (wanted) {
        items.push_back({i, t});
      }
    }
  }
  const std::size_t tiles = pairing == Pairing::kMatched ? 1 : images.n_tiles;
  n_threads = std::min(n_threads, std::max<std::size_t>(items.size(), 1));
  std::atomic<std::size_t> next{0};
  parallel_for(n_threads, n_threads, 1, [&](std::size_t, std::size_t) {
    ImageRunner runner(parts_, images, theta != nullptr);
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
