// The Python module nkfast._core: the only file of the core that knows Python.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "simd/dispatch.hpp"

#include <string>

namespace py = pybind11;

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
PYBIND11_MODULE(_core, m, py::mod_gil_not_used()) {
  nkfast::kernels(); // choose the SIMD level now, so that a bad NKFAST_SIMD fails at import

  m.attr("__version__") = NKFAST_VERSION;
  m.def("simd_level", &nkfast::level_name, "Name of the SIMD level in use.");
  m.def("simd_levels", &nkfast::runnable_levels, "SIMD levels that can run here, weakest first.");
  m.def("compiler", &compiler, "Name and version of the compiler that built the core.");
}
