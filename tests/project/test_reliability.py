"""docs/reliability.md names tests and targets that exist."""

import ast
import re

import pytest

from places import ROOT

PAGE = (ROOT / "docs" / "reliability.md").read_text()
NODES = sorted(set(re.findall(r"`(tests/[\w/]+\.py(?:::\w+)?)`", PAGE)))
TARGETS = sorted(set(re.findall(r"`make ([a-z]+)`", PAGE)))


def functions(path):
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    }


def test_there_are_some():
    assert len(NODES) > 25
    assert {"fuzz", "sanitize"} <= set(TARGETS)


@pytest.mark.parametrize("node", NODES)
def test_a_test_exists(node):
    path, _, name = node.partition("::")
    found = functions(ROOT / path)
    assert name in found if name else any(each.startswith("test_") for each in found)


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_exists(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M)


def test_each_line_names_what_shows_it():
    promises = PAGE.split("## Random calls")[0]
    rows = [line for line in promises.splitlines() if line.startswith("| ")]
    for line in rows:
        if not line.startswith("| Promise |"):
            assert re.search(r"`(tests/|make )", line.split("|")[2]), line
