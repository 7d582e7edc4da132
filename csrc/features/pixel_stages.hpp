// Features of networks of images, pixel by pixel: stages between fields.
//
// A *field* holds, for every pixel of an image, a scalar c and a vector v: the features of one
// kernel at that pixel, (c, v). The scalar keeps what all pixels have in common apart from what
// tells them from each other, so that no sketch ever mixes the two. A *stage* makes up to two
// fields ("channels": the NNGP kernel's and the tangent kernel's) from others, W pixels at a time:
//
//   1. Each channel is the sum of *parts*: a field seen through an offset of the filter, hashed
//      into the channel. Of the scalars the component along fixed directions remains the scalar,
//      the rest is hashed, too.
//   2. An *activation* (optional) turns (c, v) into features of the new kernel, by powers of v.
//   3. The channels are stored.
//
// Norms are known at every step and the sketched vectors are given them. Every field has its own
// unit, in which typical numbers are about 1. What the stages are is said in Python
// (nkfast/features/pixels/_plan.py), which also draws the random numbers.
#pragma once

#include "numbers.hpp"
#include "simd/pixels.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

namespace nkfast {

// Where each feature goes, and its sign.
struct Hash {
  Ints to{};
  Values signs{};
};

// The same the other way round: which feature comes to each place; with sign 0 none.
struct Gather {
  Ints from{};
  Values signs{};
};

// Sums as segments, ranges of them that all of `begin` to `end` of the runs are added up to; none
// where they are not made so. See pixel_sums.hpp.
struct PixelSums {
  struct Segment {
    std::size_t first, last, begin, end;
  };
  std::vector<Segment> segments{};
  std::vector<PixelRun> runs{};
  Values signs{};

  bool found() const { return !segments.empty(); }
};

struct PixelGrid {
  std::size_t height = 0, width = 0;
};

struct PixelField {
  PixelGrid grid;
  std::size_t n = 0;
};

// Which pixel a part sees: row * stride + offset, the same for columns.
struct PixelLook {
  std::int64_t row_stride = 1, row_offset = 0, col_stride = 1, col_offset = 0;
  bool circular = false;
};

struct PixelPart {
  std::size_t field = 0;
  PixelLook look{};
  double scale = 1;     // takes the field's unit to the channel's, too
  double direction = 0; // component of this part's scalar in the channel's
  Hash hashed{};        // its last entry is that of the rest of the scalar
};

struct PixelChannel {
  std::size_t n = 0;
  std::vector<PixelPart> parts{};
  double constant = 0, direction = 0; // of a bias, seen as a part of one scalar
  Hash hashed{};
};

// A sketch of a tensor product: subsampled products of two Hadamard transforms, each of a vector
// that is hashed to a power of two first.
struct TensorProduct {
  std::size_t n = 0, length_a = 0, length_b = 0;
  Hash hash_a{}, hash_b{};
  Ints take_a{}, take_b{};
  // Found by the builder:
  Gather from_a{}, from_b{};
  bool in_order = false; // all are taken as they come
  std::size_t leaf = 0;  // of the powers of an activation: the transformed b, equal ones once
};

// Entries of a tensor product, a[take_a] b[take_b] factors.
struct Monomials {
  Ints take_a{}, take_b{};
  Values factors{};
};

// S_l of a unit vector from the powers a and b, 0 being the vector itself.
struct PixelPower {
  std::size_t a = 0, b = 0;
  std::variant<TensorProduct, Monomials> how{};

  std::size_t n() const { // features
    const auto* product = std::get_if<TensorProduct>(&how);
    return product != nullptr ? product->n : std::get<Monomials>(how).factors.size();
  }
};

// Hermite coefficients of an activation: a_0..a_Q of the function, b_0..b_Q of its derivative, and
// the sums of the squares of all later a and b. Those of a homogeneous one of degree `power` are
// given at deviation 1. Those of others are given on a grid in the logarithm of the deviation, in
// rows of 2 Q + 6: relative to the norms of function and derivative, of which the logarithms
// follow; below and above the grid all are powers of the deviation.
struct HermiteGrid {
  double first = 0, step = 1; // log of the first deviation, and between them
  std::size_t n = 0, order = 0;
  std::optional<double> power{};
  Reals rows{}, low{}, high{}, at_zero{};
  double deviation = 1; // of a typical pixel,
  Reals reference{};    // the coefficients there, and
  double share = 0;     // the share of the scalar

  std::size_t numbers() const { return 2 * order + 4; } // coefficients and sums
  std::size_t width() const { return power ? numbers() : numbers() + 2; }
};

constexpr std::size_t kRests = 2; // further components of the scalar, see hermite.hpp

// The tangent kernel's features where those before are the NNGP kernel's.
struct SharedTangent {
  std::size_t n = 0;
  std::vector<Hash> sums{}; // as those of the activation
  PixelSums read{};
};

// Those from features of its own: their product with the derivative's.
struct OwnTangent {
  std::size_t n = 0, n_slope = 0;
  std::vector<Hash> slope_sums{};
  TensorProduct product{};
  Hash from_product{}, from_tangent{}, from_slope{}, from_nngp{};
  double direction_tangent = 1, direction_nngp = 0; // of the merged scalar
  PixelSums slope_read{}, read{}; // of product, tangent, slope and, if merged, nngp
};

struct PixelActivation {
  std::size_t degree = 0;
  HermiteGrid table{};
  std::vector<PixelPower> powers{}; // of degrees 2..
  std::size_t n = 0;
  std::vector<Hash> sums{}; // of degrees 1.., and of the rests
  // The tangent kernel's features after it are those of the sum of both kernels if this, the unit
  // of the NNGP kernel's over theirs, is above 0.
  double merged = 0;
  std::variant<std::monostate, SharedTangent, OwnTangent> tangent{}; // monostate: not wanted
  PixelSums read{};
  std::vector<std::size_t> leaves{}; // the lengths of different ones

  const SharedTangent* shared() const { return std::get_if<SharedTangent>(&tangent); }
  const OwnTangent* own() const { return std::get_if<OwnTangent>(&tangent); }
  SharedTangent* shared() { return std::get_if<SharedTangent>(&tangent); }
  OwnTangent* own() { return std::get_if<OwnTangent>(&tangent); }
};

struct PixelStage {
  std::vector<PixelChannel> channels{};
  std::optional<PixelActivation> activation{};
  std::vector<std::size_t> stores{};
};

struct PixelPool {
  std::size_t from = 0, to = 0;
  std::size_t rows = 1, cols = 1, row_stride = 1, col_stride = 1;
};

// A sample of the Hadamard transform of a hashed vector.
struct HadamardSample {
  std::size_t length = 0;
  Hash hashed{};
  Ints take{};
};

// The features of an image of one pixel: the scalar, if it is kept apart, and then the vector or a
// sample of it; a scalar that is not kept apart is in the sample.
//
// Images are read in units of 2^input_exponent and features are in units of 2^exponent. Features
// that are homogeneous of degree `power` are computed of images of norm about 1 a pixel instead.
struct PixelOutput {
  std::size_t field = 0;
  bool scalar = true;
  std::size_t n = 0;
  std::optional<HadamardSample> sample{};
  int input_exponent = 0, exponent = 0;
  std::optional<double> power{};
};

} // namespace nkfast
