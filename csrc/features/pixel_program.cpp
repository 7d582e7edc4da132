#include "features/pixel_program.hpp"

#include "features/pixel_runner.hpp"
#include "parallel.hpp"

namespace nkfast {

std::size_t PixelProgram::n_inputs() const {
  const PixelField& images = parts_.fields[0];
  return images.grid.height * images.grid.width * images.n;
}

template <class T>
void PixelProgram::run(const T* images, std::size_t n_images, T* out, std::size_t n_threads) const {
  parallel_for(n_images, n_threads, 1, [&](std::size_t begin, std::size_t end) {
    PixelRunner<T> runner(parts_);
    for (std::size_t i = begin; i < end; ++i) {
      runner.image(images + i * n_inputs(), out + i * n_outputs());
    }
  });
}

template void PixelProgram::run(const float*, std::size_t, float*, std::size_t) const;
template void PixelProgram::run(const double*, std::size_t, double*, std::size_t) const;

} // namespace nkfast
