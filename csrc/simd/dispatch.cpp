#include "simd/dispatch.hpp"

#include "simd/cpu.hpp"

#include <cstdlib>
#include <cstring>
#include <stdexcept>

namespace nkfast {

// Defined by kernels.cpp and pixels.cpp, once for each level that was built.
namespace base {
extern const Kernels kernels;
extern const PixelKernels pixel_kernels;
} // namespace base
#if NKFAST_HAVE_AVX2
namespace avx2 {
extern const Kernels kernels;
extern const PixelKernels pixel_kernels;
} // namespace avx2
#endif
#if NKFAST_HAVE_AVX512
namespace avx512 {
extern const Kernels kernels;
extern const PixelKernels pixel_kernels;
} // namespace avx512
#endif

namespace {

struct Level {
  const char* name;
  const Kernels* table; // null where the level was not built
  const PixelKernels* pixels;
  bool runnable;
};

// Every level there is, weakest first.
std::vector<Level> levels() {
  const Cpu cpu = detect_cpu();
  std::vector<Level> all{{"base", &base::kernels, &base::pixel_kernels, true},
                         {"avx2", nullptr, nullptr, cpu.v3},
                         {"avx512", nullptr, nullptr, cpu.v4}};
#if NKFAST_HAVE_AVX2
  all[1].table = &avx2::kernels;
  all[1].pixels = &avx2::pixel_kernels;
#endif
#if NKFAST_HAVE_AVX512
  all[2].table = &avx512::kernels;
  all[2].pixels = &avx512::pixel_kernels;
#endif
  for (Level& level : all) {
    level.runnable = level.runnable && level.table != nullptr;
  }
  return all;
}

std::runtime_error refusal(const std::string& given, const std::string& why) {
  std::string list;
  for (const std::string& name : runnable_levels()) {
    list += (list.empty() ? "" : ", ") + name;
  }
  return std::runtime_error("environment variable NKFAST_SIMD: expected one of the levels that can "
                            "run here (" +
                            list + "), got '" + given + "', " + why);
}

Level choose() {
  const std::vector<Level> all = levels();
  const char* wish = std::getenv("NKFAST_SIMD");
  if (wish == nullptr || *wish == '\0') {
    const Level* best = &all.front();
    for (const Level& level : all) {
      best = level.runnable ? &level : best;
    }
    return *best;
  }
  for (const Level& level : all) {
    if (std::strcmp(level.name, wish) != 0) {
      continue;
    }
    if (level.runnable) {
      return level;
    }
    throw refusal(wish, level.table == nullptr ? "which this build of nkfast does not contain"
                                               : "which this CPU or operating system cannot run");
  }
  throw refusal(wish, "which is no level that nkfast knows (base, avx2, avx512)");
}

const Level& chosen() {
  static const Level level = choose();
  return level;
}

} // namespace

const Kernels& kernels() { return *chosen().table; }

const PixelKernels& pixel_kernels() { return *chosen().pixels; }

const char* level_name() { return chosen().name; }

std::vector<std::string> runnable_levels() {
  std::vector<std::string> names;
  for (const Level& level : levels()) {
    if (level.runnable) {
      names.emplace_back(level.name);
    }
  }
  return names;
}

} // namespace nkfast
