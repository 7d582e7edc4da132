#include "kernels/series.hpp"

#include "aligned.hpp"
#include "interrupt.hpp"
#include "simd/dispatch.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

namespace nkfast {
namespace {

constexpr std::size_t kBlock = 1024; // nodes at a time, whose values stay in cache
constexpr std::size_t kRows = 8;     // rows of values at a time, whose sums do

std::size_t padded(std::size_t n) { return (n + kDualPad - 1) / kDualPad * kDualPad; }

} // namespace

void hermite_sums(const double* values, std::size_t rows, std::size_t n, const double* z,
                  const double* start, std::size_t degrees, double* out) {
  std::vector<double> step(degrees), back(degrees), part(kRows * degrees);
  for (std::size_t l = 0; l < degrees; ++l) {
    const auto next = static_cast<double>(l + 1);
    step[l] = std::sqrt(1 / next);
    back[l] = std::sqrt(static_cast<double>(l) / next);
  }
  AlignedBuffer<double> nodes(kBlock), weights(kBlock), block(kRows * kBlock),
      sums(degrees * kRows * kMostLanes);
  std::fill_n(out, rows * degrees, 0.0);
  Checkpoint checkpoint(kBlock * degrees);
  for (std::size_t j = 0; j < n; j += kBlock) {
    const std::size_t some = std::min(kBlock, n - j), width = padded(some);
    std::copy_n(z + j, some, nodes.data());
    std::copy_n(start + j, some, weights.data());
    std::fill(weights.data() + some, weights.data() + width, 0.0);
    for (std::size_t r = 0; r < rows; r += kRows) {
      checkpoint();
      const std::size_t few = std::min(kRows, rows - r);
      for (std::size_t i = 0; i < few; ++i) {
        std::copy_n(values + (r + i) * n + j, some, block.data() + i * kBlock);
        std::fill(block.data() + i * kBlock + some, block.data() + i * kBlock + width, 0.0);
      }
      kernels().series.hermite_sums({nodes.data(), weights.data(), block.data(), kBlock, few, width,
                                     step.data(), back.data(), degrees, sums.data(), part.data()});
      for (std::size_t t = 0; t < few * degrees; ++t) {
        out[r * degrees + t] += part[t];
      }
    }
  }
}

void product_series(const double* a, std::size_t rows, const double* b, std::size_t cols,
                    std::size_t terms, const std::complex<double>* rho, std::size_t points,
                    std::complex<double>* value, std::complex<double>* slope) {
  const std::size_t width = padded(points);
  std::vector<double> c(terms);
  AlignedBuffer<double> in(2 * width), found(4 * width);
  double *re = in.data(), *im = re + width, *out = found.data();
  Checkpoint checkpoint(points * terms);
  for (std::size_t i = 0; i < rows; ++i) {
    for (std::size_t j = 0; j < cols; ++j) {
      checkpoint();
      const std::size_t at = (i * cols + j) * points;
      for (std::size_t l = 0; l < terms; ++l) {
        c[l] = a[i * terms + l] * b[j * terms + l];
      }
      for (std::size_t t = 0; t < points; ++t) {
        re[t] = rho[at + t].real();
        im[t] = rho[at + t].imag();
      }
      kernels().series.complex_series(
          {c.data(), terms, width, re, im, out, out + width, out + 2 * width, out + 3 * width});
      for (std::size_t t = 0; t < points; ++t) {
        value[at + t] = {out[t], out[width + t]};
        slope[at + t] = {out[2 * width + t], out[3 * width + t]};
      }
    }
  }
}

void smooth_values(const double* cells, std::size_t n_cells, double unit, double begin,
                   double per_unit, const double* x, std::size_t n, double* out) {
  constexpr std::size_t kSome = 1 << 16;
  Checkpoint checkpoint(kSome * kSmoothPowers);
  for (std::size_t j = 0; j < n; j += kSome) {
    checkpoint();
    kernels().series.smooth({cells, n_cells, unit, begin, per_unit}, x + j, std::min(kSome, n - j),
                            out + j);
  }
}

} // namespace nkfast
