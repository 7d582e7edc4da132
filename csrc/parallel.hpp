// One parallel loop for the whole core.
//
// Threads are spawned and joined inside each call: with no pool that outlives it, a forked child
// finds nothing to hang on. Spawning costs some ten microseconds a thread, so drivers choose
// min_items_per_thread to give each thread at least 0.5 ms of work.
#pragma once

#include <algorithm>
#include <cstddef>
#include <exception>
#include <thread>
#include <vector>

namespace nkfast {

// Calls f(begin, end) on contiguous blocks that cover [0, n_items) once each; the calling thread
// takes the first. Uses at most n_threads threads, and fewer where a block would hold under
// min_items_per_thread items. The blocks depend on the number of threads, so f must give item i the
// same value in whatever block it falls. If f throws, the exception of the first such block is
// rethrown here once all threads have ended.
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
  std::vector<std::exception_ptr> errors(n_blocks);
  const auto run = [&](std::size_t block) noexcept {
    try {
      f(start(block), start(block + 1));
    } catch (...) {
      errors[block] = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> threads;
    threads.reserve(n_blocks - 1);
    for (std::size_t block = 1; block < n_blocks; ++block) {
      threads.emplace_back(run, block);
    }
    run(0);
  } // joins, also when a thread could not be started
  for (const std::exception_ptr& error : errors) {
    if (error) {
      std::rethrow_exception(error);
    }
  }
}

} // namespace nkfast
