#include "features/pixel_layout.hpp"

#include "features/pixel_sums.hpp"

#include <algorithm>
#include <map>
#include <numeric>
#include <utility>
#include <variant>

namespace nkfast {

namespace {

constexpr std::size_t kExtra = 2; // behind the features of a block: c, |v|^2

std::int64_t wrap(std::int64_t i, std::int64_t n) { return ((i % n) + n) % n; }

// The pixel of `from` that is seen at a row and column, -1 outside.
std::int64_t seen(const PixelLook& look, const PixelGrid& from, std::size_t row, std::size_t col) {
  const auto height = static_cast<std::int64_t>(from.height);
  const auto width = static_cast<std::int64_t>(from.width);
  std::int64_t i = static_cast<std::int64_t>(row) * look.row_stride + look.row_offset;
  std::int64_t j = static_cast<std::int64_t>(col) * look.col_stride + look.col_offset;
  if (look.circular) {
    i = wrap(i, height);
    j = wrap(j, width);
  }
  return i >= 0 && i < height && j >= 0 && j < width ? i * width + j : -1;
}

std::size_t n_blocks(const PixelGrid& grid, std::size_t lanes) {
  return (grid.height * grid.width + lanes - 1) / lanes;
}

// Steps that look at a field, or the output.
std::size_t n_readers(const PixelParts& program, std::size_t field) {
  std::size_t n = program.output.field == field ? 1 : 0;
  for (const PixelPool& pool : program.pools) {
    n += pool.from == field ? 1 : 0;
  }
  for (const PixelStage& stage : program.stages) {
    for (const PixelChannel& channel : stage.channels) {
      n += static_cast<std::size_t>(
          std::count_if(channel.parts.begin(), channel.parts.end(),
                        [&](const PixelPart& part) { return part.field == field; }));
    }
  }
  return n;
}

// The fields that the output depends on, and of each step the fields that it looks at for them,
// with the numbers of its parts.
struct Dependence {
  std::vector<bool> wanted;
  std::vector<std::vector<std::pair<std::size_t, std::size_t>>> looks;

  explicit Dependence(const PixelParts& program)
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
};

// The sums of a channel, of the pieces of its parts, if they can be read in order.
PixelSums channel_sums(const PixelChannel& channel, const std::vector<PixelField>& fields,
                       const std::size_t* starts) {
  std::vector<Addend> addends;
  for (const PixelPart& part : channel.parts) {
    const Reals& signs = part.hashed.signs.reals();
    const std::size_t n = fields[part.field].n;
    if (!std::all_of(signs.begin(), signs.begin() + static_cast<std::ptrdiff_t>(n),
                     [&](double sign) { return sign == part.scale; })) {
      return {};
    }
    addends.push_back({&part.hashed, n});
  }
  PixelSums of_parts = find_sums(addends, channel.n), sums;
  for (PixelSums::Segment segment : of_parts.segments) {
    const std::size_t begin = sums.runs.size();
    for (std::size_t i = segment.begin; i < segment.end; ++i) {
      const PixelRun& run = of_parts.runs[i];
      const auto part = static_cast<std::size_t>(run.piece);
      for (std::size_t p = starts[part]; p < starts[part + 1]; ++p) {
        sums.runs.push_back({static_cast<std::int32_t>(p - starts[0]), run.shift});
      }
    }
    segment.begin = begin;
    segment.end = sums.runs.size();
    sums.segments.push_back(segment);
  }
  return sums;
}

// Places of the buffers of a stage, and what they take.
std::vector<std::size_t> place_buffers(const PixelStage& stage,
                                       const std::vector<PixelField>& fields,
                                       const std::vector<bool>& wanted) {
  using B = PixelBuffers;
  std::vector<std::size_t> sizes(B::kPowers);
  std::vector<std::pair<std::size_t, std::size_t>> same; // buffers that others end before
  if (stage.activation) {
    const PixelActivation& f = *stage.activation;
    sizes[B::kNngp] = stage.channels[0].n;
    for (std::size_t k = 0; k < stage.stores.size(); ++k) {
      if (!wanted[stage.stores[k]]) {
        sizes[B::kUnused] = std::max(sizes[B::kUnused], fields[stage.stores[k]].n);
      }
    }
    for (const PixelPower& power : f.powers) {
      sizes.push_back(power.n());
      const auto* product = std::get_if<TensorProduct>(&power.how);
      if (product != nullptr && !product->in_order) {
        sizes[B::kLeft] = std::max(sizes[B::kLeft], product->length_a);
      }
    }
    sizes.insert(sizes.end(), f.leaves.begin(), f.leaves.end());
    if (const OwnTangent* own = f.own()) {
      const TensorProduct& p = own->product;
      sizes[B::kNngp] = std::max(sizes[B::kNngp], stage.channels[1].n);
      same.emplace_back(B::kTangent, B::kNngp);
      sizes[B::kSlope] = own->n_slope;
      const auto place = [&](std::size_t buffer, std::size_t size, std::size_t other, bool free) {
        if (free && sizes[other] >= size) {
          same.emplace_back(buffer, other);
        } else {
          sizes[buffer] = size;
        }
      };
      const std::size_t n_powers = f.powers.size();
      place(B::kFirst, p.length_a, B::kPowers, n_powers > 0);
      place(B::kSecond, p.length_b, B::kPowers + n_powers, !f.leaves.empty());
      place(B::kProduct, p.n, B::kFirst, p.in_order && sizes[B::kFirst] > 0);
      if (p.in_order && sizes[B::kFirst] == 0) {
        sizes[B::kProduct] = 0;
        same.emplace_back(B::kProduct, B::kPowers);
      }
    }
  }
  std::vector<std::size_t> places{0};
  for (const std::size_t size : sizes) {
    places.push_back(places.back() + (size > 0 ? size + 7 : 0)); // on different cache sets
  }
  for (const auto& [buffer, other] : same) {
    places[buffer] = places[other];
  }
  return places;
}

} // namespace

// A trial of an order, and the memory that it takes.
class PixelSchedule {
public:
  PixelSchedule(const PixelParts& program, const PixelLayout& layout, const Dependence& dependence)
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

  // whole[f]: no block of field f is looked at before all are made.
  void make(const std::vector<bool>& whole) {
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

  std::vector<PixelLayout::Op> ops{};
  std::vector<PixelLayout::Ring> rings{};
  std::vector<std::size_t> buffers{}; // of each step, where they begin
  std::size_t size = 0;

private:
  using Time = std::int64_t;

  bool adds(std::size_t step) const { return !layout_.steps[step].additions.empty(); }

  Time now() const { return static_cast<Time>(ops.size()); }

  std::vector<std::size_t> targets(std::size_t step) const {
    const PixelParts::Step& s = program_.steps[step];
    return s.is_pool ? std::vector{program_.pools[s.index].to} : program_.stages[s.index].stores;
  }

  void need(std::size_t field, std::size_t block) {
    const std::size_t last = whole_[field] ? n_blocks_[field] - 1 : block;
    while (made_[field] <= last) {
      run(producer_[field]);
    }
  }

  template <class F> void for_sources(std::size_t step, std::size_t block, F&& f) const {
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

  void run(std::size_t step) {
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
  void complete(std::size_t field, std::size_t block) {
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
  std::size_t slots(std::size_t field) const {
    const std::vector<Time>& last = last_use_[field];
    std::vector<Time> latest(last.size()); // of all blocks up to one
    std::partial_sum(last.begin(), last.end(), latest.begin(),
                     [](Time a, Time b) { return std::max(a, b); });
    std::size_t most = 1;
    for (std::size_t block = 0; block < last.size(); ++block) {
      const auto first = std::lower_bound(latest.begin(), latest.end(), born_[field][block]);
      const auto oldest = static_cast<std::size_t>(first - latest.begin());
      most = std::max(most, block - std::min(block, oldest) + 1);
    }
    return field == 0 ? last.size() : most;
  }

  // What is not in use at the same time shares memory.
  void place() {
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
        items.push_back({layout_.steps[s].buffers.back(), first - ops.begin(),
                         ops.rend() - last - 1, &buffers[s], true});
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

  const PixelParts& program_;
  const PixelLayout& layout_;
  const std::vector<std::vector<std::pair<std::size_t, std::size_t>>>& looks_;
  std::vector<std::size_t> producer_;
  std::vector<std::size_t> n_blocks_{};
  std::vector<bool> whole_{};
  std::vector<std::size_t> done_{}, made_{};
  std::vector<std::vector<Time>> born_{}, last_use_{};
};

PixelLayout::PixelLayout(const PixelParts& program, std::size_t n_lanes) : lanes(n_lanes) {
  const Dependence dependence(program);
  for (const PixelParts::Step& step : program.steps) {
    std::vector<std::pair<std::size_t, PixelLook>> parts;
    if (step.is_pool) {
      const PixelPool& pool = program.pools[step.index];
      for (std::size_t t = 0; t < pool.rows * pool.cols; ++t) {
        const auto number = [](std::size_t i) { return static_cast<std::int64_t>(i); };
        parts.emplace_back(pool.from, PixelLook{.row_stride = number(pool.row_stride),
                                                .row_offset = number(t / pool.cols),
                                                .col_stride = number(pool.col_stride),
                                                .col_offset = number(t % pool.cols)});
      }
      steps.push_back(look(parts, program.fields[pool.to].grid, program.fields));
      PixelSums all;
      for (std::size_t p = 0; p < steps.back().starts.back(); ++p) {
        all.runs.push_back({static_cast<std::int32_t>(p), 0});
      }
      steps.back().channels.push_back(std::move(all));
      if (pool.from > 0 && n_readers(program, pool.from) == 1) {
        add_up(steps.back(), n_blocks(program.fields[pool.from].grid, lanes));
      }
      continue;
    }
    const PixelStage& stage = program.stages[step.index];
    for (const PixelChannel& channel : stage.channels) {
      for (const PixelPart& part : channel.parts) {
        parts.emplace_back(part.field, part.look);
      }
    }
    steps.push_back(look(parts, program.fields[stage.stores[0]].grid, program.fields));
    steps.back().buffers = place_buffers(stage, program.fields, dependence.wanted);
    const std::size_t* starts = steps.back().starts.data();
    for (const PixelChannel& channel : stage.channels) {
      steps.back().channels.push_back(channel_sums(channel, program.fields, starts));
      starts += channel.parts.size();
    }
  }
  // Where it takes less memory, a field is made to its end before it is looked at.
  PixelSchedule schedule(program, *this, dependence);
  std::vector<bool> whole(program.fields.size(), false);
  schedule.make(whole);
  for (std::size_t f = 1; f < whole.size(); ++f) {
    const std::size_t before = schedule.size;
    whole[f] = true;
    schedule.make(whole);
    if (schedule.size >= before) {
      whole[f] = false;
      schedule.make(whole);
    }
  }
  ops = schedule.ops;
  rings = schedule.rings;
  n_vectors = schedule.size;
  for (std::size_t s = 0; s < steps.size(); ++s) {
    for (std::size_t& place : steps[s].buffers) {
      place += schedule.buffers[s];
    }
  }
  for (const std::vector<std::int32_t>& pick : known_) {
    picks.insert(picks.end(), pick.begin(), pick.end());
  }
}

// Turns a pool's pieces to those of each block of its source.
void PixelLayout::add_up(Step& pool, std::size_t n_sources) {
  pool.additions.resize(n_sources);
  const std::size_t n_pieces = pool.starts.back(), blocks = pool.pieces.size() / n_pieces;
  const auto n = static_cast<std::int32_t>(lanes);
  std::size_t most = 0;
  for (std::size_t block = 0; block < blocks; ++block) {
    std::map<std::int32_t, std::vector<Piece>> found; // of each source
    for (std::size_t p = block * n_pieces; p < (block + 1) * n_pieces; ++p) {
      const Piece& piece = pool.pieces[p];
      if (piece.a >= 0 && piece.pick < 0) {
        found[piece.a].push_back(piece);
        continue;
      }
      for (std::int32_t half = 0; piece.a >= 0 && half < (piece.b == piece.a ? 1 : 2); ++half) {
        std::vector<std::int32_t> pick = known_[static_cast<std::size_t>(piece.pick)];
        for (std::int32_t& i : pick) {
          i = i >= half * n && i < (half + 1) * n ? i - half * n : -1;
        }
        const std::int32_t source = half == 0 ? piece.a : piece.b;
        found[source].push_back({source, source, row_of_picks(pick)});
      }
    }
    for (const auto& [source, pieces] : found) {
      const bool first = source == found.begin()->first, last = source == found.rbegin()->first;
      most = std::max(most, pieces.size());
      pool.additions[static_cast<std::size_t>(source)].push_back(
          {static_cast<std::uint32_t>(block), first, last, pieces});
    }
  }
  pool.channels[0].runs.clear();
  for (std::size_t p = 0; p <= most; ++p) {
    pool.channels[0].runs.push_back({static_cast<std::int32_t>(p), 0});
  }
}

std::int32_t PixelLayout::row_of_picks(const std::vector<std::int32_t>& pick) {
  const auto at = std::find(known_.begin(), known_.end(), pick);
  if (at == known_.end()) {
    known_.push_back(pick);
    return static_cast<std::int32_t>(known_.size() - 1);
  }
  return static_cast<std::int32_t>(at - known_.begin());
}

// The pieces of parts, of these fields, at each block of a field.
PixelLayout::Step PixelLayout::look(const std::vector<std::pair<std::size_t, PixelLook>>& parts,
                                    const PixelGrid& to, const std::vector<PixelField>& fields) {
  const std::size_t blocks = n_blocks(to, lanes);
  std::vector<std::vector<Piece>> found(blocks * parts.size());
  std::vector<std::size_t> most(parts.size(), 1);
  for (std::size_t block = 0; block < blocks; ++block) {
    for (std::size_t k = 0; k < parts.size(); ++k) {
      std::vector<std::int64_t> cells(lanes, -1);
      std::vector<std::int64_t> sources;
      bool straight = true;
      for (std::size_t r = 0; r < lanes; ++r) {
        const std::size_t pixel = block * lanes + r;
        if (pixel >= to.height * to.width) {
          continue; // nobody looks there
        }
        cells[r] =
            seen(parts[k].second, fields[parts[k].first].grid, pixel / to.width, pixel % to.width);
        const auto n = static_cast<std::int64_t>(lanes);
        straight = straight && cells[r] >= 0 && cells[r] % n == static_cast<std::int64_t>(r);
        if (cells[r] >= 0) {
          sources.push_back(cells[r] / n);
        }
      }
      std::sort(sources.begin(), sources.end());
      sources.erase(std::unique(sources.begin(), sources.end()), sources.end());
      std::vector<Piece>& pieces = found[block * parts.size() + k];
      for (std::size_t i = 0; i < sources.size(); i += 2) {
        const std::int64_t a = sources[i], b = sources[std::min(i + 1, sources.size() - 1)];
        Piece piece{static_cast<std::int32_t>(a), static_cast<std::int32_t>(b), -1};
        if (!straight || sources.size() > 1) {
          std::vector<std::int32_t> pick(lanes, -1);
          const auto n = static_cast<std::int64_t>(lanes);
          for (std::size_t r = 0; r < lanes; ++r) {
            if (cells[r] >= 0 && (cells[r] / n == a || cells[r] / n == b)) {
              pick[r] = static_cast<std::int32_t>(cells[r] % n + (cells[r] / n == a ? 0 : n));
            }
          }
          piece.pick = row_of_picks(pick);
        }
        pieces.push_back(piece);
      }
      most[k] = std::max(most[k], pieces.size());
    }
  }
  Step step;
  for (const std::size_t n : most) {
    step.starts.push_back(step.starts.back() + n);
  }
  for (std::size_t block = 0; block < blocks; ++block) {
    for (std::size_t k = 0; k < parts.size(); ++k) {
      std::vector<Piece>& pieces = found[block * parts.size() + k];
      pieces.resize(most[k]);
      step.pieces.insert(step.pieces.end(), pieces.begin(), pieces.end());
    }
  }
  return step;
}

} // namespace nkfast
