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
// Norms are known at every step and the sketched vectors are given them. What the stages are is
// said in Python (nkfast/_pixel_plan.py), which also draws the random numbers.
#pragma once

#include "numbers.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace nkfast {

// Where each feature goes, and its sign.
struct Hash {
  Ints to{};
  Values signs{};
};

// Rows `pitch` apart, between them and around them zeros for offsets up to the halo.
struct PixelGrid {
  std::size_t height = 0, width = 0, pitch = 0;
  std::size_t front = 0;  // of the first pixel
  std::size_t stride = 0; // of the planes
  std::size_t halo_rows = 0, halo_cols = 0;

  std::size_t at(std::size_t row, std::size_t col) const { return front + row * pitch + col; }
  std::size_t span() const { return (height - 1) * pitch + width; }
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
  double scale = 1;
  double direction = 0; // component of this part's scalar in the channel's
  Hash hash{};          // its last entry is that of the rest of the scalar
};

struct PixelChannel {
  std::size_t n = 0;
  std::vector<PixelPart> parts{};
  double constant = 0, direction = 0; // of a bias, seen as a part of one scalar
  Hash hash{};
};

// A sketch of a tensor product: subsampled products of two Hadamard transforms, each of a vector
// that is hashed to a power of two first.
struct TensorProduct {
  std::size_t n = 0, length_a = 0, length_b = 0;
  Hash hash_a{}, hash_b{};
  Ints take_a{}, take_b{};
};

// S_l of a unit vector from the powers a and b, 0 being the vector itself.
struct PixelPower {
  std::size_t a = 0, b = 0;
  TensorProduct product{};
  Values factors{}; // if any: monomials, a[take_a] b[take_b] factors
};

// Hermite coefficients of an activation at standard deviations on a grid in their logarithm. A row
// holds a_0..a_Q of the function, b_0..b_Q of its derivative, and the sums of all their squares.
struct HermiteTable {
  double first = 0, step = 1; // log of the first deviation, and between them
  std::size_t n = 0, order = 0;
  double growth = 0; // d log |f| / d log s past the end
  Reals rows{}, at_zero{};
  Reals reference{}; // the coefficients at a typical pixel, and
  double share = 0;  // the share of the scalar there
};

constexpr std::size_t kRests = 2; // further components of the scalar, see hermite.hpp

struct PixelActivation {
  bool alias = false;  // the tangent kernel's features before are the NNGP kernel's
  bool merged = false; // after it is the sum of both
  std::size_t degree = 0;
  HermiteTable table{};
  std::vector<PixelPower> powers{}; // of degrees 2..
  std::size_t n = 0, n_slope = 0, n_tangent = 0;
  std::vector<Hash> sums{}, slope_sums{}, tangent_sums{}; // of degrees 1.., and of the rests
  TensorProduct product{};
  Hash from_product{}, from_tangent{}, from_slope{}, from_nngp{};
  double direction_tangent = 1, direction_nngp = 0; // of the merged scalar
};

struct PixelStage {
  std::size_t height = 0, width = 0;
  std::vector<PixelChannel> channels{};
  std::unique_ptr<PixelActivation> activation{};
  std::vector<std::size_t> stores{};
};

struct PixelPool {
  std::size_t from = 0, to = 0;
  std::size_t rows = 1, cols = 1, row_stride = 1, col_stride = 1;
};

// The features of an image of one pixel: the scalar, if it is kept apart, and then a sample of the
// Hadamard transform of the vector and, unless kept, the scalar; or, if length is 0, the vector.
struct PixelOutput {
  std::size_t field = 0;
  double scale = 1;
  bool scalar = true;
  std::size_t n = 0, length = 0;
  Hash hash{};
  Ints take{};
};

class PixelProgram {
public:
  // Fields are numbered from 0, which holds the images.
  std::size_t add_field(std::size_t height, std::size_t width, std::size_t n, std::size_t halo_rows,
                        std::size_t halo_cols);
  void add_stage(PixelStage stage);
  void add_pool(PixelPool pool);
  void finish(PixelOutput output);

  std::size_t n_inputs() const;
  std::size_t n_outputs() const { return output_.n; }
  std::size_t bytes() const { return sizeof(float) * field_size_; } // of a thread's fields

  template <class T>
  void run(const T* images, std::size_t n_images, T* out, std::size_t n_threads) const;

private:
  template <class T> class Runner;
  struct Step {
    bool is_pool = false;
    std::size_t index = 0;
  };
  void use(std::size_t field, std::size_t step);
  void place_fields();

  std::vector<PixelField> fields_;
  std::vector<PixelStage> stages_;
  std::vector<PixelPool> pools_;
  std::vector<Step> steps_;
  std::vector<std::size_t> ends_, starts_; // the last use of each field, and its place
  std::size_t field_size_ = 0;             // of all of them
  PixelOutput output_;
};

} // namespace nkfast
