#include "kernels/dense.hpp"

#include "kernels/row_runner.hpp"
#include "kernels/tiles.hpp"
#include "parallel.hpp"

#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace nkfast {

void KernelBuilder::affine(double w2, double b2) {
  check_open();
  parts_.steps.push_back({.what = Step::What::kAffine, .affine = {w2, b2}});
}

void KernelBuilder::activation(DualMap map) {
  check_open();
  parts_.single = parts_.single && map.be_single();
  parts_.steps.push_back({.what = Step::What::kActivation, .map = parts_.maps.size()});
  parts_.maps.push_back(std::move(map));
}

void KernelBuilder::push() {
  check_open();
  parts_.steps.push_back({.what = Step::What::kPush});
  parts_.most_open = std::max(parts_.most_open, ++open_);
}

void KernelBuilder::add() {
  check_open();
  if (open_ == 0) {
    throw std::invalid_argument("add: expected a push before it");
  }
  --open_;
  parts_.steps.push_back({.what = Step::What::kAdd});
}

bool KernelBuilder::be_single() {
  check_open();
  std::vector<DualMap>& maps = parts_.maps;
  parts_.single =
      std::all_of(maps.begin(), maps.end(), [](DualMap& map) { return map.be_single(); });
  return parts_.single;
}

KernelProgram KernelBuilder::finish() {
  check_open();
  if (open_ > 0) {
    throw std::invalid_argument("push: expected an add after it");
  }
  close();
  return KernelProgram(std::move(parts_));
}

void KernelProgram::check(const Extent& extent) const {
  for (const DualMap& map : parts_.maps) {
    if (map.n_left() != extent.rows || map.n_right() != extent.cols) {
      throw std::invalid_argument("activation: expected tables of " + std::to_string(extent.rows) +
                                  " and " + std::to_string(extent.cols) + " points, got " +
                                  std::to_string(map.n_left()) + " and " +
                                  std::to_string(map.n_right()));
    }
  }
}

template <class Source, class T>
std::size_t KernelProgram::run(const Source& source, double scale, const Extent& extent,
                               const Target<T>& nngp, const Target<T>& ntk,
                               std::size_t n_threads) const {
  check(extent);
  if constexpr (std::is_same_v<Source, Points<float>> && std::is_same_v<T, float>) {
    if (parts_.single) {
      return run_single(source, scale, extent, nngp, ntk, n_threads);
    }
  }
  std::size_t table_width = 0;
  for (const DualMap& map : parts_.maps) {
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
    RowRunner<double> runner(parts_, 1, cols);
    Writer<T> k_writer(nngp, cols);
    Writer<T> theta_writer(ntk, cols);
    AlignedBuffer<double> tile(kRows * cols);
    AlignedBuffer<double> buffer(cols);
    double* theta = theta_writer.wanted() ? buffer.data() : nullptr;
    Checkpoint checkpoint(kRows * cols);
    for (std::size_t at; (at = next.fetch_add(1)) < items.size();) {
      const Item& item = items[at];
      products.columns(item.c0, item.c1);
      for (std::size_t r0 = item.r0, r1; r0 < item.r1; r0 = r1) {
        checkpoint();
        r1 = rows_end(r0, item, extent);
        const bool square = extent.symmetric && r0 >= item.c0;
        const std::size_t c0 = square ? r0 : item.c0;
        products.fill(r0, r1, c0, item.c1, tile.data(), cols);
        for (std::size_t i = r0; i < r1; ++i) {
          double* k = tile.data() + (i - r0) * cols;
          const std::size_t n = whole_panels(item.c1 - c0);
          runner.run({.rows = 1, .n = n, .k = k, .theta = theta, .pitch = cols},
                     [&](const DualMap& map, const TileOf<double>& row) {
                       map.apply(i, c0, n, row.k, row.theta);
                     });
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
  return 0;
}

#define NKFAST_RUN(Source, T)                                                                      \
  template std::size_t KernelProgram::run(const Source&, double, const Extent&, const Target<T>&,  \
                                          const Target<T>&, std::size_t) const;
NKFAST_RUN(GivenProducts, float)
NKFAST_RUN(GivenProducts, double)
NKFAST_RUN(Points<float>, float)
NKFAST_RUN(Points<float>, double)
NKFAST_RUN(Points<double>, float)
NKFAST_RUN(Points<double>, double)
#undef NKFAST_RUN

} // namespace nkfast
