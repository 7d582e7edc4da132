"""The order of the package: where modules lie and how they import each other.

That imports go one way is a contract of import-linter (pyproject.toml), which `make lint` checks.
"""

import ast

import pytest

from places import ROOT

SOURCE = ROOT / "src" / "nkfast"
MODULES = sorted(SOURCE.rglob("*.py"))
OPTIONAL = {"dask", "matplotlib", "pandas", "pyarrow", "skops", "tqdm"}


def named(path):
    return path.relative_to(SOURCE).as_posix()


def test_few_modules_at_the_root():
    assert len([*SOURCE.glob("*.py")]) <= 10


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_functions_import_only_optional_packages(path):
    for function in ast.walk(ast.parse(path.read_text())):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, node.lineno
                assert node.module.split(".")[0] in OPTIONAL, node.lineno
            elif isinstance(node, ast.Import):
                assert {name.name.split(".")[0] for name in node.names} <= OPTIONAL, node.lineno


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_names_are_imported_from_the_core(path):
    """``from nkfast import _core`` would be an import of the whole package."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            assert "_core" not in {name.name.split(".")[-1] for name in node.names}


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("__init__.py")), ids=named)
def test_rooms_say_what_lives_in_them(path):
    text = ast.get_docstring(ast.parse(path.read_text()))
    if path.parent != SOURCE:
        assert len(text.splitlines()) >= 4
