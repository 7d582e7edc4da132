// In which order the blocks of a pair of images go through the layers between two pools.
//
// The kernel of two images consists of blocks: block (r, r') holds the pairs of a pixel of row r of
// the left image and one of row r' of the right. A convolution's block needs the blocks (s r + o,
// s r' + o) of the layer below, and an activation's just its own. So a plan walks along the
// diagonals, makes what is needed when it is, and forgets it after its last use: what is alive at
// once is a few blocks, which stay in the caches. Only blocks that the layers above need are made.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace nkfast {

// A window that slides along one axis of an image.
struct Axis {
  std::size_t taps = 1;
  std::size_t stride = 1;
  std::size_t before = 0; // padding
  bool circular = false;
  std::size_t in = 0; // lengths of the axis
  std::size_t out = 0;

  std::size_t after() const; // padding
};

struct ImageStep {
  enum class What { kConv, kActivation, kPush, kAdd } what;
  Axis rows = {};
  Axis cols = {};
  double w2 = 0; // kConv: K <- w2 * sum over the filter + b2
  double b2 = 0;
  std::size_t map = 0;      // kActivation
  std::size_t opening = 0;  // kAdd: its push
  bool theta_below = false; // whether the NTK below is not zero
  bool theta_kept = false;  // kAdd: nor that at its push
};

struct RowPair {
  std::uint32_t left;
  std::uint32_t right;
  bool operator==(const RowPair&) const = default;
};

// Where a block is: a slot of the scratch memory, or a block of the map that the plan reads.
struct Place {
  std::uint32_t index;
  bool in_map;
  bool operator==(const Place&) const = default;
};

struct Operation {
  enum class What {
    kRead, // inner products of pixels into dst
    kStep, // of `step`; a convolution reads n places from `first` on, an addition two, else one
    kEmit  // the block at the first place is an output
  } what;
  std::uint32_t step = 0;
  RowPair at{};
  Place dst{};
  std::uint32_t first = 0;
  std::uint32_t n = 0;
};

struct ImagePlan {
  std::vector<Operation> operations;
  std::vector<Place> places;
  std::vector<RowPair> inputs; // blocks of the map below that are read, in its order
  std::size_t n_slots = 0;
};

// heights: rows of an image below the first step, then above each. from_map: blocks below come from
// a map rather than from pixels. outputs: the blocks that are wanted.
ImagePlan make_plan(const std::vector<ImageStep>& steps, const std::vector<std::size_t>& heights,
                    bool from_map, std::vector<RowPair> outputs);

} // namespace nkfast
