// A wish to end a call early, such as Ctrl-C, that reaches all of its loops on all threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <exception>

namespace nkfast {

// Ends the work of a thread; the caller gets the exception of the look instead.
struct Interrupted : std::exception {
  const char* what() const noexcept override { return "interrupted"; }
};

// One for each call that may be interrupted, on the stack of the thread that makes it.
class Interrupt {
public:
  // look is called by that thread now and then, and throws where the call is to end.
  explicit Interrupt(void (*look)()) : look_(look) { current_ = this; }
  ~Interrupt() { current_ = outer_; }
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  // That of the call which this thread works for; null: none.
  static Interrupt* current() { return current_; }

  // Throws if the call is to end.
  void check() {
    if (owns()) {
      poll();
      rethrow();
    } else if (stopped_.load(std::memory_order_relaxed)) {
      throw Interrupted();
    }
  }

  // Without throwing; only the thread that makes the call does it.
  void poll() noexcept {
    const auto now = Clock::now();
    if (now < next_ || stopped_.load(std::memory_order_relaxed)) {
      return;
    }
    next_ = now + kPause;
    try {
      look_();
    } catch (...) {
      error_ = std::current_exception();
      stopped_.store(true, std::memory_order_release);
    }
  }

  // Throws what the look threw, if it did.
  void rethrow() const {
    if (stopped_.load(std::memory_order_acquire)) {
      std::rethrow_exception(error_);
    }
  }

  // A thread works for the call as long as this lives.
  class Share {
  public:
    explicit Share(Interrupt* interrupt) : before_(current_) { current_ = interrupt; }
    ~Share() { current_ = before_; }
    Share(const Share&) = delete;
    Share& operator=(const Share&) = delete;

  private:
    Interrupt* before_;
  };

private:
  using Clock = std::chrono::steady_clock;
  static constexpr auto kPause = std::chrono::milliseconds(50);

  bool owns() const { return owner_ == &current_; }

  static inline thread_local Interrupt* current_ = nullptr;

  void (*look_)();
  Interrupt* outer_ = current_;
  Interrupt* const* owner_ = &current_; // each thread has its own
  Clock::time_point next_ = Clock::now() + kPause;
  std::atomic<bool> stopped_{false};
  std::exception_ptr error_;
};

// Called once for each item of a loop, it looks for an interrupt every 20 microseconds or so.
class Checkpoint {
public:
  explicit Checkpoint(std::size_t nanoseconds) // that an item takes
      : interrupt_(Interrupt::current()), every_(20000 / (nanoseconds + 1) + 1) {}

  void operator()() {
    if (interrupt_ != nullptr && ++items_ >= every_) {
      items_ = 0;
      interrupt_->check();
    }
  }

private:
  Interrupt* interrupt_;
  std::size_t every_;
  std::size_t items_ = 0;
};

} // namespace nkfast
