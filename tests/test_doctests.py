"""The examples in docstrings."""

import doctest

import pytest
from conftest import REPOSITORY

MODULES = [
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")
    for room in ("facekp", "benchmarks")
    for path in sorted((REPOSITORY / room).rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_give_what_they_show(name):
    module = pytest.importorskip(name, reason="an extra is not installed")
    failed, tried = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert tried
    assert not failed
