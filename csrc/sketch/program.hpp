// Sketches as small programs over lane blocks.
//
// A sketch is a list of steps on numbered buffers, each W rows wide: hash the input into one,
// transform it, multiply two, write one out. The list is made in Python, which owns the meaning and
// the random numbers; SketchBuilder checks it while it grows and ends with a SketchProgram, which
// never changes. Its `run` takes every block of W rows through all steps while the buffers stay in
// cache, so intermediate results never go to memory. CountSketch, SRHT, TensorSketch and the
// feature maps are all such lists.
#pragma once

#include "numbers.hpp"
#include "sketch/rows.hpp"

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace nkfast {

struct SketchStep {
  enum class Op {
    CountSketch,
    AddConstant,
    Hadamard,
    Fourier,
    InverseFourier,
    MultiplySpectra,
    Product,
    WeightedProduct,
    Gather,
    Linear,
    Recurrence,
    One,
    Normalise,
    Emit,
    EmitPart
  };
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);

  Op op;
  std::size_t a = 0, b = 0, dst = 0; // buffers
  std::size_t n = 0;                 // features worked on
  Ints i{}, j{};
  Values reals{};
  std::size_t width = 0;    // features of dst, where they are not n
  std::size_t repeats = 1;  // places that CountSketch adds each feature to, n after n
  bool folded = false;      // Fourier: CountSketch has done the first two levels
  std::size_t code = kNone; // CountSketch: its column of the codes, kNone if it has none
  double scale = 1;
  std::int64_t weight = -1;
  bool unit = false;
  std::size_t column = 0;                        // of the output
  std::size_t first_size = 0, second_size = 0;   // EmitPart: features of buffers b and dst,
  std::size_t first_power = 0, second_power = 0; // and to which powers their norms are taken
};

// What a program consists of.
struct SketchParts {
  std::size_t n_features = 0;
  std::size_t n_outputs = 0;
  std::size_t n_weights = 0;
  bool dense_input = false;          // some step reads buffer 0 other than by hashing it
  std::size_t work = 0;              // operations per row, roughly
  std::vector<std::size_t> capacity; // the most features that a buffer ever holds
  Values twiddles;                   // of fourier()
  std::vector<SketchStep> steps;
  // Of all hashings of the input, feature by feature, so that a nonzero of a wide sparse row misses
  // the caches once and not once for each: bucket, or ~bucket where the sign is -1.
  Ints codes;
  std::size_t code_stride = 0;
};

// Immutable, so that any number of threads may run it.
class SketchProgram {
public:
  SketchProgram(SketchProgram&&) = default; // it moves, but is not copied

  std::size_t n_features() const { return parts_.n_features; }
  std::size_t n_outputs() const { return parts_.n_outputs; }
  std::size_t n_weights() const { return parts_.n_weights; }

  // Writes (n_rows, n_outputs) features. `scales`: one number per row that multiplies the input, or
  // null. `weights`: (n_rows, n_weights), may be null if n_weights is 0.
  template <class T>
  void run(const Rows<T>& rows, const T* scales, const double* weights, T* out,
           std::size_t n_threads) const;

private:
  friend class SketchBuilder;
  explicit SketchProgram(SketchParts parts) : parts_(std::move(parts)) {}

  SketchParts parts_;
};

} // namespace nkfast
