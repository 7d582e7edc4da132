#include "kernel/dense.hpp"

#include "parallel.hpp"
#include "simd/dispatch.hpp"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <stdexcept>
#include <type_traits>
#include <utility>

namespace nkfast {
namespace {

// A tile of kRows x kMostCols products stays in the second-level cache with all that belongs to it.
constexpr std::size_t kRows = 64; // a multiple of kDualPad
constexpr std::size_t kMostCols = 256;
constexpr std::size_t kTableBytes = 400000; // of the columns of a tile, all layers together
constexpr std::size_t kDepth = 256;         // features that are multiplied at once
constexpr std::size_t kGap = 16;            // or rows of a tile would fall into the same cache set

struct Item { // columns [c0, c1) with rows [r0, r1)
  std::size_t c0, c1, r0, r1;
};

std::size_t tile_cols(std::size_t table_width) {
  std::size_t cols = kMostCols;
  while (cols > kDualPad && table_width * cols * sizeof(double) > kTableBytes) {
    cols /= 2;
  }
  return cols;
}

// Many items for each thread, since other work may slow one of them down, yet each with many rows
// for the columns that it packs.
std::vector<Item> divide(const Extent& extent, std::size_t cols, std::size_t n_threads) {
  const std::size_t n_tiles = ((extent.rows + kRows - 1) / kRows) *
                              ((extent.cols + cols - 1) / cols) / (extent.symmetric ? 2 : 1);
  const std::size_t height = kRows * std::clamp<std::size_t>(n_tiles / (16 * n_threads), 1, 16);
  std::vector<Item> items;
  for (std::size_t c0 = 0; c0 < extent.cols; c0 += cols) {
    const std::size_t c1 = std::min(c0 + cols, extent.cols);
    const std::size_t end = extent.symmetric ? c1 : extent.rows;
    for (std::size_t r0 = 0; r0 < end; r0 += height) {
      items.push_back({c0, c1, r0, std::min(r0 + height, end)});
    }
  }
  return items;
}

// Products of a tile, from Points: columns are packed once per item, rows once per tile.
template <class X> class Products {
public:
  Products(const Points<X>& points, double scale, std::size_t cols)
      : points_(points), scale_(scale), panels_(points.depth * cols), rows_(points.depth * kRows) {}

  void columns(std::size_t c0, std::size_t c1) {
    c0_ = c0;
    const std::size_t depth = points_.depth;
    for (std::size_t j = c0; j < c1; j += kDualPad) {
      double* panel = panels_.data() + (j - c0) * depth;
      const std::size_t n = std::min(kDualPad, c1 - j);
      const X* from = points_.cols + j * depth;
      for (std::size_t t = 0; t < depth; ++t) {
        for (std::size_t r = 0; r < n; ++r) {
          panel[t * kDualPad + r] = static_cast<double>(from[r * depth + t]);
        }
        std::fill(panel + t * kDualPad + n, panel + (t + 1) * kDualPad, 0.0);
      }
    }
  }

  void fill(std::size_t r0, std::size_t r1, std::size_t c0, std::size_t c1, double* tile,
            std::size_t ld) {
    const std::size_t depth = points_.depth;
    const double* rows;
    if constexpr (std::is_same_v<X, double>) {
      rows = points_.rows + r0 * depth;
    } else {
      const X* from = points_.rows + r0 * depth;
      std::copy(from, from + (r1 - r0) * depth, rows_.data());
      rows = rows_.data();
    }
    for (std::size_t t = 0; t < depth; t += kDepth) {
      const std::size_t n = std::min(kDepth, depth - t);
      for (std::size_t j = c0; j < c1; j += kDualPad) {
        kernels().dual.gram(rows + t, depth, r1 - r0,
                            panels_.data() + (j - c0_) * depth + t * kDualPad, n, tile + (j - c0),
                            ld, t + n == depth ? scale_ : 1.0, t > 0);
      }
    }
  }

private:
  Points<X> points_;
  double scale_;
  std::size_t c0_ = 0;
  AlignedReals panels_; // for every kDualPad columns (depth, column)
  AlignedReals rows_;
};

class CopiedProducts {
public:
  CopiedProducts(const GivenProducts& given, double scale, std::size_t)
      : given_(given), scale_(scale) {}

  void columns(std::size_t, std::size_t) {}

  void fill(std::size_t r0, std::size_t r1, std::size_t c0, std::size_t c1, double* tile,
            std::size_t ld) {
    for (std::size_t i = r0; i < r1; ++i, tile += ld) {
      const double* from = given_.data + static_cast<std::ptrdiff_t>(i) * given_.ld;
      for (std::size_t j = c0; j < c1; ++j) {
        tile[j - c0] = scale_ * from[j];
      }
      std::fill(tile + (c1 - c0), tile + whole_panels(c1 - c0), 0.0);
    }
  }

private:
  GivenProducts given_;
  double scale_;
};

template <class X> Products<X> products_of(const Points<X>& p, double scale, std::size_t cols) {
  return {p, scale, cols};
}
CopiedProducts products_of(const GivenProducts& p, double scale, std::size_t cols) {
  return {p, scale, cols};
}

void add_to(double* x, const double* y, std::size_t n) {
  for (std::size_t j = 0; j < n; ++j) {
    x[j] += y[j];
  }
}

// A tile of results on its way out, twice if it is mirrored.
template <class T> class Writer {
public:
  Writer(const Target<T>& target, std::size_t cols) : target_(target), ld_(cols + kGap) {
    if (target.mirror != nullptr) {
      tile_.resize(kRows * ld_);
    }
  }

  bool wanted() const { return target_.out != nullptr; }

  // Row i of the tile that begins at (r0, c0).
  void row(std::size_t i, std::size_t r0, std::size_t c0, std::size_t n, const double* values) {
    table<T>().narrow(values, n, tile_.empty() ? at(r0 + i, c0) : tile_.data() + i * ld_);
  }

  // The tile is complete. square: it begins on the diagonal of a symmetric kernel.
  void finish(std::size_t r0, std::size_t r1, std::size_t c0, std::size_t c1, bool square) {
    if (tile_.empty()) {
      return;
    }
    const std::size_t rows = r1 - r0;
    const std::size_t past = square ? rows : 0; // columns whose mirror image is in the tile
    if (square) {
      mend(rows, r0);
    }
    for (std::size_t i = 0; i < rows; ++i) {
      table<T>().stream(tile_.data() + i * ld_, c1 - c0, at(r0 + i, c0));
    }
    T* mirror = target_.mirror + static_cast<std::ptrdiff_t>(c0 + past) * target_.mirror_ld +
                static_cast<std::ptrdiff_t>(r0);
    if (c0 + past < c1) {
      table<T>().transpose_tile(tile_.data() + past, ld_, rows, c1 - c0 - past, mirror,
                                target_.mirror_ld);
    }
  }

private:
  T* at(std::size_t i, std::size_t j) const {
    return target_.out + static_cast<std::ptrdiff_t>(i) * target_.ld +
           static_cast<std::ptrdiff_t>(j);
  }

  void mend(std::size_t rows, std::size_t r0) {
    for (std::size_t i = 0; i < rows; ++i) {
      for (std::size_t j = 0; j < i; ++j) {
        tile_[i * ld_ + j] = tile_[j * ld_ + i];
      }
      if (target_.diagonal != nullptr) {
        tile_[i * ld_ + i] = static_cast<T>(target_.diagonal[r0 + i]);
      }
    }
  }

  Target<T> target_;
  std::size_t ld_;
  std::vector<T> tile_;
};

} // namespace

// Takes rows of pairs through the layers; one for each thread.
class RowRunner {
public:
  RowRunner(const KernelProgram& program, std::size_t cols, bool with_theta)
      : program_(program), cols_(cols), buffer_((1 + 2 * program.most_) * cols),
        theta_(with_theta ? buffer_.data() : nullptr) {}

  // k: n products of row i with the columns from j on, n in whole panels; returns theta.
  const double* run(std::size_t i, std::size_t j, std::size_t n, double* k) {
    using What = KernelProgram::What;
    bool first = true;
    double* kept = buffer_.data() + cols_;
    if (theta_ != nullptr &&
        (program_.steps_.empty() || program_.steps_.front().what != What::kAffine)) {
      std::fill_n(theta_, n, 0.0);
      first = false;
    }
    for (const KernelProgram::Step& step : program_.steps_) {
      switch (step.what) {
      case What::kAffine:
        kernels().dual.affine(step.w2, step.b2, n, k, theta_, first);
        break;
      case What::kActivation:
        program_.maps_[step.map].apply(i, j, n, k, theta_);
        break;
      case What::kPush:
        std::copy_n(k, n, kept);
        if (theta_ != nullptr) {
          std::copy_n(theta_, n, kept + cols_);
        }
        kept += 2 * cols_;
        break;
      case What::kAdd:
        kept -= 2 * cols_;
        add_to(k, kept, n);
        if (theta_ != nullptr) {
          add_to(theta_, kept + cols_, n);
        }
      }
      first = false;
    }
    return theta_;
  }

private:
  const KernelProgram& program_;
  std::size_t cols_;
  AlignedReals buffer_; // theta, then k and theta of each open residual connection
  double* theta_;
};

void KernelProgram::affine(double w2, double b2) {
  steps_.push_back({.what = What::kAffine, .w2 = w2, .b2 = b2});
}

void KernelProgram::activation(DualMap map) {
  steps_.push_back({.what = What::kActivation, .map = maps_.size()});
  maps_.push_back(std::move(map));
}

void KernelProgram::push() {
  steps_.push_back({.what = What::kPush});
  most_ = std::max(most_, ++depth_);
}

void KernelProgram::add() {
  if (depth_ == 0) {
    throw std::invalid_argument("add: expected a push before it");
  }
  --depth_;
  steps_.push_back({.what = What::kAdd});
}

void KernelProgram::check(const Extent& extent) const {
  if (depth_ > 0) {
    throw std::invalid_argument("push: expected an add after it");
  }
  for (const DualMap& map : maps_) {
    if (map.n_left() != extent.rows || map.n_right() != extent.cols) {
      throw std::invalid_argument("activation: expected tables of " + std::to_string(extent.rows) +
                                  " and " + std::to_string(extent.cols) + " points, got " +
                                  std::to_string(map.n_left()) + " and " +
                                  std::to_string(map.n_right()));
    }
  }
}

template <class Source, class T>
void KernelProgram::run(const Source& source, double scale, const Extent& extent,
                        const Target<T>& nngp, const Target<T>& ntk, std::size_t n_threads) const {
  check(extent);
  std::size_t table_width = 0;
  for (const DualMap& map : maps_) {
    table_width += map.right_width();
  }
  const std::size_t cols = tile_cols(table_width);
  const std::size_t worth = extent.rows * extent.cols / 4096 + 1;
  n_threads = std::clamp<std::size_t>(n_threads, 1, worth);
  const std::vector<Item> items = divide(extent, cols, n_threads);
  n_threads = std::min(n_threads, items.size());

  std::atomic<std::size_t> next{0};
  parallel_for(n_threads, n_threads, 1, [&](std::size_t, std::size_t) {
    auto products = products_of(source, scale, cols);
    RowRunner runner(*this, cols, ntk.out != nullptr);
    Writer<T> k_writer(nngp, cols);
    Writer<T> theta_writer(ntk, cols);
    AlignedReals tile(kRows * cols);
    for (std::size_t at; (at = next.fetch_add(1)) < items.size();) {
      const Item& item = items[at];
      products.columns(item.c0, item.c1);
      for (std::size_t r0 = item.r0; r0 < item.r1; r0 += kRows) {
        const std::size_t r1 = std::min(r0 + kRows, item.r1);
        const bool square = extent.symmetric && r0 >= item.c0;
        const std::size_t c0 = square ? r0 : item.c0;
        products.fill(r0, r1, c0, item.c1, tile.data(), cols);
        for (std::size_t i = r0; i < r1; ++i) {
          double* k = tile.data() + (i - r0) * cols;
          const double* theta = runner.run(i, c0, whole_panels(item.c1 - c0), k);
          if (k_writer.wanted()) {
            k_writer.row(i - r0, r0, c0, item.c1 - c0, k);
          }
          if (theta_writer.wanted()) {
            theta_writer.row(i - r0, r0, c0, item.c1 - c0, theta);
          }
        }
        if (k_writer.wanted()) {
          k_writer.finish(r0, r1, c0, item.c1, square);
        }
        if (theta_writer.wanted()) {
          theta_writer.finish(r0, r1, c0, item.c1, square);
        }
      }
    }
  });
}

#define NKFAST_RUN(Source, T)                                                                      \
  template void KernelProgram::run(const Source&, double, const Extent&, const Target<T>&,         \
                                   const Target<T>&, std::size_t) const;
NKFAST_RUN(GivenProducts, float)
NKFAST_RUN(GivenProducts, double)
NKFAST_RUN(Points<float>, float)
NKFAST_RUN(Points<float>, double)
NKFAST_RUN(Points<double>, float)
NKFAST_RUN(Points<double>, double)
#undef NKFAST_RUN

} // namespace nkfast
