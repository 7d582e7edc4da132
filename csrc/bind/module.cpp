// The Python module nkfast._core. Only this folder knows Python.
#include "bind/bind.hpp"
#include "simd/dispatch.hpp"

#include <pybind11/stl.h>

#include <string>

using namespace pybind11::literals;

namespace {

std::string compiler() {
#if defined(__clang__)
  return "Clang " __clang_version__;
#else
  return "GCC " __VERSION__;
#endif
}

} // namespace

// The core keeps no state that changes after import, so it needs no GIL to guard it.
PYBIND11_MODULE(_core, m, pybind11::mod_gil_not_used()) {
  nkfast::kernels(); // choose the SIMD level now, so that a bad NKFAST_SIMD fails at import

  m.attr("__version__") = NKFAST_VERSION;
  m.def("simd_level", &nkfast::level_name, "Name of the SIMD level in use.");
  m.def("simd_levels", &nkfast::runnable_levels, "SIMD levels that can run here, weakest first.");
  m.def("compiler", &compiler, "Name and version of the compiler that built the core.");

  nkfast::bind_sketch(m);
  nkfast::bind_kernels(m);
  nkfast::bind_images(m);
  nkfast::bind_features(m);
}
