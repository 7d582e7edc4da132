#include "sketch/program.hpp"

#include "parallel.hpp"
#include "sketch/program_runner.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <stdexcept>
#include <string>

namespace nkfast {

namespace {

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

// Splitting points of the complex tree for transforms of up to n reals, every other level: node j
// of level t splits at w1 = exp(i phi), phi = pi/4 / 2^t + pi/2 * (the bits of j read backwards as
// a binary fraction, times 2); with it come w2 = exp(i phi / 2) and w3 = w1 w2. See
// simd/fft.inl.hpp.
Reals make_twiddles(std::size_t n) {
  Reals w;
  for (std::size_t nodes = 1; 8 * nodes <= n; nodes *= 4) {
    for (std::size_t j = 0; j < nodes; ++j) {
      double reversed = 0;
      for (std::size_t bit = 1, value = nodes; value > 1; bit *= 2, value /= 2) {
        reversed += (j & bit) != 0 ? 1.0 / static_cast<double>(nodes / value) : 0.0;
      }
      const double phi =
          std::numbers::pi / 4 / static_cast<double>(nodes) + std::numbers::pi / 2 * reversed;
      for (const double angle : {phi, phi / 2, phi * 1.5}) {
        w.push_back(std::cos(angle));
        w.push_back(std::sin(angle));
      }
    }
  }
  return w;
}

} // namespace

// --- building ---

constexpr std::size_t kFold = 8;       // buckets per feature from which on folding pays
constexpr std::size_t kMostPower = 64; // of norms
constexpr std::size_t kMostBuffers = 512;

SketchProgram::SketchProgram(std::size_t n_features) : n_features_(n_features) {
  define(0, n_features);
}

std::size_t SketchProgram::size_of(std::size_t buffer, const char* name) const {
  if (buffer >= sizes_.size() || (buffer > 0 && sizes_[buffer] == 0)) {
    fail(std::string(name) + ": buffer " + std::to_string(buffer) + " holds nothing yet");
  }
  return sizes_[buffer];
}

void SketchProgram::define(std::size_t buffer, std::size_t n) {
  if (buffer > kMostBuffers) {
    fail("dst: expected a buffer in [0, " + std::to_string(kMostBuffers) + "], got " +
         std::to_string(buffer));
  }
  if (n > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) {
    fail("width: expected at most 2^31 - 1, got " + std::to_string(n));
  }
  if (buffer >= sizes_.size()) {
    sizes_.resize(buffer + 1);
    capacity_.resize(buffer + 1);
  }
  sizes_[buffer] = n;
  capacity_[buffer] = std::max(capacity_[buffer], n);
}

void SketchProgram::push(Step step) {
  work_ += step.n;
  steps_.push_back(std::move(step));
}

void SketchProgram::count_sketch(std::size_t src, std::size_t dst, std::size_t width, Ints hash,
                                 Reals signs) {
  const std::size_t n = size_of(src, "src");
  check_size(hash.size(), n, "hash");
  check_size(signs.size(), n, "signs");
  check_indices(hash, width, "hash");
  if (dst == src || dst == 0) {
    fail("dst: expected a buffer other than src and the input");
  }
  define(dst, width);
  const std::size_t code = src == 0 ? encode(hash, signs) : kNone;
  push({.op = Op::CountSketch,
        .a = src,
        .dst = dst,
        .n = n,
        .i = std::move(hash),
        .reals = Values(std::move(signs)),
        .width = width,
        .code = code});
}

std::size_t SketchProgram::encode(const Ints& hash, const Reals& signs) {
  if (!std::all_of(signs.begin(), signs.end(), [](double s) { return std::abs(s) == 1; })) {
    return kNone;
  }
  if (n_codes_ == code_stride_) {
    const std::size_t wider = std::max<std::size_t>(2 * code_stride_, 1);
    Ints moved(n_features_ * wider);
    for (std::size_t j = 0; j < n_features_; ++j) {
      std::copy_n(codes_.begin() + static_cast<std::ptrdiff_t>(j * code_stride_), n_codes_,
                  moved.begin() + static_cast<std::ptrdiff_t>(j * wider));
    }
    codes_ = std::move(moved);
    code_stride_ = wider;
  }
  for (std::size_t j = 0; j < n_features_; ++j) {
    codes_[j * code_stride_ + n_codes_] = signs[j] > 0 ? hash[j] : ~hash[j];
  }
  return n_codes_++;
}

void SketchProgram::add_constant(std::size_t buffer, std::size_t index, double value) {
  if (index >= size_of(buffer, "buffer") || buffer == 0) {
    fail("index: expected an index below " + std::to_string(sizes_[buffer]) +
         " of a buffer other than the input, got " + std::to_string(index));
  }
  push({.op = Op::AddConstant, .a = index, .dst = buffer, .n = 1, .scale = value});
}

void SketchProgram::hadamard(std::size_t buffer) {
  const std::size_t n = size_of(buffer, "buffer");
  if (!power_of_two(n)) {
    fail("buffer: expected a power of two of features, got " + std::to_string(n));
  }
  dense_input_ = dense_input_ || buffer == 0;
  push({.op = Op::Hadamard, .dst = buffer, .n = n});
}

std::size_t SketchProgram::prepare_fourier(std::size_t buffer) {
  const std::size_t n = size_of(buffer, "buffer");
  if (!power_of_two(n)) {
    fail("buffer: expected a power of two of features, got " + std::to_string(n));
  }
  if (n > longest_transform_) {
    longest_transform_ = n;
    twiddles_ = Values(make_twiddles(n));
  }
  dense_input_ = dense_input_ || buffer == 0;
  return n;
}

void SketchProgram::fourier(std::size_t buffer) {
  const std::size_t n = prepare_fourier(buffer);
  const bool folded = fold(buffer, n);
  push({.op = Op::Fourier, .dst = buffer, .n = n, .folded = folded});
}

// Where few features are hashed into a long buffer, hashing each to the three places where it is
// after two levels of the transform costs less than those levels. Looks for the hashing among the
// last steps.
bool SketchProgram::fold(std::size_t buffer, std::size_t n) {
  std::size_t first = steps_.size();
  while (first > 0 && steps_[first - 1].op == Op::AddConstant && steps_[first - 1].dst == buffer) {
    --first;
  }
  if (first == 0 || steps_[first - 1].op != Op::CountSketch || steps_[first - 1].dst != buffer ||
      n < 4 || steps_[first - 1].n > n / kFold) {
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

  Step& hash = steps_[first - 1];
  hash.repeats = 3;
  hash.code = kNone;
  const Ints hashes = std::move(hash.i);
  const Reals signs = hash.reals.reals();
  hash.i.clear();
  Reals moved;
  std::vector<Step> constants;
  for (std::size_t k = 0; k < hash.repeats; ++k) {
    for (std::size_t j = 0; j < hash.n; ++j) {
      const Place to = place(static_cast<std::size_t>(hashes[j]), k);
      hash.i.push_back(static_cast<std::int32_t>(to.index));
      moved.push_back(signs[j] * to.sign);
    }
    for (std::size_t s = first; s < steps_.size(); ++s) {
      const Place to = place(steps_[s].a, k);
      constants.push_back(steps_[s]);
      constants.back().a = to.index;
      constants.back().scale *= to.sign;
    }
  }
  hash.reals = Values(std::move(moved));
  steps_.erase(steps_.begin() + static_cast<std::ptrdiff_t>(first), steps_.end());
  steps_.insert(steps_.end(), constants.begin(), constants.end());
  return true;
}

void SketchProgram::inverse_fourier(std::size_t buffer) {
  prepare_fourier(buffer);
  push({.op = Op::InverseFourier, .dst = buffer, .n = sizes_[buffer]});
}

void SketchProgram::multiply_spectra(std::size_t dst, std::size_t src) {
  const std::size_t n = size_of(dst, "dst");
  check_size(size_of(src, "src"), n, "src");
  dense_input_ = dense_input_ || src == 0 || dst == 0;
  push({.op = Op::MultiplySpectra, .a = src, .dst = dst, .n = n});
}

void SketchProgram::product(std::size_t a, Ints i, std::size_t b, Ints j, double scale,
                            std::size_t dst) {
  check_indices(i, size_of(a, "a"), "i");
  check_indices(j, size_of(b, "b"), "j");
  check_size(j.size(), i.size(), "j");
  if (dst == a || dst == b || dst == 0) {
    fail("dst: expected a buffer other than a, b and the input");
  }
  const std::size_t n = i.size();
  dense_input_ = dense_input_ || a == 0 || b == 0;
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

void SketchProgram::weighted_product(std::size_t a, Ints i, std::size_t b, Ints j, Reals factors,
                                     std::size_t dst) {
  check_size(factors.size(), i.size(), "factors");
  product(a, std::move(i), b, std::move(j), 1.0, dst);
  Step& step = steps_.back();
  step.op = Op::WeightedProduct;
  step.reals = Values(std::move(factors));
}

void SketchProgram::gather(std::size_t src, Ints i, double scale, std::size_t dst) {
  check_indices(i, size_of(src, "src"), "i");
  if (dst == src || dst == 0) {
    fail("dst: expected a buffer other than src and the input");
  }
  const std::size_t n = i.size();
  dense_input_ = dense_input_ || src == 0;
  define(dst, n);
  push({.op = Op::Gather, .a = src, .dst = dst, .n = n, .i = std::move(i), .scale = scale});
}

void SketchProgram::linear(std::size_t src, Reals matrix, std::size_t dst) {
  const std::size_t n = size_of(src, "src");
  if (n == 0 || matrix.empty() || matrix.size() % n != 0) {
    fail("matrix: expected rows of " + std::to_string(n) + " entries, got " +
         std::to_string(matrix.size()) + " entries");
  }
  if (dst == src || dst == 0) {
    fail("dst: expected a buffer other than src and the input");
  }
  const std::size_t m = matrix.size() / n;
  dense_input_ = dense_input_ || src == 0;
  define(dst, m);
  work_ += n * m;
  push({.op = Op::Linear,
        .a = src,
        .dst = dst,
        .n = n,
        .reals = Values(std::move(matrix)),
        .width = m});
}

void SketchProgram::recurrence(std::size_t src, std::size_t n, Reals a, const Reals& b,
                               const Reals& c, std::size_t dst) {
  if (n == 0 || n > size_of(src, "src")) {
    fail("n: expected an integer in [1, " + std::to_string(size_of(src, "src")) + "], got " +
         std::to_string(n));
  }
  check_size(b.size(), a.size(), "b");
  check_size(c.size(), a.size(), "c");
  if (dst == src || dst == 0) {
    fail("dst: expected a buffer other than src and the input");
  }
  const std::size_t m = a.size();
  dense_input_ = dense_input_ || src == 0;
  define(dst, m);
  work_ += m;
  a.insert(a.end(), b.begin(), b.end());
  a.insert(a.end(), c.begin(), c.end());
  push({.op = Op::Recurrence,
        .a = src,
        .dst = dst,
        .n = n,
        .reals = Values(std::move(a)),
        .width = m});
}

void SketchProgram::one(std::size_t dst) {
  if (dst == 0) {
    fail("dst: expected a buffer other than the input");
  }
  define(dst, 1);
  push({.op = Op::One, .dst = dst, .n = 1});
}

void SketchProgram::normalise(std::size_t buffer) {
  const std::size_t n = size_of(buffer, "buffer");
  dense_input_ = dense_input_ || buffer == 0;
  push({.op = Op::Normalise, .dst = buffer, .n = n});
}

void SketchProgram::emit(std::size_t buffer, std::size_t n, double scale, std::int64_t weight,
                         bool unit) {
  if (n > size_of(buffer, "buffer")) {
    fail("n: expected at most " + std::to_string(sizes_[buffer]) + " features, got " +
         std::to_string(n));
  }
  if (weight > 1 << 20) {
    fail("weight: expected at most 2^20, got " + std::to_string(weight));
  }
  dense_input_ = dense_input_ || buffer == 0;
  push({.op = Op::Emit,
        .a = buffer,
        .n = n,
        .scale = scale,
        .weight = weight,
        .unit = unit,
        .column = n_outputs_});
  n_outputs_ += n;
  if (weight >= 0) {
    n_weights_ = std::max(n_weights_, static_cast<std::size_t>(weight) + 1);
  }
}

void SketchProgram::emit_part(std::size_t buffer, std::size_t n, double scale, std::int64_t weight,
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
  Step& step = steps_.back();
  step.op = Op::EmitPart;
  step.b = first;
  step.dst = second;
  step.first_size = first_size;
  step.second_size = second_size;
  step.first_power = i;
  step.second_power = j;
}

// --- running ---

template <class T>
void SketchProgram::run(const Rows<T>& rows, const T* scales, const double* weights, T* out,
                        std::size_t n_threads) const {
  if (rows.n_features != n_features_) {
    fail("X: expected " + std::to_string(n_features_) + " features, got " +
         std::to_string(rows.n_features));
  }
  const auto lanes = static_cast<std::size_t>(table<T>().lanes);
  const std::size_t n_blocks = (rows.n_rows + lanes - 1) / lanes;
  // About a nanosecond a number.
  const std::size_t least = 2 * kLeastNanoseconds / ((work_ + n_features_ + 1) * lanes) + 1;
  parallel_for(n_blocks, n_threads, least, [&](std::size_t begin, std::size_t end) {
    Runner<T> runner(*this, rows, scales, weights, out);
    for (std::size_t b = begin; b < end; ++b) {
      runner.block(b * lanes, std::min(lanes, rows.n_rows - b * lanes));
    }
  });
}

template void SketchProgram::run(const Rows<float>&, const float*, const double*, float*,
                                 std::size_t) const;
template void SketchProgram::run(const Rows<double>&, const double*, const double*, double*,
                                 std::size_t) const;

} // namespace nkfast
