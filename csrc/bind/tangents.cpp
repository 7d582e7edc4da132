// Bindings of csrc/kernels/tangents.hpp: derivatives of exact kernels in hyperparameters.
#include "kernels/tangents.hpp"
#include "bind/arrays.hpp"
#include "bind/bind.hpp"
#include "bind/builders.hpp"

#include <pybind11/stl.h>

#include <optional>
#include <stdexcept>
#include <utility>

using namespace pybind11::literals;

namespace nkfast {
namespace {

using Numbers = Array<double>;

TangentMap::Points points_of(const Numbers& table, const Numbers& tangents, std::size_t n_tangents,
                             const char* name) {
  if (table.ndim() != 2) {
    throw std::invalid_argument("left, right: expected 2-D arrays");
  }
  check_shape(tangents, {table.shape(0), static_cast<py::ssize_t>(n_tangents)}, name);
  return {.n = static_cast<std::size_t>(table.shape(0)),
          .width = static_cast<std::size_t>(table.shape(1)),
          .table = table.data(),
          .tangents = tangents.data()};
}

void add_activation(Turns<TangentBuilder>& self, DualKind kind, Reals params, Reals param_tangents,
                    const Numbers& left, const Numbers& left_tangents, const Numbers& right,
                    const Numbers& right_tangents) {
  const std::size_t h = self.take([](TangentBuilder& builder) { return builder.n_tangents(); });
  TangentMap map(kind, std::move(params), std::move(param_tangents), h,
                 points_of(left, left_tangents, h, "left_tangents"),
                 points_of(right, right_tangents, h, "right_tangents"));
  self.take([&](TangentBuilder& builder) { builder.activation(std::move(map)); });
}

// A block of the derivatives (n_tangents, n, n) of a symmetric kernel: where it begins, and whether
// it lies on the diagonal; else its transpose is written, too.
struct Block {
  py::ssize_t row, col;
  std::optional<Numbers> diagonal; // (n_tangents, rows)
};

template <class Source>
void run_block(const TangentProgram& program, const Source& source, double scale, py::ssize_t rows,
               py::ssize_t cols, bool ntk, Numbers& out, const Block& block,
               std::size_t n_threads) {
  const auto h = static_cast<py::ssize_t>(program.n_tangents());
  const py::ssize_t n = out.ndim() == 3 ? out.shape(1) : 0;
  check_shape(out, {h, n, n}, "out");
  if (block.row < 0 || block.col < 0 || block.row > n - rows || block.col > n - cols) {
    throw std::invalid_argument("row, col: expected a block within out");
  }
  const bool symmetric = block.diagonal.has_value();
  if (symmetric) {
    check_shape(*block.diagonal, {h, rows}, "diagonal");
    if (rows != cols || block.row != block.col) {
      throw std::invalid_argument("diagonal: expected a block on the diagonal of out");
    }
  }
  double* to = out.mutable_data(); // raises if read-only
  double* at = to + block.row * n + block.col;
  const TangentTarget target{.out = at,
                             .ld = n,
                             .stride = n * n,
                             .mirror = symmetric ? at : to + block.col * n + block.row,
                             .diagonal = symmetric ? block.diagonal->data() : nullptr};
  const Extent extent{static_cast<std::size_t>(rows), static_cast<std::size_t>(cols), symmetric};
  const Unlocked unlocked;
  program.run(source, scale, extent, ntk, target, n_threads);
}

} // namespace

void bind_tangents(py::module_& m) {
  using B = TangentBuilder;
  py::class_<Turns<B>>(m, "TangentBuilder", "Puts a TangentProgram together, layer by layer.")
      .def(py::init<std::size_t>(), "n_tangents"_a)
      .def("affine", in_turn(&B::affine), "w2"_a, "b2"_a, "dw2"_a, "db2"_a)
      .def("activation", &add_activation, "kind"_a, "params"_a, "param_tangents"_a,
           "left"_a.noconvert(), "left_tangents"_a.noconvert(), "right"_a.noconvert(),
           "right_tangents"_a.noconvert())
      .def("push", in_turn(&B::push))
      .def("add", in_turn(&B::add))
      .def("finish", in_turn(&B::finish));

  py::class_<TangentProgram>(m, "TangentProgram", "The layers of a network, for gradients.")
      .def(
          "run_points",
          [](const TangentProgram& self, const Numbers& x, const Numbers& z, double scale, bool ntk,
             Numbers& out, py::ssize_t row, py::ssize_t col, std::optional<Numbers> diagonal,
             std::size_t n_threads) {
            if (x.ndim() != 2 || z.ndim() != 2 || x.shape(1) != z.shape(1) || x.shape(1) == 0) {
              throw std::invalid_argument(
                  "X, Z: expected 2-D arrays of as many columns, one or more");
            }
            const Points<double> points{x.data(), z.data(), static_cast<std::size_t>(x.shape(1))};
            run_block(self, points, scale, x.shape(0), z.shape(0), ntk, out,
                      {row, col, std::move(diagonal)}, n_threads);
          },
          "X"_a.noconvert(), "Z"_a.noconvert(), "scale"_a, "ntk"_a, "out"_a.noconvert(), "row"_a,
          "col"_a, "diagonal"_a.noconvert().none(true), "n_threads"_a)
      .def(
          "run_products",
          [](const TangentProgram& self, const Numbers& products, double scale, bool ntk,
             Numbers& out, py::ssize_t row, py::ssize_t col, std::optional<Numbers> diagonal,
             std::size_t n_threads) {
            if (products.ndim() != 2) {
              throw std::invalid_argument("products: expected a 2-D array");
            }
            const GivenProducts given{products.data(), products.shape(1)};
            run_block(self, given, scale, products.shape(0), products.shape(1), ntk, out,
                      {row, col, std::move(diagonal)}, n_threads);
          },
          "products"_a.noconvert(), "scale"_a, "ntk"_a, "out"_a.noconvert(), "row"_a, "col"_a,
          "diagonal"_a.noconvert().none(true), "n_threads"_a);
}

} // namespace nkfast
