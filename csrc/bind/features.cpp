// Bindings of csrc/features: the records that stages are made of, their builder and the program.
//
// Records are made whole, by keyword, and cannot be changed: a missing or unknown field is a
// TypeError.
#include "bind/arrays.hpp"
#include "bind/bind.hpp"
#include "bind/builders.hpp"
#include "features/pixel_builder.hpp"
#include "features/pixel_program.hpp"

#include <pybind11/stl.h>

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

using namespace pybind11::literals;

namespace nkfast {
namespace {

// Arrays of these types, or of those that they hold without loss.
using IntArray = Array<std::int32_t>;
using RealArray = Array<double>;

Ints ints(const IntArray& x) { return {x.data(), x.data() + x.size()}; }
Reals reals(const RealArray& x) { return {x.data(), x.data() + x.size()}; }

void bind_parts(py::module_& m) {
  py::class_<Hash>(m, "Hash", "Where each feature goes, and its sign.")
      .def(py::init([](const IntArray& to, const RealArray& signs) {
             return Hash{ints(to), Values(reals(signs))};
           }),
           py::kw_only(), "to"_a, "signs"_a);

  py::class_<PixelLook>(m, "PixelLook", "Which pixel a part sees.")
      .def(py::init<std::int64_t, std::int64_t, std::int64_t, std::int64_t, bool>(), py::kw_only(),
           "row_stride"_a, "row_offset"_a, "col_stride"_a, "col_offset"_a, "circular"_a);

  py::class_<PixelPart>(m, "PixelPart", "A field as a channel sees it.")
      .def(py::init<std::size_t, PixelLook, double, double, Hash>(), py::kw_only(), "field"_a,
           "look"_a, "scale"_a, "direction"_a, "hashed"_a);

  py::class_<PixelChannel>(m, "PixelChannel", "A sum of parts.")
      .def(py::init<std::size_t, std::vector<PixelPart>, double, double, Hash>(), py::kw_only(),
           "n"_a, "parts"_a, "constant"_a, "direction"_a, "hashed"_a);
}

void bind_powers(py::module_& m) {
  py::class_<TensorProduct>(m, "TensorProduct", "A sketch of a tensor product.")
      .def(
          py::init([](std::size_t n, std::size_t length_a, std::size_t length_b, Hash hash_a,
                      Hash hash_b, const IntArray& take_a, const IntArray& take_b) {
            return TensorProduct{
                n,           length_a, length_b, std::move(hash_a), std::move(hash_b), ints(take_a),
                ints(take_b)};
          }),
          py::kw_only(), "n"_a, "length_a"_a, "length_b"_a, "hash_a"_a, "hash_b"_a, "take_a"_a,
          "take_b"_a);

  py::class_<Monomials>(m, "Monomials", "Entries of a tensor product.")
      .def(py::init([](const IntArray& take_a, const IntArray& take_b, const RealArray& factors) {
             return Monomials{ints(take_a), ints(take_b), Values(reals(factors))};
           }),
           py::kw_only(), "take_a"_a, "take_b"_a, "factors"_a);

  py::class_<PixelPower>(m, "PixelPower", "A power of a vector from two lower ones.")
      .def(py::init<std::size_t, std::size_t, std::variant<TensorProduct, Monomials>>(),
           py::kw_only(), "a"_a, "b"_a, "how"_a);
}

void bind_activation(py::module_& m) {
  py::class_<HermiteGrid>(m, "HermiteGrid", "Hermite coefficients at standard deviations.")
      .def(py::init([](double first, double step, std::size_t n, std::size_t order,
                       std::optional<double> power, const RealArray& rows, const RealArray& low,
                       const RealArray& high, const RealArray& at_zero, double deviation,
                       const RealArray& reference, double share) {
             return HermiteGrid{.first = first,
                                .step = step,
                                .n = n,
                                .order = order,
                                .power = power,
                                .rows = reals(rows),
                                .low = reals(low),
                                .high = reals(high),
                                .at_zero = reals(at_zero),
                                .deviation = deviation,
                                .reference = reals(reference),
                                .share = share};
           }),
           py::kw_only(), "first"_a, "step"_a, "n"_a, "order"_a, "power"_a.none(true), "rows"_a,
           "low"_a, "high"_a, "at_zero"_a, "deviation"_a, "reference"_a, "share"_a);

  py::class_<SharedTangent>(m, "SharedTangent", "Tangent features from the NNGP kernel's.")
      .def(py::init<std::size_t, std::vector<Hash>>(), py::kw_only(), "n"_a, "sums"_a);

  py::class_<OwnTangent>(m, "OwnTangent", "Tangent features times those of the derivative.")
      .def(py::init<std::size_t, std::size_t, std::vector<Hash>, TensorProduct, Hash, Hash, Hash,
                    Hash, double, double>(),
           py::kw_only(), "n"_a, "n_slope"_a, "slope_sums"_a, "product"_a, "from_product"_a,
           "from_tangent"_a, "from_slope"_a, "from_nngp"_a, "direction_tangent"_a,
           "direction_nngp"_a);

  py::class_<PixelActivation>(m, "PixelActivation", "Features of the kernels behind an activation.")
      .def(py::init<std::size_t, HermiteGrid, std::vector<PixelPower>, std::size_t,
                    std::vector<Hash>, double,
                    std::variant<std::monostate, SharedTangent, OwnTangent>>(),
           py::kw_only(), "degree"_a, "table"_a, "powers"_a, "n"_a, "sums"_a, "merged"_a,
           "tangent"_a);
}

void bind_stages(py::module_& m) {
  py::class_<PixelStage>(m, "PixelStage", "Channels, an activation or None, and their fields.")
      .def(py::init<std::vector<PixelChannel>, std::optional<PixelActivation>,
                    std::vector<std::size_t>>(),
           py::kw_only(), "channels"_a, "activation"_a.none(true), "stores"_a);

  py::class_<HadamardSample>(m, "HadamardSample", "Entries of a transform of a hashed vector.")
      .def(py::init([](std::size_t length, Hash hash, const IntArray& take) {
             return HadamardSample{length, std::move(hash), ints(take)};
           }),
           py::kw_only(), "length"_a, "hashed"_a, "take"_a);

  py::class_<PixelOutput>(m, "PixelOutput", "The features of an image.")
      .def(py::init<std::size_t, bool, std::size_t, std::optional<HadamardSample>, int, int,
                    std::optional<double>>(),
           py::kw_only(), "field"_a, "scalar"_a, "n"_a, "sample"_a.none(true), "input_exponent"_a,
           "exponent"_a, "power"_a.none(true));
}

void bind_builder(py::module_& m) {
  using B = PixelBuilder;
  py::class_<Turns<B>>(m, "PixelBuilder", "Puts a PixelProgram together, stage by stage.")
      .def(py::init<>())
      .def("add_field", in_turn(&B::add_field), py::kw_only(), "height"_a, "width"_a, "n"_a)
      .def("add_stage", in_turn(&B::add_stage), "stage"_a)
      .def(
          "add_pool",
          [](Turns<B>& self, std::size_t source, std::size_t target,
             std::pair<std::size_t, std::size_t> window,
             std::pair<std::size_t, std::size_t> strides) {
            const PixelPool pool{.from = source,
                                 .to = target,
                                 .rows = window.first,
                                 .cols = window.second,
                                 .row_stride = strides.first,
                                 .col_stride = strides.second};
            self.take([&](B& builder) { builder.add_pool(pool); });
          },
          py::kw_only(), "source"_a, "target"_a, "window"_a, "strides"_a)
      .def("finish", in_turn(&B::finish), "output"_a);
}

template <class T> void bind_run(py::class_<PixelProgram>& program) {
  program.def(
      "run",
      [](const PixelProgram& self, const Array<T>& x, Array<T>& out, std::size_t n_threads,
         bool single) {
        const auto size = [](std::size_t n) { return static_cast<py::ssize_t>(n); };
        if (x.ndim() != 2 || out.ndim() != 2 || x.shape(1) != size(self.n_inputs()) ||
            out.shape(0) != x.shape(0) || out.shape(1) != size(self.n_outputs())) {
          throw std::invalid_argument("X, out: expected (n, " + std::to_string(self.n_inputs()) +
                                      ") and (n, " + std::to_string(self.n_outputs()) + ")");
        }
        const T* from = x.data();
        T* to = out.mutable_data();
        const auto n = static_cast<std::size_t>(x.shape(0));
        const Unlocked unlocked;
        self.run(from, n, to, n_threads, single);
      },
      "X"_a.noconvert(), "out"_a.noconvert(), "n_threads"_a, "single"_a);
}

} // namespace

void bind_features(py::module_& m) {
  bind_parts(m);
  bind_powers(m);
  bind_activation(m);
  bind_stages(m);
  bind_builder(m);

  py::class_<PixelProgram> program(m, "PixelProgram", "Features of images, pixel by pixel.");
  program.def_property_readonly("n_inputs", &PixelProgram::n_inputs)
      .def_property_readonly("n_outputs", &PixelProgram::n_outputs)
      .def_property_readonly("bytes_per_thread", &PixelProgram::bytes);
  bind_run<float>(program);
  bind_run<double>(program);
}

} // namespace nkfast
