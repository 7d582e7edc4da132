// parallel_for covers every item once, keeps its promises on threads, and passes exceptions on.
#include "parallel.hpp"

#include <atomic>
#include <cstdio>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

namespace {

int failures = 0;

void check(bool holds, const char* what) {
  if (!holds) {
    std::printf("failed: %s\n", what);
    ++failures;
  }
}

void covers_every_item_once() {
  for (std::size_t n : {0, 1, 2, 7, 64, 1000}) {
    for (std::size_t threads : {0, 1, 2, 3, 7, 2000}) {
      std::vector<std::atomic<int>> hits(n);
      nkfast::parallel_for(n, threads, 1, [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) {
          ++hits[i];
        }
      });
      bool once = true;
      for (const auto& hit : hits) {
        once = once && hit == 1;
      }
      check(once, "every item once");
    }
  }
}

std::set<std::thread::id> threads_of(std::size_t n, std::size_t threads, std::size_t least) {
  std::set<std::thread::id> ids;
  std::mutex mutex;
  nkfast::parallel_for(n, threads, least, [&](std::size_t begin, std::size_t end) {
    check(end - begin >= least || n < least, "no block below the least size");
    const std::lock_guard lock(mutex);
    ids.insert(std::this_thread::get_id());
  });
  return ids;
}

void uses_the_threads_it_may() {
  const auto self = std::this_thread::get_id();
  check(threads_of(100, 1, 1) == std::set{self}, "one thread is the caller");
  check(threads_of(100, 8, 51) == std::set{self}, "too little work for two");
  check(threads_of(100, 8, 50).size() <= 2, "work for two");
  check(threads_of(100, 4, 1).contains(self), "the caller takes a share");
}

void passes_exceptions_on() {
  for (std::size_t bad : {0, 10, 99}) {
    for (std::size_t threads : {1, 4}) {
      std::string caught;
      try {
        nkfast::parallel_for(100, threads, 1, [&](std::size_t begin, std::size_t end) {
          if (begin <= bad && bad < end) {
            throw std::invalid_argument("bad item");
          }
        });
      } catch (const std::invalid_argument& error) {
        caught = error.what();
      }
      check(caught == "bad item", "exception reaches the caller");
    }
  }
}

void works_in_a_forked_child() {
  (void)threads_of(100, 4, 1);
  const pid_t child = fork();
  if (child == 0) {
    alarm(20); // a hang is a failure
    std::atomic<std::size_t> sum{0};
    nkfast::parallel_for(100, 4, 1,
                         [&](std::size_t begin, std::size_t end) { sum += end - begin; });
    _exit(sum == 100 ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  check(status == 0, "works in a forked child");
}

} // namespace

int main() {
  covers_every_item_once();
  uses_the_threads_it_may();
  passes_exceptions_on();
  works_in_a_forked_child();
  return failures == 0 ? 0 : 1;
}
