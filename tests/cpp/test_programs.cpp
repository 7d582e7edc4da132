// Programs are handed over by builders, never change, and run in several threads at once.
//
// Compiled with a sanitizer: a program that had been run before its builder was through, or changed
// while it ran, would read memory that is gone.
#include "simd/dispatch.hpp"
#include "sketch/builder.hpp"
#include "sketch/program.hpp"

#include <cstdio>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

namespace nkfast {

namespace {

// The loops that the programs below need, in plain C++: the real ones take long to compile.
constexpr std::size_t W = 4;

void load(const float* const* rows, std::size_t n, const float* scale, float* block) {
  for (std::size_t j = 0; j < n * W; ++j) {
    block[j] = rows[j % W][j / W] * scale[j % W];
  }
}
void store(const float* block, std::size_t n, const float* scale, float* const* rows) {
  for (std::size_t j = 0; j < n * W; ++j) {
    rows[j % W][j / W] = block[j] * scale[j % W];
  }
}
void count_sketch(const float* src, std::size_t n, const std::int32_t* hash, const float* signs,
                  float* dst) {
  for (std::size_t j = 0; j < n * W; ++j) {
    dst[static_cast<std::size_t>(hash[j / W]) * W + j % W] += src[j] * signs[j / W];
  }
}
void wht_block(float* block, std::size_t n) {
  for (std::size_t h = W; h < n * W; h *= 2) {
    for (std::size_t j = 0; j < n * W; ++j) {
      if ((j & h) == 0) {
        const float a = block[j], b = block[j + h];
        block[j] = a + b;
        block[j + h] = a - b;
      }
    }
  }
}

} // namespace

const Kernels& kernels() {
  static const Kernels loops = [] {
    Kernels k{};
    k.f32.lanes = W;
    k.f32.load = load;
    k.f32.store = store;
    k.f32.count_sketch = count_sketch;
    k.f32.wht_block = wht_block;
    k.f64.lanes = W;
    return k;
  }();
  return loops;
}

} // namespace nkfast

namespace {

using namespace nkfast;

// What cannot be written down needs no check at run time.
template <class T>
concept Runs = requires(T t, Rows<float> rows, const float* scales, const double* weights,
                        float* out) { t.run(rows, scales, weights, out, std::size_t{1}); };
template <class T>
concept Grows = requires(T t) { t.hadamard(std::size_t{0}); };

static_assert(Runs<SketchProgram> && Runs<const SketchProgram> && !Runs<SketchBuilder>);
static_assert(Grows<SketchBuilder> && !Grows<SketchProgram>);
static_assert(!std::is_copy_constructible_v<SketchProgram>);
static_assert(!std::is_constructible_v<SketchProgram, SketchParts>);

int failures = 0;

void check(bool holds, const char* what) {
  if (!holds) {
    std::printf("failed: %s\n", what);
    ++failures;
  }
}

template <class F> std::string message_of(F f) {
  try {
    f();
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "nothing";
}

// The first entries of H x.
SketchProgram transform(std::size_t n, std::size_t n_outputs) {
  SketchBuilder builder(n);
  Ints hash;
  for (std::size_t j = 0; j < n; ++j) {
    hash.push_back(static_cast<std::int32_t>(j));
  }
  builder.count_sketch(0, 1, n, hash, Reals(n, 1.0));
  builder.hadamard(1);
  builder.emit(1, n_outputs, 1.0, -1, false);
  SketchProgram program = builder.finish();
  const std::string closed = "builder: expected no call after finish";
  check(message_of([&] { builder.hadamard(1); }) == closed, "a step after finish");
  check(message_of([&] { builder.one(2); }) == closed, "a new buffer after finish");
  check(message_of([&] { builder.finish(); }) == closed, "finish after finish");
  return program;
}

void runs_while_another_is_built() {
  constexpr std::size_t n = 64, n_rows = 40;
  const SketchProgram program = transform(n, n);
  std::vector<float> x(n_rows * n, 1.0F);
  const Rows<float> rows{.n_rows = n_rows, .n_features = n, .data = x.data()};
  const auto run = [&] {
    for (int k = 0; k < 20; ++k) {
      std::vector<float> out(n_rows * n);
      program.run<float>(rows, nullptr, nullptr, out.data(), 2);
      check(out[0] == static_cast<float>(n) && out[1] == 0.0F, "the transform of ones");
    }
  };
  std::thread first(run), second(run);
  for (std::size_t k = 1; k < 20; ++k) {
    check(transform(n, k).n_outputs() == k, "a program of so many outputs");
  }
  first.join();
  second.join();
}

} // namespace

int main() {
  runs_while_another_is_built();
  return failures == 0 ? 0 : 1;
}
