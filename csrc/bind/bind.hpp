// What each file of this folder adds to the module.
#pragma once

#include <pybind11/pybind11.h>

namespace nkfast {

void bind_sketch(pybind11::module_& m);
void bind_kernels(pybind11::module_& m);
void bind_images(pybind11::module_& m);
void bind_features(pybind11::module_& m);

} // namespace nkfast
