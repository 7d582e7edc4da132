// One parallel loop for the whole core.
//
// Worker threads stay between calls: they watch for the next one for a tenth of a millisecond,
// which is what calls in a row need, and sleep after that. Handing over work costs a microsecond to
// a thread that watches and some ten to one that sleeps (to a new thread, twice that); so drivers
// choose min_items_per_thread to give each thread at least kLeastNanoseconds of work. A block that
// no worker has begun when the caller is through with its own is the caller's, and so are those of
// threads that the system refuses to start.
#pragma once

#include "interrupt.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <pthread.h>
#include <system_error>
#include <thread>
#include <vector>

namespace nkfast {

// Work that is worth a thread.
constexpr std::size_t kLeastNanoseconds = 20000;

namespace detail {

inline void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// A word that one thread waits on until another changes it.
class Signal {
public:
  void set(std::uint32_t value) {
    word_.store(value, std::memory_order_release);
    word_.notify_one();
  }
  // From one value to another, unless it has changed.
  bool change(std::uint32_t from, std::uint32_t to) {
    return word_.compare_exchange_strong(from, to, std::memory_order_acq_rel);
  }
  bool is(std::uint32_t value) const { return word_.load(std::memory_order_acquire) == value; }
  // Whether it comes within a tenth of a millisecond.
  bool watch(std::uint32_t value) const {
    const auto end = Clock::now() + kWatch;
    do {
      for (int k = 0; k < 64; ++k) {
        if (is(value)) {
          return true;
        }
        relax();
      }
    } while (Clock::now() < end);
    return false;
  }
  void wait_until(std::uint32_t value) const {
    if (watch(value)) {
      return;
    }
    for (std::uint32_t now; (now = word_.load(std::memory_order_acquire)) != value;) {
      word_.wait(now, std::memory_order_acquire);
    }
  }

private:
  using Clock = std::chrono::steady_clock;
  // Longer than it takes to wake a thread, or two that wait for each other would sleep every time.
  static constexpr auto kWatch = std::chrono::microseconds(100);

  std::atomic<std::uint32_t> word_{0};
};

// Waits for the threads of a call: done() tells. Naps take a sixteenth of the time waited so far.
template <class Done> void wait_polling(Interrupt& interrupt, Done done) {
  const auto start = std::chrono::steady_clock::now();
  while (!done()) {
    interrupt.poll();
    const auto waited = std::chrono::steady_clock::now() - start;
    std::this_thread::sleep_for(
        std::min<std::chrono::nanoseconds>(waited / 16, std::chrono::milliseconds(10)));
  }
}

struct alignas(64) Worker {
  enum : std::uint32_t { kIdle, kOffered, kTaken };

  Signal signal;
  void (*call)(void*, std::size_t) = nullptr;
  void* context = nullptr;
  std::size_t block = 0;

  void loop() {
    for (;;) {
      signal.wait_until(kOffered);
      if (!signal.change(kOffered, kTaken)) {
        continue; // the caller was faster
      }
      call(context, block);
      // Numbers written past the caches (Table::stream) are not ordered by the store in set().
      std::atomic_thread_fence(std::memory_order_seq_cst);
      signal.set(kIdle);
    }
  }
};

// The workers of this process. Never destroyed, so that they may sleep through its end.
class ThreadPool {
public:
  // The pool, for one caller at a time: null while another has it, in nested calls too.
  static ThreadPool* acquire() {
    // A forked child has the memory of its parent's pool, but not the threads: it needs its own.
    // (The number of the process does not tell: both may be the first of their namespaces.)
    static const int forks = pthread_atfork(nullptr, nullptr, [] { current_.store(nullptr); });
    ThreadPool* pool = current_.load(std::memory_order_acquire);
    if (pool == nullptr && forks == 0) {
      auto fresh = std::make_unique<ThreadPool>();
      if (current_.compare_exchange_strong(pool, fresh.get(), std::memory_order_acq_rel)) {
        pool = fresh.release();
      }
    }
    return pool == nullptr || pool->busy_.test_and_set(std::memory_order_acquire) ? nullptr : pool;
  }
  void release() { busy_.clear(std::memory_order_release); }

  // Up to so many workers, fewer where the system refuses more threads; returns how many.
  std::size_t grow(std::size_t n_workers) {
    try {
      while (workers_.size() < n_workers) {
        workers_.reserve(workers_.size() + 1);
        auto worker = std::make_unique<Worker>();
        std::thread(&Worker::loop, worker.get()).detach();
        workers_.push_back(std::move(worker));
      }
    } catch (const std::system_error&) {
    }
    return std::min(n_workers, workers_.size());
  }

  // call(context, b) for b = 0..n_blocks - 1, all but the first by workers; grow came before.
  void run(std::size_t n_blocks, void (*call)(void*, std::size_t), void* context) {
    for (std::size_t b = 1; b < n_blocks; ++b) {
      Worker& worker = *workers_[b - 1];
      worker.call = call;
      worker.context = context;
      worker.block = b;
      worker.signal.set(Worker::kOffered);
    }
    call(context, 0);
    // A worker that another program keeps off its core may not even have begun: not waited for.
    for (std::size_t b = n_blocks; --b > 0;) {
      if (workers_[b - 1]->signal.change(Worker::kOffered, Worker::kIdle)) {
        call(context, b);
      }
    }
    Interrupt* interrupt = Interrupt::current();
    for (std::size_t b = 1; b < n_blocks; ++b) {
      const Signal& signal = workers_[b - 1]->signal;
      if (interrupt == nullptr) {
        signal.wait_until(Worker::kIdle);
      } else if (!signal.watch(Worker::kIdle)) {
        wait_polling(*interrupt, [&] { return signal.is(Worker::kIdle); });
      }
    }
  }

private:
  static inline std::atomic<ThreadPool*> current_{nullptr};

  std::vector<std::unique_ptr<Worker>> workers_;
  std::atomic_flag busy_{};
};

// Threads for one call, where the pool is not to be had.
inline std::size_t run_on_new_threads(std::size_t n_blocks, void (*call)(void*, std::size_t),
                                      void* context) {
  std::atomic<std::size_t> running{0};
  std::vector<std::thread> threads;
  threads.reserve(n_blocks - 1);
  try {
    while (threads.size() + 1 < n_blocks) {
      threads.emplace_back([&running, call, context, block = threads.size() + 1] {
        call(context, block);
        running.fetch_sub(1, std::memory_order_release);
      });
      running.fetch_add(1, std::memory_order_relaxed);
    }
  } catch (const std::system_error&) {
  }
  call(context, 0);
  if (Interrupt* interrupt = Interrupt::current(); interrupt != nullptr) {
    wait_polling(*interrupt, [&] { return running.load(std::memory_order_acquire) == 0; });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  return threads.size() + 1;
}

// call(context, b) for b = 0..n_blocks - 1, each on a thread of its own as far as there are any.
inline void run_blocks(std::size_t n_blocks, void (*call)(void*, std::size_t), void* context) {
  constexpr std::size_t kMostWorkers = 255;
  ThreadPool* pool = n_blocks <= kMostWorkers + 1 ? ThreadPool::acquire() : nullptr;
  std::size_t done;
  if (pool != nullptr) {
    struct Release {
      ThreadPool* pool;
      ~Release() { pool->release(); }
    } const guard{pool};
    done = pool->grow(n_blocks - 1) + 1;
    pool->run(done, call, context);
  } else {
    done = run_on_new_threads(n_blocks, call, context);
  }
  for (std::size_t b = done; b < n_blocks; ++b) {
    call(context, b);
  }
}

} // namespace detail

// Calls f(begin, end) on contiguous blocks that cover [0, n_items) once each; the calling thread
// takes the first. Uses at most n_threads threads, and fewer where a block would hold under
// min_items_per_thread items. The blocks depend on the number of threads, so f must give item i the
// same value in whatever block it falls. If f throws, the exception of the first such block is
// rethrown here once all threads have ended; that of an interrupt comes before all others.
template <class F>
void parallel_for(std::size_t n_items, std::size_t n_threads, std::size_t min_items_per_thread,
                  F&& f) {
  if (n_items == 0) {
    return;
  }
  const std::size_t enough = n_items / std::max<std::size_t>(min_items_per_thread, 1);
  const std::size_t n_blocks =
      std::clamp<std::size_t>(enough, 1, std::max<std::size_t>(n_threads, 1));
  if (n_blocks == 1) {
    f(std::size_t{0}, n_items);
    return;
  }

  // The first n_items % n_blocks blocks are one item longer.
  const auto start = [&](std::size_t block) {
    return block * (n_items / n_blocks) + std::min(block, n_items % n_blocks);
  };
  Interrupt* interrupt = Interrupt::current();
  std::vector<std::exception_ptr> errors(n_blocks);
  auto run = [&](std::size_t block) noexcept {
    const Interrupt::Share share(interrupt);
    try {
      f(start(block), start(block + 1));
    } catch (...) {
      errors[block] = std::current_exception();
    }
  };
  using Run = decltype(run);
  detail::run_blocks(
      n_blocks, [](void* context, std::size_t block) { (*static_cast<Run*>(context))(block); },
      &run);
  if (interrupt != nullptr) {
    interrupt->rethrow();
  }
  for (const std::exception_ptr& error : errors) {
    if (error) {
      std::rethrow_exception(error);
    }
  }
}

} // namespace nkfast
