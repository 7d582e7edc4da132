#include "kernels/image_plan.hpp"

#include <algorithm>
#include <unordered_map>

namespace nkfast {

std::size_t Axis::after() const {
  const std::size_t reach = (out - 1) * stride + taps;
  return reach > in + before ? reach - in - before : 0;
}

namespace {

using What = ImageStep::What;

class Planner {
public:
  Planner(const std::vector<ImageStep>& steps, const std::vector<std::size_t>& heights,
          bool from_map)
      : steps_(steps), heights_(heights), from_map_(from_map), nodes_(steps.size() + 1) {}

  ImagePlan run(std::vector<RowPair> outputs) {
    // Along the diagonals.
    std::sort(outputs.begin(), outputs.end(), [](const RowPair& a, const RowPair& b) {
      const auto da = std::int64_t{a.right} - a.left, db = std::int64_t{b.right} - b.left;
      return da != db ? da < db : a.left < b.left;
    });
    for (const RowPair& pair : outputs) {
      count(steps_.size(), pair);
    }
    for (const RowPair& pair : outputs) {
      const Place place = make(steps_.size(), pair);
      add({.what = Operation::What::kEmit, .at = pair}, {place});
      release(steps_.size(), pair);
    }
    return std::move(plan_);
  }

private:
  struct Node {
    std::uint32_t uses = 0;
    bool made = false;
    Place place{};
  };

  // A push leaves everything as it is.
  std::size_t level_of(std::size_t level) const {
    while (level > 0 && steps_[level - 1].what == What::kPush) {
      --level;
    }
    return level;
  }

  Node& node(std::size_t level, const RowPair& pair) {
    return nodes_[level][pair.left * heights_[level] + pair.right];
  }

  // f(level, pair) for every block that a block needs.
  template <class F> void each_input(std::size_t level, const RowPair& pair, F f) const {
    const ImageStep& step = steps_[level - 1];
    if (step.what != What::kConv) {
      f(level - 1, pair);
      if (step.what == What::kAdd) {
        f(step.opening, pair);
      }
      return;
    }
    const Axis& axis = step.rows;
    const auto height = static_cast<std::int64_t>(axis.in);
    for (std::size_t o = 0; o < axis.taps; ++o) {
      std::int64_t rows[2] = {pair.left, pair.right};
      bool inside = true;
      for (std::int64_t& r : rows) {
        r = r * static_cast<std::int64_t>(axis.stride) + static_cast<std::int64_t>(o) -
            static_cast<std::int64_t>(axis.before);
        if (axis.circular) {
          r = ((r % height) + height) % height;
        }
        inside = inside && r >= 0 && r < height;
      }
      if (inside) {
        f(level - 1,
          RowPair{static_cast<std::uint32_t>(rows[0]), static_cast<std::uint32_t>(rows[1])});
      }
    }
  }

  void count(std::size_t level, const RowPair& pair) {
    level = level_of(level);
    if (node(level, pair).uses++ == 0 && level > 0) {
      each_input(level, pair, [&](std::size_t l, const RowPair& p) { count(l, p); });
    }
  }

  Place make(std::size_t level, const RowPair& pair) {
    level = level_of(level);
    Node& found = node(level, pair);
    if (found.made) {
      return found.place;
    }
    Place place;
    if (level == 0) {
      if (from_map_) {
        place = {static_cast<std::uint32_t>(plan_.inputs.size()), true};
        plan_.inputs.push_back(pair);
      } else {
        place = take();
        add({.what = Operation::What::kRead, .at = pair, .dst = place}, {});
      }
    } else {
      std::vector<Place> from;
      each_input(level, pair, [&](std::size_t l, const RowPair& p) { from.push_back(make(l, p)); });
      const bool in_place = may_change(level, pair) && !from.front().in_map;
      place = in_place ? from.front() : take();
      add({.what = Operation::What::kStep,
           .step = static_cast<std::uint32_t>(level - 1),
           .at = pair,
           .dst = place},
          from);
      bool first = true;
      each_input(level, pair, [&](std::size_t l, const RowPair& p) {
        if (first && in_place) {
          --node(level_of(l), p).uses;
        } else {
          release(l, p);
        }
        first = false;
      });
    }
    Node& made = node(level, pair);
    made.made = true;
    made.place = place;
    return place;
  }

  // Whether a step may change the block below in place: it is the last to use it, and that once.
  bool may_change(std::size_t level, const RowPair& pair) {
    const ImageStep& step = steps_[level - 1];
    return step.what != What::kConv && node(level_of(level - 1), pair).uses == 1;
  }

  Place take() {
    if (free_.empty()) {
      return {static_cast<std::uint32_t>(plan_.n_slots++), false};
    }
    const Place place = free_.back();
    free_.pop_back();
    return place;
  }

  void release(std::size_t level, const RowPair& pair) {
    Node& used = node(level_of(level), pair);
    if (--used.uses == 0 && !used.place.in_map) {
      free_.push_back(used.place);
    }
  }

  void add(Operation operation, const std::vector<Place>& from) {
    operation.first = static_cast<std::uint32_t>(plan_.places.size());
    operation.n = static_cast<std::uint32_t>(from.size());
    plan_.places.insert(plan_.places.end(), from.begin(), from.end());
    plan_.operations.push_back(operation);
  }

  const std::vector<ImageStep>& steps_;
  const std::vector<std::size_t>& heights_;
  bool from_map_;
  std::vector<std::unordered_map<std::uint64_t, Node>> nodes_;
  std::vector<Place> free_;
  ImagePlan plan_;
};

} // namespace

ImagePlan make_plan(const std::vector<ImageStep>& steps, const std::vector<std::size_t>& heights,
                    bool from_map, std::vector<RowPair> outputs) {
  return Planner(steps, heights, from_map).run(std::move(outputs));
}

} // namespace nkfast
