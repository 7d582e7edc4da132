#include "sketch/program.hpp"

#include "parallel.hpp"
#include "sketch/program_runner.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace nkfast {

template <class T>
void SketchProgram::run(const Rows<T>& rows, const T* scales, const double* weights, T* out,
                        std::size_t n_threads) const {
  if (rows.n_features != parts_.n_features) {
    throw std::invalid_argument("X: expected " + std::to_string(parts_.n_features) +
                                " features, got " + std::to_string(rows.n_features));
  }
  const auto lanes = static_cast<std::size_t>(table<T>().lanes);
  const std::size_t n_blocks = (rows.n_rows + lanes - 1) / lanes;
  // About a nanosecond a number.
  const std::size_t least =
      2 * kLeastNanoseconds / ((parts_.work + parts_.n_features + 1) * lanes) + 1;
  parallel_for(n_blocks, n_threads, least, [&](std::size_t begin, std::size_t end) {
    SketchRunner<T> runner(parts_, rows, scales, weights, out);
    Checkpoint checkpoint(parts_.work * lanes);
    for (std::size_t b = begin; b < end; ++b) {
      checkpoint();
      runner.block(b * lanes, std::min(lanes, rows.n_rows - b * lanes));
    }
  });
}

template void SketchProgram::run(const Rows<float>&, const float*, const double*, float*,
                                 std::size_t) const;
template void SketchProgram::run(const Rows<double>&, const double*, const double*, double*,
                                 std::size_t) const;

} // namespace nkfast
