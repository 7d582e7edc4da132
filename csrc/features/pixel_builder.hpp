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
  std::size_t add_field(std::size_t height, std::size_t width, std::size_t n, std::size_t halo_rows,
                        std::size_t halo_cols);
  void add_stage(PixelStage stage);
  void add_pool(PixelPool pool);

  // Hands over the program; the builder takes no more calls.
  PixelProgram finish(PixelOutput output);

private:
  void use(std::size_t field, std::size_t step);
  void place_fields();

  PixelParts parts_;
  std::vector<std::size_t> ends_; // the last use of each field
};

} // namespace nkfast
