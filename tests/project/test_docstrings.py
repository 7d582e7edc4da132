"""Every example in a docstring runs, and every public object has one."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import nkfast

MODULES = ["nkfast"] + [
    m.name
    for m in pkgutil.walk_packages(nkfast.__path__, "nkfast.")
    if m.name not in ("nkfast.__main__", "nkfast._core")
]
PUBLIC = {
    f"{module.__name__}.{name}": getattr(module, name)
    for module in (nkfast, nkfast.gp, nkfast.images, nkfast.sketch)
    for name in module.__all__
    if not name.startswith("__") and not inspect.ismodule(getattr(module, name))
}


class Finder(doctest.DocTestFinder):
    """Finds the examples of methods, too, of classes whose public place is another module."""

    def _from_module(self, module, thing):
        if inspect.isfunction(thing) and "." in thing.__qualname__:
            return thing.__module__.startswith("nkfast")
        return super()._from_module(module, thing)


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    runner = doctest.DocTestRunner()
    for examples in Finder().find(importlib.import_module(name), name):
        runner.run(examples)
    assert runner.summarize().failed == 0


def test_number_of_examples():
    """None has become invisible by a move."""
    found = {}
    for name in MODULES:
        for test in Finder().find(importlib.import_module(name), name):
            if test.examples:
                found[test.docstring] = len(test.examples)
    assert sum(found.values()) >= 242


@pytest.mark.parametrize("name", PUBLIC)
def test_public_objects_have_an_example(name):
    assert ">>>" in inspect.getdoc(PUBLIC[name])


@pytest.mark.parametrize("name", PUBLIC)
def test_parameters_are_documented(name):
    """Each constructor argument and each argument of a function is named in the docstring."""
    thing = PUBLIC[name]
    text = inspect.getdoc(thing)
    for parameter in inspect.signature(thing).parameters.values():
        if parameter.name not in ("args", "kwargs"):
            assert parameter.name in text, parameter.name
