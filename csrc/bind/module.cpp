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

// No GIL is needed: programs and records never change once they are made; builders change, but make
// threads take turns (bind/builders.hpp); the SIMD level is chosen here, once; and the threads of
// parallel.hpp are handed out by an atomic flag. Arrays belong to the caller: as with NumPy, nobody
// may change one that is being read, or give one output to two calls.
PYBIND11_MODULE(_core, m, pybind11::mod_gil_not_used()) {
  nkfast::kernels(); // choose the SIMD level now, so that a bad NKFAST_SIMD fails at import

  m.attr("__version__") = NKFAST_VERSION;
  m.def("simd_level", &nkfast::level_name, "Name of the SIMD level in use.");
  m.def("simd_levels", &nkfast::runnable_levels, "SIMD levels that can run here, weakest first.");
  m.def("compiler", &compiler, "Name and version of the compiler that built the core.");

  nkfast::bind_sketch(m);
  nkfast::bind_kernels(m);
  nkfast::bind_tangents(m);
  nkfast::bind_images(m);
  nkfast::bind_features(m);
  nkfast::bind_patches(m);
}
