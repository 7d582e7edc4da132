#include "simd/dispatch.hpp"

#include <cstdlib>
#include <cstring>
#include <stdexcept>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace nkfast {

// Defined by kernels.cpp, once for each level that was built.
namespace base {
extern const Kernels kernels;
}
#if NKFAST_HAVE_AVX2
namespace avx2 {
extern const Kernels kernels;
}
#endif
#if NKFAST_HAVE_AVX512
namespace avx512 {
extern const Kernels kernels;
}
#endif

namespace {

struct Cpu {
  bool v3 = false; // all of x86-64-v3, as -march=x86-64-v3 lets the compiler assume
  bool v4 = false; // all of x86-64-v4
};

#if defined(__x86_64__)

constexpr bool has_all(unsigned reg, unsigned mask) { return (reg & mask) == mask; }

constexpr unsigned bits() { return 0; }
template <class... Rest> constexpr unsigned bits(int first, Rest... rest) {
  return (1U << first) | bits(rest...);
}

// The register state that the operating system saves at a context switch. Written as assembly
// because the compiler's intrinsic needs -mxsave, which is above the baseline.
unsigned long long saved_state() {
  unsigned low = 0;
  unsigned high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<unsigned long long>(high) << 32) | low;
}

// Bit numbers from the Intel manual, volume 2A, CPUID; levels from the x86-64 psABI, section 3.1.1.
Cpu detect() {
  Cpu cpu;
  unsigned a = 0;
  unsigned b1 = 0, c1 = 0, d1 = 0; // leaf 1
  unsigned b7 = 0, c7 = 0, d7 = 0; // leaf 7, subleaf 0
  unsigned bx = 0, cx = 0, dx = 0; // leaf 0x80000001
  if (!__get_cpuid(1, &a, &b1, &c1, &d1) || !__get_cpuid_count(7, 0, &a, &b7, &c7, &d7) ||
      !__get_cpuid(0x80000001U, &a, &bx, &cx, &dx)) {
    return cpu;
  }
  // SSE3, SSSE3, CMPXCHG16B, SSE4.1, SSE4.2, POPCNT; LAHF in 64-bit mode.
  const bool v2 = has_all(c1, bits(0, 9, 13, 19, 20, 23)) && has_all(cx, bits(0));
  // FMA, MOVBE, OSXSAVE, AVX, F16C; BMI1, AVX2, BMI2; LZCNT.
  const bool v3 = v2 && has_all(c1, bits(12, 22, 27, 28, 29)) && has_all(b7, bits(3, 5, 8)) &&
                  has_all(cx, bits(5));
  if (!v3) {
    return cpu; // xgetbv itself needs OSXSAVE
  }
  constexpr unsigned long long kYmm = 0x06; // SSE and AVX state
  constexpr unsigned long long kZmm = 0xe6; // the same, mask registers, both halves of ZMM
  const unsigned long long state = saved_state();
  cpu.v3 = (state & kYmm) == kYmm;
  // AVX512F, AVX512DQ, AVX512CD, AVX512BW, AVX512VL.
  cpu.v4 = cpu.v3 && (state & kZmm) == kZmm && has_all(b7, bits(16, 17, 28, 30, 31));
  return cpu;
}

#else

Cpu detect() { return {}; }

#endif

struct Level {
  const char* name;
  const Kernels* table; // null where the level was not built
  bool runnable;
};

// Every level there is, weakest first.
std::vector<Level> levels() {
  const Cpu cpu = detect();
  std::vector<Level> all{
      {"base", &base::kernels, true}, {"avx2", nullptr, cpu.v3}, {"avx512", nullptr, cpu.v4}};
#if NKFAST_HAVE_AVX2
  all[1].table = &avx2::kernels;
#endif
#if NKFAST_HAVE_AVX512
  all[2].table = &avx512::kernels;
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
