// What each file of this folder adds to the module.
#pragma once

#include "interrupt.hpp"

#include <pybind11/pybind11.h>

namespace nkfast {

// Around work that may take long: other threads of Python run meanwhile, and Ctrl-C ends it.
class Unlocked {
  pybind11::gil_scoped_release released_;
  Interrupt interrupt_{[] {
    const pybind11::gil_scoped_acquire locked;
    if (PyErr_CheckSignals() != 0) {
      throw pybind11::error_already_set();
    }
  }};
};

void bind_sketch(pybind11::module_& m);
void bind_kernels(pybind11::module_& m);
void bind_tangents(pybind11::module_& m);
void bind_images(pybind11::module_& m);
void bind_features(pybind11::module_& m);
void bind_patches(pybind11::module_& m);

} // namespace nkfast
