// What the builders of all programs have in common.
#pragma once

#include <stdexcept>

namespace nkfast {

// A builder takes calls until it has handed over its program.
class Builder {
protected:
  void check_open() const {
    if (finished_) {
      throw std::invalid_argument("builder: expected no call after finish");
    }
  }
  void close() { finished_ = true; }

private:
  bool finished_ = false;
};

} // namespace nkfast
