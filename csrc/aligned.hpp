// Memory for the loops: numbers that begin on a cache line.
#pragma once

#include "simd/kernels.hpp"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <new>

namespace nkfast {

// So many numbers, in whole cache lines; it moves, but is not copied.
template <class T> class AlignedBuffer {
public:
  AlignedBuffer() = default;

  // Zeros.
  explicit AlignedBuffer(std::size_t n) : AlignedBuffer(uninitialised(n)) {
    std::fill_n(data(), whole_lines(n), T{0});
  }

  // For those who write before they read.
  static AlignedBuffer uninitialised(std::size_t n) {
    AlignedBuffer buffer;
    if (n > 0) {
      const std::align_val_t line{kLineBytes};
      buffer.data_.reset(static_cast<T*>(::operator new(whole_lines(n) * sizeof(T), line)));
    }
    return buffer;
  }

  T* data() { return data_.get(); } // null if empty
  const T* data() const { return data_.get(); }

private:
  struct Free {
    void operator()(T* p) const { ::operator delete(p, std::align_val_t{kLineBytes}); }
  };
  static constexpr std::size_t whole_lines(std::size_t n) {
    constexpr std::size_t line = kLineBytes / sizeof(T);
    return (n + line - 1) / line * line;
  }

  std::unique_ptr<T[], Free> data_;
};

} // namespace nkfast
