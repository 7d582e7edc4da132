// Where the fields of a program lie in memory, and the order in which their blocks are made.
//
// A field is a row of lane blocks of W pixels, in the order of the image's rows. They are made as
// late as the blocks that are asked for allow, and are forgotten when nothing looks at them any
// more: a field is a ring of the few blocks that are in use at a time, so that what a thread works
// on stays in its cache.
#pragma once

#include "features/pixel_program.hpp"
#include "simd/pixels.hpp"

#include <cstddef>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

namespace nkfast {

constexpr std::size_t kExtra = 2; // behind the features of a block: c, |v|^2

inline std::size_t n_blocks(const PixelGrid& grid, std::size_t lanes) {
  return (grid.height * grid.width + lanes - 1) / lanes;
}

struct PixelLayout {
  // Blocks that lanes of a block see, two at a time: see PixelPiece. -1: none.
  struct Piece {
    std::int32_t a = -1, b = -1;
    std::int32_t pick = -1; // number of a row of picks
  };

  // What a block of a pool's source adds to one of its blocks.
  struct Addition {
    std::uint32_t block;
    bool first, last; // of all that is added to it
    std::vector<Piece> pieces{};
  };

  struct Step {
    std::vector<std::size_t> starts{0}; // of the pieces of each part of all channels, and their end
    std::vector<Piece> pieces{};        // those of block after block
    std::vector<PixelSums> channels{};  // by pieces; none: hashed one by one
    std::vector<std::size_t> buffers{}; // where the buffers of a stage begin
    std::vector<std::vector<Addition>> additions{}; // of a pool that takes blocks as they are made
  };

  struct Op {
    std::uint32_t step, block; // a block of its target; of its source if it has additions
  };

  struct Ring {
    std::size_t start = 0, n_slots = 0;
    bool used = false; // by a later step
  };

  std::size_t lanes;
  std::vector<Step> steps{};
  std::vector<Op> ops{};
  std::vector<Ring> rings{}; // of each field
  Ints picks{};
  std::size_t n_vectors = 0; // of W numbers, in all

  PixelLayout(const PixelParts& program, std::size_t n_lanes);

private:
  Step look(const std::vector<std::pair<std::size_t, PixelLook>>& parts, const PixelGrid& to,
            const std::vector<PixelField>& fields);
  void add_up(Step& pool, std::size_t n_sources);
  std::int32_t row_of_picks(const std::vector<std::int32_t>& pick);

  std::map<std::vector<std::int32_t>, std::int32_t> known_{}; // rows of picks
};

// The buffers of a stage's block: their numbers.
struct PixelBuffers {
  // kLeft: what a power is made of; kFirst and kSecond: what the tangent kernel's product is made
  // of; kUnused: results that no one looks at. Behind them the powers, and then the leaves.
  enum { kNngp, kTangent, kLeft, kSlope, kFirst, kSecond, kProduct, kUnused, kPowers };
};

} // namespace nkfast
