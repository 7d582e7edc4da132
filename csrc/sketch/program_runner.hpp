// One thread's buffers of a SketchProgram, and its steps on one block of rows.
#pragma once

#include "aligned.hpp"
#include "simd/dispatch.hpp"
#include "sketch/program.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

namespace nkfast {

template <class T> class SketchRunner {
public:
  SketchRunner(const SketchParts& program, const Rows<T>& rows, const T* scales,
               const double* weights, T* out)
      : program_(program), loops_(table<T>()), lanes_(static_cast<std::size_t>(loops_.lanes)),
        rows_(rows), scales_(scales), weights_(weights), out_(out) {
    std::size_t total = 0;
    for (std::size_t b = 0; b < program.capacity.size(); ++b) {
      starts_.push_back(total);
      // An odd number of cache lines between buffers keeps them off the same cache sets.
      total += (b == 0 && !loads_input() ? 0 : program.capacity[b]) * lanes_ + 7 * kLineBytes;
    }
    memory_ = AlignedBuffer<T>::uninitialised(total);
    spare_.resize(program.n_outputs);
  }

  // Rows [first, first + count), count <= W.
  void block(std::size_t first, std::size_t count) {
    first_ = first;
    count_ = count;
    for (std::size_t r = 0; r < lanes_; ++r) {
      scale_[r] = scales_ != nullptr && r < count ? scales_[first + r] : T{1};
    }
    if (loads_input()) {
      load_input();
    }
    for (const SketchStep& step : program_.steps) {
      run(step);
    }
  }

private:
  using Op = SketchStep::Op;

  bool loads_input() const { return !rows_.sparse() || program_.dense_input; }
  T* buffer(std::size_t b) { return memory_.data() + starts_[b]; }
  static const T* reals(const SketchStep& step) { return step.reals.template data<T>(); }

  void load_input() {
    T* x = buffer(0);
    const std::size_t d = rows_.n_features;
    if (rows_.sparse()) {
      std::fill(x, x + d * lanes_, T{0});
      for (std::size_t r = 0; r < count_; ++r) {
        for (std::size_t k = rows_.start(first_ + r); k < rows_.start(first_ + r + 1); ++k) {
          x[rows_.column(k) * lanes_ + r] += rows_.data[k] * scale_[r];
        }
      }
      return;
    }
    const T* pointers[kMostLanes];
    for (std::size_t r = 0; r < lanes_; ++r) { // rows past the end: the last one again
      pointers[r] = rows_.data + (first_ + std::min(r, count_ - 1)) * d;
    }
    loops_.load(pointers, d, scale_, x);
  }

  void hash_sparse(const std::int32_t* hash, const T* signs, T* dst) {
    const std::size_t last = std::max<std::size_t>(rows_.start(rows_.n_rows), 1) - 1;
    for (std::size_t r = 0; r < count_; ++r) {
      for (std::size_t k = rows_.start(first_ + r); k < rows_.start(first_ + r + 1); ++k) {
        const std::size_t soon = rows_.column(std::min(k + kAhead, last));
        __builtin_prefetch(hash + soon);
        __builtin_prefetch(signs + soon);
        const std::size_t j = rows_.column(k);
        dst[static_cast<std::size_t>(hash[j]) * lanes_ + r] += rows_.data[k] * scale_[r] * signs[j];
      }
    }
  }

  // The same by codes_.
  void hash_encoded(std::size_t code, T* dst) {
    const std::int32_t* codes = program_.codes.data() + code;
    const std::size_t stride = program_.code_stride;
    const std::size_t last = std::max<std::size_t>(rows_.start(rows_.n_rows), 1) - 1;
    for (std::size_t r = 0; r < count_; ++r) {
      for (std::size_t k = rows_.start(first_ + r); k < rows_.start(first_ + r + 1); ++k) {
        __builtin_prefetch(codes + rows_.column(std::min(k + kAhead, last)) * stride);
        const std::int32_t c = codes[rows_.column(k) * stride];
        const std::int32_t minus = c >> 31;
        const T sign = static_cast<T>(1 | minus);
        dst[static_cast<std::size_t>(c ^ minus) * lanes_ + r] += rows_.data[k] * scale_[r] * sign;
      }
    }
  }

  void emit(const SketchStep& step) {
    alignas(kLineBytes) T factor[kMostLanes];
    if (step.unit) {
      inverse_norms(buffer(step.a), step.n, factor);
    } else {
      std::fill(factor, factor + lanes_, T{1});
    }
    if (step.op == Op::EmitPart) {
      multiply_norms(buffer(step.b), step.first_size, step.first_power, factor);
      multiply_norms(buffer(step.dst), step.second_size, step.second_power, factor);
    }
    T* pointers[kMostLanes];
    for (std::size_t r = 0; r < lanes_; ++r) {
      const std::size_t row = first_ + std::min(r, count_ - 1);
      double weight = step.scale;
      if (step.weight >= 0) {
        weight *= weights_[row * program_.n_weights + static_cast<std::size_t>(step.weight)];
      }
      factor[r] = static_cast<T>(static_cast<double>(factor[r]) * weight);
      pointers[r] = r < count_ ? out_ + row * program_.n_outputs + step.column : spare_.data();
    }
    loops_.store(buffer(step.a), step.n, factor, pointers);
  }

  // out *= |block|^power
  void multiply_norms(const T* block, std::size_t n, std::size_t power, T* out) {
    if (power == 0) {
      return;
    }
    alignas(kLineBytes) T norm[kMostLanes];
    loops_.square_sums(block, n, norm);
    for (std::size_t r = 0; r < lanes_; ++r) {
      const T base = std::sqrt(norm[r]);
      for (std::size_t k = 0; k < power; ++k) {
        out[r] *= base;
      }
    }
  }

  void inverse_norms(const T* block, std::size_t n, T* out) {
    loops_.square_sums(block, n, out);
    for (std::size_t r = 0; r < lanes_; ++r) {
      out[r] = out[r] > 0 ? 1 / std::sqrt(out[r]) : T{0};
    }
  }

  void run(const SketchStep& step) {
    T* dst = buffer(step.dst);
    switch (step.op) {
    case Op::CountSketch:
      std::fill(dst, dst + step.width * lanes_, T{0});
      for (std::size_t k = 0; k < step.repeats; ++k) {
        const std::int32_t* hash = step.i.data() + k * step.n;
        const T* signs = reals(step) + k * step.n;
        if (step.a == 0 && !loads_input()) {
          if (step.code != SketchStep::kNone) {
            hash_encoded(step.code, dst);
          } else {
            hash_sparse(hash, signs, dst);
          }
        } else {
          loops_.count_sketch(buffer(step.a), step.n, hash, signs, dst);
        }
      }
      break;
    case Op::AddConstant:
      for (std::size_t r = 0; r < lanes_; ++r) {
        dst[step.a * lanes_ + r] += static_cast<T>(step.scale);
      }
      break;
    case Op::Hadamard:
      loops_.wht_block(dst, step.n);
      break;
    case Op::Fourier:
      loops_.fft_block(dst, step.n, program_.twiddles.template data<T>(), step.folded);
      break;
    case Op::InverseFourier:
      loops_.ifft_block(dst, step.n, program_.twiddles.template data<T>());
      break;
    case Op::MultiplySpectra:
      loops_.multiply_spectra(dst, buffer(step.a), step.n);
      break;
    case Op::Product:
      loops_.product(buffer(step.a), step.i.data(), buffer(step.b), step.j.data(), step.n,
                     static_cast<T>(step.scale), dst);
      break;
    case Op::WeightedProduct:
      loops_.weighted_product(buffer(step.a), step.i.data(), buffer(step.b), step.j.data(), step.n,
                              reals(step), dst);
      break;
    case Op::Gather:
      loops_.gather(buffer(step.a), step.i.data(), step.n, static_cast<T>(step.scale), dst);
      break;
    case Op::Linear:
      loops_.linear(buffer(step.a), step.n, reals(step), step.width, dst);
      break;
    case Op::Recurrence:
      loops_.recurrence(buffer(step.a), step.n, reals(step), step.width, dst);
      break;
    case Op::One:
      std::fill(dst, dst + lanes_, T{1});
      break;
    case Op::Normalise: {
      alignas(kLineBytes) T factor[kMostLanes];
      inverse_norms(dst, step.n, factor);
      loops_.scale_lanes(dst, step.n, factor);
      break;
    }
    case Op::Emit:
    case Op::EmitPart:
      emit(step);
      break;
    }
  }

  const SketchParts& program_;
  const Table<T>& loops_;
  std::size_t lanes_;
  const Rows<T>& rows_;
  const T* scales_;
  const double* weights_;
  T* out_;
  std::vector<std::size_t> starts_;
  AlignedBuffer<T> memory_;
  std::vector<T> spare_; // where lanes past the last row are written
  alignas(kLineBytes) T scale_[kMostLanes] = {};
  std::size_t first_ = 0;
  std::size_t count_ = 0;
};

} // namespace nkfast
