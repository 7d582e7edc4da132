// Tiles of a kernel: how it is cut into them, their inner products, and their way out.
#pragma once

#include "kernels/dense.hpp"
#include "simd/dispatch.hpp"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <type_traits>
#include <vector>

namespace nkfast {

// A tile of kRows x kMostCols products stays in the second-level cache with all that belongs to it.
inline constexpr std::size_t kRows = 64; // a multiple of kDualPad
inline constexpr std::size_t kMostCols = 256;
inline constexpr std::size_t kTableBytes = 400000; // of the columns of a tile, all layers together
inline constexpr std::size_t kGap = 16; // or rows of a tile would fall into the same cache set

struct Item { // columns [c0, c1) with rows [r0, r1)
  std::size_t c0, c1, r0, r1;
};

inline std::size_t tile_cols(std::size_t table_width) {
  std::size_t cols = kMostCols;
  while (cols > kDualPad && table_width * cols * sizeof(double) > kTableBytes) {
    cols /= 2;
  }
  return cols;
}

// Many items for each thread, since other work may slow one of them down, yet each with many rows
// for the columns that it packs.
inline std::vector<Item> divide(const Extent& extent, std::size_t cols, std::size_t n_threads) {
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

// Where the rows of a tile that begin at r0 end. Of a symmetric kernel a tile begins at its first
// column, so that it holds its part of the diagonal, however few columns tiles have.
inline std::size_t rows_end(std::size_t r0, const Item& item, const Extent& extent) {
  const std::size_t end = std::min(r0 + kRows, item.r1);
  return extent.symmetric && r0 < item.c0 ? std::min(end, item.c0) : end;
}

// Products of a tile in P, from Points: columns are packed once for all items in a row that have
// them, rows once per tile.
template <class P, class X> class Products {
public:
  // scale <x, z> + shift.
  Products(const Points<X>& points, double scale, double shift, std::size_t cols)
      : points_(points), scale_(scale), shift_(shift), panels_(points.depth * cols),
        rows_(std::is_same_v<P, X> ? 0 : points.depth * kRows),
        block_(points.depth > kBlock ? kRows * kDualPad : 0) {}

  void columns(std::size_t c0, std::size_t c1) {
    if (c0 == c0_ && c1 == c1_) {
      return;
    }
    c0_ = c0;
    c1_ = c1;
    const std::size_t depth = points_.depth;
    for (std::size_t j = c0; j < c1; j += kDualPad) {
      P* panel = panels_.data() + (j - c0) * depth;
      const std::size_t n = std::min(kDualPad, c1 - j);
      const X* from = points_.cols + j * depth;
      if constexpr (std::is_same_v<P, X>) {
        table<P>().transpose_tile(from, depth, n, depth, panel, kDualPad, false);
      }
      for (std::size_t t = 0; t < depth; ++t) {
        if constexpr (!std::is_same_v<P, X>) {
          for (std::size_t r = 0; r < n; ++r) {
            panel[t * kDualPad + r] = static_cast<P>(from[r * depth + t]);
          }
        }
        std::fill(panel + t * kDualPad + n, panel + (t + 1) * kDualPad, P{0});
      }
    }
  }

  void fill(std::size_t r0, std::size_t r1, std::size_t c0, std::size_t c1, P* tile,
            std::size_t ld) {
    const std::size_t depth = points_.depth;
    const P* rows;
    if constexpr (std::is_same_v<P, X>) {
      rows = points_.rows + r0 * depth;
    } else {
      const X* from = points_.rows + r0 * depth;
      std::copy(from, from + (r1 - r0) * depth, rows_.data());
      rows = rows_.data();
    }
    const std::size_t n_rows = r1 - r0;
    for (std::size_t j = c0; j < c1; j += kDualPad) {
      const P* panel = panels_.data() + (j - c0_) * depth;
      P* to = tile + (j - c0);
      if (depth <= kBlock) {
        sum(rows, n_rows, panel, 0, depth, to, ld, scale_, shift_);
        continue;
      }
      for (std::size_t t = 0; t < depth; t += kBlock) {
        const std::size_t end = std::min(t + kBlock, depth);
        sum(rows, n_rows, panel, t, end, block_.data(), kDualPad, 1, 0);
        const bool last = end == depth;
        add(n_rows, t > 0, last ? scale_ : 1, last ? shift_ : 0, to, ld);
      }
    }
  }

private:
  // In float32 sums of so many products are added, and sums of the sums of so many, or the error
  // would grow with the root of the number of features.
  static constexpr bool kSingle = std::is_same_v<P, float>;
  static constexpr std::size_t kChunk = kSingle ? 32 : 256;
  static constexpr std::size_t kBlock = kSingle ? 1024 : std::numeric_limits<std::size_t>::max();

  // Of features [begin, end), for the columns of a panel.
  void sum(const P* rows, std::size_t n_rows, const P* panel, std::size_t begin, std::size_t end,
           P* to, std::size_t ld, double scale, double shift) const {
    for (std::size_t t = begin; t < end; t += kChunk) {
      const std::size_t n = std::min(kChunk, end - t);
      const bool last = t + n == end;
      dual_table<P>().gram(rows + t, points_.depth, n_rows, panel + t * kDualPad, n, to, ld,
                           last ? scale : 1.0, last ? shift : 0.0, t > begin);
    }
  }

  void add(std::size_t n_rows, bool to_what_is_there, double scale, double shift, P* to,
           std::size_t ld) const {
    for (std::size_t r = 0; r < n_rows; ++r, to += ld) {
      const P* more = block_.data() + r * kDualPad;
      for (std::size_t j = 0; j < kDualPad; ++j) {
        const P now = (to_what_is_there ? to[j] : P{0}) + more[j];
        to[j] = now * static_cast<P>(scale) + static_cast<P>(shift);
      }
    }
  }

  Points<X> points_;
  double scale_;
  double shift_;
  std::size_t c0_ = 0, c1_ = 0; // what is packed
  AlignedBuffer<P> panels_;     // for every kDualPad columns (depth, column)
  AlignedBuffer<P> rows_;
  AlignedBuffer<P> block_; // sums of a block of features for a panel
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

template <class X>
Products<double, X> products_of(const Points<X>& p, double scale, std::size_t cols) {
  return {p, scale, 0.0, cols};
}
inline CopiedProducts products_of(const GivenProducts& p, double scale, std::size_t cols) {
  return {p, scale, cols};
}

// A tile of results on its way out, twice if it is mirrored.
template <class T> class Writer {
public:
  Writer(const Target<T>& target, std::size_t cols) : target_(target), ld_(cols + kGap) {}

  bool wanted() const { return target_.out != nullptr; }

  // Row i of the tile that begins at (r0, c0).
  void row(std::size_t i, std::size_t r0, std::size_t c0, std::size_t n, const double* values) {
    if (target_.mirror != nullptr && tile_.empty()) {
      tile_.resize(kRows * ld_);
    }
    table<T>().narrow(values, n, tile_.empty() ? at(r0 + i, c0) : tile_.data() + i * ld_);
  }

  // The tile of these rows is complete. square: it begins on the diagonal of a symmetric kernel.
  void finish(std::size_t r0, std::size_t r1, std::size_t c0, std::size_t c1, bool square) {
    if (!tile_.empty()) {
      write(tile_.data(), ld_, r0, r1, c0, c1, square);
    }
  }

  // A whole tile, whose rows are ld apart; it is changed if it is square.
  void write(T* tile, std::size_t ld, std::size_t r0, std::size_t r1, std::size_t c0,
             std::size_t c1, bool square) const {
    const std::size_t rows = r1 - r0;
    const std::size_t past = square ? rows : 0; // columns whose mirror image is in the tile
    if (square) {
      mend(tile, ld, rows, r0);
    }
    for (std::size_t i = 0; i < rows; ++i) {
      table<T>().stream(tile + i * ld, c1 - c0, at(r0 + i, c0));
    }
    if (target_.mirror == nullptr) {
      return;
    }
    T* mirror = target_.mirror + static_cast<std::ptrdiff_t>(c0 + past) * target_.mirror_ld +
                static_cast<std::ptrdiff_t>(r0);
    if (c0 + past < c1) {
      table<T>().transpose_tile(tile + past, ld, rows, c1 - c0 - past, mirror, target_.mirror_ld,
                                true);
    }
  }

private:
  T* at(std::size_t i, std::size_t j) const {
    return target_.out + static_cast<std::ptrdiff_t>(i) * target_.ld +
           static_cast<std::ptrdiff_t>(j);
  }

  void mend(T* tile, std::size_t ld, std::size_t rows, std::size_t r0) const {
    for (std::size_t i = 0; i < rows; ++i) {
      for (std::size_t j = 0; j < i; ++j) {
        tile[i * ld + j] = tile[j * ld + i];
      }
      if (target_.diagonal != nullptr) {
        tile[i * ld + i] = static_cast<T>(target_.diagonal[r0 + i]);
      }
    }
  }

  Target<T> target_;
  std::size_t ld_;
  std::vector<T> tile_;
};

} // namespace nkfast
