// Builders as Python holds them.
#pragma once

#include <mutex>
#include <utility>

namespace nkfast {

// A builder changes with every call, and without the GIL nothing else would keep two threads that
// share one apart: they take turns.
template <class Builder> class Turns {
public:
  template <class... Args> explicit Turns(Args&&... args) : builder_(std::forward<Args>(args)...) {}

  template <class F> decltype(auto) take(F f) {
    const std::lock_guard turn(mutex_);
    return f(builder_);
  }

private:
  std::mutex mutex_;
  Builder builder_;
};

// A method of a builder, for Python.
template <class Builder, class R, class... Args> auto in_turn(R (Builder::*method)(Args...)) {
  return [method](Turns<Builder>& self, Args... args) -> R {
    return self.take(
        [&](Builder& builder) -> R { return (builder.*method)(std::forward<Args>(args)...); });
  };
}

} // namespace nkfast
