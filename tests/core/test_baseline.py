"""No instruction of newer CPUs in the baseline, shown on the object files of the wheel in use."""

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

import check_baseline
from nkfast import _core
from places import ROOT

COMPILER = shutil.which("c++")

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64" or not (shutil.which("objdump") and shutil.which("nm")),
    reason="needs x86-64 and GNU binutils",
)


def build_of_installed_core():
    """The build folder whose extension is, byte for byte, the one imported here."""
    installed = Path(_core.__file__).read_bytes()
    for extension in (ROOT / "build").glob("*/csrc/_core*.so"):
        if extension.read_bytes() == installed:
            return extension.parents[1]
    return None


def test_baseline_of_the_installed_core():
    build = build_of_installed_core()
    if build is None:
        pytest.skip("no build folder of the installed nkfast under build/; `make test` keeps one")
    assert check_baseline.find_problems(build) == []


@pytest.fixture
def compiled(tmp_path):
    if COMPILER is None:
        pytest.skip("needs a C++ compiler")

    def compile_source(source, *flags):
        path = tmp_path / "probe.cpp"
        path.write_text(source)
        target = tmp_path / "probe.o"
        subprocess.run([COMPILER, "-O2", *flags, "-c", str(path), "-o", str(target)], check=True)
        return target

    return compile_source


ADD = "void add(float* x) { for (int i = 0; i < 64; ++i) x[i] += 1.0f; }\n"


@pytest.mark.parametrize(("level", "width"), [("avx2", 32), ("avx512", 64)])
def test_no_inline_function_even_if_nothing_is_inlined(compiled, level, width):
    """The optimiser may hide an inline function today and not tomorrow: look without it."""
    target = compiled(
        (ROOT / "csrc/simd/kernels.cpp").read_text(),
        *("-O0", "-std=c++20", "-fno-exceptions", f"-I{ROOT / 'csrc'}"),
        *(f"-DNKFAST_LEVEL={level}", f"-DNKFAST_VECTOR_BYTES={width}"),
        "-march=x86-64-v3" if level == "avx2" else "-march=x86-64-v4",
    )
    assert check_baseline.stray_symbols(target, level) == []


def test_check_sees_wide_instructions(compiled):
    assert check_baseline.wide_instructions(compiled(ADD, "-O3")) == []
    for flag in ("-mavx", "-mavx2", "-march=x86-64-v4"):
        assert check_baseline.wide_instructions(compiled(ADD, "-O3", flag)), flag


def test_check_sees_bmi(compiled):
    shift = "unsigned long f(unsigned long a, int n) { return a << n; }\n"
    assert check_baseline.wide_instructions(compiled(shift)) == []
    assert check_baseline.wide_instructions(compiled(shift, "-mbmi2"))


def test_check_sees_inline_functions(compiled):
    source = """
        inline __attribute__((noinline)) float leak(float x) { return x + 1; }
        namespace nkfast::avx2 {
        extern const float kernels;
        const float kernels = %s;
        namespace { __attribute__((used)) float own(float x) { return x; } }
        }
    """
    assert check_baseline.stray_symbols(compiled(source % "1", "-std=c++20"), "avx2") == []
    strays = check_baseline.stray_symbols(compiled(source % "leak(1)", "-std=c++20"), "avx2")
    assert strays == ["leak(float)"]
