#include "features/pixels.hpp"

#include "features/hermite.hpp"
#include "features/pixel_runner.hpp"
#include "parallel.hpp"
#include "simd/dispatch.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace nkfast {

namespace {

constexpr std::size_t kGuard = kMostLanes;
constexpr std::size_t kExtra = 2; // planes behind the features: c, |v|^2

[[noreturn]] void fail(const std::string& message) { throw std::invalid_argument(message); }

std::size_t round_up(std::size_t n, std::size_t unit) { return (n + unit - 1) / unit * unit; }

bool power_of_two(std::size_t n) { return n > 0 && (n & (n - 1)) == 0; }

void check_indices(const Ints& indices, std::size_t limit, const char* name) {
  for (const std::int32_t i : indices) {
    if (i < 0 || static_cast<std::size_t>(i) >= limit) {
      fail(std::string(name) + ": expected indices in [0, " + std::to_string(limit) + "), got " +
           std::to_string(i));
    }
  }
}

void check_hash(const Hash& hash, std::size_t n, std::size_t limit, const char* name) {
  if (hash.to.size() != n || hash.signs.size() != n) {
    fail(std::string(name) + ": expected " + std::to_string(n) + " entries, got " +
         std::to_string(hash.to.size()));
  }
  check_indices(hash.to, limit, name);
}

void check_product(const TensorProduct& p, std::size_t n_a, std::size_t n_b) {
  if (!power_of_two(p.length_a) || !power_of_two(p.length_b)) {
    fail("product: expected powers of two");
  }
  check_hash(p.hash_a, n_a, p.length_a, "product, hash_a");
  check_hash(p.hash_b, n_b, p.length_b, "product, hash_b");
  if (p.take_a.size() != p.n || p.take_b.size() != p.n) {
    fail("product: expected as many samples as features");
  }
  check_indices(p.take_a, p.length_a, "product, take_a");
  check_indices(p.take_b, p.length_b, "product, take_b");
}

void check_activation(const PixelActivation& f, std::size_t n, std::size_t n_tangent,
                      bool tangent) {
  const std::size_t q = f.table.order, width = 2 * q + 4;
  if (f.degree == 0 || f.degree > q || q > HermiteWeights::kMaxOrder ||
      f.degree > HermiteWeights::kMaxDegree || f.powers.size() + 1 != f.degree) {
    fail("activation: expected degrees below 17 and their powers");
  }
  if (f.table.n < 4 || f.table.rows.size() != f.table.n * width ||
      f.table.at_zero.size() != width || f.table.reference.size() != width) {
    fail("activation: expected a table of four rows or more");
  }
  std::vector<std::size_t> sizes{n};
  for (const PixelPower& power : f.powers) {
    if (power.a >= sizes.size() || power.b >= sizes.size()) {
      fail("power: expected factors that come before it");
    }
    const std::size_t a = sizes[power.a], b = sizes[power.b];
    if (power.factors.size() > 0) {
      check_indices(power.product.take_a, a, "power, a");
      check_indices(power.product.take_b, b, "power, b");
      if (power.factors.size() != power.product.n ||
          power.product.take_a.size() != power.product.n ||
          power.product.take_b.size() != power.product.n) {
        fail("power: expected as many factors as features");
      }
    } else {
      check_product(power.product, a, b);
    }
    sizes.push_back(power.product.n);
  }
  const auto check_sums = [&](const std::vector<Hash>& sums, std::size_t width_, const char* name) {
    if (sums.size() != f.degree + 1) {
      fail(std::string(name) + ": expected one hash for each degree, and one for the rests");
    }
    check_hash(sums.back(), kRests, width_, name);
    for (std::size_t j = 0; j < f.degree; ++j) {
      check_hash(sums[j], sizes[j], width_, name);
    }
  };
  check_sums(f.sums, f.n, "sums");
  if (!tangent) {
    return;
  }
  if (f.alias) {
    check_sums(f.tangent_sums, f.n_tangent, "tangent_sums");
    return;
  }
  check_sums(f.slope_sums, f.n_slope, "slope_sums");
  check_product(f.product, n_tangent, f.n_slope);
  check_hash(f.from_product, f.product.n, f.n_tangent, "from_product");
  check_hash(f.from_tangent, n_tangent, f.n_tangent, "from_tangent");
  check_hash(f.from_slope, f.n_slope, f.n_tangent, "from_slope");
  if (f.merged) {
    check_hash(f.from_nngp, f.n + 1, f.n_tangent, "from_nngp");
  }
}

} // namespace

std::size_t PixelProgram::add_field(std::size_t height, std::size_t width, std::size_t n,
                                    std::size_t halo_rows, std::size_t halo_cols) {
  constexpr std::size_t kMostSize = std::size_t{1} << 24;
  if (height == 0 || width == 0 || height > kMostSize || width > kMostSize || n > kMostSize ||
      halo_rows > kMostSize || halo_cols > kMostSize) {
    fail("field: expected sizes in [1, 2^24]");
  }
  PixelGrid grid{.height = height, .width = width, .halo_rows = halo_rows, .halo_cols = halo_cols};
  grid.pitch = width + halo_cols;
  grid.front = round_up(kGuard + halo_rows * grid.pitch + halo_cols, kGuard);
  grid.stride = grid.front + round_up(height * grid.pitch, kGuard) +
                round_up(halo_rows * grid.pitch + halo_cols + kGuard, kGuard);
  grid.stride += grid.stride / kGuard % 2 == 0 ? kGuard : 0; // planes on different cache sets
  if ((n + kExtra) * grid.stride >= std::size_t{1} << 31) {
    fail("field: expected fewer pixels and features");
  }
  fields_.push_back({grid, n});
  ends_.push_back(0);
  return fields_.size() - 1;
}

void PixelProgram::use(std::size_t field, std::size_t step) {
  if (field >= fields_.size()) {
    fail("field: expected a number below " + std::to_string(fields_.size()) + ", got " +
         std::to_string(field));
  }
  ends_[field] = step;
}

void PixelProgram::add_stage(PixelStage stage) {
  if (stage.channels.empty() || stage.channels.size() > 2 || stage.stores.empty() ||
      stage.stores.size() > 2) {
    fail("stage: expected one channel or two");
  }
  const std::size_t step = steps_.size();
  for (const PixelChannel& channel : stage.channels) {
    for (const PixelPart& part : channel.parts) {
      use(part.field, step);
      check_hash(part.hash, fields_[part.field].n + 1, channel.n, "part, hash");
    }
    check_hash(channel.hash, 1, channel.n, "channel, hash");
  }
  std::vector<std::size_t> sizes;
  for (const PixelChannel& channel : stage.channels) {
    sizes.push_back(channel.n);
  }
  const bool tangent = stage.stores.size() > 1;
  if (stage.activation) {
    const PixelActivation& f = *stage.activation;
    if (tangent && !f.alias && sizes.size() < 2) {
      fail("stage: expected two channels");
    }
    check_activation(f, sizes[0], sizes.back(), tangent);
    sizes = {f.n, f.n_tangent};
  }
  for (std::size_t k = 0; k < stage.stores.size(); ++k) {
    use(stage.stores[k], step);
    const PixelField& field = fields_[stage.stores[k]];
    const PixelGrid &grid = field.grid, &first = fields_[stage.stores[0]].grid;
    if (k >= sizes.size() || field.n != sizes[k] || grid.height != first.height ||
        grid.pitch != first.pitch || grid.front != first.front || grid.width != first.width) {
      fail("stage: expected stores of the channels' sizes");
    }
  }
  steps_.push_back({false, stages_.size()});
  stages_.push_back(std::move(stage));
}

void PixelProgram::add_pool(PixelPool pool) {
  use(pool.from, steps_.size());
  use(pool.to, steps_.size());
  const PixelGrid &from = fields_[pool.from].grid, &to = fields_[pool.to].grid;
  if (pool.rows == 0 || pool.cols == 0 || fields_[pool.from].n != fields_[pool.to].n ||
      (to.height - 1) * pool.row_stride + pool.rows > from.height ||
      (to.width - 1) * pool.col_stride + pool.cols > from.width) {
    fail("pool: expected windows inside the image");
  }
  steps_.push_back({true, pools_.size()});
  pools_.push_back(pool);
}

void PixelProgram::finish(PixelOutput output) {
  use(output.field, steps_.size());
  const std::size_t n = fields_[output.field].n, apart = output.scalar ? 1 : 0;
  if (output.length > 0) {
    if (!power_of_two(output.length)) {
      fail("output: expected a power of two");
    }
    check_hash(output.hash, n + 1, output.length, "output, hash");
    check_indices(output.take, output.length, "output, take");
  }
  if (output.n < apart + (output.length > 0 ? output.take.size() : n)) {
    fail("output: expected room for all features");
  }
  output_ = std::move(output);
  place_fields();
}

// Fields that are not alive at the same time share memory.
void PixelProgram::place_fields() {
  std::vector<std::size_t> begins(fields_.size(), steps_.size());
  begins[0] = 0;
  for (std::size_t s = steps_.size(); s-- > 0;) {
    if (steps_[s].is_pool) {
      begins[pools_[steps_[s].index].to] = s;
    } else {
      for (const std::size_t field : stages_[steps_[s].index].stores) {
        begins[field] = s;
      }
    }
  }
  starts_.assign(fields_.size(), 0);
  field_size_ = 0;
  for (std::size_t f = 0; f < fields_.size(); ++f) {
    const std::size_t size = (fields_[f].n + kExtra) * fields_[f].grid.stride + kGuard;
    std::size_t start = 0;
    for (bool moved = true; moved;) {
      moved = false;
      for (std::size_t g = 0; g < f; ++g) {
        const std::size_t end =
            starts_[g] + (fields_[g].n + kExtra) * fields_[g].grid.stride + kGuard;
        const bool together = begins[f] <= ends_[g] && begins[g] <= ends_[f];
        if (together && start < end && starts_[g] < start + size) {
          start = round_up(end, 4 * kGuard);
          moved = true;
        }
      }
    }
    starts_[f] = start;
    field_size_ = std::max(field_size_, start + size);
  }
}

std::size_t PixelProgram::n_inputs() const {
  const PixelField& images = fields_.at(0);
  return images.grid.height * images.grid.width * images.n;
}

template <class T>
void PixelProgram::run(const T* images, std::size_t n_images, T* out, std::size_t n_threads) const {
  parallel_for(n_images, n_threads, 1, [&](std::size_t begin, std::size_t end) {
    Runner<T> runner(*this);
    for (std::size_t i = begin; i < end; ++i) {
      runner.image(images + i * n_inputs(), out + i * output_.n);
    }
  });
}

template void PixelProgram::run(const float*, std::size_t, float*, std::size_t) const;
template void PixelProgram::run(const double*, std::size_t, double*, std::size_t) const;

} // namespace nkfast
