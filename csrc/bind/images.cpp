// Bindings of csrc/kernels: exact kernels of images.
#include "kernels/images.hpp"
#include "bind/arrays.hpp"
#include "bind/bind.hpp"
#include "bind/builders.hpp"
#include "bind/dual_map.hpp"
#include "kernels/image_builder.hpp"

#include <pybind11/native_enum.h>
#include <pybind11/stl.h>

#include <array>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>

using namespace pybind11::literals;

namespace nkfast {
namespace {

using Pair = std::array<std::size_t, 2>; // of rows and of columns

// The window of a convolution along its rows (0) or columns (1).
Axis axis(std::size_t which, const Pair& taps, const Pair& strides, const Pair& before,
          const Pair& out, bool circular) {
  return {.taps = taps[which],
          .stride = strides[which],
          .before = before[which],
          .circular = circular,
          .out = out[which]};
}

void run_images(const ImageProgram& program, const Array<double>& x, const Array<double>& panels,
                Pairing pairing, Array<double>& k, std::optional<Array<double>>& theta,
                std::size_t n_threads) {
  const auto size = [](std::size_t n) { return static_cast<py::ssize_t>(n); };
  const py::ssize_t n = x.ndim() > 0 ? x.shape(0) : 0;
  const py::ssize_t n_tiles = panels.ndim() > 0 ? panels.shape(0) : 0;
  const bool matched = pairing == Pairing::kMatched;
  check_shape(x, {n, size(program.height()), size(program.width()), size(program.channels())}, "X");
  check_shape(panels,
              {n_tiles, size(program.panel_rows()), size(program.panels()),
               size(program.channels()), size(kDualPad)},
              "panels");
  const py::ssize_t n_outputs = size(program.n_outputs()) * (matched ? 1 : n_tiles);
  check_shape(k, {n, n_outputs}, "k");
  if (theta) {
    check_shape(*theta, {n, n_outputs}, "theta");
  }
  if (matched && n != n_tiles) {
    throw std::invalid_argument("pairing: expected as many images as tiles");
  }
  const Images images{x.data(), panels.data(), static_cast<std::size_t>(n),
                      static_cast<std::size_t>(n_tiles)};
  double* to_k = k.mutable_data();
  double* to_theta = theta ? theta->mutable_data() : nullptr;
  const Unlocked unlocked;
  program.run(images, pairing, to_k, to_theta, n_threads);
}

} // namespace

void bind_images(py::module_& m) {
  py::native_enum<LaneKind>(m, "LaneKind", "enum.Enum", "What the lanes of a block of pairs are.")
      .value("COLUMNS", LaneKind::kColumns)
      .value("IMAGES", LaneKind::kImages)
      .finalize();
  py::native_enum<Readout>(m, "Readout", "enum.Enum", "What is left of the last pairs of pixels.")
      .value("FLATTEN", Readout::kFlatten)
      .value("MEAN", Readout::kMean)
      .value("DIAGONAL", Readout::kDiagonal)
      .finalize();
  py::native_enum<Pairing>(m, "Pairing", "enum.Enum", "Which images meet which tiles.")
      .value("ALL", Pairing::kAll)
      .value("UPPER", Pairing::kUpper)
      .value("MATCHED", Pairing::kMatched)
      .finalize();

  using B = ImageBuilder;
  py::class_<Turns<B>>(m, "ImageBuilder", "Puts an ImageProgram together, layer by layer.")
      .def(py::init([](std::size_t height, std::size_t width, std::size_t channels, LaneKind lanes,
                       std::size_t images) {
             return std::make_unique<Turns<B>>(height, width, channels, LaneUse{lanes, images});
           }),
           py::kw_only(), "height"_a, "width"_a, "channels"_a, "lanes"_a, "images"_a)
      .def(
          "conv",
          [](Turns<B>& self, const Pair& taps, const Pair& strides, const Pair& before,
             const Pair& out, bool circular, double w2, double b2) {
            const Axis rows = axis(0, taps, strides, before, out, circular);
            const Axis cols = axis(1, taps, strides, before, out, circular);
            self.take([&](B& builder) { builder.conv(rows, cols, w2, b2); });
          },
          py::kw_only(), "taps"_a, "strides"_a, "before"_a, "out"_a, "circular"_a, "w2"_a, "b2"_a)
      .def(
          "activation",
          [](Turns<B>& self, DualKind kind, Reals params, const Array<double>& left,
             const Array<double>& right, bool rough) {
            DualMap map = dual_map(kind, std::move(params), left, right);
            if (rough) {
              map.be_rough();
            }
            self.take([&](B& builder) { builder.activation(std::move(map)); });
          },
          "kind"_a, "params"_a, "left"_a.noconvert(), "right"_a.noconvert(), "rough"_a)
      .def("push", in_turn(&B::push))
      .def("add", in_turn(&B::add))
      .def(
          "pool",
          [](Turns<B>& self, const Pair& taps, const Pair& strides) {
            self.take([&](B& builder) {
              builder.pool({.taps = taps[0], .stride = strides[0]},
                           {.taps = taps[1], .stride = strides[1]});
            });
          },
          py::kw_only(), "taps"_a, "strides"_a)
      .def("finish", in_turn(&B::finish), "readout"_a);

  py::class_<ImageProgram>(m, "ImageProgram", "The layers of a network of images, for kernels.")
      .def("run", &run_images, "X"_a.noconvert(), "panels"_a.noconvert(), "pairing"_a,
           "k"_a.noconvert(), "theta"_a.noconvert().none(true), "n_threads"_a);
}

} // namespace nkfast
