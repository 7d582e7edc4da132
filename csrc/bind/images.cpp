// Bindings of csrc/kernels: exact kernels of images.
#include "kernels/images.hpp"
#include "bind/arrays.hpp"
#include "bind/bind.hpp"
#include "bind/dual_map.hpp"

#include <pybind11/stl.h>

#include <array>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

using namespace pybind11::literals;

namespace nkfast {
namespace {

Axis axis(const std::array<std::size_t, 4>& sizes, bool circular) {
  return {.taps = sizes[0],
          .stride = sizes[1],
          .before = sizes[2],
          .circular = circular,
          .out = sizes[3]};
}

void run_images(const ImageProgram& program, const Array<double>& x, const Array<double>& panels,
                const std::string& pairing, Array<double>& k, std::optional<Array<double>>& theta,
                std::size_t n_threads) {
  const auto size = [](std::size_t n) { return static_cast<py::ssize_t>(n); };
  const py::ssize_t n = x.ndim() > 0 ? x.shape(0) : 0;
  const py::ssize_t n_tiles = panels.ndim() > 0 ? panels.shape(0) : 0;
  const bool matched = pairing == "matched";
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
  const auto which = matched              ? Pairing::kMatched
                     : pairing == "upper" ? Pairing::kUpper
                                          : Pairing::kAll;
  double* to_k = k.mutable_data();
  double* to_theta = theta ? theta->mutable_data() : nullptr;
  py::gil_scoped_release released;
  program.run(images, which, to_k, to_theta, n_threads);
}

} // namespace

void bind_images(py::module_& m) {
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
             const Array<double>& left, const Array<double>& right, bool rough) {
            DualMap map = dual_map(kind, std::move(params), left, right);
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
            self.finish(readout == "mean"       ? Readout::kMean
                        : readout == "diagonal" ? Readout::kDiagonal
                                                : Readout::kFlatten);
          },
          "readout"_a)
      .def("run", &run_images, "X"_a.noconvert(), "panels"_a.noconvert(), "pairing"_a,
           "k"_a.noconvert(), "theta"_a.noconvert().none(true), "n_threads"_a);
}

} // namespace nkfast
