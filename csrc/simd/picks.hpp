// Choices among the lanes of two vectors; as ops.hpp is, included by pixels.cpp only.
#pragma once

#include "simd/ops.hpp"

#include <cstdint>

namespace nkfast::NKFAST_LEVEL {
namespace {

// Numbers pick[i] of the 2 W at a and at b, zero where pick[i] is negative.
template <class T> struct Pick {
  const std::int32_t* pick;

  explicit Pick(const std::int32_t* indices) : pick(indices) {}

  Vec<T> operator()(const T* a, const T* b) const {
    constexpr int W = kLanes<T>;
    Vec<T> found{};
    for (int i = 0; i < W; ++i) {
      if (pick[i] >= 0) {
        found[i] = pick[i] < W ? a[pick[i]] : b[pick[i] - W];
      }
    }
    return found;
  }
};
#if NKFAST_AVX512
template <> struct Pick<float> {
  __m512i indices;
  __mmask16 there;

  explicit Pick(const std::int32_t* x)
      : indices(_mm512_loadu_si512(x)), there(_mm512_movepi32_mask(~indices)) {}

  Vec<float> operator()(const float* a, const float* b) const {
    return (Vec<float>)_mm512_maskz_permutex2var_ps(there, _mm512_loadu_ps(a), indices,
                                                    _mm512_loadu_ps(b));
  }
};
#elif NKFAST_AVX2
template <> struct Pick<float> {
  __m256i indices, there;
  __m256 second;

  explicit Pick(const std::int32_t* x)
      : indices(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x))),
        there(~_mm256_srai_epi32(indices, 31)),
        second(_mm256_castsi256_ps(_mm256_slli_epi32(indices, 28))) {} // the bit of W as the sign

  Vec<float> operator()(const float* a, const float* b) const {
    const __m256 found = _mm256_blendv_ps(_mm256_permutevar8x32_ps(_mm256_loadu_ps(a), indices),
                                          _mm256_permutevar8x32_ps(_mm256_loadu_ps(b), indices),
                                          second);
    return (Vec<float>)_mm256_and_ps(found, _mm256_castsi256_ps(there));
  }
};
#endif

} // namespace
} // namespace nkfast::NKFAST_LEVEL
