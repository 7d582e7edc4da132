// The stages of a network of images, ready to run.
#pragma once

#include "features/pixel_stages.hpp"

#include <cstddef>
#include <utility>
#include <vector>

namespace nkfast {

// What a program consists of.
struct PixelParts {
  struct Step {
    bool is_pool = false;
    std::size_t index = 0; // of a stage or a pool
  };

  std::vector<PixelField> fields{};
  std::vector<PixelStage> stages{};
  std::vector<PixelPool> pools{};
  std::vector<Step> steps{};
  std::vector<std::size_t> starts{}; // the place of each field
  std::size_t field_size = 0;        // of all of them
  PixelOutput output{};
};

// Immutable, so that any number of threads may run it.
class PixelProgram {
public:
  PixelProgram(PixelProgram&&) = default; // it moves, but is not copied

  std::size_t n_inputs() const;
  std::size_t n_outputs() const { return parts_.output.n; }
  std::size_t bytes() const { return sizeof(float) * parts_.field_size; } // of a thread's fields

  template <class T>
  void run(const T* images, std::size_t n_images, T* out, std::size_t n_threads) const;

private:
  friend class PixelBuilder;
  explicit PixelProgram(PixelParts parts) : parts_(std::move(parts)) {}

  PixelParts parts_;
};

} // namespace nkfast
