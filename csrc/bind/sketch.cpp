// Bindings of csrc/sketch: programs, hashings, transforms, norms.
#include "bind/arrays.hpp"
#include "bind/bind.hpp"
#include "bind/builders.hpp"
#include "bind/given.hpp"

#include <pybind11/stl.h>

#include "sketch/builder.hpp"
#include "sketch/norms.hpp"
#include "sketch/program.hpp"
#include "sketch/projections.hpp"

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <vector>

using namespace pybind11::literals;

namespace nkfast {
namespace {

template <class T> void row_norms(const Rows<T>& rows, Array<double>& out, std::size_t n_threads) {
  check_shape(out, {static_cast<py::ssize_t>(rows.n_rows)}, "out");
  double* to = out.mutable_data();
  const Unlocked unlocked;
  row_norms(rows, to, n_threads);
}

template <class T>
void run(const SketchProgram& program, const Rows<T>& rows, const std::optional<Array<T>>& scales,
         const std::optional<Array<double>>& weights, Array<T>& out, std::size_t n_threads) {
  const auto n = static_cast<py::ssize_t>(rows.n_rows);
  check_shape(out, {n, static_cast<py::ssize_t>(program.n_outputs())}, "out");
  if (scales) {
    check_shape(*scales, {n}, "scales");
  }
  if (weights) {
    check_shape(*weights, {n, static_cast<py::ssize_t>(program.n_weights())}, "weights");
  } else if (program.n_weights() > 0) {
    throw std::invalid_argument("weights: expected an array, got None");
  }
  const T* scale = scales ? scales->data() : nullptr;
  const double* weight = weights ? weights->data() : nullptr;
  T* to = out.mutable_data();
  const Unlocked unlocked;
  program.run(rows, scale, weight, to, n_threads);
}

template <class T> std::vector<T> to_vector(const Array<T>& x) {
  return {x.data(), x.data() + x.size()};
}

template <class T>
void check_rows(const Rows<T>& rows, std::size_t width, const Array<T>& out,
                std::size_t out_width) {
  if (rows.n_features != width) {
    throw std::invalid_argument("X: expected " + std::to_string(width) + " columns, got " +
                                std::to_string(rows.n_features));
  }
  check_shape(out, {static_cast<py::ssize_t>(rows.n_rows), static_cast<py::ssize_t>(out_width)},
              "out");
}

template <class Map, class T>
void map_rows(const Map& map, const Rows<T>& rows, Array<T>& out, std::size_t n_threads) {
  check_rows(rows, map.n_features(), out, map.n_components());
  T* to = out.mutable_data();
  const Unlocked unlocked;
  map.rows(rows, to, n_threads);
}

// A linear sketch of rows: Map is HashMap or HadamardMap.
template <class Map, class T> void bind_map(py::class_<Map>& map) {
  map.def(
      "rows",
      [](const Map& self, const Array<T>& x, Array<T>& out, std::size_t n_threads) {
        map_rows(self, dense_rows(x), out, n_threads);
      },
      "X"_a.noconvert(), "out"_a.noconvert(), "n_threads"_a);
  map.def(
      "adjoint",
      [](const Map& self, const Array<T>& z, Array<T>& out, std::size_t n_threads) {
        const Rows<T> rows = dense_rows(z);
        check_rows(rows, self.n_components(), out, self.n_features());
        T* to = out.mutable_data();
        const Unlocked unlocked;
        self.adjoint(rows, to, n_threads);
      },
      "Z"_a.noconvert(), "out"_a.noconvert(), "n_threads"_a);
}

template <class Map, class T, class I> void bind_sparse_map(py::class_<Map>& map) {
  map.def(
      "rows_csr",
      [](const Map& self, const Array<T>& data, const Array<I>& indices, const Array<I>& starts,
         Array<T>& out, std::size_t n_threads) {
        map_rows(self, sparse_rows(data, indices, starts, self.n_features()), out, n_threads);
      },
      "data"_a.noconvert(), "indices"_a.noconvert(), "starts"_a.noconvert(), "out"_a.noconvert(),
      "n_threads"_a);
}

template <class Map> void bind_all(py::class_<Map>& map) {
  map.def_property_readonly("n_features", &Map::n_features)
      .def_property_readonly("n_components", &Map::n_components);
  bind_map<Map, float>(map);
  bind_map<Map, double>(map);
  bind_sparse_map<Map, float, std::int32_t>(map);
  bind_sparse_map<Map, float, std::int64_t>(map);
  bind_sparse_map<Map, double, std::int32_t>(map);
  bind_sparse_map<Map, double, std::int64_t>(map);
}

template <class T> void bind_fwht(py::module_& m) {
  m.def(
      "fwht",
      [](Array<T>& x, double scale, std::size_t n_threads) {
        if (x.ndim() != 3 || x.shape(1) == 0 || (x.shape(1) & (x.shape(1) - 1)) != 0) {
          throw std::invalid_argument("x: expected (outer, n, inner) with n a power of two");
        }
        const auto outer = static_cast<std::size_t>(x.shape(0));
        const auto n = static_cast<std::size_t>(x.shape(1));
        const auto inner = static_cast<std::size_t>(x.shape(2));
        T* data = x.mutable_data();
        const py::gil_scoped_release unlocked; // to the end: nothing is left half done
        return hadamard_axis(data, outer, n, inner, static_cast<T>(scale), n_threads);
      },
      "x"_a.noconvert(), "scale"_a, "n_threads"_a);
}

template <class T> void bind_dense(py::module_& m, py::class_<SketchProgram>& program) {
  m.def(
      "all_finite",
      [](const Array<T>& x, std::size_t n_threads) {
        const T* values = x.data();
        const auto n = static_cast<std::size_t>(x.size());
        const Unlocked unlocked;
        return all_finite(values, n, n_threads);
      },
      "x"_a.noconvert(), "n_threads"_a);
  m.def(
      "row_norms",
      [](const Array<T>& x, Array<double>& out, std::size_t n_threads) {
        row_norms(dense_rows(x), out, n_threads);
      },
      "X"_a.noconvert(), "out"_a.noconvert(), "n_threads"_a);
  program.def(
      "run",
      [](const SketchProgram& self, const Array<T>& x, const std::optional<Array<T>>& scales,
         const std::optional<Array<double>>& weights, Array<T>& out,
         std::size_t n_threads) { run(self, dense_rows(x), scales, weights, out, n_threads); },
      "X"_a.noconvert(), "scales"_a.noconvert().none(true), "weights"_a.noconvert().none(true),
      "out"_a.noconvert(), "n_threads"_a);
}

template <class T, class I> void bind_sparse(py::module_& m, py::class_<SketchProgram>& program) {
  m.def(
      "row_norms_csr",
      [](const Array<T>& data, const Array<I>& indices, const Array<I>& starts,
         std::size_t n_features, Array<double>& out, std::size_t n_threads) {
        row_norms(sparse_rows(data, indices, starts, n_features), out, n_threads);
      },
      "data"_a.noconvert(), "indices"_a.noconvert(), "starts"_a.noconvert(), "n_features"_a,
      "out"_a.noconvert(), "n_threads"_a);
  program.def(
      "run_csr",
      [](const SketchProgram& self, const Array<T>& data, const Array<I>& indices,
         const Array<I>& starts, const std::optional<Array<T>>& scales,
         const std::optional<Array<double>>& weights, Array<T>& out, std::size_t n_threads) {
        run(self, sparse_rows(data, indices, starts, self.n_features()), scales, weights, out,
            n_threads);
      },
      "data"_a.noconvert(), "indices"_a.noconvert(), "starts"_a.noconvert(),
      "scales"_a.noconvert().none(true), "weights"_a.noconvert().none(true), "out"_a.noconvert(),
      "n_threads"_a);
}

Array<double> weights_of_norms(const Array<double>& norms, const Array<double>& coefficients,
                               const Array<double>& at_zero, double middle, double half,
                               double power, std::size_t n_threads) {
  if (norms.ndim() != 1 || coefficients.ndim() != 2) {
    throw std::invalid_argument("norms, coefficients: expected a 1-D and a 2-D array");
  }
  const py::ssize_t n = norms.shape(0);
  const py::ssize_t n_weights = coefficients.shape(0);
  check_shape(at_zero, {n_weights}, "at_zero");
  Array<double> out({n, n_weights});
  const double* from = norms.data();
  const double* c = coefficients.data();
  const double* zero = at_zero.data();
  double* to = out.mutable_data();
  const auto n_terms = static_cast<std::size_t>(coefficients.shape(1));
  {
    const Unlocked unlocked;
    radial_weights(from, static_cast<std::size_t>(n), c, static_cast<std::size_t>(n_weights),
                   n_terms, zero, middle, half, power, to, n_threads);
  }
  return out;
}

} // namespace

void bind_sketch(py::module_& m) {
  using B = SketchBuilder;
  py::class_<Turns<B>>(m, "SketchBuilder", "Puts a SketchProgram together, step by step.")
      .def(py::init<std::size_t>(), "n_features"_a)
      .def("count_sketch", given(&B::count_sketch), "src"_a, "dst"_a, "width"_a, "hashes"_a,
           "signs"_a)
      .def("add_constant", in_turn(&B::add_constant), "buffer"_a, "index"_a, "value"_a)
      .def("hadamard", in_turn(&B::hadamard), "buffer"_a)
      .def("fourier", in_turn(&B::fourier), "buffer"_a)
      .def("inverse_fourier", in_turn(&B::inverse_fourier), "buffer"_a)
      .def("multiply_spectra", in_turn(&B::multiply_spectra), "dst"_a, "src"_a)
      .def("product", given(&B::product), "a"_a, "i"_a, "b"_a, "j"_a, "scale"_a, "dst"_a)
      .def("weighted_product", given(&B::weighted_product), "a"_a, "i"_a, "b"_a, "j"_a, "factors"_a,
           "dst"_a)
      .def("gather", given(&B::gather), "src"_a, "i"_a, "scale"_a, "dst"_a)
      .def("one", in_turn(&B::one), "dst"_a)
      .def("normalise", in_turn(&B::normalise), "buffer"_a)
      .def("linear", given(&B::linear), "src"_a, "matrix"_a, "dst"_a)
      .def("recurrence", given(&B::recurrence), "src"_a, "n"_a, "a"_a, "b"_a, "c"_a, "dst"_a)
      .def("emit", in_turn(&B::emit), "buffer"_a, "n"_a, "scale"_a, "weight"_a, "unit"_a)
      .def("emit_part", in_turn(&B::emit_part), "buffer"_a, "n"_a, "scale"_a, "weight"_a, "first"_a,
           "i"_a, "second"_a, "j"_a)
      .def("finish", in_turn(&B::finish));

  py::class_<SketchProgram> program(m, "SketchProgram", "A sketch: steps over blocks of rows.");
  program.def_property_readonly("n_features", &SketchProgram::n_features)
      .def_property_readonly("n_outputs", &SketchProgram::n_outputs)
      .def_property_readonly("n_weights", &SketchProgram::n_weights);

  bind_dense<float>(m, program);
  bind_dense<double>(m, program);
  bind_sparse<float, std::int32_t>(m, program);
  bind_sparse<float, std::int64_t>(m, program);
  bind_sparse<double, std::int32_t>(m, program);
  bind_sparse<double, std::int64_t>(m, program);
  bind_fwht<float>(m);
  bind_fwht<double>(m);

  py::class_<HashMap> hash_map(m, "HashMap", "CountSketch and OSNAP of rows.");
  hash_map.def(py::init([](std::size_t n_components, const Array<std::int32_t>& hashes,
                           const Array<double>& values) {
                 if (hashes.ndim() != 2) {
                   throw std::invalid_argument("hashes: expected a 2-D array");
                 }
                 const auto n_nonzeros = static_cast<std::size_t>(hashes.shape(1));
                 return HashMap(n_components, n_nonzeros, to_vector(hashes), to_vector(values));
               }),
               "n_components"_a, "hashes"_a.noconvert(), "values"_a.noconvert());
  bind_all(hash_map);

  py::class_<HadamardMap> hadamard_map(m, "HadamardMap", "Subsampled Hadamard transform of rows.");
  hadamard_map.def(
      py::init([](std::size_t length, const Array<std::int64_t>& counts,
                  const Array<std::int32_t>& samples, const Array<double>& signs, double scale) {
        if (signs.ndim() != 2) {
          throw std::invalid_argument("signs: expected a 2-D array");
        }
        const auto n_features = static_cast<std::size_t>(signs.shape(1));
        return HadamardMap(n_features, length, to_vector(counts), to_vector(samples),
                           to_vector(signs), scale);
      }),
      "length"_a, "counts"_a.noconvert(), "samples"_a.noconvert(), "signs"_a.noconvert(),
      "scale"_a);
  bind_all(hadamard_map);

  m.def("radial_weights", &weights_of_norms, "norms"_a.noconvert(), "coefficients"_a.noconvert(),
        "at_zero"_a.noconvert(), "middle"_a, "half"_a, "power"_a, "n_threads"_a);
}

} // namespace nkfast
