// Responses of filters to all patches of images, rectified on both sides and averaged over the
// rectangles of a grid (Coates, Lee & Ng 2011), without ever holding the responses of an image.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace nkfast {

struct PatchLayout {
  std::size_t height = 0, width = 0, channels = 0; // of an image
  std::size_t rows = 0, cols = 0;                  // of a patch
  std::size_t stride = 1;
  // Where rectangles of the grid begin and the last one ends, in patches.
  std::vector<std::size_t> row_edges, col_edges;
  double unit = 1;  // that pixels are multiplied by
  double ridge = 0; // that is added to the variance of a patch, in those units
  double threshold = 0;

  std::size_t patch_size() const { return rows * cols * channels; }
  std::size_t n_cells() const { return (row_edges.size() - 1) * (col_edges.size() - 1); }
  // Throws std::invalid_argument where patches would not lie inside of the images.
  void check() const;
};

// A patch p, entries in the order (row, column, channel), becomes q = (p - mean p) / sqrt(var p +
// ridge), zero if it is constant; filter f responds with r = sum over t of q[t] filters[t, f] -
// shift[f]. out[image, cell, f] is the mean over the cell's patches of max(r - threshold, 0), and
// out[image, cell, n_filters + f] that of max(-r - threshold, 0).
template <class T>
void rectified_patches(const PatchLayout& layout, const T* images, std::size_t n_images,
                       const T* filters, const T* shift, std::size_t n_filters, T* out,
                       std::size_t n_threads);

} // namespace nkfast
