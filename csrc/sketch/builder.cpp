#include "sketch/builder.hpp"
#include "sketch/twiddles.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

namespace nkfast {

namespace {

constexpr std::size_t kFold = 8;       // buckets per feature from which on folding pays
constexpr std::size_t kMostPower = 64; // of norms
constexpr std::size_t kMostBuffers = 512;

[[noreturn]] void fail(const std::string& message) { throw std::invalid_argument(message); }

bool power_of_two(std::size_t n) { return n > 0 && (n & (n - 1)) == 0; }

void check_indices(const Ints& indices, std::size_t limit, const char* name) {
  for (const std::int32_t i : indices) {
    if (i < 0 || static_cast<std::size_t>(i) >= limit) {
      fail(std::string(name) + ": expected indices in [0, " + std::to_string(limit) + "), got " +
           std::to_string(i));
    }
  }
}

void check_size(std::size_t got, std::size_t expected, const char* name) {
  if (got != expected) {
    fail(std::string(name) + ": expected " + std::to_string(expected) + " entries, got " +
         std::to_string(got));
  }
}

} // namespace

SketchBuilder::SketchBuilder(std::size_t n_features) {
  parts_.n_features = n_features;
  define(0, n_features);
}

std::size_t SketchBuilder::size_of(std::size_t buffer, const char* name) const {
  check_open();
  if (buffer >= sizes_.size() || (buffer > 0 && sizes_[buffer] == 0)) {
    fail(std::string(name) + ": buffer " + std::to_string(buffer) + " holds nothing yet");
  }
  return sizes_[buffer];
}

void SketchBuilder::check_target(std::size_t dst, std::size_t src) const {
  if (dst == src || dst == 0) {
    fail("dst: expected a buffer other than src and the input");
  }
}

void SketchBuilder::define(std::size_t buffer, std::size_t n) {
  check_open();
  if (buffer > kMostBuffers) {
    fail("dst: expected a buffer in [0, " + std::to_string(kMostBuffers) + "], got " +
         std::to_string(buffer));
  }
  if (n > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) {
    fail("width: expected at most 2^31 - 1, got " + std::to_string(n));
  }
  if (buffer >= sizes_.size()) {
    sizes_.resize(buffer + 1);
    parts_.capacity.resize(buffer + 1);
  }
  sizes_[buffer] = n;
  parts_.capacity[buffer] = std::max(parts_.capacity[buffer], n);
}

void SketchBuilder::push(SketchStep step) {
  parts_.work += step.n;
  parts_.steps.push_back(std::move(step));
}

void SketchBuilder::count_sketch(std::size_t src, std::size_t dst, std::size_t width, Ints hash,
                                 Reals signs) {
  const std::size_t n = size_of(src, "src");
  check_size(hash.size(), n, "hash");
  check_size(signs.size(), n, "signs");
  check_indices(hash, width, "hash");
  check_target(dst, src);
  define(dst, width);
  const std::size_t code = src == 0 ? encode(hash, signs) : SketchStep::kNone;
  push({.op = Op::CountSketch,
        .a = src,
        .dst = dst,
        .n = n,
        .i = std::move(hash),
        .reals = Values(std::move(signs)),
        .width = width,
        .code = code});
}

std::size_t SketchBuilder::encode(const Ints& hash, const Reals& signs) {
  if (!std::all_of(signs.begin(), signs.end(), [](double s) { return std::abs(s) == 1; })) {
    return SketchStep::kNone;
  }
  if (n_codes_ == parts_.code_stride) {
    const std::size_t wider = std::max<std::size_t>(2 * parts_.code_stride, 1);
    Ints moved(parts_.n_features * wider);
    for (std::size_t j = 0; j < parts_.n_features; ++j) {
      std::copy_n(parts_.codes.begin() + static_cast<std::ptrdiff_t>(j * parts_.code_stride),
                  n_codes_, moved.begin() + static_cast<std::ptrdiff_t>(j * wider));
    }
    parts_.codes = std::move(moved);
    parts_.code_stride = wider;
  }
  for (std::size_t j = 0; j < parts_.n_features; ++j) {
    parts_.codes[j * parts_.code_stride + n_codes_] = signs[j] > 0 ? hash[j] : ~hash[j];
  }
  return n_codes_++;
}

void SketchBuilder::add_constant(std::size_t buffer, std::size_t index, double value) {
  if (index >= size_of(buffer, "buffer") || buffer == 0) {
    fail("index: expected an index below " + std::to_string(sizes_[buffer]) +
         " of a buffer other than the input, got " + std::to_string(index));
  }
  push({.op = Op::AddConstant, .a = index, .dst = buffer, .n = 1, .scale = value});
}

void SketchBuilder::hadamard(std::size_t buffer) {
  const std::size_t n = size_of(buffer, "buffer");
  if (!power_of_two(n)) {
    fail("buffer: expected a power of two of features, got " + std::to_string(n));
  }
  parts_.dense_input = parts_.dense_input || buffer == 0;
  push({.op = Op::Hadamard, .dst = buffer, .n = n});
}

std::size_t SketchBuilder::prepare_fourier(std::size_t buffer) {
  const std::size_t n = size_of(buffer, "buffer");
  if (!power_of_two(n)) {
    fail("buffer: expected a power of two of features, got " + std::to_string(n));
  }
  if (n > longest_transform_) {
    longest_transform_ = n;
    parts_.twiddles = Values(make_twiddles(n));
  }
  parts_.dense_input = parts_.dense_input || buffer == 0;
  return n;
}

void SketchBuilder::fourier(std::size_t buffer) {
  const std::size_t n = prepare_fourier(buffer);
  const bool folded = fold(buffer, n);
  push({.op = Op::Fourier, .dst = buffer, .n = n, .folded = folded});
}

// Where few features are hashed into a long buffer, hashing each to the three places where it is
// after two levels of the transform costs less than those levels. Looks for the hashing among the
// last steps.
bool SketchBuilder::fold(std::size_t buffer, std::size_t n) {
  std::size_t first = parts_.steps.size();
  while (first > 0 && parts_.steps[first - 1].op == Op::AddConstant &&
         parts_.steps[first - 1].dst == buffer) {
    --first;
  }
  if (first == 0 || parts_.steps[first - 1].op != Op::CountSketch ||
      parts_.steps[first - 1].dst != buffer || n < 4 || parts_.steps[first - 1].n > n / kFold) {
    return false;
  }
  const std::size_t quarter = n / 4;
  struct Place {
    std::size_t index;
    double sign;
  };
  const auto place = [quarter](std::size_t index, std::size_t k) {
    const std::size_t part = index / quarter;
    const std::size_t odd = part % 2;
    const std::size_t start = k == 0 ? 0 : k == 1 ? quarter : (2 + odd) * quarter;
    const bool minus = (k == 1 && odd == 1) || (k == 2 && part >= 2);
    return Place{start + index % quarter, minus ? -1.0 : 1.0};
  };

  SketchStep& hash = parts_.steps[first - 1];
  hash.repeats = 3;
  hash.code = SketchStep::kNone;
  const Ints hashes = std::move(hash.i);
  const Reals signs = hash.reals.reals();
  hash.i.clear();
  Reals moved;
  std::vector<SketchStep> constants;
  for (std::size_t k = 0; k < hash.repeats; ++k) {
    for (std::size_t j = 0; j < hash.n; ++j) {
      const Place to = place(static_cast<std::size_t>(hashes[j]), k);
      hash.i.push_back(static_cast<std::int32_t>(to.index));
      moved.push_back(signs[j] * to.sign);
    }
    for (std::size_t s = first; s < parts_.steps.size(); ++s) {
      const Place to = place(parts_.steps[s].a, k);
      constants.push_back(parts_.steps[s]);
      constants.back().a = to.index;
      constants.back().scale *= to.sign;
    }
  }
  hash.reals = Values(std::move(moved));
  parts_.steps.erase(parts_.steps.begin() + static_cast<std::ptrdiff_t>(first), parts_.steps.end());
  parts_.steps.insert(parts_.steps.end(), constants.begin(), constants.end());
  return true;
}

void SketchBuilder::inverse_fourier(std::size_t buffer) {
  prepare_fourier(buffer);
  push({.op = Op::InverseFourier, .dst = buffer, .n = sizes_[buffer]});
}

void SketchBuilder::multiply_spectra(std::size_t dst, std::size_t src) {
  const std::size_t n = size_of(dst, "dst");
  check_size(size_of(src, "src"), n, "src");
  parts_.dense_input = parts_.dense_input || src == 0 || dst == 0;
  push({.op = Op::MultiplySpectra, .a = src, .dst = dst, .n = n});
}

void SketchBuilder::product(std::size_t a, Ints i, std::size_t b, Ints j, double scale,
                            std::size_t dst) {
  check_indices(i, size_of(a, "a"), "i");
  check_indices(j, size_of(b, "b"), "j");
  check_size(j.size(), i.size(), "j");
  if (dst == a || dst == b || dst == 0) {
    fail("dst: expected a buffer other than a, b and the input");
  }
  const std::size_t n = i.size();
  parts_.dense_input = parts_.dense_input || a == 0 || b == 0;
  define(dst, n);
  push({.op = Op::Product,
        .a = a,
        .b = b,
        .dst = dst,
        .n = n,
        .i = std::move(i),
        .j = std::move(j),
        .scale = scale});
}

void SketchBuilder::weighted_product(std::size_t a, Ints i, std::size_t b, Ints j, Reals factors,
                                     std::size_t dst) {
  check_size(factors.size(), i.size(), "factors");
  product(a, std::move(i), b, std::move(j), 1.0, dst);
  SketchStep& step = parts_.steps.back();
  step.op = Op::WeightedProduct;
  step.reals = Values(std::move(factors));
}

void SketchBuilder::gather(std::size_t src, Ints i, double scale, std::size_t dst) {
  check_indices(i, size_of(src, "src"), "i");
  check_target(dst, src);
  const std::size_t n = i.size();
  parts_.dense_input = parts_.dense_input || src == 0;
  define(dst, n);
  push({.op = Op::Gather, .a = src, .dst = dst, .n = n, .i = std::move(i), .scale = scale});
}

void SketchBuilder::linear(std::size_t src, Reals matrix, std::size_t dst) {
  const std::size_t n = size_of(src, "src");
  if (n == 0 || matrix.empty() || matrix.size() % n != 0) {
    fail("matrix: expected rows of " + std::to_string(n) + " entries, got " +
         std::to_string(matrix.size()) + " entries");
  }
  check_target(dst, src);
  const std::size_t m = matrix.size() / n;
  parts_.dense_input = parts_.dense_input || src == 0;
  define(dst, m);
  parts_.work += n * m;
  push({.op = Op::Linear,
        .a = src,
        .dst = dst,
        .n = n,
        .reals = Values(std::move(matrix)),
        .width = m});
}

void SketchBuilder::recurrence(std::size_t src, std::size_t n, Reals a, const Reals& b,
                               const Reals& c, std::size_t dst) {
  if (n == 0 || n > size_of(src, "src")) {
    fail("n: expected an integer in [1, " + std::to_string(size_of(src, "src")) + "], got " +
         std::to_string(n));
  }
  check_size(b.size(), a.size(), "b");
  check_size(c.size(), a.size(), "c");
  check_target(dst, src);
  const std::size_t m = a.size();
  parts_.dense_input = parts_.dense_input || src == 0;
  define(dst, m);
  parts_.work += m;
  a.insert(a.end(), b.begin(), b.end());
  a.insert(a.end(), c.begin(), c.end());
  push({.op = Op::Recurrence,
        .a = src,
        .dst = dst,
        .n = n,
        .reals = Values(std::move(a)),
        .width = m});
}

void SketchBuilder::one(std::size_t dst) {
  if (dst == 0) {
    fail("dst: expected a buffer other than the input");
  }
  define(dst, 1);
  push({.op = Op::One, .dst = dst, .n = 1});
}

void SketchBuilder::normalise(std::size_t buffer) {
  const std::size_t n = size_of(buffer, "buffer");
  parts_.dense_input = parts_.dense_input || buffer == 0;
  push({.op = Op::Normalise, .dst = buffer, .n = n});
}

void SketchBuilder::emit(std::size_t buffer, std::size_t n, double scale, std::int64_t weight,
                         bool unit) {
  if (n > size_of(buffer, "buffer")) {
    fail("n: expected at most " + std::to_string(sizes_[buffer]) + " features, got " +
         std::to_string(n));
  }
  if (weight > 1 << 20) {
    fail("weight: expected at most 2^20, got " + std::to_string(weight));
  }
  parts_.dense_input = parts_.dense_input || buffer == 0;
  push({.op = Op::Emit,
        .a = buffer,
        .n = n,
        .scale = scale,
        .weight = weight,
        .unit = unit,
        .column = parts_.n_outputs});
  parts_.n_outputs += n;
  if (weight >= 0) {
    parts_.n_weights = std::max(parts_.n_weights, static_cast<std::size_t>(weight) + 1);
  }
}

void SketchBuilder::emit_part(std::size_t buffer, std::size_t n, double scale, std::int64_t weight,
                              std::size_t first, std::size_t i, std::size_t second, std::size_t j) {
  const std::size_t first_size = size_of(first, "first");
  const std::size_t second_size = size_of(second, "second");
  if (i > kMostPower || j > kMostPower) {
    fail("i, j: expected at most " + std::to_string(kMostPower) + ", got " + std::to_string(i) +
         " and " + std::to_string(j));
  }
  if (first == 0 || second == 0) {
    fail("first, second: expected buffers other than the input");
  }
  emit(buffer, n, scale, weight, true);
  SketchStep& step = parts_.steps.back();
  step.op = Op::EmitPart;
  step.b = first;
  step.dst = second;
  step.first_size = first_size;
  step.second_size = second_size;
  step.first_power = i;
  step.second_power = j;
}

SketchProgram SketchBuilder::finish() {
  check_open();
  close();
  return SketchProgram(std::move(parts_));
}

} // namespace nkfast
