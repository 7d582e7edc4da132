// Compiled once per instruction set with NKFAST_LEVEL and NKFAST_VECTOR_BYTES defined.
//
// Everything but the table lies in an anonymous namespace, and no header with inline functions may
// be included here: the linker keeps a single copy of each inline function, and could hand the copy
// built with AVX to code that runs on a CPU without it. tools/check_baseline.py enforces this.
#include "simd/kernels.hpp"
#include "simd/ops.hpp"

#include <cstddef>
#include <cstdint>

namespace nkfast::NKFAST_LEVEL {
namespace {

// clang-format off: the order matters
#include "simd/lanes.inl.hpp"
#include "simd/wht.inl.hpp"
#include "simd/fft.inl.hpp"
#include "simd/block.inl.hpp"
#include "simd/maths.inl.hpp"
#include "simd/dual.inl.hpp"
#include "simd/dual_single.inl.hpp"
#include "simd/dual_series.inl.hpp"
#include "simd/piecewise.inl.hpp"
#include "simd/central.inl.hpp"
#include "simd/tangents.inl.hpp"
#include "simd/tangents_series.inl.hpp"
#include "simd/tangents_piecewise.inl.hpp"
#include "simd/gram.inl.hpp"
#include "simd/window.inl.hpp"
#include "simd/series.inl.hpp"
#include "simd/blur.inl.hpp"
// clang-format on

template <class T> constexpr Table<T> table() {
  return {
      .lanes = kLanes<T>,
      .wht_rows = wht_rows<T>,
      .wht_block = wht_block<T>,
      .fft_block = fft_block<T>,
      .ifft_block = ifft_block<T>,
      .multiply_spectra = multiply_spectra<T>,
      .load = load<T>,
      .store = store<T>,
      .count_sketch = count_sketch<T>,
      .product = product<T>,
      .weighted_product = weighted_product<T>,
      .gather = gather<T>,
      .linear = linear<T>,
      .recurrence = recurrence<T>,
      .square_sums = square_sums<T>,
      .scale_lanes = scale_lanes<T>,
      .stream = stream<T>,
      .finite = finite<T>,
      .narrow = narrow<T>,
      .transpose_tile = transpose_tile<T>,
  };
}

constexpr DualTable<double> dual_table() {
  return {
      .map = {rectifier, sign, rectified_power, asin, gelu, exponential_kernel, sine, gaussian,
              normalised_exponential, gabor, series, table_map, piecewise, central},
      .affine = affine<double>,
      .gram = gram<double>,
  };
}

constexpr DualTable<float> dual_single_table() {
  DualTable<float> table{.map = {}, .affine = affine<float>, .gram = gram<float>};
  table.map[kRectifier] = single_rectifier;
  table.map[kAsin] = single_asin;
  table.map[kGelu] = single_gelu;
  return table;
}

constexpr TangentTable tangent_table() {
  TangentTable table{.map = {}, .affine = tangent_affine};
  table.map[kRectifier] = with_tangents<RectifierTangents>;
  table.map[kSign] = with_tangents<SignTangents>;
  table.map[kRectifiedPower] = with_tangents<RectifiedPowerTangents>;
  table.map[kAsin] = with_tangents<AsinTangents>;
  table.map[kGelu] = with_tangents<GeluTangents>;
  table.map[kExp] = with_tangents<ExpTangents>;
  table.map[kSin] = with_tangents<SinTangents>;
  table.map[kGaussian] = with_tangents<GaussianTangents>;
  table.map[kExpNormalized] = with_tangents<ExpNormalizedTangents>;
  table.map[kGabor] = with_tangents<GaborTangents>;
  table.map[kSeries] = series_tangents;
  table.map[kTable] = table_tangents;
  table.map[kPiecewise] = piecewise_tangents;
  return table;
}

constexpr WindowTable window_table() {
  return {.sum = window_sum, .slide = slide, .pool = pool, .add_rows = add_rows};
}

constexpr SeriesTable series_table() {
  return {.hermite_sums = hermite_sums, .complex_series = complex_series, .smooth = smooth_values};
}

constexpr BlurTable blur_table() { return {.pair = blur_pair, .moments = blur_moments}; }

} // namespace

extern const Kernels kernels;
constinit const Kernels kernels{.f32 = table<float>(),
                                .f64 = table<double>(),
                                .dual = dual_table(),
                                .dual_single = dual_single_table(),
                                .tangents = tangent_table(),
                                .window = window_table(),
                                .series = series_table(),
                                .blur = blur_table()};

} // namespace nkfast::NKFAST_LEVEL
