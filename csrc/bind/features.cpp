// Stages of a PixelProgram come from Python as dicts, whose keys are the members of the structs.
#include "bind/arrays.hpp"
#include "bind/bind.hpp"

#include <pybind11/stl.h>

#include "features/pixels.hpp"

#include <stdexcept>
#include <string>

using namespace pybind11::literals;

namespace nkfast {
namespace {

template <class T> std::vector<T> numbers(const py::handle& from) {
  const auto array = py::cast<py::array_t<T, py::array::c_style | py::array::forcecast>>(from);
  return std::vector<T>(array.data(), array.data() + array.size());
}

template <class T> void read(const py::dict& from, const char* key, T& to) {
  if (from.contains(key)) {
    to = py::cast<T>(from[key]);
  }
}
void read(const py::dict& from, const char* key, Ints& to) {
  if (from.contains(key)) {
    to = numbers<std::int32_t>(from[key]);
  }
}
void read(const py::dict& from, const char* key, Reals& to) {
  if (from.contains(key)) {
    to = numbers<double>(from[key]);
  }
}
void read(const py::dict& from, const char* key, Values& to) {
  if (from.contains(key)) {
    to = Values(numbers<double>(from[key]));
  }
}

Hash to_hash(const py::handle& from) {
  const auto pair = py::cast<py::tuple>(from);
  return {numbers<std::int32_t>(pair[0]), Values(numbers<double>(pair[1]))};
}
void read(const py::dict& from, const char* key, Hash& to) {
  if (from.contains(key)) {
    to = to_hash(from[key]);
  }
}
void read(const py::dict& from, const char* key, std::vector<Hash>& to) {
  if (from.contains(key)) {
    for (const py::handle& one : py::cast<py::list>(from[key])) {
      to.push_back(to_hash(one));
    }
  }
}

PixelPart part(const py::dict& from) {
  PixelPart part;
  read(from, "field", part.field);
  read(from, "scale", part.scale);
  read(from, "direction", part.direction);
  read(from, "hash", part.hash);
  read(from, "row_stride", part.look.row_stride);
  read(from, "row_offset", part.look.row_offset);
  read(from, "col_stride", part.look.col_stride);
  read(from, "col_offset", part.look.col_offset);
  read(from, "circular", part.look.circular);
  return part;
}

PixelChannel channel(const py::dict& from) {
  PixelChannel channel;
  read(from, "n", channel.n);
  read(from, "constant", channel.constant);
  read(from, "direction", channel.direction);
  read(from, "hash", channel.hash);
  for (const py::handle& one : py::cast<py::list>(from["parts"])) {
    channel.parts.push_back(part(py::cast<py::dict>(one)));
  }
  return channel;
}

void read(const py::dict& from, const char* key, TensorProduct& to) {
  if (from.contains(key)) {
    const auto given = py::cast<py::dict>(from[key]);
    read(given, "n", to.n);
    read(given, "length_a", to.length_a);
    read(given, "length_b", to.length_b);
    read(given, "hash_a", to.hash_a);
    read(given, "hash_b", to.hash_b);
    read(given, "take_a", to.take_a);
    read(given, "take_b", to.take_b);
  }
}

PixelPower power(const py::dict& from) {
  PixelPower power;
  read(from, "a", power.a);
  read(from, "b", power.b);
  read(from, "factors", power.factors);
  read(from, "product", power.product);
  return power;
}

HermiteTable hermite_table(const py::dict& from) {
  HermiteTable table;
  read(from, "first", table.first);
  read(from, "step", table.step);
  read(from, "n", table.n);
  read(from, "order", table.order);
  read(from, "growth", table.growth);
  read(from, "rows", table.rows);
  read(from, "at_zero", table.at_zero);
  read(from, "reference", table.reference);
  read(from, "share", table.share);
  return table;
}

PixelActivation activation(const py::dict& from) {
  PixelActivation f;
  f.table = hermite_table(py::cast<py::dict>(from["table"]));
  for (const py::handle& one : py::cast<py::list>(from["powers"])) {
    f.powers.push_back(power(py::cast<py::dict>(one)));
  }
  read(from, "alias", f.alias);
  read(from, "merged", f.merged);
  read(from, "degree", f.degree);
  read(from, "n", f.n);
  read(from, "n_slope", f.n_slope);
  read(from, "n_tangent", f.n_tangent);
  read(from, "sums", f.sums);
  read(from, "slope_sums", f.slope_sums);
  read(from, "tangent_sums", f.tangent_sums);
  read(from, "product", f.product);
  read(from, "from_product", f.from_product);
  read(from, "from_tangent", f.from_tangent);
  read(from, "from_slope", f.from_slope);
  read(from, "from_nngp", f.from_nngp);
  read(from, "direction_tangent", f.direction_tangent);
  read(from, "direction_nngp", f.direction_nngp);
  return f;
}

void add_stage(PixelProgram& program, const py::dict& from) {
  PixelStage stage;
  for (const py::handle& one : py::cast<py::list>(from["channels"])) {
    stage.channels.push_back(channel(py::cast<py::dict>(one)));
  }
  read(from, "stores", stage.stores);
  if (from.contains("activation")) {
    stage.activation =
        std::make_unique<PixelActivation>(activation(py::cast<py::dict>(from["activation"])));
  }
  program.add_stage(std::move(stage));
}

void finish(PixelProgram& program, const py::dict& from) {
  PixelOutput output;
  read(from, "field", output.field);
  read(from, "scale", output.scale);
  read(from, "scalar", output.scalar);
  read(from, "n", output.n);
  read(from, "length", output.length);
  read(from, "hash", output.hash);
  read(from, "take", output.take);
  program.finish(std::move(output));
}

template <class T> void bind_run(py::class_<PixelProgram>& program) {
  program.def(
      "run",
      [](const PixelProgram& self, const Array<T>& x, Array<T>& out, std::size_t n_threads) {
        const auto size = [](std::size_t n) { return static_cast<py::ssize_t>(n); };
        if (x.ndim() != 2 || out.ndim() != 2 || x.shape(1) != size(self.n_inputs()) ||
            out.shape(0) != x.shape(0) || out.shape(1) != size(self.n_outputs())) {
          throw std::invalid_argument("X, out: expected (n, " + std::to_string(self.n_inputs()) +
                                      ") and (n, " + std::to_string(self.n_outputs()) + ")");
        }
        const T* from = x.data();
        T* to = out.mutable_data();
        const auto n = static_cast<std::size_t>(x.shape(0));
        py::gil_scoped_release released;
        self.run(from, n, to, n_threads);
      },
      "X"_a.noconvert(), "out"_a.noconvert(), "n_threads"_a);
}

} // namespace

void bind_features(py::module_& m) {
  py::class_<PixelProgram> program(m, "PixelProgram", "Features of images, pixel by pixel.");
  program.def(py::init<>())
      .def("add_field", &PixelProgram::add_field, "height"_a, "width"_a, "n"_a, "halo_rows"_a,
           "halo_cols"_a)
      .def("add_stage", &add_stage, "stage"_a)
      .def(
          "add_pool",
          [](PixelProgram& self, std::size_t from, std::size_t to,
             std::pair<std::size_t, std::size_t> window,
             std::pair<std::size_t, std::size_t> strides) {
            self.add_pool({from, to, window.first, window.second, strides.first, strides.second});
          },
          "source"_a, "target"_a, "window"_a, "strides"_a)
      .def("finish", &finish, "output"_a)
      .def_property_readonly("n_inputs", &PixelProgram::n_inputs)
      .def_property_readonly("n_outputs", &PixelProgram::n_outputs)
      .def_property_readonly("bytes_per_thread", &PixelProgram::bytes);
  bind_run<float>(program);
  bind_run<double>(program);
}

} // namespace nkfast
