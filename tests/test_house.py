"""The layout of the package: which room may import which, how long import chains get, and what stands at the top."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "facekp"
FLOORS = (
    {"classes", "errors"}, {"registry", "settings", "files", "images", "hardware"}, {"cli"}, {"config"},
    {"data"}, {"models"}, {"losses"}, {"weights"}, {"training"},
    {"keypoints"}, {"parsing"}, {"formats"}, {"predict"},
    {"evaluate"}, {"export"}, {"compare", "figures", "demo"}, {"__main__"},
)  # fmt: skip
"""Rooms from the ground up: a room imports from floors below its own, and from itself."""
LONGEST_CHAIN, MOST_AT_THE_TOP = 12, 12

MODULES = {
    ".".join(("facekp", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}


@cache
def imports(module):
    """Return the modules of the package that `module` names in an import, wherever in the file."""
    nodes = list(ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {full if (full := f"{node.module}.{a.name}") in MODULES else node.module for a in node.names}
    # The package itself imports its public classes lazily, for users alone; modules ask it for its version.
    return frozenset(names & MODULES.keys() - {module, "facekp"})


def room(module):
    return [*module.split("."), "__init__"][1]


def floor(module):
    return next(level for level, rooms in enumerate(FLOORS) if room(module) in rooms)


@cache
def longest_chain(module):
    return max(((module, *longest_chain(below)) for below in imports(module)), key=len, default=(module,))


def test_no_room_imports_upward():
    pairs = [(module, other) for module in MODULES if module != "facekp" for other in imports(module)]
    assert [pair for pair in pairs if room(pair[0]) != room(pair[1]) and floor(pair[1]) >= floor(pair[0])] == []


def test_no_circle_and_no_long_chain():
    chains = [longest_chain(module) for module in MODULES if module != "facekp"]  # a circle is a RecursionError
    longest = max(chains, key=len)
    assert len(longest) <= LONGEST_CHAIN, " -> ".join(longest)


@pytest.mark.parametrize(
    "folder", sorted(p.parent for p in PACKAGE.rglob("__init__.py") if p.parent != PACKAGE), ids=lambda p: p.name
)
def test_every_room_says_what_comes_in_what_goes_out_and_where_to_start(folder):
    docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
    start = re.search("In: .*Out: .*Start with `([^`]+)", docstring, re.DOTALL)
    assert start
    assert (folder / start[1]).exists()


def test_every_folder_of_modules_is_a_package_and_few_modules_stand_at_the_top():
    assert len(list(PACKAGE.glob("*.py"))) <= MOST_AT_THE_TOP
    assert {p.parent for p in PACKAGE.rglob("*.py")} == {p.parent for p in PACKAGE.rglob("__init__.py")}
