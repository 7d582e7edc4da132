// Kernels as series in the correlation: Hermite coefficients, and sums of complex arguments.
#pragma once

#include <complex>
#include <cstddef>

namespace nkfast {

// out[r, l] = sum over j < n of values[r, j] start[j] h_l(z_j) / h_0, l < degrees; h_l the
// normalised Hermite polynomials.
void hermite_sums(const double* values, std::size_t rows, std::size_t n, const double* z,
                  const double* start, std::size_t degrees, double* out);

// value[i, j, t] = sum over l < terms of a[i, l] b[j, l] rho[i, j, t]^l, and slope, its derivative;
// i < rows, j < cols, t < points.
void product_series(const double* a, std::size_t rows, const double* b, std::size_t cols,
                    std::size_t terms, const std::complex<double>* rho, std::size_t points,
                    std::complex<double>* value, std::complex<double>* slope);

// out[j] = the function of a table of n_cells * kSmoothPowers coefficients at x[j]: see
// SmoothTable.
void smooth_values(const double* cells, std::size_t n_cells, double unit, double begin,
                   double per_unit, const double* x, std::size_t n, double* out);

} // namespace nkfast
