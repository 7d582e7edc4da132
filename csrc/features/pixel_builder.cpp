#include "features/pixel_builder.hpp"

#include "features/hermite.hpp"
#include "features/pixel_sums.hpp"
#include "simd/kernels.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>

namespace nkfast {

namespace {

[[noreturn]] void fail(const std::string& message) { throw std::invalid_argument(message); }

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

void check_activation(const PixelActivation& f, std::size_t n, std::size_t n_tangent) {
  const HermiteGrid& table = f.table;
  const std::size_t q = table.order, rows = table.power ? 1 : 4;
  if (f.degree == 0 || f.degree > q || q > HermiteWeights::kMaxOrder ||
      f.degree > HermiteWeights::kMaxDegree || f.powers.size() + 1 != f.degree) {
    fail("activation: expected degrees below 17 and their powers");
  }
  if (table.n < rows || table.rows.size() != table.n * table.width() ||
      table.low.size() != table.numbers() + 2 || table.high.size() != table.numbers() + 2 ||
      table.at_zero.size() != table.numbers() || table.reference.size() != table.numbers()) {
    fail("activation: expected a table of one row, or of four or more");
  }
  std::vector<std::size_t> sizes{n};
  for (const PixelPower& power : f.powers) {
    if (power.a >= sizes.size() || power.b >= sizes.size()) {
      fail("power: expected factors that come before it");
    }
    const std::size_t a = sizes[power.a], b = sizes[power.b];
    if (const auto* monomials = std::get_if<Monomials>(&power.how)) {
      check_indices(monomials->take_a, a, "power, a");
      check_indices(monomials->take_b, b, "power, b");
      if (monomials->take_a.size() != power.n() || monomials->take_b.size() != power.n()) {
        fail("power: expected as many factors as features");
      }
    } else {
      check_product(std::get<TensorProduct>(power.how), a, b);
    }
    sizes.push_back(power.n());
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
  if (const SharedTangent* shared = f.shared()) {
    check_sums(shared->sums, shared->n, "tangent, sums");
  } else if (const OwnTangent* own = f.own()) {
    check_sums(own->slope_sums, own->n_slope, "tangent, slope_sums");
    check_product(own->product, n_tangent, own->n_slope);
    check_hash(own->from_product, own->product.n, own->n, "tangent, from_product");
    check_hash(own->from_tangent, n_tangent, own->n, "tangent, from_tangent");
    check_hash(own->from_slope, own->n_slope, own->n, "tangent, from_slope");
    check_hash(own->from_nngp, f.n + 1, own->n, "tangent, from_nngp");
  }
}

// The feature that a hash brings to each of `length` places; it brings one at most.
Gather turned(const Hash& hash, std::size_t length) {
  Ints from(length, 0);
  Reals signs(length, 0.0);
  for (std::size_t j = 0; j < hash.to.size(); ++j) {
    const auto place = static_cast<std::size_t>(hash.to[j]);
    if (signs[place] != 0) {
      fail("product: expected a hash without collisions");
    }
    from[place] = static_cast<std::int32_t>(j);
    signs[place] = hash.signs.reals()[j];
  }
  return {std::move(from), Values(std::move(signs))};
}

void prepare(TensorProduct& p) {
  p.from_a = turned(p.hash_a, p.length_a);
  p.from_b = turned(p.hash_b, p.length_b);
  p.in_order = p.n == p.length_a && p.n == p.length_b;
  for (std::size_t t = 0; p.in_order && t < p.n; ++t) {
    p.in_order = p.take_a[t] == static_cast<std::int32_t>(t) && p.take_b[t] == p.take_a[t];
  }
}

// Finds what need not be done twice, and sums that can be read in order.
void prepare(PixelActivation& f) {
  std::vector<const PixelPower*> firsts; // with leaves of their own
  for (PixelPower& power : f.powers) {
    if (auto* p = std::get_if<TensorProduct>(&power.how)) {
      prepare(*p);
      const auto same = [&](const PixelPower* other) {
        const auto& q = std::get<TensorProduct>(other->how);
        return other->b == power.b && q.length_b == p->length_b && q.hash_b.to == p->hash_b.to &&
               q.hash_b.signs.reals() == p->hash_b.signs.reals();
      };
      const auto at = std::find_if(firsts.begin(), firsts.end(), same);
      p->leaf = static_cast<std::size_t>(at - firsts.begin());
      if (at == firsts.end()) {
        firsts.push_back(&power);
        f.leaves.push_back(p->length_b);
      }
    }
  }
  const auto sums = [](const std::vector<Hash>& hashes, std::size_t n) {
    std::vector<Addend> addends;
    for (std::size_t j = 0; j + 1 < hashes.size(); ++j) {
      addends.push_back({&hashes[j], hashes[j].to.size()});
    }
    return find_sums(addends, n);
  };
  f.read = sums(f.sums, f.n);
  if (SharedTangent* shared = f.shared()) {
    shared->read = sums(shared->sums, shared->n);
  } else if (OwnTangent* own = f.own()) {
    prepare(own->product);
    own->slope_read = sums(own->slope_sums, own->n_slope);
    std::vector<Addend> addends;
    for (const Hash* hash : {&own->from_product, &own->from_tangent, &own->from_slope}) {
      addends.push_back({hash, hash->to.size()});
    }
    if (f.merged > 0) {
      addends.push_back({&own->from_nngp, f.n});
    }
    own->read = find_sums(addends, own->n);
  }
}

} // namespace

std::size_t PixelBuilder::add_field(std::size_t height, std::size_t width, std::size_t n) {
  check_open();
  constexpr std::size_t kMostSize = std::size_t{1} << 24;
  if (height == 0 || width == 0 || height > kMostSize || width > kMostSize || n > kMostSize) {
    fail("field: expected sizes in [1, 2^24]");
  }
  if ((n + 2) * (height * width + kMostLanes) >= std::size_t{1} << 31) {
    fail("field: expected fewer pixels and features");
  }
  parts_.fields.push_back({{.height = height, .width = width}, n});
  made_.push_back(parts_.fields.size() == 1);
  return parts_.fields.size() - 1;
}

void PixelBuilder::check_field(std::size_t field) const {
  check_open();
  if (field >= parts_.fields.size()) {
    fail("field: expected a number below " + std::to_string(parts_.fields.size()) + ", got " +
         std::to_string(field));
  }
}

// Of what is there already.
void PixelBuilder::use(std::size_t field) const {
  check_field(field);
  if (!made_[field]) {
    fail("field " + std::to_string(field) + ": expected a stage or pool before that makes it");
  }
}

// Each field once.
void PixelBuilder::make(std::size_t field) {
  check_field(field);
  if (made_[field]) {
    fail("field " + std::to_string(field) + ": expected one stage or pool that makes it");
  }
  made_[field] = true;
}

void PixelBuilder::add_stage(PixelStage stage) {
  if (stage.channels.empty() || stage.channels.size() > 2 || stage.stores.empty() ||
      stage.stores.size() > 2) {
    fail("stage: expected one channel or two");
  }
  for (PixelChannel& channel : stage.channels) {
    for (PixelPart& part : channel.parts) {
      use(part.field);
      check_hash(part.hashed, parts_.fields[part.field].n + 1, channel.n, "part, hash");
      Reals signs = part.hashed.signs.reals(); // with the scale of what is hashed by them
      std::for_each(signs.begin(), signs.end() - 1, [&](double& sign) { sign *= part.scale; });
      part.hashed.signs = Values(std::move(signs));
    }
    check_hash(channel.hashed, 1, channel.n, "channel, hash");
  }
  std::vector<std::size_t> sizes;
  for (const PixelChannel& channel : stage.channels) {
    sizes.push_back(channel.n);
  }
  if (stage.activation) {
    const PixelActivation& f = *stage.activation;
    if (f.own() != nullptr && sizes.size() < 2) {
      fail("stage: expected two channels");
    }
    check_activation(f, sizes[0], sizes.back());
    prepare(*stage.activation);
    sizes = {f.n};
    if (const SharedTangent* shared = f.shared()) {
      sizes.push_back(shared->n);
    } else if (const OwnTangent* own = f.own()) {
      sizes.push_back(own->n);
    }
    if (stage.stores.size() != sizes.size()) {
      fail("stage: expected a store for each kernel behind the activation");
    }
  } else if (stage.stores.size() != sizes.size()) {
    fail("stage: expected a store for each channel");
  }
  for (std::size_t k = 0; k < stage.stores.size(); ++k) {
    make(stage.stores[k]);
    const PixelField& field = parts_.fields[stage.stores[k]];
    const PixelGrid &grid = field.grid, &first = parts_.fields[stage.stores[0]].grid;
    if (k >= sizes.size() || field.n != sizes[k] || grid.height != first.height ||
        grid.width != first.width) {
      fail("stage: expected stores of the channels' sizes");
    }
  }
  parts_.steps.push_back({false, parts_.stages.size()});
  parts_.stages.push_back(std::move(stage));
}

void PixelBuilder::add_pool(PixelPool pool) {
  use(pool.from);
  make(pool.to);
  const PixelGrid &from = parts_.fields[pool.from].grid, &to = parts_.fields[pool.to].grid;
  if (pool.rows == 0 || pool.cols == 0 || parts_.fields[pool.from].n != parts_.fields[pool.to].n ||
      (to.height - 1) * pool.row_stride + pool.rows > from.height ||
      (to.width - 1) * pool.col_stride + pool.cols > from.width) {
    fail("pool: expected windows inside the image");
  }
  parts_.steps.push_back({true, parts_.pools.size()});
  parts_.pools.push_back(pool);
}

PixelProgram PixelBuilder::finish(PixelOutput output) {
  use(output.field);
  const std::size_t n = parts_.fields[output.field].n, apart = output.scalar ? 1 : 0;
  std::size_t taken = n;
  if (output.sample) {
    const HadamardSample& sample = *output.sample;
    if (!power_of_two(sample.length)) {
      fail("output: expected a power of two");
    }
    check_hash(sample.hashed, n + 1, sample.length, "output, hash");
    check_indices(sample.take, sample.length, "output, take");
    taken = sample.take.size();
  }
  if (output.n < apart + taken) {
    fail("output: expected room for all features");
  }
  close();
  parts_.output = std::move(output);
  return PixelProgram(std::move(parts_));
}

} // namespace nkfast
