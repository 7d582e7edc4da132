#include "features/pixel_program.hpp"

#include "features/pixel_layout.hpp"
#include "features/pixel_runner.hpp"
#include "parallel.hpp"

#include <type_traits>
#include <utility>

namespace nkfast {

PixelProgram::PixelProgram(PixelParts parts)
    : parts_(std::make_unique<const PixelParts>(std::move(parts))),
      single_(std::make_unique<const PixelLayout>(*parts_,
                                                  static_cast<std::size_t>(table<float>().lanes))),
      double_(std::make_unique<const PixelLayout>(
          *parts_, static_cast<std::size_t>(table<double>().lanes))) {}

PixelProgram::PixelProgram(PixelProgram&&) noexcept = default;
PixelProgram::~PixelProgram() = default;

std::size_t PixelProgram::n_inputs() const {
  const PixelField& images = parts_->fields[0];
  return images.grid.height * images.grid.width * images.n;
}

std::size_t PixelProgram::bytes() const {
  return sizeof(float) * single_->n_vectors * single_->lanes;
}

template <class T, class Image>
void PixelProgram::run_in(const PixelLayout& layout, const Image* images, std::size_t n_images,
                          Image* out, std::size_t n_threads) const {
  parallel_for(n_images, n_threads, 1, [&](std::size_t begin, std::size_t end) {
    PixelRunner<T, Image> runner(*parts_, layout);
    for (std::size_t i = begin; i < end; ++i) {
      runner.image(images + i * n_inputs(), out + i * n_outputs());
    }
  });
}

template <class T>
void PixelProgram::run(const T* images, std::size_t n_images, T* out, std::size_t n_threads,
                       bool single) const {
  if (single) {
    run_in<float>(*single_, images, n_images, out, n_threads);
  } else {
    run_in<double>(*double_, images, n_images, out, n_threads);
  }
}

template void PixelProgram::run(const float*, std::size_t, float*, std::size_t, bool) const;
template void PixelProgram::run(const double*, std::size_t, double*, std::size_t, bool) const;

} // namespace nkfast
