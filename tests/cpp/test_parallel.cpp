// parallel_for covers every item once, keeps its promises on threads, and passes exceptions on.
#include "parallel.hpp"

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <dlfcn.h>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

namespace {

int threads_left = 1 << 30; // that the system will start

} // namespace

// In place of the system's own, which it calls.
extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* how, void* (*run)(void*),
                              void* with) {
  using Create = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  static const auto create = reinterpret_cast<Create>(dlsym(RTLD_NEXT, "pthread_create"));
  return threads_left-- > 0 ? create(thread, how, run, with) : EAGAIN;
}

// As of the first process of a namespace, and of the first one of a namespace within.
extern "C" pid_t getpid() { return 1; }

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

// Where the system starts some threads only, or none, the blocks of the others are the caller's.
void works_without_threads() {
  for (const int left : {0, 1, 3}) {
    for (const std::size_t n_threads :
         {std::size_t{4}, std::size_t{400}}) { // pool, threads of its own
      const pid_t child = fork();              // whose pool is empty
      if (child == 0) {
        alarm(20);
        threads_left = left;
        bool once = true;
        for (int call = 0; call < 3; ++call) {
          std::vector<std::atomic<int>> hits(1000);
          nkfast::parallel_for(1000, n_threads, 1, [&](std::size_t begin, std::size_t end) {
            for (std::size_t i = begin; i < end; ++i) {
              ++hits[i];
            }
          });
          for (const auto& hit : hits) {
            once = once && hit == 1;
          }
        }
        _exit(once ? 0 : 1);
      }
      int status = -1;
      waitpid(child, &status, 0);
      check(status == 0, "every item once, however few threads the system starts");
    }
  }
}

std::atomic<bool> wanted{false};

// Seconds within which a call ends that would take a hundred; sanitizers take their time.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr int kSoon = 20;
#else
constexpr int kSoon = 2;
#endif

void ends_when_interrupted() {
  using namespace std::chrono;
  for (const std::size_t n_threads : {1, 2, 4, 300}) {
    for (const bool unlike : {false, true}) { // the caller's own block is through soon
      wanted = false;
      std::atomic<std::size_t> done{0};
      std::string caught;
      const auto start = steady_clock::now();
      try {
        nkfast::Interrupt interrupt([] {
          if (wanted) {
            throw std::runtime_error("Ctrl-C");
          }
        });
        nkfast::parallel_for(n_threads, n_threads, 1, [&](std::size_t begin, std::size_t) {
          wanted = true;
          nkfast::Checkpoint checkpoint(1000000);
          const std::size_t items = unlike && n_threads > 1 && begin == 0 ? 0 : 100000;
          for (std::size_t i = 0; i < items; ++i) { // of a millisecond
            checkpoint();
            std::this_thread::sleep_for(milliseconds(1));
            ++done;
          }
        });
      } catch (const std::runtime_error& error) {
        caught = error.what();
      }
      check(caught == "Ctrl-C", "what the poll throws reaches the caller");
      check(steady_clock::now() - start < seconds(kSoon), "soon");
      const std::size_t before = done;
      std::this_thread::sleep_for(milliseconds(5));
      check(before == done, "all threads have ended");
      check(nkfast::Interrupt::current() == nullptr, "no call, no interrupt");
    }
  }
}

} // namespace

int main() {
  covers_every_item_once();
  uses_the_threads_it_may();
  passes_exceptions_on();
  works_in_a_forked_child();
  works_without_threads();
  ends_when_interrupted();
  return failures == 0 ? 0 : 1;
}
