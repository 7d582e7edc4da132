// The Python module nkfast._core: the only file of the core that knows Python.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "bind_pixels.hpp"
#include "kernel/dense.hpp"
#include "kernel/images.hpp"
#include "simd/dispatch.hpp"
#include "sketch/norms.hpp"
#include "sketch/program.hpp"
#include "sketch/projections.hpp"
#include "sketch/rows.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace py = pybind11;
using namespace pybind11::literals;
using nkfast::HadamardMap;
using nkfast::HashMap;
using nkfast::KernelProgram;
using nkfast::Program;
using nkfast::Rows;

namespace {

template <class T> using Array = py::array_t<T, py::array::c_style>;

std::string compiler() {
#if defined(__clang__)
  return "Clang " __clang_version__;
#else
  return "GCC " __VERSION__;
#endif
}

// What could corrupt memory is checked here; what merely is wrong, in Python.
void check_shape(const py::array& array, std::initializer_list<py::ssize_t> shape,
                 const char* name) {
  bool fits = array.ndim() == static_cast<py::ssize_t>(shape.size());
  std::string expected, got;
  for (py::ssize_t i = 0; i < static_cast<py::ssize_t>(shape.size()); ++i) {
    fits = fits && array.shape(i) == shape.begin()[i];
    expected += (i > 0 ? ", " : "") + std::to_string(shape.begin()[i]);
  }
  for (py::ssize_t i = 0; i < array.ndim(); ++i) {
    got += (i > 0 ? ", " : "") + std::to_string(array.shape(i));
  }
  if (!fits) {
    throw std::invalid_argument(std::string(name) + ": expected shape (" + expected + "), got (" +
                                got + ")");
  }
}

template <class T> Rows<T> dense_rows(const Array<T>& x) {
  if (x.ndim() != 2) {
    throw std::invalid_argument("X: expected a 2-D array, got " + std::to_string(x.ndim()) + "-D");
  }
  Rows<T> rows;
  rows.n_rows = static_cast<std::size_t>(x.shape(0));
  rows.n_features = static_cast<std::size_t>(x.shape(1));
  rows.data = x.data();
  return rows;
}

template <class T, class I>
Rows<T> sparse_rows(const Array<T>& data, const Array<I>& indices, const Array<I>& starts,
                    std::size_t n_features) {
  const py::ssize_t stored = std::min(data.size(), indices.size());
  bool sound = data.ndim() == 1 && indices.ndim() == 1 && starts.ndim() == 1 && starts.size() > 0 &&
               starts.at(0) == 0;
  if (sound) {
    const I* start = starts.data();
    for (py::ssize_t i = 0; i + 1 < starts.size(); ++i) {
      sound = sound && start[i] <= start[i + 1];
    }
    sound = sound && start[starts.size() - 1] <= stored;
  }
  if (sound) {
    const I* index = indices.data();
    const I used = starts.data()[starts.size() - 1];
    for (I k = 0; k < used; ++k) {
      sound = sound && index[k] >= 0 && static_cast<std::size_t>(index[k]) < n_features;
    }
  }
  if (!sound) {
    throw std::invalid_argument("X: expected a sound CSR matrix, got row starts that decrease or "
                                "pass the end, or column indices out of range");
  }
  Rows<T> rows;
  rows.n_rows = static_cast<std::size_t>(starts.size() - 1);
  rows.n_features = n_features;
  rows.data = data.data();
  if constexpr (sizeof(I) == 4) {
    rows.indices32 = indices.data();
    rows.starts32 = starts.data();
  } else {
    rows.indices64 = indices.data();
    rows.starts64 = starts.data();
  }
  return rows;
}

template <class T> void row_norms(const Rows<T>& rows, Array<double>& out, std::size_t n_threads) {
  check_shape(out, {static_cast<py::ssize_t>(rows.n_rows)}, "out");
  double* to = out.mutable_data();
  py::gil_scoped_release released;
  nkfast::row_norms(rows, to, n_threads);
}

template <class T>
void run(const Program& program, const Rows<T>& rows, const std::optional<Array<T>>& scales,
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
  py::gil_scoped_release released;
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
  py::gil_scoped_release released;
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
        py::gil_scoped_release released;
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
        py::gil_scoped_release released;
        return nkfast::hadamard_axis(data, outer, n, inner, static_cast<T>(scale), n_threads);
      },
      "x"_a.noconvert(), "scale"_a, "n_threads"_a);
}

template <class T> void bind_dense(py::module_& m, py::class_<Program>& program) {
  m.def(
      "all_finite",
      [](const Array<T>& x, std::size_t n_threads) {
        const T* values = x.data();
        const auto n = static_cast<std::size_t>(x.size());
        py::gil_scoped_release released;
        return nkfast::all_finite(values, n, n_threads);
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
      [](const Program& self, const Array<T>& x, const std::optional<Array<T>>& scales,
         const std::optional<Array<double>>& weights, Array<T>& out,
         std::size_t n_threads) { run(self, dense_rows(x), scales, weights, out, n_threads); },
      "X"_a.noconvert(), "scales"_a.noconvert().none(true), "weights"_a.noconvert().none(true),
      "out"_a.noconvert(), "n_threads"_a);
}

template <class T, class I> void bind_sparse(py::module_& m, py::class_<Program>& program) {
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
      [](const Program& self, const Array<T>& data, const Array<I>& indices, const Array<I>& starts,
         const std::optional<Array<T>>& scales, const std::optional<Array<double>>& weights,
         Array<T>& out, std::size_t n_threads) {
        run(self, sparse_rows(data, indices, starts, self.n_features()), scales, weights, out,
            n_threads);
      },
      "data"_a.noconvert(), "indices"_a.noconvert(), "starts"_a.noconvert(),
      "scales"_a.noconvert().none(true), "weights"_a.noconvert().none(true), "out"_a.noconvert(),
      "n_threads"_a);
}

Array<double> radial_weights(const Array<double>& norms, const Array<double>& coefficients,
                             const Array<double>& at_zero, double middle, double half, double power,
                             std::size_t n_threads) {
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
    py::gil_scoped_release released;
    nkfast::radial_weights(from, static_cast<std::size_t>(n), c,
                           static_cast<std::size_t>(n_weights), n_terms, zero, middle, half, power,
                           to, n_threads);
  }
  return out;
}

using Reals = Array<double>;

nkfast::DualMap dual_map(const std::string& kind, std::vector<double> params, const Reals& left,
                         const Reals& right) {
  if (left.ndim() != 2 || right.ndim() != 2) {
    throw std::invalid_argument("left, right: expected 2-D arrays");
  }
  return {kind,
          std::move(params),
          left.data(),
          static_cast<std::size_t>(left.shape(0)),
          static_cast<std::size_t>(left.shape(1)),
          right.data(),
          static_cast<std::size_t>(right.shape(0)),
          static_cast<std::size_t>(right.shape(1))};
}

using MaybeArray = std::optional<py::array>;

// The memory of a writable (rows, cols) array whose rows may be any distance apart.
template <class T>
T* place(py::array& out, py::ssize_t rows, py::ssize_t cols, const char* name, std::ptrdiff_t& ld) {
  constexpr auto size = static_cast<py::ssize_t>(sizeof(T));
  check_shape(out, {rows, cols}, name);
  if (!py::isinstance<py::array_t<T>>(out) || (cols > 1 && out.strides(1) != size) ||
      out.strides(0) % size != 0 || reinterpret_cast<std::uintptr_t>(out.data()) % sizeof(T) != 0) {
    throw std::invalid_argument(std::string(name) +
                                ": expected aligned rows of contiguous entries, of one dtype");
  }
  ld = out.strides(0) / size;
  return static_cast<T*>(out.mutable_data()); // raises if read-only
}

template <class T>
nkfast::Target<T> target(MaybeArray& out, MaybeArray& mirror, const std::optional<Reals>& diagonal,
                         py::ssize_t rows, py::ssize_t cols, bool symmetric) {
  nkfast::Target<T> to;
  if (!out) {
    return to;
  }
  to.out = place<T>(*out, rows, cols, "out", to.ld);
  if (symmetric) {
    to.mirror = to.out;
    to.mirror_ld = to.ld;
  } else if (mirror) {
    to.mirror = place<T>(*mirror, cols, rows, "mirror", to.mirror_ld);
  }
  if (diagonal) {
    check_shape(*diagonal, {rows}, "diagonal");
    to.diagonal = diagonal->data();
  }
  return to;
}

// Kernels of a program into arrays of one dtype: where each goes, its mirror image, its diagonal.
struct Destination {
  MaybeArray nngp, ntk, nngp_mirror, ntk_mirror;
  std::optional<Reals> nngp_diagonal, ntk_diagonal;
  bool symmetric;
};

template <class T, class Source>
void run_into(const KernelProgram& program, const Source& source, double scale, py::ssize_t rows,
              py::ssize_t cols, Destination& to, std::size_t n_threads) {
  const auto nngp = target<T>(to.nngp, to.nngp_mirror, to.nngp_diagonal, rows, cols, to.symmetric);
  const auto ntk = target<T>(to.ntk, to.ntk_mirror, to.ntk_diagonal, rows, cols, to.symmetric);
  const nkfast::Extent extent{static_cast<std::size_t>(rows), static_cast<std::size_t>(cols),
                              to.symmetric};
  py::gil_scoped_release released;
  program.run(source, scale, extent, nngp, ntk, n_threads);
}

template <class Source>
void run_kernels(const KernelProgram& program, const Source& source, double scale, py::ssize_t rows,
                 py::ssize_t cols, Destination& to, std::size_t n_threads) {
  if (to.symmetric && rows != cols) {
    throw std::invalid_argument("symmetric: expected as many rows as columns");
  }
  const MaybeArray& any = to.nngp ? to.nngp : to.ntk;
  if (any && py::isinstance<py::array_t<float>>(*any)) {
    run_into<float>(program, source, scale, rows, cols, to, n_threads);
  } else {
    run_into<double>(program, source, scale, rows, cols, to, n_threads);
  }
}

template <class X> void bind_points(py::class_<KernelProgram>& program) {
  program.def(
      "run_points",
      [](const KernelProgram& self, const Array<X>& x, const Array<X>& z, double scale,
         Destination& to, std::size_t n_threads) {
        if (x.ndim() != 2 || z.ndim() != 2 || x.shape(1) != z.shape(1)) {
          throw std::invalid_argument("X, Z: expected 2-D arrays of as many columns");
        }
        const nkfast::Points<X> points{x.data(), z.data(), static_cast<std::size_t>(x.shape(1))};
        run_kernels(self, points, scale, x.shape(0), z.shape(0), to, n_threads);
      },
      "X"_a.noconvert(), "Z"_a.noconvert(), "scale"_a, "to"_a, "n_threads"_a);
}

void bind_kernels(py::module_& m) {
  m.def(
      "dual_map",
      [](const std::string& kind, std::vector<double> params, const Reals& left, const Reals& right,
         Reals& k, std::optional<Reals>& theta, std::size_t n_threads) {
        const nkfast::DualMap map = dual_map(kind, std::move(params), left, right);
        check_shape(k, {left.shape(0), right.shape(0)}, "k");
        if (theta) {
          check_shape(*theta, {left.shape(0), right.shape(0)}, "theta");
        }
        double* to_k = k.mutable_data();
        double* to_theta = theta ? theta->mutable_data() : nullptr;
        py::gil_scoped_release released;
        map.apply_all(to_k, to_theta, n_threads);
      },
      "kind"_a, "params"_a, "left"_a.noconvert(), "right"_a.noconvert(), "k"_a.noconvert(),
      "theta"_a.noconvert().none(true), "n_threads"_a);

  py::class_<Destination>(m, "Destination", "Where kernels go.")
      .def(py::init([](MaybeArray nngp, MaybeArray ntk, MaybeArray nngp_mirror,
                       MaybeArray ntk_mirror, std::optional<Reals> nngp_diagonal,
                       std::optional<Reals> ntk_diagonal, bool symmetric) {
             return Destination{std::move(nngp),
                                std::move(ntk),
                                std::move(nngp_mirror),
                                std::move(ntk_mirror),
                                std::move(nngp_diagonal),
                                std::move(ntk_diagonal),
                                symmetric};
           }),
           "nngp"_a.none(true), "ntk"_a.none(true), "nngp_mirror"_a.none(true) = py::none(),
           "ntk_mirror"_a.none(true) = py::none(), "nngp_diagonal"_a.none(true) = py::none(),
           "ntk_diagonal"_a.none(true) = py::none(), "symmetric"_a = false);

  py::class_<KernelProgram> program(m, "KernelProgram", "The layers of a network, for kernels.");
  program.def(py::init<>())
      .def("affine", &KernelProgram::affine, "w2"_a, "b2"_a)
      .def(
          "activation",
          [](KernelProgram& self, const std::string& kind, std::vector<double> params,
             const Reals& left, const Reals& right) {
            self.activation(dual_map(kind, std::move(params), left, right));
          },
          "kind"_a, "params"_a, "left"_a.noconvert(), "right"_a.noconvert())
      .def("push", &KernelProgram::push)
      .def("add", &KernelProgram::add)
      .def(
          "run_products",
          [](const KernelProgram& self, const Reals& products, double scale, Destination& to,
             std::size_t n_threads) {
            if (products.ndim() != 2) {
              throw std::invalid_argument("products: expected a 2-D array");
            }
            const nkfast::GivenProducts given{products.data(), products.shape(1)};
            run_kernels(self, given, scale, products.shape(0), products.shape(1), to, n_threads);
          },
          "products"_a.noconvert(), "scale"_a, "to"_a, "n_threads"_a);
  bind_points<float>(program);
  bind_points<double>(program);
}

nkfast::Axis axis(const std::array<std::size_t, 4>& sizes, bool circular) {
  return {.taps = sizes[0],
          .stride = sizes[1],
          .before = sizes[2],
          .circular = circular,
          .out = sizes[3]};
}

void run_images(const nkfast::ImageProgram& program, const Reals& x, const Reals& panels,
                const std::string& pairing, Reals& k, std::optional<Reals>& theta,
                std::size_t n_threads) {
  const auto size = [](std::size_t n) { return static_cast<py::ssize_t>(n); };
  const py::ssize_t n = x.ndim() > 0 ? x.shape(0) : 0;
  const py::ssize_t n_tiles = panels.ndim() > 0 ? panels.shape(0) : 0;
  const bool matched = pairing == "matched";
  check_shape(x, {n, size(program.height()), size(program.width()), size(program.channels())}, "X");
  check_shape(panels,
              {n_tiles, size(program.panel_rows()), size(program.panels()),
               size(program.channels()), size(nkfast::kDualPad)},
              "panels");
  const py::ssize_t n_outputs = size(program.n_outputs()) * (matched ? 1 : n_tiles);
  check_shape(k, {n, n_outputs}, "k");
  if (theta) {
    check_shape(*theta, {n, n_outputs}, "theta");
  }
  if (matched && n != n_tiles) {
    throw std::invalid_argument("pairing: expected as many images as tiles");
  }
  const nkfast::Images images{x.data(), panels.data(), static_cast<std::size_t>(n),
                              static_cast<std::size_t>(n_tiles)};
  const auto which = matched              ? nkfast::Pairing::kMatched
                     : pairing == "upper" ? nkfast::Pairing::kUpper
                                          : nkfast::Pairing::kAll;
  double* to_k = k.mutable_data();
  double* to_theta = theta ? theta->mutable_data() : nullptr;
  py::gil_scoped_release released;
  program.run(images, which, to_k, to_theta, n_threads);
}

void bind_images(py::module_& m) {
  using nkfast::ImageProgram;
  py::class_<ImageProgram>(m, "ImageProgram", "The layers of a network of images, for kernels.")
      .def(py::init([](std::size_t height, std::size_t width, std::size_t channels,
                       bool lanes_are_images, std::size_t images) {
             return ImageProgram(height, width, channels, {lanes_are_images, images});
           }),
           "height"_a, "width"_a, "channels"_a, "lanes_are_images"_a, "images"_a)
      .def(
          "conv",
          [](ImageProgram& self, const std::array<std::size_t, 4>& rows,
             const std::array<std::size_t, 4>& cols, bool circular, double w2,
             double b2) { self.conv(axis(rows, circular), axis(cols, circular), w2, b2); },
          "rows"_a, "cols"_a, "circular"_a, "w2"_a, "b2"_a)
      .def(
          "activation",
          [](ImageProgram& self, const std::string& kind, std::vector<double> params,
             const Reals& left, const Reals& right, bool rough) {
            nkfast::DualMap map = dual_map(kind, std::move(params), left, right);
            if (rough) {
              map.be_rough();
            }
            self.activation(std::move(map));
          },
          "kind"_a, "params"_a, "left"_a.noconvert(), "right"_a.noconvert(), "rough"_a = false)
      .def("push", &ImageProgram::push)
      .def("add", &ImageProgram::add)
      .def(
          "pool",
          [](ImageProgram& self, std::array<std::size_t, 2> rows, std::array<std::size_t, 2> cols) {
            self.pool({.taps = rows[0], .stride = rows[1]}, {.taps = cols[0], .stride = cols[1]});
          },
          "rows"_a, "cols"_a)
      .def(
          "finish",
          [](ImageProgram& self, const std::string& readout) {
            self.finish(readout == "mean"       ? nkfast::Readout::kMean
                        : readout == "diagonal" ? nkfast::Readout::kDiagonal
                                                : nkfast::Readout::kFlatten);
          },
          "readout"_a)
      .def("run", &run_images, "X"_a.noconvert(), "panels"_a.noconvert(), "pairing"_a,
           "k"_a.noconvert(), "theta"_a.noconvert().none(true), "n_threads"_a);
}

} // namespace

// The core keeps no state that changes after import, so it needs no GIL to guard it.
PYBIND11_MODULE(_core, m, py::mod_gil_not_used()) {
  nkfast::kernels(); // choose the SIMD level now, so that a bad NKFAST_SIMD fails at import

  m.attr("__version__") = NKFAST_VERSION;
  m.def("simd_level", &nkfast::level_name, "Name of the SIMD level in use.");
  m.def("simd_levels", &nkfast::runnable_levels, "SIMD levels that can run here, weakest first.");
  m.def("compiler", &compiler, "Name and version of the compiler that built the core.");

  py::class_<Program> program(m, "Program", "A sketch: steps over blocks of rows.");
  program.def(py::init<std::size_t>(), "n_features"_a)
      .def_property_readonly("n_features", &Program::n_features)
      .def_property_readonly("n_outputs", &Program::n_outputs)
      .def_property_readonly("n_weights", &Program::n_weights)
      .def("count_sketch", &Program::count_sketch, "src"_a, "dst"_a, "width"_a, "hashes"_a,
           "signs"_a)
      .def("add_constant", &Program::add_constant, "buffer"_a, "index"_a, "value"_a)
      .def("hadamard", &Program::hadamard, "buffer"_a)
      .def("fourier", &Program::fourier, "buffer"_a)
      .def("inverse_fourier", &Program::inverse_fourier, "buffer"_a)
      .def("multiply_spectra", &Program::multiply_spectra, "dst"_a, "src"_a)
      .def("product", &Program::product, "a"_a, "i"_a, "b"_a, "j"_a, "scale"_a, "dst"_a)
      .def("weighted_product", &Program::weighted_product, "a"_a, "i"_a, "b"_a, "j"_a, "factors"_a,
           "dst"_a)
      .def("gather", &Program::gather, "src"_a, "i"_a, "scale"_a, "dst"_a)
      .def("one", &Program::one, "dst"_a)
      .def("normalise", &Program::normalise, "buffer"_a)
      .def("emit", &Program::emit, "buffer"_a, "n"_a, "scale"_a, "weight"_a, "unit"_a);

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

  bind_kernels(m);
  bind_images(m);
  nkfast::bind_pixels(m);

  m.def("radial_weights", &radial_weights, "norms"_a.noconvert(), "coefficients"_a.noconvert(),
        "at_zero"_a.noconvert(), "middle"_a, "half"_a, "power"_a, "n_threads"_a);
}
