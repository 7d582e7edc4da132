// The table of hot loops: one per instruction set, filled by kernels.cpp, chosen by dispatch.cpp.
//
// Loops take plain pointers and sizes. They allocate nothing, throw nothing and never see Python.
//
// A *lane block* holds W = lanes rows of a batch as (feature, lane): entry j of row r lies at
// block[j * W + r]. Blocks are aligned to kLineBytes. Every loop does the same operations in the
// same order on each lane and at each instruction set, so a row's result depends on the row alone.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nkfast {

constexpr std::size_t kLineBytes = 64; // of a cache line, and how blocks are aligned
constexpr std::size_t kMostLanes = 16; // of a lane block at any instruction set

template <class T> struct Table {
  // Width W of a lane block: the number of rows that one vector operation works on.
  int lanes;

  // Walsh-Hadamard transforms of n_rows contiguous rows of n numbers (n a power of two), in place,
  // times scale. Row-major; x needs no alignment beyond that of T.
  void (*wht_rows)(T* x, std::size_t n_rows, std::size_t n, T scale);

  // The same of a lane block of n features, without scale.
  void (*wht_block)(T* block, std::size_t n);

  // Real Fourier transforms of a lane block of n features (n a power of two), in place, in the
  // order that fft.inl.hpp describes; the inverse is n times the inverse. Twiddles from
  // sketch/twiddles.hpp. If `folded`, n >= 4 and the first two levels are done.
  void (*fft_block)(T* block, std::size_t n, const T* twiddles, bool folded);
  void (*ifft_block)(T* block, std::size_t n, const T* twiddles);

  // dst *= src, entry by entry, of two spectra in that order.
  void (*multiply_spectra)(T* dst, const T* src, std::size_t n);

  // block[j * W + r] = rows[r][j] * scale[r] for j < n.
  void (*load)(const T* const* rows, std::size_t n, const T* scale, T* block);

  // rows[r][j] = block[j * W + r] * scale[r] for j < n.
  void (*store)(const T* block, std::size_t n, const T* scale, T* const* rows);

  // dst[hash[j]] += signs[j] * src[j] for j < n: a CountSketch of every lane.
  void (*count_sketch)(const T* src, std::size_t n, const std::int32_t* hash, const T* signs,
                       T* dst);

  // dst[t] = a[i[t]] * b[j[t]] * scale for t < n.
  void (*product)(const T* a, const std::int32_t* i, const T* b, const std::int32_t* j,
                  std::size_t n, T scale, T* dst);

  // dst[t] = a[i[t]] * b[j[t]] * c[t] for t < n.
  void (*weighted_product)(const T* a, const std::int32_t* i, const T* b, const std::int32_t* j,
                           std::size_t n, const T* c, T* dst);

  // dst[t] = src[i[t]] * scale for t < n.
  void (*gather)(const T* src, const std::int32_t* i, std::size_t n, T scale, T* dst);

  // dst[t] = sum over j < n of matrix[t * n + j] src[j], for t < m.
  void (*linear)(const T* src, std::size_t n, const T* matrix, std::size_t m, T* dst);

  // dst[t] = a[t] x dst[t - 1] - b[t] r^2 dst[t - 2] + c[t] for t < m, where x is the last of the n
  // features of src and r their norm; b = a + m, c = b + m.
  void (*recurrence)(const T* src, std::size_t n, const T* a, std::size_t m, T* dst);

  // out[r] = sum over j < n of block[j * W + r]^2.
  void (*square_sums)(const T* block, std::size_t n, T* out);

  // block[j * W + r] *= scale[r] for j < n.
  void (*scale_lanes)(T* block, std::size_t n, const T* scale);

  // dst[j] = src[j] for j < n, written past the caches; ranges do not overlap.
  void (*stream)(const T* src, std::size_t n, T* dst);

  // Whether no entry of x is infinite or NaN.
  bool (*finite)(const T* x, std::size_t n);

  // dst[j] = src[j] for j < n, rounded to T.
  void (*narrow)(const double* src, std::size_t n, T* dst);

  // dst[j * dst_ld + i] = src[i * src_ld + j] for i < rows, j < cols; away: past the caches, if
  // dst and its rows begin at whole vectors.
  void (*transpose_tile)(const T* src, std::size_t src_ld, std::size_t rows, std::size_t cols,
                         T* dst, std::ptrdiff_t dst_ld, bool away);
};

// Columns of the exact kernels come in whole panels of this many.
constexpr std::size_t kDualPad = 32;

// Maps that work entry by entry, those with a float32 form among them, take multiples of this many.
constexpr std::size_t kDualFew = 16;

// k <- w2 k + b2, then theta <- w2 theta + k.
struct Affine {
  double w2, b2;
};

// One row of pairs on its way through an activation: covariances in, kernels out. Pointers but left
// and params are aligned to 64 bytes; the tables of the maps are described in kernels/dual.hpp.
struct DualRow {
  const double* params;
  const double* left;  // the row's table
  const double* right; // the columns' table: entry t of column j lies at right[t * ld + j]
  std::size_t ld;
  std::size_t n; // columns, a multiple of kDualPad
  double* k;
  double* theta; // null: not wanted
  bool rough;    // an error of 1e-9 in angles will do
};

// Some rows in float32, and the affine layer that follows.
struct SingleRows {
  const double* params;
  const double* left; // the rows' tables, left_width apart
  std::size_t left_width;
  const float* right;
  std::size_t ld;
  std::size_t rows, n;
  float* k; // rows are `pitch` apart, a multiple of kDualPad / 2
  float* theta;
  std::size_t pitch;
  bool fresh;          // theta holds nothing yet, it counts as k
  const Affine* after; // null: none
};

template <class T> struct DualRowsOf {
  using type = DualRow;
};
template <> struct DualRowsOf<float> {
  using type = SingleRows;
};

// How many lengths a central series may have, see kernels/dual.hpp.
constexpr std::size_t kMostLengths = 40;

// Of a piecewise polynomial: distances of kinks from zero, and kinks and sides at one of them.
constexpr std::size_t kTableDegrees = 4; // of a table, that need equally many functions
static constexpr std::size_t table_blocks(std::size_t n_degrees) {
  return (n_degrees + kTableDegrees - 1) / kTableDegrees;
}
constexpr std::size_t kMostKinkClasses = 8;
constexpr std::size_t kMostKinkParts = 4;

// Maps in the order of the table below.
enum DualKind {
  kRectifier,
  kSign,
  kRectifiedPower,
  kAsin,
  kGelu,
  kExp,
  kSin,
  kGaussian,
  kExpNormalized,
  kGabor,
  kSeries,
  kTable,
  kPiecewise,
  kCentral,
  kDualKinds
};

template <class T> struct DualTable {
  // In float32 not all of them (null), and k = NaN where float64 is needed: see
  // dual_single.inl.hpp.
  void (*map[kDualKinds])(const typename DualRowsOf<T>::type& rows);

  // k = w2 k + b2, then theta = w2 theta + k (theta null: not wanted; first: it counts as zero).
  void (*affine)(double w2, double b2, std::size_t n, T* k, T* theta, bool first);

  // out[r * ld + j] = scale (out[..] if add + sum over t < depth of x[r * x_ld + t] panel[t, j])
  // + shift for j < kDualPad; a panel holds kDualPad columns as (depth, column).
  void (*gram)(const T* x, std::size_t x_ld, std::size_t rows, const T* panel, std::size_t depth,
               T* out, std::size_t ld, double scale, double shift, bool add);
};

// One row of pairs with its tangents: k, theta (null: not wanted) and, `pitch` apart, n_tangents
// derivatives of each.
struct TangentRow {
  std::size_t n; // columns, a multiple of kDualPad
  std::size_t n_tangents;
  double* k;
  double* theta;
  double* dk;
  double* dtheta;
  std::size_t pitch;
  bool fresh; // only k holds something yet, the others count as zero
};

// What a map knows of a row of pairs and its tangents; see kernels/tangents.hpp.
struct TangentTables {
  const double* params;
  const double* param_tangents; // (n_tangents, parameters that have tangents)
  const unsigned char* moved;   // which tangents any parameter has a part in
  const double* left;           // the row's table
  const double* left_tangents;
  const double* right; // the columns' table: entry t of column j lies at right[t * ld + j]
  const double* right_tangents;
  std::size_t ld; // of both tables
};

struct TangentTable {
  // As DualTable<double>::map, and all derivatives with it; null where there is no such loop.
  void (*map[kDualKinds])(const TangentTables& tables, const TangentRow& row);

  // As DualTable<double>::affine, the derivatives of w2 and b2 being dw2 and db2.
  void (*affine)(double w2, double b2, const double* dw2, const double* db2, const TangentRow& row);
};

// dst[i * ld + j] = w * sum over t < taps of src[t * tap + i * row_step + j * col_step]
//   + plus[i * ld + j], or + b if plus is null; for i < rows, j < cols. Any alignment.
struct Slide {
  const double* src;
  std::size_t taps, tap, row_step, col_step;
  std::size_t rows, cols;
  double w, b;
  const double* plus;
  double* dst;
  std::size_t ld;
};

// dst[i * dst_ld + j] += scale * the sum of the window x window entries of src that begin at row
// i * stride, column j * stride; for i < rows, j < cols.
struct PoolWindow {
  const double* src;
  std::size_t ld, window, stride;
  std::size_t rows, cols;
  double scale;
  double* dst;
  std::size_t dst_ld;
};

struct WindowTable {
  // dst[i * dst_ld + j] = sum over t < n of src[t][i * ld + j] for i < rows, j < cols.
  void (*sum)(const double* const* src, std::size_t n, std::size_t rows, std::size_t cols,
              std::size_t ld, double* dst, std::size_t dst_ld);
  void (*slide)(const Slide& s);
  void (*pool)(const PoolWindow& p);
  // dst[j] += sum over i < rows of src[i * ld + j] for j < cols.
  void (*add_rows)(const double* src, std::size_t rows, std::size_t cols, std::size_t ld,
                   double* dst);
};

// Integrals against the normalised Hermite polynomials h_l, l < degrees, by a rule of n nodes, a
// multiple of kDualPad.
struct HermiteSums {
  const double* z;     // nodes
  const double* start; // h_0 there, times whatever the h_l are weighted by
  const double* values;
  std::size_t ld, rows, n;   // of the values: rows of n numbers, ld apart
  const double *step, *back; // h_(l + 1) = step[l] z h_l - back[l] h_(l - 1)
  std::size_t degrees;
  double* sums; // room for degrees * rows * kMostLanes numbers, aligned
  double* out;  // out[r * degrees + l] = sum over j < n of values[r * ld + j] h_l(z_j)
};

// sum over l < n_terms of c_l rho^l and its derivative, for n complex rho, a multiple of kDualPad;
// aligned, real and imaginary parts apart.
struct ComplexSeries {
  const double* c;
  std::size_t n_terms, n;
  const double *re, *im;
  double *value_re, *value_im, *slope_re, *slope_im;
};

// A function of x as polynomials of t in [0, 1] between equidistant points of asinh(x / unit).
constexpr std::size_t kSmoothPowers = 8;
struct SmoothTable {
  const double* cells; // kSmoothPowers coefficients of each, of rising powers
  std::size_t n_cells;
  double unit, begin, per_unit; // of asinh: where the first cell begins, and the cells of a unit
};

struct SeriesTable {
  void (*hermite_sums)(const HermiteSums& p);
  void (*complex_series)(const ComplexSeries& p);
  // out[j] = the function at x[j], j < n; beyond the last cells, by these.
  void (*smooth)(const SmoothTable& p, const double* x, std::size_t n, double* out);
};

// A function and its derivative as polynomials between edges: of x, or of x and of z in [-1, 1],
// x running from -1 to 1 in each cell.
constexpr std::size_t kCellPowers = 12;             // of x
constexpr std::size_t kCellWidth = 2 * kCellPowers; // of the function, then of the derivative
struct Cells {
  const double* edges; // n + 1
  std::size_t n;
  const std::int64_t* starts; // n + 1: cell i has the powers of z from starts[i] on, below the next
  const double* values;       // kCellWidth coefficients of each power of z
};

// Normal variables beyond, in units of their deviation, are left out.
constexpr double kNormalReach = 8.5;

// Integrals over functions f of x, and their blurs g(m, tau) = E f(m + tau w).
struct BlurTable {
  // out = E f(s u) g(r u, tau) and that of the derivatives, u standard normal; z stands for tau.
  void (*pair)(const Cells& f, const Cells& g, double s, double r, double z, double* out);
  // out = E f(x), E f'(x), E f(x)^2, E f'(x)^2 for x = m + tau w, w standard normal.
  void (*moments)(const Cells& f, double m, double tau, double* out);
};

struct Kernels {
  Table<float> f32;
  Table<double> f64;
  DualTable<double> dual;
  DualTable<float> dual_single;
  TangentTable tangents;
  WindowTable window;
  SeriesTable series;
  BlurTable blur;
};

} // namespace nkfast
