// Shuffles of vectors: indices known at compile time.

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

// -1 in the lanes whose index has bit H set, +1 in the others.
template <int H, class V, int... I> inline V lane_signs(Indices<I...>) {
  return V{((I & H) ? -1 : 1)...};
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
