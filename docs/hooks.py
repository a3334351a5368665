"""MkDocs hooks: tables that are generated from the code."""

from typing import Any

from tabulate import tabulate

from facekp.config import Config
from facekp.settings import walk

GENERATED = "<!-- generated: settings -->"


def on_page_markdown(markdown: str, **kwargs: Any) -> str:
    """Put a table of each group of settings where a page asks for it."""
    return markdown.replace(GENERATED, settings_reference()) if GENERATED in markdown else markdown


def settings_reference() -> str:
    """Return every setting of a training run in Markdown: a section and a table for each group."""
    groups: dict[str, list[tuple[str, str, str, str, str]]] = {}
    for found in walk(Config):
        group = found.key.rpartition(".")[0] or "run"
        rule = found.check.range if found.check else ""
        default = "required" if found.default == "???" else f"`{found.default}`"
        row = (f"`{found.key}`", default, rule, found.help, found.affects.value)
        groups.setdefault(group, []).append(row)
    head = ("setting", "default", "range", "meaning", "affects")
    return "\n\n".join(
        f"## {group}\n\n{tabulate([[_cell(c) for c in row] for row in rows], head, tablefmt='github')}"
        for group, rows in groups.items()
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
