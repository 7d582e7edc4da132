#include "features/patches.hpp"
#include "aligned.hpp"
#include "interrupt.hpp"
#include "parallel.hpp"
#include "simd/dispatch.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace nkfast {
namespace {

constexpr std::size_t kRows = 256;  // patches that are multiplied at once: they stay in cache
constexpr double kRounding = 1e-15; // of a constant patch, relative to its mean

std::size_t positions(std::size_t size, std::size_t patch, std::size_t stride) {
  return (size - patch) / stride + 1;
}

bool rising(const std::vector<std::size_t>& edges, std::size_t last) {
  bool fits = edges.size() > 1 && edges.front() == 0 && edges.back() == last;
  for (std::size_t i = 1; i < edges.size(); ++i) {
    fits = fits && edges[i - 1] < edges[i];
  }
  return fits;
}

// Filters in panels of kDualPad columns, the last row of each less the shift.
template <class T>
AlignedBuffer<T> panels_of(const T* filters, const T* shift, std::size_t depth, std::size_t n) {
  const std::size_t count = (n + kDualPad - 1) / kDualPad;
  AlignedBuffer<T> panels(count * (depth + 1) * kDualPad);
  for (std::size_t f = 0; f < n; ++f) {
    T* to = panels.data() + f / kDualPad * (depth + 1) * kDualPad + f % kDualPad;
    for (std::size_t t = 0; t < depth; ++t) {
      to[t * kDualPad] = filters[t * n + f];
    }
    to[depth * kDualPad] = -shift[f];
  }
  return panels;
}

// Takes images one by one.
template <class T> class PatchRunner {
public:
  PatchRunner(const PatchLayout& layout, const T* panels, std::size_t n_filters)
      : layout_(layout), panels_(panels), n_filters_(n_filters), depth_(layout.patch_size()),
        n_panels_((n_filters + kDualPad - 1) / kDualPad), patches_(kRows * (depth_ + 1)),
        tile_(kRows * kDualPad), sums_(2 * n_panels_ * kDualPad) {}

  void image(const T* x, T* out) {
    for (std::size_t i = 0; i + 1 < layout_.row_edges.size(); ++i) {
      for (std::size_t j = 0; j + 1 < layout_.col_edges.size(); ++j) {
        cell(x, i, j, out);
        out += 2 * n_filters_;
      }
    }
  }

private:
  void cell(const T* x, std::size_t i, std::size_t j, T* out) {
    std::fill_n(sums_.data(), 2 * n_panels_ * kDualPad, T{0});
    const std::size_t r0 = layout_.row_edges[i], r1 = layout_.row_edges[i + 1];
    const std::size_t c0 = layout_.col_edges[j], c1 = layout_.col_edges[j + 1];
    std::size_t held = 0;
    for (std::size_t r = r0; r < r1; ++r) {
      for (std::size_t c = c0; c < c1; ++c) {
        normalise(x + (r * layout_.width + c) * layout_.stride * layout_.channels,
                  patches_.data() + held * (depth_ + 1));
        if (++held == kRows) {
          add(held);
          held = 0;
        }
      }
    }
    add(held);
    const T mean = T{1} / static_cast<T>((r1 - r0) * (c1 - c0));
    for (std::size_t f = 0; f < n_filters_; ++f) {
      const T* sums = sums_.data() + f / kDualPad * 2 * kDualPad + f % kDualPad;
      out[f] = mean * sums[0];
      out[n_filters_ + f] = mean * sums[kDualPad];
    }
  }

  // The patch at x, and a one that the filters' shift is multiplied by.
  void normalise(const T* x, T* to) const {
    const std::size_t line = layout_.cols * layout_.channels;
    const std::size_t pitch = layout_.width * layout_.channels;
    double sum = 0;
    for (std::size_t r = 0; r < layout_.rows; ++r) {
      for (std::size_t t = 0; t < line; ++t) {
        sum += static_cast<double>(x[r * pitch + t]);
      }
    }
    const double mean = sum / static_cast<double>(depth_);
    double squares = 0;
    for (std::size_t r = 0; r < layout_.rows; ++r) {
      for (std::size_t t = 0; t < line; ++t) {
        const double d = (static_cast<double>(x[r * pitch + t]) - mean) * layout_.unit;
        squares += d * d;
      }
    }
    const double variance = squares / static_cast<double>(depth_);
    const double noise = kRounding * layout_.unit * mean;
    const double factor =
        variance > noise * noise ? layout_.unit / std::sqrt(variance + layout_.ridge) : 0;
    for (std::size_t r = 0; r < layout_.rows; ++r) {
      for (std::size_t t = 0; t < line; ++t) {
        to[r * line + t] = static_cast<T>((static_cast<double>(x[r * pitch + t]) - mean) * factor);
      }
    }
    to[depth_] = 1;
  }

  void add(std::size_t rows) {
    if (rows == 0) {
      return;
    }
    if (Interrupt* interrupt = Interrupt::current(); interrupt != nullptr) {
      interrupt->check();
    }
    for (std::size_t p = 0; p < n_panels_; ++p) {
      dual_table<T>().gram(patches_.data(), depth_ + 1, rows, panels_ + p * (depth_ + 1) * kDualPad,
                           depth_ + 1, tile_.data(), kDualPad, 1, 0, false);
      T* sums = sums_.data() + p * 2 * kDualPad;
      pixel_table<T>().rectified_sums(tile_.data(), rows, static_cast<T>(layout_.threshold), sums,
                                      sums + kDualPad);
    }
  }

  const PatchLayout& layout_;
  const T* panels_;
  std::size_t n_filters_, depth_, n_panels_;
  AlignedBuffer<T> patches_, tile_, sums_;
};

} // namespace

void PatchLayout::check() const {
  if (rows == 0 || cols == 0 || channels == 0 || stride == 0 || rows > height || cols > width) {
    throw std::invalid_argument("patch: expected one that fits into the images, and a stride");
  }
  if (!rising(row_edges, positions(height, rows, stride)) ||
      !rising(col_edges, positions(width, cols, stride))) {
    throw std::invalid_argument("edges: expected to rise from 0 to the number of patches");
  }
}

template <class T>
void rectified_patches(const PatchLayout& layout, const T* images, std::size_t n_images,
                       const T* filters, const T* shift, std::size_t n_filters, T* out,
                       std::size_t n_threads) {
  const AlignedBuffer<T> panels = panels_of(filters, shift, layout.patch_size(), n_filters);
  const std::size_t size = layout.height * layout.width * layout.channels;
  const std::size_t n_out = layout.n_cells() * 2 * n_filters;
  parallel_for(n_images, n_threads, 1, [&](std::size_t begin, std::size_t end) {
    PatchRunner<T> runner(layout, panels.data(), n_filters);
    for (std::size_t i = begin; i < end; ++i) {
      runner.image(images + i * size, out + i * n_out);
    }
  });
}

#define NKFAST_PATCHES(T)                                                                          \
  template void rectified_patches(const PatchLayout&, const T*, std::size_t, const T*, const T*,   \
                                  std::size_t, T*, std::size_t);
NKFAST_PATCHES(float)
NKFAST_PATCHES(double)

} // namespace nkfast
