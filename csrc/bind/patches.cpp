// Bindings of csrc/features/patches: responses of filters to the patches of images.
#include "features/patches.hpp"
#include "bind/arrays.hpp"
#include "bind/bind.hpp"

#include <pybind11/stl.h>

#include <cstddef>
#include <stdexcept>
#include <utility>
#include <vector>

using namespace pybind11::literals;

namespace nkfast {
namespace {

using Edges = std::vector<std::size_t>;

template <class T> void bind_run(py::module_& m) {
  m.def(
      "rectified_patches",
      [](const Array<T>& x, const Array<T>& filters, const Array<T>& shift, Array<T>& out,
         std::pair<std::size_t, std::size_t> patch, std::size_t stride, Edges row_edges,
         Edges col_edges, double unit, double ridge, double threshold, std::size_t n_threads) {
        const auto size = [](std::size_t n) { return static_cast<py::ssize_t>(n); };
        if (x.ndim() != 4 || filters.ndim() != 2) {
          throw std::invalid_argument("X, filters: expected images in 4-D, and filters in 2-D");
        }
        const PatchLayout layout{.height = static_cast<std::size_t>(x.shape(1)),
                                 .width = static_cast<std::size_t>(x.shape(2)),
                                 .channels = static_cast<std::size_t>(x.shape(3)),
                                 .rows = patch.first,
                                 .cols = patch.second,
                                 .stride = stride,
                                 .row_edges = std::move(row_edges),
                                 .col_edges = std::move(col_edges),
                                 .unit = unit,
                                 .ridge = ridge,
                                 .threshold = threshold};
        layout.check();
        const py::ssize_t n_filters = filters.shape(1);
        check_shape(filters, {size(layout.patch_size()), n_filters}, "filters");
        check_shape(shift, {n_filters}, "shift");
        check_shape(out,
                    {x.shape(0), size(layout.row_edges.size() - 1),
                     size(layout.col_edges.size() - 1), 2 * n_filters},
                    "out");
        const T* from = x.data();
        const T* weights = filters.data();
        const T* less = shift.data();
        T* to = out.mutable_data();
        const auto n = static_cast<std::size_t>(x.shape(0));
        const Unlocked unlocked;
        rectified_patches(layout, from, n, weights, less, static_cast<std::size_t>(n_filters), to,
                          n_threads);
      },
      "X"_a.noconvert(), "filters"_a.noconvert(), "shift"_a.noconvert(), "out"_a.noconvert(),
      py::kw_only(), "patch"_a, "stride"_a, "row_edges"_a, "col_edges"_a, "unit"_a, "ridge"_a,
      "threshold"_a, "n_threads"_a);
}

} // namespace

void bind_patches(py::module_& m) {
  bind_run<float>(m);
  bind_run<double>(m);
}

} // namespace nkfast
