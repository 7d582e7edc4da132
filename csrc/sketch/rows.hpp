// A batch of rows, dense or CSR, as C++ sees it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nkfast {

// How many nonzeros ahead the hashes of a feature are fetched: tables of many features are not in
// the caches.
constexpr std::size_t kAhead = 16;

template <class T> struct Rows {
  std::size_t n_rows = 0;
  std::size_t n_features = 0;
  const T* data = nullptr;                 // dense: row-major; CSR: the stored values
  const std::int32_t* indices32 = nullptr; // CSR: one of the two index types
  const std::int64_t* indices64 = nullptr;
  const std::int32_t* starts32 = nullptr; // CSR: one of the two types of row starts
  const std::int64_t* starts64 = nullptr;

  bool sparse() const { return starts32 != nullptr || starts64 != nullptr; }
  std::size_t start(std::size_t row) const {
    return static_cast<std::size_t>(starts32 != nullptr ? starts32[row] : starts64[row]);
  }
  std::size_t column(std::size_t k) const {
    return static_cast<std::size_t>(indices32 != nullptr ? indices32[k] : indices64[k]);
  }
};

} // namespace nkfast
