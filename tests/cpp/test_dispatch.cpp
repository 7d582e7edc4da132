// The choice of level on a CPU that has the features named as arguments ("v3", "v4"): prints the
// level in use and the runnable ones, or the refusal.
#include "simd/cpu.hpp"
#include "simd/dispatch.hpp"

#include <cstdio>
#include <exception>
#include <string>

namespace nkfast {

namespace base {
extern const Kernels kernels;
extern const PixelKernels pixel_kernels;
const Kernels kernels{};
const PixelKernels pixel_kernels{};
} // namespace base
namespace avx2 {
extern const Kernels kernels;
extern const PixelKernels pixel_kernels;
const Kernels kernels{};
const PixelKernels pixel_kernels{};
} // namespace avx2
namespace avx512 {
extern const Kernels kernels;
extern const PixelKernels pixel_kernels;
const Kernels kernels{};
const PixelKernels pixel_kernels{};
} // namespace avx512

namespace {
Cpu cpu;
}

Cpu detect_cpu() { return cpu; }

} // namespace nkfast

int main(int count, char** arguments) {
  for (int i = 1; i < count; ++i) {
    nkfast::cpu.v3 = nkfast::cpu.v3 || std::string(arguments[i]) == "v3";
    nkfast::cpu.v4 = nkfast::cpu.v4 || std::string(arguments[i]) == "v4";
  }
  try {
    const bool right = &nkfast::kernels() ==
                       (nkfast::level_name() == std::string("base")   ? &nkfast::base::kernels
                        : nkfast::level_name() == std::string("avx2") ? &nkfast::avx2::kernels
                                                                      : &nkfast::avx512::kernels);
    std::printf("%s\n", right ? nkfast::level_name() : "name and table disagree");
    for (const std::string& name : nkfast::runnable_levels()) {
      std::printf("%s\n", name.c_str());
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
