// Vectors of NKFAST_VECTOR_BYTES and the few operations on them that the language lacks.

template <class T> constexpr int kLanes = NKFAST_VECTOR_BYTES / static_cast<int>(sizeof(T));

// A vector of kLanes<T> numbers; Unaligned is the same vector behind a pointer to any T.
template <class T> struct Lanes {
  typedef T Vector __attribute__((vector_size(NKFAST_VECTOR_BYTES), may_alias));
  typedef T Unaligned
      __attribute__((vector_size(NKFAST_VECTOR_BYTES), aligned(alignof(T)), may_alias));
};
template <class T> using Vec = typename Lanes<T>::Vector;

template <class T> inline Vec<T> load_any(const T* x) {
  return *reinterpret_cast<const typename Lanes<T>::Unaligned*>(x);
}
template <class T> inline void store_any(T* x, Vec<T> v) {
  *reinterpret_cast<typename Lanes<T>::Unaligned*>(x) = v;
}
template <class T> inline Vec<T> splat(T a) { return Vec<T>{} + a; }

template <int... I> struct Indices {};
template <int N, int... I> struct Count : Count<N - 1, N - 1, I...> {};
template <int... I> struct Count<0, I...> {
  using type = Indices<I...>;
};
template <class T> using LaneIndices = typename Count<kLanes<T>>::type;

// Lane i of the result is lane i ^ H of v.
template <int H, class V, int... I> inline V swap_lanes(V v, Indices<I...>) {
  return __builtin_shufflevector(v, v, (I ^ H)...);
}

// The lanes of even index of a and then of b.
template <class T, class V, int... I> inline V every_other(V a, V b, Indices<I...>) {
  return __builtin_shufflevector(a, b, (2 * I)...);
}

// -1 in the lanes whose index has bit H set, +1 in the others.
template <int H, class V, int... I> inline V lane_signs(Indices<I...>) {
  return V{((I & H) ? -1 : 1)...};
}

// s * v + t for s = +-1 in every lane: exact, so fused or not the bits are the same.
inline Vec<float> flip_add(Vec<float> v, Vec<float> s, Vec<float> t) {
#if defined(__AVX512F__) && NKFAST_VECTOR_BYTES == 64
  return (Vec<float>)_mm512_fmadd_ps((__m512)v, (__m512)s, (__m512)t);
#elif defined(__FMA__) && NKFAST_VECTOR_BYTES == 32
  return (Vec<float>)_mm256_fmadd_ps((__m256)v, (__m256)s, (__m256)t);
#else
  return v * s + t;
#endif
}
inline Vec<double> flip_add(Vec<double> v, Vec<double> s, Vec<double> t) {
#if defined(__AVX512F__) && NKFAST_VECTOR_BYTES == 64
  return (Vec<double>)_mm512_fmadd_pd((__m512d)v, (__m512d)s, (__m512d)t);
#elif defined(__FMA__) && NKFAST_VECTOR_BYTES == 32
  return (Vec<double>)_mm256_fmadd_pd((__m256d)v, (__m256d)s, (__m256d)t);
#else
  return v * s + t;
#endif
}

// The half vector at x, twice.
inline Vec<float> load_twice(const float* x) {
#if defined(__AVX512F__) && NKFAST_VECTOR_BYTES == 64
  return (Vec<float>)_mm512_broadcast_f32x8(_mm256_loadu_ps(x));
#elif defined(__AVX2__) && NKFAST_VECTOR_BYTES == 32
  return (Vec<float>)_mm256_broadcast_ps(reinterpret_cast<const __m128*>(x));
#else
  return Vec<float>{x[0], x[1], x[0], x[1]};
#endif
}
inline Vec<double> load_twice(const double* x) {
#if defined(__AVX512F__) && NKFAST_VECTOR_BYTES == 64
  return (Vec<double>)_mm512_broadcast_f64x4(_mm256_loadu_pd(x));
#elif defined(__AVX2__) && NKFAST_VECTOR_BYTES == 32
  return (Vec<double>)_mm256_broadcast_pd(reinterpret_cast<const __m128d*>(x));
#else
  return Vec<double>{x[0], x[0]};
#endif
}

// Swaps the lanes of a whose index has bit H set with those of b that have it clear.
template <int H, class V, int... I> inline void exchange(V& a, V& b, Indices<I...>) {
  constexpr int n = sizeof...(I);
  const V low = __builtin_shufflevector(a, b, ((I & H) ? n + (I ^ H) : I)...);
  b = __builtin_shufflevector(a, b, ((I & H) ? n + I : I ^ H)...);
  a = low;
}

// Transposes a square of W vectors: bit by bit, row and column index trade places.
template <class T, int H = kLanes<T> / 2> inline void transpose(Vec<T> (&v)[kLanes<T>]) {
#pragma GCC unroll 16
  for (int i = 0; i < kLanes<T>; ++i) {
    if ((i & H) == 0) {
      exchange<H>(v[i], v[i + H], LaneIndices<T>{});
    }
  }
  if constexpr (H > 1) {
    transpose<T, H / 2>(v);
  }
}
