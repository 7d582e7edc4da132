// The stages of a network of images, ready to run.
#pragma once

#include "features/pixel_stages.hpp"

#include <cstddef>
#include <memory>
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
  PixelOutput output{};
};

struct PixelLayout;

// Immutable, so that any number of threads may run it.
class PixelProgram {
public:
  PixelProgram(PixelProgram&&) noexcept; // it moves, but is not copied
  ~PixelProgram();

  std::size_t n_inputs() const;
  std::size_t n_outputs() const { return parts_->output.n; }
  std::size_t bytes() const; // that a thread works in, where it computes in float32

  // Features in the images' type, computed in it or, if `single`, in float32.
  template <class T>
  void run(const T* images, std::size_t n_images, T* out, std::size_t n_threads, bool single) const;

private:
  friend class PixelBuilder;
  explicit PixelProgram(PixelParts parts);

  template <class T, class Image>
  void run_in(const PixelLayout& layout, const Image* images, std::size_t n_images, Image* out,
              std::size_t n_threads) const;

  // Pointers, for runners refer to what is there.
  std::unique_ptr<const PixelParts> parts_;
  std::unique_ptr<const PixelLayout> single_, double_;
};

} // namespace nkfast
