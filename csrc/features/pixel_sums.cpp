#include "features/pixel_sums.hpp"

#include <algorithm>

namespace nkfast {

PixelSums find_sums(const std::vector<Addend>& addends, std::size_t width) {
  struct Run {
    std::size_t to, from, n, addend;
  };
  constexpr std::size_t kShort = 8; // on average
  std::vector<Run> found;
  Reals signs(width, 0.0);
  std::size_t total = 0;
  for (std::size_t k = 0; k < addends.size(); ++k) {
    const Ints& to = addends[k].hash->to;
    const Reals& own = addends[k].hash->signs.reals();
    total += addends[k].n;
    for (std::size_t j = 0; j < addends[k].n; ++j) {
      const auto place = static_cast<std::size_t>(to[j]);
      if (signs[place] != 0 && signs[place] != own[j]) {
        return {};
      }
      signs[place] = own[j];
      if (j > 0 && to[j] == to[j - 1] + 1) {
        ++found.back().n;
      } else {
        found.push_back({place, j, 1, k});
      }
    }
    if (found.size() * kShort > total + kShort * (k + 1)) {
      return {};
    }
  }
  std::vector<std::size_t> borders{0, width};
  for (const Run& run : found) {
    borders.push_back(run.to);
    borders.push_back(run.to + run.n);
  }
  std::sort(borders.begin(), borders.end());
  borders.erase(std::unique(borders.begin(), borders.end()), borders.end());
  PixelSums sums;
  for (std::size_t i = 0; i + 1 < borders.size(); ++i) {
    const std::size_t begin = sums.runs.size();
    for (const Run& run : found) {
      if (run.to <= borders[i] && borders[i] < run.to + run.n) {
        sums.runs.push_back(
            {static_cast<std::int32_t>(run.addend),
             static_cast<std::int32_t>(run.from) - static_cast<std::int32_t>(run.to)});
      }
    }
    sums.segments.push_back({borders[i], borders[i + 1], begin, sums.runs.size()});
  }
  sums.signs = Values(std::move(signs));
  return sums;
}

} // namespace nkfast
