// Exact kernels of dense networks in float32, with the pairs for which that is not enough again in
// float64. Which they are depends on the pair alone, so that its value does, too.
#include "kernels/dense.hpp"

#include "kernels/row_runner.hpp"
#include "kernels/tiles.hpp"
#include "parallel.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <optional>
#include <vector>

namespace nkfast {
namespace {

constexpr std::size_t kSingleCols = 512; // of a tile, if a panel of so many features is small
constexpr std::size_t kFewFeatures = 1024;
constexpr std::size_t kAtOnce = 2; // rows that stay in the first-level cache together

// The pairs of a tile that float32 is not enough for, row by row.
class Gaps {
public:
  explicit Gaps(std::size_t cols) : cols_(cols), columns_(kRows * cols), counts_(kRows) {}

  void clear() {
    std::fill(counts_.begin(), counts_.end(), 0);
    total_ = 0;
  }
  // Of row i, columns begin to n: those whose kernel is not finite.
  void find(std::size_t i, std::size_t begin, std::size_t n, const float* k) {
    const std::size_t whole = begin / kDualPad * kDualPad;
    if (begin >= n || table<float>().finite(k + whole, n - whole)) {
      return;
    }
    std::uint32_t* to = columns_.data() + i * cols_;
    for (std::size_t j = begin; j < n; ++j) {
      if (!std::isfinite(k[j])) {
        *to++ = static_cast<std::uint32_t>(j);
      }
    }
    counts_[i] = static_cast<std::size_t>(to - (columns_.data() + i * cols_));
    total_ += counts_[i];
  }

  std::size_t total() const { return total_; }
  std::size_t count(std::size_t i) const { return counts_[i]; }
  const std::uint32_t* columns(std::size_t i) const { return columns_.data() + i * cols_; }

private:
  std::size_t cols_;
  std::vector<std::uint32_t> columns_;
  std::vector<std::size_t> counts_;
  std::size_t total_ = 0;
};

} // namespace

// Takes the pairs in the gaps of a tile through all layers in float64; one for each thread.
class GapRunner {
public:
  GapRunner(const KernelParts& program, const Points<float>& points, double scale, std::size_t cols,
            std::size_t table_width)
      : points_(points), scale_(scale), cols_(cols), runner_(program, 1, cols), tile_(kRows * cols),
        k_(cols), theta_(cols), scratch_(table_width * cols), columns_(cols) {}

  void columns(std::size_t c0, std::size_t c1) {
    c0_ = c0;
    c1_ = c1;
    packed_ = false;
  }

  // The tile of rows [r0, r1) and the columns from c0 on; theta null: not wanted.
  void fill(const Gaps& gaps, std::size_t r0, std::size_t r1, std::size_t c0, float* k,
            float* theta, std::size_t ld) {
    if (!products_) { // many kernels never need it
      products_.emplace(points_, scale_, 0.0, cols_);
    }
    if (!packed_) {
      products_->columns(c0_, c1_);
      packed_ = true;
    }
    // Row by row the products of a panel take twice as long as in a whole tile.
    const bool dense = gaps.total() * 32 > (r1 - r0) * (c1_ - c0);
    if (dense) {
      products_->fill(r0, r1, c0, c1_, tile_.data(), cols_);
    }
    for (std::size_t i = r0; i < r1; ++i) {
      if (const std::size_t n = gaps.count(i - r0); n > 0) {
        double* products = tile_.data() + (i - r0) * cols_;
        const std::uint32_t* at = gaps.columns(i - r0);
        if (!dense) {
          multiply(i, c0, at, n, products);
        }
        float* to_theta = theta == nullptr ? nullptr : theta + (i - r0) * ld;
        fill_row(i, c0, at, n, products, k + (i - r0) * ld, to_theta);
      }
    }
  }

private:
  // The products of row i in those panels that hold one of the columns.
  void multiply(std::size_t i, std::size_t c0, const std::uint32_t* at, std::size_t n,
                double* products) {
    std::size_t done = 0;
    for (std::size_t t = 0; t < n; ++t) {
      if (at[t] >= done) {
        const std::size_t j = at[t] / kDualPad * kDualPad;
        done = j + kDualPad;
        products_->fill(i, i + 1, c0 + j, std::min(c0 + done, c1_), products + j, cols_);
      }
    }
  }

  void fill_row(std::size_t i, std::size_t c0, const std::uint32_t* at, std::size_t n,
                const double* products, float* k, float* theta) {
    const std::size_t padded = (n + kDualFew - 1) / kDualFew * kDualFew;
    for (std::size_t t = 0; t < padded; ++t) {
      columns_[t] = static_cast<std::uint32_t>(c0 + at[t < n ? t : 0]);
      k_.data()[t] = products[at[t < n ? t : 0]];
    }
    double* own_theta = theta == nullptr ? nullptr : theta_.data();
    runner_.run({.rows = 1, .n = padded, .k = k_.data(), .theta = own_theta, .pitch = cols_},
                [&](const DualMap& map, const TileOf<double>& row) {
                  map.apply_at(i, columns_.data(), padded, scratch_.data(), row.k, row.theta);
                });
    for (std::size_t t = 0; t < n; ++t) {
      k[at[t]] = static_cast<float>(k_.data()[t]);
      if (theta != nullptr) {
        theta[at[t]] = static_cast<float>(theta_.data()[t]);
      }
    }
  }

  Points<float> points_;
  double scale_;
  std::size_t cols_;
  std::size_t c0_ = 0;
  std::size_t c1_ = 0;
  bool packed_ = false;
  std::optional<Products<double, float>> products_;
  RowRunner<double> runner_;
  AlignedBuffer<double> tile_; // products
  AlignedBuffer<double> k_;
  AlignedBuffer<double> theta_;
  AlignedBuffer<double> scratch_; // tables of the columns
  std::vector<std::uint32_t> columns_;
};

std::size_t KernelProgram::run_single(const Points<float>& points, double scale,
                                      const Extent& extent, const Target<float>& nngp,
                                      const Target<float>& ntk, std::size_t n_threads) const {
  const std::size_t cols = points.depth <= kFewFeatures ? kSingleCols : kMostCols;
  std::size_t table_width = 0;
  for (const DualMap& map : parts_.maps) {
    table_width = std::max(table_width, map.right_width());
  }
  const std::size_t worth = extent.rows * extent.cols / 4096 + 1;
  n_threads = std::clamp<std::size_t>(n_threads, 1, worth);
  const std::vector<Item> items = divide(extent, cols, n_threads);
  n_threads = std::min(n_threads, items.size());

  const auto given = [](const Target<float>& to) {
    return to.out == nullptr || to.diagonal != nullptr;
  };
  const bool with_diagonal = given(nngp) && given(ntk);
  std::atomic<std::size_t> next{0};
  std::atomic<std::size_t> again{0};
  parallel_for(n_threads, n_threads, 1, [&](std::size_t, std::size_t) {
    const std::size_t ld = cols + kGap;
    RowRunner<float> runner(parts_, kAtOnce, cols);
    const Affine first = runner.first();
    Products<float, float> products(points, scale * first.w2, first.b2, cols);
    GapRunner gap_runner(parts_, points, scale, cols, table_width);
    Gaps gaps(cols);
    const Writer<float> k_writer(nngp, cols);
    const Writer<float> theta_writer(ntk, cols);
    AlignedBuffer<float> k_tile(kRows * ld);
    AlignedBuffer<float> theta_tile(theta_writer.wanted() ? kRows * ld : 0);
    Checkpoint checkpoint(kRows * cols);
    for (std::size_t at; (at = next.fetch_add(1)) < items.size();) {
      const Item& item = items[at];
      products.columns(item.c0, item.c1);
      gap_runner.columns(item.c0, item.c1);
      for (std::size_t r0 = item.r0, r1; r0 < item.r1; r0 = r1) {
        checkpoint();
        r1 = rows_end(r0, item, extent);
        const bool square = extent.symmetric && r0 >= item.c0;
        const std::size_t c0 = square ? r0 : item.c0;
        const std::size_t n = item.c1 - c0;
        products.fill(r0, r1, c0, item.c1, k_tile.data(), ld);
        gaps.clear();
        for (std::size_t i = 0; i < r1 - r0; i += kAtOnce) {
          runner.run(
              {.rows = std::min(kAtOnce, r1 - r0 - i),
               .n = whole_panels(n),
               .k = k_tile.data() + i * ld,
               .theta = theta_writer.wanted() ? theta_tile.data() + i * ld : nullptr,
               .pitch = ld},
              [&](const DualMap& map, const TileOf<float>& tile) { map.apply(r0 + i, c0, tile); });
        }
        for (std::size_t i = 0; i < r1 - r0; ++i) {
          float* k = k_tile.data() + i * ld;
          if (square && with_diagonal) {
            k[i] = 0; // the exact diagonal comes later
          }
          gaps.find(i, square ? i : 0, n, k); // below the diagonal there is nothing to find
        }
        if (gaps.total() > 0) {
          gap_runner.fill(gaps, r0, r1, c0, k_tile.data(),
                          theta_writer.wanted() ? theta_tile.data() : nullptr, ld);
          again += gaps.total();
        }
        if (k_writer.wanted()) {
          k_writer.write(k_tile.data(), ld, r0, r1, c0, item.c1, square);
        }
        if (theta_writer.wanted()) {
          theta_writer.write(theta_tile.data(), ld, r0, r1, c0, item.c1, square);
        }
      }
    }
  });
  return again;
}

} // namespace nkfast
