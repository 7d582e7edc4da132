// Which pixels of its fields a stage looks at, block by block.
#pragma once

#include "features/pixel_stages.hpp"
#include "simd/kernels.hpp"

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace nkfast {

// A block of pixels as a part sees it: contiguous from base, or those listed from `list` on.
struct PixelView {
  std::int32_t base = -1;
  std::size_t list = 0;
};

template <class T> struct PixelVisits {
  struct Block {
    std::size_t position = 0;
    T mask[kMostLanes] = {};
    std::vector<PixelView> views{}; // of all parts of all channels
  };
  std::vector<Block> blocks{};
  Ints lists{};

  // Cell 0 of every plane is zero.
  PixelVisits(const PixelStage& stage, const std::vector<PixelField>& fields, std::size_t n_lanes)
      : lanes_(n_lanes) {
    const PixelGrid& grid = fields[stage.stores[0]].grid;
    for (std::size_t at = 0; at < grid.span(); at += lanes_) {
      Block block;
      block.position = grid.front + at;
      bool any = false;
      for (std::size_t r = 0; r < lanes_; ++r) {
        const bool inside =
            (at + r) % grid.pitch < grid.width && (at + r) / grid.pitch < grid.height;
        block.mask[r] = inside ? T{1} : T{0};
        any = any || inside;
      }
      if (!any) {
        continue;
      }
      for (const PixelChannel& channel : stage.channels) {
        for (const PixelPart& part : channel.parts) {
          block.views.push_back(view(part, fields[part.field].grid, grid, at, block.mask));
        }
      }
      blocks.push_back(std::move(block));
    }
  }

private:
  static std::int64_t wrap(std::int64_t i, std::int64_t n) { return ((i % n) + n) % n; }

  PixelView view(const PixelPart& part, const PixelGrid& from, const PixelGrid& to, std::size_t at,
                 const T* mask) {
    const auto height = static_cast<std::int64_t>(from.height);
    const auto width = static_cast<std::int64_t>(from.width);
    const auto halo_rows = static_cast<std::int64_t>(from.halo_rows);
    const auto halo_cols = static_cast<std::int64_t>(from.halo_cols);
    std::int64_t cells[kMostLanes] = {};
    std::int64_t base = -1;
    bool straight = true;
    for (std::size_t r = 0; r < lanes_; ++r) {
      if (mask[r] == 0) {
        continue;
      }
      const PixelLook& look = part.look;
      std::int64_t row = static_cast<std::int64_t>((at + r) / to.pitch) * look.row_stride;
      std::int64_t col = static_cast<std::int64_t>((at + r) % to.pitch) * look.col_stride;
      row += look.row_offset;
      col += look.col_offset;
      if (look.circular) {
        row = wrap(row, height);
        col = wrap(col, width);
      }
      const std::int64_t cell =
          static_cast<std::int64_t>(from.front) + row * static_cast<std::int64_t>(from.pitch) + col;
      const bool inside = row >= 0 && row < height && col >= 0 && col < width;
      cells[r] = inside ? cell : 0;
      const std::int64_t first = cell - static_cast<std::int64_t>(r);
      base = base < 0 ? first : base;
      // Cells of the halo are zero; those of the columns are shared by neighbouring rows.
      straight = straight && first == base && row >= -halo_rows && row < height + halo_rows &&
                 col >= -halo_cols && col < width + halo_cols;
    }
    if (straight && base >= 0 && static_cast<std::size_t>(base) + lanes_ <= from.stride) {
      return {static_cast<std::int32_t>(base), 0};
    }
    const PixelView found{-1, lists.size()};
    for (std::size_t r = 0; r < lanes_; ++r) {
      lists.push_back(static_cast<std::int32_t>(cells[r]));
    }
    return found;
  }

  std::size_t lanes_;
};

} // namespace nkfast
