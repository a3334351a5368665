"""MkDocs hooks: tables generated from the code, and docstrings rendered for the API reference."""

from typing import Any

import griffe
from tabulate import tabulate

from facekp.config import Config
from facekp.settings import walk

GENERATED = "<!-- generated: settings -->"


def on_page_markdown(markdown: str, **kwargs: Any) -> str:
    """Insert the tables of settings where a page asks for them."""
    return markdown.replace(GENERATED, settings_reference()) if GENERATED in markdown else markdown


def settings_reference() -> str:
    """Return every setting of a training run in Markdown: a section and a table per group."""
    groups: dict[str, list[tuple[str, ...]]] = {}
    for found in walk(Config):
        group = found.key.rpartition(".")[0] or "run"
        default = "required" if found.default == "???" else f"`{_show(found.default)}`"
        row = (f"`{found.key}`", default, found.check.range if found.check else "", found.help, found.affects.value)
        groups.setdefault(group, []).append(tuple(cell.replace("|", "\\|") for cell in row))
    head = ("setting", "default", "range", "meaning", "affects")
    tables = {group: tabulate(rows, head, tablefmt="github", disable_numparse=True) for group, rows in groups.items()}
    return "\n\n".join(f"## {group}\n\n{table}" for group, table in tables.items())


def _show(default: object) -> str:
    """Return a default as it is written on the command line."""
    words = {None: "null", True: "true", False: "false"}
    return words[default] if default is None or isinstance(default, bool) else str(default).replace(" ", "")


class Examples(griffe.Extension):
    """Render `Example:` as Griffe renders `Examples:`: prompts as highlighted code."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rename the section."""
        if obj.docstring:
            obj.docstring.value = obj.docstring.value.replace("\nExample:\n", "\nExamples:\n")
