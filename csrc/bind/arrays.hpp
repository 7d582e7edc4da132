// NumPy arrays as the bindings take them, and rows made of them.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include "sketch/rows.hpp"

#include <initializer_list>
#include <stdexcept>
#include <string>

namespace nkfast {

namespace py = pybind11;

// An aligned array in C order. pybind11's own would take an unaligned one for what it is not.
inline constexpr int kPlain = static_cast<int>(py::array::c_style) |
                              static_cast<int>(py::detail::npy_api::NPY_ARRAY_ALIGNED_);
template <class T> class Array : public py::array_t<T, kPlain> {
  using Base = py::array_t<T, kPlain>;

public:
  using Base::Base;

  static bool check_(py::handle h) {
    return Base::check_(h) && (py::reinterpret_borrow<py::array>(h).flags() &
                               py::detail::npy_api::NPY_ARRAY_ALIGNED_) != 0;
  }
  static Array ensure(py::handle h) {
    return py::reinterpret_steal<Array>(Base::ensure(h).release());
  }
};

// What could corrupt memory is checked here; what merely is wrong, in Python.
inline void check_shape(const py::array& array, std::initializer_list<py::ssize_t> shape,
                        const char* name) {
  bool fits = array.ndim() == static_cast<py::ssize_t>(shape.size());
  std::string expected, got;
  for (py::ssize_t i = 0; i < static_cast<py::ssize_t>(shape.size()); ++i) {
    fits = fits && array.shape(i) == shape.begin()[i];
    expected += (i > 0 ? ", " : "") + std::to_string(shape.begin()[i]);
  }
  for (py::ssize_t i = 0; i < array.ndim(); ++i) {
    got += (i > 0 ? ", " : "") + std::to_string(array.shape(i));
  }
  if (!fits) {
    throw std::invalid_argument(std::string(name) + ": expected shape (" + expected + "), got (" +
                                got + ")");
  }
}

template <class T> Rows<T> dense_rows(const Array<T>& x) {
  if (x.ndim() != 2) {
    throw std::invalid_argument("X: expected a 2-D array, got " + std::to_string(x.ndim()) + "-D");
  }
  Rows<T> rows;
  rows.n_rows = static_cast<std::size_t>(x.shape(0));
  rows.n_features = static_cast<std::size_t>(x.shape(1));
  rows.data = x.data();
  return rows;
}

template <class T, class I>
Rows<T> sparse_rows(const Array<T>& data, const Array<I>& indices, const Array<I>& starts,
                    std::size_t n_features) {
  const py::ssize_t stored = std::min(data.size(), indices.size());
  bool sound = data.ndim() == 1 && indices.ndim() == 1 && starts.ndim() == 1 && starts.size() > 0 &&
               starts.at(0) == 0;
  if (sound) {
    const I* start = starts.data();
    for (py::ssize_t i = 0; i + 1 < starts.size(); ++i) {
      sound = sound && start[i] <= start[i + 1];
    }
    sound = sound && start[starts.size() - 1] <= stored;
  }
  if (sound) {
    const I* index = indices.data();
    const I used = starts.data()[starts.size() - 1];
    for (I k = 0; k < used; ++k) {
      sound = sound && index[k] >= 0 && static_cast<std::size_t>(index[k]) < n_features;
    }
  }
  if (!sound) {
    throw std::invalid_argument("X: expected a sound CSR matrix, got row starts that decrease or "
                                "pass the end, or column indices out of range");
  }
  Rows<T> rows;
  rows.n_rows = static_cast<std::size_t>(starts.size() - 1);
  rows.n_features = n_features;
  rows.data = data.data();
  if constexpr (sizeof(I) == 4) {
    rows.indices32 = indices.data();
    rows.starts32 = starts.data();
  } else {
    rows.indices64 = indices.data();
    rows.starts64 = starts.data();
  }
  return rows;
}

} // namespace nkfast

template <class T> struct pybind11::detail::pyobject_caster<nkfast::Array<T>> {
  using type = nkfast::Array<T>;

  bool load(handle src, bool convert) {
    if (!convert && !type::check_(src)) {
      return false;
    }
    value = type::ensure(src);
    return static_cast<bool>(value);
  }
  static handle cast(const handle& src, return_value_policy, handle) { return src.inc_ref(); }
  PYBIND11_TYPE_CASTER(type, handle_type_name<array_t<T>>::name);
};
