// Gaussian integrals of functions that are polynomials between edges: see BlurTable.
//
// Panels end where a cell of one of the functions ends, or after kNormalStep; each has a
// Gauss-Legendre rule, whose nodes are the lanes. In a panel no node needs a search of its own.

static constexpr std::size_t kPanelNodes = 8;
static constexpr std::size_t kPanelParts = kPanelNodes / kLanes<double>;
static constexpr double kNormalStep = 1.7;
static constexpr double kLegendreNodes[kPanelNodes] = {
    -0.9602898564975362, -0.7966664774136267, -0.525532409916329, -0.18343464249564978,
    0.18343464249564978, 0.525532409916329,   0.7966664774136267, 0.9602898564975362};
// Over 2 sqrt(2 pi).
static constexpr double kNormalWeights[kPanelNodes] = {
    0.020192171554691107, 0.04435859850142938, 0.06257542234180445, 0.07234494780279142,
    0.07234494780279142,  0.06257542234180445, 0.04435859850142938, 0.020192171554691107};

using PanelLanes = Lane[kPanelParts];

// The cell of x, the first or the last one if x lies outside.
inline std::size_t cell_of(const Cells& cells, double x) {
  std::size_t low = 0, high = cells.n;
  while (high - low > 1) {
    const std::size_t middle = (low + high) / 2;
    (cells.edges[middle] <= x ? low : high) = middle;
  }
  return low;
}

struct Panel {
  PanelLanes u, weight; // the weights with the normal density
};

inline Panel panel_of(double begin, double end) {
  Panel panel;
  const Lane middle = splat((begin + end) / 2), half = splat((end - begin) / 2);
#pragma GCC unroll 4
  for (std::size_t p = 0; p < kPanelParts; ++p) {
    const std::size_t at = p * kLanes<double>;
    const Lane u = fused(half, load_any(kLegendreNodes + at), middle);
    panel.u[p] = u;
    panel.weight[p] = (2.0 * half) * load_any(kNormalWeights + at) * exponential(-0.5 * (u * u));
  }
  return panel;
}

// A function and its derivative at shift + scale u, from the coefficients of cell i.
inline void both_at(const double* c, const Cells& cells, std::size_t i, double scale, double shift,
                    const PanelLanes& u, PanelLanes& f, PanelLanes& slope) {
  const double begin = cells.edges[i], end = cells.edges[i + 1];
  const double narrow = 2 / (end - begin);
  const Lane by = splat(scale * narrow);
  const Lane plus = splat((shift - (begin + end) / 2) * narrow);
  PanelLanes x;
#pragma GCC unroll 4
  for (std::size_t p = 0; p < kPanelParts; ++p) {
    x[p] = fused(by, u[p], plus);
    f[p] = splat(c[kCellPowers - 1]);
    slope[p] = splat(c[2 * kCellPowers - 1]);
  }
#pragma GCC unroll 12
  for (std::size_t k = kCellPowers - 1; k-- > 0;) {
#pragma GCC unroll 4
    for (std::size_t p = 0; p < kPanelParts; ++p) {
      f[p] = fused(f[p], x[p], splat(c[k]));
      slope[p] = fused(slope[p], x[p], splat(c[kCellPowers + k]));
    }
  }
}

inline const double* polynomials_of(const Cells& cells, std::size_t i) {
  return cells.values + static_cast<std::size_t>(cells.starts[i]) * kCellWidth;
}

// The coefficients of a cell at z.
inline void coefficients_at(const Cells& cells, std::size_t i, double z, double* out) {
  constexpr std::size_t n = kCellWidth / kLanes<double>;
  const double* from = polynomials_of(cells, i);
  std::size_t k = static_cast<std::size_t>(cells.starts[i + 1] - cells.starts[i]);
  const Lane at = splat(z);
  Lane sum[n] = {};
  while (k-- > 0) {
#pragma GCC unroll 12
    for (std::size_t t = 0; t < n; ++t) {
      sum[t] = fused(sum[t], at, load_any(from + k * kCellWidth + t * kLanes<double>));
    }
  }
#pragma GCC unroll 12
  for (std::size_t t = 0; t < n; ++t) {
    store_any(out + t * kLanes<double>, sum[t]);
  }
}

inline double lane_sum(const PanelLanes& x) {
  Lane sum = x[0];
  for (std::size_t p = 1; p < kPanelParts; ++p) {
    sum += x[p];
  }
  double total = 0;
  for (int i = 0; i < kLanes<double>; ++i) {
    total += sum[i];
  }
  return total;
}

inline double least(double a, double b) { return a < b ? a : b; }

void blur_pair(const Cells& f, const Cells& g, double s, double r, double z, double* out) {
  constexpr double far = 2 * kNormalReach;
  alignas(kLineBytes) double blurred[kCellWidth];
  const double per_s = 1 / s, per_r = r != 0 ? 1 / r : 0;
  std::size_t i = cell_of(f, -kNormalReach * s), j = cell_of(g, -kNormalReach * r);
  coefficients_at(g, j, z, blurred);
  PanelLanes k = {}, slope = {};
  double begin = -kNormalReach, step = begin + kNormalStep;
  while (begin < kNormalReach) {
    const double end_f = i + 1 < f.n ? f.edges[i + 1] * per_s : far;
    double end_g = far;
    if (r > 0 && j + 1 < g.n) {
      end_g = g.edges[j + 1] * per_r;
    } else if (r < 0 && j > 0) {
      end_g = g.edges[j] * per_r;
    }
    const double end = least(least(end_f, end_g), least(step, kNormalReach));
    if (end > begin) {
      const Panel panel = panel_of(begin, end);
      PanelLanes f_value, f_slope, g_value, g_slope;
      both_at(polynomials_of(f, i), f, i, s, 0, panel.u, f_value, f_slope);
      both_at(blurred, g, j, r, 0, panel.u, g_value, g_slope);
#pragma GCC unroll 4
      for (std::size_t p = 0; p < kPanelParts; ++p) {
        k[p] = fused(panel.weight[p] * f_value[p], g_value[p], k[p]);
        slope[p] = fused(panel.weight[p] * f_slope[p], g_slope[p], slope[p]);
      }
      begin = end;
    }
    if (end_f <= end) {
      ++i;
    }
    if (end_g <= end) {
      r > 0 ? ++j : --j;
      coefficients_at(g, j, z, blurred);
    }
    if (step <= end) {
      step += kNormalStep;
    }
  }
  out[0] = lane_sum(k);
  out[1] = lane_sum(slope);
}

void blur_moments(const Cells& f, double m, double tau, double* out) {
  const double per_tau = 1 / tau;
  std::size_t i = cell_of(f, m - kNormalReach * tau);
  PanelLanes sums[4] = {};
  double begin = -kNormalReach, step = begin + kNormalStep;
  while (begin < kNormalReach) {
    const double end_f = i + 1 < f.n ? (f.edges[i + 1] - m) * per_tau : 2 * kNormalReach;
    const double end = least(end_f, least(step, kNormalReach));
    if (end > begin) {
      const Panel panel = panel_of(begin, end);
      PanelLanes value, slope;
      both_at(polynomials_of(f, i), f, i, tau, m, panel.u, value, slope);
#pragma GCC unroll 4
      for (std::size_t p = 0; p < kPanelParts; ++p) {
        const Lane weighted = panel.weight[p] * value[p];
        const Lane weighted_slope = panel.weight[p] * slope[p];
        sums[0][p] += weighted;
        sums[1][p] += weighted_slope;
        sums[2][p] = fused(weighted, value[p], sums[2][p]);
        sums[3][p] = fused(weighted_slope, slope[p], sums[3][p]);
      }
      begin = end;
    }
    if (end_f <= end) {
      ++i;
    }
    if (step <= end) {
      step += kNormalStep;
    }
  }
  for (std::size_t t = 0; t < 4; ++t) {
    out[t] = lane_sum(sums[t]);
  }
}
