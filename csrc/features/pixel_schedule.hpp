// The order in which blocks of fields are made, and the memory that it takes.
#pragma once

#include "features/pixel_layout.hpp"

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace nkfast {

// The fields that the output depends on, and of each step the fields that it looks at for them,
// with the numbers of its parts.
struct Dependence {
  std::vector<bool> wanted;
  std::vector<std::vector<std::pair<std::size_t, std::size_t>>> looks;

  explicit Dependence(const PixelParts& program);
};

// A trial of an order.
class PixelSchedule {
public:
  PixelSchedule(const PixelParts& program, const PixelLayout& layout, const Dependence& dependence);

  // whole[f]: no block of field f is looked at before all are made.
  void make(const std::vector<bool>& whole);

  std::vector<PixelLayout::Op> ops{};
  std::vector<PixelLayout::Ring> rings{};
  std::vector<std::size_t> buffers{}; // of each step, where they begin
  std::size_t size = 0;

private:
  using Time = std::int64_t;

  bool adds(std::size_t step) const { return !layout_.steps[step].additions.empty(); }
  Time now() const { return static_cast<Time>(ops.size()); }

  std::vector<std::size_t> targets(std::size_t step) const;
  void need(std::size_t field, std::size_t block);
  template <class F> void for_sources(std::size_t step, std::size_t block, F&& f) const;
  void run(std::size_t step);
  void complete(std::size_t field, std::size_t block);
  std::size_t slots(std::size_t field) const;
  void place();

  const PixelParts& program_;
  const PixelLayout& layout_;
  const std::vector<std::vector<std::pair<std::size_t, std::size_t>>>& looks_;
  std::vector<std::size_t> producer_;
  std::vector<std::size_t> n_blocks_{};
  std::vector<bool> whole_{};
  std::vector<std::size_t> done_{}, made_{};
  std::vector<std::vector<Time>> born_{}, last_use_{};
};

} // namespace nkfast
