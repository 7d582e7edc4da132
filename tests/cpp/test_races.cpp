// Several threads at once: calls of the pool, nested and of their own, exceptions, forks,
// interrupts.
//
// Compiled with a thread sanitizer by `make sanitize`: the pool is one caller's at a time, and what
// a block writes is there when parallel_for returns.
#include "parallel.hpp"

#include <cstdio>
#include <stdexcept>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

std::atomic<int> failures{0};

void check(bool holds, const char* what) {
  if (!holds) {
    std::printf("failed: %s\n", what);
    ++failures;
  }
}

// Plain numbers, written by whatever thread and read by the caller.
void writes_are_there_afterwards(std::size_t n_threads) {
  std::vector<std::size_t> squares(500);
  nkfast::parallel_for(squares.size(), n_threads, 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      squares[i] = i * i;
    }
  });
  bool right = true;
  for (std::size_t i = 0; i < squares.size(); ++i) {
    right = right && squares[i] == i * i;
  }
  check(right, "what blocks have written");
}

void nests(std::size_t n_threads) {
  std::vector<std::size_t> sums(8);
  nkfast::parallel_for(8, n_threads, 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      std::vector<std::size_t> inner(40);
      nkfast::parallel_for(40, n_threads, 1, [&](std::size_t first, std::size_t last) {
        for (std::size_t j = first; j < last; ++j) {
          inner[j] = i;
        }
      });
      for (const std::size_t value : inner) {
        sums[i] += value;
      }
    }
  });
  for (std::size_t i = 0; i < sums.size(); ++i) {
    check(sums[i] == 40 * i, "nested calls");
  }
}

void throws(std::size_t n_threads) {
  for (const std::size_t bad : {0, 50, 99}) {
    std::string caught;
    try {
      nkfast::parallel_for(100, n_threads, 1, [&](std::size_t begin, std::size_t end) {
        if (begin <= bad && bad < end) {
          throw std::invalid_argument("bad item");
        }
      });
    } catch (const std::invalid_argument& error) {
      caught = error.what();
    }
    check(caught == "bad item", "an exception reaches its caller");
  }
}

void is_interrupted(std::size_t n_threads) {
  std::string caught;
  try {
    nkfast::Interrupt interrupt([] { throw std::runtime_error("Ctrl-C"); });
    nkfast::parallel_for(n_threads, n_threads, 1, [&](std::size_t, std::size_t) {
      nkfast::Checkpoint checkpoint(1000000);
      for (int i = 0; i < 10000; ++i) {
        checkpoint();
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    });
  } catch (const std::runtime_error& error) {
    caught = error.what();
  }
  check(caught == "Ctrl-C", "an interrupt ends its own call");
}

void forks() {
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    writes_are_there_afterwards(4);
    nests(3);
    _exit(failures == 0 ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  check(status == 0, "a forked child");
}

} // namespace

int main() {
  constexpr std::size_t n_callers = 4;
  writes_are_there_afterwards(4); // so that there is a pool
  forks();
  for (int round = 0; round < 3; ++round) {
    std::vector<std::thread> callers;
    for (std::size_t caller = 0; caller < n_callers; ++caller) {
      callers.emplace_back([caller] {
        for (std::size_t n_threads = 1; n_threads < 8; ++n_threads) {
          for (int k = 0; k < 20; ++k) {
            writes_are_there_afterwards(n_threads);
          }
          nests(n_threads);
          throws(n_threads + caller);
        }
        is_interrupted(caller + 2);
        writes_are_there_afterwards(300); // threads of its own
      });
    }
#ifndef __SANITIZE_THREAD__ // it cannot follow threads of a child whose parent had others
    forks();
#endif
    for (std::thread& caller : callers) {
      caller.join();
    }
  }
  return failures == 0 ? 0 : 1;
}
