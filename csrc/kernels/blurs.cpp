#include "kernels/blurs.hpp"

#include "parallel.hpp"
#include "simd/dispatch.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <stdexcept>
#include <utility>

namespace nkfast {
namespace {

constexpr std::size_t kNanoseconds = 3000; // of a pair
constexpr std::size_t kFewPairs = 64;      // of a thread

void expect(bool fits, const char* what) {
  if (!fits) {
    throw std::invalid_argument(what);
  }
}

// The interval between rising numbers that holds x, the first or the last one if none does.
std::size_t interval(const Reals& ends, double x) {
  const auto after = std::upper_bound(ends.begin() + 1, ends.end() - 1, x);
  return static_cast<std::size_t>(after - ends.begin()) - 1;
}

bool rises(const double* x, std::size_t n) {
  return std::adjacent_find(x, x + n, std::greater_equal<>()) == x + n &&
         std::all_of(x, x + n, [](double v) { return std::isfinite(v); });
}

} // namespace

BlurTables::BlurTables(BlurLists lists) : lists_(std::move(lists)) {
  const std::size_t n_lists = lists_.counts.size();
  const std::size_t n_deviations = lists_.deviations.size(), n_taus = lists_.taus.size();
  expect(n_lists >= 1 && (n_lists == 1 || (n_deviations >= 2 && n_taus >= 2 &&
                                           n_lists == n_deviations + n_taus - 1)),
         "counts: expected a list, or one more than intervals of deviations and taus");
  expect(rises(lists_.deviations.data(), n_deviations) && rises(lists_.taus.data(), n_taus),
         "deviations, taus: expected rising numbers");
  std::size_t cells = 0;
  for (const std::size_t count : lists_.counts) {
    expect(count > 0 && cells + cells_.size() + count < lists_.edges.size() &&
               cells + count < lists_.starts.size(),
           "counts: expected cells in each list, and edges of all");
    expect(rises(lists_.edges.data() + cells + cells_.size(), count + 1),
           "edges: expected rising numbers");
    cells_.push_back(cells);
    cells += count;
  }
  const auto& starts = lists_.starts;
  expect(starts.size() == cells + 1 && lists_.edges.size() == cells + n_lists,
         "starts, edges: expected as many as counts tell");
  expect(starts.front() == 0 && std::is_sorted(starts.begin(), starts.end()) &&
             static_cast<std::size_t>(starts.back()) <= lists_.n_values,
         "starts: expected places of values that rise");
}

Cells BlurTables::list(std::size_t which) const {
  const std::size_t before = cells_[which];
  return {.edges = lists_.edges.data() + before + which,
          .n = lists_.counts[which],
          .starts = lists_.starts.data() + before,
          .values = lists_.values.data()};
}

void BlurTables::moments(const double* m, const double* tau, std::size_t n, double* out,
                         std::size_t n_threads) const {
  const Cells f = list(0);
  parallel_for(n, n_threads, kFewPairs, [&](std::size_t i0, std::size_t i1) {
    Checkpoint checkpoint(kNanoseconds);
    for (std::size_t i = i0; i < i1; ++i) {
      checkpoint();
      double found[4];
      kernels().blur.moments(f, m[i], tau[i], found);
      for (std::size_t t = 0; t < 4; ++t) {
        out[t * n + i] = found[t];
      }
    }
  });
}

void BlurTables::pairs(const double* s, const double* t, const double* rho, std::size_t n,
                       double* k, double* slope, std::size_t n_threads) const {
  expect(lists_.counts.size() > 1, "pairs: expected tables of blurs");
  const std::size_t n_deviations = lists_.deviations.size() - 1;
  const Reals& taus = lists_.taus;
  parallel_for(n, n_threads, kFewPairs, [&](std::size_t i0, std::size_t i1) {
    Checkpoint checkpoint(kNanoseconds);
    for (std::size_t i = i0; i < i1; ++i) {
      checkpoint();
      const double tau = t[i] * std::sqrt((1 - rho[i]) * (1 + rho[i]));
      const Cells f = list(1 + interval(lists_.deviations, s[i]));
      double found[2];
      if (tau < taus.front()) { // next to no blur
        const Cells g = list(1 + interval(lists_.deviations, t[i]));
        kernels().blur.pair(f, g, s[i], t[i] * rho[i], 0, found);
      } else {
        const std::size_t at = interval(taus, tau);
        const double z = (2 * tau - taus[at] - taus[at + 1]) / (taus[at + 1] - taus[at]);
        kernels().blur.pair(f, list(1 + n_deviations + at), s[i], t[i] * rho[i], z, found);
      }
      k[i] = found[0];
      slope[i] = found[1];
    }
  });
}

} // namespace nkfast
