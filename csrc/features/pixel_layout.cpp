#include "features/pixel_layout.hpp"

#include "features/pixel_schedule.hpp"
#include "features/pixel_sums.hpp"

#include <algorithm>
#include <map>
#include <numeric>
#include <utility>
#include <variant>

namespace nkfast {

namespace {

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
        const auto row = picks.begin() + piece.pick * n;
        std::vector<std::int32_t> pick(row, row + n);
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
  const auto [at, is_new] =
      known_.try_emplace(pick, static_cast<std::int32_t>(picks.size() / lanes));
  if (is_new) {
    picks.insert(picks.end(), pick.begin(), pick.end());
  }
  return at->second;
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
