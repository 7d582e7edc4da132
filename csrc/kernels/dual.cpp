#include "kernels/dual.hpp"

#include "parallel.hpp"
#include "simd/dispatch.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
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

// A count among the parameters: a whole number within bounds that no product can overflow.
std::size_t count(const Reals& params, std::size_t at, double most) {
  if (at >= params.size() || !(params[at] >= 0) || params[at] > most ||
      params[at] != static_cast<double>(static_cast<std::size_t>(params[at]))) {
    throw std::invalid_argument("params: expected a count at index " + std::to_string(at));
  }
  return static_cast<std::size_t>(params[at]);
}

MapWidths widths_of_piecewise(const Reals& params) {
  const std::size_t degree = count(params, 0, 3);
  const std::size_t low = count(params, 1, 1);
  const std::size_t n_whole = count(params, 2, 4);
  const std::size_t n_terms = count(params, 5, 1e4);
  std::size_t at = 6 + n_terms;
  const std::size_t n_classes = count(params, at++, kMostKinkClasses);
  if (degree == 0 || n_whole == 0 || n_terms == 0) {
    throw std::invalid_argument("params: expected counts of at least 1");
  }
  std::size_t width = 1 + 2 * n_whole + 2 * (n_whole - 1);
  for (std::size_t c = 0; c < n_classes; ++c) {
    const std::size_t apart = count(params, at, 1);
    const std::size_t n_parts = count(params, at + 1, kMostKinkParts);
    at += 2;
    bool seen[2][2] = {};
    for (std::size_t i = 0; i < n_parts; ++i, at += 2) {
      if (at + 1 >= params.size() || std::abs(params[at]) != 1 || std::abs(params[at + 1]) != 1 ||
          std::exchange(seen[params[at] > 0][params[at + 1] > 0], true)) {
        throw std::invalid_argument("params: expected signs of another part at index " +
                                    std::to_string(at));
      }
    }
    width += 3 + n_parts * (degree + 1 - low + degree) + apart * n_terms;
  }
  return {at, width, width};
}

MapWidths widths_of_central(const Reals& params) {
  count(params, 0, 1e4);
  const std::size_t stride = count(params, 1, 2);
  const std::size_t n_terms = count(params, 2, 1e6);
  const std::size_t n_lengths = count(params, 3, kMostLengths);
  if (stride == 0 || n_lengths == 0) {
    throw std::invalid_argument("params: expected counts of at least 1");
  }
  std::size_t at = 4, last = 0;
  double limit = 0;
  for (std::size_t c = 0; c < n_lengths; ++c, at += 2) {
    const std::size_t own = count(params, at, static_cast<double>(n_terms));
    if (own <= last || at + 1 >= params.size() || !(params[at + 1] > limit)) {
      throw std::invalid_argument("params: expected more terms and a larger limit at index " +
                                  std::to_string(at));
    }
    last = own;
    limit = params[at + 1];
  }
  if (limit >= 1) {
    return {at, 1 + n_terms, 1 + n_terms};
  }
  const std::size_t kind = count(params, at, kDualKinds);
  if (kind != kTable && kind != kPiecewise) {
    throw std::invalid_argument("params: expected a table or a piecewise polynomial at index " +
                                std::to_string(at));
  }
  ++at;
  const Reals rest(params.begin() + static_cast<std::ptrdiff_t>(at), params.end());
  const MapWidths own = map_widths(static_cast<DualKind>(kind), rest);
  return {at + own.params, 1 + n_terms + own.left, 1 + n_terms + own.right};
}

} // namespace

std::size_t polynomials_width(const Reals& params, int n_polynomials) {
  std::size_t n = 0;
  for (int t = 0; t < n_polynomials; ++t) {
    n += 1 + count(params, 1 + n, 1e4);
  }
  return n;
}

void append_largest(const double* columns, std::size_t n_columns, std::size_t ld,
                    std::size_t n_terms, Reals& params) {
  for (std::size_t t = 1; t <= n_terms; ++t) {
    const double* a = columns + t * ld;
    params.push_back(std::accumulate(
        a, a + n_columns, 0.0, [](double most, double x) { return std::max(most, std::abs(x)); }));
  }
}

MapWidths map_widths(DualKind kind, const Reals& params) {
  switch (kind) {
  case kRectifier:
  case kExpNormalized:
    return {2, 2, 2};
  case kSign:
    return {0, 2, 2};
  case kRectifiedPower:
    return {1 + polynomials_width(params, 4), 3, 3};
  case kAsin:
  case kSin:
    return {4, 1, 1};
  case kGelu:
    return {0, 2, 2};
  case kExp:
  case kGaussian:
    return {2, 1, 1};
  case kGabor:
    return {0, 1, 1};
  case kSeries: {
    count(params, 0, 1e4);
    count(params, 1, 2);
    const std::size_t n = 1 + count(params, 2, 1e6);
    return {4, n, n};
  }
  case kTable: {
    const std::size_t rank = count(params, 0, 1e4);
    const std::size_t n = count(params, 1, 1e6);
    const std::size_t n_slope = count(params, 2, 1e6);
    const std::size_t first = count(params, 4, static_cast<double>(rank));
    const std::size_t n_params = 5 + table_blocks(n) + table_blocks(n_slope);
    for (std::size_t i = 5; i < n_params; ++i) {
      const bool of_slope = i >= 5 + table_blocks(n);
      count(params, i, static_cast<double>(of_slope ? rank - first : rank));
    }
    return {n_params, 1 + rank * (n + n_slope), 1 + rank};
  }
  case kPiecewise:
    return widths_of_piecewise(params);
  case kCentral:
    return widths_of_central(params);
  case kDualKinds:
    break;
  }
  throw std::invalid_argument("kind: expected a dual map");
}

DualMap::DualMap(DualKind kind, Reals params, const double* left, std::size_t n_left,
                 std::size_t left_width, const double* right, std::size_t n_right,
                 std::size_t right_width)
    : kind_(kind), params_(std::move(params)), n_left_(n_left), n_right_(n_right),
      left_width_(left_width), right_width_(right_width), ld_(whole_panels(n_right)),
      left_(left, left + n_left * left_width), right_(right_width * ld_) {
  const MapWidths widths = map_widths(kind_, params_);
  expect(widths.params, params_.size(), "params: number of parameters");
  expect(widths.left, left_width, "left: number of columns");
  expect(widths.right, right_width, "right: number of columns");
  for (std::size_t j = 0; j < n_right; ++j) {
    for (std::size_t t = 0; t < right_width; ++t) {
      right_.data()[t * ld_ + j] = right[j * right_width + t];
    }
  }
  if (kind_ == kSeries) {
    append_largest(right_.data(), n_right, ld_, right_width - 1, params_);
  }
}

void DualMap::apply(std::size_t i, std::size_t j, std::size_t n, double* k, double* theta) const {
  const DualRow row{.params = params_.data(),
                    .left = left_.data() + i * left_width_,
                    .right = right_.data() + j,
                    .ld = ld_,
                    .n = n,
                    .k = k,
                    .theta = theta,
                    .rough = rough_};
  kernels().dual.map[kind_](row);
}

bool DualMap::be_single() {
  if (kernels().dual_single.map[kind_] == nullptr) {
    return false;
  }
  const std::size_t n = right_width_ * ld_;
  right_single_ = AlignedBuffer<float>(n);
  table<float>().narrow(right_.data(), n, right_single_.data());
  return true;
}

void DualMap::apply(std::size_t i, std::size_t j, const TileOf<float>& tile) const {
  const SingleRows rows{.params = params_.data(),
                        .left = left_.data() + i * left_width_,
                        .left_width = left_width_,
                        .right = right_single_.data() + j,
                        .ld = ld_,
                        .rows = tile.rows,
                        .n = tile.n,
                        .k = tile.k,
                        .theta = tile.theta,
                        .pitch = tile.pitch,
                        .fresh = tile.fresh,
                        .after = tile.after};
  kernels().dual_single.map[kind_](rows);
}

void DualMap::apply_at(std::size_t i, const std::uint32_t* columns, std::size_t n, double* scratch,
                       double* k, double* theta) const {
  for (std::size_t t = 0; t < right_width_; ++t) {
    const double* from = right_.data() + t * ld_;
    for (std::size_t u = 0; u < n; ++u) {
      scratch[t * n + u] = columns[u] < n_right_ ? from[columns[u]] : 0.0;
    }
  }
  const DualRow row{.params = params_.data(),
                    .left = left_.data() + i * left_width_,
                    .right = scratch,
                    .ld = n,
                    .n = n,
                    .k = k,
                    .theta = theta,
                    .rough = rough_};
  kernels().dual.map[kind_](row);
}

void DualMap::apply_all(double* k, double* theta, std::size_t n_threads) const {
  parallel_for(n_left_, n_threads, 1 + 4096 / (n_right_ + 1), [&](std::size_t i0, std::size_t i1) {
    AlignedBuffer<double> buffer(2 * ld_);
    double* row_k = buffer.data();
    double* row_theta = theta == nullptr ? nullptr : row_k + ld_;
    Checkpoint checkpoint(n_right_);
    for (std::size_t i = i0; i < i1 && n_right_ > 0; ++i) {
      checkpoint();
      std::memcpy(row_k, k + i * n_right_, n_right_ * sizeof(double));
      if (theta != nullptr) {
        std::memcpy(row_theta, theta + i * n_right_, n_right_ * sizeof(double));
      }
      apply(i, 0, ld_, row_k, row_theta);
      std::memcpy(k + i * n_right_, row_k, n_right_ * sizeof(double));
      if (theta != nullptr) {
        std::memcpy(theta + i * n_right_, row_theta, n_right_ * sizeof(double));
      }
    }
  });
}

} // namespace nkfast
