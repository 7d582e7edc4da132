"""What the wheel holds, and how it is built."""

import ast
import inspect
import re
import subprocess
import sys
from importlib.metadata import metadata, requires
from importlib.resources import files
from pathlib import Path

import pytest

import nkfast
import public_api
from nkfast import _core
from places import ROOT, TESTS

SOURCE = ROOT / "src" / "nkfast"


def test_version_has_one_source():
    declared = re.search(r"version: '([^']+)'", (ROOT / "meson.build").read_text())
    assert declared is not None
    assert nkfast.__version__ == _core.__version__ == metadata("nkfast")["Version"] == declared[1]


def test_runtime_dependencies():
    needed = {re.match(r"[\w-]+", line)[0] for line in requires("nkfast") if "extra" not in line}
    assert needed == {
        "numpy",
        "scipy",
        "scikit-learn",
        "threadpoolctl",
    }  # the last is scikit-learn's


def test_every_module_is_listed_and_installed():
    listed = []
    for line in (SOURCE / "meson.build").read_text().splitlines():
        if room := re.match(r"  '([\w./]+)': \[$", line):
            folder = Path(room[1])
        elif module := re.match(r"    '([\w.]+)',$", line):
            listed.append((folder / module[1]).as_posix())
    present = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*")
        if path.suffix in (".py", ".pyi", ".typed")
    }
    assert set(listed) == present
    for name in listed:
        assert files("nkfast").joinpath(name).is_file(), name


def test_public_names_exist():
    assert len(set(nkfast.__all__)) == len(nkfast.__all__)  # their order is ruff's
    for name in nkfast.__all__:
        assert hasattr(nkfast, name), name


def test_public_names_and_signatures_are_those_promised():
    promised = (TESTS / "data" / "public_api.txt").read_text().splitlines()
    assert public_api.lines() == promised


def test_public_classes_name_their_public_place():
    """So that saved estimators do not depend on where a class is defined."""
    modules = (nkfast, nkfast.sketch, nkfast.images, nkfast.gp)
    for module in modules:
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isclass(thing) or inspect.isfunction(thing):
                assert thing.__module__ in [module.__name__ for module in modules], name
                assert getattr(sys.modules[thing.__module__], name) is thing


def test_dir_shows_public_names_only():
    for module in (nkfast, nkfast.sketch, nkfast.images):
        assert sorted(module.__all__) == dir(module)


def test_stub_names_what_the_core_holds():
    tree = ast.parse((SOURCE / "_core.pyi").read_text())
    stubbed = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    stubbed -= {name for name in stubbed if name.startswith("_")}
    assert stubbed == {name for name in vars(_core) if not name.startswith("_")}


@pytest.mark.parametrize("pattern", [r"-march=native", r"-mtune=native", r"-ffast-math", r"-Ofast"])
def test_no_such_flag_in_the_build(pattern):
    names = ("pyproject.toml", "Makefile", "meson.build", "meson.options")
    build_files = [ROOT / name for name in names] + [*(ROOT / "csrc").rglob("meson.build")]
    sources = [*(ROOT / "csrc").rglob("*.[ch]pp")]
    assert len(build_files) >= 6
    assert sources
    for path in build_files + sources:
        assert not re.search(pattern, path.read_text()), path


def test_import_needs_no_extra():
    """Neither matplotlib nor any tool of the test-suite is imported with nkfast."""
    code = (
        "import sys, nkfast; "
        "print({'matplotlib', 'tqdm', 'dask', 'skops', 'pytest', 'hypothesis'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "set()"
