// The factors of the real Fourier transform.
#pragma once

#include "numbers.hpp"

#include <cmath>
#include <cstddef>
#include <numbers>

namespace nkfast {

// Splitting points of the complex tree for transforms of up to n reals, every other level: node j
// of level t splits at w1 = exp(i phi), phi = pi/4 / 2^t + pi/2 * (the bits of j read backwards as
// a binary fraction, times 2); with it come w2 = exp(i phi / 2) and w3 = w1 w2. See
// simd/fft.inl.hpp.
inline Reals make_twiddles(std::size_t n) {
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

} // namespace nkfast
