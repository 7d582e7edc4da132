#include "kernels/tangents.hpp"

#include "kernels/tiles.hpp"
#include "parallel.hpp"
#include "simd/dispatch.hpp"

#include <algorithm>
#include <atomic>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>

namespace nkfast {
namespace {

void expect(std::size_t expected, std::size_t got, const char* what) {
  if (expected != got) {
    throw std::invalid_argument(std::string(what) + ": expected " + std::to_string(expected) +
                                ", got " + std::to_string(got));
  }
}

// How many of the parameters have tangents.
std::size_t moving_params(DualKind kind) {
  switch (kind) {
  case kRectifier:
    return 3;
  case kAsin:
  case kSin:
    return 4;
  case kExp:
  case kGaussian:
  case kExpNormalized:
    return 2;
  default:
    return 0;
  }
}

MapWidths widths_with_tangents(DualKind kind, const Reals& params) {
  switch (kind) {
  case kRectifier:
    return {3, 2, 2};
  case kRectifiedPower:
    return {1 + polynomials_width(params, 6), 3, 3};
  case kSeries:
  case kTable: {
    MapWidths widths = map_widths(kind, params);
    widths.left += widths.left - 1;
    widths.right += widths.right - 1;
    if (kind == kSeries && params[0] > 1) {
      throw std::invalid_argument("params: expected an offset of at most 1");
    }
    return widths;
  }
  case kPiecewise: {
    MapWidths widths = map_widths(kind, params);
    const auto n_whole = static_cast<std::size_t>(params[2]);
    widths.left += 2 * n_whole + 2 * (n_whole - 1);
    widths.right = widths.left;
    return widths;
  }
  default:
    return map_widths(kind, params);
  }
}

// The transpose of (n, width) in rows of ld.
AlignedBuffer<double> columns(const double* from, std::size_t n, std::size_t width,
                              std::size_t ld) {
  AlignedBuffer<double> to(width * ld);
  for (std::size_t j = 0; j < n; ++j) {
    for (std::size_t t = 0; t < width; ++t) {
      to.data()[t * ld + j] = from[j * width + t];
    }
  }
  return to;
}

// Takes one row of pairs through the layers; one for each thread.
class TangentRunner {
public:
  TangentRunner(const TangentParts& program, std::size_t cols, bool ntk)
      : program_(program), cols_(cols), n_rows_((ntk ? 2 : 1) * (1 + program.n_tangents)),
        state_(n_rows_ * cols), kept_(program.most_open * n_rows_ * cols), ntk_(ntk) {}

  // Of n columns from c0 on; products k come in its first row.
  TangentRow run(std::size_t i, std::size_t c0, std::size_t n) {
    const std::size_t h = program_.n_tangents;
    double* at = state_.data();
    TangentRow row{.n = n,
                   .n_tangents = h,
                   .k = at,
                   .theta = ntk_ ? at + (1 + h) * cols_ : nullptr,
                   .dk = at + cols_,
                   .dtheta = ntk_ ? at + (2 + h) * cols_ : nullptr,
                   .pitch = cols_,
                   .fresh = true};
    double* kept = kept_.data();
    for (const auto& step : program_.steps) {
      if (row.fresh && step.what != What::kAffine) {
        std::fill(at + cols_, at + n_rows_ * cols_, 0.0);
        row.fresh = false;
      }
      switch (step.what) {
      case What::kAffine:
        kernels().tangents.affine(step.affine.w2, step.affine.b2, step.dw2.data(), step.db2.data(),
                                  row);
        break;
      case What::kActivation:
        program_.maps[step.map].apply(i, c0, row);
        break;
      case What::kPush:
        std::copy_n(at, n_rows_ * cols_, kept);
        kept += n_rows_ * cols_;
        break;
      case What::kAdd:
        kept -= n_rows_ * cols_;
        std::transform(at, at + n_rows_ * cols_, kept, at, std::plus<double>());
      }
      row.fresh = false;
    }
    if (row.fresh) {
      std::fill(at + cols_, at + n_rows_ * cols_, 0.0);
    }
    return row;
  }

  double* products() { return state_.data(); }

private:
  using What = TangentParts::Step::What;

  const TangentParts& program_;
  std::size_t cols_;
  std::size_t n_rows_;          // of the state: k, its tangents, theta, its tangents
  AlignedBuffer<double> state_; // (n_rows, cols)
  AlignedBuffer<double> kept_;  // of each open residual connection
  bool ntk_;
};

} // namespace

TangentMap::TangentMap(DualKind kind, Reals params, Reals param_tangents, std::size_t n_tangents,
                       const Points& left, const Points& right)
    : kind_(kind), params_(std::move(params)), param_tangents_(std::move(param_tangents)),
      moved_(n_tangents), n_tangents_(n_tangents), n_left_(left.n), n_right_(right.n),
      left_width_(left.width), right_width_(right.width), ld_(whole_panels(right.n)) {
  if (kind >= kDualKinds || kernels().tangents.map[kind] == nullptr) {
    throw std::invalid_argument("kind: expected a dual map that has tangents");
  }
  const MapWidths widths = widths_with_tangents(kind_, params_);
  expect(widths.params, params_.size(), "params: number of parameters");
  expect(widths.left, left.width, "left: number of columns");
  expect(widths.right, right.width, "right: number of columns");
  const std::size_t n_moving = moving_params(kind_);
  expect(n_moving * n_tangents, param_tangents_.size(), "param_tangents: number of entries");
  for (std::size_t h = 0; h < n_tangents; ++h) {
    const double* at = param_tangents_.data() + h * n_moving;
    moved_[h] = std::any_of(at, at + n_moving, [](double x) { return x != 0; });
  }
  left_.assign(left.table, left.table + left.n * left.width);
  left_tangents_.assign(left.tangents, left.tangents + left.n * n_tangents);
  right_ = columns(right.table, right.n, right.width, ld_);
  right_tangents_ = columns(right.tangents, right.n, n_tangents, ld_);
  if (kind_ == kSeries) {
    append_largest(right_.data(), right.n, ld_, static_cast<std::size_t>(params_[2]), params_);
  }
}

void TangentMap::apply(std::size_t i, std::size_t j, const TangentRow& row) const {
  const TangentTables tables{.params = params_.data(),
                             .param_tangents = param_tangents_.data(),
                             .moved = moved_.data(),
                             .left = left_.data() + i * left_width_,
                             .left_tangents = left_tangents_.data() + i * n_tangents_,
                             .right = right_.data() + j,
                             .right_tangents = right_tangents_.data() + j,
                             .ld = ld_};
  kernels().tangents.map[kind_](tables, row);
}

void TangentBuilder::affine(double w2, double b2, Reals dw2, Reals db2) {
  check_open();
  expect(parts_.n_tangents, dw2.size(), "dw2: number of tangents");
  expect(parts_.n_tangents, db2.size(), "db2: number of tangents");
  parts_.steps.push_back({.what = Step::What::kAffine,
                          .affine = {w2, b2},
                          .dw2 = std::move(dw2),
                          .db2 = std::move(db2)});
}

void TangentBuilder::activation(TangentMap map) {
  check_open();
  expect(parts_.n_tangents, map.n_tangents(), "activation: number of tangents");
  parts_.steps.push_back({.what = Step::What::kActivation, .map = parts_.maps.size()});
  parts_.maps.push_back(std::move(map));
}

void TangentBuilder::push() {
  check_open();
  parts_.steps.push_back({.what = Step::What::kPush});
  parts_.most_open = std::max(parts_.most_open, ++open_);
}

void TangentBuilder::add() {
  check_open();
  if (open_ == 0) {
    throw std::invalid_argument("add: expected a push before it");
  }
  --open_;
  parts_.steps.push_back({.what = Step::What::kAdd});
}

TangentProgram TangentBuilder::finish() {
  check_open();
  if (open_ > 0) {
    throw std::invalid_argument("push: expected an add after it");
  }
  close();
  return TangentProgram(std::move(parts_));
}

template <class Source>
void TangentProgram::run(const Source& source, double scale, const Extent& extent, bool ntk,
                         const TangentTarget& to, std::size_t n_threads) const {
  std::size_t table_width = 0;
  for (const TangentMap& map : parts_.maps) {
    if (map.n_left() != extent.rows || map.n_right() != extent.cols) {
      throw std::invalid_argument("activation: expected tables of as many points as there are");
    }
    table_width += map.right_width();
  }
  const std::size_t cols = tile_cols(table_width);
  const std::size_t worth = extent.rows * extent.cols / 1024 + 1;
  n_threads = std::clamp<std::size_t>(n_threads, 1, worth);
  const std::vector<Item> items = divide(extent, cols, n_threads);
  n_threads = std::min(n_threads, items.size());

  std::atomic<std::size_t> next{0};
  parallel_for(n_threads, n_threads, 1, [&](std::size_t, std::size_t) {
    auto products = products_of(source, scale, cols);
    TangentRunner runner(parts_, cols, ntk);
    std::vector<Writer<double>> writers;
    for (std::size_t h = 0; h < parts_.n_tangents; ++h) {
      const auto shift = static_cast<std::ptrdiff_t>(h) * to.stride;
      writers.emplace_back(
          Target<double>{.out = to.out + shift,
                         .ld = to.ld,
                         .mirror = to.mirror == nullptr ? nullptr : to.mirror + shift,
                         .mirror_ld = to.ld,
                         .diagonal =
                             to.diagonal == nullptr ? nullptr : to.diagonal + h * extent.rows},
          cols);
    }
    AlignedBuffer<double> tile(kRows * cols);
    Checkpoint checkpoint(4 * kRows * cols);
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
          const std::size_t n = whole_panels(item.c1 - c0);
          std::copy_n(tile.data() + (i - r0) * cols, n, runner.products());
          const TangentRow row = runner.run(i, c0, n);
          const double* found = ntk ? row.dtheta : row.dk;
          for (std::size_t h = 0; h < writers.size(); ++h) {
            writers[h].row(i - r0, r0, c0, item.c1 - c0, found + h * row.pitch);
          }
        }
        for (Writer<double>& writer : writers) {
          writer.finish(r0, r1, c0, item.c1, square);
        }
      }
    }
  });
}

template void TangentProgram::run(const GivenProducts&, double, const Extent&, bool,
                                  const TangentTarget&, std::size_t) const;
template void TangentProgram::run(const Points<double>&, double, const Extent&, bool,
                                  const TangentTarget&, std::size_t) const;

} // namespace nkfast
