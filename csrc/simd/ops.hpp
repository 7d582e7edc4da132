// What differs from one instruction set to the next: the vectors, and every operation that is an
// instruction of the CPU rather than of the language. No other file of the loops asks which
// instruction set it is compiled for.
//
// Included by kernels.cpp and pixels.cpp only, which say why all of it is in an anonymous
// namespace. NEON comes without a level of its own, as `base` on aarch64: those branches have not
// been run yet.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__SSE2__)
#include <immintrin.h> // always-inline functions only: no symbol can leak into the baseline
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#if NKFAST_VECTOR_BYTES == 64 && defined(__AVX512F__)
#define NKFAST_AVX512 1
#elif NKFAST_VECTOR_BYTES == 32 && defined(__AVX2__) && defined(__FMA__)
#define NKFAST_AVX2 1
#elif NKFAST_VECTOR_BYTES == 16 && defined(__SSE2__)
#define NKFAST_SSE2 1
#elif NKFAST_VECTOR_BYTES == 16 && defined(__aarch64__)
#define NKFAST_NEON 1
#endif

namespace nkfast::NKFAST_LEVEL {
namespace {

// --- vectors ---

template <class T> constexpr int kLanes = NKFAST_VECTOR_BYTES / static_cast<int>(sizeof(T));

// Vector registers, which bound how many accumulators a loop may have.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kRegisters = 32;
#else
constexpr int kRegisters = 16;
#endif

// A vector of kLanes<T> numbers; Unaligned is the same vector behind a pointer to any T.
template <class T> struct Lanes {
  typedef T Vector __attribute__((vector_size(NKFAST_VECTOR_BYTES), may_alias));
  typedef T Unaligned
      __attribute__((vector_size(NKFAST_VECTOR_BYTES), aligned(alignof(T)), may_alias));
};
template <class T> using Vec = typename Lanes<T>::Vector;
template <class T> using MaskOf = decltype(Vec<T>{} < Vec<T>{});

template <class T> inline Vec<T> load_any(const T* x) {
  return *reinterpret_cast<const typename Lanes<T>::Unaligned*>(x);
}
template <class T> inline void store_any(T* x, Vec<T> v) {
  *reinterpret_cast<typename Lanes<T>::Unaligned*>(x) = v;
}
// Less zero, not plus zero, which would be an addition: -0 + 0 is not -0.
template <class T> inline Vec<T> splat(T a) { return a - Vec<T>{}; }

// --- arithmetic ---

// a b + c, rounded once where the CPU can, so that the levels differ in the last bits.
inline Vec<double> fused(Vec<double> a, Vec<double> b, Vec<double> c) {
#if NKFAST_AVX512
  return (Vec<double>)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif NKFAST_AVX2
  return (Vec<double>)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#elif NKFAST_NEON
  return (Vec<double>)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
#else
  return a * b + c;
#endif
}
inline Vec<float> fused(Vec<float> a, Vec<float> b, Vec<float> c) {
#if NKFAST_AVX512
  return (Vec<float>)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif NKFAST_AVX2
  return (Vec<float>)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif NKFAST_NEON
  return (Vec<float>)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
  return a * b + c;
#endif
}

// The square root, correctly rounded.
inline Vec<double> root(Vec<double> x) {
#if NKFAST_AVX512
  return (Vec<double>)_mm512_sqrt_pd((__m512d)x);
#elif NKFAST_AVX2
  return (Vec<double>)_mm256_sqrt_pd((__m256d)x);
#elif NKFAST_SSE2
  return (Vec<double>)_mm_sqrt_pd((__m128d)x);
#elif NKFAST_NEON
  return (Vec<double>)vsqrtq_f64((float64x2_t)x);
#else
  for (int i = 0; i < kLanes<double>; ++i) {
    x[i] = __builtin_sqrt(x[i]);
  }
  return x;
#endif
}
inline Vec<float> root(Vec<float> x) {
#if NKFAST_AVX512
  return (Vec<float>)_mm512_sqrt_ps((__m512)x);
#elif NKFAST_AVX2
  return (Vec<float>)_mm256_sqrt_ps((__m256)x);
#elif NKFAST_SSE2
  return (Vec<float>)_mm_sqrt_ps((__m128)x);
#elif NKFAST_NEON
  return (Vec<float>)vsqrtq_f32((float32x4_t)x);
#else
  for (int i = 0; i < kLanes<float>; ++i) {
    x[i] = __builtin_sqrtf(x[i]);
  }
  return x;
#endif
}

// Where x > limit, and a there and b elsewhere. One test may serve several choices: made of
// comparisons and picks, GCC would compare once for each.
#if NKFAST_AVX512
using Choice = __mmask16;
inline Choice above(Vec<float> x, float limit) {
  return _mm512_cmp_ps_mask((__m512)x, _mm512_set1_ps(limit), _CMP_GT_OQ);
}
inline Vec<float> choose(Choice where, Vec<float> a, Vec<float> b) {
  return (Vec<float>)_mm512_mask_blend_ps(where, (__m512)b, (__m512)a);
}
#else
using Choice = MaskOf<float>;
inline Choice above(Vec<float> x, float limit) { return x > limit; }
inline Vec<float> choose(Choice where, Vec<float> a, Vec<float> b) { return where ? a : b; }
#endif

// --- memory ---

// The half vector at x, twice.
inline Vec<float> load_twice(const float* x) {
#if NKFAST_AVX512
  return (Vec<float>)_mm512_broadcast_f32x8(_mm256_loadu_ps(x));
#elif NKFAST_AVX2
  return (Vec<float>)_mm256_broadcast_ps(reinterpret_cast<const __m128*>(x));
#else
  return Vec<float>{x[0], x[1], x[0], x[1]};
#endif
}
inline Vec<double> load_twice(const double* x) {
#if NKFAST_AVX512
  return (Vec<double>)_mm512_broadcast_f64x4(_mm256_loadu_pd(x));
#elif NKFAST_AVX2
  return (Vec<double>)_mm256_broadcast_pd(reinterpret_cast<const __m128d*>(x));
#else
  return Vec<double>{x[0], x[0]};
#endif
}

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
    const __m256 found =
        _mm256_blendv_ps(_mm256_permutevar8x32_ps(_mm256_loadu_ps(a), indices),
                         _mm256_permutevar8x32_ps(_mm256_loadu_ps(b), indices), second);
    return (Vec<float>)_mm256_and_ps(found, _mm256_castsi256_ps(there));
  }
};
#endif

// Whether stream_vector goes past the caches.
#if defined(__SSE2__)
constexpr bool kStreams = true;
#else
constexpr bool kStreams = false;
#endif

// Stores v past the caches, where there is such a store; dst is aligned to the vector.
template <class T> inline void stream_vector(T* dst, Vec<T> v) {
#if NKFAST_AVX512
  _mm512_stream_si512(reinterpret_cast<__m512i*>(dst), (__m512i)v);
#elif NKFAST_AVX2
  _mm256_stream_si256(reinterpret_cast<__m256i*>(dst), (__m256i)v);
#elif NKFAST_SSE2
  _mm_stream_si128(reinterpret_cast<__m128i*>(dst), (__m128i)v);
#else
  store_any(dst, v);
#endif
}

} // namespace
} // namespace nkfast::NKFAST_LEVEL
