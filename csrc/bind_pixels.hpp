// The bindings of csrc/sketch/pixels.
#pragma once

#include <pybind11/pybind11.h>

namespace nkfast {

void bind_pixels(pybind11::module_& m);

} // namespace nkfast
