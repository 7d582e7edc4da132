// Dual activations of one row of pairs whose correlations are mostly far from 1 and -1: a series
// of as many terms as each pair needs, and another map for the pairs that need too many.
//
// What a pair becomes depends on nothing but the pair: vectors go as far as their largest
// correlation needs, and lanes of smaller ones begin where these would have begun alone.

struct CentralPlan {
  int offset, stride;
  std::size_t n_terms;
  std::size_t n_lengths;
  const double* lengths; // terms, largest |rho|
  DualKind beyond;       // kDualKinds: none
  DualRow rest;          // its row

  std::size_t terms(std::size_t c) const { return static_cast<std::size_t>(lengths[2 * c]); }
  double limit(std::size_t c) const { return lengths[2 * c + 1]; }
};

inline CentralPlan central_plan(const DualRow& row) {
  CentralPlan plan{.offset = static_cast<int>(row.params[0]),
                   .stride = static_cast<int>(row.params[1]),
                   .n_terms = static_cast<std::size_t>(row.params[2]),
                   .n_lengths = static_cast<std::size_t>(row.params[3]),
                   .lengths = row.params + 4,
                   .beyond = kDualKinds,
                   .rest = row};
  const double* at = plan.lengths + 2 * plan.n_lengths;
  if (plan.limit(plan.n_lengths - 1) < 1) {
    plan.beyond = static_cast<DualKind>(static_cast<int>(*at));
    plan.rest.params = at + 1;
    plan.rest.left = row.left + 1 + plan.n_terms;
    plan.rest.right = row.right + (1 + plan.n_terms) * row.ld;
  }
  return plan;
}

// The series of kChains vectors of columns from j on, of length c where |rho| is largest.
template <bool kSlope>
inline void central_series(const DualRow& row, const CentralPlan& plan, std::size_t j,
                           std::size_t c, const Lane (&rho)[kChains], SeriesEnd (&out)[kChains]) {
  Lane y[kChains], k[kChains] = {}, d[kChains] = {};
#pragma GCC unroll 4
  for (std::size_t u = 0; u < kChains; ++u) {
    y[u] = plan.stride == 2 ? rho[u] * rho[u] : rho[u];
  }
  const double* a = row.left + 1;
  for (std::size_t t = plan.terms(c);;) {
    const std::size_t stop = c > 0 ? plan.terms(c - 1) : 0;
    while (t > stop) {
      --t;
      const Lane left = splat(a[t]);
      const Lane* right = reinterpret_cast<const Lane*>(row.right + (t + 1) * row.ld + j);
#pragma GCC unroll 4
      for (std::size_t u = 0; u < kChains; ++u) {
        if constexpr (kSlope) {
          d[u] = fused(d[u], y[u], k[u]);
        }
        k[u] = fused(k[u], y[u], left * right[u]);
      }
    }
    if (c == 0) {
      break;
    }
    --c;
    const double limit = plan.limit(c);
#pragma GCC unroll 4
    for (std::size_t u = 0; u < kChains; ++u) {
      const LaneMask longer = absolute(rho[u]) > limit;
      k[u] = pick(longer, k[u], Lane{});
      if constexpr (kSlope) {
        d[u] = pick(longer, d[u], Lane{});
      }
    }
  }
#pragma GCC unroll 4
  for (std::size_t u = 0; u < kChains; ++u) {
    out[u] = series_end<kSlope>(plan.offset, plan.stride, rho[u], y[u], k[u], d[u]);
  }
}

inline double largest_lane(Lane x) {
  double y = x[0];
  for (int l = 1; l < kLanes<double>; ++l) {
    y = x[l] > y ? x[l] : y;
  }
  return y;
}

template <bool kSlope> void central_row(const DualRow& row) {
  constexpr std::size_t kWidth = kChains * kLanes<double>;
  constexpr std::size_t kBlock = 8 * kDualPad; // columns whose series may wait for the other map
  const CentralPlan plan = central_plan(row);
  const double limit = plan.limit(plan.n_lengths - 1);
  const Lane is = splat(row.left[0]);
  alignas(64) double kept[3][kBlock]; // |rho|, k and theta of vectors that need both
  bool far[kBlock / kWidth], both[kBlock / kWidth];
  for (std::size_t j0 = 0; j0 < row.n; j0 += kBlock) {
    const std::size_t end = row.n - j0 < kBlock ? row.n : j0 + kBlock;
    bool any = false;
    for (std::size_t j = j0, at = 0; j < end; j += kWidth, ++at) {
      Lane* c = reinterpret_cast<Lane*>(row.k + j);
      const Lane* is2 = reinterpret_cast<const Lane*>(row.right + j);
      Lane rho[kChains], most{}, least = splat(2.0);
#pragma GCC unroll 4
      for (std::size_t u = 0; u < kChains; ++u) {
        rho[u] = snapped((c[u] * is) * is2[u]);
        const Lane size = absolute(rho[u]);
        most = pick(size > most, size, most);
        least = pick(size < least, size, least);
      }
      const double largest = largest_lane(most);
      far[at] = largest > limit;
      both[at] = far[at] && -largest_lane(-least) <= limit;
      any |= far[at];
      if (far[at] && !both[at]) {
        continue;
      }
      std::size_t length = 0;
      while (length + 1 < plan.n_lengths && largest > plan.limit(length)) {
        ++length;
      }
      SeriesEnd found[kChains];
      central_series<kSlope>(row, plan, j, length, rho, found);
      Lane* size = reinterpret_cast<Lane*>(kept[0] + (j - j0));
      Lane* k = both[at] ? reinterpret_cast<Lane*>(kept[1] + (j - j0)) : c;
#pragma GCC unroll 4
      for (std::size_t u = 0; u < kChains; ++u) {
        if (both[at]) {
          size[u] = absolute(rho[u]);
        }
        k[u] = found[u].k;
      }
      if constexpr (kSlope) {
        const Lane* from = reinterpret_cast<const Lane*>(row.theta + j);
        Lane* theta = reinterpret_cast<Lane*>(both[at] ? kept[2] + (j - j0) : row.theta + j);
#pragma GCC unroll 4
        for (std::size_t u = 0; u < kChains; ++u) {
          theta[u] = from[u] * ((is * is2[u]) * found[u].slope);
        }
      }
    }
    if (!any) {
      continue;
    }
    for (std::size_t j = j0; j < end;) { // the other map, for runs of columns
      std::size_t stop = j;
      for (; stop < end && far[(stop - j0) / kWidth]; stop += kWidth) {
      }
      if (stop == j) {
        j += kWidth;
        continue;
      }
      DualRow rest = plan.rest;
      rest.right += j;
      rest.n = stop - j;
      rest.k += j;
      rest.theta = kSlope ? row.theta + j : nullptr;
      plan.beyond == kTable ? table_map(rest) : piecewise(rest);
      j = stop;
    }
    for (std::size_t j = j0; j < end; j += kLanes<double>) {
      if (!both[(j - j0) / kWidth]) {
        continue;
      }
      const auto lane = [](double* x) -> Lane& { return *reinterpret_cast<Lane*>(x); };
      const LaneMask near = lane(kept[0] + (j - j0)) <= limit;
      lane(row.k + j) = pick(near, lane(kept[1] + (j - j0)), lane(row.k + j));
      if constexpr (kSlope) {
        lane(row.theta + j) = pick(near, lane(kept[2] + (j - j0)), lane(row.theta + j));
      }
    }
  }
}

void central(const DualRow& row) {
  row.theta != nullptr ? central_row<true>(row) : central_row<false>(row);
}
