"""MkDocs hooks: tables generated from the code, and docstrings rendered for the API reference."""

import inspect
from collections.abc import Iterator
from typing import Any

import griffe
from tabulate import tabulate

from facekp.config import Config, LossConfig, OptimConfig
from facekp.losses.registry import LOSSES
from facekp.models.registry import NETWORKS
from facekp.registry import parameters_of
from facekp.settings import Setting, walk
from facekp.training.optim.build import OPTIMIZERS, SCHEDULES

GENERATED = {"<!-- generated: settings -->": "settings_tables", "<!-- generated: components -->": "components_table"}
COMPONENTS = (
    (NETWORKS, ()),
    (LOSSES, ()),
    (OPTIMIZERS, ("groups", "lr", "fused")),
    (SCHEDULES, ("total_steps",)),
)
"""Registries, and what their members are given beside settings of their own."""


def on_page_markdown(markdown: str, **kwargs: Any) -> str:
    """Insert generated tables where a page asks for them."""
    for mark, table in GENERATED.items():
        if mark in markdown:
            markdown = markdown.replace(mark, globals()[table]())
    return markdown


def settings_tables() -> str:
    """Return every setting of a training run in Markdown: a section and a table per group."""
    groups: dict[str, list[tuple[str, ...]]] = {}
    for found in _settings():
        group = found.key.rpartition(".")[0] or "run"
        default = "required" if found.default == "???" else f"`{_show(found.default)}`"
        row = (f"`{found.key}`", default, found.check.range if found.check else "", found.help, found.affects.value)
        groups.setdefault(group, []).append(row)
    head = ("setting", "default", "range", "meaning", "affects")
    return "\n\n".join(f"## {group}\n\n{_table(rows, head)}" for group, rows in groups.items())


def components_table() -> str:
    """Return the settings of every network, loss, optimiser and schedule in Markdown."""
    rows = []
    for registry, given in COMPONENTS:
        group, _, choice = registry.setting.partition(".")
        for name in registry.names():
            owner = f"`{group}={name}`" if choice == "name" else f"`{registry.setting}={name}`"
            for key, parameter in parameters_of(registry[name], without=given).items():
                rows.append((owner, f"`{group}.{key}`", f"`{_show(parameter.default)}`", _meaning(registry[name], key)))
    return _table(rows, ("of", "setting", "default", "meaning"))


def _settings() -> Iterator[Setting]:
    """Yield the settings of a run with the default loss and optimiser."""
    for found in walk(Config):
        if found.key in ("loss.name", "optim.name"):
            group = found.key.partition(".")[0]
            yield from walk({"loss": LossConfig, "optim": OptimConfig}[group], f"{group}.")
        elif found.key.partition(".")[0] not in ("loss", "optim"):
            yield found


def _table(rows: list[tuple[str, ...]], head: tuple[str, ...]) -> str:
    cells = [tuple(cell.replace("|", "\\|") for cell in row) for row in rows]
    return tabulate(cells, head, tablefmt="github", disable_numparse=True)


def _show(default: object) -> str:
    """Return a default as it is written on the command line."""
    words = {None: "null", True: "true", False: "false"}
    return words[default] if default is None or isinstance(default, bool) else str(default).replace(" ", "")


def _meaning(component: Any, key: str) -> str:
    """Return what a component's docstring says of one of its arguments."""
    sections = griffe.Docstring(inspect.getdoc(component) or "").parse("google", warnings=False)
    described = {
        item.name: item.description for part in sections if part.kind.value == "parameters" for item in part.value
    }
    return " ".join(described.get(key, "").split())


class Examples(griffe.Extension):
    """Render `Example:` as Griffe renders `Examples:`: prompts as highlighted code."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rename the section."""
        if obj.docstring:
            obj.docstring.value = obj.docstring.value.replace("\nExample:\n", "\nExamples:\n")
