// Kernels of any function with kinks, from tables of its blurs g(m, tau) = E f(m + tau w).
#pragma once

#include "aligned.hpp"
#include "numbers.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace nkfast {

// Lists of cells: the first serves `moments`; the next, one between neighbouring numbers of
// `deviations`, have f for deviations there; the last, one between those of `taus`, its blurs.
struct BlurLists {
  std::vector<std::size_t> counts; // cells of each list
  std::vector<double> edges;       // one more than cells of each
  std::vector<std::int64_t> starts;
  AlignedBuffer<double> values;
  std::size_t n_values; // in units of kCellWidth
  Reals deviations, taus;
};

class BlurTables {
public:
  // Throws std::invalid_argument where the lists do not fit together.
  explicit BlurTables(BlurLists lists);

  // out[t * n + i]: see BlurTable::moments.
  void moments(const double* m, const double* tau, std::size_t n, double* out,
               std::size_t n_threads) const;

  // k and slope of pairs of deviations 0 < s <= t and correlation rho.
  void pairs(const double* s, const double* t, const double* rho, std::size_t n, double* k,
             double* slope, std::size_t n_threads) const;

private:
  Cells list(std::size_t which) const;

  BlurLists lists_;
  std::vector<std::size_t> cells_; // before each list
};

} // namespace nkfast
