// The table of hot loops: one per instruction set, filled by kernels.cpp, chosen by dispatch.cpp.
//
// Loops take plain pointers and sizes. They allocate nothing, throw nothing and never see Python.
#pragma once

#include <cstddef>

namespace nkfast {

template <class T> struct Table {
  // Width W of a lane block: the number of rows that one vector operation works on.
  int lanes;

  // x[i] *= a for i < n; x needs no alignment beyond that of T.
  void (*scale)(T* x, std::size_t n, T a);
};

struct Kernels {
  Table<float> f32;
  Table<double> f64;
};

} // namespace nkfast
