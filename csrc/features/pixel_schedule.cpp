#include "features/pixel_schedule.hpp"

#include <algorithm>
#include <numeric>

namespace nkfast {

Dependence::Dependence(const PixelParts& program)
    : wanted(program.fields.size(), false), looks(program.steps.size()) {
  wanted[program.output.field] = true;
  for (std::size_t i = program.steps.size(); i-- > 0;) {
    const PixelParts::Step& s = program.steps[i];
    const auto see = [&](std::size_t field, std::size_t part, bool is_wanted) {
      if (is_wanted) {
        wanted[field] = true;
        looks[i].emplace_back(field, part);
      }
    };
    if (s.is_pool) {
      const PixelPool& pool = program.pools[s.index];
      for (std::size_t part = 0; part < pool.rows * pool.cols; ++part) {
        see(pool.from, part, wanted[pool.to]);
      }
      continue;
    }
    const PixelStage& stage = program.stages[s.index];
    const bool any = std::any_of(stage.stores.begin(), stage.stores.end(),
                                 [&](std::size_t field) { return bool(wanted[field]); });
    std::size_t part = 0;
    for (std::size_t k = 0; k < stage.channels.size(); ++k) {
      for (const PixelPart& p : stage.channels[k].parts) {
        see(p.field, part++, stage.activation ? any : bool(wanted[stage.stores[k]]));
      }
    }
  }
}

PixelSchedule::PixelSchedule(const PixelParts& program, const PixelLayout& layout,
                             const Dependence& dependence)
    : program_(program), layout_(layout), looks_(dependence.looks),
      producer_(program.fields.size()) {
  for (std::size_t s = 0; s < program.steps.size(); ++s) {
    for (const std::size_t field : targets(s)) {
      producer_[field] = s;
    }
    if (adds(s)) {
      const PixelPool& pool = program.pools[program.steps[s].index];
      producer_[pool.to] = producer_[pool.from];
    }
  }
  for (const PixelField& field : program.fields) {
    n_blocks_.push_back(n_blocks(field.grid, layout.lanes));
  }
}

void PixelSchedule::make(const std::vector<bool>& whole) {
  whole_ = whole;
  ops.clear();
  done_.assign(program_.steps.size(), 0);
  made_.assign(program_.fields.size(), 0);
  born_.clear();
  last_use_.clear();
  for (const std::size_t n : n_blocks_) {
    born_.emplace_back(n, -1);
    last_use_.emplace_back(n, -1);
  }
  made_[0] = n_blocks_[0];
  need(program_.output.field, n_blocks_[program_.output.field] - 1);
  std::fill(last_use_[program_.output.field].begin(), last_use_[program_.output.field].end(),
            now());
  place();
}

std::vector<std::size_t> PixelSchedule::targets(std::size_t step) const {
  const PixelParts::Step& s = program_.steps[step];
  return s.is_pool ? std::vector{program_.pools[s.index].to} : program_.stages[s.index].stores;
}

void PixelSchedule::need(std::size_t field, std::size_t block) {
  const std::size_t last = whole_[field] ? n_blocks_[field] - 1 : block;
  while (made_[field] <= last) {
    run(producer_[field]);
  }
}

template <class F>
void PixelSchedule::for_sources(std::size_t step, std::size_t block, F&& f) const {
  const PixelLayout::Step& s = layout_.steps[step];
  const PixelLayout::Piece* pieces = s.pieces.data() + block * s.starts.back();
  for (const auto& [field, part] : looks_[step]) {
    for (std::size_t p = s.starts[part]; p < s.starts[part + 1]; ++p) {
      for (const std::int32_t source : {pieces[p].a, pieces[p].b}) {
        if (source >= 0) {
          f(field, static_cast<std::size_t>(source));
        }
      }
    }
  }
}

void PixelSchedule::run(std::size_t step) {
  const std::size_t block = done_[step]++;
  for_sources(step, block, [&](std::size_t field, std::size_t source) { need(field, source); });
  for_sources(step, block,
              [&](std::size_t field, std::size_t source) { last_use_[field][source] = now(); });
  for (const std::size_t field : targets(step)) {
    born_[field][block] = now();
  }
  ops.push_back({static_cast<std::uint32_t>(step), static_cast<std::uint32_t>(block)});
  for (const std::size_t field : targets(step)) {
    complete(field, block);
  }
}

// A block is made: pools add it up.
void PixelSchedule::complete(std::size_t field, std::size_t block) {
  made_[field] = block + 1;
  for (std::size_t step = 0; step < program_.steps.size(); ++step) {
    if (!adds(step) || looks_[step].empty() || looks_[step][0].first != field) {
      continue;
    }
    const std::size_t to = program_.pools[program_.steps[step].index].to;
    last_use_[field][block] = now();
    for (const PixelLayout::Addition& addition : layout_.steps[step].additions[block]) {
      if (addition.first) {
        born_[to][addition.block] = now();
      }
    }
    ops.push_back({static_cast<std::uint32_t>(step), static_cast<std::uint32_t>(block)});
    for (const PixelLayout::Addition& addition : layout_.steps[step].additions[block]) {
      if (addition.last) {
        complete(to, addition.block);
      }
    }
  }
}

// The blocks of a field that are in use at a time, from the first to the last.
std::size_t PixelSchedule::slots(std::size_t field) const {
  const std::vector<Time>& last = last_use_[field];
  std::vector<Time> latest(last.size()); // of all blocks up to one
  std::partial_sum(last.begin(), last.end(), latest.begin(),
                   [](Time a, Time b) { return std::max(a, b); });
  std::size_t most = 1;
  for (std::size_t block = 0; block < last.size(); ++block) {
    if (born_[field][block] < 0) {
      continue; // no one asks for it
    }
    const auto first = std::lower_bound(latest.begin(), latest.end(), born_[field][block]);
    const auto oldest = static_cast<std::size_t>(first - latest.begin());
    most = std::max(most, block - std::min(block, oldest) + 1);
  }
  return field == 0 ? last.size() : most;
}

// What is not in use at the same time shares memory.
void PixelSchedule::place() {
  struct Item {
    std::size_t size;
    Time begin, end;
    std::size_t* start;
    bool buffers;
  };
  std::vector<Item> items;
  rings.assign(program_.fields.size(), {});
  buffers.assign(program_.steps.size(), 0);
  for (std::size_t f = 0; f < program_.fields.size(); ++f) {
    const Time end = *std::max_element(last_use_[f].begin(), last_use_[f].end());
    rings[f].used = end >= 0;
    if (rings[f].used) {
      rings[f].n_slots = slots(f);
      const std::size_t n = rings[f].n_slots * (program_.fields[f].n + kExtra) + 1;
      items.push_back({n, f == 0 ? -1 : born_[f][0], end, &rings[f].start, false});
    }
  }
  for (std::size_t s = 0; s < program_.steps.size(); ++s) {
    const auto is_own = [&](const PixelLayout::Op& op) { return op.step == s; };
    const auto first = std::find_if(ops.begin(), ops.end(), is_own);
    if (!program_.steps[s].is_pool && first != ops.end()) {
      const auto last = std::find_if(ops.rbegin(), ops.rend(), is_own);
      items.push_back({layout_.steps[s].buffers.back(), first - ops.begin(), ops.rend() - last - 1,
                       &buffers[s], true});
    }
  }
  std::stable_sort(items.begin(), items.end(),
                   [](const Item& a, const Item& b) { return a.size > b.size; });
  size = 0;
  for (std::size_t i = 0; i < items.size(); ++i) {
    std::size_t start = 0;
    for (bool moved = true; moved;) {
      moved = false;
      for (std::size_t j = 0; j < i; ++j) {
        const std::size_t end = *items[j].start + items[j].size;
        const bool together = items[i].begin <= items[j].end && items[j].begin <= items[i].end &&
                              !(items[i].buffers && items[j].buffers);
        if (together && start < end && *items[j].start < start + items[i].size) {
          start = end;
          moved = true;
        }
      }
    }
    *items[i].start = start;
    size = std::max(size, start + items[i].size);
  }
}

} // namespace nkfast
