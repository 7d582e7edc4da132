// Bindings of csrc/kernels: dual maps, and exact kernels of rows.
#include "bind/arrays.hpp"
#include "bind/bind.hpp"
#include "bind/builders.hpp"
#include "bind/dual_map.hpp"
#include "kernels/blurs.hpp"
#include "kernels/dense.hpp"
#include "kernels/series.hpp"

#include <pybind11/complex.h>
#include <pybind11/native_enum.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

using namespace pybind11::literals;

namespace nkfast {
namespace {

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
  ld = rows > 1 ? out.strides(0) / size : cols; // of a single row the stride may be anything
  return static_cast<T*>(out.mutable_data());   // raises if read-only
}

template <class T>
Target<T> target(MaybeArray out, MaybeArray mirror, const std::optional<Array<double>>& diagonal,
                 py::ssize_t rows, py::ssize_t cols, bool symmetric) {
  Target<T> to;
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
  std::optional<Array<double>> nngp_diagonal, ntk_diagonal;
  bool symmetric;
};

template <class T, class Source>
std::size_t run_into(const KernelProgram& program, const Source& source, double scale,
                     py::ssize_t rows, py::ssize_t cols, const Destination& to,
                     std::size_t n_threads) {
  const auto nngp = target<T>(to.nngp, to.nngp_mirror, to.nngp_diagonal, rows, cols, to.symmetric);
  const auto ntk = target<T>(to.ntk, to.ntk_mirror, to.ntk_diagonal, rows, cols, to.symmetric);
  const Extent extent{static_cast<std::size_t>(rows), static_cast<std::size_t>(cols), to.symmetric};
  const Unlocked unlocked;
  return program.run(source, scale, extent, nngp, ntk, n_threads);
}

template <class Source>
std::size_t run_kernels(const KernelProgram& program, const Source& source, double scale,
                        py::ssize_t rows, py::ssize_t cols, const Destination& to,
                        std::size_t n_threads) {
  if (to.symmetric && rows != cols) {
    throw std::invalid_argument("symmetric: expected as many rows as columns");
  }
  const MaybeArray& any = to.nngp ? to.nngp : to.ntk;
  if (any && py::isinstance<py::array_t<float>>(*any)) {
    return run_into<float>(program, source, scale, rows, cols, to, n_threads);
  }
  return run_into<double>(program, source, scale, rows, cols, to, n_threads);
}

template <class X> void bind_points(py::class_<KernelProgram>& program) {
  program.def(
      "run_points",
      [](const KernelProgram& self, const Array<X>& x, const Array<X>& z, double scale,
         const Destination& to, std::size_t n_threads) {
        if (x.ndim() != 2 || z.ndim() != 2 || x.shape(1) != z.shape(1) || x.shape(1) == 0) {
          throw std::invalid_argument("X, Z: expected 2-D arrays of as many columns, one or more");
        }
        const Points<X> points{x.data(), z.data(), static_cast<std::size_t>(x.shape(1))};
        return run_kernels(self, points, scale, x.shape(0), z.shape(0), to, n_threads);
      },
      "X"_a.noconvert(), "Z"_a.noconvert(), "scale"_a, "to"_a, "n_threads"_a);
}

Array<double> bound_hermite_sums(const Array<double>& values, const Array<double>& z,
                                 const Array<double>& start, std::size_t degrees) {
  if (values.ndim() != 2) {
    throw std::invalid_argument("values: expected a 2-D array");
  }
  const py::ssize_t rows = values.shape(0), n = values.shape(1);
  check_shape(z, {n}, "z");
  check_shape(start, {n}, "start");
  Array<double> out({rows, static_cast<py::ssize_t>(degrees)});
  const double *f = values.data(), *x = z.data(), *from = start.data();
  double* to = out.mutable_data();
  {
    const Unlocked unlocked;
    hermite_sums(f, static_cast<std::size_t>(rows), static_cast<std::size_t>(n), x, from, degrees,
                 to);
  }
  return out;
}

Array<double> bound_smooth_values(const Array<double>& cells, double unit, double begin,
                                  double per_unit, const Array<double>& x) {
  if (cells.ndim() != 2 || cells.shape(0) == 0) {
    throw std::invalid_argument("cells: expected a 2-D array with rows");
  }
  check_shape(cells, {cells.shape(0), kSmoothPowers}, "cells");
  Array<double> out(std::vector<py::ssize_t>(x.shape(), x.shape() + x.ndim()));
  const double *table = cells.data(), *from = x.data();
  double* to = out.mutable_data();
  const auto n_cells = static_cast<std::size_t>(cells.shape(0)),
             n = static_cast<std::size_t>(x.size());
  {
    const Unlocked unlocked;
    smooth_values(table, n_cells, unit, begin, per_unit, from, n, to);
  }
  return out;
}

py::tuple bound_product_series(const Array<double>& a, const Array<double>& b,
                               const Array<std::complex<double>>& rho) {
  if (a.ndim() != 2 || rho.ndim() != 3) {
    throw std::invalid_argument("a, rho: expected a 2-D and a 3-D array");
  }
  const py::ssize_t rows = a.shape(0), cols = rho.shape(1), points = rho.shape(2);
  check_shape(b, {cols, a.shape(1)}, "b");
  check_shape(rho, {rows, cols, points}, "rho");
  Array<std::complex<double>> value({rows, cols, points}), slope({rows, cols, points});
  const double *left = a.data(), *right = b.data();
  const std::complex<double>* x = rho.data();
  std::complex<double>*k = value.mutable_data(), *d = slope.mutable_data();
  const auto terms = static_cast<std::size_t>(a.shape(1));
  {
    const Unlocked unlocked;
    product_series(left, static_cast<std::size_t>(rows), right, static_cast<std::size_t>(cols),
                   terms, x, static_cast<std::size_t>(points), k, d);
  }
  return py::make_tuple(value, slope);
}

BlurTables blur_tables(std::vector<std::size_t> counts, std::vector<double> edges,
                       std::vector<std::int64_t> starts, const Array<double>& values,
                       Reals deviations, Reals taus) {
  check_shape(values, {values.ndim() > 0 ? values.shape(0) : 0, kCellWidth}, "values");
  const auto n = static_cast<std::size_t>(values.size());
  auto copy = AlignedBuffer<double>::uninitialised(n);
  std::copy_n(values.data(), n, copy.data());
  return BlurTables({std::move(counts), std::move(edges), std::move(starts), std::move(copy),
                     n / kCellWidth, std::move(deviations), std::move(taus)});
}

void bind_blurs(py::module_& m) {
  py::class_<BlurTables>(m, "BlurTables", "A function and its blurs, as polynomials on cells.")
      .def(py::init(&blur_tables), "counts"_a, "edges"_a, "starts"_a, "values"_a.noconvert(),
           "deviations"_a, "taus"_a)
      .def(
          "moments",
          [](const BlurTables& self, const Array<double>& at, const Array<double>& tau,
             std::size_t n_threads) {
            const py::ssize_t n = at.size();
            check_shape(at, {n}, "m");
            check_shape(tau, {n}, "tau");
            Array<double> out({py::ssize_t{4}, n});
            const double *x = at.data(), *by = tau.data();
            double* to = out.mutable_data();
            {
              const Unlocked unlocked;
              self.moments(x, by, static_cast<std::size_t>(n), to, n_threads);
            }
            return out;
          },
          "m"_a.noconvert(), "tau"_a.noconvert(), "n_threads"_a)
      .def(
          "pairs",
          [](const BlurTables& self, const Array<double>& s, const Array<double>& t,
             const Array<double>& rho, std::size_t n_threads) {
            const py::ssize_t n = s.size();
            check_shape(s, {n}, "s");
            check_shape(t, {n}, "t");
            check_shape(rho, {n}, "rho");
            Array<double> out({py::ssize_t{2}, n});
            const double *left = s.data(), *right = t.data(), *cosine = rho.data();
            double* to = out.mutable_data();
            {
              const Unlocked unlocked;
              self.pairs(left, right, cosine, static_cast<std::size_t>(n), to, to + n, n_threads);
            }
            return out;
          },
          "s"_a.noconvert(), "t"_a.noconvert(), "rho"_a.noconvert(), "n_threads"_a);
}

} // namespace

void bind_kernels(py::module_& m) {
  py::native_enum<DualKind>(m, "DualKind", "enum.Enum", "Dual maps that the core evaluates.")
      .value("RECTIFIER", kRectifier)
      .value("SIGN", kSign)
      .value("RECTIFIED_POWER", kRectifiedPower)
      .value("ASIN", kAsin)
      .value("GELU", kGelu)
      .value("EXP", kExp)
      .value("SIN", kSin)
      .value("GAUSSIAN", kGaussian)
      .value("EXP_NORMALIZED", kExpNormalized)
      .value("GABOR", kGabor)
      .value("SERIES", kSeries)
      .value("TABLE", kTable)
      .value("PIECEWISE", kPiecewise)
      .value("CENTRAL", kCentral)
      .finalize();

  m.def(
      "dual_map",
      [](DualKind kind, Reals params, const Array<double>& left, const Array<double>& right,
         Array<double>& k, std::optional<Array<double>>& theta, std::size_t n_threads) {
        const DualMap map = dual_map(kind, std::move(params), left, right);
        check_shape(k, {left.shape(0), right.shape(0)}, "k");
        if (theta) {
          check_shape(*theta, {left.shape(0), right.shape(0)}, "theta");
        }
        double* to_k = k.mutable_data();
        double* to_theta = theta ? theta->mutable_data() : nullptr;
        const Unlocked unlocked;
        map.apply_all(to_k, to_theta, n_threads);
      },
      "kind"_a, "params"_a, "left"_a.noconvert(), "right"_a.noconvert(), "k"_a.noconvert(),
      "theta"_a.noconvert().none(true), "n_threads"_a);

  py::class_<Destination>(m, "Destination", "Where kernels go.")
      .def(py::init([](MaybeArray nngp, MaybeArray ntk, MaybeArray nngp_mirror,
                       MaybeArray ntk_mirror, std::optional<Array<double>> nngp_diagonal,
                       std::optional<Array<double>> ntk_diagonal, bool symmetric) {
             return Destination{std::move(nngp),
                                std::move(ntk),
                                std::move(nngp_mirror),
                                std::move(ntk_mirror),
                                std::move(nngp_diagonal),
                                std::move(ntk_diagonal),
                                symmetric};
           }),
           py::kw_only(), "nngp"_a.none(true), "ntk"_a.none(true),
           "nngp_mirror"_a.none(true) = py::none(), "ntk_mirror"_a.none(true) = py::none(),
           "nngp_diagonal"_a.none(true) = py::none(), "ntk_diagonal"_a.none(true) = py::none(),
           "symmetric"_a = false);

  m.def("hermite_sums", &bound_hermite_sums, "values"_a.noconvert(), "z"_a.noconvert(),
        "start"_a.noconvert(), "degrees"_a);
  m.def("smooth_values", &bound_smooth_values, "cells"_a.noconvert(), "unit"_a, "begin"_a,
        "per_unit"_a, "x"_a.noconvert());
  m.def("product_series", &bound_product_series, "a"_a.noconvert(), "b"_a.noconvert(),
        "rho"_a.noconvert());

  bind_blurs(m);

  using B = KernelBuilder;
  py::class_<Turns<B>>(m, "KernelBuilder", "Puts a KernelProgram together, layer by layer.")
      .def(py::init<>())
      .def("affine", in_turn(&B::affine), "w2"_a, "b2"_a)
      .def(
          "activation",
          [](Turns<B>& self, DualKind kind, Reals params, const Array<double>& left,
             const Array<double>& right) {
            DualMap map = dual_map(kind, std::move(params), left, right);
            self.take([&](B& builder) { builder.activation(std::move(map)); });
          },
          "kind"_a, "params"_a, "left"_a.noconvert(), "right"_a.noconvert())
      .def("push", in_turn(&B::push))
      .def("add", in_turn(&B::add))
      .def("be_single", in_turn(&B::be_single))
      .def("finish", in_turn(&B::finish));

  py::class_<KernelProgram> program(m, "KernelProgram", "The layers of a network, for kernels.");
  program.def(
      "run_products",
      [](const KernelProgram& self, const Array<double>& products, double scale,
         const Destination& to, std::size_t n_threads) {
        if (products.ndim() != 2) {
          throw std::invalid_argument("products: expected a 2-D array");
        }
        const GivenProducts given{products.data(), products.shape(1)};
        run_kernels(self, given, scale, products.shape(0), products.shape(1), to, n_threads);
      },
      "products"_a.noconvert(), "scale"_a, "to"_a, "n_threads"_a);
  bind_points<float>(program);
  bind_points<double>(program);
}

} // namespace nkfast
