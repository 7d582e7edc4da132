// What the CPU and the operating system can run, in the terms of the x86-64 levels.
#pragma once

namespace nkfast {

struct Cpu {
  bool v3 = false; // all of x86-64-v3, as -march=x86-64-v3 lets the compiler assume
  bool v4 = false; // all of x86-64-v4
};

// Asks this CPU and its operating system; both false on other architectures.
Cpu detect_cpu();

} // namespace nkfast
