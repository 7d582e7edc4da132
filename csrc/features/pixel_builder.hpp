// Puts a PixelProgram together, stage by stage.
#pragma once

#include "builders.hpp"
#include "features/pixel_program.hpp"

#include <cstddef>
#include <vector>

namespace nkfast {

// Every stage is checked when it is added: std::invalid_argument says what is wrong.
class PixelBuilder : Builder {
public:
  // Fields are numbered from 0, which holds the images.
  std::size_t add_field(std::size_t height, std::size_t width, std::size_t n);
  void add_stage(PixelStage stage);
  void add_pool(PixelPool pool);

  // Hands over the program; the builder takes no more calls.
  PixelProgram finish(PixelOutput output);

private:
  void check_field(std::size_t field) const;
  void use(std::size_t field) const;
  void make(std::size_t field);

  PixelParts parts_;
  std::vector<bool> made_; // of each field, whether something makes it
};

} // namespace nkfast
