// Puts a SketchProgram together, step by step.
#pragma once

#include "builders.hpp"
#include "numbers.hpp"
#include "sketch/program.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace nkfast {

// Every step is checked when it is added: std::invalid_argument says what is wrong.
class SketchBuilder : Builder {
public:
  // Buffer 0 is the input, times its row's scale.
  explicit SketchBuilder(std::size_t n_features);

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

  // Hands over the program; the builder takes no more calls.
  SketchProgram finish();

private:
  using Op = SketchStep::Op;

  std::size_t size_of(std::size_t buffer, const char* name) const;
  void check_target(std::size_t dst, std::size_t src) const;
  void define(std::size_t buffer, std::size_t n);
  void push(SketchStep step);
  std::size_t prepare_fourier(std::size_t buffer);
  bool fold(std::size_t buffer, std::size_t n);
  std::size_t encode(const Ints& hash, const Reals& signs);

  SketchParts parts_;
  std::vector<std::size_t> sizes_;    // features that a buffer holds now; 0 = undefined
  std::size_t longest_transform_ = 0; // of fourier()
  std::size_t n_codes_ = 0;
};

} // namespace nkfast
