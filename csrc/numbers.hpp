// Lists of numbers as Python hands them over.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

namespace nkfast {

using Ints = std::vector<std::int32_t>;
using Reals = std::vector<double>;

// Numbers in both precisions, converted once.
class Values {
public:
  Values() = default;
  explicit Values(Reals values)
      : single_(values.begin(), values.end()), double_(std::move(values)) {}

  std::size_t size() const { return double_.size(); }
  const Reals& reals() const { return double_; }
  template <class T> const T* data() const {
    if constexpr (std::is_same_v<T, float>) {
      return single_.data();
    } else {
      static_assert(std::is_same_v<T, double>);
      return double_.data();
    }
  }

private:
  std::vector<float> single_{};
  Reals double_{};
};

} // namespace nkfast
