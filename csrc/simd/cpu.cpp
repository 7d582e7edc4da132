#include "simd/cpu.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace nkfast {

#if defined(__x86_64__)

namespace {

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

} // namespace

// Bit numbers from the Intel manual, volume 2A, CPUID; levels from the x86-64 psABI, section 3.1.1.
Cpu detect_cpu() {
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

Cpu detect_cpu() { return {}; }

#endif

} // namespace nkfast
