// Numbers for a builder. pybind11 reads sequences item by item, which takes longer than all that is
// done with them: arrays of a fitting type are copied as they are.
#pragma once

#include "bind/arrays.hpp"
#include "bind/builders.hpp"

#include <pybind11/stl.h>

#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

namespace nkfast {

template <class T> struct Given {
  std::vector<T> values{};
};

template <class T> struct Taken {
  using type = T;
  static T&& of(std::remove_reference_t<T>& x) { return static_cast<T&&>(x); }
};
template <class T> struct Taken<std::vector<T>> {
  using type = Given<T>;
  static std::vector<T>&& of(Given<T>& x) { return std::move(x.values); }
};
template <class T> struct Taken<const std::vector<T>&> : Taken<std::vector<T>> {};

template <class T, class From> bool copy_array(py::handle source, std::vector<T>& values) {
  if (!py::isinstance<Array<From>>(source)) {
    return false;
  }
  const auto array = py::reinterpret_borrow<Array<From>>(source);
  if (array.ndim() != 1) {
    return false;
  }
  values.assign(array.data(), array.data() + array.size());
  return true;
}

// A method of a builder that takes numbers, for Python.
template <class Builder, class R, class... Args> auto given(R (Builder::*method)(Args...)) {
  return [method](Turns<Builder>& self, typename Taken<Args>::type... args) -> R {
    return self.take(
        [&](Builder& builder) -> R { return (builder.*method)(Taken<Args>::of(args)...); });
  };
}

} // namespace nkfast

namespace pybind11::detail {

template <class T> struct type_caster<nkfast::Given<T>> {
  using Items = make_caster<std::vector<T>>;
  PYBIND11_TYPE_CASTER(nkfast::Given<T>, Items::name);

  bool load(handle source, bool convert) {
    if (nkfast::copy_array<T, T>(source, value.values)) {
      return true;
    }
    if constexpr (std::is_same_v<T, double>) { // signs
      if (nkfast::copy_array<T, std::int8_t>(source, value.values)) {
        return true;
      }
    }
    Items items;
    if (!items.load(source, convert)) {
      return false;
    }
    value.values = cast_op<std::vector<T>&&>(std::move(items));
    return true;
  }
};

} // namespace pybind11::detail
