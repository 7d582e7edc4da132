// Sketches as small programs over lane blocks.
//
// A sketch is a list of steps on numbered buffers, each W rows wide: hash the input into one,
// transform it, multiply two, write one out. The list is made in Python, which owns the meaning and
// the random numbers; it is checked here once, while it grows; then `run` takes every block of W
// rows through all steps while the buffers stay in cache, so intermediate results never go to
// memory. CountSketch, SRHT, TensorSketch and the feature maps are all such lists.
#pragma once

#include "numbers.hpp"
#include "sketch/rows.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace nkfast {

class SketchProgram {
public:
  // Buffer 0 is the input, times its row's scale.
  explicit SketchProgram(std::size_t n_features);

  std::size_t n_features() const { return n_features_; }
  std::size_t n_outputs() const { return n_outputs_; }
  std::size_t n_weights() const { return n_weights_; }

  // dst = 0, then dst[hash[j]] += signs[j] * src[j] for all j of src; dst gets `width` features.
  void count_sketch(std::size_t src, std::size_t dst, std::size_t width, Ints hash, Reals signs);

  // buffer[index] += value in every row
  void add_constant(std::size_t buffer, std::size_t index, double value);

  // Walsh-Hadamard transform, entries +-1.
  void hadamard(std::size_t buffer);

  // Real Fourier transform, and n times its inverse, in the order of simd/fft.inl.hpp.
  void fourier(std::size_t buffer);
  void inverse_fourier(std::size_t buffer);
  void multiply_spectra(std::size_t dst, std::size_t src);

  // dst[t] = a[i[t]] * b[j[t]] * scale
  void product(std::size_t a, Ints i, std::size_t b, Ints j, double scale, std::size_t dst);

  // dst[t] = a[i[t]] * b[j[t]] * factors[t]
  void weighted_product(std::size_t a, Ints i, std::size_t b, Ints j, Reals factors,
                        std::size_t dst);

  // dst[t] = src[i[t]] * scale
  void gather(std::size_t src, Ints i, double scale, std::size_t dst);

  // dst = matrix src, matrix row by row
  void linear(std::size_t src, Reals matrix, std::size_t dst);

  // dst[t] = a[t] x dst[t - 1] - b[t] r^2 dst[t - 2] + c[t], where x is feature n - 1 of src and r
  // the norm of its first n: polynomials orthogonal on a sphere, by their three-term recurrence.
  void recurrence(std::size_t src, std::size_t n, Reals a, const Reals& b, const Reals& c,
                  std::size_t dst);

  // dst = the constant 1
  void one(std::size_t dst);

  // Divides every row of the buffer by its norm; zero rows stay.
  void normalise(std::size_t buffer);

  // Appends the first n features of the buffer to the output, times `scale`, times the row's
  // weight number `weight` (none if negative), over their norm if `unit`.
  void emit(std::size_t buffer, std::size_t n, double scale, std::int64_t weight, bool unit);

  // The same over their norm and times |first|^i |second|^j, two other buffers, i and j up to 64.
  void emit_part(std::size_t buffer, std::size_t n, double scale, std::int64_t weight,
                 std::size_t first, std::size_t i, std::size_t second, std::size_t j);

  // Writes (n_rows, n_outputs) features. `scales`: one number per row that multiplies the input, or
  // null. `weights`: (n_rows, n_weights), may be null if n_weights is 0.
  template <class T>
  void run(const Rows<T>& rows, const T* scales, const double* weights, T* out,
           std::size_t n_threads) const;

private:
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
  struct Step {
    Op op;
    std::size_t a = 0, b = 0, dst = 0; // buffers
    std::size_t n = 0;                 // features worked on
    Ints i{}, j{};
    Values reals{};
    std::size_t width = 0;    // features of dst, where they are not n
    std::size_t repeats = 1;  // places that CountSketch adds each feature to, n after n
    bool folded = false;      // Fourier: CountSketch has done the first two levels
    std::size_t code = kNone; // CountSketch: its column in codes_, kNone if it has none
    double scale = 1;
    std::int64_t weight = -1;
    bool unit = false;
    std::size_t column = 0;                        // of the output
    std::size_t first_size = 0, second_size = 0;   // EmitPart: features of buffers b and dst,
    std::size_t first_power = 0, second_power = 0; // and to which powers their norms are taken
  };
  template <class T> class Runner;
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);

  std::size_t size_of(std::size_t buffer, const char* name) const;
  void define(std::size_t buffer, std::size_t n);
  void push(Step step);
  std::size_t prepare_fourier(std::size_t buffer);
  bool fold(std::size_t buffer, std::size_t n);
  std::size_t encode(const Ints& hash, const Reals& signs);

  std::size_t n_features_;
  std::size_t n_outputs_ = 0;
  std::size_t n_weights_ = 0;
  bool dense_input_ = false;          // some step reads buffer 0 other than by hashing it
  std::size_t work_ = 0;              // operations per row, roughly
  std::vector<std::size_t> sizes_;    // features that a buffer holds now; 0 = undefined
  std::vector<std::size_t> capacity_; // the most it ever holds
  std::size_t longest_transform_ = 0; // of fourier()
  Values twiddles_;
  std::vector<Step> steps_;
  // Of all hashings of the input, feature by feature, so that a nonzero of a wide sparse row misses
  // the caches once and not once for each: bucket, or ~bucket where the sign is -1.
  Ints codes_;
  std::size_t n_codes_ = 0;
  std::size_t code_stride_ = 0;
};

} // namespace nkfast
